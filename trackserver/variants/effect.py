"""The effect of a variant: REF, ALT and Δ = ALT − REF on a model's tracks, with their position on the genome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import BadVariant, InvalidRequest, NoSequence, shorten
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import Codes, Genome, N
from trackserver.genome.variant import Variant, check_disjoint, check_reference, haplotype
from trackserver.models.card import ModelCard
from trackserver.predict.ensemble import Ensemble
from trackserver.storage import digest
from trackserver.variants.scores import Column, compute_scores

if TYPE_CHECKING:
    from trackserver.cone.cone import Cones
    from trackserver.predict.engine import Predictor

MAX_UNKNOWN = 0.75  # share of N in a window; beyond it a prediction says nothing about the locus
RESULT_VERSION = 2  # part of an effect's id: raise it when the stored form changes, so that old files are not reused
GRID_STEPS = 16  # on the grid, windows start at multiples of a sixteenth of the predicted length


@dataclass(frozen=True)
class Question:
    """Everything an effect depends on; equal questions have equal ids.

    `window` : the model's input, which follows from the other fields
    `full` : run two full predictions, as a check, instead of computing only what the change can reach
    `lifted` : how the variants were lifted from another assembly, in sentences; not part of the id
    """

    model: str
    weights_sha256: str
    assembly: str
    fasta_sha256: str
    variants: tuple[Variant, ...]
    tracks: tuple[int, ...]
    ensemble: Ensemble
    window: Locus
    full: bool = False
    lifted: tuple[str, ...] = ()

    @cached_property
    def id(self) -> str:
        identity = [
            RESULT_VERSION, self.model, self.weights_sha256, self.assembly, self.fasta_sha256,
            [str(variant) for variant in self.variants], list(self.tracks), asdict(self.ensemble),
            *(["full"] if self.full else []),
        ]  # fmt: skip
        return digest(identity)


@dataclass(frozen=True)
class Effect:
    """REF and ALT as a model predicts them over a locus, both in reference positions.

    `ref`, `alt` : float32 (T, bins) in the model's output units; bins are `bin_width` bp wide and start at `origin`,
        which lies before the locus if the first bin hangs over the chromosome's start
    `tracks` : (T,) the model's track index of each row
    `alignments` : the versions of ALT that scores are averaged over. A variant that keeps the length has one, ALT
        itself. An indel has two, aligned with the reference on its left and on its right; `alt` is merged from them.
    `members` : the effect for each strand and shift separately, where several are averaged
    """

    variants: tuple[Variant, ...]
    card: ModelCard
    window: Locus
    locus: Locus
    origin: int
    tracks: tuple[int, ...]
    ref: NDArray[np.float32]
    alt: NDArray[np.float32]
    alignments: tuple[NDArray[np.float32], ...]
    unknown: float  # share of N in the window
    members: tuple[Effect, ...] = ()

    @cached_property
    def delta(self) -> NDArray[np.float32]:
        """ALT − REF, float32 (T, bins)."""
        return self.alt - self.ref

    @cached_property
    def scores(self) -> dict[str, Column]:
        """Each score for all tracks, (T,), under its name in `scores.TrackScores`."""
        return compute_scores(self)

    @property
    def bin_width(self) -> int:
        return self.card.bin_width

    @property
    def middle(self) -> int:
        """0-based position in the middle of the variants' starts, where models place them."""
        return middle_of(self.variants)


