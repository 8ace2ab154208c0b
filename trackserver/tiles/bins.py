"""Tiles of arrays in memory, such as the REF, ALT and Δ of an effect."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.genome.locus import Locus
from trackserver.tiles import wire
from trackserver.tiles.grid import Grid, Stretches, aggregate
from trackserver.tiles.tileset import TileId, aggregation_of, check_on_grid, vector_info


class ArrayTileset:
    """One row of predicted bins over a locus; tiles have NaN outside the locus, where nothing was computed.

    `values` float32 (bins,), each `bin_width` bp wide from `origin` on; the first and the last bin may extend beyond
    the locus.
    """

    def __init__(self, values: NDArray[np.float32], locus: Locus, origin: int, bin_width: int, grid: Grid, name: str):
        self.grid, self.name = grid, name
        offset = grid.assembly.offsets[locus.chrom]
        edges = np.clip(origin + np.arange(len(values) + 1, dtype=np.int64) * bin_width, locus.start, locus.end)
        known = np.isfinite(values)
        starts, ends, finite = edges[:-1][known], edges[1:][known], values[known].astype(np.float64)
        covered = (ends - starts).astype(np.float64)
        sums = finite * covered
        amounts = np.stack([covered, sums, sums * finite, finite, finite])
        self._stretches = Stretches(starts + offset, ends + offset, amounts)

    def info(self) -> dict[str, Any]:
        return vector_info(self.grid, name=self.name)

    def tile(self, tile: TileId) -> dict[str, Any]:
        check_on_grid(self.grid, tile)
        return wire.dense(aggregate(aggregation_of(tile), self._stretches, self.grid.edges(tile.zoom, tile.x)))
