"""What a network learns from: the windows of a folds file, their sequence, and their bins in observed bigWigs.

No torch here: the baselines a model is held against read the same bins through the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trackserver.bbi.bigwig import base_sums, open_bigwig, own_chroms
from trackserver.bbi.reader import BBI, Chrom
from trackserver.errors import DataError
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import Codes, Genome
from trackserver.models.card import Track
from trackserver.models.folds import FOLDS

Loss = Literal["signal", "poisson", "peaks"]
Uncovered = Literal["missing", "zero"]
Values = NDArray[np.float32]

# A whole chromosome as a window is read in parts: per-base values take 8 bytes each.
_READ_BP = 1 << 20


@dataclass(frozen=True)
class TrainingTrack:
    """A bigWig to learn, and how.

    `loss` is `signal` (squared error of log(1 + scale * y / mean), for coverage), `poisson` (counts) or `peaks`
    (cross-entropy; a bin's label is scale * y, cut to 0..1, so intervals of value 1 need no scale).
    """

    track: Track
    path: Path
    loss: Loss = "signal"
    scale: float = 1.0


@dataclass(frozen=True)
class FoldWindow:
    """A stretch of the genome and the fold it belongs to, `train`, `valid` or `test`."""

    locus: Locus
    fold: str


@dataclass(frozen=True)
class Window:
    """One window of the training set in memory.

    `codes` (flank + L + flank,) reach beyond the locus; `targets` float32 (T, L // step), NaN where there are none.
    """

    locus: Locus
    fold: str
    codes: Codes
    targets: Values
    flank: int


def read_folds(path: Path, assembly: Assembly) -> tuple[FoldWindow, ...]:
    """Read a BED of `chrom start end train|valid|test`.

    Raises
    ------
    DataError
        A line does not read so, train or valid has no window, or windows of different folds overlap: what a model
        is judged on would then be among what it was shown.
    BadLocus, UnknownChromosome
        A window lies outside the assembly.
    """
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise DataError(f"There is no folds file {path}.") from None
    rows = [(number, line.split()) for number, line in enumerate(lines, 1)]
    windows = tuple(
        _fold_window(path, number, fields, assembly) for number, fields in rows if fields and fields[0][0] != "#"
    )
    for fold in ("train", "valid"):
        if not any(window.fold == fold for window in windows):
            raise DataError(f"{path} has no window of the {fold} fold.")
    _check_apart(path, windows)
    return windows


def _fold_window(path: Path, number: int, fields: list[str], assembly: Assembly) -> FoldWindow:
    try:
        chrom, start, end, fold = fields[0], int(fields[1]), int(fields[2]), fields[3]
    except (IndexError, ValueError):
        raise DataError(f"{path}, line {number}: write 'chrom start end fold'.") from None
    if fold not in FOLDS:
        raise DataError(f"{path}, line {number}: '{fold}' is not a fold; write train, valid or test.")
    return FoldWindow(assembly.check(Locus(chrom, start, end)), fold)


def _check_apart(path: Path, windows: Sequence[FoldWindow]) -> None:
    for one, next_one in pairwise(sorted(windows, key=lambda window: window.locus)):
        if one.fold != next_one.fold and one.locus.overlaps(next_one.locus):
            raise DataError(f"{path}: {one.locus} ({one.fold}) and {next_one.locus} ({next_one.fold}) overlap.")


def load_windows(
    folds: Sequence[FoldWindow],
    paths: Sequence[Path],
    genome: Genome,
    assembly: Assembly,
    *,
    step: int,
    flank: Callable[[int], int],
    uncovered: Uncovered = "missing",
    tick: Callable[[float], object] = lambda done: None,
) -> list[Window]:
    """Sequence and binned targets of every window.

    Parameters
    ----------
    step
        bp a target bin; bins are counted from the window's start, and a rest at its end is left out.
    flank
        From a window's length to the bp of sequence wanted on each side of it.
    uncovered
        Whether bases a bigWig says nothing about are unknown (no loss there) or zero (files that omit zeros).
    tick
        Told the part done, 0 to 1.
    """
    columns: list[list[Values]] = []
    for number, path in enumerate(paths):
        columns.append(list(_columns(path, folds, assembly, step, uncovered)))
        tick((number + 1) / len(paths))
    windows = []
    for number, window in enumerate(folds):
        locus, beyond = window.locus, flank(len(window.locus))
        codes = genome.codes(Locus(locus.chrom, locus.start - beyond, locus.end + beyond))
        targets = np.stack([column[number] for column in columns])
        windows.append(Window(locus, window.fold, codes, targets, beyond))
    return windows


def of_fold(windows: Sequence[Window], fold: str) -> list[Window]:
    return [window for window in windows if window.fold == fold]


def _columns(
    path: Path, folds: Sequence[FoldWindow], assembly: Assembly, step: int, uncovered: Uncovered
) -> Iterator[Values]:
    bigwig = open_bigwig(path)
    own = own_chroms(bigwig, assembly)
    for window in folds:
        if window.locus.chrom not in own:
            raise DataError(f"{path} has no chromosome {window.locus.chrom}, which the folds file names.")
        yield binned(bigwig, own[window.locus.chrom], window.locus, step, uncovered)


def binned(bigwig: BBI, chrom: Chrom, locus: Locus, step: int, uncovered: Uncovered = "missing") -> Values:
    """Mean of each `step` bp from the locus's start on, float32 (len(locus) // step,); NaN where a base has no value.

    `chrom` is the locus's chromosome in the file. Bin i covers exactly [start + i * step, start + (i + 1) * step).
    """
    covered, sums = base_sums(bigwig, chrom, locus.start, len(locus) // step, step)
    known = np.ones(covered.shape, bool) if uncovered == "zero" else covered > step - 0.5
    return np.where(known, sums / step, np.nan).astype(np.float32)


def coarser(targets: Values, factor: int) -> Values:
    """(T, n) -> (T, n // factor): means of neighbouring bins; NaN where one of them is."""
    n_bins = targets.shape[1] // factor
    return targets[:, : n_bins * factor].reshape(len(targets), n_bins, factor).mean(axis=2)


def covered_span(targets: Values) -> tuple[int, int]:
    """First and one past the last bin (of axis 1) in which any track has a value; (0, 0) where none has."""
    known = np.flatnonzero(np.isfinite(targets).any(axis=0))
    return (int(known[0]), int(known[-1]) + 1) if known.size else (0, 0)
