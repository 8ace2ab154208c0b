"""How well a model recovers the synthetic genome's known truth: its signal, and the effects of single bases.

A model is any function from base codes to the tracks of `grammar.TRACKS`; no torch here. Everything is measured on
the held-out chromosome, and in the arithmetic the server itself uses for a variant: log2 of ALT over REF, both summed
over the bins that touch `NARROW` bp around the variant, the track's training mean added to each bin.

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
# A site counts on a track where losing it altogether moves the true log2 signal by this much.
AFFECTED = 0.1
_AT_ONCE = 32  # short windows predicted together


@dataclass(frozen=True)
class Model:
    """A model to hold against the truth, and the `crop` bp at each end of a window, whole bins, that it leaves out."""

    predict: Predict
    crop: int


@dataclass(frozen=True)
class SignalRecovery:
    """One track on the held-out chromosome; each number is Pearson's r over its 32-bp bins.

    `ceiling` is truth against measurement: noise alone keeps a perfect model from more.
    """

    track: str
    measured: float
    ceiling: float
    truth: float

    @property
    def ratio(self) -> float:
        return self.measured / self.ceiling


@dataclass(frozen=True)
class EffectRecovery:
    """Pearson's r of true and predicted log2 fold changes over `variants` variants of `sites` sites."""

    track: str
    r: float
    slope: float
    variants: int
    sites: int


class Change(NamedTuple):
    """Base codes put in place of as many, from a 0-based position on."""

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
    """How well a model follows a chromosome's measured tracks, beside how well the truth does."""
    predicted = predict_chromosome(model, genome.chromosome(chrom).codes)
    rows = zip(TRACKS, predicted, genome.measured[chrom], genome.truth[chrom], strict=True)
    return tuple(
        SignalRecovery(track.name, pearson(said, seen), pearson(known, seen), pearson(said, known))
        for track, said, seen, known in rows
    )


def predict_chromosome(model: Model, codes: Codes) -> Floats:
    """Every bin of a chromosome (L,), float32 (T, L // BIN_WIDTH), from overlapping windows."""
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
    """One random substitution in each planted site, pooled over the sites that matter to a track.

    A site matters to a track where its loss (all its bases unknown) moves the true log2 signal by `AFFECTED`;
    whether the substitution itself does anything plays no part.

    Parameters
    ----------
    sites
        How many of the chromosome's planted sites to draw; all of them by default.
    """
    chromosome = genome.chromosome(chrom)
    rng = np.random.default_rng(seed)
    planted = [site for element in _inner(chromosome) for site in element.sites]
    if sites is not None and sites < len(planted):
        planted = [planted[index] for index in np.sort(rng.choice(len(planted), sites, replace=False))]
    changes = [_random_change(site, chromosome.codes, rng) for site in planted]
    means = pseudocounts(genome)
    matters = np.array([_matters(chromosome.codes, site, means) for site in planted])
    found = effects(model, chromosome.codes, changes, means)
    return tuple(
        _recovery(track.name, Effects(found.true[chosen, row], found.predicted[chosen, row]), int(chosen.sum()))
        for row, (track, chosen) in enumerate(zip(TRACKS, matters.T, strict=True))
    )


def substitution_effects(
    model: Model, genome: SyntheticGenome, elements: Sequence[Element], *, every: int = 1
) -> tuple[EffectRecovery, ...]:
    """All substitutions of some elements, one row a track, then one row of all tracks pooled.

    Every base from 10 bp before an element's first site to 10 bp after its last is changed to the three others;
    with `every` = n only each n-th of these changes is made.
    """
    means = pseudocounts(genome)
    pooled = []
    for element in elements:
        codes = genome.chromosome(element.locus.chrom).codes
        span = range(element.locus.start - 10, element.locus.end + 10)
        changes = [Change(at, (code,)) for at in span for code in range(N) if code != codes[at]]
        pooled.append(effects(model, codes, changes[::every], means))
    found = Effects(*(np.concatenate(part) for part in zip(*pooled, strict=True)))
    sites = sum(len(element.sites) for element in elements)
    rows = [
        _recovery(track.name, Effects(found.true[:, row], found.predicted[:, row]), sites)
        for row, track in enumerate(TRACKS)
    ]
    return (*rows, _recovery("all tracks pooled", Effects(found.true.ravel(), found.predicted.ravel()), sites))


