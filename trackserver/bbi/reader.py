"""Read bigWig and bigBed files with numpy. Each block is unzipped once and cached for all tiles that need it.

The blocks of a bigWig are parsed in records.py.

Format: Kent et al., "BigWig and BigBed: enabling browsing of large distributed datasets", Bioinformatics 2010,
supplement; https://github.com/ucscGenomeBrowser/kent, src/inc/bbiFile.h. Both byte orders are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import cached_property
from math import isfinite
from typing import NamedTuple

import deflate
import numpy as np
from numpy.typing import NDArray

from trackserver.bbi.records import Axis, Block, Summaries, concatenate, is_finite, parse_section, parse_summaries, sums
from trackserver.errors import UnreadableFile
from trackserver.sources.cache import ByteCache
from trackserver.sources.source import Source

BIGWIG, BIGBED = 0x888FFC26, 0x8789F2EB
_TREE, _CHROMS = 0x2468ACE0, 0x78CA8C91
HEAD_BYTES = 1 << 16  # read when the file is opened: header, zoom levels and usually the chromosome names
MAX_INDEX_BYTES = 1 << 27  # the index of a file with a billion records has 32 MB
MAX_BLOCK_BYTES = 1 << 26  # size of an unzipped block
MAX_BLOCKS_PER_READ = 64  # 1 to 2 MB
MAX_REPAIRS = 64  # summaries per block; libBigWig leaves one without sums, so more means that the file is damaged

Integers = NDArray[np.int64]


class Zoom(NamedTuple):
    reduction: int
    data_at: int
    index_at: int


class Chrom(NamedTuple):
    id: int
    size: int


class Index(NamedTuple):
    """The positions of a level's blocks, on the genome and in the file.

    `starts` and `reach` are keys, chromosome id << 32 | position; `reach` is the largest end of a block so far.
    `offsets` and `sizes` are in bytes.
    """

    starts: Integers
    reach: Integers
    offsets: Integers
    sizes: Integers


class Line(NamedTuple):
    """A line of a bigBed; `rest` is the tab-separated columns after the first three."""

    chrom_id: int
    start: int
    end: int
    rest: str


class BBI:
    """One version of a bigWig or bigBed file.

    Raises
    ------
    UnreadableFile
        On opening or reading: the file is neither a bigWig nor a bigBed, or it is truncated or damaged.
    """

    def __init__(self, source: Source, cache: ByteCache):
        self.source, self.cache = source, cache
        self._indexes: dict[int, Index] = {}
        with _damage(source):
            self._open()

    def _open(self) -> None:
        self._head = self.source.read(0, min(HEAD_BYTES, self.source.size))
        self.order = "<" if self._number(0, "<I") in (BIGWIG, BIGBED) else ">"
        magic, self.version, n_zooms = struct.unpack_from(f"{self.order}IHH", self._head)
        if magic not in (BIGWIG, BIGBED):
            raise UnreadableFile(f"{self.source.name} is neither a bigWig nor a bigBed; it may be damaged.")
        self.is_bigwig = magic == BIGWIG
        at = struct.unpack_from(f"{self.order}QQQHHQQI", self._head, 8)
        self._chroms_at, self._data_at, self._index_at = at[:3]
        self.n_fields, self.n_bed_fields, self._auto_sql_at, self._totals_at, self._max_unzipped = at[3:8]
        zooms = [struct.unpack_from(f"{self.order}IIQQ", self._head, 64 + 24 * i) for i in range(n_zooms)]
        self.zooms = tuple(sorted(Zoom(reduction, data, index) for reduction, _, data, index in zooms if reduction))

    def _number(self, at: int, form: str) -> int:
        return int(struct.unpack_from(form, self._head, at)[0])

    def _read(self, start: int, length: int) -> bytes:
        if start + length <= len(self._head):
            return self._head[start : start + length]
        return self.source.read(start, length)

    @cached_property
    def chroms(self) -> dict[str, Chrom]:
        """The chromosomes by the file's own names, in the file's order."""
        with _damage(self.source):
            magic, _, key_size, _, count = struct.unpack_from(f"{self.order}IIIIQ", self._read(self._chroms_at, 32))
            if magic != _CHROMS or key_size > 255 or count > 5_000_000:
                raise ValueError("its list of chromosomes")
            return dict(self._leaves(self._chroms_at + 32, key_size, depth=0))

    def _leaves(self, at: int, key_size: int, depth: int) -> Iterator[tuple[str, Chrom]]:
        if depth > 16:
            raise ValueError("its list of chromosomes")
        is_leaf, _, count = struct.unpack(f"{self.order}BBH", self._read(at, 4))
        width = key_size + 8
        data = self._read(at + 4, count * width)
        for i in range(count):
            key = data[i * width : i * width + key_size].rstrip(b"\0").decode()
            if is_leaf:
                yield key, Chrom(*struct.unpack_from(f"{self.order}II", data, i * width + key_size))
            else:
                (child,) = struct.unpack_from(f"{self.order}Q", data, i * width + key_size)
                yield from self._leaves(child, key_size, depth + 1)

    def level(self, bin_width: float) -> Zoom | None:
        """Return the coarsest zoom level with at least two summaries per bin; None means the data themselves."""
        return max((zoom for zoom in self.zooms if 2 * zoom.reduction <= bin_width), default=None)

    def blocks_overlapping(self, level: Zoom | None, intervals: Iterable[tuple[Chrom, int, int]]) -> Iterator[Block]:
        """Yield the blocks of a level that may overlap intervals (chromosome, start, end), each once."""
        with _damage(self.source):
            numbers: set[int] = set()
            for chrom, start, end in intervals:
                numbers.update(range(*self._between(level, (chrom.id << 32) + start, (chrom.id << 32) + end)))
            for first, last in _runs(sorted(numbers)):
                yield from self._load_blocks(level, first, last)

    def whole(self, level: Zoom) -> Summaries:
        """Return all blocks of a level as one, from a single read."""
        with _damage(self.source):
            blocks = self._load_blocks(level, 0, len(self._index(level).starts))
            return concatenate([block for block in blocks if isinstance(block, Summaries)])

    def n_blocks(self, level: Zoom | None) -> int:
        """Return the number of blocks of a level."""
        with _damage(self.source):
            return len(self._index(level).starts)

    def check_blocks(self, level: Zoom | None, first: int, last: int) -> None:
        """Read and parse some blocks; raises UnreadableFile if one is damaged or has values that are not finite."""
        with _damage(self.source):
            for block in self._unzipped_blocks(level, first, last):
                if level:
                    self._parse_summaries(level, block)
                elif not is_finite(parse_section(block, self.order)):
                    raise UnreadableFile(f"{self.source.name} has values that are not finite; make it without them.")

    def blocks(self, chrom: Chrom, start: int, end: int) -> range:
        """Return the numbers of the data's blocks that may overlap an interval of a chromosome."""
        with _damage(self.source):
            first, last = self._between(None, (chrom.id << 32) + start, (chrom.id << 32) + end)
            # bigtools records the end of a block's last line, which may not be the largest, so start one block earlier.
            return range(max(first - 1, 0), last)

    def lines(self, first: int, last: int) -> list[list[Line]]:
        """Return the lines of some consecutive blocks of a bigBed, in the file's order."""
        with _damage(self.source):
            return [_lines(block, self.order) for block in self._unzipped_blocks(None, first, last)]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of a bigBed's columns, from its autoSql; empty if it has none."""
        if not self._auto_sql_at:
            return ()
        with _damage(self.source):
            text = self._head[self._auto_sql_at :]
            if b"\0" not in text:
                text = self._read(self._auto_sql_at, min(HEAD_BYTES, self.source.size - self._auto_sql_at))
            lines = text.split(b"\0")[0].decode("utf-8", "replace").splitlines()
            fields = [line.split(";")[0].split() for line in lines if ";" in line]
            return tuple(words[-1] for words in fields if len(words) > 1)

    @cached_property
    def value_range(self) -> tuple[float, float] | None:
        """The minimum and maximum of a bigWig, from its header; None if the header does not give valid ones."""
        if not self.is_bigwig or not self._totals_at:
            return None
        with _damage(self.source):
            covered, low, high = struct.unpack_from(f"{self.order}Qdd", self._read(self._totals_at, 40))
        return (low, high) if covered and isfinite(low) and isfinite(high) and low <= high else None

    def _between(self, level: Zoom | None, low: int, high: int) -> tuple[int, int]:
        """Return the first and one past the last of the blocks that may overlap an interval between two keys."""
        index = self._index(level)
        return int(index.reach.searchsorted(low, "right")), int(index.starts.searchsorted(high, "left"))

    def _index(self, level: Zoom | None) -> Index:
        at = level.index_at if level else self._index_at
        if at not in self._indexes:
            self._indexes[at] = self._read_index(at)
        return self._indexes[at]

    def _read_index(self, at: int) -> Index:
        """Read all leaves of an R tree with a single read, which extends to the next part of the file."""
        parts = [self._data_at, self._index_at, self._chroms_at, self.source.size]
        parts += [offset for zoom in self.zooms for offset in (zoom.data_at, zoom.index_at)]
        end = min(offset for offset in parts if offset > at)
        if end - at > MAX_INDEX_BYTES:
            raise ValueError("its index")
        data = self.source.read(at, end - at)
        if struct.unpack_from(f"{self.order}I", data)[0] != _TREE:
            raise ValueError("its index")
        leaves = b"".join(_leaves(data, 48, at, self.order, 0))
        items = np.frombuffer(leaves, f"{self.order}u4").reshape(-1, 8).astype(np.int64)
        low, high = (4, 5) if self.order == "<" else (5, 4)
        size_low, size_high = low + 2, high + 2
        return Index(
            starts=items[:, 0] << 32 | items[:, 1],
            reach=np.maximum.accumulate(items[:, 2] << 32 | items[:, 3]),
            offsets=items[:, high] << 32 | items[:, low],
            sizes=items[:, size_high] << 32 | items[:, size_low],
        )

    def _load_blocks(self, level: Zoom | None, first: int, last: int) -> list[Block]:
        """Return some consecutive blocks, unzipped and parsed; those that are not cached are read together."""
        keys = [(self.source.identity, level.data_at if level else 0, number) for number in range(first, last)]
        blocks: list[Block | None] = [self.cache.get(key) for key in keys]
        missing = [number for number, block in enumerate(blocks) if block is None]
        if missing:
            zipped = self._read_blocks(level, first + missing[0], first + missing[-1] + 1)
            for number in missing:
                unzipped = self._unzip(zipped[number - missing[0]])
                block = self._parse_summaries(level, unzipped) if level else parse_section(unzipped, self.order)
                self.cache.put(keys[number], block, block.words.nbytes)
                blocks[number] = block
        return [block for block in blocks if block is not None]

    def _parse_summaries(self, level: Zoom, block: bytes) -> Summaries:
        """Parse a block of a zoom level, and compute the sums that its writer left out from a finer level.

        For a remote file this would take many requests, so there a summary without sums is dropped.
        """
        parsed, missing = parse_summaries(block, self.order)
        if len(missing) > MAX_REPAIRS:
            raise ValueError("its zoom levels")
        for number in missing:
            if self.source.is_local:
                parsed.singles[number, 6:] = self._sums_of(level, *parsed.words[number, :3].tolist())
            else:
                parsed.words[number, 3] = 0
        return parsed

    def _sums_of(self, level: Zoom, chrom_id: int, start: int, end: int) -> list[float]:
        """Compute sum and sum of squares of an interval from a much finer level, because the next may lack sums too."""
        finer = max((zoom for zoom in self.zooms if zoom.reduction * 16 <= level.reduction), default=None)
        chrom = Chrom(chrom_id, end)
        blocks = self.blocks_overlapping(finer, [(chrom, start, end)])
        totals = sums(blocks, axis_of([(chrom, 0, end)]), start, end - start, 1)
        return [float(total) for total in totals[1:, 0]]

    def _unzipped_blocks(self, level: Zoom | None, first: int, last: int) -> list[bytes]:
        return [self._unzip(zipped) for zipped in self._read_blocks(level, first, last)]

    def _read_blocks(self, level: Zoom | None, first: int, last: int) -> list[bytes]:
        """Read some consecutive blocks, still zipped, with a single read unless they are scattered over the file."""
        index = self._index(level)
        offsets, sizes = index.offsets[first:last], index.sizes[first:last]
        begin, end = int(offsets.min()), int((offsets + sizes).max())
        if end - begin > 2 * int(sizes.sum()) + HEAD_BYTES:
            return [self.source.read(int(o), int(s)) for o, s in zip(offsets, sizes, strict=True)]
        data = self.source.read(begin, end - begin)
        return [data[o - begin : o - begin + s] for o, s in zip(offsets.tolist(), sizes.tolist(), strict=True)]

    def _unzip(self, zipped: bytes) -> bytes:
        if not self._max_unzipped:
            return zipped  # the file is not compressed
        return bytes(deflate.zlib_decompress(zipped, min(self._max_unzipped, MAX_BLOCK_BYTES)))


