"""Sequence in, numbers out: a model on a device, in batches.

Everything is float32 without TF32, for what comes out is subtracted from its like. Tracks that are only looked at may
be asked for in less.
"""

from __future__ import annotations

import math
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

    from trackserver.models.along import goes_along
    from trackserver.models.borzoi import unsquash
    from trackserver.predict.layouts import Layouts

if TYPE_CHECKING:
    from trackserver.genome.sequence import Codes


Precision = Literal["float32", "tf32", "bfloat16"]


class Predictor:
    """A model ready to be asked.

    Parameters
    ----------
    card, module
        What the model is, and the network (B, 4, L) -> (B, T, (L - 2 crop) / bin_width); it is moved to the device.
    device
        `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:0`.
    batch_size
        Windows computed at once: memory and speed only, never the result.
    ensemble
        What is averaged, in which units the values are, and where variants lie.
    rows
        The card's tracks that `module` has, in its order, where it was loaded with part of its head.
    tracks
        The tracks to return, in this order; all of `rows` by default.
    precision
        Of the arithmetic; what is less than float32 is for looking at, not for subtracting.
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
        self.card, self.batch_size, self.ensemble = ensemble.placed(card), batch_size, ensemble
        self.precision = precision
        allow_tf32(precision == "tf32")
        self.device = resolve_device(device)
        self.module = module.to(self.device).eval()
        rows = tuple(range(len(card.tracks)) if rows is None else rows)
        self.tracks = tuple(rows if tracks is None else tracks)
        if missing := set(self.tracks) - set(rows):
            raise InvalidRequest(f"Track {min(missing)} of model {card.id} was not loaded.")
        self._keep = slice(None) if self.tracks == tuple(rows) else [rows.index(track) for track in self.tracks]
        self._opposite = _opposite_rows(card, rows, self.tracks) if ensemble.both_strands else []
        self._unsquash = Unsquash(card, self.tracks, self.device) if not ensemble.squashed else None
        self._bases = torch.cat([torch.eye(4), torch.full((1, 4), card.n_value)]).to(self.device)
        # Each window is read in these ways, and what comes of them averaged.
        self.views = [View(reverse, shift) for reverse in (False, True)[: 1 + ensemble.both_strands]
                      for shift in ensemble.shifts]  # fmt: skip
        self.layouts = Layouts(self.module)

    def reads(self, length: int) -> bool:
        """Whether sequences of `length` bp may be asked about: the model's window, a shorter one where the card allows
        it, or windows `card.kept` bp apart where the module goes along; shifted windows share nothing.
        """
        windows, beyond = divmod(length - self.card.window, self.card.kept)
        along = windows > 0 and not beyond and self.ensemble.shifts == (0,)
        return self.card.reads(length) or (along and goes_along(self.module, self.card.kept))

    def predict(self, codes: Codes) -> NDArray[np.float32]:
        """What the model says about each window.

        Parameters
        ----------
        codes
            Base codes (B, L), uint8, of a length L that it `reads`.

        Returns
        -------
        ndarray
            float32 (B, T, (L - 2 crop) / bin_width), tracks as in `self.tracks`; the first bin starts `card.crop` bp
            into the window.
        """
        if codes.ndim != 2 or not self.reads(codes.shape[1]):
            raise InvalidRequest(f"{self.card.id} reads windows (B, L) of {self.card.window:,} bp, not {codes.shape}.")
        values = np.empty((len(codes), len(self.tracks), self.card.n_bins(codes.shape[1])), np.float32)
        for start in range(0, len(codes), self.batch_size):
            part = slice(start, start + self.batch_size)
            values[part] = self.computed(codes[part]).cpu().numpy()
        return values

    def computed(self, codes: Codes) -> Tensor:
        """What `predict` returns for one batch (B, L), still on the device, where it may not be ready yet."""
        with torch.inference_mode():
            return self.average(self.run(view.of(codes)) for view in self.views)

    def average(self, outputs: Iterable[Tensor]) -> Tensor:
        """Over shifts and strands, in that order of sums; then the units.

        Parameters
        ----------
        outputs
            What the module gives for each of `views`, in their order: (B, rows, bins), or of each the same part of the
            bins (those of the other strand from the other end).

        Returns
        -------
        Tensor
            (B, T, bins), tracks as in `self.tracks`; made in the memory of the outputs where that is possible.
        """
        outputs, n_shifts = iter(outputs), len(self.ensemble.shifts)
        total = sum_of(islice(outputs, n_shifts))[:, self._keep]
        if self.ensemble.both_strands:
            total = total + sum_of(outputs).flip(-1)[:, self._opposite]
        mean = total / len(self.views) if len(self.views) > 1 else total
        return self._unsquash(mean) if self._unsquash else mean

    def each(self, codes: Codes) -> Iterator[NDArray[np.float32]]:
        """What each of `views` alone says about windows (B, L): float32 (B, T, bins), as `predict`'s values."""
        for view in self.views:
            with torch.inference_mode():
                yield self.alone(view, self.run(view.of(codes)))

    def alone(self, view: View, output: Tensor) -> NDArray[np.float32]:
        """What the module gives for one view (B, rows, bins), as tracks in their units (B, T, bins)."""
        values = (output.flip(-1)[:, self._opposite] if view.reverse else output[:, self._keep]).clone()
        values = self._unsquash(values) if self._unsquash else values
        return np.asarray(values.cpu().numpy(), np.float32)

    def run(self, codes: Codes) -> Tensor:
        """What the module gives for windows as they stand (B, L): (B, rows, bins)."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            output: Tensor = self.module(self.one_hot(codes))
        return output.float()

    def compile(self) -> None:
        """Have the network compiled by torch at its first batch of each shape, for many of one."""
        self.module.compile(dynamic=False)

    def most_memory(self) -> int:
        """The most bytes of the GPU's memory that were in use; 0 on a processor."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0

    def one_hot(self, codes: Codes) -> Tensor:
        """(B, L) base codes -> (B, 4, L) on the device."""
        given = torch.from_numpy(np.minimum(codes, N))
        if self.device.type == "cuda":
            given = given.pin_memory().to(self.device, non_blocking=True)
        return self._bases[given.long()].transpose(1, 2).contiguous()


