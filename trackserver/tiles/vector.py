"""bigWig files as tiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import UnreadableFile
from trackserver.genome.assembly import Assembly, Segment
from trackserver.genome.names import check_sizes, own_names
from trackserver.tiles import wire
from trackserver.tiles.bbi import BBI, Chrom, Zoom
from trackserver.tiles.cache import ByteCache
from trackserver.tiles.grid import HIGHS, SQUARES, Grid, Stretches, aggregate, totals_of
from trackserver.tiles.records import Rows, join
from trackserver.tiles.source import LocalSource, Source
from trackserver.tiles.tileset import TileId, aggregation_of, check_on_grid, vector_info

Report = Callable[[int, int], None]  # (blocks read, blocks in all)

WHOLE = 64  # blocks a level may have to be kept in one piece: 1 to 2 MB
SMALL_CACHE = 1 << 26  # bytes, where nobody shares a larger one


class BigWigTileset:
    """A bigWig over the assembly's absolute grid: mean, min, max or std of each bin's covered bases.

    Where a bin is narrower than twice the file's first zoom level, the value is exact. Above, it is taken from the
    coarsest zoom level whose summaries are at most half a bin wide. Only the two summaries that the bin's edges cut
    are shared out by overlap. With `cut` covered bases in these two and `whole` in those inside, a mean is off by at
    most min(1, 2 cut / (cut + whole)) of the range of values around; where all bases are covered that is
    2 reduction / bin_width. A minimum or maximum may be one of a base up to `reduction` bp beyond the edge, and a bin
    of no base of its own may show a neighbour's. Zoom levels are float32 sums.
    """

    def __init__(self, file: Path | Source, grid: Grid, name: str, cache: ByteCache | None = None):
        self.grid, self.name = grid, name
        self.bbi = open_bigwig(file, cache)

    def info(self) -> dict[str, Any]:
        return vector_info(self.grid, name=self.name)

    def tile(self, tile: TileId) -> dict[str, Any]:
        check_on_grid(self.grid, tile)
        mode = aggregation_of(tile)
        edges = self.grid.edges(tile.zoom, tile.x)
        level = self.bbi.level(self.grid.bin_width(tile.zoom))
        held = self._held(int(edges[0]), int(edges[-1]), level, SQUARES if mode == "mean" else HIGHS + 1)
        values = aggregate(mode, held, edges)
        self.bbi.source.check_current()
        return wire.dense(values)

    def _whole(self, level: Zoom, n_amounts: int) -> Stretches:
        """A coarse level from end to end: tiles of whole chromosomes would gather it from everywhere each time."""

        def make() -> tuple[Stretches, int]:
            held = Stretches(*self.bbi.whole(level, *self._axis, n_amounts))
            return held, sum(column.nbytes for column in held)

        key = (self.bbi.source.identity, self.grid.assembly.name, level.data_at, n_amounts)
        return self.bbi.cache.get(key, make)

    @cached_property
    def _axis(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where each of the file's chromosomes begins (-1: nowhere) and ends on the absolute axis, by its id."""
        assembly = self.grid.assembly
        n_ids = max((chrom.id for chrom in self.bbi.chroms.values()), default=0) + 1
        offsets, limits = np.full(n_ids, -1, np.int64), np.zeros(n_ids, np.int64)
        for name, chrom in self._own.items():
            offsets[chrom.id] = assembly.offsets[name]
            limits[chrom.id] = assembly.offsets[name] + assembly.chromsizes[name]
        return offsets, limits

    @cached_property
    def _own(self) -> dict[str, Chrom]:
        return own_chroms(self.bbi, self.grid.assembly)

    def _held(self, start: int, end: int, level: Zoom | None, n_amounts: int) -> Stretches:
        """What the file holds between two places of the absolute axis, or more."""
        if level and 0 < self.bbi.n_blocks(level) <= WHOLE:
            return self._whole(level, n_amounts)
        assembly = self.grid.assembly
        pieces = [
            self._rows(level, chrom, segment, n_amounts)
            for segment in assembly.segments(start, end)
            if (chrom := self._own.get(segment.locus.chrom))
        ]
        return Stretches(*join(pieces)) if pieces else NOTHING

    def _rows(self, level: Zoom | None, chrom: Chrom, segment: Segment, n_amounts: int) -> Rows:
        """Records of a chromosome on the absolute axis; a summary may reach past its end, its bases do not."""
        locus = segment.locus
        offset = segment.offset - locus.start
        rows = self.bbi.rows(level, chrom, locus.start, locus.end, n_amounts, offset)
        end = offset + self.grid.assembly.chromsizes[locus.chrom]
        if len(rows.ends) and rows.ends[-1] > end:
            np.minimum(rows.ends, end, out=rows.ends)
        return rows


def base_sums(bbi: BBI, chrom: Chrom, start: int, n_bins: int, bin_width: int) -> NDArray[np.float64]:
    """(2, n_bins) how many bases of each bin are covered, and the sum of their values; exact, from the data."""
    edges = start + np.arange(n_bins + 1, dtype=np.int64) * bin_width
    held = Stretches(*bbi.rows(None, chrom, int(edges[0]), int(edges[-1]), SQUARES))
    return totals_of(held, held.amounts, edges) if len(held.starts) else np.zeros((2, n_bins))


NOTHING = Stretches(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((5, 0)))


def open_bigwig(file: Path | Source, cache: ByteCache | None = None) -> BBI:
    bbi = BBI(LocalSource(file) if isinstance(file, Path) else file, cache or ByteCache(SMALL_CACHE))
    if not bbi.is_bigwig:
        raise UnreadableFile(f"{bbi.source.name} is a bigBed, not a bigWig.")
    return bbi


def own_chroms(bbi: BBI, assembly: Assembly) -> dict[str, Chrom]:
    """The assembly's chromosomes as the file has them, whatever it calls them; what the assembly lacks is left out."""
    return {chrom: bbi.chroms[own] for chrom, own in own_names(bbi.chroms, assembly).items()}


def check_bigwig(file: Path | Source, assembly: Assembly, report: Report = lambda done, total: None) -> None:
    """Read every block of every level, so that nothing is found out only when somebody looks.

    Raises
    ------
    UnreadableFile
        It is missing, truncated, damaged, another format, or holds values that are not finite.
    ChromosomesDoNotFit
        Its chromosomes are not the assembly's.
    """
    bbi = open_bigwig(file)
    check_chromosomes(bbi, assembly)
    blocks = {level: bbi.n_blocks(level) for level in (None, *bbi.zooms)}
    done = 0
    for level, count in blocks.items():
        for first in range(0, count, CHECKED_AT_ONCE):
            bbi.check_blocks(level, first, min(first + CHECKED_AT_ONCE, count))
            done += min(CHECKED_AT_ONCE, count - first)
            report(done, sum(blocks.values()))


CHECKED_AT_ONCE = 256  # blocks


def check_chromosomes(bbi: BBI, assembly: Assembly) -> None:
    """Raise `ChromosomesDoNotFit` unless the file shares chromosomes with the assembly, all of equal size."""
    check_sizes(bbi.source.name, {own: chrom.size for own, chrom in bbi.chroms.items()}, assembly)
