"""Select the intervals that a tile shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class Intervals:
    """Intervals on the absolute axis, sorted by start.

    ranks : int32, 0 for the most important interval; if two are equally important, the first ranks higher
    """

    def __init__(self, starts: Integers, ends: Integers, importance: NDArray[Any]):
        self.starts = starts
        self.ends = np.maximum(ends, starts + 1)  # an interval of length 0, such as an insertion, counts as one base
        self._reach = np.maximum.accumulate(self.ends)
        self.ranks = np.empty(len(starts), np.int32)
        self.ranks[np.argsort(-importance, kind="stable")] = np.arange(len(starts))

    def overlapping(self, start: int, end: int, limit: int) -> Integers:
        """Return the numbers of the `limit` most important intervals that overlap [start, end), sorted by start."""
        first = int(np.searchsorted(self._reach, start, "right"))
        last = int(np.searchsorted(self.starts, end, "left"))
        numbers = first + np.flatnonzero(self.ends[first:last] > start)
        if len(numbers) > limit:
            numbers = np.sort(numbers[np.argpartition(self.ranks[numbers], limit)[:limit]])
        return numbers
