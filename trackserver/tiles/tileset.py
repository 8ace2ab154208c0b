"""The interface of tilesets, tile ids, and HiGlass' tileset_info."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Protocol

from trackserver.errors import BadTileId
from trackserver.tiles.grid import MODES, TILE_SIZE, Grid

UID = re.compile(r"^[A-Za-z0-9_-]+$")
_TILE_ID = re.compile(
    r"(?P<uid>[A-Za-z0-9_-]+)\.(?P<zoom>\d{1,2})\.(?P<x>\d{1,10})(\.(?P<y>\d{1,10}))?(\.(?P<modifier>[A-Za-z][A-Za-z0-9_-]*))?",
    re.ASCII,
)


class TileId(NamedTuple):
    """`uid.zoom.x` for a line or `uid.zoom.x.y` for a matrix; the modifier is an aggregation or a transform."""

    uid: str
    zoom: int
    x: int
    y: int | None = None
    modifier: str = ""

    def __str__(self) -> str:
        parts = (self.uid, self.zoom, self.x, self.y, self.modifier)
        return ".".join(str(part) for part in parts if part not in (None, ""))


def parse_tile_id(text: str) -> TileId:
    """Parse a tile id; raises BadTileId."""
    match = _TILE_ID.fullmatch(text)
    if not match:
        raise BadTileId(text)
    y = match["y"]
    return TileId(match["uid"], int(match["zoom"]), int(match["x"]), int(y) if y else None, match["modifier"] or "")


class Tileset(Protocol):
    """Anything that returns a description and tiles, and can be used from several threads."""

    def info(self) -> dict[str, Any]:
        """Return HiGlass' tileset_info of this tileset."""
        ...

    def tile(self, tile: TileId) -> Any:
        """Return the payload of one tile; a TrackserverError concerns only this tile."""
        ...


def pyramid_info(grid: Grid, *, name: str, datatype: str) -> dict[str, Any]:
    """Return the tileset_info fields that all tilesets on an assembly's grid share."""
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


def vector_info(grid: Grid, *, name: str) -> dict[str, Any]:
    """Return the tileset_info of a line of numbers; the client's Aggregation menu offers the modes."""
    modes = {mode: {"name": mode.capitalize(), "value": mode} for mode in MODES}
    return {**pyramid_info(grid, name=name, datatype="vector"), "aggregation_modes": modes}


def aggregation_of(tile: TileId) -> str:
    """Return the aggregation mode of a tile id; by default the mean."""
    if tile.y is not None or tile.modifier not in ("", *MODES):
        raise BadTileId(str(tile))
    return tile.modifier or "mean"


def check_on_grid(grid: Grid, tile: TileId) -> None:
    """Raise BadTileId unless the grid has this tile."""
    if not grid.has_tile(tile.zoom, tile.x):
        raise BadTileId(str(tile))
