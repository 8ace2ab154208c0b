"""Arrays of an effect (REF, ALT, Δ) as tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.genome.locus import Locus
from trackserver.tiles import wire
from trackserver.tiles.grid import Grid, Records, bin_means
from trackserver.tiles.tileset import TileId, check_on_grid, pyramid_info


class ArrayTileset:
    """One row of predicted bins over a locus; outside the locus nothing was computed, so tiles hold NaN there.

    `values` float32 (bins,), each `bin_width` bp wide from `origin` on; the first and the last may reach beyond the
    locus.
    """

    def __init__(self, values: NDArray[np.float32], locus: Locus, origin: int, bin_width: int, grid: Grid, name: str):
        self.locus, self.grid, self.name = locus, grid, name
        edges = np.clip(origin + np.arange(len(values) + 1, dtype=np.int64) * bin_width, locus.start, locus.end)
        starts, ends = edges[:-1], edges[1:]
        covered = np.where(np.isfinite(values), ends - starts, 0).astype(np.float64)
        self._records = Records(starts, ends, np.nan_to_num(values, nan=0.0).astype(np.float64) * covered, covered)

    def info(self) -> dict[str, Any]:
        return pyramid_info(self.grid, name=self.name, datatype="vector")

    def tiles(self, ids: Sequence[TileId]) -> list[Any]:
        return [self._tile(tile) for tile in ids]

    def _tile(self, tile: TileId) -> dict[str, Any]:
        check_on_grid(self.grid, tile)
        return wire.dense(bin_means(self.grid, tile.zoom, tile.x, self._read))

    def _read(self, locus: Locus, bin_width: int) -> Records:
        del bin_width  # the array is small: always exact
        if not locus.overlaps(self.locus):
            empty = np.empty(0)
            return Records(empty.astype(np.int64), empty.astype(np.int64), empty, empty)
        return self._records
