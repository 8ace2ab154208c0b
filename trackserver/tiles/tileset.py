"""What a tileset is: two questions, asked by uid and tile id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trackserver.errors import BadTileId
from trackserver.tiles.grid import TILE_SIZE, Grid

UID = re.compile(r"^[A-Za-z0-9_-]+$")
_TILE_ID = re.compile(r"^(?P<uid>[A-Za-z0-9_-]+)\.(?P<zoom>\d{1,2})\.(?P<x>\d{1,10})$")


@dataclass(frozen=True)
class TileId:
    """`uid.zoom.x` as the client sends it."""

    uid: str
    zoom: int
    x: int

    def __str__(self) -> str:
        return f"{self.uid}.{self.zoom}.{self.x}"


def parse_tile_id(text: str) -> TileId:
    match = _TILE_ID.match(text)
    if not match:
        raise BadTileId(text)
    return TileId(match["uid"], int(match["zoom"]), int(match["x"]))


class Tileset(Protocol):
    """Anything that can be asked for its description and for tiles is servable."""

    def info(self) -> dict[str, Any]:
        """HiGlass's tileset_info of this tileset."""
        ...

    def tiles(self, ids: Sequence[TileId]) -> list[Any]:
        """One wire payload an id, in the order of `ids`."""
        ...


def pyramid_info(grid: Grid, *, name: str, datatype: str) -> dict[str, Any]:
    """The part of tileset_info that every tileset on an assembly's grid shares."""
    assembly = grid.assembly
    return {
        "name": name,
        "datatype": datatype,
        "coordSystem": assembly.name,
        "min_pos": [0],
        "max_pos": [assembly.length],
        "max_width": grid.max_width,
        "max_zoom": grid.max_zoom,
        "tile_size": TILE_SIZE,
        "bins_per_dimension": TILE_SIZE,
        "chromsizes": [list(pair) for pair in assembly.chromsizes.items()],
    }


def check_on_grid(grid: Grid, tile: TileId) -> None:
    if not grid.holds(tile.zoom, tile.x):
        raise BadTileId(str(tile))
