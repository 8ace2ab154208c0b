"""The effect of a variant: REF, ALT and Δ = ALT − REF on a model's tracks, and where they lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import BadVariant, InvalidRequest, NoSequence
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import Codes, Genome, N
from trackserver.genome.variant import Variant, check_reference
from trackserver.models.card import ModelCard
from trackserver.predict.reading import Reading

if TYPE_CHECKING:
    from trackserver.predict.engine import Predictor

MOST_UNKNOWN = 0.75  # share of N in a window beyond which a prediction says nothing about the place


@dataclass(frozen=True)
class Question:
    """Everything an effect depends on; equal questions have equal ids."""

    model: str
    weights_sha256: str
    assembly: str
    fasta_sha256: str
    variants: tuple[Variant, ...]
    tracks: tuple[int, ...]
    reading: Reading

    @cached_property
    def id(self) -> str:
        asked = [
            self.model, self.weights_sha256, self.assembly, self.fasta_sha256,
            [str(variant) for variant in self.variants], list(self.tracks), asdict(self.reading),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Effect:
    """REF and ALT over a locus.

    `ref`, `alt` float32 (T, bins) in the model's output units, bins `bin_width` bp wide from `origin` on, which lies
    before the locus where the first bin hangs over the chromosome's start; `tracks` (T,) are the model's indices of
    the rows.
    """

    variants: tuple[Variant, ...]
    locus: Locus
    origin: int
    bin_width: int
    tracks: tuple[int, ...]
    ref: NDArray[np.float32]
    alt: NDArray[np.float32]
    unknown: float  # share of N in what the model read

    @cached_property
    def delta(self) -> NDArray[np.float32]:
        """ALT − REF, float32 (T, bins)."""
        return self.alt - self.ref


def effect(predictor: Predictor, genome: Genome, assembly: Assembly, variants: Sequence[Variant]) -> Effect:
    """REF and ALT of one variant, or of several on one haplotype, in one batch of the same arithmetic.

    Where a change cannot reach, both alleles see the same numbers in the same order and Δ is exactly 0.

    Raises
    ------
    NoSequence
        More than three quarters of the window are N.
    """
    card = predictor.card
    window = input_window(card, variants, assembly)
    reference = genome.codes(window)
    unknown = check_known(reference, window, assembly)
    changed = reference
    for variant in variants:
        changed = variant.apply(changed, window)
    ref, alt = predictor.predict(np.stack([reference, changed]))
    locus, bins = output_bins(card, window, assembly)
    origin = window.start + card.crop + bins.start * card.bin_width
    return Effect(tuple(variants), locus, origin, card.bin_width, predictor.tracks, ref[:, bins], alt[:, bins], unknown)


def check_variants(variants: Sequence[Variant], card: ModelCard, genome: Genome, assembly: Assembly) -> None:
    """Everything that can be wrong with a question, before anything is computed."""
    if not variants:
        raise BadVariant("Give at least one variant, such as chr1:47690516:C:T.")
    if assembly.name not in card.assemblies:
        raise InvalidRequest(
            f"Model {card.id} is for {' and '.join(card.assemblies)}; it cannot be asked about {assembly.name}."
        )
    if len({variant.position for variant in variants}) != len(variants):
        raise BadVariant("Two variants of one haplotype change the same base.")
    window = input_window(card, variants, assembly)
    for variant in variants:
        if genome.codes(Locus(variant.chrom, variant.start, variant.start + 1))[0] == N:
            raise NoSequence(
                f"{assembly.name} reads N at {variant.chrom}:{variant.position:,}: no sequence is known there."
            )
        check_reference(variant, genome, assembly.name)
    check_known(genome.codes(window), window, assembly)


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


def input_window(card: ModelCard, variants: Sequence[Variant], assembly: Assembly) -> Locus:
    """The model's input around the variants; may reach beyond the chromosome's ends, where there is N.

    The middle of the variants lies where the card places it: at 0-based L / 2 - 1, or so that the bins are those of
    the chromosome's own grid, and an effect's REF is the genome-wide track.
    """
    first, last = min(v.start for v in variants), max(v.start for v in variants)
    if len({variant.chrom for variant in variants}) > 1 or last - first >= card.kept:
        raise BadVariant(
            f"The variants of one haplotype lie too far apart for model {card.id}, "
            f"which predicts {card.kept:,} bp at a time; ask for them one by one."
        )
    chrom, middle = variants[0].chrom, (first + last) // 2
    length = card.window_on(assembly.chromsizes[chrom])
    if card.placement == "centre":
        start = middle - (length // 2 - 1)
    else:
        kept = length - 2 * card.crop
        start = (middle - kept // 2) // card.bin_width * card.bin_width - card.crop
    return Locus(chrom, start, start + length)


def output_bins(card: ModelCard, window: Locus, assembly: Assembly) -> tuple[Locus, slice]:
    """The bins of a window's output that touch the chromosome, and what of it they cover."""
    begins = window.start + card.crop
    end = min(window.end - card.crop, assembly.chromsizes[window.chrom])
    bins = slice(max(0, -begins // card.bin_width), -(-(end - begins) // card.bin_width))
    return Locus(window.chrom, max(begins, 0), end), bins
