"""Write the zoom levels of a bigWig: covered bases, minimum, maximum, sum and sum of squares of each interval."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.bbi.write_index import Blocks
from trackserver.compiled import compiled

# (n, 5): covered bases, minimum, maximum, sum over the bases, sum of squares.
Rows = NDArray[np.float64]
COVERED, LOW, HIGH, SUM, SQUARES = range(5)

FIRST_LEVEL_BINS = 16  # bins per summary of the first level
LEVEL_RATIO = 4  # summaries of a level per summary of the next
N_FINE_LEVELS = 6  # levels with more than one summary per chunk
CHUNK_BINS = FIRST_LEVEL_BINS * LEVEL_RATIO**N_FINE_LEVELS  # 256 kB, which fits into the processor's cache
MAX_LEVELS = 10
MIN_SUMMARIES = 256  # of the whole genome; a level with fewer is of no use
BLOCK_SUMMARIES = 1024  # summaries per compressed block

LEVEL = struct.Struct("<IIQQ")  # an entry of the header: bp per summary, reserved, offsets of the blocks and the index

_MAX_FLOAT32 = float(np.finfo(np.float32).max)


class Chrom(NamedTuple):
    id: int
    size: int


class Level:
    """One zoom level: the summaries of `width` bp that cover any bases, in blocks of a file shared by all levels."""

    def __init__(self, width: int, file: BinaryIO):
        self.width, self.count, self.blocks = width, 0, Blocks()
        self._file = file
        self._buffer: NDArray[np.uint32] = np.empty((0, 8), np.uint32)

    def add(self, chrom: Chrom, first: int, rows: Rows) -> None:
        """Add a chromosome's next summaries, from number `first` on."""
        records = np.empty((len(rows), 8), np.uint32)
        n = _fill_records(rows, *chrom, first, self.width, records, records.view(np.float32))
        self._buffer = np.concatenate([self._buffer, records[:n]])
        while len(self._buffer) >= BLOCK_SUMMARIES:
            self._write()

    def append(self, to: BinaryIO) -> bytes:
        """Append the level and its index to another file; returns the level's entry in the header."""
        if len(self._buffer):
            self._write()
        at = to.tell()
        to.write(struct.pack("<I", self.count))
        self.blocks.move(self._file, to)
        return LEVEL.pack(self.width, 0, at, self.blocks.write_tree(to))

    def _write(self) -> None:
        """Write one block, which may contain several chromosomes."""
        records, self._buffer = self._buffer[:BLOCK_SUMMARIES], self._buffer[BLOCK_SUMMARIES:]
        (first, start, *_), (last, _, end, *_) = records[0].tolist(), records[-1].tolist()
        self.blocks.write(self._file, records.tobytes(), (first, start), (last, end))
        self.count += len(records)


class Zooms:
    """All zoom levels of a bigWig, filled chunk by chunk; their blocks are in the temporary `file` until the end."""

    def __init__(self, sizes: Iterable[int], bin_width: int, file: BinaryIO):
        self.levels = [Level(width, file) for width in level_widths(sum(sizes), bin_width)]
        self._bin_width = bin_width
        self._totals = _empty_rows(1)
        self._chunks = _empty_rows(0)  # one row per chunk of the current chromosome

    def begin(self, chrom: Chrom) -> None:
        self._chunks = _empty_rows(-(-chrom.size // (CHUNK_BINS * self._bin_width)))

    def add(self, chrom: Chrom, chunk: int, bins: NDArray[np.float32]) -> None:
        """Add a chunk of a chromosome; only the last chunk may have fewer than `CHUNK_BINS` bins."""
        last_width = chrom.size - (chunk * CHUNK_BINS + len(bins) - 1) * self._bin_width
        rows = _summarise(bins, self._bin_width, min(last_width, self._bin_width))
        for number, level in enumerate(self.levels[:N_FINE_LEVELS]):
            level.add(chrom, chunk * LEVEL_RATIO ** (N_FINE_LEVELS - number), rows)
            rows = _merge(rows, LEVEL_RATIO)
        self._chunks[chunk] = _merge(rows, len(rows))[0]

    def end(self, chrom: Chrom) -> None:
        rows = self._chunks
        for level in self.levels[N_FINE_LEVELS:]:
            level.add(chrom, 0, rows)
            rows = _merge(rows, LEVEL_RATIO)
        self._totals = _merge(np.concatenate([self._totals, rows]), len(rows) + 1)

    def totals(self) -> tuple[int, float, float, float, float]:
        """Return covered bases, minimum, maximum, sum and sum of squares of the whole file; zeros if it is empty."""
        covered, *others = self._totals[0].tolist()
        return (int(covered), *others) if covered else (0, 0.0, 0.0, 0.0, 0.0)


def level_widths(total: int, bin_width: int) -> list[int]:
    """Return the levels' bp per summary, for a genome of `total` bp."""
    widths = [bin_width * FIRST_LEVEL_BINS * LEVEL_RATIO**number for number in range(MAX_LEVELS)]
    return [width for width in widths if width * MIN_SUMMARIES < total and width < 1 << 32]


def _empty_rows(n: int) -> Rows:
    return np.tile([0.0, np.inf, -np.inf, 0.0, 0.0], (n, 1))


@compiled
def _summarise(bins: NDArray[np.float32], width: int, last_width: int) -> Rows:
    """Summarise every `FIRST_LEVEL_BINS` bins in a row; all bins except the last have `width` bp."""
    rows = np.empty((-(-len(bins) // FIRST_LEVEL_BINS), 5))
    for i in range(len(rows)):
        covered, low, high, total, squares = 0.0, np.inf, -np.inf, 0.0, 0.0
        for j in range(i * FIRST_LEVEL_BINS, min((i + 1) * FIRST_LEVEL_BINS, len(bins))):
            value = np.float64(bins[j])
            if not np.isnan(value):
                bases = last_width if j == len(bins) - 1 else width
                covered += bases
                low, high = min(low, value), max(high, value)
                total += value * bases
                squares += value * value * bases
        rows[i, COVERED], rows[i, LOW], rows[i, HIGH], rows[i, SUM], rows[i, SQUARES] = (
            covered,
            low,
            high,
            total,
            squares,
        )
    return rows


@compiled
def _merge(rows: Rows, size: int) -> Rows:
    """Merge every `size` neighbouring rows into one; the last may merge fewer."""
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
def _fill_records(
    rows: Rows,
    chrom_id: int,
    chrom_size: int,
    first: int,
    width: int,
    words: NDArray[np.uint32],
    singles: NDArray[np.float32],
) -> int:
    """Convert the rows that cover any bases to a bigWig's summaries (n, 8); returns their number.

    `words` and `singles` are views of the same memory.
    """
    n = 0
    for i in range(len(rows)):
        if rows[i, COVERED] == 0:
            continue
        words[n, 0] = chrom_id
        words[n, 1] = (first + i) * width
        words[n, 2] = min((first + i + 1) * width, chrom_size)
        words[n, 3] = rows[i, COVERED]
        for j in range(LOW, SQUARES + 1):  # sums, and squares in particular, may exceed float32
            singles[n, j + 3] = min(max(rows[i, j], -_MAX_FLOAT32), _MAX_FLOAT32)
        n += 1
    return n
