"""Run a model on a device, in batches: sequence in, predicted tracks out.

Everything is float32 without TF32, because effects are differences of predictions. Tracks that are only browsed may be
predicted at lower precision.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import InvalidRequest, Unavailable, needing_torch
from trackserver.genome.sequence import N, reverse_complement
from trackserver.models import registry
from trackserver.models.card import ModelCard
from trackserver.predict.ensemble import Ensemble

with needing_torch():
    import torch
    from torch import Tensor, nn

    from trackserver.models.borzoi import unsquash
    from trackserver.models.shared_stride import shares_windows
    from trackserver.predict.layouts import Layouts

if TYPE_CHECKING:
    from trackserver.genome.sequence import Codes


Precision = Literal["float32", "tf32", "bfloat16"]


class Predictor:
    """A model on a device, ready to predict.

    Parameters
    ----------
    card, module
        The model's card, and its network (B, 4, L) -> (B, T, (L - 2 crop) / bin_width), which is moved to the device.
    device
        `auto` (CUDA if there is a GPU), `cpu`, `cuda` or `cuda:0`.
    batch_size
        Windows computed at once. Changes memory and speed, never the result.
    ensemble
        Which strands and shifts are averaged, the units of the values, and where variants lie in the window.
    rows
        The card's tracks that `module` predicts, in its order, if it was loaded with part of its head.
    tracks
        The tracks to return, in this order; all of `rows` by default.
    precision
        Precision of the arithmetic. Anything below float32 is for browsing, not for differences.
    """

    def __init__(
        self,
        card: ModelCard,
        module: nn.Module,
        device: str = "auto",
        batch_size: int = 8,
        ensemble: Ensemble = Ensemble(),  # noqa: B008  (frozen)
        *,
        rows: Sequence[int] | None = None,
        tracks: Sequence[int] | None = None,
        precision: Precision = "float32",
    ):
        if batch_size < 1:
            raise InvalidRequest(f"A batch needs at least one window, not {batch_size}.")
        self.card, self.batch_size, self.ensemble = ensemble.place_variants(card), batch_size, ensemble
        self.precision = precision
        allow_tf32(precision == "tf32")
        self.device = resolve_device(device)
        self.module = module.to(self.device).eval()
        rows = tuple(range(len(card.tracks)) if rows is None else rows)
        self.tracks = tuple(rows if tracks is None else tracks)
        if missing := set(self.tracks) - set(rows):
            raise InvalidRequest(f"Track {min(missing)} of model {card.id} was not loaded.")
        self._output_rows = slice(None) if self.tracks == tuple(rows) else [rows.index(track) for track in self.tracks]
        self._opposite = _opposite_rows(card, rows, self.tracks) if ensemble.both_strands else []
        self._unsquash = Unsquash(card, self.tracks, self.device) if not ensemble.squashed else None
        self._bases = torch.cat([torch.eye(4), torch.full((1, 4), card.n_value)]).to(self.device)
        # Every window is predicted once per view, and the outputs are averaged.
        self.views = [View(reverse, shift) for reverse in (False, True)[: 1 + ensemble.both_strands]
                      for shift in ensemble.shifts]  # fmt: skip
        self.layouts = Layouts(self.module)

    def accepts_length(self, length: int) -> bool:
        """Whether the model can predict sequences of `length` bp.

        That is its own window, a shorter one if the card allows it, or several windows `card.predicted_bp` bp apart if
        the module shares their computation. Shifted windows share nothing.
        """
        more_windows, remainder = divmod(length - self.card.window, self.card.predicted_bp)
        several = more_windows > 0 and not remainder and self.ensemble.shifts == (0,)
        return self.card.accepts_length(length) or (several and shares_windows(self.module, self.card.predicted_bp))

    def predict(self, codes: Codes) -> NDArray[np.float32]:
        """Predict each window.

        Parameters
        ----------
        codes
            Base codes (B, L), uint8; L is a length that `accepts_length` allows.

        Returns
        -------
        ndarray
            float32 (B, T, (L - 2 crop) / bin_width), tracks as in `self.tracks`; the first bin starts `card.crop` bp
            into the window.
        """
        if codes.ndim != 2 or not self.accepts_length(codes.shape[1]):
            raise InvalidRequest(f"{self.card.id} reads windows (B, L) of {self.card.window:,} bp, not {codes.shape}.")
        values = np.empty((len(codes), len(self.tracks), self.card.n_bins(codes.shape[1])), np.float32)
        for start in range(0, len(codes), self.batch_size):
            part = slice(start, start + self.batch_size)
            values[part] = self.predict_batch(codes[part]).cpu().numpy()
        return values

    def predict_batch(self, codes: Codes) -> Tensor:
        """Predict one batch (B, L) like `predict`, but leave the values on the device, perhaps still pending."""
        with torch.inference_mode():
            return self.average(self.run(view.apply(codes)) for view in self.views)

    def average(self, outputs: Iterable[Tensor]) -> Tensor:
        """Average the views' outputs, summing over shifts and then strands, and convert the units.

        Parameters
        ----------
        outputs
            The module's output (B, rows, bins) for each of `views`, in their order. May also be the same range of bins
            of each, counted from the other end on the reverse strand.

        Returns
        -------
        Tensor
            (B, T, bins), tracks as in `self.tracks`; reuses the memory of the outputs where possible.
        """
        outputs, n_shifts = iter(outputs), len(self.ensemble.shifts)
        total = sum_of(islice(outputs, n_shifts))[:, self._output_rows]
        if self.ensemble.both_strands:
            total = total + sum_of(outputs).flip(-1)[:, self._opposite]
        mean = total / len(self.views) if len(self.views) > 1 else total
        return self._unsquash(mean) if self._unsquash else mean

    def predict_views(self, codes: Codes) -> Iterator[NDArray[np.float32]]:
        """Predict windows (B, L) for each of `views` separately: float32 (B, T, bins), in the units of `predict`."""
        for view in self.views:
            with torch.inference_mode():
                yield self.view_values(view, self.run(view.apply(codes)))

    def view_values(self, view: View, output: Tensor) -> NDArray[np.float32]:
        """Convert the module's output for one view (B, rows, bins) to tracks in their units (B, T, bins)."""
        values = (output.flip(-1)[:, self._opposite] if view.reverse else output[:, self._output_rows]).clone()
        values = self._unsquash(values) if self._unsquash else values
        return np.asarray(values.cpu().numpy(), np.float32)

    def run(self, codes: Codes) -> Tensor:
        """Run the module on windows (B, L) as they are, without strands or shifts: (B, rows, bins)."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            output: Tensor = self.module(self.one_hot(codes))
        return output.float()

    def compile(self) -> None:
        """Let torch compile the network at the first batch of each shape; pays off for many batches of one shape."""
        self.module.compile(dynamic=False)

    def peak_memory_bytes(self) -> int:
        """Peak GPU memory in bytes; 0 on a processor."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0

    def one_hot(self, codes: Codes) -> Tensor:
        """(B, L) base codes -> (B, 4, L) on the device."""
        indices = torch.from_numpy(np.minimum(codes, N))
        if self.device.type == "cuda":
            indices = indices.pin_memory().to(self.device, non_blocking=True)
        return self._bases[indices.long()].transpose(1, 2).contiguous()