def effect(
    predictor: Predictor,
    genome: Genome,
    assembly: Assembly,
    variants: Sequence[Variant],
    cones: Cones | None = None,
    *,
    window: Locus | None = None,
) -> Effect:
    """Predict the effect of one variant, or of several on one haplotype.

    With `cones`, substitutions are computed from the reference's cached activations. Without, REF and ALT are computed
    in full, in one batch of the same arithmetic. Either way Δ is exactly 0 where a change cannot reach.

    An indel moves all the sequence after it, so it is always computed in full, twice: once with the sequence on its
    left in the reference's bins and once with the sequence on its right (the compensated shifts of Calico's
    baskerville, here with real sequence where a deletion leaves room). In reference positions, ALT is the first
    alignment up to the indel, the second after it, and their mean in the bins that the indel touches.

    Parameters
    ----------
    window
        The variants' input window, if the caller has it already.

    Raises
    ------
    NoSequence
        More than three quarters of the window are N.
    """
    if cones and not any(variant.length_change for variant in variants):
        (result,) = haplotype_effects(predictor, genome, assembly, [variants], cones, window=window)
        return result
    predicted = _PredictedWindow(
        predictor, genome, assembly, window or input_window(predictor.card, variants, assembly)
    )
    alleles = [haplotype(genome, predicted.window, variants, anchor) for anchor in _anchors(variants)]
    windows = np.stack([predicted.reference, *alleles])
    members = predictor.predict_views(windows) if len(predictor.views) > 1 else ()
    return predicted.effect(variants, list(predictor.predict(windows)), [list(member) for member in members])


def haplotype_effects(
    predictor: Predictor,
    genome: Genome,
    assembly: Assembly,
    haplotypes: Sequence[Sequence[Variant]],
    cones: Cones,
    *,
    window: Locus | None = None,
) -> list[Effect]:
    """Predict the effects of several haplotypes without indels that share one window, all at once.

    The result equals `effect` for each of them, up to a few units in the last place of a float32, which depend on what
    is computed together.
    """
    from trackserver.cone.cone import WindowEdit

    predicted = _PredictedWindow(
        predictor, genome, assembly, window or input_window(predictor.card, haplotypes[0], assembly)
    )
    cone = cones.cone(predictor, predicted.reference)
    edits = [WindowEdit(0, haplotype(genome, predicted.window, variants)) for variants in haplotypes]
    effects = []
    for variants, edit, reached in zip(haplotypes, edits, cone.predict_edits(edits), strict=True):
        alt = cone.ref.copy()
        alt[:, reached.first : reached.first + reached.alt.shape[1]] = reached.alt
        members = cone.predict_views(edit) if len(predictor.views) > 1 else ()
        effects.append(predicted.effect(variants, (cone.ref, alt), list(members)))
    return effects


class _PredictedWindow:
    """An input window, checked, and the position of its output on the genome."""

    def __init__(self, predictor: Predictor, genome: Genome, assembly: Assembly, window: Locus):
        self.card = card = predictor.card
        self.tracks, self.window = predictor.tracks, window
        self.reference = genome.codes(self.window)
        self.unknown = check_known(self.reference, self.window, assembly)
        self.locus, self.bins = output_bins(card, self.window, assembly)
        self.origin = self.window.start + card.crop + self.bins.start * card.bin_width

    def effect(
        self,
        variants: Sequence[Variant],
        values: Sequence[NDArray[np.float32]],
        members: Sequence[Sequence[NDArray[np.float32]]] = (),
    ) -> Effect:
        """Build an effect from predictions over the whole window.

        `values` are REF and one or two ALTs, float32 (T, bins), averaged over strands and shifts; `members` are the
        same for each strand and shift, where there are several.
        """
        ref, *alignments = (value[:, self.bins] for value in values)
        alt = alignments[0]
        if len(alignments) > 1:
            alt = merge_alignments(variants, self.origin, self.card.bin_width, *alignments)
        return Effect(
            tuple(variants), self.card, self.window, self.locus, self.origin, self.tracks, ref, alt,
            tuple(alignments), self.unknown, tuple(self.effect(variants, member) for member in members),
        )  # fmt: skip


def _anchors(variants: Sequence[Variant]) -> tuple[Literal["left", "right"], ...]:
    return ("left", "right") if any(variant.length_change for variant in variants) else ("left",)


def merge_alignments(
    variants: Sequence[Variant], origin: int, bin_width: int, left: NDArray[np.float32], right: NDArray[np.float32]
) -> NDArray[np.float32]:
    """ALT in reference positions (T, bins), merged from an indel's two alignments; see `effect`."""
    first = (min(variant.change.start for variant in variants) - origin) // bin_width
    last = (max(max(variant.change.end - 1, variant.change.start) for variant in variants) - origin) // bin_width
    alt = np.concatenate([left[:, : last + 1], right[:, last + 1 :]], axis=1)
    alt[:, first : last + 1] = (left[:, first : last + 1] + right[:, first : last + 1]) / 2
    return alt


