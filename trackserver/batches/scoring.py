"""Many variants at once: every line of a list is answered, and those of one window go through one cone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import (
    BadVariant,
    InvalidRequest,
    NoSequence,
    NotLifted,
    ReferenceMismatch,
    UnknownChromosome,
    shortened,
)
from trackserver.genome.assembly import Assembly
from trackserver.genome.liftover import Liftover
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import Codes, Genome, encode
from trackserver.genome.variant import Variant, check_reference, haplotype, normalised
from trackserver.genome.variant_notation import HGVS, HGVS_CHANGE, columns, is_rsid, problem
from trackserver.genome.vcf import Allele, VcfRow
from trackserver.models.card import ModelCard
from trackserver.variants.effect import (
    Effect,
    check_known,
    check_variants,
    effect,
    input_window,
    joined,
    output_bins,
)
from trackserver.variants.scores import impact, verdict_of

if TYPE_CHECKING:
    from trackserver.cone.cone import Change, Cone, Reached
    from trackserver.predict.engine import Predictor

OK, DUPLICATE = "ok", "duplicate"
STATUSES = {
    OK: "scored",
    DUPLICATE: "the same variant as an earlier row, whose scores are repeated",
    "ref_mismatch": "the assembly reads something else than REF; the message says what would fit",
    "off_chromosome": "it lies beyond its chromosome's end",
    "unknown_chromosome": "the assembly has no such chromosome",
    "no_sequence": "the assembly reads N there, or nearly nothing else in the model's window",
    "too_long": "it changes more than half of what the model reads",
    "symbolic": "an allele without its sequence: <DEL>, a breakend, *",
    "bad_allele": "an allele with other letters than A, C, G and T, or that changes nothing",
    "not_lifted": "it has no one place on the assembly",
    "unknown_rsid": "no table here knows the rsID",
    "malformed": "the line cannot be read",
}
_STATUS_OF: dict[type[InvalidRequest], str] = {
    ReferenceMismatch: "ref_mismatch",
    NoSequence: "no_sequence",
    NotLifted: "not_lifted",
    BadVariant: "too_long",  # of a variant that could be read, nothing else is left that is wrong
}
_REFUSED = tuple(_STATUS_OF)
_SYMBOL = re.compile(r"[<>*\[\]]")
_MOST_LETTERS = 1000  # of a variant in a table; longer ones are shortened


# --- What is asked ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One ALT of a line, or a line without: what is to be scored, or why it cannot be.

    line : number in the input, from 1
    written : as it was typed
    variant : in its normal form on the model's assembly; None unless the status is `ok`
    fix : `swap` or `shift` where REF is not what is read but exchanging the alleles, or the next position, fits
    """

    line: int
    id: str
    written: str
    variant: Variant | None = None
    status: str = OK
    message: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Ground:
    """Where variants are placed: on what the model reads, perhaps from another assembly."""

    card: ModelCard
    assembly: Assembly
    genome: Genome
    liftover: Liftover | None = None

    @property
    def source(self) -> Assembly:
        """The assembly that variants are written on."""
        return self.liftover.source if self.liftover else self.assembly

    def place(self, variant: Variant) -> tuple[Variant, str]:
        """The variant in its normal form, checked, and what was done on the way in a sentence.

        Raises
        ------
        ReferenceMismatch, NoSequence, NotLifted
            It is not what the assembly reads, or has no place there.
        BadVariant
            It is too long for the model.
        """
        said = ""
        if self.liftover:
            lifted = self.liftover.lift(variant, self.genome)
            variant, said = lifted.variant, str(lifted)
        else:
            check_reference(variant, self.genome, self.assembly.name)
        variant = normalised(variant, self.genome)
        if max(len(variant.ref), len(variant.alt)) > self.card.window // 2:
            check_variants([variant], self.card, self.genome, self.assembly)  # says how much is too much
        return variant, said


