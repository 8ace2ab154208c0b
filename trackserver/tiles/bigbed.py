"""bigBed files as tiles, read piece by piece, here or on the web."""

from __future__ import annotations

from functools import cached_property
from math import ceil, isfinite, log2
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.bbi.bigwig import CHECKED_AT_ONCE, SMALL_CACHE, check_chromosomes, own_chroms
from trackserver.bbi.reader import BBI, Chrom, Line
from trackserver.errors import UnreadableFile
from trackserver.genome.assembly import Assembly, Segment
from trackserver.genome.regions import covered_bases
from trackserver.progress import Progress, no_progress
from trackserver.sources.cache import ByteCache
from trackserver.sources.source import LocalSource, Source
from trackserver.tiles.bed import HEADERS, MOST_ENTRIES_A_TILE, entry
from trackserver.tiles.grid import Grid
from trackserver.tiles.tileset import TileId, check_on_grid, pyramid_info

# Blocks (of 512 lines, as a rule) of which a tile is made. Far away each may be a request of its own.
MOST_BLOCKS, MOST_FAR_BLOCKS = 64, 4
_COLUMNS = tuple(HEADERS["bed"].split())

Integers = NDArray[np.int64]


class BigBedTileset:
    """Intervals of a bigBed; where a tile holds more than can be drawn, the most important are kept.

    A tile that lies over more than `MOST_BLOCKS` blocks (some 30,000 lines) is made of an even sample of its blocks, of
    which the most important lines are kept: the same at every request, but zoomed far out not the most important of
    all, which nobody could know without reading the whole file.
    """

    def __init__(self, file: Path | Source, grid: Grid, name: str, cache: ByteCache | None = None):
        self.grid, self.name = grid, name
        self.bbi = open_bigbed(file, cache)
        self.columns = self.bbi.columns or _COLUMNS[: self.bbi.n_fields]
        self._scored = self.columns[4:5] == ("score",)

    def info(self) -> dict[str, Any]:
        return {**pyramid_info(self.grid, name=self.name, datatype="bedlike"), "header": "\t".join(self.columns)}

    @cached_property
    def _own(self) -> dict[str, Chrom]:
        return own_chroms(self.bbi, self.grid.assembly)

    def tile(self, tile: TileId) -> list[dict[str, Any]]:
        check_on_grid(self.grid, tile)
        edges = self.grid.edges(tile.zoom, tile.x)
        found: list[NDArray[np.float64]] = [np.empty((5, 0))]
        blocks: dict[int, Block] = {}
        for segment, chrom, numbers in self._places(int(edges[0]), int(edges[-1])):
            for number, block in self._blocks(numbers).items():
                blocks[number] = block
                found.append(block.within(number, chrom.id, segment))
        self.bbi.source.check_current()
        shown = _most_important(np.concatenate(found, axis=1))[[_BLOCK, _ROW, _IMPORTANCE]]
        return [self._entry(blocks, int(number), int(row), importance) for number, row, importance in shown.T.tolist()]

    def covered(self, chrom: str, edges: Integers) -> Integers:
        """(len(edges) - 1,) how many bases between neighbouring places of a chromosome the intervals cover."""
        if not (own := self._own.get(chrom)):
            return np.zeros(len(edges) - 1, np.int64)
        blocks = self._blocks(list(self.bbi.blocks(own, int(edges[0]), int(edges[-1])))).values()
        self.bbi.source.check_current()
        places = [np.stack([block.starts, block.ends])[:, block.chrom_ids == own.id] for block in blocks]
        starts, ends = np.concatenate([np.empty((2, 0), np.int64), *places], axis=1)
        return covered_bases(starts, ends, edges)

    def _entry(self, blocks: dict[int, Block], number: int, row: int, importance: float) -> dict[str, Any]:
        line = blocks[number].lines[row]
        chrom = next(name for name, chrom in self._own.items() if chrom.id == line.chrom_id)
        fields = [chrom, str(line.start), str(line.end), *(line.rest.split("\t") if line.rest else ())]
        return entry(f"{number}-{row}", fields, importance, self.grid.assembly)

    def _places(self, start: int, end: int) -> list[tuple[Segment, Chrom, list[int]]]:
        """The parts of chromosomes that [start, end) covers, and the blocks to look in."""
        places = [
            (segment, chrom, self.bbi.blocks(chrom, segment.locus.start, segment.locus.end))
            for segment in self.grid.assembly.segments(start, end)
            if (chrom := self._own.get(segment.locus.chrom))
        ]
        most = MOST_BLOCKS if self.bbi.source.near else MOST_FAR_BLOCKS
        total = sum(len(numbers) for *_, numbers in places)
        # A power of two: what is looked in from afar is among what is looked in from nearer.
        step = 1 << max(0, ceil(log2(max(total, 1) / most)))
        return [
            (segment, chrom, [number for number in numbers if number % step == 0]) for segment, chrom, numbers in places
        ]

    def _blocks(self, numbers: list[int]) -> dict[int, Block]:
        """Blocks by number; those that are not held are read, neighbours in one piece."""
        cache, identity = self.bbi.cache, self.bbi.source.identity
        blocks: dict[int, Block] = {number: cache.held((identity, "lines", number)) for number in numbers}
        missing = [number for number in numbers if blocks[number] is None]
        while missing:
            first = missing[0]
            last = next((first + i for i, number in enumerate(missing) if number != first + i), first + len(missing))
            for number, lines in enumerate(self.bbi.lines(first, last), first):
                blocks[number] = made = _block(lines, self._scored)
                cache.keep((identity, "lines", number), made, sum(_LINE_BYTES + len(line.rest) for line in lines))
            missing = missing[last - first :]
        return blocks


