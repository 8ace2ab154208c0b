"""Contact matrices (.mcool) as tiles.

Format: Abdennur and Mirny, "Cooler: scalable storage for Hi-C data and other genomically labeled arrays",
Bioinformatics 2020; https://cooler.readthedocs.io/en/latest/schema.html. It is read here through h5py: a row of the
matrix is two slices, and what the library puts around them takes several times as long as reading them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
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

SIDE = 256  # bins
SMALL_CACHE = 1 << 26  # bytes, where nobody shares a larger one

BALANCED, RAW = "weight", "none"
# Juicer's vectors are divided by, cooler's own multiplied with.
_JUICER = ("KR", "VC", "VC_SQRT", "SCALE", "GW_KR", "GW_VC", "GW_SCALE", "INTER_KR", "INTER_VC", "INTER_SCALE")
_NEVER_APART = 8  # rows of which few are skipped are read in one piece

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """The matrix at one resolution; `starts` is the first of the file's bins on each chromosome of the assembly."""

    group: h5py.Group
    bin_width: int
    starts: dict[str, int]
    mirrored: bool
    weights: tuple[str, ...]


class MatrixTileset:
    """A multi-resolution cooler in the assembly's order of chromosomes, whatever its own.

    Of each resolution the file's own bins are drawn, at most half a bin from their place (see `hdf5.runs`).
    0 is a pair of bins between which no contact was seen; NaN, which HiGlass leaves blank, is a bin that balancing
    has masked, a chromosome the file lacks, and what lies beyond the genome's end.
    """

    def __init__(self, path: Path, grid: Grid, name: str, cache: ByteCache | None = None):
        self.grid, self.name = grid, name
        self.cache = cache or ByteCache(SMALL_CACHE)
        self.file = HDF5(path)
        with self.file.reading():
            self.levels = list(read_levels(self.file, grid.assembly))

    @property
    def transforms(self) -> list[str]:
        """The balancing weights that every resolution has."""
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
            "bins_per_dimension": SIDE,
            "chromsizes": [list(pair) for pair in assembly.chromsizes.items()],
            # The menu itself adds Default and None.
            "transforms": [{"name": "ICE" if name == BALANCED else name, "value": name} for name in self.transforms],
        }
        if not self.levels[0].mirrored:
            info["mirror_tiles"] = "false"  # the client takes the word, not the value
        widths = [level.bin_width for level in self.levels]
        if "resolutions" in self.file.root:
            return info | {"resolutions": widths}
        return info | {"max_zoom": len(widths) - 1, "max_width": widths[0] * SIDE}

    def tile(self, tile: TileId) -> dict[str, Any]:
        if tile.y is None or tile.zoom >= len(self.levels):
            raise BadTileId(str(tile))
        level = self.levels[tile.zoom]
        weight = self._weight(level, tile.modifier)
        with self.file.reading():
            across, down = (self._bins(level, place) for place in (tile.x, tile.y))
            matrix = self._counts(level, across, down)
            matrix *= np.outer(_weights(level, weight, across), _weights(level, weight, down))
        matrix[~np.isfinite(matrix)] = np.nan
        return wire.dense(matrix.T)  # a row of a tile is a place down its side

    def _weight(self, level: Level, asked: str) -> str:
        """The column of weights that a tile id asks for; `none` for raw counts."""
        if asked in ("", "default"):
            return BALANCED if BALANCED in level.weights else RAW
        if asked.lower() != RAW and asked not in level.weights:
            known = listing(["default", RAW, *level.weights])
            raise InvalidRequest(f"{self.name} is not balanced by '{asked}'; it has {known}.")
        return asked

    def _bins(self, level: Level, place: int) -> Integers:
        """(SIDE,) which of the file's bins each bin along a side of a tile shows, -1 for none."""
        bins = np.full(SIDE, -1, np.int64)
        for run in runs(self.grid.assembly, level.bin_width, place * SIDE, SIDE):
            if run.chrom in level.starts:
                first = level.starts[run.chrom] + run.first
                bins[run.place : run.place + run.n_bins] = np.arange(first, first + run.n_bins)
        return bins

    def _counts(self, level: Level, across: Integers, down: Integers) -> Floats:
        """(SIDE, SIDE) the counts between bins across and bins down."""
        matrix = np.zeros((SIDE, SIDE))
        self._fill(matrix, level, across, down)
        if level.mirrored:
            self._fill(matrix.T, level, down, across)
        return matrix

    def _fill(self, matrix: Floats, level: Level, rows: Integers, columns: Integers) -> None:
        """Write what the file holds in some rows and columns; of a symmetric matrix it holds the upper right half."""
        known = columns[columns >= 0]
        if not known.size or (level.mirrored and rows[rows >= 0].min(initial=known.max() + 1) > known.max()):
            return
        low, high = int(known.min()), int(known.max()) + 1
        column_place = _places(columns, low, high)
        for first, last in _stretches(rows):
            strip = self._strip(level, first, last)
            found = np.flatnonzero((strip.columns >= low) & (strip.columns < high))
            row = _places(rows, first, last)[np.searchsorted(strip.offsets, found, "right") - 1]
            column = column_place[strip.columns[found] - low]
            drawn = (row >= 0) & (column >= 0)
            matrix[row[drawn], column[drawn]] = strip.counts[found[drawn]]

    def _strip(self, level: Level, first: int, last: int) -> Strip:
        """Whole rows: tiles above and below each other share them."""

        def make() -> tuple[Strip, int]:
            strip = read_strip(level.group, first, last)
            return strip, sum(column.nbytes for column in strip)

        return self.cache.get((self.file.identity, level.bin_width, first, last), make)


