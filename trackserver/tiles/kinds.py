"""The kinds of files that are served: how each is told, opened and checked, and what HiGlass calls it.

Libraries that one kind needs alone are imported when the first such file is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from trackserver.errors import InvalidRequest, UnreadableFile, listing
from trackserver.genome.assembly import Assembly
from trackserver.tiles.cache import ByteCache
from trackserver.tiles.grid import Grid
from trackserver.tiles.source import Source
from trackserver.tiles.tileset import Tileset

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    filetype, datatype : HiGlass's names
    suffixes : how the names of such files end
    module, tileset, check : where its class and its checker are
    by_ranges : read piece by piece, so it may lie on the web
    cached : keeps what it has decoded where all tilesets do
    """

    filetype: str
    datatype: str
    suffixes: tuple[str, ...]
    module: str
    tileset: str
    check: str
    by_ranges: bool = False
    cached: bool = False


BED = tuple(
    f".{name}{packed}" for name in ("bed", "narrowpeak", "broadpeak", "gappedpeak") for packed in ("", ".gz", ".bgz")
)
FASTA = tuple(f".{name}{packed}" for name in ("fa", "fasta", "fna") for packed in ("", ".gz"))
KINDS = {
    kind.filetype: kind
    for kind in (
        Kind(
            "bigwig",
            "vector",
            (".bw", ".bigwig"),
            "vector",
            "BigWigTileset",
            "check_bigwig",
            by_ranges=True,
            cached=True,
        ),
        Kind(
            "bigbed",
            "bedlike",
            (".bb", ".bigbed"),
            "bigbed",
            "BigBedTileset",
            "check_bigbed",
            by_ranges=True,
            cached=True,
        ),
        Kind("beddb", "bedlike", BED, "bed", "BedTileset", "check_bed"),
        Kind("cooler", "matrix", (".mcool", ".cool"), "matrix", "MatrixTileset", "check_matrix", cached=True),
        Kind("fasta", "multivec", FASTA, "sequence", "open_fasta", "check_fasta"),
        Kind("multivec", "multivec", (".mv5", ".multires.mv5"), "multivec", "MultivecTileset", "check_multivec"),
    )
}


def kind_of(name: str) -> Kind:
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
    made = getattr(import_module(f"trackserver.tiles.{kind.module}"), kind.tileset)
    place = file if kind.by_ranges else _local(file, kind)
    opened: Tileset = made(place, grid, name, cache) if kind.cached else made(place, grid, name)
    return opened


def prepare(filetype: str) -> None:
    """Load what reads files of a kind; the first tile then need not wait for it."""
    if filetype in KINDS:
        module = import_module(f"trackserver.tiles.{KINDS[filetype].module}")
        getattr(module, "prepare", lambda: None)()


def check_file(filetype: str, file: Path | Source, assembly: Assembly, report: Report) -> None:
    """Raise unless a file is whole, of its kind, and lies on an assembly."""
    kind = _kind(filetype)
    check: Any = getattr(import_module(f"trackserver.tiles.{kind.module}"), kind.check)
    if kind.by_ranges:
        check(file, assembly, report)
    else:
        check(_local(file, kind), assembly)


def _kind(filetype: str) -> Kind:
    if filetype not in KINDS:
        raise InvalidRequest(f"No file type '{filetype}' here; known: {listing(KINDS, 30)}.")
    return KINDS[filetype]


def _local(file: Path | Source, kind: Kind) -> Path:
    if not isinstance(file, Path):
        raise UnreadableFile(f"{file.name} must lie on this server: a {kind.filetype} file is not read from the web.")
    return file