def some_elements(chromosome: Chromosome, count: int, seed: int = 0) -> list[Element]:
    """Elements drawn at random, as many of each kind as there are, away from the chromosome's ends."""
    inner = _inner(chromosome)
    drawn = np.random.default_rng(seed).choice(len(inner), count, replace=False)
    return [inner[index] for index in np.sort(drawn)]


def pseudocounts(genome: SyntheticGenome) -> NDArray[np.float64]:
    """Mean of each measured track over the training windows (T,): what a trained model's card calls its mean."""
    parts = [
        genome.measured[locus.chrom][:, locus.start // BIN_WIDTH : locus.end // BIN_WIDTH]
        for locus, fold in genome.folds
        if fold == "train"
    ]
    return np.concatenate(parts, axis=1).mean(axis=1, dtype=np.float64)


def effects(model: Model, codes: Codes, changes: Sequence[Change], means: NDArray[np.float64]) -> Effects:
    """True and predicted log2 fold change of each change to a chromosome's base codes (L,)."""
    true = np.array([_true_effect(codes, change, means) for change in changes])
    predicted = [
        _predicted_effects(model, codes, changes[start : start + _AT_ONCE], means)
        for start in range(0, len(changes), _AT_ONCE)
    ]
    return Effects(true, np.concatenate(predicted))


def _true_effect(codes: Codes, change: Change, means: NDArray[np.float64]) -> NDArray[np.float64]:
    (reference, changed), bins = _alleles(codes, change, REACH)
    return _log2_fold_change(truth(reference)[:, bins], truth(changed)[:, bins], means)


def _predicted_effects(
    model: Model, codes: Codes, changes: Sequence[Change], means: NDArray[np.float64]
) -> NDArray[np.float64]:
    alleles = [_alleles(codes, change, model.crop) for change in changes]
    longest = max(len(pair[0]) for pair, _ in alleles)
    batch = np.full((2 * len(alleles), longest), N, dtype=np.uint8)
    for row, (pair, _) in enumerate(alleles):
        batch[2 * row : 2 * row + 2, : len(pair[0])] = pair
    values = model.predict(batch)
    counts = [bins.stop - bins.start for _, bins in alleles]  # the model's first bin is the first that is summed
    return np.array([
        _log2_fold_change(values[2 * row][:, :count], values[2 * row + 1][:, :count], means)
        for row, count in enumerate(counts)
    ])  # fmt: skip


def _alleles(codes: Codes, change: Change, margin: int) -> tuple[Codes, slice]:
    """REF and ALT (2, L) with `margin` bp around the bins that are summed, and where these bins lie."""
    first = (change.middle - NARROW // 2) // BIN_WIDTH
    last = (change.middle + NARROW // 2) // BIN_WIDTH + 1
    beyond = -(-margin // BIN_WIDTH)
    start = (first - beyond) * BIN_WIDTH
    reference = _window(codes, start, (last + beyond) * BIN_WIDTH)
    pair = np.stack([reference, reference])
    pair[1, change.start - start : change.start - start + len(change.codes)] = change.codes
    return pair, slice(beyond, beyond + last - first)


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
    lost = Change(site.start, (N,) * (site.end - site.start))
    return np.abs(_true_effect(codes, lost, means)) >= AFFECTED


def _random_change(site: Site, codes: Codes, rng: np.random.Generator) -> Change:
    at = int(rng.integers(site.start, site.end))
    return Change(at, (int((codes[at] + rng.integers(1, N)) % N),))


def _inner(chromosome: Chromosome) -> list[Element]:
    """Elements whose windows hold no end of the chromosome."""
    last = len(chromosome.codes) - WINDOW // 16
    return [element for element in chromosome.elements if WINDOW // 16 < element.locus.start < last]


def _recovery(name: str, found: Effects, sites: int) -> EffectRecovery:
    true, predicted = found
    slope = float(true @ predicted / (true @ true)) if true.any() else float("nan")
    return EffectRecovery(name, pearson(predicted, true), slope, len(true), sites)
