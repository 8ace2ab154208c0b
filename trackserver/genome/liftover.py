"""A variant's place on another assembly, by a chain file of UCSC's or Ensembl's.

The reader is our own: pyliftover maps single positions only, so it does not see that the bases of a deletion are torn
apart or turned around, and it does not know of alleles. A chain is blocks of bases that lie alike on both assemblies
(https://genome.ucsc.edu/goldenPath/help/chain.html).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import ChromosomesDoNotFit, DataError, NotLifted, shortened
from trackserver.genome.assembly import Assembly
from trackserver.genome.chrom_names import Chromosomes
from trackserver.genome.gzip_text import opened
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import N, decode, encode, reverse_complement
from trackserver.genome.variant import Reference, Variant, normalised

_START, _END, _TO_START, _CHAIN = range(4)  # columns of a block; TO_START counts along the chain's own strand


@dataclass(frozen=True)
class Lifted:
    """A variant on another assembly, and all that was done to it on the way."""

    variant: Variant
    source: Variant
    from_assembly: str
    to_assembly: str
    flipped: bool  # the assemblies read opposite strands there: the alleles are complemented
    swapped: bool  # the other assembly reads ALT: REF and ALT are exchanged, and Δ changes its sign
    checked: bool  # against the other assembly's sequence

    def __str__(self) -> str:
        parts = [
            f"{shortened(str(self.source))} of {self.from_assembly} is "
            f"{shortened(str(self.variant))} of {self.to_assembly}"
        ]
        if self.flipped:
            parts.append("which reads the other strand there, so the alleles are complemented")
        if self.swapped:
            parts.append("whose reference is the other allele, so REF and ALT are exchanged and Δ changes its sign")
        if not self.checked:
            parts.append("its REF unchecked, for there is no sequence to check it against")
        return ", ".join(parts) + "."


@dataclass(frozen=True)
class _Chain:
    chrom: str
    size: int
    known: bool  # whether the target assembly has the chromosome
    flipped: bool


class Liftover:
    """The chains from one assembly to another."""

    def __init__(
        self,
        source: Assembly,
        target: Assembly,
        blocks: dict[str, NDArray[np.int64]],
        chains: tuple[_Chain, ...],
    ):
        self.source, self.target = source, target
        self._blocks, self._chains = blocks, chains  # blocks (n, 4) of a chromosome; the chains they are of

    @classmethod
    def read(cls, path: Path, source: Assembly, target: Assembly) -> Liftover:
        """The chains of a file, plain or gzip, such as hg19ToHg38.over.chain.gz.

        Raises
        ------
        DataError
            A line, which is named, is none of a chain file.
        ChromosomesDoNotFit
            Its chromosomes are not those of `source`, or not those of `target`.
        """
        reader = _Reader(path.name, source, target)
        with opened(path) as lines:
            reader.read(lines)
        blocks = {chrom: np.frombuffer(rows, np.int64).reshape(-1, 4) for chrom, rows in reader.blocks.items()}
        return cls(source, target, blocks, tuple(reader.chains))

    def lift(self, variant: Variant, genome: Reference | None = None) -> Lifted:
        """The same change on the target assembly; `genome` is the target's, and without it REF goes unchecked.

        Raises
        ------
        NotLifted
            There is no one place for all of REF, or the target reads there neither REF nor ALT.
        """
        locus, flipped = self.place(variant.locus)
        ref, alt = (_complement(a) if flipped else a for a in (variant.ref, variant.alt))
        there = Variant(locus.chrom, locus.start + 1, ref, alt)
        swapped = bool(genome) and self._is_swapped(variant, there, genome)
        if swapped:
            there = there.swapped
        if flipped and there.growth and genome:
            there = normalised(there, genome)  # the base that was before an indel is now behind it
        return Lifted(there, variant, self.source.name, self.target.name, flipped, swapped, genome is not None)

    def place(self, locus: Locus) -> tuple[Locus, bool]:
        """Where a stretch lies on the target, whole and without gaps, and whether its strand is the opposite one."""
        hits = self._hits(locus)
        if not hits:
            raise self._not(locus, "has no counterpart in", "its sequence was removed or replaced there.")
        if len(hits) > 1:
            raise self._not(locus, f"has {len(hits)} places in", "so none of them can be taken for it.")
        start, number = hits.pop()
        chain = self._chains[number]
        if not chain.known:
            raise self._not(locus, "lies elsewhere in", f"on {chain.chrom}, which the assembly here does not have.")
        if chain.flipped:
            start = chain.size - start - len(locus)
        return Locus(chain.chrom, start, start + len(locus)), chain.flipped

    def _hits(self, locus: Locus) -> set[tuple[int, int]]:
        """(position along the chain's strand, chain) of each chain that has both ends of the stretch in step."""
        blocks = self._blocks.get(locus.chrom, np.empty((0, 4), np.int64))
        first, last = (
            blocks[(blocks[:, _START] <= at) & (at < blocks[:, _END])] for at in (locus.start, locus.end - 1)
        )
        if bool(len(first)) != bool(len(last)):
            raise self._not(locus, "is cut apart in", "a part of it was removed or replaced there.")
        starts = {(int(b[_TO_START] - b[_START]) + locus.start, int(b[_CHAIN])) for b in first}
        in_step = starts & {(int(b[_TO_START] - b[_START]) + locus.start, int(b[_CHAIN])) for b in last}
        if starts and not in_step:
            if {chain for _, chain in starts} & set(last[:, _CHAIN].tolist()):
                raise self._not(locus, "is not as long in", "bases were added or removed within it.")
            raise self._not(locus, "is cut apart in", "its ends lie in different places there.")
        return in_step

    def _not(self, locus: Locus, what: str, why: str) -> NotLifted:
        return NotLifted(f"{locus} of {self.source.name} {what} {self.target.name}: {why}")

    def _is_swapped(self, variant: Variant, there: Variant, genome: Reference | None) -> bool:
        """Whether the target reads ALT; raises `NotLifted` where it reads neither allele."""
        if genome is None:
            return False
        codes = genome.codes(there.locus)
        reads = decode(codes)
        if reads == there.ref:
            return False
        where = f"{shortened(str(variant))} of {self.source.name} lies at {there.locus} of {self.target.name}"
        if np.any(codes == N):
            raise NotLifted(f"{where}, of which no sequence is known (N).")
        # Of an indel one allele is part of the other, so what is read here says too little about which it is.
        if reads == there.alt and not there.growth:
            return True
        turned = " on the other strand" if (there.ref, there.alt) != (variant.ref, variant.alt) else ""
        raise NotLifted(
            f"{where}, which reads {shortened(reads)}, not REF ({shortened(there.ref)}{turned}): the reference was "
            f"changed there. Ask for the variant on {self.source.name}."
        )


def _complement(allele: str) -> str:
    return decode(reverse_complement(encode(allele)))


class _Reader:
    """Takes a chain file line by line."""

    def __init__(self, name: str, source: Assembly, target: Assembly):
        self.name, self.source, self.target = name, source, target
        self.chains: list[_Chain] = []
        self.blocks: dict[str, array[int]] = {}
        self._sources, self._targets = Chromosomes(source), Chromosomes(target)
        self._held: array[int] | None = None  # the blocks that a chain adds to; None while one is skipped
        self._at = self._to = -1

    def read(self, lines: Iterable[bytes]) -> None:
        for number, line in enumerate(lines, 1):
            fields = line.split()
            if not fields or fields[0].startswith(b"#"):
                continue
            try:
                if fields[0] == b"chain":
                    self._begin(fields)
                else:
                    self._block([int(field) for field in fields])
            except (IndexError, ValueError):
                raise DataError(
                    f"{self.name}, line {number}: this is no line of a chain file, as UCSC's liftOver reads it."
                ) from None
        if not self.chains:
            raise DataError(f"{self.name} holds no chain; give a chain file, such as hg19ToHg38.over.chain.gz.")
        self._sources.check(self.name)
        self._targets.check(self.name)

    def _begin(self, fields: list[bytes]) -> None:
        chrom, size = self._sources[fields[2]]
        to_chrom, to_size = self._targets[fields[7]]
        self._check_size(self.source, chrom, size, int(fields[3]))
        self._check_size(self.target, to_chrom, to_size, int(fields[8]))
        self._at, self._to = int(fields[5]), int(fields[10])
        self._held = self.blocks.setdefault(chrom, array("q")) if size else None
        self.chains.append(_Chain(to_chrom, int(fields[8]), bool(to_size), fields[9] == b"-"))

    def _check_size(self, assembly: Assembly, chrom: str, size: int, told: int) -> None:
        if size and size != told:
            raise ChromosomesDoNotFit(
                f"{self.name} does not lead from {self.source.name} to {self.target.name}: its {chrom} is {told:,} bp "
                f"long, that of {assembly.name} is {size:,}."
            )

    def _block(self, numbers: list[int]) -> None:
        """A line of a block's size, and the gaps to the next on both assemblies; the last block has no gaps."""
        if self._at < 0 or len(numbers) not in (1, 3):
            raise ValueError
        size, gap, to_gap = numbers if len(numbers) == 3 else (numbers[0], 0, 0)
        if self._held is not None:
            self._held.extend((self._at, self._at + size, self._to, len(self.chains) - 1))
        self._at, self._to = self._at + size + gap, self._to + size + to_gap
