"""Read HDF5 files whose bins restart at every chromosome (cooler, multivec), and place these bins on the axis."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import h5py

from trackserver.errors import UnreadableFile
from trackserver.genome.assembly import Assembly
from trackserver.sources.hdf5 import check_self_contained
from trackserver.sources.source import LocalSource


class HDF5:
    """An open HDF5 file, of which one version is read.

    The HDF5 library gets a Python file and not a path. Given a path that is already open, it would reuse the open file
    even after the file was modified, and it would lock the file against its owner.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.source = LocalSource(path)
        self.name, self.identity = self.source.name, self.source.identity
        try:
            self.root = h5py.File(_Reader(self.source), "r")
        except OSError as error:
            raise UnreadableFile(
                f"{self.name} cannot be read as HDF5: it is damaged or another format. Copy or make it again."
            ) from error
        with self.reading():
            check_self_contained(self.name, self.root)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn errors in the block into UnreadableFile, and raise FileChanged if the file was modified."""
        try:
            yield
        except (OSError, KeyError, RuntimeError) as error:
            self.source.check_current()
            raise UnreadableFile(f"{self.name} is damaged or incomplete ({error}). Copy or make it again.") from error
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
    """Consecutive bins of a chromosome, from number `first` on, drawn from bin `tile_bin` of the tile on."""

    chrom: str
    first: int
    n_bins: int
    tile_bin: int


def runs(assembly: Assembly, bin_width: int, begin: int, n_bins: int) -> Iterator[Run]:
    """Yield the file's bins that are drawn in bins [begin, begin + n_bins) of the absolute axis.

    HiGlass divides the whole assembly, laid end to end, into bins; the files divide each chromosome from its own first
    base. Each bin of the axis shows the file's bin that contains its middle base. So every bin is drawn unchanged, at
    most half a bin from its true position. A chromosome's last bin, if short, may contain no middle base; then it is
    not drawn.
    """
    middle = bin_width // 2
    for segment in assembly.segments(begin * bin_width, (begin + n_bins) * bin_width):
        end = segment.offset + len(segment.locus)
        first, last = (-((middle - position) // bin_width) for position in (segment.offset, end))
        if first < last:
            local = first * bin_width + middle - segment.offset + segment.locus.start
            yield Run(segment.locus.chrom, local // bin_width, last - first, first - begin)
