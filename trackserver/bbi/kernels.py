"""The inner loops of bigWig tiles, which distribute a block's records over bins. Compiled with numba, once per machine.

Each bin gets the part of a record that overlaps it. A record of the data is constant along its length, so the result
is exact. The shape under a zoom level's summary is unknown, so its sums are divided in proportion to the overlap, and
its extremes count in every bin that it overlaps. There are no running totals along the tile, so a small value after
large ones keeps its digits.

All positions are on the absolute axis: the first bin starts at `origin`, and bins are `width` bp wide. `offsets` and
`limits` give the start (-1: not on the axis) and end of each chromosome, by its id in the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.compiled import compiled

Words = NDArray[np.uint32]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

# Rows of a (3, bins) array: covered bases, sum, sum of squares. Rows of a (2, bins) array: minimum and maximum.
COVERED, SUM, SQUARES = range(3)
LOW, HIGH = range(2)

BED, VARIABLE, FIXED = 1, 2, 3  # kinds of section


@compiled
def _summary_span(words: Any, i: int, offsets: Any, limits: Any) -> Any:
    """Return start and end of a summary on the axis; (0, 0) if it is not on the axis or covers no bases."""
    chrom = words[i, 0]
    if words[i, 3] == 0 or chrom >= len(offsets) or offsets[chrom] < 0:
        return np.int64(0), np.int64(0)
    # A summary may extend past the end of its chromosome.
    start, end = offsets[chrom] + words[i, 1], min(offsets[chrom] + words[i, 2], limits[chrom])
    return (start, end) if start < end else (np.int64(0), np.int64(0))


@compiled
def add_summaries(
    words: Words, singles: Singles, offsets: Integers, limits: Integers, origin: int, width: int, out: Floats
) -> None:
    """Add summaries to `out` (3, bins).

    Summaries are (n, 8): chromosome, start, end, covered bases (integers); minimum, maximum, sum, squares (floats).
    """
    n_bins = out.shape[1]
    for i in range(words.shape[0]):
        start, end = _summary_span(words, i, offsets, limits)
        if end == 0:
            continue
        first = max((start - origin) // width, 0)
        last = min((end - 1 - origin) // width, n_bins - 1)
        for b in range(first, last + 1):
            overlap = min(end, origin + (b + 1) * width) - max(start, origin + b * width)
            share = overlap / (end - start)
            out[0, b] += words[i, 3] * share
            out[1, b] += singles[i, 6] * share
            out[2, b] += singles[i, 7] * share


@compiled
def widen_summaries(
    words: Words, singles: Singles, offsets: Integers, limits: Integers, origin: int, width: int, out: Floats
) -> None:
    """Update the extremes in `out` (2, bins) with summaries (n, 8)."""
    n_bins = out.shape[1]
    for i in range(words.shape[0]):
        start, end = _summary_span(words, i, offsets, limits)
        if end == 0:
            continue
        for b in range(max((start - origin) // width, 0), min((end - 1 - origin) // width, n_bins - 1) + 1):
            out[0, b] = min(out[0, b], singles[i, 4])
            out[1, b] = max(out[1, b], singles[i, 5])


@compiled
def _record(words: Any, singles: Any, head: Any, i: int) -> Any:
    """Return start, end and value of a record in a section."""
    kind, _, first_start, step, span = head
    # Signed, because numba converts a mix of signed and unsigned integers to floats.
    if kind == 1:
        return np.int64(words[3 * i]), np.int64(words[3 * i + 1]), np.float64(singles[3 * i + 2])
    start = np.int64(words[2 * i]) if kind == 2 else np.int64(first_start + i * step)
    return start, start + np.int64(span), np.float64(singles[2 * i + 1] if kind == 2 else singles[i])


@compiled
def add_section(
    words: Words, singles: Singles, head: tuple[int, ...], offset: int, limit: int, origin: int, width: int, out: Floats
) -> None:
    """Add a section of the data to `out` (3, bins); `head` is its kind, count, start, step and span."""
    n_bins = out.shape[1]
    for i in range(head[1]):
        start, end, value = _record(words, singles, head, i)
        start, end = start + offset, min(end + offset, limit)
        if end <= start or not np.isfinite(value):
            continue
        for b in range(max((start - origin) // width, 0), min((end - 1 - origin) // width, n_bins - 1) + 1):
            overlap = min(end, origin + (b + 1) * width) - max(start, origin + b * width)
            out[0, b] += overlap
            out[1, b] += value * overlap
            out[2, b] += value * value * overlap


@compiled
def widen_section(
    words: Words, singles: Singles, head: tuple[int, ...], offset: int, limit: int, origin: int, width: int, out: Floats
) -> None:
    """Update the extremes in `out` (2, bins) with a section; see `add_section`."""
    n_bins = out.shape[1]
    for i in range(head[1]):
        start, end, value = _record(words, singles, head, i)
        start, end = start + offset, min(end + offset, limit)
        if end <= start or not np.isfinite(value):
            continue
        for b in range(max((start - origin) // width, 0), min((end - 1 - origin) // width, n_bins - 1) + 1):
            out[0, b] = min(out[0, b], value)
            out[1, b] = max(out[1, b], value)


@compiled
def repair(words: Words, singles: Singles, missing: Integers) -> int:
    """Repair, in place, summaries (n, 8) that are invalid or lack their sums.

    libBigWig, and so pyBigWig and deepTools, write sums of 0 at the end of each block, which contradict the extremes.
    If minimum and maximum are the same, the sums follow from them. Otherwise the summary's number is written to
    `missing`. Returns the count of those.
    """
    n_missing = 0
    for i in range(words.shape[0]):
        low, high = singles[i, 4], singles[i, 5]
        if not np.isfinite(singles[i, 6]) or words[i, 2] <= words[i, 1]:
            words[i, 3] = 0
        elif singles[i, 6] == 0 and words[i, 3] > 0 and (low > 0 or high < 0):
            if low == high:
                singles[i, 6] = low * words[i, 3]
                singles[i, 7] = low * singles[i, 6]
            else:
                missing[n_missing] = i
                n_missing += 1
    return n_missing


@compiled
def means(totals: Floats) -> Floats:
    """Return the mean of each bin (bins,) from its totals (3, bins); NaN where no bases are covered."""
    means_of_bins = np.empty(totals.shape[1])
    for b in range(len(means_of_bins)):
        # Less than a millionth of a base is a rounding error of the divided sums.
        means_of_bins[b] = totals[1, b] / totals[0, b] if totals[0, b] > 1e-6 else np.nan
    return means_of_bins


def warm_up() -> None:
    """Compile the loops, which takes seconds, or load the compiled code, which takes a few hundredths of a second."""
    summaries, axis, totals = np.zeros((1, 8), np.uint32), np.zeros(1, np.int64), np.zeros((3, 1))
    # Sections are read-only views of bytes, which are another type for numba.
    records, singles = np.frombuffer(bytes(32), np.uint32), np.frombuffer(bytes(32), np.float32)
    head: Any = (FIXED, 1, 0, 1, 1)
    zero: Any = np.int64(0)
    for on_summaries, on_section in ((add_summaries, add_section), (widen_summaries, widen_section)):
        on_summaries(summaries, summaries.view(np.float32), axis, axis, 0, 1, totals)
        on_section(records, singles, head, zero, zero, 0, 1, totals)
    repair(summaries, summaries.view(np.float32), axis)
    means(totals)
