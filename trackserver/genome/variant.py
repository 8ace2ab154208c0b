"""Variants: parsing, normalisation, the check of REF against the assembly, and the sequence of a haplotype."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol

import numpy as np

from trackserver.errors import BadVariant, NoSequence, ReferenceMismatch, shorten
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import BASES, Codes, N, decode, encode, reverse_complement
from trackserver.genome.variant_notation import HGVS, HGVS_CHANGE, allele_problem, is_bases, split_columns

Kind = Literal["snv", "mnv", "insertion", "deletion", "delins"]
_READ_AHEAD = 64  # bases read at once while an indel is shifted to the left; doubled on long repeats


class Reference(Protocol):
    """Anything that can read an assembly's sequence, such as `Genome`."""

    def codes(self, locus: Locus) -> Codes:
        """Return the base codes of a locus, (len(locus),), N beyond the chromosome's ends."""


class Change(NamedTuple):
    """The bases that a variant changes: `ref`, from 0-based `start` on, becomes `alt`; one of them may be empty."""

    start: int
    ref: str
    alt: str

    @property
    def end(self) -> int:
        return self.start + len(self.ref)


@dataclass(frozen=True, order=True)
class Variant:
    """A variant as in VCF: `position` is counted from 1, and neither allele is empty."""

    chrom: str
    position: int
    ref: str
    alt: str

    def __str__(self) -> str:
        return f"{self.chrom}:{self.position}:{self.ref}:{self.alt}"

    @property
    def start(self) -> int:
        """The 0-based position of the first base of REF."""
        return self.position - 1

    @property
    def end(self) -> int:
        """The 0-based position after the last base of REF."""
        return self.start + len(self.ref)

    @property
    def locus(self) -> Locus:
        """The locus that REF covers."""
        return Locus(self.chrom, self.start, self.end)

    @property
    def length_change(self) -> int:
        """The length of ALT minus the length of REF, in bases."""
        return len(self.alt) - len(self.ref)

    @cached_property
    def change(self) -> Change:
        """REF and ALT without the bases that they share on the left and then on the right."""
        left = _shared_prefix(self.ref, self.alt)
        ref, alt = self.ref[left:], self.alt[left:]
        right = _shared_prefix(ref[::-1], alt[::-1])
        return Change(self.start + left, ref[: len(ref) - right], alt[: len(alt) - right])

    @property
    def kind(self) -> Kind:
        """The type of the change; shared bases around it do not matter."""
        _, ref, alt = self.change
        if not ref or not alt:
            return "deletion" if ref else "insertion"
        if len(ref) != len(alt):
            return "delins"
        return "snv" if len(ref) == 1 else "mnv"

    @property
    def swapped(self) -> Variant:
        """The same variant with REF and ALT swapped."""
        return Variant(self.chrom, self.position, self.alt, self.ref)

    def apply(self, codes: Codes, locus: Locus) -> Codes:
        """Return a copy of the base codes of `locus` with ALT in place of REF.

        Works only if REF and ALT have the same length; use `haplotype` for indels.
        """
        if self.length_change:
            raise BadVariant(
                f"{shorten(str(self))} is an indel; only variants that keep the length can be applied here."
            )
        alt_codes = codes.copy()
        start, end = max(self.start, locus.start), min(self.end, locus.end)
        if start < end:
            alt_codes[start - locus.start : end - locus.start] = encode(self.alt[start - self.start : end - self.start])
        return alt_codes


