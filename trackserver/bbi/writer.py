"""bigWig files of fixed bins, written about as fast as they compress, whole or not at all.

Format: Kent et al., "BigWig and BigBed: enabling browsing of large distributed datasets", Bioinformatics 2010,
supplement; https://github.com/ucscGenomeBrowser/kent, src/inc/bbiFile.h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from math import ceil, log2
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from trackserver.bbi.kernels import FIXED, VARIABLE
from trackserver.bbi.reader import BIGWIG
from trackserver.bbi.write_index import Blocks, chromosome_tree
from trackserver.bbi.write_zooms import CHUNK, LEVEL, Chrom, Zooms
from trackserver.compiled import compiled
from trackserver.errors import DataError, listing
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.storage import part_of, publish

Values = NDArray[np.float32]
Add = Callable[[str, int, Values], None]

# Bins: what a reader inflates at once, 32 kB as libBigWig makes them. Of less, compressing is largely its beginnings.
SECTION = 8192

_HEAD = struct.Struct("<IHHQQQHHQQIQ")
_TOTALS = struct.Struct("<Qdddd")
_SECTION = struct.Struct("<IIIIIBBH")
_BEFORE = Chrom(-1, 0)  # the first chromosome


class BigWigWriter:
    """Bins of one width, chromosome by chromosome, into a bigWig with exact zoom levels.

        with BigWigWriter(path, chromsizes, bin_width) as writer:
            writer.add("chr1", 0, values)

    Parameters
    ----------
    path
        Appears when the block is left without an error, and is all on the disk then; otherwise nothing changes.
    chromsizes
        Names and sizes in bp; bins come in this order.
    bin_width
        In bp; each chromosome's last bin ends where the chromosome does.
    digits
        Significant decimal digits to keep, which makes the file smaller: values change by at most 0.5 * 10^-digits of
        themselves, those below 1.2e-38 by at most 1e-39. None keeps them as they are.

    Raises
    ------
    OSError
        From any method, the end of the block too: there is no room, or `path` cannot be written.

    Notes
    -----
    Memory is a megabyte or two and the indexes, a byte for each hundred bins. Zoom levels wait in an unnamed temporary
    file beside `path`. Summaries are computed in float64 and kept as float32, whose largest number stands for what is
    too large for it.
    """

    def __init__(self, path: Path, chromsizes: Mapping[str, int], bin_width: int, *, digits: int | None = None):
        self.path, self.chromsizes, self.bin_width = path, dict(chromsizes), bin_width
        self._chroms = {name: Chrom(number, size) for number, (name, size) in enumerate(self.chromsizes.items())}
        self._dropped = _bits_dropped(digits)
        self._partial = part_of(path)
        self._sections = Blocks()
        self._chrom, self._received = _BEFORE, 0  # what is being written, and its bins so far
        self._chunk, self._bins = 0, np.full(CHUNK, np.nan, np.float32)

    def __enter__(self) -> Self:
        self._held = self._opened()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._held:
            if kind is None:
                self._complete()
                self._publish()

    def add(self, chrom: str, start: int, values: Values) -> None:
        """Bins of a chromosome from `start` (bp) on, which follow those that were added before.

        Parameters
        ----------
        values
            float32 (bins,); NaN says that nothing is known of a bin, as does leaving it out.

        Raises
        ------
        ValueError
            They do not follow what was added before, do not begin where a bin does, or lie on no chromosome.
        DataError
            A value is infinite.
        """
        values = np.asarray(values, np.float32)
        first = self._first_bin(chrom, start, len(values))
        if np.isinf(values).any():
            raise DataError(f"A value on {chrom} is infinite, which a bigWig cannot hold; leave it out as NaN.")
        if self._chroms[chrom] != self._chrom:
            self._begin(self._chroms[chrom])
        self._received = first + len(values)
        while len(values):
            chunk, at = divmod(first, CHUNK)
            if chunk != self._chunk:
                self._write_chunk()
                self._chunk = chunk
            here = self._bins[at : at + len(values)]
            here[:] = values[: len(here)]
            first, values = first + len(here), values[len(here) :]

    def _opened(self) -> ExitStack:
        """What is to be left at the end: the files are closed then, and what has no name of its own is gone."""
        with ExitStack() as stack:
            stack.callback(self._partial.unlink, missing_ok=True)
            self._file: BinaryIO = stack.enter_context(self._partial.open("wb"))
            spool = cast(BinaryIO, stack.enter_context(TemporaryFile(dir=self.path.parent)))
            self._zooms = Zooms(self.chromsizes.values(), self.bin_width, spool)
            self._file.write(bytes(self._tree_at) + chromosome_tree(self.chromsizes, self._tree_at))
            self._data_at = self._file.tell()
            self._file.write(bytes(8))
            return stack.pop_all()

    def _first_bin(self, chrom: str, start: int, n: int) -> int:
        """The number of the bin at `start`, from where on `n` may be added now."""
        if chrom not in self._chroms:
            raise ValueError(f"There is no chromosome '{chrom}'; there are {listing(self._chroms)}.")
        here = self._chroms[chrom]
        if here.id < self._chrom.id:
            raise ValueError(f"{chrom} comes before what was added last.")
        first, rest = divmod(start, self.bin_width)
        received = self._received if here == self._chrom else 0
        if rest or first < received or first + n > -(-here.size // self.bin_width):
            raise ValueError(f"{n} bins from {chrom}:{start} on do not follow what was added last, or do not fit.")
        return first

    def _begin(self, chrom: Chrom) -> None:
        self._end()
        self._chrom, self._chunk = chrom, 0
        self._zooms.begin(chrom)

    def _end(self) -> None:
        """Write what is left of the chromosome."""
        if self._chrom != _BEFORE:
            self._write_chunk()
            self._zooms.end(self._chrom)

    def _write_chunk(self) -> None:
        """Sections and summaries of the bins that wait."""
        begin, n_whole = self._chunk * CHUNK, self._chrom.size // self.bin_width
        bins = self._bins[: -(-self._chrom.size // self.bin_width) - begin]
        if self._dropped:
            _round(bins.view(np.uint32), self._dropped)
        self._zooms.add(self._chrom, self._chunk, bins)
        for first in range(begin, begin + len(bins), SECTION):
            section = bins[first - begin : first - begin + SECTION]
            n = max(n_whole - first, 0)  # the chromosome's last bin may be shorter, which makes a section of its own
            self._write_section(first, section[:n], self.bin_width)
            self._write_section(first + n, section[n:], self._chrom.size % self.bin_width)
        self._bins.fill(np.nan)

    def _write_section(self, first: int, bins: Values, span: int) -> None:
        """Bins from number `first` on, of `span` bp each: fixed step where they are without a gap."""
        known = ~np.isnan(bins)
        if not known.any():
            return
        begin, end = int(known.argmax()), len(bins) - int(known[::-1].argmax())
        if known[begin:end].all():
            kind, step, body = FIXED, self.bin_width, bins[begin:end].tobytes()
        else:
            kind, step, body = VARIABLE, 0, self._placed(first, bins, known)
        low, high = (first + begin) * self.bin_width, (first + end - 1) * self.bin_width + span
        head = _SECTION.pack(self._chrom.id, low, high, step, span, kind, 0, np.count_nonzero(known))
        self._sections.write(self._file, head + body, (self._chrom.id, low), (self._chrom.id, high))

    def _placed(self, first: int, bins: Values, known: NDArray[np.bool_]) -> bytes:
        """Start and value of each bin that is known."""
        records = np.empty((np.count_nonzero(known), 2), np.uint32)
        records[:, 0] = (first + np.flatnonzero(known)) * self.bin_width
        records[:, 1] = bins[known].view(np.uint32)
        return records.tobytes()

    @property
    def _totals_at(self) -> int:
        return _HEAD.size + LEVEL.size * len(self._zooms.levels)

    @property
    def _tree_at(self) -> int:
        return self._totals_at + _TOTALS.size

    def _complete(self) -> None:
        """All but its name."""
        self._end()
        index_at = self._sections.write_tree(self._file)
        zooms = [level.append(self._file) for level in self._zooms.levels]
        self._file.write(struct.pack("<I", BIGWIG))
        largest = max(blocks.largest for blocks in (self._sections, *(level.blocks for level in self._zooms.levels)))
        self._file.seek(0)
        head = (BIGWIG, 4, len(zooms), self._tree_at, self._data_at, index_at, 0, 0, 0, self._totals_at, largest, 0)
        self._file.write(_HEAD.pack(*head) + b"".join(zooms) + _TOTALS.pack(*self._zooms.totals()))
        self._file.seek(self._data_at)
        self._file.write(struct.pack("<Q", len(self._sections)))
        self._file.flush()

    def _publish(self) -> None:
        publish(self._partial, self.path)


@contextmanager
def writing(
    paths: Sequence[Path],
    chromsizes: Mapping[str, int],
    bin_width: int,
    *,
    digits: int | None = None,
    threads: int = 4,
) -> Iterator[Add]:
    """Several tracks of the same bins, a bigWig each, at once: all files appear when the block is left, or none.

        with writing(paths, chromsizes, bin_width) as add:
            add("chr1", 0, values)  # float32 (T, bins)

    Of each, parameters, errors, memory and two open files are those of `BigWigWriter`; `add` is its `add` for T tracks,
    and after an error of it the block is to be left.

    Parameters
    ----------
    threads
        Tracks that are worked on at a time; compressing and summarising run without Python's lock.
    """
    writers = [BigWigWriter(path, chromsizes, bin_width, digits=digits) for path in paths]
    with ExitStack() as stack:
        for writer in writers:
            stack.enter_context(writer._opened())
        pool = stack.enter_context(ThreadPoolExecutor(threads))

        def add(chrom: str, start: int, values: Values) -> None:
            if len(values) != len(writers):
                raise ValueError(f"{len(values)} rows of values for {len(writers)} tracks.")
            # `list`, so that errors are raised here.
            list(pool.map(lambda writer, row: writer.add(chrom, start, row), writers, values))

        yield add
        list(pool.map(BigWigWriter._complete, writers))
        for writer in writers:
            writer._publish()


def _bits_dropped(digits: int | None) -> int:
    """How many of float32's 23 bits are not needed for so many decimal digits."""
    if digits is None:
        return 0
    if digits < 1:
        raise ValueError(f"A value has at least one significant digit, not {digits}.")
    return max(23 - ceil(digits * log2(10)), 0)


@compiled
def _round(bits: NDArray[np.uint32], dropped: int) -> None:
    """Round float32 values in place to the nearest with so many bits less, halves to even.

    What is not finite, or would not be, stays as it is.
    """
    infinite, kept = 0x7F800000, 0xFFFFFFFF >> dropped << dropped
    for i in range(len(bits)):
        rounded = (bits[i] + (1 << (dropped - 1)) - 1 + (bits[i] >> dropped & 1)) & kept
        if bits[i] & infinite != infinite and rounded & infinite != infinite:
            bits[i] = rounded


class Stretch(NamedTuple):
    """Consecutive bins: `values` float32 (bins,) from `locus.start` on, the last clipped at `locus.end`."""

    locus: Locus
    values: Values


def write_bigwig(path: Path, assembly: Assembly, bin_width: int, stretches: Iterable[Stretch]) -> None:
    """Write stretches of whole bins, which come sorted in the assembly's order; errors are those of `BigWigWriter`."""
    with BigWigWriter(path, assembly.chromsizes, bin_width) as writer:
        for locus, values in stretches:
            writer.add(locus.chrom, locus.start, values)
