"""Training targets: the windows of a folds file, their sequence, and their bins in observed bigWigs.

This module needs no torch, so that baselines can read the same bins through the same functions.
"""

from __future__ import annotations

import os
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
from trackserver.genome.regions import bed_positions, read_bed_lines
from trackserver.genome.sequence import Codes, Genome
from trackserver.models.card import Track
from trackserver.models.folds import FOLDS

Loss = Literal["signal", "poisson", "peaks"]
Uncovered = Literal["missing", "zero"]
Values = NDArray[np.float32]


@dataclass(frozen=True)
class TrainingTrack:
    """A bigWig to train on, and its loss.

    `loss` is `signal` (squared error of log(1 + scale * y / mean), for coverage), `poisson` (counts) or `peaks`
    (cross-entropy; a bin's label is scale * y, clipped to 0 to 1, so intervals of value 1 need no scale).
    """

    track: Track
    path: Path
    loss: Loss = "signal"
    scale: float = 1.0


@dataclass(frozen=True)
class FoldWindow:
    """A locus and its fold: `train`, `valid` or `test`."""

    locus: Locus
    fold: str


@dataclass(frozen=True)
class Window:
    """A window of the folds file in memory.

    `codes` (flank + L + flank,) reach beyond the locus; `targets` are float32 (T, L // step), NaN if unknown.
    """

    locus: Locus
    fold: str
    codes: Codes
    targets: Values
    flank: int


def read_folds(path: str | os.PathLike[str], assembly: Assembly) -> tuple[FoldWindow, ...]:
    """Read a BED of `chrom start end train|valid|test`.

    Raises
    ------
    DataError
        A line has another format, train or valid has no window, or windows of different folds overlap, so that a
        model would be evaluated on what it was trained on.
    BadLocus, UnknownChromosome
        A window lies outside the assembly.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no folds file {path}.")
    windows = tuple(_fold_window(path, number, fields, assembly) for number, fields in read_bed_lines(path))
    for fold in ("train", "valid"):
        if not any(window.fold == fold for window in windows):
            raise DataError(f"{path} has no window of the {fold} fold.")
    _check_apart(path, windows)
    return windows


def _fold_window(path: Path, number: int, fields: list[bytes], assembly: Assembly) -> FoldWindow:
    if len(fields) < 4:
        raise DataError(f"{path}, line {number}: write 'chrom start end fold'.")
    start, end = bed_positions(path, number, fields)
    chrom, fold = fields[0].decode("utf-8", "replace"), fields[3].strip().decode("utf-8", "replace")
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
    """Load the sequence and the binned targets of every window.

    Parameters
    ----------
    step
        bp of a target bin; bins start at the window's start, and a partial bin at its end is left out.
    flank
        Gives the bp of sequence to load on each side of a window, from its length.
    uncovered
        Whether bases without a value in a bigWig are unknown (no loss there) or zero (in files that omit zeros).
    tick
        Called with the part done, 0 to 1.
    """
    columns: list[list[Values]] = []
    for number, path in enumerate(paths):
        columns.append(list(_columns(path, folds, assembly, step, uncovered)))
        tick((number + 1) / len(paths))
    windows = []
    for number, window in enumerate(folds):
        locus, margin = window.locus, flank(len(window.locus))
        codes = genome.codes(Locus(locus.chrom, locus.start - margin, locus.end + margin))
        targets = np.stack([column[number] for column in columns])
        windows.append(Window(locus, window.fold, codes, targets, margin))
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
            raise DataError(f"{path} has no chromosome {window.locus.chrom}, but the folds file has windows on it.")
        yield binned(bigwig, own[window.locus.chrom], window.locus, step, uncovered)


def binned(bigwig: BBI, chrom: Chrom, locus: Locus, step: int, uncovered: Uncovered = "missing") -> Values:
    """Mean of each `step` bp from the locus's start on, float32 (len(locus) // step,); NaN if a base has no value.

    `chrom` is the locus's chromosome in the file. Bin i covers exactly [start + i * step, start + (i + 1) * step).
    """
    covered, sums = base_sums(bigwig, chrom, locus.start, len(locus) // step, step)
    known = np.ones(covered.shape, bool) if uncovered == "zero" else covered > step - 0.5
    return np.where(known, sums / step, np.nan).astype(np.float32)


def coarser(targets: Values, factor: int) -> Values:
    """Average neighbouring bins, (T, n) -> (T, n // factor); NaN if one of them is."""
    n_bins = targets.shape[1] // factor
    return targets[:, : n_bins * factor].reshape(len(targets), n_bins, factor).mean(axis=2)


def covered_span(targets: Values) -> tuple[int, int]:
    """First and one past the last bin (axis 1) in which any track has a value; (0, 0) if there is none."""
    known = np.flatnonzero(np.isfinite(targets).any(axis=0))
    return (int(known[0]), int(known[-1]) + 1) if known.size else (0, 0)
