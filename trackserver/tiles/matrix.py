"""Tiles of contact matrices (.mcool).

Format: Abdennur and Mirny, "Cooler: scalable storage for Hi-C data and other genomically labeled arrays",
Bioinformatics 2020; https://cooler.readthedocs.io/en/latest/schema.html. This module reads it with h5py directly, which
is several times as fast as the cooler library: a row of the matrix is just two slices.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from trackserver.errors import BadTileId, InvalidRequest, UnreadableFile, listing
from trackserver.genome.assembly import Assembly
from trackserver.genome.chrom_names import check_sizes, own_names
from trackserver.sources.cache import ByteCache
from trackserver.tiles import wire
from trackserver.tiles.grid import Grid
from trackserver.tiles.hdf5 import HDF5, runs
from trackserver.tiles.tileset import TileId

TILE_BINS = 256  # on each side of a tile
DEFAULT_CACHE_BYTES = 1 << 26  # for matrices opened without a shared cache

BALANCED, RAW = "weight", "none"
# Counts are divided by Juicer's weights, but multiplied by cooler's own.
_JUICER_WEIGHTS = ("KR", "VC", "VC_SQRT", "SCALE", "GW_KR", "GW_VC", "GW_SCALE", "INTER_KR", "INTER_VC", "INTER_SCALE")
_MAX_SKIPPED_ROWS = 8  # rows are read together unless more than this many between them are not needed

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """The matrix at one resolution; `starts` is the number of the first bin on each chromosome of the assembly."""

    group: h5py.Group
    bin_width: int
    starts: dict[str, int]
    mirrored: bool
    weights: tuple[str, ...]


class MatrixTileset:
    """A multi-resolution cooler, drawn in the assembly's order of chromosomes and not in the file's.

    At each resolution, the file's own bins are drawn, at most half a bin from their true position (see `hdf5.runs`).
    A pair of bins without observed contacts is 0. NaN, which HiGlass leaves blank, marks bins masked by balancing,
    chromosomes that the file lacks, and positions beyond the genome's end.
    """

    def __init__(self, path: str | os.PathLike[str], grid: Grid, name: str, cache: ByteCache | None = None):
        self.grid, self.name = grid, name
        self.cache = cache or ByteCache(DEFAULT_CACHE_BYTES)
        self.file = HDF5(path)
        with self.file.reading():
            self.levels = list(read_levels(self.file, grid.assembly))

    @property
    def transforms(self) -> list[str]:
        """The balancing weights that all resolutions have."""
        return [name for name in self.levels[0].weights if all(name in level.weights for level in self.levels)]

    def info(self) -> dict[str, Any]:
        assembly = self.grid.assembly
        info = {
            "name": self.name,
            "datatype": "matrix",
            "coordSystem": assembly.name,
            "coordSystem2": assembly.name,
            "min_pos": [0, 0],
            "max_pos": [assembly.length] * 2,
            "bins_per_dimension": TILE_BINS,
            "chromsizes": [list(pair) for pair in assembly.chromsizes.items()],
            # HiGlass adds Default and None to the menu.
            "transforms": [{"name": "ICE" if name == BALANCED else name, "value": name} for name in self.transforms],
        }
        if not self.levels[0].mirrored:
            info["mirror_tiles"] = "false"  # the client expects a string
        widths = [level.bin_width for level in self.levels]
        if "resolutions" in self.file.root:
            return info | {"resolutions": widths}
        return info | {"max_zoom": len(widths) - 1, "max_width": widths[0] * TILE_BINS}

    def tile(self, tile: TileId) -> dict[str, Any]:
        if tile.y is None or tile.zoom >= len(self.levels):
            raise BadTileId(str(tile))
        level = self.levels[tile.zoom]
        weight = self._weight(level, tile.modifier)
        with self.file.reading():
            across, down = (self._bins(level, tile_number) for tile_number in (tile.x, tile.y))
            matrix = self._counts(level, across, down)
            matrix *= np.outer(_factors(level, weight, across), _factors(level, weight, down))
        matrix[~np.isfinite(matrix)] = np.nan
        return wire.dense(matrix.T)  # the rows of a tile are the bins down its side

    def _weight(self, level: Level, modifier: str) -> str:
        """Return the column of weights that a tile id's modifier selects; `none` for raw counts."""
        if modifier in ("", "default"):
            return BALANCED if BALANCED in level.weights else RAW
        if modifier.lower() != RAW and modifier not in level.weights:
            known = listing(["default", RAW, *level.weights])
            raise InvalidRequest(f"{self.name} has no balancing weights '{modifier}'; it has {known}.")
        return modifier

    def _bins(self, level: Level, tile_number: int) -> Integers:
        """Return which of the file's bins each bin along a tile's side shows, (TILE_BINS,); -1 for none."""
        bins = np.full(TILE_BINS, -1, np.int64)
        for run in runs(self.grid.assembly, level.bin_width, tile_number * TILE_BINS, TILE_BINS):
            if run.chrom in level.starts:
                first = level.starts[run.chrom] + run.first
                bins[run.tile_bin : run.tile_bin + run.n_bins] = np.arange(first, first + run.n_bins)
        return bins

    def _counts(self, level: Level, across: Integers, down: Integers) -> Floats:
        """Return the counts between bins across and bins down, (TILE_BINS, TILE_BINS)."""
        matrix = np.zeros((TILE_BINS, TILE_BINS))
        self._fill(matrix, level, across, down)
        if level.mirrored:
            self._fill(matrix.T, level, down, across)
        return matrix

    def _fill(self, matrix: Floats, level: Level, rows: Integers, columns: Integers) -> None:
        """Copy the file's pixels in some rows and columns; for a symmetric matrix, the file has the upper triangle."""
        known = columns[columns >= 0]
        if not known.size or (level.mirrored and rows[rows >= 0].min(initial=known.max() + 1) > known.max()):
            return
        low, high = int(known.min()), int(known.max()) + 1
        column_positions = _positions(columns, low, high)
        for first, last in _ranges(rows):
            strip = self._strip(level, first, last)
            pixels = np.flatnonzero((strip.columns >= low) & (strip.columns < high))
            row = _positions(rows, first, last)[np.searchsorted(strip.offsets, pixels, "right") - 1]
            column = column_positions[strip.columns[pixels] - low]
            drawn = (row >= 0) & (column >= 0)
            matrix[row[drawn], column[drawn]] = strip.counts[pixels[drawn]]

    def _strip(self, level: Level, first: int, last: int) -> Strip:
        """Return whole rows from the cache or the file; neighbouring tiles share them."""

        def make() -> tuple[Strip, int]:
            strip = read_strip(level.group, first, last)
            return strip, sum(column.nbytes for column in strip)

        return self.cache.get_or_make((self.file.identity, level.bin_width, first, last), make)


