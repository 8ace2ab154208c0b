"""The effect of a variant: REF, ALT and Δ = ALT − REF on a model's tracks, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import BadVariant, InvalidRequest, NoSequence, shortened
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import Codes, Genome, N
from trackserver.genome.variant import Variant, check_apart, check_reference, haplotype
from trackserver.models.card import ModelCard
from trackserver.predict.ensemble import Ensemble
from trackserver.storage import digest
from trackserver.variants.scores import Column, score_columns

if TYPE_CHECKING:
    from trackserver.cone.cone import Cones
    from trackserver.predict.engine import Predictor

MOST_UNKNOWN = 0.75  # share of N in a window beyond which a prediction says nothing about the place
ANSWERS = 2  # counts the forms that answers have had: a stored one of an earlier form is not given to a new question
SHARED = 16  # windows of a model of many bins begin at places a sixteenth of what it predicts apart


@dataclass(frozen=True)
class Question:
    """Everything an effect depends on; equal questions have equal ids.

    `window` : what the model reads, which follows from the rest
    `full` : by two full predictions, to check with, rather than by what the change can reach
    `lifted` : how the variants came from another assembly, in sentences; not part of the question
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
        asked = [
            ANSWERS, self.model, self.weights_sha256, self.assembly, self.fasta_sha256,
            [str(variant) for variant in self.variants], list(self.tracks), asdict(self.ensemble),
            *(["full"] if self.full else []),
        ]  # fmt: skip
        return digest(asked)


@dataclass(frozen=True)
class Effect:
    """REF and ALT over a locus, in the reference's positions, as the model of a card predicts them from a window.

    `ref`, `alt` float32 (T, bins) in the model's output units, bins `bin_width` bp wide from `origin` on, which lies
    before the locus where the first bin hangs over the chromosome's start; `tracks` (T,) are the model's indices of
    the rows. `alignments` are what scores are averaged over: ALT itself where it has REF's length; of an indel ALT
    with what lies on its left, then with what lies on its right, in the reference's bins, of which `alt` is made.
    `members` are the effect as each strand and shift alone says it, where several are averaged.
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
    unknown: float  # share of N in what the model read
    members: tuple[Effect, ...] = ()

    @cached_property
    def delta(self) -> NDArray[np.float32]:
        """ALT − REF, float32 (T, bins)."""
        return self.alt - self.ref

    @cached_property
    def scores(self) -> dict[str, Column]:
        """Each score of all tracks, (T,), by the names of `scores.TrackScores`."""
        return score_columns(self)

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
    """REF and ALT of one variant, or of several on one haplotype; `window` is theirs, where it is known already.

    Substitutions are computed from the reference's kept activations where there are `cones` to keep them, else REF
    and ALT in full, in one batch of the same arithmetic. Either way Δ is exactly 0 where a change cannot reach.
    An indel moves all that follows it, so it is always computed in full, twice: with what lies on either side of it in
    the reference's bins (the compensated shifts of Calico's baskerville, here with real sequence where a deletion
    leaves room). In the reference's positions ALT is the first up to the indel, the second after it, and the mean of
    both in the bins it touches.

    Raises
    ------
    NoSequence
        More than three quarters of the window are N.
    """
    if cones and not any(variant.growth for variant in variants):
        (found,) = alternatives(predictor, genome, assembly, [variants], cones, window=window)
        return found
    place = _Place(predictor, genome, assembly, window or input_window(predictor.card, variants, assembly))
    changed = [haplotype(genome, place.window, variants, anchor) for anchor in _anchors(variants)]
    windows = np.stack([place.reference, *changed])
    several = predictor.each(windows) if len(predictor.views) > 1 else ()
    return place.effect(variants, list(predictor.predict(windows)), [list(one) for one in several])


def alternatives(
    predictor: Predictor,
    genome: Genome,
    assembly: Assembly,
    several: Sequence[Sequence[Variant]],
    cones: Cones,
    *,
    window: Locus | None = None,
) -> list[Effect]:
    """What `effect` says of each of several that have one window and no indel: they are computed together.

    The arithmetic depends on who is computed with whom by a few units in the last place of a float32.
    """
    from trackserver.cone.cone import Change

    place = _Place(predictor, genome, assembly, window or input_window(predictor.card, several[0], assembly))
    cone = cones.cone(predictor, place.reference)
    changes = [Change(0, haplotype(genome, place.window, variants)) for variants in several]
    found = []
    for variants, change, reached in zip(several, changes, cone.alternatives(changes), strict=True):
        alt = cone.ref.copy()
        alt[:, reached.first : reached.first + reached.alt.shape[1]] = reached.alt
        members = cone.each(change) if len(predictor.views) > 1 else ()
        found.append(place.effect(variants, (cone.ref, alt), list(members)))
    return found


class _Place:
    """A window, checked, and where what is predicted of it lies."""

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
        """Of REF and ALTs, float32 (T, bins) of the whole window: averaged; then, of several views, as each says."""
        ref, *alignments = (value[:, self.bins] for value in values)
        alt = alignments[0] if len(alignments) == 1 else joined(variants, self.origin, self.card.bin_width, *alignments)
        return Effect(
            tuple(variants), self.card, self.window, self.locus, self.origin, self.tracks, ref, alt,
            tuple(alignments), self.unknown, tuple(self.effect(variants, one) for one in members),
        )  # fmt: skip


def _anchors(variants: Sequence[Variant]) -> tuple[Literal["left", "right"], ...]:
    return ("left", "right") if any(variant.growth for variant in variants) else ("left",)


def joined(
    variants: Sequence[Variant], origin: int, bin_width: int, left: NDArray[np.float32], right: NDArray[np.float32]
) -> NDArray[np.float32]:
    """ALT in the reference's positions, of its two alignments (T, bins): see `effect`."""
    first = (min(variant.change.start for variant in variants) - origin) // bin_width
    last = (max(max(variant.change.end - 1, variant.change.start) for variant in variants) - origin) // bin_width
    found = np.concatenate([left[:, : last + 1], right[:, last + 1 :]], axis=1)
    found[:, first : last + 1] = (left[:, first : last + 1] + right[:, first : last + 1]) / 2
    return found