def _shared_prefix(one: str, other: str) -> int:
    """Return the length of the common prefix."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


# --- Parsing ---------------------------------------------------------------------------------------------------------


def looks_like_variant(text: str) -> bool:
    """Return whether a text is written like a variant, even if it is one that cannot be scored."""
    return bool(split_columns(text.strip()) or HGVS.match(text.strip()))


def parse_variant(text: str, assembly: Assembly, genome: Reference | None = None) -> Variant:
    """Parse a text that describes a single variant; see `parse_variants`."""
    variants = parse_variants(text, assembly, genome)
    if len(variants) > 1:
        raise BadVariant(
            f"'{shorten(text.strip())}' has {len(variants)} alternative alleles; give them one by one: "
            f"{', '.join(shorten(str(variant)) for variant in variants[:4])}."
        )
    return variants[0]


def parse_variants(text: str, assembly: Assembly, genome: Reference | None = None) -> tuple[Variant, ...]:
    """Parse a text into variants, one for each ALT; they are not normalised.

    The text may be `chr1:47690516:C:T` and the like, a line of a VCF, or HGVS with g. or m. A `-` is an empty allele:
    `chr1:100:AC:-` removes the bases from position 100 on, and `chr1:100:-:AC` inserts bases after position 100.
    `genome` supplies bases that the text leaves out: the base next to an empty allele, and the bases of HGVS's del, dup
    and inv.

    Raises
    ------
    BadVariant
        The text has another form, an allele has other letters than A, C, G and T, the position is not on the
        chromosome, or the reference is needed and `genome` is None.
    UnknownChromosome
        The assembly has no chromosome with this name.
    """
    stripped = text.strip()
    if columns := split_columns(stripped):
        chrom, position, ref, alts = columns
        return tuple(from_columns(chrom, position, ref, alt, assembly, genome) for alt in alts)
    if match := HGVS.match(stripped):
        return (_from_hgvs(match, assembly, genome),)
    raise BadVariant(
        f"'{shorten(stripped)}' is not a variant; write chr1:47690516:C:T, 1-47690516-C-T or chr1:47690516 C>T, "
        "with the position counted from 1."
    )


def from_columns(
    chrom: str, position: int, ref: str, alt: str, assembly: Assembly, genome: Reference | None = None
) -> Variant:
    """Make a variant from four columns of a VCF, with a single ALT; see `parse_variants`."""
    chrom, ref, alt = assembly.resolve(chrom), ref.upper(), alt.upper()
    last = position + len(ref) - 1
    if is_bases(ref) and is_bases(alt) and ref != alt and 1 <= position <= last <= assembly.chromsizes[chrom]:
        return Variant(chrom, position, ref, alt)  # the fast path, for nearly all variants of a file
    text = shorten(f"{chrom}:{position}:{ref}:{alt}")
    for name, allele in (("REF", ref), ("ALT", alt)):
        if allele != "-" and (problem := allele_problem(name, allele)):
            raise BadVariant(f"{text} cannot be scored: {problem}")
    if ref == alt:
        raise BadVariant(f"{text} changes nothing: REF and ALT are the same.")
    _check_position(assembly, text, chrom, position, last)
    if genome is None:
        raise BadVariant(f"{text} has an empty allele; write the base before it too, such as chr1:99:TAC:T.")
    start = position if ref == "-" else position - 1
    return _anchor(chrom, Change(start, ref.strip("-"), alt.strip("-")), genome)


def _check_position(assembly: Assembly, text: str, chrom: str, first: int, last: int) -> None:
    """Raise BadVariant unless the positions from `first` to `last`, counted from 1, are on the chromosome."""
    size = assembly.chromsizes[chrom]
    if not 1 <= first <= last <= size:
        raise BadVariant(f"{text} is not on its chromosome: {chrom} of {assembly.name} ends at {size:,}.")


def _from_hgvs(match: re.Match[str], assembly: Assembly, genome: Reference | None) -> Variant:
    text = shorten(match[0])
    if match["level"] not in "gm":
        raise BadVariant(f"'{text}' is a position in a transcript or protein; write the position on the genome (g.).")
    change = HGVS_CHANGE.match(match["change"])
    if not change:
        raise BadVariant(
            f"'{text}' uses HGVS syntax that is not supported; write a substitution, del, ins, delins, dup or inv, "
            "or chr1:47690516:C:T."
        )
    chrom = assembly.resolve(match["chrom"])
    first, last = int(change["first"]), int(change["last"] or change["first"])
    if change["ref"]:
        return from_columns(chrom, first, change["ref"], change["alt"], assembly)
    _check_position(assembly, f"'{text}'", chrom, first, last)
    if change["inserted"]:
        if last != first + 1:
            raise BadVariant(f"'{text}' should give the two bases around the insertion, such as g.100_101insAC.")
        return from_columns(chrom, first, "-", change["inserted"], assembly, genome)
    ref = (change["deleted"] or change["bases"] or _hgvs_ref(genome, Locus(chrom, first - 1, last), text)).upper()
    if len(ref) != last - first + 1:
        raise BadVariant(f"'{text}' has {last - first + 1} positions but {len(ref)} bases; correct one of them.")
    # REF contains all of the duplicated bases, so that they are checked against the reference and need no anchor base.
    alts = {"dup": ref * 2, "inv": decode(reverse_complement(encode(ref)))}
    alt = alts[change["event"].lower()] if change["event"] else change["replacement"] or "-"
    return from_columns(chrom, first, ref, alt, assembly, genome)


def _hgvs_ref(genome: Reference | None, locus: Locus, text: str) -> str:
    if genome is None:
        raise BadVariant(f"'{text}' does not give its bases; write REF and ALT, such as chr1:99:TAC:T.")
    return _known_sequence(genome, locus, "the reference")


# --- Comparison with the reference -----------------------------------------------------------------------------------


def check_reference(variant: Variant, genome: Reference, assembly: str) -> None:
    """Check that the assembly's sequence at the variant's position is REF.

    Raises
    ------
    NoSequence
        The sequence has an N there.
    ReferenceMismatch
        The sequence is another. If it is ALT, the error suggests to swap the alleles; if REF is one position later, as
        with positions counted from 0, the error suggests that position.
    """
    sequence = _known_sequence(genome, variant.locus, assembly)
    if sequence == variant.ref:
        return
    has_alt = _sequence(genome, Locus(variant.chrom, variant.start, variant.start + len(variant.alt))) == variant.alt
    swapped = variant.swapped if has_alt else None
    shifted, shift_reason = None, ""
    # The ALT of a deletion is often one base, which matches anywhere by chance, so the shift is suggested as well.
    if not swapped or variant.length_change < 0:
        next_locus = Locus(variant.chrom, variant.start + 1, variant.end + 1)
        if _sequence(genome, next_locus) == variant.ref:
            shifted = Variant(variant.chrom, variant.position + 1, variant.ref, variant.alt)
            subject = "The base at" if len(variant.ref) == 1 else "The sequence from"
            shift_reason = f"{subject} {shifted.position:,} is {shorten(variant.ref)}"
    raise ReferenceMismatch(variant, sequence, assembly, swapped, shifted, shift_reason)


def check_sequence(variant: Variant, genome: Reference, assembly: str) -> None:
    """Raise `NoSequence` if the assembly has an N within REF."""
    _known_sequence(genome, variant.locus, assembly)


def _known_sequence(genome: Reference, locus: Locus, assembly: str) -> str:
    codes = genome.codes(locus)
    unknown = np.flatnonzero(codes == N)
    if len(unknown):
        position = locus.start + int(unknown[0]) + 1
        raise NoSequence(f"{assembly} has N at {locus.chrom}:{position:,}: the sequence is unknown there.")
    return decode(codes)


def _sequence(genome: Reference, locus: Locus) -> str:
    return decode(genome.codes(locus))


def normalise(variant: Variant, genome: Reference) -> Variant:
    """Return the variant in normal form: as short and as far to the left as possible (Tan et al. 2015).

    The result is that of `bcftools norm` and `vt normalize`. If no base is known before an indel, at a chromosome's
    start or after a gap, the anchor base is on the right, as the VCF standard says. REF must match the genome.
    """
    change = variant.change
    if change.ref and change.alt:
        return Variant(variant.chrom, change.start + 1, change.ref, change.alt)
    repeated = change.ref or change.alt
    shift = _left_shift(genome, variant.chrom, change.start, repeated)
    turn = -shift % len(repeated)
    rotated = repeated[turn:] + repeated[:turn]
    shifted = Change(change.start - shift, rotated if change.ref else "", rotated if change.alt else "")
    return _anchor(variant.chrom, shifted, genome)


def _left_shift(genome: Reference, chrom: str, start: int, repeated: str) -> int:
    """Count by how many bases an indel of `repeated` at 0-based `start` can be shifted to the left."""
    unit, shift, ahead = encode(repeated)[::-1], 0, _READ_AHEAD
    while True:
        before = genome.codes(Locus(chrom, start - shift - ahead, start - shift))[::-1]
        same = before == unit[(shift + np.arange(ahead)) % len(unit)]
        if not same.all():
            return shift + int(np.argmin(same))
        shift, ahead = shift + ahead, ahead * 2


def _anchor(chrom: str, change: Change, genome: Reference) -> Variant:
    """Add the base before a change with an empty allele, or else the base after it, as VCF requires."""
    before = _sequence(genome, Locus(chrom, change.start - 1, change.start))
    if before in BASES:
        return Variant(chrom, change.start, before + change.ref, before + change.alt)
    after = _sequence(genome, Locus(chrom, change.end, change.end + 1))
    if after not in BASES:
        raise NoSequence(
            f"The bases next to {chrom}:{change.start + 1:,} are unknown, so the indel has no anchor base."
        )
    return Variant(chrom, change.start + 1, change.ref + after, change.alt + after)


# --- Haplotypes ------------------------------------------------------------------------------------------------------


def check_disjoint(variants: Iterable[Variant]) -> None:
    """Raise `BadVariant` if two variants change the same base, so that they cannot be on one haplotype.

    Anchor bases do not count: a deletion and a change of the base before it are compatible. Two insertions between
    the same bases are not, because their order is undefined.
    """
    ordered = sorted(variants, key=lambda v: (v.chrom, v.change.start, v.change.end))
    for one, other in pairwise(ordered):
        if one.chrom != other.chrom:
            continue
        inserted = one.change.start == other.change.start and not one.change.ref and not other.change.ref
        if inserted or other.change.start < one.change.end:
            raise BadVariant(
                f"{shorten(str(one))} and {shorten(str(other))} change the same base, "
                "so they cannot be on one haplotype; give them one by one."
            )


def haplotype(
    genome: Reference, window: Locus, variants: Sequence[Variant], anchor: Literal["left", "right"] = "left"
) -> Codes:
    """Return the base codes (L,) of a window of the haplotype that carries all the variants.

    With the anchor on the left, the sequence before the first variant stays in place and the sequence after an indel
    moves; with the anchor on the right, the sequence after the last variant stays. A deletion brings in sequence from
    beyond the window's end, or N from beyond the chromosome's. Without indels, both anchors give the same result.

    Raises
    ------
    BadVariant
        Two variants change the same base, or one is on another chromosome than the window.
    """
    check_disjoint(variants)
    if stray := next((variant for variant in variants if variant.chrom != window.chrom), None):
        raise BadVariant(f"{shorten(str(stray))} is not on {window.chrom}, the chromosome of the window.")
    begin = window.start + (sum(variant.length_change for variant in variants) if anchor == "right" else 0)
    end, shift = begin + len(window), 0  # a position on the haplotype is one on the reference plus `shift`
    ref_start, pieces = min(begin, *(v.start for v in variants)) if variants else begin, []
    for change in sorted(variant.change for variant in variants):
        alt_start = change.start + shift
        pieces.append(_reference_piece(genome, window.chrom, max(ref_start + shift, begin), min(alt_start, end), shift))
        pieces.append(encode(change.alt)[max(begin - alt_start, 0) : max(end - alt_start, 0)])
        ref_start, shift = change.end, shift + len(change.alt) - len(change.ref)
    pieces.append(_reference_piece(genome, window.chrom, max(ref_start + shift, begin), end, shift))
    return np.concatenate(pieces)


def _reference_piece(genome: Reference, chrom: str, start: int, end: int, shift: int) -> Codes:
    """Read the reference between two positions of the haplotype; empty if the end is not after the start."""
    return genome.codes(Locus(chrom, start - shift, end - shift)) if start < end else np.empty(0, np.uint8)
