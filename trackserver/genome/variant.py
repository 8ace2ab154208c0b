"""What a variant is: its forms as people write them, its one normal form, the reference it claims, its haplotype."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol

import numpy as np

from trackserver.errors import BadVariant, NoSequence, ReferenceMismatch, shortened
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import BASES, Codes, N, decode, encode, reverse_complement
from trackserver.genome.variant_notation import HGVS, HGVS_CHANGE, columns, is_spelled, problem

Kind = Literal["snv", "mnv", "insertion", "deletion", "delins"]
_READ_AHEAD = 64  # bases looked at a time while an indel rolls to the left; doubled on long repeats


class Reference(Protocol):
    """What reads an assembly's sequence: `Genome`, or anything that answers like one."""

    def codes(self, locus: Locus) -> Codes:
        """Base codes (len(locus),), N beyond the chromosome's ends."""


class Change(NamedTuple):
    """What of a variant differs: `ref`, from 0-based `start` on, becomes `alt`; one of them may be empty."""

    start: int
    ref: str
    alt: str

    @property
    def end(self) -> int:
        return self.start + len(self.ref)


@dataclass(frozen=True, order=True)
class Variant:
    """`chrom:position:ref:alt`, the position counted from 1 and no allele empty, as in VCF."""

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
    def end(self) -> int:
        """0-based position after the last base of REF."""
        return self.start + len(self.ref)

    @property
    def locus(self) -> Locus:
        """What REF covers."""
        return Locus(self.chrom, self.start, self.end)

    @property
    def growth(self) -> int:
        """By how many bases ALT is longer than REF."""
        return len(self.alt) - len(self.ref)

    @cached_property
    def change(self) -> Change:
        """REF and ALT without the bases they share at their left and then at their right."""
        left = _shared(self.ref, self.alt)
        ref, alt = self.ref[left:], self.alt[left:]
        right = _shared(ref[::-1], alt[::-1])
        return Change(self.start + left, ref[: len(ref) - right], alt[: len(alt) - right])

    @property
    def kind(self) -> Kind:
        """What the variant does, however much sequence is written around it."""
        _, ref, alt = self.change
        if not ref or not alt:
            return "deletion" if ref else "insertion"
        if len(ref) != len(alt):
            return "delins"
        return "snv" if len(ref) == 1 else "mnv"

    @property
    def swapped(self) -> Variant:
        return Variant(self.chrom, self.position, self.alt, self.ref)

    def apply(self, codes: Codes, locus: Locus) -> Codes:
        """Base codes of `locus` with ALT in place of REF; of REF and ALT of equal length only, see `haplotype`."""
        if self.growth:
            raise BadVariant(
                f"{shortened(str(self))} moves what follows it; only changes that keep the length fit here."
            )
        changed = codes.copy()
        start, end = max(self.start, locus.start), min(self.end, locus.end)
        if start < end:
            changed[start - locus.start : end - locus.start] = encode(self.alt[start - self.start : end - self.start])
        return changed


