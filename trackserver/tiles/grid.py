"""The absolute grid that tiles lie on, and exact means over its bins.

At zoom z the whole assembly, laid end to end, is cut into bins of `bin_width(z)` bp counted from its first
base; 1,024 bins make a tile. The grid does not restart at a chromosome's start, so a bin may hold the end of
one chromosome and the beginning of the next: its value is the mean over both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import ceil, log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus

TILE_SIZE = 1024

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


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
        return (x * TILE_SIZE + np.arange(TILE_SIZE + 1, dtype=np.int64)) * self.bin_width(zoom)


class Records(NamedTuple):
    """Stretches of a chromosome, sorted and disjoint: their sums over the bases they cover."""

    starts: Integers
    ends: Integers
    sums: Floats
    covered: Floats


# The records of a locus, no coarser than `bin_width` needs them.
ReadRecords = Callable[[Locus, int], Records]


def bin_means(grid: Grid, zoom: int, x: int, read: ReadRecords) -> Floats:
    """(TILE_SIZE,) mean over the covered bases of each bin; NaN where a bin covers none.

    Exact for records that lie inside one bin or are constant along their length. A record that stands for an
    unknown shape (a zoom summary) and straddles a bin's edge is shared out in proportion to its overlap.
    """
    edges = grid.edges(zoom, x)
    sums, covered = np.zeros(TILE_SIZE), np.zeros(TILE_SIZE)
    for segment in grid.assembly.segments(int(edges[0]), int(edges[-1])):
        records = read(segment.locus, grid.bin_width(zoom))
        if not len(records.starts):
            continue
        # Edges in the chromosome's own coordinates, held inside the segment: a neighbour's bases count nothing here.
        local = np.clip(edges - segment.offset + segment.locus.start, segment.locus.start, segment.locus.end)
        sums += share_out(records, records.sums, local)
        covered += share_out(records, records.covered, local)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Less than half a base covered is rounding left over from the shares.
        return np.where(covered > 1e-6, sums / covered, np.nan)


def share_out(records: Records, amounts: Floats, edges: Integers) -> Floats:
    """How much of the records' amounts falls between consecutive edges, (len(edges) - 1,)."""
    corners = np.column_stack([records.starts, records.ends]).ravel()
    total = np.cumsum(amounts)
    heights = np.column_stack([total - amounts, total]).ravel()
    return np.diff(np.interp(edges, corners, heights))
