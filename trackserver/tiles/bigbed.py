"""Tiles of bigBed files, local or remote, which are read in parts."""

from __future__ import annotations

import os
from functools import cached_property
from math import ceil, isfinite, log2
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.bbi.bigwig import BLOCKS_PER_CHECK, check_chromosomes, open_bbi, own_chroms
from trackserver.bbi.reader import BBI, Chrom, Line
from trackserver.errors import UnreadableFile
from trackserver.genome.assembly import Assembly, Segment
from trackserver.genome.regions import covered_bases
from trackserver.progress import Progress, no_progress
from trackserver.sources.cache import ByteCache
from trackserver.sources.source import Source
from trackserver.tiles.bed import COLUMNS_BY_FORMAT, MAX_ENTRIES_PER_TILE, bedlike_entry
from trackserver.tiles.grid import Grid
from trackserver.tiles.tileset import TileId, check_on_grid, pyramid_info

# Blocks (usually of 512 lines) read for a tile. For a remote file, each block may take a request of its own.
MAX_BLOCKS, MAX_REMOTE_BLOCKS = 64, 4
_COLUMNS = tuple(COLUMNS_BY_FORMAT["bed"].split())

Integers = NDArray[np.int64]


class BigBedTileset:
    """Intervals of a bigBed. A tile with too many intervals to draw shows the most important.

    If a tile covers more than `MAX_BLOCKS` blocks (about 30,000 lines), it is made from an even sample of them. It is
    then the same at every request, but does not show the most important intervals of all, because finding those would
    need reading the whole file.
    """

    def __init__(self, file: str | os.PathLike[str] | Source, grid: Grid, name: str, cache: ByteCache | None = None):
        self.grid, self.name = grid, name
        self.bbi = open_bigbed(file, cache)
        self.columns = self.bbi.columns or _COLUMNS[: self.bbi.n_fields]
        self._has_scores = self.columns[4:5] == ("score",)

    def info(self) -> dict[str, Any]:
        return {**pyramid_info(self.grid, name=self.name, datatype="bedlike"), "header": "\t".join(self.columns)}

    @cached_property
    def _own(self) -> dict[str, Chrom]:
        return own_chroms(self.bbi, self.grid.assembly)

    def tile(self, tile: TileId) -> list[dict[str, Any]]:
        check_on_grid(self.grid, tile)
        edges = self.grid.edges(tile.zoom, tile.x)
        lines: list[NDArray[np.float64]] = [np.empty((5, 0))]
        blocks: dict[int, LineBlock] = {}
        for segment, chrom, numbers in self._blocks_by_segment(int(edges[0]), int(edges[-1])):
            for number, block in self._blocks(numbers).items():
                blocks[number] = block
                lines.append(block.overlapping(number, chrom.id, segment))
        self.bbi.source.check_current()
        top = _most_important(np.concatenate(lines, axis=1))[[_BLOCK, _ROW, _IMPORTANCE]]
        return [self._entry(blocks, int(number), int(row), importance) for number, row, importance in top.T.tolist()]

    def covered_bases(self, chrom: str, edges: Integers) -> Integers:
        """Count the covered bases between neighbouring positions of a chromosome, (len(edges) - 1,)."""
        if not (own := self._own.get(chrom)):
            return np.zeros(len(edges) - 1, np.int64)
        blocks = self._blocks(list(self.bbi.blocks(own, int(edges[0]), int(edges[-1])))).values()
        self.bbi.source.check_current()
        intervals = [np.stack([block.starts, block.ends])[:, block.chrom_ids == own.id] for block in blocks]
        starts, ends = np.concatenate([np.empty((2, 0), np.int64), *intervals], axis=1)
        return covered_bases(starts, ends, edges)

    def _entry(self, blocks: dict[int, LineBlock], number: int, row: int, importance: float) -> dict[str, Any]:
        line = blocks[number].lines[row]
        chrom = next(name for name, chrom in self._own.items() if chrom.id == line.chrom_id)
        fields = [chrom, str(line.start), str(line.end), *(line.rest.split("\t") if line.rest else ())]
        return bedlike_entry(f"{number}-{row}", fields, importance, self.grid.assembly)

    def _blocks_by_segment(self, start: int, end: int) -> list[tuple[Segment, Chrom, list[int]]]:
        """Return the parts of chromosomes that [start, end) covers, and the numbers of the blocks to read for each."""
        blocks = [
            (segment, chrom, self.bbi.blocks(chrom, segment.locus.start, segment.locus.end))
            for segment in self.grid.assembly.segments(start, end)
            if (chrom := self._own.get(segment.locus.chrom))
        ]
        max_blocks = MAX_BLOCKS if self.bbi.source.is_local else MAX_REMOTE_BLOCKS
        total = sum(len(numbers) for *_, numbers in blocks)
        # The step is a power of two, so that zooming in shows all blocks of the sample, and more.
        step = 1 << max(0, ceil(log2(max(total, 1) / max_blocks)))
        return [
            (segment, chrom, [number for number in numbers if number % step == 0]) for segment, chrom, numbers in blocks
        ]

    def _blocks(self, numbers: list[int]) -> dict[int, LineBlock]:
        """Return blocks by number; those that are not cached are read, neighbouring ones together."""
        cache, identity = self.bbi.cache, self.bbi.source.identity
        blocks: dict[int, LineBlock] = {number: cache.get((identity, "lines", number)) for number in numbers}
        missing = [number for number in numbers if blocks[number] is None]
        while missing:
            first = missing[0]
            last = next((first + i for i, number in enumerate(missing) if number != first + i), first + len(missing))
            for number, lines in enumerate(self.bbi.lines(first, last), first):
                blocks[number] = block = _make_block(lines, self._has_scores)
                cache.put((identity, "lines", number), block, sum(_LINE_BYTES + len(line.rest) for line in lines))
            missing = missing[last - first :]
        return blocks


