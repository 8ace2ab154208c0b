"""HDF5 files of bins that restart at every chromosome (cooler, multivec), and where those bins are drawn."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py

from trackserver.errors import UnreadableFile
from trackserver.genome.assembly import Assembly
from trackserver.sources.hdf5 import check_self_contained
from trackserver.sources.source import LocalSource


class HDF5:
    """One version of an HDF5 file, held open.

    The library sees a Python file rather than a path: it would hand out one and the same open file for a path it has
    open already, also after that was written to, and it would lock it against its owner.
    """

    def __init__(self, path: Path):
        self.source = LocalSource(path)
        self.name, self.identity = self.source.name, self.source.identity
        try:
            self.root = h5py.File(_Reader(self.source), "r")
        except OSError as error:
            raise UnreadableFile(
                f"{path.name} cannot be read as HDF5: it is damaged, truncated or another format. Copy or make it anew."
            ) from error
        with self.reading():
            check_self_contained(self.name, self.root)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Whatever goes wrong meanwhile is one sentence; nothing read is believed if the file was written to."""
        try:
            yield
        except (OSError, KeyError, RuntimeError) as error:
            self.source.check_current()
            raise UnreadableFile(f"{self.name} is damaged or incomplete ({error}). Copy or make it anew.") from error
        self.source.check_current()


class _Reader(io.RawIOBase):
    """A source as a Python file."""

    def __init__(self, source: LocalSource):
        self._source, self._at = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        length = min(len(buffer), self._source.size - self._at)
        buffer[:length] = self._source.read(self._at, length)
        self._at += length
        return length


class Run(NamedTuple):
    """Consecutive bins of a chromosome, from `first` on, and at which bin of the tile they begin."""

    chrom: str
    first: int
    n_bins: int
    place: int


def runs(assembly: Assembly, bin_width: int, begin: int, n_bins: int) -> Iterator[Run]:
    """Which of a file's bins are drawn in bins [begin, begin + n_bins) of the absolute axis.

    HiGlass cuts the whole assembly, laid end to end, into bins; the files cut each chromosome from its own first base.
    Each bin of the axis shows the file's bin that holds its middle base. So every bin is drawn as it is, at most half
    a bin from its place; a chromosome's last bin, cut short by its end, may hold no middle and is then not drawn.
    """
    middle = bin_width // 2
    for segment in assembly.segments(begin * bin_width, (begin + n_bins) * bin_width):
        end = segment.offset + len(segment.locus)
        first, last = (-((middle - place) // bin_width) for place in (segment.offset, end))
        if first < last:
            local = first * bin_width + middle - segment.offset + segment.locus.start
            yield Run(segment.locus.chrom, local // bin_width, last - first, first - begin)
