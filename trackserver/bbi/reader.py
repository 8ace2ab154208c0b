"""bigWig and bigBed files, read in numpy: a block is inflated once, and shared by all tiles that touch it. What blocks
hold is in records.py.

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

from trackserver.bbi.records import Axis, Block, Summaries, is_finite, joined, section, summaries, sums
from trackserver.errors import UnreadableFile
from trackserver.sources.cache import ByteCache
from trackserver.sources.source import Source

BIGWIG, BIGBED = 0x888FFC26, 0x8789F2EB
_TREE, _CHROMS = 0x2468ACE0, 0x78CA8C91
HEAD = 1 << 16  # read at once: header, zoom levels and, as a rule, chromosome names
MOST_INDEX = 1 << 27  # bytes of an index; a file of a billion records has 32 MB
MOST_BLOCK = 1 << 26  # bytes a block may unfold to
AT_ONCE = 64  # blocks read together: 1 to 2 MB
MOST_MENDED = 64  # summaries of a block: libBigWig leaves one, more is another kind of damage

Integers = NDArray[np.int64]


class Zoom(NamedTuple):
    reduction: int
    data_at: int
    index_at: int


class Chrom(NamedTuple):
    id: int
    size: int


class Index(NamedTuple):
    """Where a level's blocks lie. Keys are chromosome id << 32 | position, ends up to the furthest so far."""

    starts: Integers
    reach: Integers
    offsets: Integers
    sizes: Integers


class Line(NamedTuple):
    """A line of a bigBed: `rest` is what follows the three columns of place, tab-separated."""

    chrom_id: int
    start: int
    end: int
    rest: str


class BBI:
    """One version of a bigWig or bigBed file.

    Raises
    ------
    UnreadableFile
        On opening or reading: it is neither, or truncated, or damaged.
    """

    def __init__(self, source: Source, cache: ByteCache):
        self.source, self.cache = source, cache
        self._indexes: dict[int, Index] = {}
        with _damage(source):
            self._open()

    def _open(self) -> None:
        self._head = self.source.read(0, min(HEAD, self.source.size))
        self.order = "<" if self._number(0, "<I") in (BIGWIG, BIGBED) else ">"
        magic, self.version, n_zooms = struct.unpack_from(f"{self.order}IHH", self._head)
        if magic not in (BIGWIG, BIGBED):
            raise UnreadableFile(f"{self.source.name} is neither bigWig nor bigBed; it may be damaged.")
        self.is_bigwig = magic == BIGWIG
        at = struct.unpack_from(f"{self.order}QQQHHQQI", self._head, 8)
        self._chroms_at, self._data_at, self._index_at = at[:3]
        self.n_fields, self.n_bed_fields, self._auto_sql_at, self._totals_at, self._unfolded = at[3:8]
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
        """The file's own names, in its order."""
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
        """The coarsest zoom level with two or more summaries a bin; None for the data themselves."""
        return max((zoom for zoom in self.zooms if 2 * zoom.reduction <= bin_width), default=None)

    def touching(self, level: Zoom | None, places: Iterable[tuple[Chrom, int, int]]) -> Iterator[Block]:
        """The blocks of a level that may hold something on stretches (chromosome, start, end), each once, inflated."""
        with _damage(self.source):
            numbers: set[int] = set()
            for chrom, start, end in places:
                numbers.update(range(*self._between(level, (chrom.id << 32) + start, (chrom.id << 32) + end)))
            for first, last in _runs(sorted(numbers)):
                yield from self._held(level, first, last)

    def whole(self, level: Zoom) -> Summaries:
        """All blocks of a level, read in one piece and end to end."""
        with _damage(self.source):
            blocks = self._held(level, 0, len(self._index(level).starts))
            return joined([block for block in blocks if isinstance(block, Summaries)])

    def n_blocks(self, level: Zoom | None) -> int:
        with _damage(self.source):
            return len(self._index(level).starts)

    def check_blocks(self, level: Zoom | None, first: int, last: int) -> None:
        """Read and decode some blocks; raises where one is damaged or holds values that are not finite."""
        with _damage(self.source):
            for block in self._blocks(level, first, last):
                if level:
                    self._mended(level, block)
                elif not is_finite(section(block, self.order)):
                    raise UnreadableFile(f"{self.source.name} holds values that are not finite; make it without them.")

    def blocks(self, chrom: Chrom, start: int, end: int) -> range:
        """The numbers of the data's blocks that may hold something on a stretch of a chromosome."""
        with _damage(self.source):
            first, last = self._between(None, (chrom.id << 32) + start, (chrom.id << 32) + end)
            # bigtools notes the end of a block's last line, which need not be the furthest: one block more, then.
            return range(max(first - 1, 0), last)

    def lines(self, first: int, last: int) -> list[list[Line]]:
        """What some consecutive blocks of a bigBed hold, in the file's order."""
        with _damage(self.source):
            return [_lines(block, self.order) for block in self._blocks(None, first, last)]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of a bigBed's columns, from its autoSql; empty where it has none."""
        if not self._auto_sql_at:
            return ()
        with _damage(self.source):
            text = self._head[self._auto_sql_at :]
            if b"\0" not in text:
                text = self._read(self._auto_sql_at, min(HEAD, self.source.size - self._auto_sql_at))
            lines = text.split(b"\0")[0].decode("utf-8", "replace").splitlines()
            found = [line.split(";")[0].split() for line in lines if ";" in line]
            return tuple(words[-1] for words in found if len(words) > 1)

    @cached_property
    def limits(self) -> tuple[float, float] | None:
        """A bigWig's lowest and highest value, as its header sums up; None where it says nothing of use."""
        if not self.is_bigwig or not self._totals_at:
            return None
        with _damage(self.source):
            covered, low, high = struct.unpack_from(f"{self.order}Qdd", self._read(self._totals_at, 40))
        return (low, high) if covered and isfinite(low) and isfinite(high) and low <= high else None

    def _between(self, level: Zoom | None, low: int, high: int) -> tuple[int, int]:
        """The blocks, first to one past the last, that may hold something between two keys."""
        index = self._index(level)
        return int(index.reach.searchsorted(low, "right")), int(index.starts.searchsorted(high, "left"))

    def _index(self, level: Zoom | None) -> Index:
        at = level.index_at if level else self._index_at
        if at not in self._indexes:
            self._indexes[at] = self._read_index(at)
        return self._indexes[at]

    def _read_index(self, at: int) -> Index:
        """All leaves of an R tree, read at once: they lie together, and up to the next part of the file."""
        parts = [self._data_at, self._index_at, self._chroms_at, self.source.size]
        parts += [offset for zoom in self.zooms for offset in (zoom.data_at, zoom.index_at)]
        end = min(offset for offset in parts if offset > at)
        if end - at > MOST_INDEX:
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

    def _held(self, level: Zoom | None, first: int, last: int) -> list[Block]:
        """Some consecutive blocks, inflated; those that are not held are read in one piece."""
        keys = [(self.source.identity, level.data_at if level else 0, number) for number in range(first, last)]
        blocks: list[Block | None] = [self.cache.held(key) for key in keys]
        missing = [number for number, block in enumerate(blocks) if block is None]
        if missing:
            pieces = self._pieces(level, first + missing[0], first + missing[-1] + 1)
            for number in missing:
                inflated = self._inflate(pieces[number - missing[0]])
                block = self._mended(level, inflated) if level else section(inflated, self.order)
                self.cache.keep(keys[number], block, block.words.nbytes)
                blocks[number] = block
        return [block for block in blocks if block is not None]

    def _mended(self, level: Zoom, block: bytes) -> Summaries:
        """A block of a zoom level with sums where its writer left none: what a finer level says.

        Of a file that is far away that would be many requests, so there such a summary says nothing.
        """
        found, hard = summaries(block, self.order)
        if len(hard) > MOST_MENDED:
            raise ValueError("its zoom levels")
        for number in hard:
            if self.source.near:
                found.singles[number, 6:] = self._summed_up(level, *found.words[number, :3].tolist())
            else:
                found.words[number, 3] = 0
        return found

    def _summed_up(self, level: Zoom, chrom_id: int, start: int, end: int) -> list[float]:
        """Sum and sum of squares of a stretch, from a level that is much finer: of others some lack their sums too."""
        finer = max((zoom for zoom in self.zooms if zoom.reduction * 16 <= level.reduction), default=None)
        chrom = Chrom(chrom_id, end)
        found = sums(self.touching(finer, [(chrom, start, end)]), axis_of([(chrom, 0, end)]), start, end - start, 1)
        return [float(total) for total in found[1:, 0]]

    def _blocks(self, level: Zoom | None, first: int, last: int) -> list[bytes]:
        return [self._inflate(piece) for piece in self._pieces(level, first, last)]

    def _pieces(self, level: Zoom | None, first: int, last: int) -> list[bytes]:
        """Some consecutive blocks as they lie in the file, read at once unless they are scattered."""
        index = self._index(level)
        offsets, sizes = index.offsets[first:last], index.sizes[first:last]
        begin, end = int(offsets.min()), int((offsets + sizes).max())
        if end - begin > 2 * int(sizes.sum()) + HEAD:
            return [self.source.read(int(o), int(s)) for o, s in zip(offsets, sizes, strict=True)]
        data = self.source.read(begin, end - begin)
        return [data[o - begin : o - begin + s] for o, s in zip(offsets.tolist(), sizes.tolist(), strict=True)]

    def _inflate(self, piece: bytes) -> bytes:
        if not self._unfolded:
            return piece
        return bytes(deflate.zlib_decompress(piece, min(self._unfolded, MOST_BLOCK)))


