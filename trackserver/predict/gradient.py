"""Which bases a prediction rests on, from its slope: one pass back instead of three alternatives of every base.

The slope is that of a straight line at the reference: exact where a network is linear, elsewhere a first look. Where an
alternative saturates, makes a site or needs two changes, only computing it tells.
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

MOST_TRACKS = 64  # each is a pass back through the network


class Slopes(NamedTuple):
    """A window's prediction, and how its sums rise with each base.

    ref : float32 (T, bins), as `Predictor.predict` gives it
    slopes : float32 (T, 4, L), the derivative of the sum over some bins by the one-hot's entries, rows A, C, G, T
    """

    ref: NDArray[np.float32]
    slopes: NDArray[np.float32]


def slopes(predictor: Predictor, codes: Codes, bins: slice = slice(None)) -> Slopes:
    """The derivative of each track's sum over some bins by the window's one-hot.

    Strands, shifts and units are those of the predictor: what is differentiated is what `predict` returns.

    Parameters
    ----------
    codes
        Base codes (L,), a window as `Predictor.predict` takes it.

    Raises
    ------
    InvalidRequest
        The model does not read windows of this length, or the predictor has more than `MOST_TRACKS` tracks.
    """
    if codes.ndim != 1 or not predictor.card.reads(len(codes)):
        raise InvalidRequest(f"{predictor.card.id} reads windows of {predictor.card.window:,} bp, not {codes.shape}.")
    if len(predictor.tracks) > MOST_TRACKS:
        raise InvalidRequest(
            f"Slopes are computed track by track, of at most {MOST_TRACKS} at a time, not {len(predictor.tracks):,}; "
            "choose tracks, such as assay=DNASE,biosample=K562."
        )
    with torch.inference_mode(False), torch.enable_grad():
        read = predictor.one_hot(codes[None]).requires_grad_()
        # What is averaged may be put into units in place, which the network's own output may not be: its last layer
        # may need it on the way back.
        outputs = (predictor.module(_as_seen(read, view, predictor.card.n_value)).clone() for view in predictor.views)
        values = predictor.average(outputs)[0]
        rises = [_rise(total, read) for total in values[:, bins].sum(1)]
    return Slopes(values.detach().cpu().numpy(), torch.stack(rises).cpu().numpy())


def _rise(total: Tensor, read: Tensor) -> Tensor:
    """(4, L) of one track; parameters of the network gather nothing."""
    (rise,) = torch.autograd.grad(total, read, retain_graph=True)
    return rise[0]


def _as_seen(read: Tensor, view: View, n_value: float) -> Tensor:
    """A one-hot (1, 4, L) as `View.of` turns its codes: A, C, G, T backwards are T, G, C, A."""
    turned = read.flip(1, 2) if view.reverse else read
    right, left = max(view.shift, 0), max(-view.shift, 0)
    return F.pad(turned[..., left : turned.shape[-1] - right], (right, left), value=n_value)


def saliency(predictor: Predictor, codes: Codes, bins: slice = slice(None)) -> NDArray[np.float32]:
    """Gradient x input: how much of the sum over some bins each base of a window carries, by the slopes there.

    What a base carries is its slope less the mean slope of the three bases that could stand in its place. Without the
    second part a slope along which all four bases rise, which no sequence can follow, would count (Majdandzic et al.
    2023).

    Returns
    -------
    ndarray
        float32 (T, L), tracks as in `predictor.tracks`; positive where the base raises the sum, 0 where it is N.
    """
    found = slopes(predictor, codes, bins).slopes
    return -linear(found, codes).sum(axis=1) / 3


def linear(slopes: NDArray[np.float32], codes: Codes) -> NDArray[np.float32]:
    """What putting each base in each place changes, along the slopes: float32 (T, 4, L), 0 where the base stands; of N
    all four are 0.
    """
    known = codes < N
    places = np.flatnonzero(known)
    own = np.zeros((len(slopes), len(codes)), np.float32)
    own[:, places] = slopes[:, codes[places], places]
    return np.where(known, slopes - own[:, None], np.float32(0))
