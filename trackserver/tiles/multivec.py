"""Tiles with several rows of values (samples, states, alleles), from multivec files or arrays in memory.

Format: https://docs.higlass.io/data_preparation.html#multivec-files, written by `clodius convert`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from trackserver.errors import BadTileId, UnreadableFile, listing
from trackserver.genome.assembly import Assembly
from trackserver.genome.chrom_names import check_sizes, own_names
from trackserver.genome.locus import Locus
from trackserver.tiles import wire
from trackserver.tiles.bins import ArrayTileset
from trackserver.tiles.grid import TILE_SIZE, Grid
from trackserver.tiles.hdf5 import HDF5, runs
from trackserver.tiles.tileset import TileId, pyramid_info

MAX_VALUES_PER_TILE = 1 << 22


def multivec_info(grid: Grid, *, name: str, rows: Sequence[Any]) -> dict[str, Any]:
    """Return HiGlass' tileset_info for rows on the assembly's own grid.

    The grid is described by a list of resolutions, because with `max_zoom` the client's multivec track requests zooms
    that do not exist.
    """
    info = pyramid_info(grid, name=name, datatype="multivec")
    del info["max_zoom"], info["max_width"]
    widths = [grid.bin_width(zoom) for zoom in range(grid.max_zoom + 1)]
    return info | {"resolutions": widths, "shape": [TILE_SIZE, len(rows)], "row_infos": list(rows)}


class MultivecArrayTileset:
    """Rows of bins over a locus, such as a saturation mutagenesis map; NaN outside, where nothing was computed.

    `values` float32 (rows, bins), with bins as in `ArrayTileset`; `rows` are the names of the rows.
    """

    def __init__(
        self,
        values: NDArray[np.float32],
        rows: Sequence[str],
        locus: Locus,
        origin: int,
        bin_width: int,
        grid: Grid,
        name: str,
    ):
        self.grid, self.name, self.rows = grid, name, rows
        self._tilesets = [
            ArrayTileset(line, locus, origin, bin_width, grid, row) for line, row in zip(values, rows, strict=True)
        ]

    def info(self) -> dict[str, Any]:
        return multivec_info(self.grid, name=self.name, rows=self.rows)

    def tile(self, tile: TileId) -> dict[str, Any]:
        return wire.dense(np.stack([wire.decode_dense(tileset.tile(tile)) for tileset in self._tilesets]))


@dataclass(frozen=True)
class Level:
    """One resolution of a file: the values (bins, rows) of each chromosome of the assembly."""

    bin_width: int
    values: dict[str, h5py.Dataset]


class MultivecTileset:
    """A multivec file, drawn in the assembly's order of chromosomes and not in the file's.

    At each resolution, the file's own bins are drawn, at most half a bin from their true position (see `hdf5.runs`); at
    1 bp this is exact. NaN, which HiGlass leaves blank, marks chromosomes that the file lacks, and positions beyond the
    genome's end.
    """

    def __init__(self, path: str | os.PathLike[str], grid: Grid, name: str):
        self.grid, self.name = grid, name
        self.file = HDF5(path)
        with self.file.reading():
            self.levels = list(read_levels(self.file, grid.assembly))
            self.tile_size = int(self.file.root["info"].attrs["tile-size"])
            self.n_rows = _n_rows(self.file)
            self._row_infos = list(_row_infos(self.file.root))

    def info(self) -> dict[str, Any]:
        info = multivec_info(self.grid, name=self.name, rows=self._row_infos)
        if not self._row_infos:
            del info["row_infos"]
        return info | {
            "resolutions": [level.bin_width for level in self.levels],
            "tile_size": self.tile_size,
            "bins_per_dimension": self.tile_size,
            "shape": [self.tile_size, self.n_rows],
        }

    def tile(self, tile: TileId) -> dict[str, Any]:
        if tile.y is not None or tile.modifier or tile.zoom >= len(self.levels):
            raise BadTileId(str(tile))
        level = self.levels[tile.zoom]
        tile_values = np.full((self.tile_size, self.n_rows), np.nan, np.float32)
        with self.file.reading():
            for run in runs(self.grid.assembly, level.bin_width, tile.x * self.tile_size, self.tile_size):
                if run.chrom in level.values:
                    values = level.values[run.chrom][run.first : run.first + run.n_bins]
                    tile_values[run.tile_bin : run.tile_bin + len(values)] = values
        return wire.dense(tile_values.T)


def read_levels(file: HDF5, assembly: Assembly) -> Iterator[Level]:
    """Yield the resolutions of a multivec, the coarsest first."""
    if "resolutions" not in file.root or "info" not in file.root or "chroms" not in file.root:
        raise UnreadableFile(f"{file.name} is HDF5, but not a multivec: it contains {listing(file.root)}.")
    own = own_names(_sizes(file), assembly)
    resolutions = file.root["resolutions"]
    for width in sorted(map(int, resolutions), reverse=True):
        values = resolutions[str(width)]["values"]
        yield Level(width, {chrom: values[name] for chrom, name in own.items() if name in values})


def _sizes(file: HDF5) -> dict[str, int]:
    chroms = file.root["chroms"]
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in chroms["name"][:]]
    return dict(zip(names, chroms["length"][:].tolist(), strict=True))


def _n_rows(file: HDF5) -> int:
    shapes = {values.shape[1:] for level in file.root["resolutions"].values() for values in level["values"].values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise UnreadableFile(f"{file.name} is not a multivec: its chromosomes have different numbers of rows.")
    return int(next(iter(shapes))[0])


def _row_infos(root: h5py.File) -> Iterator[Any]:
    """Yield the file's description of each row, JSON or text; nothing if it has none."""
    coarsest = root["resolutions"][max(root["resolutions"], key=int)]
    if "row_infos" in coarsest.attrs:
        for entry in coarsest.attrs["row_infos"]:
            text = entry.decode() if isinstance(entry, bytes) else str(entry)
            try:
                yield json.loads(text)
            except ValueError:
                yield text
    elif "row_infos" in root["info"]:
        yield from json.loads(root["info"]["row_infos"][()])


def check_multivec(path: str | os.PathLike[str], assembly: Assembly) -> None:
    """Raise unless a file is a complete multivec of an assembly.

    Raises
    ------
    UnreadableFile
        The file is missing, truncated, damaged or another format.
    ChromosomesDoNotFit
        Its chromosomes are not those of the assembly.
    """
    file = HDF5(path)
    with file.reading():
        levels = list(read_levels(file, assembly))
        check_sizes(file.name, _sizes(file), assembly)
        tile_size, n_rows = int(file.root["info"].attrs["tile-size"]), _n_rows(file)
        if tile_size * n_rows > MAX_VALUES_PER_TILE:
            raise UnreadableFile(f"{file.name} has {n_rows:,} rows, too many to draw; make it with fewer rows.")
        for level in levels:
            for chrom, values in level.values.items():
                if len(values) != -(-assembly.chromsizes[chrom] // level.bin_width):
                    raise UnreadableFile(f"{file.name} lacks bins of {chrom} at {level.bin_width:,} bp.")
                values[:1], values[-1:]  # raises if the file is truncated
