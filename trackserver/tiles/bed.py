"""BED files and their kin (narrowPeak, broadPeak, gappedPeak) as tiles, held in memory.

Format: https://samtools.github.io/hts-specs/BEDv1.pdf; peaks as ENCODE writes them.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from trackserver.errors import FileChanged, UnreadableFile, listing
from trackserver.genome.assembly import Assembly
from trackserver.genome.chrom_names import Chromosomes
from trackserver.genome.gzip_text import opened
from trackserver.genome.regions import covered_bases
from trackserver.sources.source import identity_at
from trackserver.tiles.grid import Grid
from trackserver.tiles.intervals import Intervals
from trackserver.tiles.tileset import TileId, check_on_grid, pyramid_info

MOST_ROWS = 3_000_000  # 40 bytes each, and the text packed
MOST_ENTRIES_A_TILE = 200
PIECE = 1 << 16  # bytes of text read, and kept packed, together

_BED12 = "chrom start end name score strand thickStart thickEnd itemRgb blockCount blockSizes blockStarts"
HEADERS = {
    "narrowpeak": "chrom start end name score strand signalValue pValue qValue peak",
    "broadpeak": "chrom start end name score strand signalValue pValue qValue",
    "gappedpeak": f"{_BED12} signalValue pValue qValue",
    "bed": _BED12,
}

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

_log = logging.getLogger(__name__)


class BedTileset:
    """Intervals of a BED; where a tile holds more than can be drawn, the most important are kept, always the same.

    An interval is as important as its score, where scores differ, else as it is long.
    """

    def __init__(self, path: Path, grid: Grid, name: str):
        self.grid, self.name = grid, name
        self.bed = read_bed(path, grid.assembly)
        kind = next((kind for kind in HEADERS if kind in path.name.lower()), "bed")
        self.header = "\t".join(HEADERS[kind].split()[: self.bed.n_columns])

    def info(self) -> dict[str, Any]:
        return {**pyramid_info(self.grid, name=self.name, datatype="bedlike"), "header": self.header}

    def tile(self, tile: TileId) -> list[dict[str, Any]]:
        check_on_grid(self.grid, tile)
        edges = self.grid.edges(tile.zoom, tile.x)
        rows = self.bed.intervals.within(int(edges[0]), int(edges[-1]), MOST_ENTRIES_A_TILE)
        return [
            entry(f"{piece}-{begin}", line.split("\t"), importance, self.grid.assembly)
            for line, piece, begin, importance in zip(
                self.bed.lines(rows),
                self.bed.pieces[rows].tolist(),
                self.bed.begins[rows].tolist(),
                self.bed.importance[rows].tolist(),
                strict=True,
            )
        ]

    def covered(self, chrom: str, edges: Integers) -> Integers:
        """(len(edges) - 1,) how many bases between neighbouring places of a chromosome the intervals cover."""
        held = self.bed.intervals
        places = edges + self.grid.assembly.offsets[chrom]
        rows = held.within(int(places[0]), int(places[-1]), len(held.starts))
        return covered_bases(held.starts[rows], held.ends[rows], places)


def entry(uid: str, fields: list[str], importance: float, assembly: Assembly) -> dict[str, Any]:
    """A line of a BED as HiGlass's bedlike track reads it; fields are chromosome positions, x is absolute."""
    chrom = assembly.resolve(fields[0])
    offset = assembly.offsets[chrom]
    return {
        "uid": uid,
        "xStart": offset + int(fields[1]),
        "xEnd": offset + int(fields[2]),
        "chrOffset": offset,
        # The client puts a random number in the place of a 0.
        "importance": importance or 1e-9,
        "fields": [chrom, *fields[1:]],
        "strand": fields[5] if len(fields) > 5 and fields[5] in "+-" else ".",
        "name": fields[3] if len(fields) > 3 else "",
    }


@dataclass(frozen=True)
class Bed:
    """A BED's rows, sorted by start.

    pieces, begins : where a row's line is: in which piece of text, from which byte on
    texts : the pieces, packed
    left_out : how many lines lie on each chromosome that the assembly lacks
    """

    n_columns: int
    intervals: Intervals
    importance: NDArray[np.float32]
    pieces: NDArray[np.int32]
    begins: NDArray[np.int32]
    texts: list[bytes]
    left_out: Counter[str]

    def lines(self, rows: Integers) -> list[str]:
        texts = {piece: isal_zlib.decompress(self.texts[piece]) for piece in set(self.pieces[rows].tolist())}
        found = []
        for piece, begin in zip(self.pieces[rows].tolist(), self.begins[rows].tolist(), strict=True):
            line = texts[piece][begin : texts[piece].index(b"\n", begin)]
            found.append(line.rstrip(b"\r").decode("utf-8", "replace"))
        return found


