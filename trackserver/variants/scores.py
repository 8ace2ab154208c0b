"""Numbers that say how much an effect changes a track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackserver.genome.locus import Locus
from trackserver.models.card import ModelCard, Track
from trackserver.variants.effect import Effect

CENTRE = 501  # bp around the variant: AlphaGenome's mask for accessibility, TF and CAGE tracks (Avsec et al. 2025)


@dataclass(frozen=True)
class TrackScores:
    """One track's row of the ranked table, in the model's output units unless said.

    ref, alt, delta : values at the bin `at` where |Δ| is largest (`delta` is SAX of Basenji's tools).
    sad : sum of Δ over all bins (Kelley et al. 2018).
    log2fc : log2 of ALT over REF, both summed over `CENTRE` bp around the variant, with `pseudocount` added to each
        bin so that a fold change of nothing stays small.
    """

    index: int
    at: Locus
    ref: float
    alt: float
    delta: float
    sad: float
    log2fc: float
    max_abs_delta: float
    max_value: float


def rank(effect: Effect, card: ModelCard) -> list[TrackScores]:
    """Scores of every track, the largest |log2 fold change| first; ties by index."""
    tracks = [card.tracks[index] for index in effect.tracks]
    scored = [score(effect, row, track.index, pseudocount(card, track)) for row, track in enumerate(tracks)]
    return sorted(scored, key=lambda scores: (-abs(scores.log2fc), scores.index))


def pseudocount(card: ModelCard, track: Track) -> float:
    """The track's mean signal; where that is not known 1, as Calico's log scores add, or .01 for a probability."""
    if track.mean is not None:
        return max(track.mean, 1e-6)
    return 0.01 if card.probability else 1.0


def score(effect: Effect, row: int, index: int, pseudocount: float) -> TrackScores:
    """The scores of one row of an effect, which is track `index`; see `TrackScores`."""
    ref, alt, delta = effect.ref[row], effect.alt[row], effect.delta[row]
    strongest = int(np.argmax(np.abs(delta)))
    near = centre_bins(effect)
    log2fc = np.log2(
        np.sum(alt[near] + pseudocount, dtype=np.float64) / np.sum(ref[near] + pseudocount, dtype=np.float64)
    )
    return TrackScores(
        index=index,
        at=_bin_locus(effect, strongest),
        ref=float(ref[strongest]),
        alt=float(alt[strongest]),
        delta=float(delta[strongest]),
        sad=float(np.sum(delta, dtype=np.float64)),
        log2fc=float(log2fc),
        max_abs_delta=float(abs(delta[strongest])),
        max_value=float(max(ref.max(), alt.max())),
    )


def centre_bins(effect: Effect) -> slice:
    """Bins that touch `CENTRE` bp around the middle of the variants."""
    positions = [variant.start for variant in effect.variants]
    middle = (min(positions) + max(positions)) // 2 - effect.origin
    first = max(0, (middle - CENTRE // 2) // effect.bin_width)
    last = (middle + CENTRE // 2) // effect.bin_width + 1
    return slice(first, last)


def _bin_locus(effect: Effect, index: int) -> Locus:
    start = effect.origin + index * effect.bin_width
    return Locus(effect.locus.chrom, max(start, 0), min(start + effect.bin_width, effect.locus.end))