def _leaves(data: bytes, at: int, base: int, order: str, depth: int) -> Iterator[bytes]:
    """The leaves of an R tree: of each item eight words, its chromosome, start, last chromosome, end, offset and size.

    Offset and size are two words each.
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
    """An axis on which chromosomes lie from one place to another."""
    placed = list(chroms)
    n_ids = max((chrom.id for chrom, _, _ in placed), default=-1) + 1
    axis = Axis(np.full(n_ids, -1, np.int64), np.zeros(n_ids, np.int64))
    for chrom, begin, end in placed:
        axis.offsets[chrom.id], axis.limits[chrom.id] = begin, end
    return axis


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Consecutive numbers as first and one past the last, at most `AT_ONCE` of them."""
    first = None
    for place, number in enumerate(numbers):
        first = number if first is None else first
        if place + 1 == len(numbers) or numbers[place + 1] != number + 1 or number + 1 - first == AT_ONCE:
            yield first, number + 1
            first = None


def _lines(block: bytes, order: str) -> list[Line]:
    place, found, at = struct.Struct(f"{order}III"), [], 0
    while at + place.size <= len(block):
        stop = block.index(b"\0", at + place.size)
        chrom_id, start, end = place.unpack_from(block, at)
        found.append(Line(chrom_id, start, end, block[at + place.size : stop].decode("utf-8", "replace")))
        at = stop + 1
    return found


class _damage:  # noqa: N801  (reads as a statement)
    """Whatever goes wrong while bytes are made sense of becomes one sentence."""

    def __init__(self, source: Source):
        self.source = source

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        damage = struct.error | ValueError | OverflowError | IndexError | deflate.DeflateError | MemoryError
        if isinstance(error, damage):
            raise UnreadableFile(f"{self.source.name} is damaged or truncated. Copy or make it anew.") from error