def read_bed(path: Path, assembly: Assembly) -> Bed:
    """All rows on the assembly's chromosomes.

    Raises
    ------
    UnreadableFile
        A line, which is named, is no BED or lies beyond its chromosome; or the file is damaged, or too long.
    ChromosomesDoNotFit
        None of its chromosomes is the assembly's.
    """
    reader = _Reader(path.name, assembly)
    rows, texts = [], []
    with opened(path) as file:
        before = identity_at(path)
        for text in _texts(file, path.name):
            tabbed = reader.with_tabs(text)
            rows.append(reader.rows(tabbed))
            texts.append(isal_zlib.compress(tabbed, 1))
    if identity_at(path) != before:
        raise FileChanged(path.name)
    if not reader.chroms:
        raise UnreadableFile(f"{path.name} holds no intervals.")
    reader.chroms.check(path.name)
    return _sorted(rows, texts, reader)


def check_bed(path: Path, assembly: Assembly) -> None:
    """Read all of a BED; what it has on chromosomes that the assembly lacks is left out, and said."""
    left_out = read_bed(path, assembly).left_out
    if left_out:
        _log.warning(
            "%s: %s lines lie on chromosomes that %s lacks (%s); they are left out.",
            path.name, f"{left_out.total():,}", assembly.name, listing(name for name, _ in left_out.most_common()),
        )  # fmt: skip


def _texts(file: IO[bytes], name: str) -> Iterator[bytes]:
    """The file in pieces of whole lines."""
    while piece := file.read(PIECE):
        piece += file.readline(PIECE)
        if not piece.endswith(b"\n"):
            if file.read(1):
                raise UnreadableFile(f"{name} is no BED: it has a line of more than {PIECE:,} bytes.")
            piece += b"\n"
        yield piece


class _Rows(NamedTuple):
    """The rows of a piece of text; positions are absolute."""

    starts: Integers
    ends: Integers
    scores: Floats
    begins: Integers


class _Reader:
    """Reads a file's pieces, one after the other."""

    def __init__(self, name: str, assembly: Assembly):
        self.name, self.assembly, self.chroms = name, assembly, Chromosomes(assembly)
        self.n_columns = self.n_lines = self.n_rows = 0
        self.left_out: Counter[str] = Counter()
        self._spaces: bool | None = None

    def with_tabs(self, text: bytes) -> bytes:
        """The same text with tabs between its columns, where the file's first line of data has spaces."""
        if self._spaces is None and (first := _FIRST.search(text)):
            self._spaces = b"\t" not in first[0]
        return re.sub(rb"[ \t]+", b"\t", text) if self._spaces else text

    def rows(self, text: bytes) -> _Rows:
        data = np.frombuffer(text, np.uint8)
        stops = np.flatnonzero(data == ord("\n"))
        begins = np.concatenate(([0], stops[:-1] + 1))
        numbers = self.n_lines + 1 + np.arange(len(begins))
        self.n_lines += len(begins)
        stops = stops - ((stops > begins) & (data[stops - 1] == ord("\r")))
        kept = (stops > begins) & (data[begins] != ord("#"))
        for line in np.flatnonzero(np.isin(data[begins], (ord("t"), ord("b")))).tolist():
            kept[line] &= not _HEADING.match(text, begins[line])
        return self._rows(data, begins[kept], stops[kept], numbers[kept])

    def _rows(self, data: Bytes, begins: Integers, stops: Integers, numbers: Integers) -> _Rows:
        if not len(begins):
            return _Rows(begins, begins, begins.astype(np.float64), begins)
        columns, widths = _columns(data, begins, stops)
        starts, start_good = _whole(data, *columns[1])
        ends, end_good = _whole(data, *columns[2])
        self._refuse(~(start_good & end_good), numbers, "it should read: chromosome, start and end, between tabs")
        self._refuse(starts > ends, numbers, "it ends before it starts")
        offsets, sizes = self._places(data, *columns[0])
        here = sizes > 0
        self._refuse(
            here & (ends > sizes), numbers,
            f"it ends beyond its chromosome in {self.assembly.name}; was it made on another assembly?",
        )  # fmt: skip
        scores = _scores(data, *columns[4]) if (widths > 4).any() else np.zeros(len(begins))
        self.n_columns = max(self.n_columns, int(widths.max()))
        self.n_rows += int(here.sum())
        if self.n_rows > MOST_ROWS:
            raise UnreadableFile(
                f"{self.name} has more than {MOST_ROWS:,} lines, too many to hold; sort it (sort -k1,1 -k2,2n), "
                "make it a bigBed with UCSC's bedToBigBed, and add that."
            )
        return _Rows((starts + offsets)[here], (ends + offsets)[here], scores[here], begins[here])

    def _refuse(self, bad: NDArray[np.bool_], numbers: Integers, why: str) -> None:
        if bad.any():
            raise UnreadableFile(f"{self.name}, line {numbers[np.argmax(bad)]}: {why}.")

    def _places(self, data: Bytes, begins: Integers, stops: Integers) -> tuple[Integers, Integers]:
        """Offset and size of each line's chromosome; neighbours mostly share theirs, so each run is looked up once."""
        letters = data[np.minimum(begins[:, None] + np.arange((stops - begins).max()), len(data) - 1)]
        letters[begins[:, None] + np.arange(letters.shape[1]) >= stops[:, None]] = 0
        changes = np.concatenate(([True], (letters[1:] != letters[:-1]).any(axis=1)))
        run = np.cumsum(changes) - 1
        heads = np.flatnonzero(changes)
        found = [self.chroms[data[begins[head] : stops[head]].tobytes()] for head in heads]
        for (name, size), n_lines in zip(found, np.bincount(run).tolist(), strict=True):
            if not size:
                self.left_out[name] += n_lines
        offsets = np.array([self.assembly.offsets.get(name, 0) for name, _ in found])
        return offsets[run], np.array([size for _, size in found])[run]


