"""HDF5 files of bins that restart at every chromosome (cooler, multivec), and where those bins are drawn."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py

from trackserver.errors import ChromosomesDoNotFit, FileChanged, UnknownChromosome, UnreadableFile, listing
from trackserver.genome.assembly import Assembly
from trackserver.tiles.source import identity_of


class HDF5:
    """One version of a local HDF5 file, held open. Not locked, so that its owner may go on writing to it."""

    def __init__(self, path: Path):
        self.name = path.name
        try:
            self.root = h5py.File(path, "r", locking=False)
        except FileNotFoundError:
            raise UnreadableFile(f"{path.name} is gone from {path.parent}.") from None
        except OSError as error:
            raise UnreadableFile(
                f"{path.name} cannot be read as HDF5: it is truncated, damaged, or another format. Copy or make it anew."
            ) from error
        self.identity = self._identity_now()

    def _identity_now(self) -> str:
        return identity_of(os.fstat(self.root.id.get_vfd_handle()))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Whatever goes wrong meanwhile is one sentence; nothing read is believed if the file was written to."""
        try:
            yield
        except (OSError, KeyError, RuntimeError) as error:
            self._check_current()
            raise UnreadableFile(f"{self.name} is damaged or incomplete ({error}). Copy or make it anew.") from error
        self._check_current()

    def _check_current(self) -> None:
        if self._identity_now() != self.identity:
            raise FileChanged(self.name)


class Run(NamedTuple):
    """Consecutive bins of a chromosome, from `first` on, and at which bin of the tile they begin."""

    chrom: str
    first: int
    count: int
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


def own_names(sizes: Mapping[str, int], assembly: Assembly) -> dict[str, str]:
    """The assembly's chromosome name -> the file's own (`1` for `chr1`); what the assembly lacks is left out."""
    names: dict[str, str] = {}
    for own in sizes:
        try:
            names.setdefault(assembly.resolve(own), own)
        except UnknownChromosome:
            continue
    return names


def check_sizes(name: str, sizes: Mapping[str, int], assembly: Assembly) -> None:
    """Raise `ChromosomesDoNotFit` unless a file shares chromosomes with the assembly, all of equal size."""
    names = own_names(sizes, assembly)
    if not names:
        raise ChromosomesDoNotFit(
            f"{name} has no chromosome of {assembly.name}: the file has {listing(sizes)}; "
            f"{assembly.name} has {listing(assembly.chroms)}. Was it made on another assembly?"
        )
    for chrom, own in names.items():
        if sizes[own] != assembly.chromsizes[chrom]:
            raise ChromosomesDoNotFit(
                f"{name} was not made on {assembly.name}: its {own} is {sizes[own]:,} bp long, "
                f"in {assembly.name} it is {assembly.chromsizes[chrom]:,}."
            )