class View(NamedTuple):
    """One way a window is read: either strand, from its 5' end, moved by some bp."""

    reverse: bool
    shift: int

    def of(self, codes: Codes) -> Codes:
        return shifted(reverse_complement(codes) if self.reverse else codes, self.shift)


def sum_of(outputs: Iterator[Tensor]) -> Tensor:
    total = next(outputs)
    for output in outputs:
        total = total + output
    return total


class Unsquash:
    """Puts tracks whose data were squashed for training back into the units of the data; others stay as they are."""

    def __init__(self, card: ModelCard, tracks: Sequence[int], device: torch.device):
        found = {row: squash for row, track in enumerate(tracks) if (squash := card.tracks[track].squash)}
        self.rows = list(found)
        self.scale = torch.tensor([squash.scale for squash in found.values()], device=device)
        clips = [squash.clip_soft for squash in found.values()]
        self.clip_soft = torch.tensor([math.inf if clip is None else clip for clip in clips], device=device)
        self.power = torch.tensor([squash.power for squash in found.values()], device=device)

    def __call__(self, values: Tensor) -> Tensor:
        if self.rows:
            values[:, self.rows] = unsquash(values[:, self.rows], self.scale, self.clip_soft, self.power)
        return values


def shifted(codes: Codes, shift: int) -> Codes:
    if not shift:
        return codes
    moved = np.full_like(codes, N)
    moved[:, max(shift, 0) : codes.shape[1] + min(shift, 0)] = codes[:, max(-shift, 0) : codes.shape[1] - max(shift, 0)]
    return moved


def _opposite_rows(card: ModelCard, rows: Sequence[int], tracks: Sequence[int]) -> list[int]:
    """For each track, the module's row that reads the same signal on the other strand: its pair, or itself."""
    pairs = [card.tracks[track].strand_pair for track in tracks]
    wanted = [track if pair is None else pair for track, pair in zip(tracks, pairs, strict=True)]
    if missing := set(wanted) - set(rows):
        raise InvalidRequest(f"Averaging both strands also needs track {min(missing)} of model {card.id}.")
    return [rows.index(track) for track in wanted]


def allow_tf32(allowed: bool) -> None:
    """For this process: switched around each call, threads would undo one another's."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def load_predictor(
    models_dir: Path,
    model_id: str,
    *,
    tracks: Sequence[int] | None = None,
    device: str = "auto",
    batch_size: int = 8,
    ensemble: Ensemble = Ensemble(),  # noqa: B008  (frozen)
    stride: int | None = None,
    precision: Precision = "float32",
) -> Predictor:
    """A site's model, with only the rows of its head that are needed; see `registry.load` for what can be wrong."""
    card = registry.card(models_dir, model_id)
    rows = _with_pairs(card, tracks) if tracks is not None and ensemble.both_strands else tracks
    module = registry.load(models_dir, model_id, rows, stride)
    card = card.at_stride(stride) if stride else card
    return Predictor(card, module, device, batch_size, ensemble, rows=rows, tracks=tracks, precision=precision)


def _with_pairs(card: ModelCard, tracks: Sequence[int]) -> list[int]:
    pairs = [card.tracks[track].strand_pair for track in tracks if 0 <= track < len(card.tracks)]
    return list(dict.fromkeys([*tracks, *(pair for pair in pairs if pair is not None)]))


def devices(names: str) -> list[str]:
    """What `auto` (all GPUs, or the processor where there is none), `cpu` or `cuda:0,1` name, one by one."""
    if names == "auto":
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]
    first, *others = names.split(",")
    kind = first.partition(":")[0]
    return [first, *(f"{kind}:{other}" if other.isdecimal() else other for other in others)]


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
