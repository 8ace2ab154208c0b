"""The inner loops of bigWig tiles: records of a block, spread over bins. Compiled by numba, once a machine.

A bin gets of each record what overlaps it. A record of the data is constant along its length, so that is exact; a
summary of a zoom level stands for an unknown shape and is shared out in proportion, but counts whole for the extremes.
Nothing runs along the tile, so a small value after large ones keeps its digits.

All lie on the absolute axis: `origin` is where the first bin begins, `width` the bins' width in bp. `offsets` and
`limits` say by id where a chromosome begins (-1: nowhere) and ends.
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

# Of (3, bins): covered bases, sum, sum of squares; of (2, bins): least and greatest value.
COVERED, SUM, SQUARES = range(3)
LOW, HIGH = range(2)

BED, VARIABLE, FIXED = 1, 2, 3  # kinds of section


@compiled
def _place(words: Any, i: int, offsets: Any, limits: Any) -> Any:
    """Start and end of a summary on the axis; nothing (0, 0) of one that lies nowhere on it or covers nothing."""
    chrom = words[i, 0]
    if words[i, 3] == 0 or chrom >= len(offsets) or offsets[chrom] < 0:
        return np.int64(0), np.int64(0)
    # A summary may reach past the chromosome's end, its bases do not.
    start, end = offsets[chrom] + words[i, 1], min(offsets[chrom] + words[i, 2], limits[chrom])
    return (start, end) if start < end else (np.int64(0), np.int64(0))


@compiled
def add_summaries(
    words: Words, singles: Singles, offsets: Integers, limits: Integers, origin: int, width: int, out: Floats
) -> None:
    """Add to (3, bins) what summaries (n, 8) say: chromosome, start, end, covered; least, greatest, sum, squares."""
    n_bins = out.shape[1]
    for i in range(words.shape[0]):
        start, end = _place(words, i, offsets, limits)
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
    """Widen (2, bins) to the extremes of summaries (n, 8)."""
    n_bins = out.shape[1]
    for i in range(words.shape[0]):
        start, end = _place(words, i, offsets, limits)
        if end == 0:
            continue
        for b in range(max((start - origin) // width, 0), min((end - 1 - origin) // width, n_bins - 1) + 1):
            out[0, b] = min(out[0, b], singles[i, 4])
            out[1, b] = max(out[1, b], singles[i, 5])


@compiled
def _record(words: Any, singles: Any, head: Any, i: int) -> Any:
    """Start, end and value of a section's record."""
    kind, _, first_start, step, span = head
    # As signed numbers: numba makes floats of what mixes the two kinds of integer.
    if kind == 1:
        return np.int64(words[3 * i]), np.int64(words[3 * i + 1]), np.float64(singles[3 * i + 2])
    start = np.int64(words[2 * i]) if kind == 2 else np.int64(first_start + i * step)
    return start, start + np.int64(span), np.float64(singles[2 * i + 1] if kind == 2 else singles[i])


@compiled
def add_section(
    words: Words, singles: Singles, head: tuple[int, ...], offset: int, limit: int, origin: int, width: int, out: Floats
) -> None:
    """Add to (3, bins) what a section of the data says; `head` is its kind, count, start, step and span."""
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
    """Widen (2, bins) to the extremes of a section; see `add_section`."""
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
def mend(words: Words, singles: Singles, hard: Integers) -> int:
    """Put right, in place, summaries (n, 8) that say nothing or lack their sums; how many numbers `hard` then holds.

    libBigWig, and so pyBigWig and deepTools, leave the sums at the end of each of its blocks at 0, which their extremes
    do not allow. Of one value throughout that is made up for; the others are `hard`.
    """
    n_hard = 0
    for i in range(words.shape[0]):
        low, high = singles[i, 4], singles[i, 5]
        if not np.isfinite(singles[i, 6]) or words[i, 2] <= words[i, 1]:
            words[i, 3] = 0
        elif singles[i, 6] == 0 and words[i, 3] > 0 and (low > 0 or high < 0):
            if low == high:
                singles[i, 6] = low * words[i, 3]
                singles[i, 7] = low * singles[i, 6]
            else:
                hard[n_hard] = i
                n_hard += 1
    return n_hard


@compiled
def means(totals: Floats) -> Floats:
    """(bins,) of (3, bins); NaN where nothing is covered."""
    found = np.empty(totals.shape[1])
    for b in range(len(found)):
        # Less than a millionth of a base is rounding left over from the shares.
        found[b] = totals[1, b] / totals[0, b] if totals[0, b] > 1e-6 else np.nan
    return found


def warm_up() -> None:
    """Compile the loops, or load them where that was done before: some seconds, or a few hundredths of one."""
    summaries, axis, totals = np.zeros((1, 8), np.uint32), np.zeros(1, np.int64), np.zeros((3, 1))
    # Sections are read-only, as the bytes they were read from: to numba that is another type.
    records, singles = np.frombuffer(bytes(32), np.uint32), np.frombuffer(bytes(32), np.float32)
    head: Any = (FIXED, 1, 0, 1, 1)
    here: Any = np.int64(0)
    for of_summaries, of_section in ((add_summaries, add_section), (widen_summaries, widen_section)):
        of_summaries(summaries, summaries.view(np.float32), axis, axis, 0, 1, totals)
        of_section(records, singles, head, here, here, 0, 1, totals)
    mend(summaries, summaries.view(np.float32), axis)
    means(totals)