_FIRST = re.compile(rb"^(?!#|track\s|browser\s)[^\r\n]*\S[^\r\n]*", re.MULTILINE)
_HEADING = re.compile(rb"(track|browser)\s")


def _columns(data: Bytes, begins: Integers, stops: Integers) -> tuple[list[tuple[Integers, Integers]], Integers]:
    """Where the first five columns of each line begin and stop, and how many it has."""
    tabs = np.flatnonzero(data == ord("\t"))
    first = np.searchsorted(tabs, begins)
    widths = np.searchsorted(tabs, stops) - first + 1
    padded = np.append(tabs, [len(data)] * 5)
    ends = [np.minimum(padded[first + i], stops) for i in range(5)]
    return list(zip([begins, *(end + 1 for end in ends)], ends, strict=False)), widths


def _whole(data: Bytes, begins: Integers, stops: Integers) -> tuple[Integers, NDArray[np.bool_]]:
    """Columns of digits as numbers, and whether they are."""
    lengths = stops - begins
    values, good = np.zeros(len(begins), np.int64), (lengths > 0) & (lengths < 12)
    for place in range(int(min(lengths.max(), 11))):
        inside = place < lengths
        digits = data[np.minimum(begins + place, len(data) - 1)] - np.uint8(ord("0"))  # a byte before 0 wraps around
        good &= ~inside | (digits < 10)
        values = np.where(inside, values * 10 + digits, values)
    return values, good


def _scores(data: Bytes, begins: Integers, stops: Integers) -> Floats:
    """The column of scores; what is no number counts 0."""
    whole, good = _whole(data, begins, stops)
    scores = np.where(good, whole, 0).astype(np.float64)
    for row in np.flatnonzero(~good & (stops > begins)).tolist():
        try:
            scores[row] = float(data[begins[row] : stops[row]].tobytes())
        except ValueError:
            continue
    return np.where(np.isfinite(scores), scores, 0.0)


def _sorted(rows: list[_Rows], texts: list[bytes], reader: _Reader) -> Bed:
    starts, ends, scores, begins = (np.concatenate(columns) for columns in zip(*rows, strict=True))
    pieces = np.repeat(np.arange(len(rows)), [len(part.starts) for part in rows])
    importance = (scores if np.ptp(scores) else ends - starts).astype(np.float32)
    order = np.argsort(starts, kind="stable")
    return Bed(
        n_columns=reader.n_columns,
        intervals=Intervals(starts[order], ends[order], importance[order]),
        importance=importance[order],
        pieces=pieces[order].astype(np.int32),
        begins=begins[order].astype(np.int32),
        texts=texts,
        left_out=reader.left_out,
    )