def check_variants(variants: Sequence[Variant], card: ModelCard, genome: Genome, assembly: Assembly) -> Locus:
    """Check that a model can predict the variants' effect; returns their input window."""
    if not variants:
        raise BadVariant("Give at least one variant, such as chr1:47690516:C:T.")
    if assembly.name not in card.assemblies:
        raise InvalidRequest(
            f"Model {card.id} is for {' and '.join(card.assemblies)}; it cannot be used with {assembly.name}."
        )
    check_disjoint(variants)
    for variant in variants:
        if (longest := max(len(variant.ref), len(variant.alt))) > card.window // 2:
            raise BadVariant(
                f"{shorten(str(variant))} changes {longest:,} bp, more than half of the {card.window:,} bp that model "
                f"{card.id} reads; too little of the original sequence would be left for a prediction."
            )
    window = input_window(card, variants, assembly)
    for variant in variants:
        check_reference(variant, genome, assembly.name)
    check_known(genome.codes(window), window, assembly)
    return window


def check_known(codes: Codes, window: Locus, assembly: Assembly) -> float:
    """The share of N in a window; raises `NoSequence` if it is above `MAX_UNKNOWN`."""
    unknown = float(np.mean(codes == N))
    if unknown > MAX_UNKNOWN:
        visible = Locus(window.chrom, max(window.start, 0), window.end)
        raise NoSequence(
            f"{unknown:.0%} of the model's window {visible} of {assembly.name} "
            f"is N (unknown, or beyond the chromosome); at least {1 - MAX_UNKNOWN:.0%} of it must be known sequence."
        )
    return unknown


def middle_of(variants: Sequence[Variant]) -> int:
    """0-based position in the middle between the first and the last variant."""
    return (min(variant.start for variant in variants) + max(variant.start for variant in variants)) // 2


def input_window(card: ModelCard, variants: Sequence[Variant], assembly: Assembly) -> Locus:
    """The model's input around the variants; where it reaches beyond the chromosome's ends, the sequence is N.

    The card decides where the variants' middle lies: at 0-based L / 2 - 1, or such that the bins are those of the
    chromosome's own grid, in which case an effect's REF equals the genome-wide track. Windows on the grid start at few
    positions, so that variants near each other share a window and its cached activations.
    """
    first, last = min(v.start for v in variants), max(v.start for v in variants)
    if len({variant.chrom for variant in variants}) > 1 or last - first >= card.predicted_bp:
        raise BadVariant(
            f"The variants of one haplotype lie too far apart for model {card.id}, "
            f"which predicts {card.predicted_bp:,} bp at a time; request each one separately."
        )
    chrom, middle = variants[0].chrom, middle_of(variants)
    return window_around(card, chrom, middle, assembly)


def window_around(card: ModelCard, chrom: str, middle: int, assembly: Assembly) -> Locus:
    """The input window around a position, placed as the card says."""
    length = card.window_length(assembly.chromsizes[chrom])
    if card.placement == "centre":
        start = middle - (length // 2 - 1)
    else:
        n_bins = card.n_bins(length)
        step = max(1, n_bins // GRID_STEPS)  # bins
        centre = middle // (card.bin_width * step) * step + step // 2
        start = (centre - n_bins // 2) * card.bin_width - card.crop
    return Locus(chrom, start, start + length)


def output_bins(card: ModelCard, window: Locus, assembly: Assembly) -> tuple[Locus, slice]:
    """The part of a window's output that lies on the chromosome: its locus, and its bins."""
    start = window.start + card.crop
    end = min(window.end - card.crop, assembly.chromsizes[window.chrom])
    bins = slice(max(0, -start // card.bin_width), -(-(end - start) // card.bin_width))
    return Locus(window.chrom, max(start, 0), end), bins
