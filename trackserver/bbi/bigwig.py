"""Open and check bigWig files, and match their chromosomes to an assembly."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from trackserver.bbi.kernels import SQUARES
from trackserver.bbi.reader import BBI, Chrom, axis_of
from trackserver.bbi.records import sums
from trackserver.errors import UnreadableFile
from trackserver.genome.assembly import Assembly
from trackserver.genome.chrom_names import check_sizes, own_names
from trackserver.progress import Progress, no_progress
from trackserver.sources.cache import ByteCache
from trackserver.sources.source import LocalSource, Source

DEFAULT_CACHE_BYTES = 1 << 26  # for files opened without a shared cache
BLOCKS_PER_CHECK = 256


def base_sums(bbi: BBI, chrom: Chrom, start: int, n_bins: int, bin_width: int) -> NDArray[np.float64]:
    """Return the number of covered bases of each bin and the sum of their values, (2, n_bins); exact, from the data."""
    blocks = bbi.blocks_overlapping(None, [(chrom, start, start + n_bins * bin_width)])
    return sums(blocks, axis_of([(chrom, 0, chrom.size)]), start, bin_width, n_bins)[:SQUARES]


def open_bigwig(file: str | os.PathLike[str] | Source, cache: ByteCache | None = None) -> BBI:
    """Open a bigWig; raises UnreadableFile for any other file."""
    bbi = open_bbi(file, cache)
    if not bbi.is_bigwig:
        raise UnreadableFile(f"{bbi.source.name} is a bigBed, not a bigWig.")
    return bbi


def open_bbi(file: str | os.PathLike[str] | Source, cache: ByteCache | None = None) -> BBI:
    """Open a bigWig or bigBed."""
    source = LocalSource(file) if isinstance(file, str | os.PathLike) else file
    return BBI(source, cache or ByteCache(DEFAULT_CACHE_BYTES))


def own_chroms(bbi: BBI, assembly: Assembly) -> dict[str, Chrom]:
    """Map the assembly's chromosome names to the file's chromosomes; those that the assembly lacks are left out."""
    return {chrom: bbi.chroms[own] for chrom, own in own_names(bbi.chroms, assembly).items()}


def check_bigwig(file: str | os.PathLike[str] | Source, assembly: Assembly, report: Progress = no_progress) -> None:
    """Read every block of every level, to find all damage now and not when a user looks at the track.

    Raises
    ------
    UnreadableFile
        The file is missing, truncated, damaged or another format, or has values that are not finite.
    ChromosomesDoNotFit
        Its chromosomes are not those of the assembly.
    """
    bbi = open_bigwig(file)
    check_chromosomes(bbi, assembly)
    blocks = {level: bbi.n_blocks(level) for level in (None, *bbi.zooms)}
    done = 0
    for level, count in blocks.items():
        for first in range(0, count, BLOCKS_PER_CHECK):
            bbi.check_blocks(level, first, min(first + BLOCKS_PER_CHECK, count))
            done += min(BLOCKS_PER_CHECK, count - first)
            report(done, sum(blocks.values()))


def check_chromosomes(bbi: BBI, assembly: Assembly) -> None:
    """Raise `ChromosomesDoNotFit` unless file and assembly share chromosomes, and these have the same sizes."""
    check_sizes(bbi.source.name, {own: chrom.size for own, chrom in bbi.chroms.items()}, assembly)
