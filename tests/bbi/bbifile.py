"""A bigWig read as UCSC's own library does (kent/src/lib: bbiRead.c, bPlusTree.c, cirTree.c, bwgQuery.c), for tests.

Shares nothing with the package: names are searched for in the B+ tree, blocks in the R trees, and what the format says
of itself is asserted on the way.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BIGWIG, CHROMS, REGIONS = 0x888FFC26, 0x78CA8C91, 0x2468ACE0


class Zoom(NamedTuple):
    reduction: int
    data_at: int
    index_at: int


class Summary(NamedTuple):
    chrom_id: int
    start: int
    end: int
    covered: int
    low: float
    high: float
    sum: float
    squares: float


class Totals(NamedTuple):
    covered: int
    low: float
    high: float
    sum: float
    squares: float


class BBIFile:
    def __init__(self, path: Path):
        self.data = path.read_bytes()
        magic, self.version, n_zooms, self.chroms_at, self.data_at, self.index_at, *rest = self.read("IHHQQQHHQQIQ", 0)
        fields, defined, auto_sql, totals_at, self.unfolded, extension = rest
        assert (magic, self.version, fields, defined, auto_sql, extension) == (BIGWIG, 4, 0, 0, 0, 0)
        assert self.read("I", len(self.data) - 4) == (BIGWIG,)
        zooms = [self.read("IIQQ", 64 + 24 * i) for i in range(n_zooms)]
        assert all(reserved == 0 for _, reserved, _, _ in zooms)
        self.zooms = [Zoom(reduction, data, index) for reduction, _, data, index in zooms]
        self.totals = Totals(*self.read("Qdddd", totals_at))

    def read(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(f"<{form}", self.data, at)

    def chroms(self) -> list[tuple[bytes, int, int]]:
        """(name, id, size) in the tree's order."""
        _, _, width, value_size, count, _ = self._chroms_head()
        assert value_size == 8
        found = [
            (struct.unpack_from(f"{width}s", self.data, at)[0].rstrip(b"\0"), *self.read("II", at + width))
            for at in self._chrom_items(self.chroms_at + 32, width)
        ]
        assert len(found) == count
        return found

    def chrom(self, name: str) -> tuple[int, int] | None:
        """(id, size) of a chromosome, found as bptFileFind does: by comparing keys on the way down."""
        _, _, width, _, _, _ = self._chroms_head()
        if len(name) > width:
            return None
        key, at = name.encode().ljust(width, b"\0"), self.chroms_at + 32
        while True:
            is_leaf, _, count = self.read("BBH", at)
            keys = [self.data[at + 4 + i * (width + 8) :][:width] for i in range(count)]
            if is_leaf:
                return self.read("II", at + 4 + keys.index(key) * (width + 8) + width) if key in keys else None  # type: ignore[return-value]
            branch = max(sum(other <= key for other in keys) - 1, 0)
            (at,) = self.read("Q", at + 4 + branch * (width + 8) + width)

    def _chroms_head(self) -> tuple[int, ...]:
        head = self.read("IIIIQQ", self.chroms_at)
        assert head[0] == CHROMS
        return head

    def _chrom_items(self, at: int, width: int) -> Iterator[int]:
        is_leaf, _, count = self.read("BBH", at)
        assert count <= self._chroms_head()[1]
        for item in range(at + 4, at + 4 + count * (width + 8), width + 8):
            if is_leaf:
                yield item
            else:
                yield from self._chrom_items(self.read("Q", item + width)[0], width)

    def blocks(self, index_at: int, chrom_id: int, start: int, end: int) -> list[bytes]:
        """What overlaps a stretch, unfolded, as cirTreeFindOverlappingBlocks does."""
        magic, _, _, *_ = self.read("IIQIIIIQII", index_at)
        assert magic == REGIONS
        found = []
        for at, size in self._overlapping(index_at + 48, (chrom_id, start), (chrom_id, end)):
            found.append(zlib.decompress(self.data[at : at + size]))
            assert len(found[-1]) <= self.unfolded
        return found

    def _overlapping(self, at: int, low: tuple[int, int], high: tuple[int, int]) -> Iterator[tuple[int, int]]:
        is_leaf, _, count = self.read("BBH", at)
        for number in range(count):
            item = at + 4 + number * (32 if is_leaf else 24)
            first, last = self.read("II", item), self.read("II", item + 8)
            if not (low < last and first < high):
                continue
            if is_leaf:
                yield self.read("QQ", item + 16)  # type: ignore[misc]
            else:
                yield from self._overlapping(self.read("Q", item + 16)[0], low, high)

    def n_blocks(self, index_at: int) -> int:
        return self.read("Q", index_at + 8)[0]

    def intervals(self, chrom: str, start: int = 0, end: int = 1 << 32) -> list[tuple[int, int, float]]:
        """(start, end, value) of what overlaps a stretch of a chromosome."""
        found = self.chrom(chrom)
        assert found
        return [
            record
            for block in self.blocks(self.index_at, found[0], start, min(end, found[1]))
            for record in _records(block, found[0])
            if record[0] < end and record[1] > start
        ]

    def summaries(self, zoom: Zoom, chrom: str) -> list[Summary]:
        found = self.chrom(chrom)
        assert found
        return [
            summary
            for block in self.blocks(zoom.index_at, found[0], 0, found[1])
            for summary in map(Summary._make, struct.iter_unpack("<IIIIffff", block))
            if summary.chrom_id == found[0]
        ]


def _records(block: bytes, chrom_id: int) -> Iterator[tuple[int, int, float]]:
    chrom, first, last, step, span, kind, _, count = struct.unpack_from("<IIIIIBBH", block)
    assert chrom == chrom_id
    if kind == 3:
        values = struct.unpack_from(f"<{count}f", block, 24)
        records = [(first + i * step, first + i * step + span, value) for i, value in enumerate(values)]
    else:
        assert kind == 2
        records = [(start, start + span, value) for start, value in struct.iter_unpack("<If", block[24:])]
        assert len(records) == count
    assert (records[0][0], records[-1][1]) == (first, last)
    yield from records
