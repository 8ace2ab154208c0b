"""bigWig files as tiles."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.bbi import kernels
from trackserver.bbi.bigwig import base_sums, open_bigwig, own_chroms
from trackserver.bbi.kernels import COVERED, HIGH, LOW, SQUARES, means
from trackserver.bbi.reader import Chrom, Zoom, axis_of
from trackserver.bbi.records import Axis, Block, extremes, sums
from trackserver.genome.locus import Locus
from trackserver.sources.cache import ByteCache
from trackserver.sources.source import Source
from trackserver.tiles import wire
from trackserver.tiles.grid import TILE_SIZE, Grid
from trackserver.tiles.tileset import TileId, aggregation_of, check_on_grid, vector_info

WHOLE = 64  # blocks a level may have to be kept in one piece: 1 to 2 MB


warm_up = kernels.warm_up


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
        width = self.grid.bin_width(tile.zoom)
        values = self._bins(mode, self.bbi.level(width), tile.x * TILE_SIZE * width, width)
        self.bbi.source.check_current()
        return wire.dense(values)

    def means(self, locus: Locus, bin_width: int) -> NDArray[np.float64]:
        """(bins,) the mean over the covered bases of each bin from the locus's start on; exact at every width.

        The last bin may reach beyond the locus, never beyond the chromosome. NaN where nothing is covered.
        """
        n_bins = -(-len(locus) // bin_width)
        chrom = self._own.get(locus.chrom)
        if chrom is None:
            return np.full(n_bins, np.nan)
        totals = base_sums(self.bbi, chrom, locus.start, n_bins, bin_width)
        self.bbi.source.check_current()
        return np.asarray(means(totals))

    def _bins(self, mode: str, level: Zoom | None, origin: int, width: int) -> NDArray[np.float64]:
        """(TILE_SIZE,) from `origin` on; NaN where nothing is covered."""
        blocks = self._blocks(level, origin, origin + TILE_SIZE * width)
        if mode in ("min", "max"):
            found = extremes(blocks, self._axis, origin, width, TILE_SIZE)
            return np.where(np.isinf(found), np.nan, found)[LOW if mode == "min" else HIGH]
        totals = sums(blocks, self._axis, origin, width, TILE_SIZE)
        mean = means(totals)
        if mode == "mean":
            return mean
        return np.sqrt(np.maximum(means(totals[[COVERED, SQUARES]]) - mean**2, 0))

    def _blocks(self, level: Zoom | None, start: int, end: int) -> Iterable[Block]:
        """What the file holds between two places of the absolute axis, or more.

        A coarse level is kept from end to end: tiles of whole chromosomes would gather it from everywhere each time.
        """
        if level and 0 < self.bbi.n_blocks(level) <= WHOLE:
            key = self.bbi.source.identity, level.data_at, "whole"
            return [self.bbi.cache.get(key, lambda: self._whole(level))]
        return self.bbi.touching(level, [
            (chrom, segment.locus.start, segment.locus.end)
            for segment in self.grid.assembly.segments(start, end)
            if (chrom := self._own.get(segment.locus.chrom))
        ])  # fmt: skip

    def _whole(self, level: Zoom) -> tuple[Block, int]:
        whole = self.bbi.whole(level)
        return whole, whole.words.nbytes

    @cached_property
    def _axis(self) -> Axis:
        assembly = self.grid.assembly
        ends = {name: assembly.offsets[name] + assembly.chromsizes[name] for name in self._own}
        return axis_of((chrom, assembly.offsets[name], ends[name]) for name, chrom in self._own.items())

    @cached_property
    def _own(self) -> dict[str, Chrom]:
        return own_chroms(self.bbi, self.grid.assembly)