class View(NamedTuple):
    """One strand of a window, read from its 5' end and shifted by some bp."""

    reverse: bool
    shift: int

    def apply(self, codes: Codes) -> Codes:
        return shift_codes(reverse_complement(codes) if self.reverse else codes, self.shift)


def sum_of(outputs: Iterator[Tensor]) -> Tensor:
    total = next(outputs)
    for output in outputs:
        total = total + output
    return total


class Unsquash:
    """Convert tracks whose data were squashed for training back to the units of the data; leave the others alone."""

    def __init__(self, card: ModelCard, tracks: Sequence[int], device: torch.device):
        squashes = {row: squash for row, track in enumerate(tracks) if (squash := card.tracks[track].squash)}
        self.rows = list(squashes)
        self.scale = torch.tensor([squash.scale for squash in squashes.values()], device=device)
        clips = [squash.clip_soft for squash in squashes.values()]
        self.clip_soft = torch.tensor([math.inf if clip is None else clip for clip in clips], device=device)
        self.power = torch.tensor([squash.power for squash in squashes.values()], device=device)

    def __call__(self, values: Tensor) -> Tensor:
        if self.rows:
            values[:, self.rows] = unsquash(values[:, self.rows], self.scale, self.clip_soft, self.power)
        return values


def shift_codes(codes: Codes, shift: int) -> Codes:
    if not shift:
        return codes
    length = codes.shape[1]
    shifted = np.full_like(codes, N)
    shifted[:, max(shift, 0) : length + min(shift, 0)] = codes[:, max(-shift, 0) : length - max(shift, 0)]
    return shifted


