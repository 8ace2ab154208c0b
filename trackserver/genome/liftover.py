"""Lift variants over from one assembly to another, with a chain file from UCSC or Ensembl.

This module has its own reader because pyliftover maps single positions only: it cannot see whether the bases of a
deletion are split or inverted, and it does not handle alleles. A chain is a list of blocks that are collinear on both
assemblies (https://genome.ucsc.edu/goldenPath/help/chain.html).
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import ChromosomesDoNotFit, DataError, NotLifted, shorten
from trackserver.genome.assembly import Assembly
from trackserver.genome.chrom_names import Chromosomes
from trackserver.genome.gzip_text import open_text
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import N, decode, encode, reverse_complement
from trackserver.genome.variant import Reference, Variant, normalise

_START, _END, _TO_START, _CHAIN = range(4)  # columns of a block; TO_START is on the chain's own strand


@dataclass(frozen=True)
class LiftedVariant:
    """A variant lifted over to another assembly, and how it was changed."""

    variant: Variant
    source: Variant
    from_assembly: str
    to_assembly: str
    flipped: bool  # the other assembly has the opposite strand there, so the alleles are complemented
    swapped: bool  # the other assembly has ALT there, so REF and ALT are swapped and Δ changes its sign
    checked: bool  # REF was compared with the other assembly's sequence

    def __str__(self) -> str:
        parts = [
            f"{shorten(str(self.source))} of {self.from_assembly} is {shorten(str(self.variant))} of {self.to_assembly}"
        ]
        if self.flipped:
            parts.append("which has the opposite strand there, so the alleles are complemented")
        if self.swapped:
            parts.append("whose reference is the other allele, so REF and ALT are swapped and Δ changes its sign")
        if not self.checked:
            parts.append("but its REF is not checked, because the sequence is not available")
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
        self._blocks, self._chains = blocks, chains  # blocks are (n, 4) for each chromosome

    @classmethod
    def read(cls, path: str | os.PathLike[str], source: Assembly, target: Assembly) -> Liftover:
        """Read a chain file, plain or gzip, such as hg19ToHg38.over.chain.gz.

        Raises
        ------
        DataError
            A line does not belong in a chain file; the error gives its number.
        ChromosomesDoNotFit
            The chromosomes are not those of `source`, or not those of `target`.
        """
        reader = _Reader(Path(path).name, source, target)
        with open_text(path) as lines:
            reader.read(lines)
        blocks = {chrom: np.frombuffer(rows, np.int64).reshape(-1, 4) for chrom, rows in reader.blocks.items()}
        return cls(source, target, blocks, tuple(reader.chains))

    def lift(self, variant: Variant, genome: Reference | None = None) -> LiftedVariant:
        """Lift a variant over to the target assembly.

        `genome` is the target's sequence; without it, REF is not checked.

        Raises
        ------
        NotLifted
            REF has no unique and contiguous position on the target, or the target has neither REF nor ALT there.
        """
        locus, flipped = self.lift_locus(variant.locus)
        ref, alt = (_complement(a) if flipped else a for a in (variant.ref, variant.alt))
        there = Variant(locus.chrom, locus.start + 1, ref, alt)
        swapped = bool(genome) and self._is_swapped(variant, there, genome)
        if swapped:
            there = there.swapped
        if flipped and there.length_change and genome:
            there = normalise(there, genome)  # the base before the indel is now after it
        return LiftedVariant(there, variant, self.source.name, self.target.name, flipped, swapped, genome is not None)

    def lift_locus(self, locus: Locus) -> tuple[Locus, bool]:
        """Lift a locus over as a whole, without gaps.

        Returns the locus on the target, and whether it is on the opposite strand.
        """
        hits = self._hits(locus)
        if not hits:
            raise self._not_lifted(locus, "has no counterpart in", "its sequence was removed or replaced.")
        if len(hits) > 1:
            raise self._not_lifted(locus, f"has {len(hits)} counterparts in", "so its position is ambiguous.")
        start, number = hits.pop()
        chain = self._chains[number]
        if not chain.known:
            raise self._not_lifted(
                locus, "moved to another chromosome in", f"{chain.chrom}, which this site's assembly does not include."
            )
        if chain.flipped:
            start = chain.size - start - len(locus)
        return Locus(chain.chrom, start, start + len(locus)), chain.flipped

    def _hits(self, locus: Locus) -> set[tuple[int, int]]:
        """Find the chains that map both ends of the locus with the same offset.

        Returns (start on the chain's strand, number of the chain) for each.
        """
        blocks = self._blocks.get(locus.chrom, np.empty((0, 4), np.int64))
        first, last = (
            blocks[(blocks[:, _START] <= base) & (base < blocks[:, _END])] for base in (locus.start, locus.end - 1)
        )
        if bool(len(first)) != bool(len(last)):
            raise self._not_lifted(locus, "is split in", "part of it was removed or replaced.")
        starts = {(int(b[_TO_START] - b[_START]) + locus.start, int(b[_CHAIN])) for b in first}
        hits = starts & {(int(b[_TO_START] - b[_START]) + locus.start, int(b[_CHAIN])) for b in last}
        if starts and not hits:
            if {chain for _, chain in starts} & set(last[:, _CHAIN].tolist()):
                raise self._not_lifted(locus, "has another length in", "bases were added or removed within it.")
            raise self._not_lifted(locus, "is split in", "its ends are in different places.")
        return hits

    def _not_lifted(self, locus: Locus, problem: str, reason: str) -> NotLifted:
        return NotLifted(f"{locus} of {self.source.name} {problem} {self.target.name}: {reason}")

    def _is_swapped(self, variant: Variant, there: Variant, genome: Reference | None) -> bool:
        """Return whether the target has ALT; raises `NotLifted` if it has neither allele."""
        if genome is None:
            return False
        codes = genome.codes(there.locus)
        sequence = decode(codes)
        if sequence == there.ref:
            return False
        position = f"{shorten(str(variant))} of {self.source.name} is at {there.locus} of {self.target.name}"
        if np.any(codes == N):
            raise NotLifted(f"{position}, where the sequence is unknown (N).")
        # One allele of an indel is part of the other, so a match with ALT at this position proves nothing.
        if sequence == there.alt and not there.length_change:
            return True
        strand = " on the opposite strand" if (there.ref, there.alt) != (variant.ref, variant.alt) else ""
        raise NotLifted(
            f"{position}, where the sequence is {shorten(sequence)}, not REF ({shorten(there.ref)}{strand}): the "
            f"reference was changed there. Score the variant on {self.source.name} instead."
        )


def _complement(allele: str) -> str:
    return decode(reverse_complement(encode(allele)))


class _Reader:
    """Parses a chain file line by line."""

    def __init__(self, name: str, source: Assembly, target: Assembly):
        self.name, self.source, self.target = name, source, target
        self.chains: list[_Chain] = []
        self.blocks: dict[str, array[int]] = {}
        self._sources, self._targets = Chromosomes(source), Chromosomes(target)
        self._chrom_blocks: array[int] | None = None  # where the current chain's blocks go; None if it is skipped
        self._start = self._to_start = -1

    def read(self, lines: Iterable[bytes]) -> None:
        for number, line in enumerate(lines, 1):
            fields = line.split()
            if not fields or fields[0].startswith(b"#"):
                continue
            try:
                if fields[0] == b"chain":
                    self._begin_chain(fields)
                else:
                    self._add_block([int(field) for field in fields])
            except (IndexError, ValueError):
                raise DataError(
                    f"{self.name}, line {number} does not belong in a chain file for UCSC's liftOver."
                ) from None
        if not self.chains:
            raise DataError(f"{self.name} has no chains; give a chain file, such as hg19ToHg38.over.chain.gz.")
        self._sources.check(self.name)
        self._targets.check(self.name)

    def _begin_chain(self, fields: list[bytes]) -> None:
        chrom, size = self._sources[fields[2]]
        to_chrom, to_size = self._targets[fields[7]]
        self._check_size(self.source, chrom, size, int(fields[3]))
        self._check_size(self.target, to_chrom, to_size, int(fields[8]))
        self._start, self._to_start = int(fields[5]), int(fields[10])
        self._chrom_blocks = self.blocks.setdefault(chrom, array("q")) if size else None
        self.chains.append(_Chain(to_chrom, int(fields[8]), bool(to_size), fields[9] == b"-"))

    def _check_size(self, assembly: Assembly, chrom: str, size: int, file_size: int) -> None:
        if size and size != file_size:
            raise ChromosomesDoNotFit(
                f"{self.name} is not a chain file from {self.source.name} to {self.target.name}: its {chrom} is "
                f"{file_size:,} bp long, but in {assembly.name} it is {size:,} bp long."
            )

    def _add_block(self, numbers: list[int]) -> None:
        """Add a block from its size and the gaps to the next block on both assemblies; the last block has no gaps."""
        if self._start < 0 or len(numbers) not in (1, 3):
            raise ValueError
        size, gap, to_gap = numbers if len(numbers) == 3 else (numbers[0], 0, 0)
        if self._chrom_blocks is not None:
            self._chrom_blocks.extend((self._start, self._start + size, self._to_start, len(self.chains) - 1))
        self._start, self._to_start = self._start + size + gap, self._to_start + size + to_gap
