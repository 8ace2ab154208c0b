"""The absolute grid that tiles lie on, and what lies in its bins: exact means, extremes and deviations.

At zoom z the whole assembly, laid end to end, is cut into bins of `bin_width(z)` bp counted from its first
base; 1,024 bins make a tile. The grid does not restart at a chromosome's start, so a bin may hold the end of
one chromosome and the beginning of the next: its value is the mean over both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.genome.assembly import Assembly

TILE_SIZE = 1024

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_EDGES = np.arange(TILE_SIZE + 1, dtype=np.int64)  # of the tile at 0, in bins


@dataclass(frozen=True)
class Grid:
    """The zoom pyramid of an assembly, as HiGlass's client computes it too."""

    assembly: Assembly

    @cached_property
    def max_zoom(self) -> int:
        return max(0, ceil(log2(self.assembly.length / TILE_SIZE)))

    @property
    def max_width(self) -> int:
        """Bp under the single tile of zoom 0: a power of two times the tile size, not the genome's length."""
        return TILE_SIZE << self.max_zoom

    def bin_width(self, zoom: int) -> int:
        """Bp a bin; 1 at the deepest zoom."""
        return 1 << (self.max_zoom - zoom)

    def holds(self, zoom: int, x: int) -> bool:
        """Whether the pyramid has this tile; tiles past the genome's end do exist, empty."""
        return 0 <= zoom <= self.max_zoom and 0 <= x < (1 << zoom)

    def edges(self, zoom: int, x: int) -> Integers:
        """(TILE_SIZE + 1,) absolute positions between which the tile's bins lie."""
        return (_EDGES + x * TILE_SIZE) * self.bin_width(zoom)


class Stretches(NamedTuple):
    """Sorted, disjoint stretches of the absolute axis and what is known of the values over the bases they cover.

    amounts : float64 (5, n), rows as named by `COVERED` to `HIGHS`: how many bases are covered, the sums of the values
        and of their squares over them, the least and the greatest value
    """

    starts: Integers
    ends: Integers
    amounts: Floats


COVERED, SUMS, SQUARES, LOWS, HIGHS = range(5)
MODES = ("mean", "min", "max", "std")


def aggregate(mode: str, held: Stretches, edges: Integers) -> Floats:
    """(len(edges) - 1,) the mean, minimum, maximum or population standard deviation over the covered bases of each bin.

    NaN where a bin covers none. Exact where a stretch lies inside one bin or is constant along its length. One that
    stands for an unknown shape (a zoom summary) and straddles a bin's edge is shared out in proportion to its
    overlap, and counts whole for the extremes.
    """
    if not len(held.starts):
        return np.full(len(edges) - 1, np.nan)
    if mode == "min":
        return _extreme(np.minimum, held, held.amounts[LOWS], edges)
    if mode == "max":
        return _extreme(np.maximum, held, held.amounts[HIGHS], edges)
    totals = totals_of(held, held.amounts[:SQUARES] if mode == "mean" else held.amounts[:LOWS], edges)
    covered = totals[COVERED] > 1e-6  # less than a millionth of a base is rounding left over from the shares
    mean = np.full(len(edges) - 1, np.nan)
    np.divide(totals[SUMS], totals[COVERED], out=mean, where=covered)
    if mode == "mean":
        return mean
    np.divide(totals[SQUARES], totals[COVERED], out=totals[SQUARES], where=covered)
    return np.sqrt(np.maximum(totals[SQUARES] - mean**2, 0))


def totals_of(held: Stretches, rows: Floats, edges: Integers) -> Floats:
    """How much of each row's amounts lies in each bin, (rows, bins).

    Whole stretches are added up bin by bin, and what an edge cuts is moved over it: no running total along the tile,
    in which a small value after large ones would lose its digits.
    """
    cut = np.minimum(held.ends.searchsorted(edges, "right"), len(held.ends) - 1)  # the first that ends after an edge
    starts = held.starts[cut]
    before = np.minimum(np.maximum(edges - starts, 0) / (held.ends[cut] - starts), 1)  # its share before the edge
    taken = rows.take(cut, axis=1)
    part = taken * before
    totals = np.add.reduceat(rows[:, : cut[-1] + 1], cut, axis=1)[:, :-1]
    totals += part[:, 1:]
    totals -= part[:, :-1]
    inside = cut[:-1] == cut[1:]
    if inside.any():
        # Inside one stretch a share of everything: what is constant stays so to the last digit.
        np.copyto(totals, taken[:, 1:] * (before[1:] - before[:-1]), where=inside)
    return totals


def _extreme(ufunc: np.ufunc, held: Stretches, row: Floats, edges: Integers) -> Floats:
    """The least or greatest of each bin, (bins,)."""
    bounds = np.empty(2 * (len(edges) - 1), np.int64)
    bounds[0::2] = held.ends.searchsorted(edges[:-1], "right")  # the first stretch that ends after a bin's begin
    bounds[1::2] = held.starts.searchsorted(edges[1:], "left")  # one past the last that starts before its end
    # A bound at the end is one too far for reduceat, so a value is put behind it that no bin takes.
    reduced = ufunc.reduceat(np.append(row, 0), bounds)[0::2]
    return np.where(bounds[0::2] < bounds[1::2], reduced, np.nan)
