"""Genome-wide tracks: windows in, one bigWig a track out, in chunks that survive a kill.

The bins that are wanted are cut into chunks. Reading sequence, computing, and keeping what was computed go on at the
same time, on each device a chunk of its own. A chunk's predictions are kept beside the site as one array, which counts
once it is renamed into place; a run that is resumed computes only what is missing. The bigWigs are written from the
chunks in order while others are computed, and appear when all are done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from trackserver.bbi.writer import Add, writing
from trackserver.errors import SiteReadOnly
from trackserver.genome.sequence import Codes, Genome
from trackserver.predict.engine import Predictor
from trackserver.predict.stream import ahead, merged, stream
from trackserver.sweep.chunks import Chunks
from trackserver.sweep.plan import Plan
from trackserver.sweep.windows import Window

READ_AHEAD = 4  # batches
AT_ONCE = 128  # bigWigs that are written at the same time: two open files and a megabyte each

Tick = Callable[[int, int], object]  # bins and windows that were predicted just now
# Predicts chunks of a plan, (number, float32 (T, bins)) of each, in any order.
Producer = Callable[[Iterable[int], Tick], Iterator[tuple[int, NDArray[np.float32]]]]
Item = TypeVar("Item")


class Progress(NamedTuple):
    """How far a prediction is, of how much; what an earlier run has done is done."""

    bp: int
    of_bp: int
    windows: int
    of_windows: int


# --- Predicting ------------------------------------------------------------------------------------------------------


class _Batch(NamedTuple):
    chunk: int
    windows: list[Window]


def predicted(
    predictor: Predictor, genome: Genome, plan: Plan, numbers: Iterable[int], tick: Tick = lambda bins, windows: None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Chunks by number: float32 (T, bins), the kept bins end to end; NaN where none is wanted."""
    # Windows that are read as one are a batch already.
    batches = ahead(_batches(genome, plan, numbers, 1 if plan.along > 1 else predictor.batch_size), READ_AHEAD)
    with closing(batches):
        for number, parts in groupby(stream(predictor, batches), key=lambda part: part[0].chunk):
            kept = []
            for batch, values in parts:
                bins = [window.n_bins(plan.card.bin_width) for window in batch.windows]
                kept += [row[:, plan.trim : plan.trim + n] for row, n in zip(values, bins, strict=True)]
                tick(sum(bins), len(bins))
            whole = np.concatenate(kept, axis=1)
            whole[:, ~plan.is_wanted(number)] = np.nan
            yield number, whole


def _batches(genome: Genome, plan: Plan, numbers: Iterable[int], size: int) -> Iterator[tuple[_Batch, Codes]]:
    for number in numbers:
        for _, same in groupby(plan.windows(number), key=lambda window: len(window.read)):
            for windows in _by(size, same):
                yield _Batch(number, windows), np.stack([genome.codes(window.read) for window in windows])


def _by(size: int, items: Iterable[Item]) -> Iterator[list[Item]]:
    some: list[Item] = []
    for item in items:
        some.append(item)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


# --- Keeping and writing ---------------------------------------------------------------------------------------------


def sweep(
    plan: Plan,
    chunks: Chunks,
    producers: Sequence[Producer],
    paths: Sequence[Path],
    *,
    digits: int | None = None,
    report: Callable[[Progress], object] = lambda progress: None,
) -> None:
    """Predict what a plan wants and is not kept yet, and write one bigWig a track.

    Parameters
    ----------
    producers
        One a device; each takes the next chunk when it is done with one.
    paths
        Where each track goes.
    digits
        Significant digits to keep in the bigWigs; None for all.
    report
        Called after each batch, from any thread, one at a time.

    Raises
    ------
    SiteReadOnly
        The disk is full, or cannot be written; what was computed is kept.
    """
    missing = [number for number in range(len(plan.chunks)) if not chunks.has(number)]
    counter = _Counter(plan, missing, report)
    numbers = _Shared(missing)
    made = merged([_saved(producer(numbers, counter.add), chunks) for producer in producers], len(producers))
    try:
        with closing(made), counter.stopping(), _files(plan, paths[:AT_ONCE], digits) as add:
            written = 0
            for _ in made:
                written = _write(plan, chunks, add, slice(AT_ONCE), written)
            _write(plan, chunks, add, slice(AT_ONCE), written)
        for first in range(AT_ONCE, len(paths), AT_ONCE):
            some = slice(first, first + AT_ONCE)
            with _files(plan, paths[some], digits) as add:
                _write(plan, chunks, add, some, 0)
    except OSError as error:
        raise SiteReadOnly(
            f"The prediction stopped: {error.strerror or error} ({error.filename or chunks.place}). "
            "What was predicted is kept: make room, or give yourself write permission, and go on with --resume."
        ) from error


def _saved(made: Iterator[tuple[int, NDArray[np.float32]]], chunks: Chunks) -> Iterator[int]:
    """Chunks as soon as they are on the disk: so much is never lost, whatever is computed meanwhile."""
    for number, values in made:
        chunks.save(number, values)
        yield number


def _files(plan: Plan, paths: Sequence[Path], digits: int | None) -> AbstractContextManager[Add]:
    return writing(paths, plan.assembly.chromsizes, plan.card.bin_width, digits=digits)


def _write(plan: Plan, chunks: Chunks, add: Add, tracks: slice, first: int) -> int:
    """Write the chunks from `first` on that are there, in order; returns the next."""
    width = plan.card.bin_width
    while first < len(plan.chunks) and chunks.has(first):
        values, begin = chunks.load(first)[tracks], 0
        for piece in plan.chunks[first]:
            end = begin - (-len(piece) // width)
            add(piece.chrom, piece.start, values[:, begin:end])
            begin = end
        first += 1
    return first


class _Shared(Iterator[int]):
    """Numbers that several threads take, each once."""

    def __init__(self, numbers: Iterable[int]):
        self._numbers, self._lock = iter(numbers), threading.Lock()

    def __next__(self) -> int:
        with self._lock:
            return next(self._numbers)


class _Stopped(Exception):
    """Ends a thread in the middle of a chunk."""


class _Counter:
    """What several threads have predicted, until they are to stop."""

    def __init__(self, plan: Plan, missing: Sequence[int], report: Callable[[Progress], object]):
        left = [plan.amount(number) for number in missing]
        whole = [plan.amount(number) for number in range(len(plan.chunks))]
        self._bins, self._windows = (sum(of) for of in zip((0, 0), *whole, strict=True))
        self._total = (self._bins, self._windows)
        self._bins -= sum(bins for bins, _ in left)
        self._windows -= sum(windows for _, windows in left)
        self._width, self._report, self._lock, self._stopped = plan.card.bin_width, report, threading.Lock(), False
        self.add(0, 0)

    def add(self, bins: int, windows: int) -> None:
        if self._stopped:
            raise _Stopped
        with self._lock:
            self._bins, self._windows = self._bins + bins, self._windows + windows
            of_bins, of_windows = self._total
            self._report(Progress(self._bins * self._width, of_bins * self._width, self._windows, of_windows))

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """After what is done inside, whatever comes of it, nobody counts any more."""
        try:
            yield
        finally:
            self._stopped = True
