"""bigWig files as tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pybigtools

from trackserver.errors import ChromosomesDoNotFit, UnknownChromosome, UnreadableFile, listing
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.tiles import wire
from trackserver.tiles.grid import Grid, Records, bin_means
from trackserver.tiles.tileset import TileId, check_on_grid, pyramid_info


class BigWigTileset:
    """Means of a local bigWig over the assembly's absolute grid.

    Where a bin is narrower than twice the file's first zoom level, the value is the exact mean over the bin's
    covered bases. Above, it is taken from the coarsest zoom level whose summaries are at most half a bin wide:
    only the two summaries that straddle the bin's edges are shared out by overlap, so the mean is off by at
    most `2 * reduction / bin_width * (max - min)` of those two.
    """

    def __init__(self, path: Path, grid: Grid, name: str):
        self.path, self.grid, self.name = path, grid, name

    def info(self) -> dict[str, Any]:
        with open_bigwig(self.path):
            return pyramid_info(self.grid, name=self.name, datatype="vector")

    def tiles(self, ids: Sequence[TileId]) -> list[Any]:
        with open_bigwig(self.path) as reader:
            names = own_names(reader, self.grid.assembly)
            zooms = reader.zooms()

            def read(locus: Locus, bin_width: int) -> Records:
                return read_records(reader, names.get(locus.chrom), zooms, locus, bin_width)

            return [self._tile(tile, read) for tile in ids]

    def _tile(self, tile: TileId, read: Any) -> dict[str, Any]:
        check_on_grid(self.grid, tile)
        return wire.dense(bin_means(self.grid, tile.zoom, tile.x, read))


@contextmanager
def open_bigwig(path: Path) -> Iterator[Any]:
    """A pybigtools reader; whatever goes wrong while it is read becomes one sentence."""
    try:
        reader = pybigtools.open(str(path))
    except FileNotFoundError:
        raise UnreadableFile(f"{path.name} is gone from {path.parent}.") from None
    except (ValueError, OSError, pybigtools.BBIReadError) as error:
        if not path.exists():
            raise UnreadableFile(f"{path.name} is gone from {path.parent}.") from None
        raise UnreadableFile(f"{path.name} cannot be read as bigWig: it is damaged, or another format.") from error
    if not hasattr(reader, "is_bigwig") or not reader.is_bigwig:
        raise UnreadableFile(f"{path.name} is a bigBed, not a bigWig.")
    try:
        with reader:
            yield reader
    except (pybigtools.BBIReadError, OSError) as error:
        raise UnreadableFile(f"{path.name} is truncated or damaged: {error}. Copy or make it anew.") from error


def own_names(reader: Any, assembly: Assembly) -> dict[str, str]:
    """The assembly's chromosome name -> the file's own (`1` for `chr1`); what the assembly lacks is left out."""
    names = {}
    for own in reader.chroms():
        try:
            names[assembly.resolve(own)] = own
        except UnknownChromosome:
            continue
    return names


def check_chromosomes(path: Path, assembly: Assembly) -> None:
    """Raise `ChromosomesDoNotFit` unless the file shares chromosomes with the assembly, all of equal size."""
    with open_bigwig(path) as reader:
        sizes = reader.chroms()
        names = own_names(reader, assembly)
    if not names:
        raise ChromosomesDoNotFit(
            f"{path.name} has no chromosome of {assembly.name}: the file has {listing(sizes)}; "
            f"{assembly.name} has {listing(assembly.chroms)}. Was it made on another assembly?"
        )
    for chrom, own in names.items():
        if sizes[own] != assembly.chromsizes[chrom]:
            raise ChromosomesDoNotFit(
                f"{path.name} was not made on {assembly.name}: its {own} is {sizes[own]:,} bp long, "
                f"in {assembly.name} it is {assembly.chromsizes[chrom]:,}."
            )


def check_readable(path: Path) -> None:
    """Read the ends of every chromosome at every level, so that a truncated file is found before it is served."""
    with open_bigwig(path) as reader:
        levels = reader.zooms()
        for chrom, size in reader.chroms().items():
            for start, end in ((0, 1), (size - 1, size)):
                list(reader.records(chrom, start, end))
                for level in levels:
                    list(reader.zoom_records(level, chrom, start, end))


def read_records(reader: Any, own: str | None, zooms: Sequence[int], locus: Locus, bin_width: int) -> Records:
    """What the file holds over a locus, raw or summarised, whichever is the coarsest that half a bin allows."""
    if own is None:
        return _table(())
    reduction = max((level for level in zooms if 2 * level <= bin_width), default=0)
    if not reduction:
        rows = ((s, e, v * (e - s), e - s) for s, e, v in reader.records(own, locus.start, locus.end))
    else:
        rows = (
            (s, e, summary["sum"], summary["bases_covered"])
            for s, e, summary in reader.zoom_records(reduction, own, locus.start, locus.end)
        )
    return _table(rows)


_ROW = np.dtype([("start", np.int64), ("end", np.int64), ("sum", np.float64), ("covered", np.float64)])


def _table(rows: Any) -> Records:
    table = np.fromiter(rows, dtype=_ROW)
    table = table[np.isfinite(table["sum"]) & (table["covered"] > 0)]
    return Records(table["start"], table["end"], table["sum"], table["covered"])
