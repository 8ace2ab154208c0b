"""Score many variants: every line of a list gets a result, and variants with the same window share a cone."""

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
    shorten,
)
from trackserver.genome.assembly import Assembly
from trackserver.genome.liftover import Liftover
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import Codes, Genome, encode
from trackserver.genome.variant import Variant, check_reference, haplotype, normalise
from trackserver.genome.variant_notation import HGVS, HGVS_CHANGE, allele_problem, is_rsid, split_columns
from trackserver.genome.vcf import Allele, VcfRow
from trackserver.models.card import ModelCard
from trackserver.variants.effect import (
    Effect,
    check_known,
    check_variants,
    effect,
    input_window,
    merge_alignments,
    output_bins,
)
from trackserver.variants.scores import impact, verdict_of

if TYPE_CHECKING:
    from trackserver.cone.cone import Cone, ReachedBins, WindowEdit
    from trackserver.predict.engine import Predictor

OK, DUPLICATE = "ok", "duplicate"
STATUSES = {
    OK: "scored",
    DUPLICATE: "the same variant as an earlier row, whose scores are repeated",
    "ref_mismatch": "REF differs from the assembly; the message says what would match",
    "off_chromosome": "the position is beyond the chromosome's end",
    "unknown_chromosome": "the assembly has no such chromosome",
    "no_sequence": "the assembly has N at the variant, or in most of the model's window",
    "too_long": "the variant changes more than half of the model's window",
    "symbolic": "an allele without its sequence: <DEL>, a breakend, *",
    "bad_allele": "an allele with letters other than A, C, G and T, or one that changes nothing",
    "not_lifted": "the variant has no unique position on the assembly",
    "unknown_rsid": "the site's table does not have the rsID",
    "malformed": "the line cannot be read",
}
_STATUS_OF: dict[type[InvalidRequest], str] = {
    ReferenceMismatch: "ref_mismatch",
    NoSequence: "no_sequence",
    NotLifted: "not_lifted",
    BadVariant: "too_long",  # the only problem left in a variant that could be parsed
}
_REFUSALS = tuple(_STATUS_OF)
_SYMBOL = re.compile(r"[<>*\[\]]")
_MAX_LETTERS = 1000  # of a variant in a table; longer ones are shortened


# --- Rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One ALT of a line, or a line without one: the variant to score, or why it cannot be scored.

    line : line number in the input, from 1
    written : the variant as it was typed
    variant : in its normal form on the model's assembly; None unless the status is `ok`
    fix : if REF does not match the assembly, `swap` or `shift` if it would with the alleles swapped, or one base later
    """

    line: int
    id: str
    written: str
    variant: Variant | None = None
    status: str = OK
    message: str = ""
    fix: str = ""


@dataclass(frozen=True)
class ReferenceSet:
    """The model's reference, and the liftover to it if variants are given on another assembly."""

    card: ModelCard
    assembly: Assembly
    genome: Genome
    liftover: Liftover | None = None

    @property
    def source(self) -> Assembly:
        """The assembly that variants are given on."""
        return self.liftover.source if self.liftover else self.assembly

    def resolve(self, variant: Variant) -> tuple[Variant, str]:
        """Lift, check and normalise a variant; returns it with a sentence about the liftover, if any.

        Raises
        ------
        ReferenceMismatch, NoSequence, NotLifted
            REF does not match the assembly, or the variant has no position there.
        BadVariant
            The variant is too long for the model.
        """
        message = ""
        if self.liftover:
            lifted = self.liftover.lift(variant, self.genome)
            variant, message = lifted.variant, str(lifted)
        else:
            check_reference(variant, self.genome, self.assembly.name)
        variant = normalise(variant, self.genome)
        if max(len(variant.ref), len(variant.alt)) > self.card.window // 2:
            check_variants([variant], self.card, self.genome, self.assembly)  # raises with the numbers
        return variant, message


def entries(row: VcfRow, references: ReferenceSet) -> list[Entry]:
    """A line's entries: one per ALT, or a single one if no ALT can be read."""
    if row.problem or not row.alleles:
        status = _status_of_line(row, references.source)
        name = row.id or (row.columns[2] if len(row.columns) >= 5 and row.columns[2] != "." else "")
        return [Entry(row.number, name, _clean(row.text), None, status, row.problem)]
    return [_entry(row, allele, references) for allele in row.alleles]


def _entry(row: VcfRow, allele: Allele, references: ReferenceSet) -> Entry:
    written = _written(row, allele)
    if allele.variant is None:
        chrom, position, _, ref = row.columns[:4]
        status = _status_of_text(chrom, int(position), ref, [allele.alt], references.source)
        return Entry(row.number, row.id, written, None, status, allele.problem)
    try:
        variant, message = references.resolve(allele.variant)
    except _REFUSALS as error:
        return Entry(row.number, row.id, written, None, _status(error), f"Line {row.number}: {error}", _fix(error))
    return Entry(row.number, row.id, written, variant, OK, message)


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
    return shorten(" ".join(text.split()), _MAX_LETTERS)