def _leaves(data: bytes, at: int, base: int, order: str, depth: int) -> Iterator[bytes]:
    """Yield the leaves of an R tree.

    Each item has eight words: chromosome, start, last chromosome, end, offset (two words), size (two words).
    """
    if depth > 16 or at < 0:
        raise ValueError("its index")
    is_leaf, _, count = struct.unpack_from(f"{order}BBH", data, at)
    if is_leaf:
        if at + 4 + 32 * count > len(data):
            raise ValueError("its index")
        yield data[at + 4 : at + 4 + 32 * count]
        return
    for child in struct.unpack_from(f"{order}" + "16xQ" * count, data, at + 4):
        yield from _leaves(data, child - base, base, order, depth + 1)


def axis_of(chroms: Iterable[tuple[Chrom, int, int]]) -> Axis:
    """Make an axis from chromosomes and their starts and ends on it."""
    entries = list(chroms)
    n_ids = max((chrom.id for chrom, _, _ in entries), default=-1) + 1
    axis = Axis(np.full(n_ids, -1, np.int64), np.zeros(n_ids, np.int64))
    for chrom, start, end in entries:
        axis.offsets[chrom.id], axis.limits[chrom.id] = start, end
    return axis


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Group consecutive numbers, at most `MAX_BLOCKS_PER_READ` each; yields first and one past the last of a group."""
    first = None
    for i, number in enumerate(numbers):
        first = number if first is None else first
        if i + 1 == len(numbers) or numbers[i + 1] != number + 1 or number + 1 - first == MAX_BLOCKS_PER_READ:
            yield first, number + 1
            first = None


def _lines(block: bytes, order: str) -> list[Line]:
    locus, lines, at = struct.Struct(f"{order}III"), [], 0
    while at + locus.size <= len(block):
        stop = block.index(b"\0", at + locus.size)
        chrom_id, start, end = locus.unpack_from(block, at)
        lines.append(Line(chrom_id, start, end, block[at + locus.size : stop].decode("utf-8", "replace")))
        at = stop + 1
    return lines


class _damage:  # noqa: N801  (reads as a statement)
    """Turn any error while parsing bytes into UnreadableFile."""

    def __init__(self, source: Source):
        self.source = source

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        damage = struct.error | ValueError | OverflowError | IndexError | deflate.DeflateError | MemoryError
        if isinstance(error, damage):
            raise UnreadableFile(f"{self.source.name} is damaged or truncated. Copy or make it again.") from error
