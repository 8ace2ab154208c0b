"""The zoom levels of a bigWig: of each stretch how much is covered, the least and greatest value, sum and squares."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.bbi.write_index import Blocks
from trackserver.compiled import compiled

# (n, 5): covered bases, least and greatest value, sum over the bases, sum of squares.
Rows = NDArray[np.float64]
COVERED, LOW, HIGH, SUM, SQUARES = range(5)

FIRST = 16  # bins a summary of the first level
NEXT = 4  # summaries of a level in one of the next
FINE = 6  # levels below the one that has a summary a chunk
CHUNK = FIRST * NEXT**FINE  # bins that are summarised at once: 256 kB, which stay in the processor's cache
MOST_LEVELS = 10
FEWEST = 256  # summaries of the genome; a level of fewer helps nobody
BLOCK = 1024  # summaries that are compressed together

LEVEL = struct.Struct("<IIQQ")  # a line of the header: bp a summary, nothing, where its blocks and its index lie

_LARGEST = float(np.finfo(np.float32).max)


class Chrom(NamedTuple):
    id: int
    size: int


class Level:
    """One zoom level: summaries of `width` bp, those that cover something, in blocks of a file that is shared."""

    def __init__(self, width: int, file: BinaryIO):
        self.width, self.count, self.blocks = width, 0, Blocks()
        self._file = file
        self._waiting: NDArray[np.uint32] = np.empty((0, 8), np.uint32)

    def add(self, chrom: Chrom, first: int, rows: Rows) -> None:
        """A chromosome's next summaries, from number `first` on."""
        records = np.empty((len(rows), 8), np.uint32)
        n = _records(rows, *chrom, first, self.width, records, records.view(np.float32))
        self._waiting = np.concatenate([self._waiting, records[:n]])
        while len(self._waiting) >= BLOCK:
            self._write()

    def append(self, to: BinaryIO) -> bytes:
        """Copy it to the end of another file, with its index; returns what the header says of it."""
        if len(self._waiting):
            self._write()
        at = to.tell()
        to.write(struct.pack("<I", self.count))
        self.blocks.move(self._file, to)
        return LEVEL.pack(self.width, 0, at, self.blocks.write_tree(to))

    def _write(self) -> None:
        """One block; it may go on from one chromosome to the next."""
        records, self._waiting = self._waiting[:BLOCK], self._waiting[BLOCK:]
        (first, start, *_), (last, _, end, *_) = records[0].tolist(), records[-1].tolist()
        self.blocks.write(self._file, records.tobytes(), (first, start), (last, end))
        self.count += len(records)


class Zooms:
    """All zoom levels of a file, filled chunk by chunk; their blocks wait in `file`."""

    def __init__(self, sizes: Iterable[int], bin_width: int, file: BinaryIO):
        self.levels = [Level(width, file) for width in level_widths(sum(sizes), bin_width)]
        self._bin_width = bin_width
        self._totals = _nothing(1)
        self._chunks = _nothing(0)  # of the chromosome: a row each

    def begin(self, chrom: Chrom) -> None:
        self._chunks = _nothing(-(-chrom.size // (CHUNK * self._bin_width)))

    def add(self, chrom: Chrom, chunk: int, bins: NDArray[np.float32]) -> None:
        """The bins of a chromosome's chunk, of which only a chromosome's last has fewer than `CHUNK`."""
        last = chrom.size - (chunk * CHUNK + len(bins) - 1) * self._bin_width
        rows = _summarised(bins, self._bin_width, min(last, self._bin_width))
        for number, level in enumerate(self.levels[:FINE]):
            level.add(chrom, chunk * NEXT ** (FINE - number), rows)
            rows = _merged(rows, NEXT)
        self._chunks[chunk] = _merged(rows, len(rows))[0]

    def end(self, chrom: Chrom) -> None:
        rows = self._chunks
        for level in self.levels[FINE:]:
            level.add(chrom, 0, rows)
            rows = _merged(rows, NEXT)
        self._totals = _merged(np.concatenate([self._totals, rows]), len(rows) + 1)

    def totals(self) -> tuple[int, float, float, float, float]:
        """Of the whole file: covered bases, least and greatest value, sum and sum of squares; 0 where there is none."""
        covered, *others = self._totals[0].tolist()
        return (int(covered), *others) if covered else (0, 0.0, 0.0, 0.0, 0.0)


def level_widths(total: int, bin_width: int) -> list[int]:
    """In bp, for a genome of `total` bp."""
    widths = [bin_width * FIRST * NEXT**number for number in range(MOST_LEVELS)]
    return [width for width in widths if width * FEWEST < total and width < 1 << 32]


def _nothing(n: int) -> Rows:
    return np.tile([0.0, np.inf, -np.inf, 0.0, 0.0], (n, 1))


@compiled
def _summarised(bins: NDArray[np.float32], width: int, last_width: int) -> Rows:
    """Rows of `FIRST` bins each, the last perhaps of fewer; all bins have `width` bp but the last."""
    rows = np.empty((-(-len(bins) // FIRST), 5))
    for i in range(len(rows)):
        covered, low, high, total, squares = 0.0, np.inf, -np.inf, 0.0, 0.0
        for j in range(i * FIRST, min((i + 1) * FIRST, len(bins))):
            value = np.float64(bins[j])
            if not np.isnan(value):
                here = last_width if j == len(bins) - 1 else width
                covered += here
                low, high = min(low, value), max(high, value)
                total += value * here
                squares += value * value * here
        rows[i, COVERED], rows[i, LOW], rows[i, HIGH], rows[i, SUM], rows[i, SQUARES] = (
            covered,
            low,
            high,
            total,
            squares,
        )
    return rows


@compiled
def _merged(rows: Rows, size: int) -> Rows:
    """Neighbours together, `size` at a time; a rest of fewer makes the last."""
    out = np.empty((-(-len(rows) // size), 5))
    for i in range(len(out)):
        out[i] = rows[i * size]
        for j in range(i * size + 1, min((i + 1) * size, len(rows))):
            out[i, COVERED] += rows[j, COVERED]
            out[i, LOW] = min(out[i, LOW], rows[j, LOW])
            out[i, HIGH] = max(out[i, HIGH], rows[j, HIGH])
            out[i, SUM] += rows[j, SUM]
            out[i, SQUARES] += rows[j, SQUARES]
    return out


@compiled
def _records(
    rows: Rows,
    chrom_id: int,
    chrom_size: int,
    first: int,
    width: int,
    words: NDArray[np.uint32],
    singles: NDArray[np.float32],
) -> int:
    """Write rows that cover something as a bigWig's summaries, (n, 8) in both types; returns how many those are."""
    n = 0
    for i in range(len(rows)):
        if rows[i, COVERED] == 0:
            continue
        words[n, 0] = chrom_id
        words[n, 1] = (first + i) * width
        words[n, 2] = min((first + i + 1) * width, chrom_size)
        words[n, 3] = rows[i, COVERED]
        for j in range(LOW, SQUARES + 1):  # sums, and squares before all, may be too large for float32
            singles[n, j + 3] = min(max(rows[i, j], -_LARGEST), _LARGEST)
        n += 1
    return n
