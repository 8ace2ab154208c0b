"""Tiles of BED files and related formats (narrowPeak, broadPeak, gappedPeak), which are held in memory.

Format: https://samtools.github.io/hts-specs/BEDv1.pdf; peaks as ENCODE writes them.
"""

from __future__ import annotations

import logging
import os
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
from trackserver.genome.gzip_text import open_text
from trackserver.genome.regions import covered_bases
from trackserver.sources.source import identity_at
from trackserver.tiles.grid import Grid
from trackserver.tiles.intervals import Intervals
from trackserver.tiles.tileset import TileId, check_on_grid, pyramid_info

MAX_ROWS = 3_000_000  # each takes 40 bytes, plus the compressed text
MAX_ENTRIES_PER_TILE = 200
PIECE_BYTES = 1 << 16  # text is read and compressed in pieces of this size

_BED12 = "chrom start end name score strand thickStart thickEnd itemRgb blockCount blockSizes blockStarts"
COLUMNS_BY_FORMAT = {
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
    """Intervals of a BED. A tile with too many intervals to draw shows the most important, always the same ones.

    Intervals are ranked by score if the scores differ, and otherwise by length.
    """

    def __init__(self, path: str | os.PathLike[str], grid: Grid, name: str):
        self.grid, self.name = grid, name
        self.bed = read_bed(path, grid.assembly)
        lower_name = Path(path).name.lower()
        bed_format = next((bed_format for bed_format in COLUMNS_BY_FORMAT if bed_format in lower_name), "bed")
        self.header = "\t".join(COLUMNS_BY_FORMAT[bed_format].split()[: self.bed.n_columns])

    def info(self) -> dict[str, Any]:
        return {**pyramid_info(self.grid, name=self.name, datatype="bedlike"), "header": self.header}

    def tile(self, tile: TileId) -> list[dict[str, Any]]:
        check_on_grid(self.grid, tile)
        edges = self.grid.edges(tile.zoom, tile.x)
        rows = self.bed.intervals.overlapping(int(edges[0]), int(edges[-1]), MAX_ENTRIES_PER_TILE)
        return [
            bedlike_entry(f"{piece}-{begin}", line.split("\t"), importance, self.grid.assembly)
            for line, piece, begin, importance in zip(
                self.bed.lines(rows),
                self.bed.pieces[rows].tolist(),
                self.bed.begins[rows].tolist(),
                self.bed.importance[rows].tolist(),
                strict=True,
            )
        ]

    def covered_bases(self, chrom: str, edges: Integers) -> Integers:
        """Count the covered bases between neighbouring positions of a chromosome, (len(edges) - 1,)."""
        intervals = self.bed.intervals
        absolute = edges + self.grid.assembly.offsets[chrom]
        rows = intervals.overlapping(int(absolute[0]), int(absolute[-1]), len(intervals.starts))
        return covered_bases(intervals.starts[rows], intervals.ends[rows], absolute)


def bedlike_entry(uid: str, fields: list[str], importance: float, assembly: Assembly) -> dict[str, Any]:
    """Return a BED line as HiGlass' bedlike track reads it.

    The fields have positions on the chromosome; xStart and xEnd are absolute.
    """
    chrom = assembly.resolve(fields[0])
    offset = assembly.offsets[chrom]
    return {
        "uid": uid,
        "xStart": offset + int(fields[1]),
        "xEnd": offset + int(fields[2]),
        "chrOffset": offset,
        # The client replaces 0 by a random number.
        "importance": importance or 1e-9,
        "fields": [chrom, *fields[1:]],
        "strand": fields[5] if len(fields) > 5 and fields[5] in "+-" else ".",
        "name": fields[3] if len(fields) > 3 else "",
    }


@dataclass(frozen=True)
class Bed:
    """The rows of a BED, sorted by start.

    pieces, begins : the piece of text with a row's line, and the line's first byte in it
    texts : the compressed pieces of text
    left_out : the number of lines on each chromosome that the assembly lacks
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
        lines = []
        for piece, begin in zip(self.pieces[rows].tolist(), self.begins[rows].tolist(), strict=True):
            line = texts[piece][begin : texts[piece].index(b"\n", begin)]
            lines.append(line.rstrip(b"\r").decode("utf-8", "replace"))
        return lines


def read_bed(path: str | os.PathLike[str], assembly: Assembly) -> Bed:
    """Read all rows on the assembly's chromosomes.

    Raises
    ------
    UnreadableFile
        A line is not BED or lies beyond its chromosome (the error gives its number), or the file is damaged or too
        long.
    ChromosomesDoNotFit
        The file has no chromosome of the assembly.
    """
    path = Path(path)
    reader = _Reader(path.name, assembly)
    rows, texts = [], []
    with open_text(path) as file:
        before = identity_at(path)
        for text in _read_pieces(file, path.name):
            tabbed = reader.with_tabs(text)
            rows.append(reader.rows(tabbed))
            texts.append(isal_zlib.compress(tabbed, 1))
    if identity_at(path) != before:
        raise FileChanged(path.name)
    if not reader.chroms:
        raise UnreadableFile(f"{path.name} has no intervals.")
    reader.chroms.check(path.name)
    return _sort(rows, texts, reader)


def check_bed(path: str | os.PathLike[str], assembly: Assembly) -> None:
    """Read a whole BED, and log a warning if it has lines on chromosomes that the assembly lacks."""
    left_out = read_bed(path, assembly).left_out
    chroms = listing(name for name, _ in left_out.most_common())
    if left_out:
        _log.warning(
            "%s: %s lines are left out, because %s lacks their chromosomes (%s).",
            Path(path).name, f"{left_out.total():,}", assembly.name, chroms,
        )  # fmt: skip


def _read_pieces(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Read a file in pieces of whole lines."""
    while piece := file.read(PIECE_BYTES):
        piece += file.readline(PIECE_BYTES)
        if not piece.endswith(b"\n"):
            if file.read(1):
                raise UnreadableFile(f"{name} is not a BED: it has a line of more than {PIECE_BYTES:,} bytes.")
            piece += b"\n"
        yield piece


class _Rows(NamedTuple):
    """The rows of a piece of text; positions are absolute."""

    starts: Integers
    ends: Integers
    scores: Floats
    begins: Integers


class _Reader:
    """Parses the pieces of a file, one after the other."""

    def __init__(self, name: str, assembly: Assembly):
        self.name, self.assembly, self.chroms = name, assembly, Chromosomes(assembly)
        self.n_columns = self.n_lines = self.n_rows = 0
        self.left_out: Counter[str] = Counter()
        self._has_spaces: bool | None = None

    def with_tabs(self, text: bytes) -> bytes:
        """Replace the spaces between columns by tabs, if the first data line of the file has no tabs."""
        if self._has_spaces is None and (first := _FIRST_LINE.search(text)):
            self._has_spaces = b"\t" not in first[0]
        return re.sub(rb"[ \t]+", b"\t", text) if self._has_spaces else text

    def rows(self, text: bytes) -> _Rows:
        data = np.frombuffer(text, np.uint8)
        stops = np.flatnonzero(data == ord("\n"))
        begins = np.concatenate(([0], stops[:-1] + 1))
        numbers = self.n_lines + 1 + np.arange(len(begins))
        self.n_lines += len(begins)
        stops = stops - ((stops > begins) & (data[stops - 1] == ord("\r")))
        is_row = (stops > begins) & (data[begins] != ord("#"))
        for line in np.flatnonzero(np.isin(data[begins], (ord("t"), ord("b")))).tolist():
            is_row[line] &= not _HEADER_LINE.match(text, begins[line])
        return self._rows(data, begins[is_row], stops[is_row], numbers[is_row])

    def _rows(self, data: Bytes, begins: Integers, stops: Integers, numbers: Integers) -> _Rows:
        if not len(begins):
            return _Rows(begins, begins, begins.astype(np.float64), begins)
        columns, widths = _split_columns(data, begins, stops)
        starts, is_start = _parse_integers(data, *columns[1])
        ends, is_end = _parse_integers(data, *columns[2])
        self._check(~(is_start & is_end), numbers, "it should have chromosome, start and end, separated by tabs")
        self._check(starts > ends, numbers, "it ends before it starts")
        offsets, sizes = self._chromosomes(data, *columns[0])
        on_assembly = sizes > 0
        self._check(
            on_assembly & (ends > sizes), numbers,
            f"it ends beyond its chromosome in {self.assembly.name}; was it made with another assembly?",
        )  # fmt: skip
        scores = _parse_scores(data, *columns[4]) if (widths > 4).any() else np.zeros(len(begins))
        self.n_columns = max(self.n_columns, int(widths.max()))
        self.n_rows += int(on_assembly.sum())
        if self.n_rows > MAX_ROWS:
            raise UnreadableFile(
                f"{self.name} has more than {MAX_ROWS:,} lines, too many to hold in memory; sort it "
                "(sort -k1,1 -k2,2n), convert it to bigBed with UCSC's bedToBigBed, and add the bigBed."
            )
        return _Rows(
            (starts + offsets)[on_assembly], (ends + offsets)[on_assembly], scores[on_assembly], begins[on_assembly]
        )

    def _check(self, is_bad: NDArray[np.bool_], numbers: Integers, problem: str) -> None:
        if is_bad.any():
            raise UnreadableFile(f"{self.name}, line {numbers[np.argmax(is_bad)]}: {problem}.")

    def _chromosomes(self, data: Bytes, begins: Integers, stops: Integers) -> tuple[Integers, Integers]:
        """Return offset and size of each line's chromosome; each run of lines on one chromosome is looked up once."""
        letters = data[np.minimum(begins[:, None] + np.arange((stops - begins).max()), len(data) - 1)]
        letters[begins[:, None] + np.arange(letters.shape[1]) >= stops[:, None]] = 0
        changes = np.concatenate(([True], (letters[1:] != letters[:-1]).any(axis=1)))
        run = np.cumsum(changes) - 1
        heads = np.flatnonzero(changes)
        chroms = [self.chroms[data[begins[head] : stops[head]].tobytes()] for head in heads]
        for (name, size), n_lines in zip(chroms, np.bincount(run).tolist(), strict=True):
            if not size:
                self.left_out[name] += n_lines
        offsets = np.array([self.assembly.offsets.get(name, 0) for name, _ in chroms])
        return offsets[run], np.array([size for _, size in chroms])[run]


_FIRST_LINE = re.compile(rb"^(?!#|track\s|browser\s)[^\r\n]*\S[^\r\n]*", re.MULTILINE)
_HEADER_LINE = re.compile(rb"(track|browser)\s")


def _split_columns(data: Bytes, begins: Integers, stops: Integers) -> tuple[list[tuple[Integers, Integers]], Integers]:
    """Return where the first five columns of each line begin and stop, and the number of columns of each line."""
    tabs = np.flatnonzero(data == ord("\t"))
    first = np.searchsorted(tabs, begins)
    widths = np.searchsorted(tabs, stops) - first + 1
    padded = np.append(tabs, [len(data)] * 5)
    ends = [np.minimum(padded[first + i], stops) for i in range(5)]
    return list(zip([begins, *(end + 1 for end in ends)], ends, strict=False)), widths


def _parse_integers(data: Bytes, begins: Integers, stops: Integers) -> tuple[Integers, NDArray[np.bool_]]:
    """Parse a column of integers; returns the values, and whether each one is an integer."""
    lengths = stops - begins
    values, is_integer = np.zeros(len(begins), np.int64), (lengths > 0) & (lengths < 12)
    for i in range(int(min(lengths.max(), 11))):
        inside = i < lengths
        digits = data[np.minimum(begins + i, len(data) - 1)] - np.uint8(ord("0"))  # bytes below "0" wrap around
        is_integer &= ~inside | (digits < 10)
        values = np.where(inside, values * 10 + digits, values)
    return values, is_integer


def _parse_scores(data: Bytes, begins: Integers, stops: Integers) -> Floats:
    """Parse the column of scores; anything that is not a finite number counts as 0."""
    integers, is_integer = _parse_integers(data, begins, stops)
    scores = np.where(is_integer, integers, 0).astype(np.float64)
    for row in np.flatnonzero(~is_integer & (stops > begins)).tolist():
        try:
            scores[row] = float(data[begins[row] : stops[row]].tobytes())
        except ValueError:
            continue
    return np.where(np.isfinite(scores), scores, 0.0)


def _sort(rows: list[_Rows], texts: list[bytes], reader: _Reader) -> Bed:
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
