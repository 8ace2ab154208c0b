"""An assembly's chromosomes, and their positions on HiGlass' absolute axis.

HiGlass draws a genome as one axis: all chromosomes end to end, in the assembly's order. All drawing code converts
positions with `Assembly.absolute` and `Assembly.segments`, so that it always agrees on where a base is.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from trackserver.errors import BadLocus, DataError, UnknownAssembly, UnknownChromosome
from trackserver.genome.locus import Locus

# bioframe ships the chromosome sizes of these assemblies, so no network is needed.
KNOWN_ASSEMBLIES = ("hg38", "hg19", "mm10", "mm39", "sacCer3")


@dataclass(frozen=True)
class Segment:
    """Part of a chromosome, and the absolute position of its first base."""

    locus: Locus
    offset: int


@dataclass(frozen=True)
class Assembly:
    """Chromosome names and sizes, in drawing order."""

    name: str
    chroms: tuple[str, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.chroms or len(set(self.chroms)) != len(self.chroms):
            raise DataError(f"Assembly {self.name} needs at least one chromosome, each named once.")
        if any(size <= 0 for size in self.sizes):
            raise DataError(f"Assembly {self.name} has a chromosome without a positive size.")

    @cached_property
    def length(self) -> int:
        return sum(self.sizes)

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Absolute position of each chromosome's first base."""
        return dict(zip(self.chroms, accumulate(self.sizes, initial=0), strict=False))

    @cached_property
    def chromsizes(self) -> dict[str, int]:
        return dict(zip(self.chroms, self.sizes, strict=True))

    @cached_property
    def _aliases(self) -> dict[str, str]:
        aliases = {}
        for chrom in self.chroms:
            bare = chrom[3:] if chrom.lower().startswith("chr") else chrom
            for alias in ("m", "mt") if bare.lower() in ("m", "mt") else (bare.lower(),):
                aliases[alias] = aliases[f"chr{alias}"] = chrom
        return aliases

    @cached_property
    def _accessions(self) -> dict[str, str]:
        """Other names of these chromosomes in bioframe's tables; empty if bioframe does not know the assembly."""
        import bioframe  # late, because it imports matplotlib, which takes a second

        try:
            table = bioframe.assembly_info(self.name, roles="all", units="all").seqinfo
        except ValueError:
            return {}
        return {
            alias.lower(): own
            for name, size, aliases in zip(table["name"], table["length"], table["aliases"], strict=True)
            if (own := self._aliases.get(name.lower())) and self.chromsizes[own] == size
            for alias in str(aliases).split(",")
        }

    def resolve(self, chrom: str) -> str:
        """Return the assembly's own name for a chromosome.

        Also accepts `1`, `chr1` or `CHR1`; `M`, `MT`, `chrM` or `chrMT`; and, for assemblies that bioframe knows,
        RefSeq and GenBank accessions (`NC_000001.11`, `CM000663.2`).
        """
        if chrom in self.chromsizes:
            return chrom
        alias = chrom.lower()
        own = self._aliases.get(alias) or self._accessions.get(alias)
        if own is None:
            raise UnknownChromosome(chrom, self.name, self.chroms)
        return own

    def check(self, locus: Locus) -> Locus:
        """Return the locus with the assembly's own chromosome name, or raise BadLocus if it is not on a chromosome."""
        chrom = self.resolve(locus.chrom)
        size = self.chromsizes[chrom]
        if not 0 <= locus.start < locus.end <= size:
            raise BadLocus(f"{locus} is not on {chrom}, which is {size:,} bp long in {self.name}.")
        return Locus(chrom, locus.start, locus.end)

    def absolute(self, chrom: str, position: int) -> int:
        """Convert a 0-based position on a chromosome to a position on the absolute axis."""
        return self.offsets[self.resolve(chrom)] + position

    def segments(self, start: int, end: int) -> Iterator[Segment]:
        """Yield the parts of chromosomes that the absolute interval [start, end) covers, in order."""
        first = max(bisect_right(self._begins, start) - 1, 0)
        for number in range(first, bisect_left(self._begins, end)):
            offset = self._begins[number]
            lo, hi = max(start - offset, 0), min(end - offset, self.sizes[number])
            if lo < hi:
                yield Segment(Locus(self.chroms[number], lo, hi), offset + lo)

    @cached_property
    def _begins(self) -> list[int]:
        return list(self.offsets.values())


def from_chromsizes(name: str, path: str | os.PathLike[str]) -> Assembly:
    """Read an assembly from a file of `name<TAB>size` lines; a FASTA index (.fai) works as well."""
    try:
        lines = [line.split("\t") for line in Path(path).read_text().splitlines() if line.strip()]
        return from_pairs(name, ((fields[0], int(fields[1])) for fields in lines))
    except FileNotFoundError:
        raise DataError(f"There is no file {path}; give --chromsizes a file of 'name<TAB>size' lines.") from None
    except (IndexError, ValueError, UnicodeDecodeError):
        raise DataError(f"{path} is not a chromsizes file: each line should be 'name<TAB>size'.") from None


def from_pairs(name: str, pairs: Iterable[tuple[str, int]]) -> Assembly:
    """Make an assembly from pairs of chromosome name and size."""
    chroms, sizes = [], []
    for chrom, size in pairs:
        chroms.append(chrom)
        sizes.append(size)
    return Assembly(name, tuple(chroms), tuple(sizes))


def known_assembly(name: str) -> Assembly:
    """Return hg38, hg19, mm10, mm39 or sacCer3: the assembled chromosomes in their usual order, from bioframe."""
    if name not in KNOWN_ASSEMBLIES:
        raise UnknownAssembly(name, KNOWN_ASSEMBLIES)
    import bioframe

    return from_pairs(name, bioframe.assembly_info(name).chromsizes.items())
