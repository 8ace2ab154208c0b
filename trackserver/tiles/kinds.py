"""The file types that can be served: how to recognise, open and check each, and its HiGlass names.

A library that only one file type needs is imported when the first such file is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from trackserver.errors import InvalidRequest, UnreadableFile, listing
from trackserver.genome.assembly import Assembly
from trackserver.progress import Progress
from trackserver.sources.cache import ByteCache
from trackserver.sources.source import Source
from trackserver.tiles.grid import Grid
from trackserver.tiles.tileset import Tileset


class Reader(NamedTuple):
    """The functions that read files of one type.

    open : opens a file as a tileset; raises UnreadableFile
    check : raises unless a file is complete, of this type, and fits an assembly
    warm_up : loads libraries in advance, so that the first tile does not wait for them
    """

    open: Callable[[Any, Grid, str, ByteCache], Tileset]
    check: Callable[[Any, Assembly, Progress], None]
    warm_up: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class FileKind:
    """A file type.

    filetype, datatype : HiGlass' names
    suffixes : endings of the names of such files
    reader : imports the code that reads them
    by_ranges : whether files are read in parts, so that they may be on the web; others must be local
    """

    filetype: str
    datatype: str
    suffixes: tuple[str, ...]
    reader: Callable[[], Reader]
    by_ranges: bool = False


def _bigwig() -> Reader:
    from trackserver.bbi.bigwig import check_bigwig
    from trackserver.tiles.bigwig import BigWigTileset, warm_up

    return Reader(BigWigTileset, check_bigwig, warm_up)


def _bigbed() -> Reader:
    from trackserver.tiles.bigbed import BigBedTileset, check_bigbed

    return Reader(BigBedTileset, check_bigbed)


def _bed() -> Reader:
    from trackserver.tiles.bed import BedTileset, check_bed

    return Reader(
        lambda path, grid, name, cache: BedTileset(path, grid, name),
        lambda path, assembly, progress: check_bed(path, assembly),
    )


def _matrix() -> Reader:
    from trackserver.tiles.matrix import MatrixTileset, check_matrix

    return Reader(MatrixTileset, lambda path, assembly, progress: check_matrix(path, assembly))


def _fasta() -> Reader:
    from trackserver.tiles.sequence import check_fasta, open_fasta

    return Reader(
        lambda path, grid, name, cache: open_fasta(path, grid, name),
        lambda path, assembly, progress: check_fasta(path, assembly),
    )


def _multivec() -> Reader:
    from trackserver.tiles.multivec import MultivecTileset, check_multivec

    return Reader(
        lambda path, grid, name, cache: MultivecTileset(path, grid, name),
        lambda path, assembly, progress: check_multivec(path, assembly),
    )


BED_SUFFIXES = tuple(
    f".{name}{zipped}" for name in ("bed", "narrowpeak", "broadpeak", "gappedpeak") for zipped in ("", ".gz", ".bgz")
)
FASTA_SUFFIXES = tuple(f".{name}{zipped}" for name in ("fa", "fasta", "fna") for zipped in ("", ".gz"))
KINDS = {
    kind.filetype: kind
    for kind in (
        FileKind("bigwig", "vector", (".bw", ".bigwig"), _bigwig, by_ranges=True),
        FileKind("bigbed", "bedlike", (".bb", ".bigbed"), _bigbed, by_ranges=True),
        FileKind("beddb", "bedlike", BED_SUFFIXES, _bed),
        FileKind("cooler", "matrix", (".mcool", ".cool"), _matrix),
        FileKind("fasta", "multivec", FASTA_SUFFIXES, _fasta),
        FileKind("multivec", "multivec", (".mv5", ".multires.mv5"), _multivec),
    )
}


def kind_of(name: str) -> FileKind:
    """Return the type of a file, by the ending of its name.

    Raises
    ------
    InvalidRequest
        The ending is unknown.
    """
    lower = name.lower().split("?")[0]
    for kind in KINDS.values():
        if lower.endswith(kind.suffixes):
            return kind
    known = listing((suffix for kind in KINDS.values() for suffix in kind.suffixes), 30)
    raise InvalidRequest(f"'{name}' has no known file ending; known: {known}.")


def open_file(filetype: str, file: str | os.PathLike[str] | Source, grid: Grid, name: str, cache: ByteCache) -> Tileset:
    """Open a file as a tileset.

    Raises
    ------
    UnreadableFile
        The file is missing, damaged or another format, or it is on the web but its type can only be read locally.
    """
    kind = _kind(filetype)
    return kind.reader().open(_local_if_needed(file, kind), grid, name, cache)


def check_file(filetype: str, file: str | os.PathLike[str] | Source, assembly: Assembly, progress: Progress) -> None:
    """Raise unless a file is complete, of its type, and fits an assembly."""
    kind = _kind(filetype)
    kind.reader().check(_local_if_needed(file, kind), assembly, progress)


def warm_up(filetype: str) -> None:
    """Load the libraries that read a file type, so that the first tile does not wait for them."""
    if filetype in KINDS:
        KINDS[filetype].reader().warm_up()


def _kind(filetype: str) -> FileKind:
    if filetype not in KINDS:
        raise InvalidRequest(f"No file type '{filetype}' here; known: {listing(KINDS, 30)}.")
    return KINDS[filetype]


def _local_if_needed(file: str | os.PathLike[str] | Source, kind: FileKind) -> Path | Source:
    """Return the file as a path or source; raises if it is remote and its type can only be read locally."""
    if isinstance(file, str | os.PathLike):
        return Path(file)
    if not kind.by_ranges:
        raise UnreadableFile(
            f"{file.name} must be on this server, because {kind.filetype} files are not read remotely."
        )
    return file