def entries(row: VcfRow, ground: Ground) -> list[Entry]:
    """A line's entries: one for each ALT, and one if it has none that can be read."""
    if row.problem or not row.alleles:
        status = _status_of_line(row, ground.source)
        name = row.id or (row.columns[2] if len(row.columns) >= 5 and row.columns[2] != "." else "")
        return [Entry(row.number, name, _clean(row.text), None, status, row.problem)]
    return [_entry(row, allele, ground) for allele in row.alleles]


def _entry(row: VcfRow, allele: Allele, ground: Ground) -> Entry:
    written = _written(row, allele)
    if allele.variant is None:
        chrom, position, _, ref = row.columns[:4]
        status = _status_of_text(chrom, int(position), ref, [allele.alt], ground.source)
        return Entry(row.number, row.id, written, None, status, allele.problem)
    try:
        variant, said = ground.place(allele.variant)
    except _REFUSED as error:
        return Entry(row.number, row.id, written, None, _status(error), f"Line {row.number}: {error}", _fix(error))
    return Entry(row.number, row.id, written, variant, OK, said)


def _status(error: InvalidRequest) -> str:
    return next(status for family, status in _STATUS_OF.items() if isinstance(error, family))


def _fix(error: InvalidRequest) -> str:
    if not isinstance(error, ReferenceMismatch):
        return ""
    return "swap" if error.swapped else "shift" if error.shifted else ""


def _written(row: VcfRow, allele: Allele) -> str:
    if row.columns:
        chrom, position, _, ref = row.columns[:4]
        return _clean(f"{chrom}:{position}:{ref}:{allele.alt}")
    text = row.text.strip()
    return _clean(text.partition("\t")[0] if row.id else text)


def _clean(text: str) -> str:
    return shortened(" ".join(text.split()), _MOST_LETTERS)


def _status_of_line(row: VcfRow, assembly: Assembly) -> str:
    """Why a line of which nothing could be read was refused, in a word."""
    if len(row.columns) >= 5:
        chrom, position, _, ref, alts = row.columns[:5]
        readable = position.isdecimal() and len(position) < 12
        return _status_of_text(chrom, int(position), ref, alts.split(","), assembly) if readable else "malformed"
    text = row.text.strip()
    for written in (text, text.partition("\t")[0]):
        if is_rsid(written):
            return "unknown_rsid"
        if found := None if row.columns else columns(written):
            return _status_of_text(*found, assembly)
        match = HGVS.match(written)
        if match and match["level"] in "gm" and (change := HGVS_CHANGE.match(match["change"])):
            ref, alt = (change[name] or "-" for name in ("ref", "alt"))
            return _status_of_text(match["chrom"], int(change["last"] or change["first"]), ref, [alt], assembly)
    return "malformed"


def _status_of_text(chrom: str, position: int, ref: str, alts: Sequence[str], assembly: Assembly) -> str:
    try:
        size = assembly.chromsizes[assembly.resolve(chrom)]
    except UnknownChromosome:
        return "unknown_chromosome"
    alleles = [allele.upper() for allele in (ref, *alts)]
    if any(_SYMBOL.search(allele) for allele in alleles):
        return "symbolic"
    if any(allele != "-" and problem("", allele) for allele in alleles) or (ref != "-" and alleles[0] in alleles[1:]):
        return "bad_allele"
    return "malformed" if 1 <= position <= position + len(ref) - 1 <= size else "off_chromosome"


