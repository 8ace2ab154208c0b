"""Which of many intervals a tile shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class Intervals:
    """Intervals of the absolute axis, sorted by start; of equally important ones the first is the more so.

    ranks : int32, 0 is the most important of all
    """

    def __init__(self, starts: Integers, ends: Integers, importance: NDArray[Any]):
        self.starts = starts
        self.ends = np.maximum(ends, starts + 1)  # what has no length, such as an insertion, is met where it lies
        self._reach = np.maximum.accumulate(self.ends)
        self.ranks = np.empty(len(starts), np.int32)
        self.ranks[np.argsort(-importance, kind="stable")] = np.arange(len(starts))

    def within(self, start: int, end: int, most: int) -> Integers:
        """The numbers of those that touch [start, end), of many the most important, by start."""
        first = int(np.searchsorted(self._reach, start, "right"))
        last = int(np.searchsorted(self.starts, end, "left"))
        found = first + np.flatnonzero(self.ends[first:last] > start)
        if len(found) > most:
            found = np.sort(found[np.argpartition(self.ranks[found], most)[:most]])
        return found