def _status_of_line(row: VcfRow, assembly: Assembly) -> str:
    """The status of a line that could not be parsed."""
    if len(row.columns) >= 5:
        chrom, position, _, ref, alts = row.columns[:5]
        readable = position.isdecimal() and len(position) < 12
        return _status_of_text(chrom, int(position), ref, alts.split(","), assembly) if readable else "malformed"
    text = row.text.strip()
    for written in (text, text.partition("\t")[0]):
        if is_rsid(written):
            return "unknown_rsid"
        if fields := None if row.columns else split_columns(written):
            return _status_of_text(*fields, assembly)
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
    if any(allele != "-" and allele_problem("", allele) for allele in alleles) or (
        ref != "-" and alleles[0] in alleles[1:]
    ):
        return "bad_allele"
    return "malformed" if 1 <= position <= position + len(ref) - 1 <= size else "off_chromosome"


# --- Scores ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RowScores:
    """An effect in one row: the impact over all tracks, and the scores of the track with the largest size.

    track : the model's index of that track
    ref, alt, delta, log2fc, size, verdict : that track's, as in `scores.TrackScores`
    warnings : codes
    track_scores : one score of every track, float32 (T,), if requested
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
    track_scores: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a variant that could be parsed cannot be scored."""

    status: str
    message: str


@dataclass(frozen=True)
class Scoring:
    """How effects become rows.

    warning_codes : returns the codes of an effect's warnings
    weights : the weight of an assay's tracks in the impact (default: 1)
    score_columns : the score to store for every track, by its name in `TrackScores`, if any
    full : run two full predictions per variant, as a check
    """

    warning_codes: Callable[[Effect], tuple[str, ...]]
    weights: Mapping[str, float]
    score_columns: str | None = None
    full: bool = False


def score(
    predictor: Predictor, references: ReferenceSet, variants: Iterable[Variant], scoring: Scoring
) -> dict[Variant, RowScores | Refusal]:
    """Score variants, in the order of their positions.

    Variants with the same input window are computed together, from one reference. Which variants share a window changes
    the numbers by a few units in the last place of a float32; nothing else does.
    """
    results: dict[Variant, RowScores | Refusal] = {}
    by_position = sorted(
        (input_window(references.card, [variant], references.assembly), variant) for variant in set(variants)
    )
    for window, group in groupby(by_position, key=lambda pair: pair[0]):
        sharing = [variant for _, variant in group]
        try:
            for result in _effects(predictor, references, window, sharing, scoring.full):
                results[result.variants[0]] = _row_scores(result, scoring)
        except NoSequence as error:
            results |= {variant: Refusal("no_sequence", str(error)) for variant in sharing}
    return results


def _effects(
    predictor: Predictor, references: ReferenceSet, window: Locus, variants: Sequence[Variant], full: bool
) -> Iterator[Effect]:
    """Predict the effects of variants with one window, one by one; raises `NoSequence` if the window is mostly N."""
    if full:
        yield from (effect(predictor, references.genome, references.assembly, [variant]) for variant in variants)
        return
    from trackserver.cone.cone import Cone

    reference = references.genome.codes(window)
    unknown = check_known(reference, window, references.assembly)
    cone = Cone(predictor, reference)
    substitutions = [variant for variant in variants if not variant.length_change]
    edits = [_substitution(variant, window) for variant in substitutions]
    for variant, reached in zip(substitutions, cone.predict_edits(edits), strict=True):
        yield _effect(references, window, cone, variant, unknown, [reached])
    for variant in variants:
        if variant.length_change:
            sides = [_whole_window(haplotype(references.genome, window, [variant], side)) for side in ("left", "right")]
            # All bases after an indel change, so each side takes as much memory as a whole window.
            yield _effect(
                references, window, cone, variant, unknown, [*cone.predict_edits(sides, predictor.batch_size)]
            )


def _substitution(variant: Variant, window: Locus) -> WindowEdit:
    from trackserver.cone.cone import WindowEdit

    start = variant.start - window.start
    first, last = max(start, 0), min(start + len(variant.alt), len(window))
    return WindowEdit(first, encode(variant.alt)[first - start : last - start])


def _whole_window(codes: Codes) -> WindowEdit:
    from trackserver.cone.cone import WindowEdit

    return WindowEdit(0, codes)


def _effect(
    references: ReferenceSet,
    window: Locus,
    cone: Cone,
    variant: Variant,
    unknown: float,
    reached: Sequence[ReachedBins],
) -> Effect:
    card = references.card
    locus, bins = output_bins(card, window, references.assembly)
    origin = window.start + card.crop + bins.start * card.bin_width
    alignments = tuple(_apply(cone.ref, part)[:, bins] for part in reached)
    alt = alignments[0] if len(alignments) == 1 else merge_alignments([variant], origin, card.bin_width, *alignments)
    ref = cone.ref[:, bins]
    return Effect((variant,), card, window, locus, origin, cone.predictor.tracks, ref, alt, alignments, unknown)


def _apply(ref: NDArray[np.float32], part: ReachedBins) -> NDArray[np.float32]:
    alt = ref.copy()
    alt[:, part.first : part.first + part.alt.shape[1]] = part.alt
    return alt


def _row_scores(result: Effect, scoring: Scoring) -> RowScores:
    scores = result.scores
    size = scores["size"]
    top = min(np.flatnonzero(size == size.max()), key=lambda row: result.tracks[row])
    at_top = {name: float(scores[name][top]) for name in ("ref", "alt", "delta", "log2fc", "size")}
    return RowScores(
        impact=impact(result, scoring.weights),
        track=result.tracks[top],
        verdict=verdict_of(at_top["delta"]) if result.card.probability else "",
        warnings=scoring.warning_codes(result),
        track_scores=scores[scoring.score_columns].astype(np.float32) if scoring.score_columns else None,
        **at_top,
    )
