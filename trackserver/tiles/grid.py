"""The absolute grid of tiles, and exact means, extremes and standard deviations of its bins.

At zoom z, the whole assembly, laid end to end, is divided into bins of `bin_width(z)` bp, counted from its first base;
1,024 bins make a tile. The grid does not restart at the start of a chromosome, so a bin may contain the end of one
chromosome and the start of the next. Its value is then the mean over both.
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

_EDGES = np.arange(TILE_SIZE + 1, dtype=np.int64)  # edges of the first tile, in bins


@dataclass(frozen=True)
class Grid:
    """The zoom pyramid of an assembly, as HiGlass' client computes it too."""

    assembly: Assembly

    @cached_property
    def max_zoom(self) -> int:
        return max(0, ceil(log2(self.assembly.length / TILE_SIZE)))

    @property
    def max_width(self) -> int:
        """The width in bp of the single tile at zoom 0: the tile size times a power of two, not the genome's length."""
        return TILE_SIZE << self.max_zoom

    def bin_width(self, zoom: int) -> int:
        """Return the width of a bin in bp; 1 at the deepest zoom."""
        return 1 << (self.max_zoom - zoom)

    def has_tile(self, zoom: int, x: int) -> bool:
        """Return whether the pyramid has this tile; tiles past the genome's end exist too, and are empty."""
        return 0 <= zoom <= self.max_zoom and 0 <= x < (1 << zoom)

    def edges(self, zoom: int, x: int) -> Integers:
        """Return the absolute positions of the edges of a tile's bins, (TILE_SIZE + 1,)."""
        return (_EDGES + x * TILE_SIZE) * self.bin_width(zoom)


class Stretches(NamedTuple):
    """Sorted, disjoint stretches of the absolute axis, and statistics of the values of their covered bases.

    amounts : float64 (5, n), rows `COVERED` to `HIGHS`: the number of covered bases, the sums of their values and of
        the squared values, and the minimum and maximum
    """

    starts: Integers
    ends: Integers
    amounts: Floats


COVERED, SUMS, SQUARES, LOWS, HIGHS = range(5)
MODES = ("mean", "min", "max", "std")


def aggregate(mode: str, stretches: Stretches, edges: Integers) -> Floats:
    """Return the mean, min, max or population standard deviation over the covered bases of each bin.

    The result is (len(edges) - 1,), with NaN for a bin without covered bases. It is exact if each stretch is inside one
    bin or has constant values. If the values within a stretch are unknown (a zoom summary) and a bin's edge cuts it, it
    is divided in proportion to the overlap, and its extremes count in both bins.
    """
    if not len(stretches.starts):
        return np.full(len(edges) - 1, np.nan)
    if mode == "min":
        return _extremes(np.minimum, stretches, stretches.amounts[LOWS], edges)
    if mode == "max":
        return _extremes(np.maximum, stretches, stretches.amounts[HIGHS], edges)
    totals = totals_of(stretches, stretches.amounts[:SQUARES] if mode == "mean" else stretches.amounts[:LOWS], edges)
    covered = totals[COVERED] > 1e-6  # less than a millionth of a base is a rounding error of the divided sums
    mean = np.full(len(edges) - 1, np.nan)
    np.divide(totals[SUMS], totals[COVERED], out=mean, where=covered)
    if mode == "mean":
        return mean
    np.divide(totals[SQUARES], totals[COVERED], out=totals[SQUARES], where=covered)
    return np.sqrt(np.maximum(totals[SQUARES] - mean**2, 0))


def totals_of(stretches: Stretches, rows: Floats, edges: Integers) -> Floats:
    """Return the total of each row's amounts in each bin, (rows, bins).

    Stretches are summed bin by bin, and then the part of a stretch on the other side of an edge is moved there. There
    is no running total along the tile, in which a small value after large ones would lose its digits.
    """
    # The first stretch that ends after each edge, and the fraction of it that is before the edge.
    cut = np.minimum(stretches.ends.searchsorted(edges, "right"), len(stretches.ends) - 1)
    starts = stretches.starts[cut]
    before = np.minimum(np.maximum(edges - starts, 0) / (stretches.ends[cut] - starts), 1)
    cut_amounts = rows.take(cut, axis=1)
    part = cut_amounts * before
    totals = np.add.reduceat(rows[:, : cut[-1] + 1], cut, axis=1)[:, :-1]
    totals += part[:, 1:]
    totals -= part[:, :-1]
    inside = cut[:-1] == cut[1:]
    if inside.any():
        # A bin inside one stretch gets a fraction of it directly, so that constant values stay exactly constant.
        np.copyto(totals, cut_amounts[:, 1:] * (before[1:] - before[:-1]), where=inside)
    return totals


def _extremes(ufunc: np.ufunc, stretches: Stretches, row: Floats, edges: Integers) -> Floats:
    """Return the minimum or maximum of each bin, (bins,)."""
    bounds = np.empty(2 * (len(edges) - 1), np.int64)
    bounds[0::2] = stretches.ends.searchsorted(edges[:-1], "right")  # the first stretch that ends after a bin's start
    bounds[1::2] = stretches.starts.searchsorted(edges[1:], "left")  # one past the last that starts before its end
    # reduceat does not accept a bound at the end, so a value is appended that no bin uses.
    reduced = ufunc.reduceat(np.append(row, 0), bounds)[0::2]
    return np.where(bounds[0::2] < bounds[1::2], reduced, np.nan)
