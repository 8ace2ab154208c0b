"""A change of one base, as people type it, checked against the reference."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trackserver.errors import BadVariant, ReferenceMismatch
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import BASES, Codes, Genome, decode

_ALLELE = r"[ACGTNacgtn]+"
_FORMS = (
    # chr1:47690516:C:T   1-47690516-C-T   chr1_47690516_C_T   chr1:47,690,516 C>T   chr1:47690516C/T
    re.compile(
        rf"^(?P<chrom>[^\s:_-]+)[:_\s-]+(?P<position>\d[\d,]*)[:_\s-]*(?P<ref>{_ALLELE})[:_>/\s-]+(?P<alt>{_ALLELE})$"
    ),
    # chr1:g.47690516C>T
    re.compile(rf"^(?P<chrom>[^\s:]+):g\.(?P<position>\d+)(?P<ref>{_ALLELE})>(?P<alt>{_ALLELE})$"),
)


@dataclass(frozen=True, order=True)
class Variant:
    """`chrom:position:ref:alt`, the position counted from 1 as in VCF."""

    chrom: str
    position: int
    ref: str
    alt: str

    def __str__(self) -> str:
        return f"{self.chrom}:{self.position}:{self.ref}:{self.alt}"

    @property
    def start(self) -> int:
        """0-based position of the first base of REF."""
        return self.position - 1

    @property
    def swapped(self) -> Variant:
        return Variant(self.chrom, self.position, self.alt, self.ref)

    def apply(self, codes: Codes, locus: Locus) -> Codes:
        """Base codes of `locus` with ALT in place of REF; shape unchanged."""
        changed = codes.copy()
        changed[self.start - locus.start] = BASES.index(self.alt)
        return changed


def looks_like_variant(text: str) -> bool:
    return any(form.match(text.strip()) for form in _FORMS)


def parse_variant(text: str, assembly: Assembly) -> Variant:
    """A variant on one of the assembly's chromosomes.

    Raises
    ------
    BadVariant
        The text is none of the known forms, is not a single-base change, or lies off its chromosome.
    """
    match = next((found for form in _FORMS if (found := form.match(text.strip()))), None)
    if match is None:
        raise BadVariant(
            f"'{text}' is not a variant; write chr1:47690516:C:T, 1-47690516-C-T or chr1:47690516 C>T, "
            "the position counted from 1."
        )
    chrom = assembly.resolve(match["chrom"])
    position = int(match["position"].replace(",", ""))
    variant = Variant(chrom, position, match["ref"].upper(), match["alt"].upper())
    if not (variant.ref in BASES and variant.alt in BASES) or len(variant.ref) != 1 or len(variant.alt) != 1:
        raise BadVariant(f"{variant} is not a change of one base to another of A, C, G, T; only those can be scored.")
    if variant.ref == variant.alt:
        raise BadVariant(f"{variant} changes nothing: REF and ALT are the same base.")
    size = assembly.chromsizes[chrom]
    if not 1 <= position <= size:
        raise BadVariant(f"{variant} lies off its chromosome: {chrom} of {assembly.name} ends at {size:,}.")
    return variant


def check_reference(variant: Variant, genome: Genome, assembly: str) -> None:
    """Raise `ReferenceMismatch`, offering the swap where ALT is what the genome reads, unless REF is read there."""
    reads = decode(genome.codes(Locus(variant.chrom, variant.start, variant.start + 1)))
    if reads != variant.ref:
        swapped = variant.swapped if reads == variant.alt else None
        raise ReferenceMismatch(variant, reads, assembly, swapped)
