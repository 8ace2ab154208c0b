"""Which bases a prediction depends on, from gradients: one backward pass instead of three alternatives for each base.

A gradient is a linear approximation at the reference: exact if the network is linear, otherwise a first look. It misses
saturation, newly created sites and effects that need two changes; for those the alternative has to be predicted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import InvalidRequest, needing_torch
from trackserver.genome.sequence import Codes, N
from trackserver.predict.engine import Predictor, View

with needing_torch():
    import torch
    from torch import Tensor
    from torch.nn import functional as F

MAX_SLOPE_TRACKS = 64  # each needs its own backward pass


class Slopes(NamedTuple):
    """A window's prediction and its gradient.

    ref : float32 (T, bins), as `Predictor.predict` returns it
    slopes : float32 (T, 4, L), the derivative of the sum over some bins with respect to the one-hot, rows A, C, G, T
    """

    ref: NDArray[np.float32]
    slopes: NDArray[np.float32]


def slopes(predictor: Predictor, codes: Codes, bins: slice = slice(None)) -> Slopes:
    """Differentiate each track's sum over some bins with respect to the window's one-hot.

    The differentiated values are those `predict` returns, with the predictor's strands, shifts and units.

    Parameters
    ----------
    codes
        Base codes (L,), a window as `Predictor.predict` takes it.

    Raises
    ------
    InvalidRequest
        The model does not read windows of this length, or the predictor has more than `MAX_SLOPE_TRACKS` tracks.
    """
    if codes.ndim != 1 or not predictor.card.accepts_length(len(codes)):
        raise InvalidRequest(f"{predictor.card.id} reads windows of {predictor.card.window:,} bp, not {codes.shape}.")
    if len(predictor.tracks) > MAX_SLOPE_TRACKS:
        raise InvalidRequest(
            f"Slopes are computed for at most {MAX_SLOPE_TRACKS} tracks at a time, not {len(predictor.tracks):,}; "
            "choose tracks, such as assay=DNASE,biosample=K562."
        )
    with torch.inference_mode(False), torch.enable_grad():
        one_hot = predictor.one_hot(codes[None]).requires_grad_()
        # Converting units may write in place. The network's own output has to stay as it is, because its last layer may
        # need it for the backward pass.
        outputs = (predictor.module(_apply_view(one_hot, v, predictor.card.n_value)).clone() for v in predictor.views)
        values = predictor.average(outputs)[0]
        gradients = [_gradient(total, one_hot) for total in values[:, bins].sum(1)]
    return Slopes(values.detach().cpu().numpy(), torch.stack(gradients).cpu().numpy())


def _gradient(total: Tensor, one_hot: Tensor) -> Tensor:
    """(4, L) of one track; the network's parameters accumulate no gradients."""
    (gradient,) = torch.autograd.grad(total, one_hot, retain_graph=True)
    return gradient[0]


def _apply_view(one_hot: Tensor, view: View, n_value: float) -> Tensor:
    """Do to a one-hot (1, 4, L) what `View.apply` does to codes; flipping the rows complements A, C, G, T."""
    strand = one_hot.flip(1, 2) if view.reverse else one_hot
    right, left = max(view.shift, 0), max(-view.shift, 0)
    return F.pad(strand[..., left : strand.shape[-1] - right], (right, left), value=n_value)


def saliency(predictor: Predictor, codes: Codes, bins: slice = slice(None)) -> NDArray[np.float32]:
    """Gradient x input: each base's contribution to the sum over some bins.

    A base's contribution is its slope minus the mean slope of the three other bases. The subtraction removes gradients
    that point off the simplex of sequences, with all four bases rising together (Majdandzic et al. 2023).

    Returns
    -------
    ndarray
        float32 (T, L), tracks as in `predictor.tracks`; positive where the base raises the sum, 0 where it is N.
    """
    return -linear(slopes(predictor, codes, bins).slopes, codes).sum(axis=1) / 3


def linear(slopes: NDArray[np.float32], codes: Codes) -> NDArray[np.float32]:
    """Approximate the effect of every substitution from the slopes: float32 (T, 4, L).

    0 for the reference base, and for all four bases where the sequence is N.
    """
    known = codes < N
    positions = np.flatnonzero(known)
    reference = np.zeros((len(slopes), len(codes)), np.float32)
    reference[:, positions] = slopes[:, codes[positions], positions]
    return np.where(known, slopes - reference[:, None], np.float32(0))