def _shared(one: str, other: str) -> int:
    """How many letters two texts begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


# --- What people write -----------------------------------------------------------------------------------------------


def looks_like_variant(text: str) -> bool:
    """Whether a text is written like a variant, be it one that can be scored or not."""
    return bool(columns(text.strip()) or HGVS.match(text.strip()))


def parse_variant(text: str, assembly: Assembly, genome: Reference | None = None) -> Variant:
    """The one variant that a text means; see `parse_variants`."""
    found = parse_variants(text, assembly, genome)
    if len(found) > 1:
        raise BadVariant(
            f"'{shortened(text.strip())}' has {len(found)} alternative alleles; ask for them one by one: "
            f"{', '.join(shortened(str(variant)) for variant in found[:4])}."
        )
    return found[0]


def parse_variants(text: str, assembly: Assembly, genome: Reference | None = None) -> tuple[Variant, ...]:
    """The variants of a text on one of the assembly's chromosomes, one for each ALT, as they are written.

    `chr1:47690516:C:T` and the like, a line of a VCF, HGVS's g. and m. A `-` is an empty allele: `chr1:100:AC:-`
    removes the bases from position 100 on, `chr1:100:-:AC` adds bases after position 100. What has to be read in the
    reference (the base beside an empty allele, what HGVS's del, dup and inv cover) is read in `genome`.

    Raises
    ------
    BadVariant
        The text is none of these forms, its alleles are not spelled in A, C, G and T, it lies off its chromosome, or
        needs the reference while there is none.
    UnknownChromosome
        The assembly has no chromosome of this name.
    """
    stripped = text.strip()
    if found := columns(stripped):
        chrom, position, ref, alts = found
        return tuple(from_columns(chrom, position, ref, alt, assembly, genome) for alt in alts)
    if match := HGVS.match(stripped):
        return (_from_hgvs(match, assembly, genome),)
    raise BadVariant(
        f"'{shortened(stripped)}' is not a variant; write chr1:47690516:C:T, 1-47690516-C-T or chr1:47690516 C>T, "
        "the position counted from 1."
    )


def from_columns(
    chrom: str, position: int, ref: str, alt: str, assembly: Assembly, genome: Reference | None = None
) -> Variant:
    """The variant of four columns of a VCF, one ALT at a time; see `parse_variants`."""
    chrom, ref, alt = assembly.resolve(chrom), ref.upper(), alt.upper()
    last = position + len(ref) - 1
    if is_spelled(ref) and is_spelled(alt) and ref != alt and 1 <= position <= last <= assembly.chromsizes[chrom]:
        return Variant(chrom, position, ref, alt)  # as nearly all of a file's are; what is wrong with others follows
    written = shortened(f"{chrom}:{position}:{ref}:{alt}")
    for name, allele in (("REF", ref), ("ALT", alt)):
        if allele != "-" and (why := problem(name, allele)):
            raise BadVariant(f"{written} cannot be scored: {why}")
    if ref == alt:
        raise BadVariant(f"{written} changes nothing: REF and ALT are the same.")
    _check_on(assembly, written, chrom, position, last)
    if genome is None:
        raise BadVariant(f"{written} has an empty allele; write the base before it too, such as chr1:99:TAC:T.")
    start = position if ref == "-" else position - 1
    return _anchored(chrom, Change(start, ref.strip("-"), alt.strip("-")), genome)


def _check_on(assembly: Assembly, written: str, chrom: str, first: int, last: int) -> None:
    """That positions from `first` to `last`, counted from 1, are the chromosome's."""
    size = assembly.chromsizes[chrom]
    if not 1 <= first <= last <= size:
        raise BadVariant(f"{written} lies off its chromosome: {chrom} of {assembly.name} ends at {size:,}.")


def _from_hgvs(match: re.Match[str], assembly: Assembly, genome: Reference | None) -> Variant:
    written = shortened(match[0])
    if match["level"] not in "gm":
        raise BadVariant(f"'{written}' counts along a transcript or protein; write the place on the genome (g.).")
    change = HGVS_CHANGE.match(match["change"])
    if not change:
        raise BadVariant(
            f"'{written}' is a form of HGVS that is not read here; write a substitution, del, ins, delins, dup or inv, "
            "or chr1:47690516:C:T."
        )
    chrom = assembly.resolve(match["chrom"])
    first, last = int(change["first"]), int(change["last"] or change["first"])
    if change["ref"]:
        return from_columns(chrom, first, change["ref"], change["alt"], assembly)
    _check_on(assembly, f"'{written}'", chrom, first, last)
    if change["added"]:
        if last != first + 1:
            raise BadVariant(f"'{written}' should name the two bases between which it inserts, such as g.100_101insAC.")
        return from_columns(chrom, first, "-", change["added"], assembly, genome)
    ref = (change["gone"] or change["told"] or _stretch(genome, Locus(chrom, first - 1, last), written)).upper()
    if len(ref) != last - first + 1:
        raise BadVariant(f"'{written}' names {last - first + 1} positions and {len(ref)} bases; correct one of them.")
    # What is duplicated stands in REF whole: it is then checked against the reference, and needs no base beside it.
    alts = {"dup": ref * 2, "inv": decode(reverse_complement(encode(ref)))}
    alt = alts[change["event"].lower()] if change["event"] else change["new"] or "-"
    return from_columns(chrom, first, ref, alt, assembly, genome)


def _stretch(genome: Reference | None, locus: Locus, written: str) -> str:
    if genome is None:
        raise BadVariant(f"'{written}' leaves out its bases; write REF and ALT, such as chr1:99:TAC:T.")
    return _known(genome, locus, "the reference")


# --- Against the reference -------------------------------------------------------------------------------------------


def check_reference(variant: Variant, genome: Reference, assembly: str) -> None:
    """That the assembly reads REF where the variant lies.

    Raises
    ------
    NoSequence
        It reads N under REF.
    ReferenceMismatch
        It reads something else; the error offers the swap where that is ALT, and the next position where REF is read
        there, as happens to positions counted from 0.
    """
    reads = _known(genome, variant.locus, assembly)
    if reads == variant.ref:
        return
    # What a deletion leaves over is often one base, which fits anywhere by chance: both are offered then.
    fits = _reads(genome, Locus(variant.chrom, variant.start, variant.start + len(variant.alt))) == variant.alt
    swapped = variant.swapped if fits else None
    shifted, found = None, ""
    if not swapped or variant.growth < 0:
        follows = Locus(variant.chrom, variant.start + 1, variant.end + 1)
        if _reads(genome, follows) == variant.ref:
            shifted = Variant(variant.chrom, variant.position + 1, variant.ref, variant.alt)
            what = "The base at" if len(variant.ref) == 1 else "What begins at"
            found = f"{what} {shifted.position:,} is {shortened(variant.ref)}"
    raise ReferenceMismatch(variant, reads, assembly, swapped, shifted, found)


def check_sequence(variant: Variant, genome: Reference, assembly: str) -> None:
    """Raise `NoSequence` where the assembly reads N under REF."""
    _known(genome, variant.locus, assembly)


def _known(genome: Reference, locus: Locus, assembly: str) -> str:
    codes = genome.codes(locus)
    unknown = np.flatnonzero(codes == N)
    if len(unknown):
        position = locus.start + int(unknown[0]) + 1
        raise NoSequence(f"{assembly} reads N at {locus.chrom}:{position:,}: no sequence is known there.")
    return decode(codes)


def _reads(genome: Reference, locus: Locus) -> str:
    return decode(genome.codes(locus))


def normalised(variant: Variant, genome: Reference) -> Variant:
    """The one way to write a variant: as short and as far to the left as it goes (Tan et al. 2015).

    What `bcftools norm` and `vt normalize` write. An indel before which no base is known, at a chromosome's beginning
    or after a gap, has its further base on the right, as VCF says. REF has to be what the genome reads.
    """
    change = variant.change
    if change.ref and change.alt:
        return Variant(variant.chrom, change.start + 1, change.ref, change.alt)
    repeated = change.ref or change.alt
    shift = _room_to_the_left(genome, variant.chrom, change.start, repeated)
    turn = -shift % len(repeated)
    rolled = repeated[turn:] + repeated[:turn]
    moved = Change(change.start - shift, rolled if change.ref else "", rolled if change.alt else "")
    return _anchored(variant.chrom, moved, genome)


def _room_to_the_left(genome: Reference, chrom: str, start: int, repeated: str) -> int:
    """By how many bases an indel of these bases before 0-based `start` can be written further to the left."""
    unit, shift, ahead = encode(repeated)[::-1], 0, _READ_AHEAD
    while True:
        before = genome.codes(Locus(chrom, start - shift - ahead, start - shift))[::-1]
        same = before == unit[(shift + np.arange(ahead)) % len(unit)]
        if not same.all():
            return shift + int(np.argmin(same))
        shift, ahead = shift + ahead, ahead * 2


def _anchored(chrom: str, change: Change, genome: Reference) -> Variant:
    """A change with an empty allele, as VCF writes it: with the base before it, else with the base after it."""
    before = _reads(genome, Locus(chrom, change.start - 1, change.start))
    if before in BASES:
        return Variant(chrom, change.start, before + change.ref, before + change.alt)
    after = _reads(genome, Locus(chrom, change.end, change.end + 1))
    if after not in BASES:
        raise NoSequence(f"No base is known beside {chrom}:{change.start + 1:,}, so the change cannot be placed there.")
    return Variant(chrom, change.start + 1, change.ref + after, change.alt + after)


# --- Several on one haplotype ----------------------------------------------------------------------------------------


def check_apart(variants: Iterable[Variant]) -> None:
    """That variants can lie on one haplotype: raises `BadVariant` where two change the same base of one chromosome.

    What VCF writes beside a change does not count: a deletion and a change of the base before it go together. Two
    insertions between the same bases do not, for nothing says which comes first.
    """
    ordered = sorted(variants, key=lambda v: (v.chrom, v.change.start, v.change.end))
    for one, other in pairwise(ordered):
        if one.chrom != other.chrom:
            continue
        inserted = one.change.start == other.change.start and not one.change.ref and not other.change.ref
        if inserted or other.change.start < one.change.end:
            raise BadVariant(
                f"{shortened(str(one))} and {shortened(str(other))} change the same base, "
                "so they cannot lie on one haplotype; ask for them one by one."
            )


def haplotype(
    genome: Reference, window: Locus, variants: Sequence[Variant], anchor: Literal["left", "right"] = "left"
) -> Codes:
    """Base codes (L,) that a window of the alternative haplotype reads, all variants on it at once.

    With the anchor on the left, what lies before the first variant stays in its place and what follows an indel
    moves; on the right, what lies after the last variant stays. What a deletion leaves room for is the sequence
    beyond the window's end, N beyond the chromosome's. Changes that keep the length give the same on both sides.

    Raises
    ------
    BadVariant
        Two variants change the same base, or one lies on another chromosome than the window.
    """
    check_apart(variants)
    if stray := next((variant for variant in variants if variant.chrom != window.chrom), None):
        raise BadVariant(f"{shortened(str(stray))} does not lie on {window.chrom}, as the window does.")
    begin = window.start + (sum(variant.growth for variant in variants) if anchor == "right" else 0)
    end, moved = begin + len(window), 0  # on the haplotype, whose position is the reference's plus `moved`
    at, pieces = min(begin, *(v.start for v in variants)) if variants else begin, []
    for change in sorted(variant.change for variant in variants):
        pieces.append(_piece(genome, window.chrom, max(at + moved, begin), min(change.start + moved, end), moved))
        inserted = change.start + moved
        pieces.append(encode(change.alt)[max(begin - inserted, 0) : max(end - inserted, 0)])
        at, moved = change.end, moved + len(change.alt) - len(change.ref)
    pieces.append(_piece(genome, window.chrom, max(at + moved, begin), end, moved))
    return np.concatenate(pieces)


def _piece(genome: Reference, chrom: str, start: int, end: int, moved: int) -> Codes:
    """The reference between two positions of the haplotype; empty where they are in no order."""
    return genome.codes(Locus(chrom, start - moved, end - moved)) if start < end else np.empty(0, np.uint8)
