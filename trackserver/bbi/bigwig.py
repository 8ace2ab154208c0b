"""A bigWig as an assembly reads it."""

from __future__ import annotations

from pathlib import Path

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

SMALL_CACHE = 1 << 26  # bytes, where nobody shares a larger one


def base_sums(bbi: BBI, chrom: Chrom, start: int, n_bins: int, bin_width: int) -> NDArray[np.float64]:
    """(2, n_bins) how many bases of each bin are covered, and the sum of their values; exact, from the data."""
    blocks = bbi.touching(None, [(chrom, start, start + n_bins * bin_width)])
    return sums(blocks, axis_of([(chrom, 0, chrom.size)]), start, bin_width, n_bins)[:SQUARES]


def open_bigwig(file: Path | Source, cache: ByteCache | None = None) -> BBI:
    bbi = BBI(LocalSource(file) if isinstance(file, Path) else file, cache or ByteCache(SMALL_CACHE))
    if not bbi.is_bigwig:
        raise UnreadableFile(f"{bbi.source.name} is a bigBed, not a bigWig.")
    return bbi


def own_chroms(bbi: BBI, assembly: Assembly) -> dict[str, Chrom]:
    """The assembly's chromosomes as the file has them, whatever it calls them; what the assembly lacks is left out."""
    return {chrom: bbi.chroms[own] for chrom, own in own_names(bbi.chroms, assembly).items()}


def check_bigwig(file: Path | Source, assembly: Assembly, report: Progress = no_progress) -> None:
    """Read every block of every level, so that nothing is found out only when somebody looks.

    Raises
    ------
    UnreadableFile
        It is missing, truncated, damaged, another format, or holds values that are not finite.
    ChromosomesDoNotFit
        Its chromosomes are not the assembly's.
    """
    bbi = open_bigwig(file)
    check_chromosomes(bbi, assembly)
    blocks = {level: bbi.n_blocks(level) for level in (None, *bbi.zooms)}
    done = 0
    for level, count in blocks.items():
        for first in range(0, count, CHECKED_AT_ONCE):
            bbi.check_blocks(level, first, min(first + CHECKED_AT_ONCE, count))
            done += min(CHECKED_AT_ONCE, count - first)
            report(done, sum(blocks.values()))


CHECKED_AT_ONCE = 256  # blocks


def check_chromosomes(bbi: BBI, assembly: Assembly) -> None:
    """Raise `ChromosomesDoNotFit` unless the file shares chromosomes with the assembly, all of equal size."""
    check_sizes(bbi.source.name, {own: chrom.size for own, chrom in bbi.chroms.items()}, assembly)