class Strip(NamedTuple):
    """Some rows of a matrix; row i has the pixels offsets[i] to offsets[i + 1]."""

    offsets: Integers
    columns: NDArray[np.int32]
    counts: NDArray[Any]


def read_strip(group: h5py.Group, first: int, last: int) -> Strip:
    offsets = group["indexes/bin1_offset"][first : last + 1]
    pixels = slice(int(offsets[0]), int(offsets[-1]))
    columns = group["pixels/bin2_id"][pixels].astype(np.int32)
    return Strip(offsets - offsets[0], columns, group["pixels/count"][pixels])


def _stretches(bins: Integers) -> Iterator[tuple[int, int]]:
    """The file's bins among these as few half-open stretches."""
    known = np.unique(bins[bins >= 0])
    if known.size:
        for stretch in np.split(known, np.flatnonzero(np.diff(known) > _NEVER_APART) + 1):
            yield int(stretch[0]), int(stretch[-1]) + 1


def _places(bins: Integers, low: int, high: int) -> Integers:
    """(high - low,) where along the tile's side each of the file's bins from `low` on is drawn, -1 for nowhere."""
    places = np.full(high - low, -1, np.int64)
    inside = np.flatnonzero((bins >= low) & (bins < high))
    places[bins[inside] - low] = inside
    return places


def _weights(level: Level, weight: str, bins: Integers) -> Floats:
    """(SIDE,) what a row is multiplied with; NaN where there is no bin."""
    factors = np.full(SIDE, np.nan)
    known = bins >= 0
    if weight.lower() == RAW:
        factors[known] = 1.0
        return factors
    column = level.group["bins"][weight]
    for low, high in _stretches(bins):
        inside = (bins >= low) & (bins < high)
        factors[inside] = column[low:high][bins[inside] - low]
    with np.errstate(divide="ignore"):
        return 1 / factors if _divides(column) else factors


def _divides(column: h5py.Dataset) -> bool:
    return bool(column.attrs.get("divisive_weights", column.name.rpartition("/")[2] in _JUICER))


def read_levels(file: HDF5, assembly: Assembly) -> Iterator[Level]:
    """A cooler's resolutions, the coarsest first.

    Raises
    ------
    UnreadableFile
        It is no multi-resolution cooler; of a plain .cool it is said what to do.
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
    if "max-zoom" in root.attrs:  # as cooler wrote it before 0.8: zoom levels that each halve the bins
        return {str(zoom): root[str(zoom)] for zoom in range(int(root.attrs["max-zoom"]) + 1)}
    if "pixels" in root:
        raise UnreadableFile(
            f"{file.name} is a cooler of a single resolution; HiGlass needs several. "
            f"Make them with `cooler zoomify --balance {file.name}` and add the .mcool that it writes."
        )
    raise UnreadableFile(f"{file.name} is HDF5, but not a multi-resolution cooler: it holds {listing(root)}.")


def _is_regular(group: h5py.Group, name: str) -> bool:
    if group.attrs.get("bin-type", "fixed") != "fixed":
        raise UnreadableFile(f"{name} has bins of unequal length, which cannot be drawn; bin its contacts regularly.")
    return True


def _sizes(group: h5py.Group) -> dict[str, int]:
    names = [name.decode() if isinstance(name, bytes) else name for name in group["chroms/name"][:]]
    return dict(zip(names, group["chroms/length"][:].tolist(), strict=True))


def _weight_names(bins: h5py.Group) -> Iterator[str]:
    """Cooler's own weights first; `cooler balance --name` leaves its parameters as attributes."""
    for name in sorted(bins, key=lambda name: (name != BALANCED, name)):
        if name in (BALANCED, *_JUICER) or "mad_max" in bins[name].attrs:
            yield name


def check_matrix(path: Path, assembly: Assembly) -> None:
    """Raise unless a file is a whole multi-resolution cooler on an assembly.

    Raises
    ------
    UnreadableFile
        It is missing, truncated, damaged, another format, or has a single resolution.
    ChromosomesDoNotFit
        Its chromosomes are not the assembly's.
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
            f"{name} is incomplete at {level.bin_width:,} bp: its index and its pixels differ. Make it anew."
        )
    for part in (slice(0, 1), slice(max(n_pixels - 1, 0), n_pixels)):
        pixels["count"][part], pixels["bin2_id"][part]
    for weight in level.weights:
        if len(level.group["bins"][weight]) != n_bins:
            raise UnreadableFile(
                f"{name} is incomplete at {level.bin_width:,} bp: '{weight}' lacks bins. Make it anew."
            )
