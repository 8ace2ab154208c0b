"""Run a sweep: predict a plan's chunks and write one bigWig per track. A killed run can be resumed.

Sequence is read, chunks are computed and results are saved at the same time; each device works on its own chunk. A
chunk's predictions are stored as one array in the site's cache, and a resumed run computes only the missing chunks. The
bigWigs are written from the chunks in order while others are computed, and appear when all are done.
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

from trackserver.bbi.writer import AddBins, write_bigwigs
from trackserver.errors import SiteReadOnly
from trackserver.genome.sequence import Codes, Genome
from trackserver.predict.engine import Predictor
from trackserver.predict.stream import merge_streams, prefetch, stream
from trackserver.sweep.chunks import Chunks
from trackserver.sweep.plan import Plan
from trackserver.sweep.windows import Window

READ_AHEAD = 4  # batches
BIGWIGS_PER_PASS = 128  # written at the same time: each takes two open files and a megabyte

Tick = Callable[[int, int], object]  # called with the bins and windows just predicted
# Predicts chunks of a plan, given their numbers: (number, float32 (T, bins)) for each, in any order.
Producer = Callable[[Iterable[int], Tick], Iterator[tuple[int, NDArray[np.float32]]]]
Item = TypeVar("Item")


class Progress(NamedTuple):
    """Progress of a prediction, including what an earlier run has done."""

    bp: int
    total_bp: int
    windows: int
    total_windows: int


# --- Predicting ------------------------------------------------------------------------------------------------------


class _Batch(NamedTuple):
    chunk: int
    windows: list[Window]


def predict_chunks(
    predictor: Predictor, genome: Genome, plan: Plan, numbers: Iterable[int], tick: Tick = lambda bins, windows: None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Predict chunks: (number, float32 (T, bins)) for each, NaN outside the plan's regions."""
    # A read of several windows is a batch already.
    batch_size = 1 if plan.windows_at_once > 1 else predictor.batch_size
    batches = prefetch(_batches(genome, plan, numbers, batch_size), READ_AHEAD)
    with closing(batches):
        for number, parts in groupby(stream(predictor, batches), key=lambda part: part[0].chunk):
            rows = []
            for batch, batch_values in parts:
                bins = [window.n_bins(plan.card.bin_width) for window in batch.windows]
                rows += [row[:, plan.trim : plan.trim + n] for row, n in zip(batch_values, bins, strict=True)]
                tick(sum(bins), len(bins))
            values = np.concatenate(rows, axis=1)
            values[:, ~plan.mask(number)] = np.nan
            yield number, values


def _batches(genome: Genome, plan: Plan, numbers: Iterable[int], size: int) -> Iterator[tuple[_Batch, Codes]]:
    for number in numbers:
        for _, same_length in groupby(plan.windows(number), key=lambda window: len(window.read)):
            for windows in _groups(size, same_length):
                yield _Batch(number, windows), np.stack([genome.codes(window.read) for window in windows])


def _groups(size: int, items: Iterable[Item]) -> Iterator[list[Item]]:
    group: list[Item] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


# --- Saving and writing ----------------------------------------------------------------------------------------------


def sweep(
    plan: Plan,
    chunks: Chunks,
    producers: Sequence[Producer],
    paths: Sequence[Path],
    *,
    digits: int | None = None,
    report: Callable[[Progress], object] = lambda progress: None,
) -> None:
    """Predict the chunks of a plan that are missing, and write one bigWig per track.

    Parameters
    ----------
    producers
        One per device; each takes the next chunk when it has finished one.
    paths
        The bigWig of each track.
    digits
        Significant digits in the bigWigs; None for all.
    report
        Called after each batch, from any thread, one at a time.

    Raises
    ------
    SiteReadOnly
        The disk is full or read-only; finished chunks are kept.
    """
    missing = [number for number in range(len(plan.chunks)) if not chunks.has(number)]
    counter = _Counter(plan, missing, report)
    numbers = _SharedIterator(missing)
    saved = merge_streams([_save(producer(numbers, counter.add), chunks) for producer in producers], len(producers))
    try:
        with closing(saved), counter.stop_on_exit(), _open_bigwigs(plan, paths[:BIGWIGS_PER_PASS], digits) as add:
            n_written = 0
            for _ in saved:
                n_written = _write(plan, chunks, add, slice(BIGWIGS_PER_PASS), n_written)
            _write(plan, chunks, add, slice(BIGWIGS_PER_PASS), n_written)
        for first in range(BIGWIGS_PER_PASS, len(paths), BIGWIGS_PER_PASS):
            tracks = slice(first, first + BIGWIGS_PER_PASS)
            with _open_bigwigs(plan, paths[tracks], digits) as add:
                _write(plan, chunks, add, tracks, 0)
    except OSError as error:
        raise SiteReadOnly(
            f"The prediction stopped: {error.strerror or error} ({error.filename or chunks.folder}). "
            "Finished chunks are kept: free some space, or give yourself write permission, and continue with --resume."
        ) from error


def _save(results: Iterator[tuple[int, NDArray[np.float32]]], chunks: Chunks) -> Iterator[int]:
    """Save each chunk as soon as it is predicted, and yield its number."""
    for number, values in results:
        chunks.save(number, values)
        yield number


def _open_bigwigs(plan: Plan, paths: Sequence[Path], digits: int | None) -> AbstractContextManager[AddBins]:
    return write_bigwigs(paths, plan.assembly.chromsizes, plan.card.bin_width, digits=digits)


def _write(plan: Plan, chunks: Chunks, add: AddBins, tracks: slice, first: int) -> int:
    """Write the finished chunks from `first` on, in order; returns the first chunk that is missing."""
    width = plan.card.bin_width
    while first < len(plan.chunks) and chunks.has(first):
        values, start = chunks.load(first)[tracks], 0
        for piece in plan.chunks[first]:
            end = start - (-len(piece) // width)
            add(piece.chrom, piece.start, values[:, start:end])
            start = end
        first += 1
    return first


class _SharedIterator(Iterator[int]):
    """Numbers for several threads; each number is taken once."""

    def __init__(self, numbers: Iterable[int]):
        self._numbers, self._lock = iter(numbers), threading.Lock()

    def __next__(self) -> int:
        with self._lock:
            return next(self._numbers)


class _Stopped(Exception):
    """Ends a thread in the middle of a chunk."""


class _Counter:
    """Counts what several threads have predicted, and stops them."""

    def __init__(self, plan: Plan, missing: Sequence[int], report: Callable[[Progress], object]):
        missing_sizes = [plan.chunk_size(number) for number in missing]
        sizes = [plan.chunk_size(number) for number in range(len(plan.chunks))]
        self._bins, self._windows = (sum(column) for column in zip((0, 0), *sizes, strict=True))
        self._total = (self._bins, self._windows)
        self._bins -= sum(bins for bins, _ in missing_sizes)
        self._windows -= sum(windows for _, windows in missing_sizes)
        self._width, self._report, self._lock, self._stopped = plan.card.bin_width, report, threading.Lock(), False
        self.add(0, 0)

    def add(self, bins: int, windows: int) -> None:
        if self._stopped:
            raise _Stopped
        with self._lock:
            self._bins, self._windows = self._bins + bins, self._windows + windows
            total_bins, total_windows = self._total
            self._report(Progress(self._bins * self._width, total_bins * self._width, self._windows, total_windows))

    @contextmanager
    def stop_on_exit(self) -> Iterator[None]:
        """Stop all threads when the block exits."""
        try:
            yield
        finally:
            self._stopped = True
