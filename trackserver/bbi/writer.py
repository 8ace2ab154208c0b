"""Write bigWig files of fixed bins atomically, about as fast as their data can be compressed.

Format: Kent et al., "BigWig and BigBed: enabling browsing of large distributed datasets", Bioinformatics 2010,
supplement; https://github.com/ucscGenomeBrowser/kent, src/inc/bbiFile.h.
"""

from __future__ import annotations

import os
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
from trackserver.bbi.write_zooms import CHUNK_BINS, LEVEL, Chrom, Zooms
from trackserver.compiled import compiled
from trackserver.errors import DataError, listing
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.storage import publish, temporary_path

Values = NDArray[np.float32]
AddBins = Callable[[str, int, Values], None]

SECTION_BINS = 8192  # 32 kB per block, like libBigWig; smaller blocks compress badly

_HEAD = struct.Struct("<IHHQQQHHQQIQ")
_TOTALS = struct.Struct("<Qdddd")
_SECTION = struct.Struct("<IIIIIBBH")
_NO_CHROM = Chrom(-1, 0)  # before the first chromosome


class BigWigWriter:
    """Writes bins of one width, chromosome by chromosome, to a bigWig with exact zoom levels.

        with BigWigWriter(path, chromsizes, bin_width) as writer:
            writer.add("chr1", 0, values)

    Parameters
    ----------
    path
        The file appears, synced to disk, when the block ends without an error; otherwise nothing changes.
    chromsizes
        Names and sizes in bp; bins must be added in this order.
    bin_width
        In bp; each chromosome's last bin ends at the end of the chromosome.
    digits
        Number of significant decimal digits to keep, which makes the file smaller: the relative error is at most
        0.5 * 10^-digits, and at most 1e-39 absolute for values below 1.2e-38. None keeps the values as they are.

    Raises
    ------
    OSError
        The disk is full, or `path` cannot be written; from any method, and from the end of the block.

    Notes
    -----
    Memory use is one or two megabytes plus the indexes, one byte per hundred bins. Until the end, zoom levels are in an
    unnamed temporary file in the folder of `path`. Summaries are computed in float64 and stored as float32, limited to
    its largest number.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        chromsizes: Mapping[str, int],
        bin_width: int,
        *,
        digits: int | None = None,
    ):
        self.path, self.chromsizes, self.bin_width = Path(path), dict(chromsizes), bin_width
        self._chroms = {name: Chrom(number, size) for number, (name, size) in enumerate(self.chromsizes.items())}
        self._dropped_bits = _dropped_bits(digits)
        self._partial = temporary_path(self.path)
        self._sections = Blocks()
        self._chrom, self._n_added = _NO_CHROM, 0  # the current chromosome, and its bins so far
        self._chunk, self._bins = 0, np.full(CHUNK_BINS, np.nan, np.float32)

    def __enter__(self) -> Self:
        self._files = self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._files:
            if kind is None:
                self._complete()
                self._publish()

    def add(self, chrom: str, start: int, values: Values) -> None:
        """Add bins of a chromosome from `start` (in bp) on; they must come after the bins added before.

        Parameters
        ----------
        values
            float32 (bins,); a bin without data is NaN or left out.

        Raises
        ------
        ValueError
            The bins come before bins added earlier, do not start at a bin's start, or are not on a chromosome.
        DataError
            A value is infinite.
        """
        values = np.asarray(values, np.float32)
        first = self._first_bin(chrom, start, len(values))
        if np.isinf(values).any():
            raise DataError(f"A value on {chrom} is infinite, which a bigWig cannot store; use NaN instead.")
        if self._chroms[chrom] != self._chrom:
            self._begin(self._chroms[chrom])
        self._n_added = first + len(values)
        while len(values):
            chunk, at = divmod(first, CHUNK_BINS)
            if chunk != self._chunk:
                self._write_chunk()
                self._chunk = chunk
            bins = self._bins[at : at + len(values)]
            bins[:] = values[: len(bins)]
            first, values = first + len(bins), values[len(bins) :]

    def _open(self) -> ExitStack:
        """Open the files; leaving the returned stack closes them and removes what was not published."""
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
        """Return the number of the bin at `start`, after checking that `n` bins may be added there."""
        if chrom not in self._chroms:
            raise ValueError(f"There is no chromosome '{chrom}'; known chromosomes: {listing(self._chroms)}.")
        new = self._chroms[chrom]
        if new.id < self._chrom.id:
            raise ValueError(f"{chrom} comes before the chromosome added last.")
        first, rest = divmod(start, self.bin_width)
        n_added = self._n_added if new == self._chrom else 0
        if rest or first < n_added or first + n > -(-new.size // self.bin_width):
            raise ValueError(f"{n} bins from {chrom}:{start} on do not come after those added last, or do not fit.")
        return first

    def _begin(self, chrom: Chrom) -> None:
        self._end()
        self._chrom, self._chunk = chrom, 0
        self._zooms.begin(chrom)

    def _end(self) -> None:
        """Write the rest of the current chromosome."""
        if self._chrom != _NO_CHROM:
            self._write_chunk()
            self._zooms.end(self._chrom)

    def _write_chunk(self) -> None:
        """Write the sections and summaries of the current chunk."""
        begin, n_full = self._chunk * CHUNK_BINS, self._chrom.size // self.bin_width
        bins = self._bins[: -(-self._chrom.size // self.bin_width) - begin]
        if self._dropped_bits:
            _round(bins.view(np.uint32), self._dropped_bits)
        self._zooms.add(self._chrom, self._chunk, bins)
        for first in range(begin, begin + len(bins), SECTION_BINS):
            section = bins[first - begin : first - begin + SECTION_BINS]
            n = max(n_full - first, 0)  # if the chromosome's last bin is shorter, it gets its own section
            self._write_section(first, section[:n], self.bin_width)
            self._write_section(first + n, section[n:], self._chrom.size % self.bin_width)
        self._bins.fill(np.nan)

    def _write_section(self, first: int, bins: Values, span: int) -> None:
        """Write bins of `span` bp each from number `first` on, as fixedStep if they have no gap."""
        known = ~np.isnan(bins)
        if not known.any():
            return
        begin, end = int(known.argmax()), len(bins) - int(known[::-1].argmax())
        if known[begin:end].all():
            kind, step, body = FIXED, self.bin_width, bins[begin:end].tobytes()
        else:
            kind, step, body = VARIABLE, 0, self._variable_step(first, bins, known)
        low, high = (first + begin) * self.bin_width, (first + end - 1) * self.bin_width + span
        head = _SECTION.pack(self._chrom.id, low, high, step, span, kind, 0, np.count_nonzero(known))
        self._sections.write(self._file, head + body, (self._chrom.id, low), (self._chrom.id, high))

    def _variable_step(self, first: int, bins: Values, known: NDArray[np.bool_]) -> bytes:
        """Return the records (start and value) of the known bins."""
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
        """Finish the file, except for its name."""
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
def write_bigwigs(
    paths: Sequence[str | os.PathLike[str]],
    chromsizes: Mapping[str, int],
    bin_width: int,
    *,
    digits: int | None = None,
    threads: int = 4,
) -> Iterator[AddBins]:
    """Write several tracks of the same bins, one bigWig each; all files appear when the block ends, or none.

        with write_bigwigs(paths, chromsizes, bin_width) as add:
            add("chr1", 0, values)  # float32 (T, bins)

    Each track has the parameters, errors, memory use and two open files of a `BigWigWriter`. `add` is like its `add`,
    for T tracks; after an error in it, leave the block.

    Parameters
    ----------
    threads
        Number of tracks written in parallel; compression and summaries run without Python's lock.
    """
    writers = [BigWigWriter(path, chromsizes, bin_width, digits=digits) for path in paths]
    with ExitStack() as stack:
        for writer in writers:
            stack.enter_context(writer._open())
        pool = stack.enter_context(ThreadPoolExecutor(threads))

        def add(chrom: str, start: int, values: Values) -> None:
            if len(values) != len(writers):
                raise ValueError(f"{len(values)} rows of values for {len(writers)} tracks.")
            # `list` waits for the threads and raises their errors.
            list(pool.map(lambda writer, row: writer.add(chrom, start, row), writers, values))

        yield add
        list(pool.map(BigWigWriter._complete, writers))
        for writer in writers:
            writer._publish()


def _dropped_bits(digits: int | None) -> int:
    """Return how many of float32's 23 bits are not needed for this number of decimal digits."""
    if digits is None:
        return 0
    if digits < 1:
        raise ValueError(f"Keep at least one significant digit, not {digits}.")
    return max(23 - ceil(digits * log2(10)), 0)


@compiled
def _round(bits: NDArray[np.uint32], dropped: int) -> None:
    """Round float32 values in place to the nearest with this many fewer bits, halves to even.

    Values that are not finite, or would overflow, stay as they are.
    """
    infinite, mask = 0x7F800000, 0xFFFFFFFF >> dropped << dropped
    for i in range(len(bits)):
        rounded = (bits[i] + (1 << (dropped - 1)) - 1 + (bits[i] >> dropped & 1)) & mask
        if bits[i] & infinite != infinite and rounded & infinite != infinite:
            bits[i] = rounded


class Stretch(NamedTuple):
    """Consecutive bins: `values` float32 (bins,) from `locus.start` on; the last bin ends at `locus.end`."""

    locus: Locus
    values: Values


def write_bigwig(
    path: str | os.PathLike[str], assembly: Assembly, bin_width: int, stretches: Iterable[Stretch]
) -> None:
    """Write stretches of whole bins, sorted in the assembly's order, to a bigWig; raises like `BigWigWriter`."""
    with BigWigWriter(path, assembly.chromsizes, bin_width) as writer:
        for locus, values in stretches:
            writer.add(locus.chrom, locus.start, values)
