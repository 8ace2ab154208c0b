"""Measure how well a model recovers the synthetic genome's known truth: its signal and the effects of single bases.

A model is any function from base codes to the tracks of `grammar.TRACKS`; no torch here. Effects are computed as the
server computes them for a variant: log2 of ALT over REF, both summed over the bins that touch `NARROW` bp around the
variant, with the track's training mean added to each bin.

Axis letters: V variants, T tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.agreement.metrics import pearson
from trackserver.demo.generator import Chromosome, Element, Site, SyntheticGenome
from trackserver.demo.grammar import BIN_WIDTH, REACH, TRACKS, Floats, truth
from trackserver.genome.sequence import Codes, N
from trackserver.variants.scores import NARROW

# Base codes (B, L) -> float32 (B, T, L // BIN_WIDTH).
Predict = Callable[[Codes], Floats]

WINDOW = 131_072
MIN_LOSS = 0.1  # a site matters to a track if losing it altogether moves the true log2 signal by at least this much
_MAX_BATCH = 32  # short windows predicted together


@dataclass(frozen=True)
class Model:
    """A model to compare with the truth; it predicts nothing for `crop` bp (whole bins) at each end of a window."""

    predict: Predict
    crop: int


@dataclass(frozen=True)
class SignalRecovery:
    """Recovery of one track on the held-out chromosome; each number is Pearson's r over its 32-bp bins.

    observed : prediction against observation
    ceiling : truth against observation, the most that noise lets a perfect model reach
    truth : prediction against truth
    """

    track: str
    observed: float
    ceiling: float
    truth: float

    @property
    def ratio(self) -> float:
        return self.observed / self.ceiling


@dataclass(frozen=True)
class EffectRecovery:
    """Pearson's r of true and predicted log2 fold changes over `variants` variants of `sites` sites."""

    track: str
    r: float
    slope: float
    variants: int
    sites: int


class Edit(NamedTuple):
    """Base codes that replace as many, from a 0-based position on."""

    start: int
    codes: tuple[int, ...]

    @property
    def middle(self) -> int:
        return self.start + len(self.codes) // 2


class Effects(NamedTuple):
    """log2 fold changes, float64 (V, T) each."""

    true: NDArray[np.float64]
    predicted: NDArray[np.float64]


def signal_recovery(model: Model, genome: SyntheticGenome, chrom: str) -> tuple[SignalRecovery, ...]:
    """Compare a model's tracks on a chromosome with the observed tracks and with the truth."""
    predictions = predict_chromosome(model, genome.chromosome(chrom).codes)
    rows = zip(TRACKS, predictions, genome.observed[chrom], genome.truth[chrom], strict=True)
    return tuple(
        SignalRecovery(track.name, pearson(predicted, observed), pearson(true, observed), pearson(predicted, true))
        for track, predicted, observed, true in rows
    )


def predict_chromosome(model: Model, codes: Codes) -> Floats:
    """Predict every bin of a chromosome (L,) from overlapping windows: float32 (T, L // BIN_WIDTH)."""
    step = WINDOW - 2 * model.crop
    parts = []
    for start in range(0, len(codes), step):
        bins = min(step, len(codes) - start) // BIN_WIDTH
        window = _window(codes, start - model.crop, start - model.crop + WINDOW)
        parts.append(model.predict(window[None])[0][:, :bins])
    return np.concatenate(parts, axis=1)


def site_effects(
    model: Model, genome: SyntheticGenome, chrom: str, *, sites: int | None = None, seed: int = 0
) -> tuple[EffectRecovery, ...]:
    """Compare the effects of a random substitution in each planted site, over the sites that matter to a track.

    A site matters to a track if its loss (all its bases unknown) moves the true log2 signal by `MIN_LOSS`, whatever
    the substitution itself does.

    Parameters
    ----------
    sites
        How many of the chromosome's planted sites to draw; all of them by default.
    """
    chromosome = genome.chromosome(chrom)
    rng = np.random.default_rng(seed)
    planted = [site for element in _inner_elements(chromosome) for site in element.sites]
    if sites is not None and sites < len(planted):
        planted = [planted[index] for index in np.sort(rng.choice(len(planted), sites, replace=False))]
    edits = [_random_substitution(site, chromosome.codes, rng) for site in planted]
    means = pseudocounts(genome)
    matters = np.array([_matters(chromosome.codes, site, means) for site in planted])
    folds = effects(model, chromosome.codes, edits, means)
    return tuple(
        _recovery(track.name, Effects(folds.true[mask, row], folds.predicted[mask, row]), int(mask.sum()))
        for row, (track, mask) in enumerate(zip(TRACKS, matters.T, strict=True))
    )


def substitution_effects(
    model: Model, genome: SyntheticGenome, elements: Sequence[Element], *, every: int = 1
) -> tuple[EffectRecovery, ...]:
    """Compare the effects of all substitutions in some elements: one row a track, then one for all tracks pooled.

    Every base from 10 bp before an element's first site to 10 bp after its last is changed to the three others; with
    `every` = n only each n-th substitution is made.
    """
    means = pseudocounts(genome)
    pooled = []
    for element in elements:
        codes = genome.chromosome(element.locus.chrom).codes
        span = range(element.locus.start - 10, element.locus.end + 10)
        edits = [Edit(at, (code,)) for at in span for code in range(N) if code != codes[at]]
        pooled.append(effects(model, codes, edits[::every], means))
    folds = Effects(*(np.concatenate(part) for part in zip(*pooled, strict=True)))
    sites = sum(len(element.sites) for element in elements)
    rows = [
        _recovery(track.name, Effects(folds.true[:, row], folds.predicted[:, row]), sites)
        for row, track in enumerate(TRACKS)
    ]
    return (*rows, _recovery("all tracks pooled", Effects(folds.true.ravel(), folds.predicted.ravel()), sites))


