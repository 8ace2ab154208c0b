"""What a tileset is: two questions, asked by uid and tile id."""

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
    """`uid.zoom.x` of a line, `uid.zoom.x.y` of a matrix; a modifier names an aggregation or a transform."""

    uid: str
    zoom: int
    x: int
    y: int | None = None
    modifier: str = ""

    def __str__(self) -> str:
        parts = (self.uid, self.zoom, self.x, self.y, self.modifier)
        return ".".join(str(part) for part in parts if part not in (None, ""))


def parse_tile_id(text: str) -> TileId:
    match = _TILE_ID.fullmatch(text)
    if not match:
        raise BadTileId(text)
    y = match["y"]
    return TileId(match["uid"], int(match["zoom"]), int(match["x"]), int(y) if y else None, match["modifier"] or "")


class Tileset(Protocol):
    """Anything that can be asked for its description and for a tile is servable, from several threads at once."""

    def info(self) -> dict[str, Any]:
        """HiGlass's tileset_info of this tileset."""
        ...

    def tile(self, tile: TileId) -> Any:
        """The wire payload of one tile; a TrackserverError is this tile's alone."""
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


def vector_info(grid: Grid, *, name: str) -> dict[str, Any]:
    """tileset_info of a line of numbers; the modes fill the client's Aggregation menu."""
    modes = {mode: {"name": mode.capitalize(), "value": mode} for mode in MODES}
    return {**pyramid_info(grid, name=name, datatype="vector"), "aggregation_modes": modes}


def aggregation_of(tile: TileId) -> str:
    """The mode a tile id asks for; the mean where it names none."""
    if tile.y is not None or tile.modifier not in ("", *MODES):
        raise BadTileId(str(tile))
    return tile.modifier or "mean"


def check_on_grid(grid: Grid, tile: TileId) -> None:
    if not grid.holds(tile.zoom, tile.x):
        raise BadTileId(str(tile))