class Strip(NamedTuple):
    """Some rows of a matrix; row i has the pixels offsets[i] to offsets[i + 1]."""

    offsets: Integers
    columns: NDArray[np.int32]
    counts: NDArray[Any]


def read_strip(group: h5py.Group, first: int, last: int) -> Strip:
    """Read the rows from `first` to one before `last`."""
    offsets = group["indexes/bin1_offset"][first : last + 1]
    pixels = slice(int(offsets[0]), int(offsets[-1]))
    columns = group["pixels/bin2_id"][pixels].astype(np.int32)
    return Strip(offsets - offsets[0], columns, group["pixels/count"][pixels])


def _ranges(bins: Integers) -> Iterator[tuple[int, int]]:
    """Group the file's bins into a few half-open ranges."""
    known = np.unique(bins[bins >= 0])
    if known.size:
        for group in np.split(known, np.flatnonzero(np.diff(known) > _MAX_SKIPPED_ROWS) + 1):
            yield int(group[0]), int(group[-1]) + 1


def _positions(bins: Integers, low: int, high: int) -> Integers:
    """Return where on the tile's side each of the file's bins from `low` on is drawn, (high - low,); -1 for nowhere."""
    positions = np.full(high - low, -1, np.int64)
    inside = np.flatnonzero((bins >= low) & (bins < high))
    positions[bins[inside] - low] = inside
    return positions


def _factors(level: Level, weight: str, bins: Integers) -> Floats:
    """Return the factor of each bin, by which its counts are multiplied, (TILE_BINS,); NaN if there is no bin."""
    factors = np.full(TILE_BINS, np.nan)
    known = bins >= 0
    if weight.lower() == RAW:
        factors[known] = 1.0
        return factors
    column = level.group["bins"][weight]
    for low, high in _ranges(bins):
        inside = (bins >= low) & (bins < high)
        factors[inside] = column[low:high][bins[inside] - low]
    with np.errstate(divide="ignore"):
        return 1 / factors if _divides(column) else factors