_BLOCK, _ROW, _START, _END, _IMPORTANCE = range(5)
_LINE_BYTES = 200  # memory of a line, in addition to its text


def _most_important(lines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Select the lines that a tile shows, sorted by start; lines are (5, n), see `LineBlock.overlapping`."""
    lengths = lines[_END] - lines[_START]
    order = np.lexsort((lines[_ROW], lines[_BLOCK], -lengths, -lines[_IMPORTANCE]))
    top = lines[:, order[:MAX_ENTRIES_PER_TILE]]
    return top[:, np.lexsort((top[_ROW], top[_BLOCK], top[_START]))]


class LineBlock(NamedTuple):
    """The lines of a block; `importance` is the score if the file has scores, and otherwise the length."""

    lines: list[Line]
    chrom_ids: Integers
    starts: Integers
    ends: Integers
    importance: NDArray[np.float64]

    def overlapping(self, number: int, chrom_id: int, segment: Segment) -> NDArray[np.float64]:
        """Return the lines that overlap a segment, (5, n): rows `_BLOCK` to `_IMPORTANCE`, with absolute positions."""
        ends = np.maximum(self.ends, self.starts + 1)  # an interval of length 0 counts as one base
        rows = np.flatnonzero(
            (self.chrom_ids == chrom_id) & (self.starts < segment.locus.end) & (ends > segment.locus.start)
        )
        offset = segment.offset - segment.locus.start
        columns = (self.starts[rows] + offset, self.ends[rows] + offset, self.importance[rows])
        return np.stack([np.full(len(rows), number), rows, *columns]).astype(np.float64)


def _make_block(lines: list[Line], has_scores: bool) -> LineBlock:
    chrom_ids, starts, ends = np.array([line[:3] for line in lines], np.int64).reshape(-1, 3).T
    importance = np.array([_score(line) for line in lines]) if has_scores else (ends - starts).astype(np.float64)
    return LineBlock(lines, chrom_ids, starts, ends, importance)


def _score(line: Line) -> float:
    try:
        score = float(line.rest.split("\t", 2)[1])
    except (ValueError, IndexError):
        return 0.0
    return score if isfinite(score) else 0.0


def open_bigbed(file: str | os.PathLike[str] | Source, cache: ByteCache | None = None) -> BBI:
    """Open a bigBed; raises UnreadableFile for any other file."""
    bbi = open_bbi(file, cache)
    if bbi.is_bigwig:
        raise UnreadableFile(f"{bbi.source.name} is a bigWig, not a bigBed.")
    return bbi


def check_bigbed(file: str | os.PathLike[str] | Source, assembly: Assembly, report: Progress = no_progress) -> None:
    """Read every line, to find all damage now and not when a user looks at the track.

    Raises
    ------
    UnreadableFile
        The file is missing, truncated, damaged or another format.
    ChromosomesDoNotFit
        Its chromosomes are not those of the assembly.
    """
    bbi = open_bigbed(file)
    check_chromosomes(bbi, assembly)
    count = bbi.n_blocks(None)
    for first in range(0, count, BLOCKS_PER_CHECK):
        last = min(first + BLOCKS_PER_CHECK, count)
        bbi.lines(first, last)
        report(last, count)
