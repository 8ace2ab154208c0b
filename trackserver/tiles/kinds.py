"""The kinds of files that are served: how each is told, opened and checked, and what HiGlass calls it.

Libraries that one kind needs alone are imported when the first such file is opened.
"""

from __future__ import annotations

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
    """How files of a kind are read.

    open : a file as a tileset; raises UnreadableFile
    check : raises unless a file is whole, of its kind, and lies on an assembly
    warm_up : loads what the first tile would otherwise wait for
    """

    open: Callable[[Any, Grid, str, ByteCache], Tileset]
    check: Callable[[Any, Assembly, Progress], None]
    warm_up: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    filetype, datatype : HiGlass's names
    suffixes : how the names of such files end
    reader : imports what reads them
    by_ranges : read piece by piece, so it may lie on the web; others are read from a path
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


BED = tuple(
    f".{name}{packed}" for name in ("bed", "narrowpeak", "broadpeak", "gappedpeak") for packed in ("", ".gz", ".bgz")
)
FASTA = tuple(f".{name}{packed}" for name in ("fa", "fasta", "fna") for packed in ("", ".gz"))
KINDS = {
    kind.filetype: kind
    for kind in (
        FileKind("bigwig", "vector", (".bw", ".bigwig"), _bigwig, by_ranges=True),
        FileKind("bigbed", "bedlike", (".bb", ".bigbed"), _bigbed, by_ranges=True),
        FileKind("beddb", "bedlike", BED, _bed),
        FileKind("cooler", "matrix", (".mcool", ".cool"), _matrix),
        FileKind("fasta", "multivec", FASTA, _fasta),
        FileKind("multivec", "multivec", (".mv5", ".multires.mv5"), _multivec),
    )
}


def kind_of(name: str) -> FileKind:
    """The kind of a file, by its name.

    Raises
    ------
    InvalidRequest
        None of those there are.
    """
    lower = name.lower().split("?")[0]
    for kind in KINDS.values():
        if lower.endswith(kind.suffixes):
            return kind
    known = listing((suffix for kind in KINDS.values() for suffix in kind.suffixes), 30)
    raise InvalidRequest(f"'{name}' does not end like a file that is served here: {known}.")


def open_file(filetype: str, file: Path | Source, grid: Grid, name: str, cache: ByteCache) -> Tileset:
    """A file as a tileset.

    Raises
    ------
    UnreadableFile
        It is missing, damaged or another format, or lies on the web though its kind is read whole.
    """
    kind = _kind(filetype)
    return kind.reader().open(_readable(file, kind), grid, name, cache)


def check_file(filetype: str, file: Path | Source, assembly: Assembly, progress: Progress) -> None:
    """Raise unless a file is whole, of its kind, and lies on an assembly."""
    kind = _kind(filetype)
    kind.reader().check(_readable(file, kind), assembly, progress)


def warm_up(filetype: str) -> None:
    """Load what reads files of a kind; the first tile then need not wait for it."""
    if filetype in KINDS:
        KINDS[filetype].reader().warm_up()


def _kind(filetype: str) -> FileKind:
    if filetype not in KINDS:
        raise InvalidRequest(f"No file type '{filetype}' here; known: {listing(KINDS, 30)}.")
    return KINDS[filetype]


def _readable(file: Path | Source, kind: FileKind) -> Path | Source:
    """The file, which has to lie on this server where its kind is read whole."""
    if not kind.by_ranges and not isinstance(file, Path):
        raise UnreadableFile(f"{file.name} must lie on this server: a {kind.filetype} file is not read from the web.")
    return file