def check_variants(variants: Sequence[Variant], card: ModelCard, genome: Genome, assembly: Assembly) -> Locus:
    """The window of variants, once everything that can be wrong with a question has been looked at."""
    if not variants:
        raise BadVariant("Give at least one variant, such as chr1:47690516:C:T.")
    if assembly.name not in card.assemblies:
        raise InvalidRequest(
            f"Model {card.id} is for {' and '.join(card.assemblies)}; it cannot be asked about {assembly.name}."
        )
    check_apart(variants)
    for variant in variants:
        if (longest := max(len(variant.ref), len(variant.alt))) > card.window // 2:
            raise BadVariant(
                f"{shortened(str(variant))} changes {longest:,} bp, more than half of the {card.window:,} bp model "
                f"{card.id} reads; what would be left says little about the place."
            )
    window = input_window(card, variants, assembly)
    for variant in variants:
        check_reference(variant, genome, assembly.name)
    check_known(genome.codes(window), window, assembly)
    return window


def check_known(codes: Codes, window: Locus, assembly: Assembly) -> float:
    """The share of N in a window; raises `NoSequence` where hardly anything else is left."""
    unknown = float(np.mean(codes == N))
    if unknown > MOST_UNKNOWN:
        shown = Locus(window.chrom, max(window.start, 0), window.end)
        raise NoSequence(
            f"{unknown:.0%} of the model's window {shown} of {assembly.name} "
            f"is N (unknown, or beyond the chromosome); at least {1 - MOST_UNKNOWN:.0%} of it must be known sequence."
        )
    return unknown


def middle_of(variants: Sequence[Variant]) -> int:
    """0-based position in the middle between the first and the last variant."""
    return (min(variant.start for variant in variants) + max(variant.start for variant in variants)) // 2


def input_window(card: ModelCard, variants: Sequence[Variant], assembly: Assembly) -> Locus:
    """The model's input around the variants; may reach beyond the chromosome's ends, where there is N.

    The middle of the variants lies where the card places it: at 0-based L / 2 - 1, or so that the bins are those of
    the chromosome's own grid, and an effect's REF is the genome-wide track. Windows on the grid lie at a few places
    only, so that variants near each other have theirs, and what is kept of it, in common.
    """
    first, last = min(v.start for v in variants), max(v.start for v in variants)
    if len({variant.chrom for variant in variants}) > 1 or last - first >= card.kept:
        raise BadVariant(
            f"The variants of one haplotype lie too far apart for model {card.id}, "
            f"which predicts {card.kept:,} bp at a time; ask for them one by one."
        )
    chrom, middle = variants[0].chrom, middle_of(variants)
    return window_around(card, chrom, middle, assembly)


def window_around(card: ModelCard, chrom: str, middle: int, assembly: Assembly) -> Locus:
    """The input window in whose middle a position lies, as the card places it."""
    length = card.window_on(assembly.chromsizes[chrom])
    if card.placement == "centre":
        start = middle - (length // 2 - 1)
    else:
        n_bins = card.n_bins(length)
        step = max(1, n_bins // SHARED)  # bins
        centre = middle // (card.bin_width * step) * step + step // 2
        start = (centre - n_bins // 2) * card.bin_width - card.crop
    return Locus(chrom, start, start + length)


def output_bins(card: ModelCard, window: Locus, assembly: Assembly) -> tuple[Locus, slice]:
    """The bins of a window's output that touch the chromosome, and what of it they cover."""
    begins = window.start + card.crop
    end = min(window.end - card.crop, assembly.chromsizes[window.chrom])
    bins = slice(max(0, -begins // card.bin_width), -(-(end - begins) // card.bin_width))
    return Locus(window.chrom, max(begins, 0), end), bins