def _divides(column: h5py.Dataset) -> bool:
    return bool(column.attrs.get("divisive_weights", column.name.rpartition("/")[2] in _JUICER_WEIGHTS))


def read_levels(file: HDF5, assembly: Assembly) -> Iterator[Level]:
    """Yield a cooler's resolutions, the coarsest first.

    Raises
    ------
    UnreadableFile
        The file is not a multi-resolution cooler; for a plain .cool, the error says how to make one.
    """
    groups = _groups(file)
    widths = {name: int(group.attrs["bin-size"]) for name, group in groups.items() if _is_regular(group, file.name)}
    for name in sorted(groups, key=lambda name: -widths[name]):
        group = groups[name]
        sizes = _sizes(group)
        starts = dict(zip(sizes, group["indexes/chrom_offset"][:-1].tolist(), strict=True))
        own = own_names(sizes, assembly)
        yield Level(
            group,
            widths[name],
            {chrom: starts[own[chrom]] for chrom in own if sizes[own[chrom]] == assembly.chromsizes[chrom]},
            group.attrs.get("storage-mode", "symmetric-upper") != "square",
            tuple(_weight_names(group["bins"])),
        )


def _groups(file: HDF5) -> dict[str, h5py.Group]:
    root = file.root
    if "resolutions" in root and len(root["resolutions"]):
        return dict(root["resolutions"].items())
    if "max-zoom" in root.attrs:  # the format before cooler 0.8, with zoom levels
        return {str(zoom): root[str(zoom)] for zoom in range(int(root.attrs["max-zoom"]) + 1)}
    if "pixels" in root:
        raise UnreadableFile(
            f"{file.name} is a cooler with a single resolution; HiGlass needs several. "
            f"Run `cooler zoomify --balance {file.name}` and add the .mcool that it writes."
        )
    raise UnreadableFile(f"{file.name} is HDF5, but not a multi-resolution cooler: it contains {listing(root)}.")


def _is_regular(group: h5py.Group, name: str) -> bool:
    if group.attrs.get("bin-type", "fixed") != "fixed":
        raise UnreadableFile(f"{name} has bins of unequal length, which cannot be drawn; use bins of equal length.")
    return True


def _sizes(group: h5py.Group) -> dict[str, int]:
    names = [name.decode() if isinstance(name, bytes) else name for name in group["chroms/name"][:]]
    return dict(zip(names, group["chroms/length"][:].tolist(), strict=True))


def _weight_names(bins: h5py.Group) -> Iterator[str]:
    """Yield the names of weight columns, cooler's default first.

    Columns written by `cooler balance --name` are recognised by their attributes.
    """
    for name in sorted(bins, key=lambda name: (name != BALANCED, name)):
        if name in (BALANCED, *_JUICER_WEIGHTS) or "mad_max" in bins[name].attrs:
            yield name


def check_matrix(path: str | os.PathLike[str], assembly: Assembly) -> None:
    """Raise unless a file is a complete multi-resolution cooler of an assembly.

    Raises
    ------
    UnreadableFile
        The file is missing, truncated, damaged or another format, or has a single resolution.
    ChromosomesDoNotFit
        Its chromosomes are not those of the assembly.
    """
    file = HDF5(path)
    with file.reading():
        for level in read_levels(file, assembly):
            check_sizes(file.name, _sizes(level.group), assembly)
            _check_pixels(level, file.name)


def _check_pixels(level: Level, name: str) -> None:
    offsets, pixels = level.group["indexes/bin1_offset"], level.group["pixels"]
    n_bins, n_pixels = len(level.group["bins/start"]), len(pixels["count"])
    if len(offsets) != n_bins + 1 or int(offsets[-1]) != n_pixels or len(pixels["bin2_id"]) != n_pixels:
        raise UnreadableFile(
            f"{name} is incomplete at {level.bin_width:,} bp: its index does not match its pixels. Make it again."
        )
    for part in (slice(0, 1), slice(max(n_pixels - 1, 0), n_pixels)):
        pixels["count"][part], pixels["bin2_id"][part]
    for weight in level.weights:
        if len(level.group["bins"][weight]) != n_bins:
            raise UnreadableFile(
                f"{name} is incomplete at {level.bin_width:,} bp: the weights '{weight}' lack bins. Make it again."
            )