def _opposite_rows(card: ModelCard, rows: Sequence[int], tracks: Sequence[int]) -> list[int]:
    """Find the module's row with each track's signal on the other strand: its strand pair, or the track itself."""
    pairs = [card.tracks[track].strand_pair for track in tracks]
    opposite = [track if pair is None else pair for track, pair in zip(tracks, pairs, strict=True)]
    if missing := set(opposite) - set(rows):
        raise InvalidRequest(f"Averaging both strands also needs track {min(missing)} of model {card.id}; add it.")
    return [rows.index(track) for track in opposite]


def allow_tf32(allowed: bool) -> None:
    """Allow or forbid TF32 for the whole process: threads that switched it around each call would undo each other."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def load_predictor(
    models_dir: str | os.PathLike[str],
    model_id: str,
    *,
    tracks: Sequence[int] | None = None,
    device: str = "auto",
    batch_size: int = 8,
    ensemble: Ensemble = Ensemble(),  # noqa: B008  (frozen)
    stride: int | None = None,
    precision: Precision = "float32",
) -> Predictor:
    """Load a site's model with only the rows of its head that `tracks` needs; raises as `registry.load` does."""
    models_dir = Path(models_dir)
    card = registry.card(models_dir, model_id)
    rows = _with_pairs(card, tracks) if tracks is not None and ensemble.both_strands else tracks
    module = registry.load(models_dir, model_id, rows, stride)
    card = card.at_stride(stride) if stride else card
    return Predictor(card, module, device, batch_size, ensemble, rows=rows, tracks=tracks, precision=precision)


def _with_pairs(card: ModelCard, tracks: Sequence[int]) -> list[int]:
    pairs = [card.tracks[track].strand_pair for track in tracks if 0 <= track < len(card.tracks)]
    return list(dict.fromkeys([*tracks, *(pair for pair in pairs if pair is not None)]))


def devices(names: str) -> list[str]:
    """List the devices that `auto` (all GPUs, or the processor if there are none), `cpu` or `cuda:0,1` stand for."""
    if names == "auto":
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]
    first, *others = names.split(",")
    kind = first.partition(":")[0]
    return [first, *(f"{kind}:{other}" if other.isdecimal() else other for other in others)]


def resolve_device(name: str) -> torch.device:
    """Convert `auto`, `cpu`, `cuda` or `cuda:0` to torch's device.

    Raises
    ------
    InvalidRequest
        There is no such kind of device.
    Unavailable
        This machine does not have that CUDA device.
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
            f"There is no device '{name}': torch sees {torch.cuda.device_count()} CUDA devices on this machine. "
            "Choose cpu or auto, or install a CUDA build of torch."
        )
    return device