# --- What it does ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """An effect in one row: the track of the largest size, and the impact over all.

    `track` is the model's index; `ref`, `alt`, `delta`, `log2fc`, `size`, `verdict` are that track's, as in
    `scores.TrackScores`; `warnings` are codes; `every` float32 (T,) one score of every track, where it is wanted.
    """

    impact: float
    track: int
    ref: float
    alt: float
    delta: float
    log2fc: float
    size: float
    verdict: str
    warnings: tuple[str, ...]
    every: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Refused:
    """Why a variant that could be read cannot be scored."""

    status: str
    message: str


@dataclass(frozen=True)
class Scoring:
    """How effects become rows.

    warn : codes of what speaks against believing an effect with these scores
    weights : what an assay's tracks count in impact, 1 unless said
    every : the score to keep of every track, by its name in `TrackScores`; empty for none
    full : two full predictions each, to check with
    """

    warn: Callable[[Effect], tuple[str, ...]]
    weights: Mapping[str, float]
    every: str = ""
    full: bool = False


def score(
    predictor: Predictor, ground: Ground, variants: Iterable[Variant], scoring: Scoring
) -> dict[Variant, Scored | Refused]:
    """What each variant does, computed from place to place whatever their order.

    Those whose windows are the same are alternatives to one reference. The arithmetic depends on who shares a window
    by a few units in the last place of a float32, and on nothing else.
    """
    found: dict[Variant, Scored | Refused] = {}
    placed = sorted((input_window(ground.card, [variant], ground.assembly), variant) for variant in set(variants))
    for window, group in groupby(placed, key=lambda pair: pair[0]):
        sharing = [variant for _, variant in group]
        try:
            for result in _effects(predictor, ground, window, sharing, scoring.full):
                found[result.variants[0]] = _scored(result, scoring)
        except NoSequence as error:
            found |= {variant: Refused("no_sequence", str(error)) for variant in sharing}
    return found


def _effects(
    predictor: Predictor, ground: Ground, window: Locus, variants: Sequence[Variant], full: bool
) -> Iterator[Effect]:
    """The effects of variants one by one; raises `NoSequence` where the window is N."""
    if full:
        yield from (effect(predictor, ground.genome, ground.assembly, [variant]) for variant in variants)
        return
    from trackserver.cone.cone import Cone

    reference = ground.genome.codes(window)
    unknown = check_known(reference, window, ground.assembly)
    cone = Cone(predictor, reference)
    plain = [variant for variant in variants if not variant.growth]
    changes = (_substitution(variant, window) for variant in plain)
    for variant, reached in zip(plain, cone.alternatives(list(changes)), strict=True):
        yield _effect(ground, window, cone, variant, unknown, [reached])
    for variant in variants:
        if variant.growth:
            sides = [_whole(haplotype(ground.genome, window, [variant], side)) for side in ("left", "right")]
            # What follows an indel is all new, so an alternative takes as much memory as a window does.
            yield _effect(ground, window, cone, variant, unknown, [*cone.alternatives(sides, predictor.batch_size)])


def _substitution(variant: Variant, window: Locus) -> Change:
    from trackserver.cone.cone import Change

    start = variant.start - window.start
    first, last = max(start, 0), min(start + len(variant.alt), len(window))
    return Change(first, encode(variant.alt)[first - start : last - start])


def _whole(codes: Codes) -> Change:
    from trackserver.cone.cone import Change

    return Change(0, codes)


def _effect(
    ground: Ground, window: Locus, cone: Cone, variant: Variant, unknown: float, reached: Sequence[Reached]
) -> Effect:
    card = ground.card
    locus, bins = output_bins(card, window, ground.assembly)
    origin = window.start + card.crop + bins.start * card.bin_width
    alignments = tuple(_over(cone.ref, part)[:, bins] for part in reached)
    alt = alignments[0] if len(alignments) == 1 else joined([variant], origin, card.bin_width, *alignments)
    ref = cone.ref[:, bins]
    return Effect((variant,), card, window, locus, origin, cone.predictor.tracks, ref, alt, alignments, unknown)


def _over(ref: NDArray[np.float32], part: Reached) -> NDArray[np.float32]:
    alt = ref.copy()
    alt[:, part.first : part.first + part.alt.shape[1]] = part.alt
    return alt


def _scored(result: Effect, scoring: Scoring) -> Scored:
    found = result.scores
    size = found["size"]
    top = min(np.flatnonzero(size == size.max()), key=lambda row: result.tracks[row])
    at_top = {name: float(found[name][top]) for name in ("ref", "alt", "delta", "log2fc", "size")}
    return Scored(
        impact=impact(result, scoring.weights),
        track=result.tracks[top],
        verdict=verdict_of(at_top["delta"]) if result.card.probability else "",
        warnings=scoring.warn(result),
        every=found[scoring.every].astype(np.float32) if scoring.every else None,
        **at_top,
    )
