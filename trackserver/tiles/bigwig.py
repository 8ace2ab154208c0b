"""Tiles of bigWig files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
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

MAX_WHOLE_BLOCKS = 64  # a level with up to this many blocks, 1 to 2 MB, is cached as a whole


warm_up = kernels.warm_up


class BigWigTileset:
    """A bigWig on the assembly's absolute grid: mean, min, max or std over the covered bases of each bin.

    A value is exact if its bin is narrower than twice the file's first zoom level. Otherwise it is computed from the
    coarsest zoom level whose summaries are at most half a bin wide. The two summaries that contain the bin's edges are
    divided in proportion to their overlap. With `cut` covered bases in these two and `inside` in the others, the error
    of a mean is at most min(1, 2 cut / (cut + inside)) of the local range of values; if all bases are covered, that is
    2 reduction / bin_width. A minimum or maximum may come from a base up to `reduction` bp beyond the edge, and a bin
    without covered bases may show a neighbour's value. The sums of zoom levels are float32.
    """

    def __init__(self, file: str | os.PathLike[str] | Source, grid: Grid, name: str, cache: ByteCache | None = None):
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
        """Return the mean over the covered bases of each bin from the locus's start on, (bins,); exact at any width.

        The last bin may extend beyond the locus, but not beyond the chromosome. A bin without covered bases is NaN.
        """
        n_bins = -(-len(locus) // bin_width)
        chrom = self._own.get(locus.chrom)
        if chrom is None:
            return np.full(n_bins, np.nan)
        totals = base_sums(self.bbi, chrom, locus.start, n_bins, bin_width)
        self.bbi.source.check_current()
        return np.asarray(means(totals))

    def _bins(self, mode: str, level: Zoom | None, origin: int, width: int) -> NDArray[np.float64]:
        """Return the values of the bins from `origin` on, (TILE_SIZE,); NaN for a bin without covered bases."""
        blocks = self._blocks(level, origin, origin + TILE_SIZE * width)
        if mode in ("min", "max"):
            low_and_high = extremes(blocks, self._axis, origin, width, TILE_SIZE)
            return np.where(np.isinf(low_and_high), np.nan, low_and_high)[LOW if mode == "min" else HIGH]
        totals = sums(blocks, self._axis, origin, width, TILE_SIZE)
        mean = means(totals)
        if mode == "mean":
            return mean
        return np.sqrt(np.maximum(means(totals[[COVERED, SQUARES]]) - mean**2, 0))

    def _blocks(self, level: Zoom | None, start: int, end: int) -> Iterable[Block]:
        """Return the blocks that overlap an interval of the absolute axis, and perhaps others.

        A coarse level is cached as a whole, because tiles of whole chromosomes need blocks from all over the file.
        """
        if level and 0 < self.bbi.n_blocks(level) <= MAX_WHOLE_BLOCKS:
            key = self.bbi.source.identity, level.data_at, "whole"
            return [self.bbi.cache.get_or_make(key, lambda: self._read_whole(level))]
        return self.bbi.blocks_overlapping(level, [
            (chrom, segment.locus.start, segment.locus.end)
            for segment in self.grid.assembly.segments(start, end)
            if (chrom := self._own.get(segment.locus.chrom))
        ])  # fmt: skip

    def _read_whole(self, level: Zoom) -> tuple[Block, int]:
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