def draw_elements(chromosome: Chromosome, count: int, seed: int = 0) -> list[Element]:
    """Draw elements at random, away from the chromosome's ends."""
    inner = _inner_elements(chromosome)
    indices = np.random.default_rng(seed).choice(len(inner), count, replace=False)
    return [inner[index] for index in np.sort(indices)]


def pseudocounts(genome: SyntheticGenome) -> NDArray[np.float64]:
    """Mean of each observed track over the training windows (T,), as in the card of a trained model."""
    parts = [
        genome.observed[locus.chrom][:, locus.start // BIN_WIDTH : locus.end // BIN_WIDTH]
        for locus, fold in genome.folds
        if fold == "train"
    ]
    return np.concatenate(parts, axis=1).mean(axis=1, dtype=np.float64)


def effects(model: Model, codes: Codes, edits: Sequence[Edit], means: NDArray[np.float64]) -> Effects:
    """True and predicted log2 fold change of each edit to a chromosome's base codes (L,)."""
    true = np.array([_true_effect(codes, edit, means) for edit in edits])
    predicted = [
        _predicted_effects(model, codes, edits[start : start + _MAX_BATCH], means)
        for start in range(0, len(edits), _MAX_BATCH)
    ]
    return Effects(true, np.concatenate(predicted))


def _true_effect(codes: Codes, edit: Edit, means: NDArray[np.float64]) -> NDArray[np.float64]:
    (ref, alt), bins = _alleles(codes, edit, REACH)
    return _log2_fold_change(truth(ref)[:, bins], truth(alt)[:, bins], means)


def _predicted_effects(
    model: Model, codes: Codes, edits: Sequence[Edit], means: NDArray[np.float64]
) -> NDArray[np.float64]:
    alleles = [_alleles(codes, edit, model.crop) for edit in edits]
    longest = max(len(pair[0]) for pair, _ in alleles)
    batch = np.full((2 * len(alleles), longest), N, dtype=np.uint8)
    for row, (pair, _) in enumerate(alleles):
        batch[2 * row : 2 * row + 2, : len(pair[0])] = pair
    values = model.predict(batch)
    counts = [bins.stop - bins.start for _, bins in alleles]  # the sum starts at the model's first bin
    return np.array([
        _log2_fold_change(values[2 * row][:, :count], values[2 * row + 1][:, :count], means)
        for row, count in enumerate(counts)
    ])  # fmt: skip


def _alleles(codes: Codes, edit: Edit, margin: int) -> tuple[Codes, slice]:
    """REF and ALT (2, L) with `margin` bp around the bins to sum, and the slice of these bins."""
    first = (edit.middle - NARROW // 2) // BIN_WIDTH
    last = (edit.middle + NARROW // 2) // BIN_WIDTH + 1
    margin_bins = -(-margin // BIN_WIDTH)
    start = (first - margin_bins) * BIN_WIDTH
    ref = _window(codes, start, (last + margin_bins) * BIN_WIDTH)
    pair = np.stack([ref, ref])
    pair[1, edit.start - start : edit.start - start + len(edit.codes)] = edit.codes
    return pair, slice(margin_bins, margin_bins + last - first)


def _window(codes: Codes, start: int, end: int) -> Codes:
    """Base codes of [start, end), N beyond the chromosome's ends."""
    inside = codes[max(start, 0) : max(end, 0)]
    before = max(-start, 0)
    return np.pad(inside, (before, end - start - before - len(inside)), constant_values=N)


def _log2_fold_change(ref: Floats, alt: Floats, means: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, bins) each -> (T,)."""
    added = means * ref.shape[1]
    change: NDArray[np.float64] = np.log2((alt.sum(axis=1) + added) / (ref.sum(axis=1) + added))
    return change


def _matters(codes: Codes, site: Site, means: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a site's loss moves each track (T,)."""
    loss = Edit(site.start, (N,) * (site.end - site.start))
    return np.abs(_true_effect(codes, loss, means)) >= MIN_LOSS


def _random_substitution(site: Site, codes: Codes, rng: np.random.Generator) -> Edit:
    at = int(rng.integers(site.start, site.end))
    return Edit(at, (int((codes[at] + rng.integers(1, N)) % N),))


def _inner_elements(chromosome: Chromosome) -> list[Element]:
    """Elements whose windows do not reach an end of the chromosome."""
    last = len(chromosome.codes) - WINDOW // 16
    return [element for element in chromosome.elements if WINDOW // 16 < element.locus.start < last]


def _recovery(name: str, effects: Effects, sites: int) -> EffectRecovery:
    true, predicted = effects
    slope = float(true @ predicted / (true @ true)) if true.any() else float("nan")
    return EffectRecovery(name, pearson(predicted, true), slope, len(true), sites)