_BLOCK, _ROW, _START, _END, _IMPORTANCE = range(5)
_LINE_BYTES = 200  # what a line takes beside its text


def _most_important(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of lines, (5, n) as `Block.within` gives them, those that a tile shows, by start."""
    lengths = found[_END] - found[_START]
    order = np.lexsort((found[_ROW], found[_BLOCK], -lengths, -found[_IMPORTANCE]))
    kept = found[:, order[:MOST_ENTRIES_A_TILE]]
    return kept[:, np.lexsort((kept[_ROW], kept[_BLOCK], kept[_START]))]


class Block(NamedTuple):
    """The lines of a block; `importance` is their score where the file has scores, else their length."""

    lines: list[Line]
    chrom_ids: Integers
    starts: Integers
    ends: Integers
    importance: NDArray[np.float64]

    def within(self, number: int, chrom_id: int, segment: Segment) -> NDArray[np.float64]:
        """Those that touch a segment: (5, n), rows from `_BLOCK` to `_IMPORTANCE`, places absolute."""
        ends = np.maximum(self.ends, self.starts + 1)  # what has no length is met where it lies
        rows = np.flatnonzero(
            (self.chrom_ids == chrom_id) & (self.starts < segment.locus.end) & (ends > segment.locus.start)
        )
        offset = segment.offset - segment.locus.start
        places = (self.starts[rows] + offset, self.ends[rows] + offset, self.importance[rows])
        return np.stack([np.full(len(rows), number), rows, *places]).astype(np.float64)


def _block(lines: list[Line], scored: bool) -> Block:
    chrom_ids, starts, ends = np.array([line[:3] for line in lines], np.int64).reshape(-1, 3).T
    importance = np.array([_score(line) for line in lines]) if scored else (ends - starts).astype(np.float64)
    return Block(lines, chrom_ids, starts, ends, importance)


def _score(line: Line) -> float:
    try:
        score = float(line.rest.split("\t", 2)[1])
    except (ValueError, IndexError):
        return 0.0
    return score if isfinite(score) else 0.0


def open_bigbed(file: Path | Source, cache: ByteCache | None = None) -> BBI:
    bbi = BBI(LocalSource(file) if isinstance(file, Path) else file, cache or ByteCache(SMALL_CACHE))
    if bbi.is_bigwig:
        raise UnreadableFile(f"{bbi.source.name} is a bigWig, not a bigBed.")
    return bbi


def check_bigbed(file: Path | Source, assembly: Assembly, report: Progress = no_progress) -> None:
    """Read every line, so that nothing is found out only when somebody looks.

    Raises
    ------
    UnreadableFile
        It is missing, truncated, damaged or another format.
    ChromosomesDoNotFit
        Its chromosomes are not the assembly's.
    """
    bbi = open_bigbed(file)
    check_chromosomes(bbi, assembly)
    count = bbi.n_blocks(None)
    for first in range(0, count, CHECKED_AT_ONCE):
        last = min(first + CHECKED_AT_ONCE, count)
        bbi.lines(first, last)
        report(last, count)
