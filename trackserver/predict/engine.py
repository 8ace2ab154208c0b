"""Sequence in, numbers out: a model on a device, in batches.

Everything is float32 without TF32, for what comes out is subtracted from its like.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import InvalidRequest, NeedsTorch, Unavailable
from trackserver.genome.sequence import N, reverse_complement
from trackserver.models import registry
from trackserver.models.card import ModelCard

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise NeedsTorch() from error

if TYPE_CHECKING:
    from trackserver.genome.sequence import Codes

ENSEMBLES = ("rc",)


class Predictor:
    """A model ready to be asked.

    Parameters
    ----------
    card, module
        What the model is, and the network (B, 4, L) -> (B, T, L // bin_width); it is moved to the device.
    device
        `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:0`.
    batch_size
        Windows computed at once: memory and speed only, never the result.
    ensemble
        `("rc",)` averages the two strands' readings of each window.
    rows
        The card's tracks that `module` has, in its order, where it was loaded with part of its head.
    tracks
        The tracks to return, in this order; all of `rows` by default.
    """

    def __init__(
        self,
        card: ModelCard,
        module: nn.Module,
        device: str = "auto",
        batch_size: int = 8,
        ensemble: tuple[str, ...] = (),
        *,
        rows: Sequence[int] | None = None,
        tracks: Sequence[int] | None = None,
    ):
        if batch_size < 1:
            raise InvalidRequest(f"A batch needs at least one window, not {batch_size}.")
        if unknown := set(ensemble) - set(ENSEMBLES):
            raise InvalidRequest(f"No ensemble '{min(unknown)}'; known: {', '.join(ENSEMBLES)}.")
        self.card, self.batch_size, self.ensemble = card, batch_size, ensemble
        exact_float32()
        self.device = resolve_device(device)
        self.module = module.to(self.device).eval()
        rows = tuple(range(len(card.tracks)) if rows is None else rows)
        self.tracks = tuple(rows if tracks is None else tracks)
        if missing := set(self.tracks) - set(rows):
            raise InvalidRequest(f"Track {min(missing)} of model {card.id} was not loaded.")
        self._keep = [rows.index(track) for track in self.tracks]
        self._opposite = _opposite_rows(card, rows, self.tracks) if "rc" in ensemble else []
        self._bases = torch.cat([torch.eye(4), torch.full((1, 4), card.n_value)]).to(self.device)

    def predict(self, codes: Codes) -> NDArray[np.float32]:
        """What the model says about each window.

        Parameters
        ----------
        codes
            Base codes (B, L), uint8; L a multiple of the bin width.

        Returns
        -------
        ndarray
            float32 (B, T, L // bin_width): every bin, `card.crop` not yet trimmed, tracks as in `self.tracks`.
        """
        if codes.ndim != 2 or codes.shape[1] == 0 or codes.shape[1] % self.card.bin_width:
            width = self.card.bin_width
            raise InvalidRequest(f"{self.card.id} reads windows (B, L) of whole {width}-bp bins, not {codes.shape}.")
        values = np.empty((len(codes), len(self.tracks), codes.shape[1] // self.card.bin_width), np.float32)
        with torch.inference_mode():
            for start in range(0, len(codes), self.batch_size):
                part = slice(start, start + self.batch_size)
                values[part] = self._ensembled(codes[part]).cpu().numpy()
        return values

    def _ensembled(self, codes: Codes) -> Tensor:
        forward = self._run(codes)
        if "rc" not in self.ensemble:
            return forward[:, self._keep]
        other = self._run(reverse_complement(codes)).flip(-1)
        return (forward[:, self._keep] + other[:, self._opposite]) / 2

    def _run(self, codes: Codes) -> Tensor:
        indices = torch.from_numpy(np.minimum(codes, N).astype(np.int64)).to(self.device)
        output: Tensor = self.module(self._bases[indices].transpose(1, 2).contiguous())
        return output


def _opposite_rows(card: ModelCard, rows: Sequence[int], tracks: Sequence[int]) -> list[int]:
    """For each track, the module's row that reads the same signal on the other strand: its pair, or itself."""
    pairs = [card.tracks[track].strand_pair for track in tracks]
    wanted = [track if pair is None else pair for track, pair in zip(tracks, pairs, strict=True)]
    if missing := set(wanted) - set(rows):
        raise InvalidRequest(f"Averaging both strands also needs track {min(missing)} of model {card.id}.")
    return [rows.index(track) for track in wanted]


def exact_float32() -> None:
    """Turn TF32 off, for this process and for good: switched around each call, threads would undo one another's."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def load_predictor(
    models_dir: Path,
    model_id: str,
    *,
    tracks: Sequence[int] | None = None,
    device: str = "auto",
    batch_size: int = 8,
    ensemble: tuple[str, ...] = (),
) -> Predictor:
    """A site's model, with only the rows of its head that are needed; see `registry.load` for what can be wrong."""
    card = registry.card(models_dir, model_id)
    rows = tracks if tracks is None or "rc" not in ensemble else _with_pairs(card, tracks)
    module = registry.load(models_dir, model_id, rows)
    return Predictor(card, module, device, batch_size, ensemble, rows=rows, tracks=tracks)


def _with_pairs(card: ModelCard, tracks: Sequence[int]) -> list[int]:
    pairs = [card.tracks[track].strand_pair for track in tracks if 0 <= track < len(card.tracks)]
    return list(dict.fromkeys([*tracks, *(pair for pair in pairs if pair is not None)]))


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:0` as torch names it.

    Raises
    ------
    InvalidRequest
        No such kind of device.
    Unavailable
        CUDA was asked for and this machine has none, or not that one.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InvalidRequest(f"No device '{name}'; write auto, cpu, cuda or cuda:0.") from None
    if device.type not in ("cpu", "cuda"):
        raise InvalidRequest(f"No device '{name}'; write auto, cpu, cuda or cuda:0.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise Unavailable(
            f"Device '{name}' was asked for, but torch sees {torch.cuda.device_count()} CUDA devices here; "
            "choose cpu or auto, or install a CUDA build of torch."
        )
    return device
