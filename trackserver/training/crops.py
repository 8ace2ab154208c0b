"""Training examples: random, augmented crops of the train windows, with targets aligned to the network's output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trackserver.genome.sequence import Codes, reverse_complement
from trackserver.training.recipe import Recipe
from trackserver.training.targets import Values, Window, coarser, covered_span


class Crops:
    """An endless source of batches from some windows; the same seed gives the same batches.

    Parameters
    ----------
    windows
        With targets in bins of `recipe.step`, and as much flanking sequence as `flank` gives.
    opposite
        For each track, the index of its pair on the other strand, or its own index without a pair.
    """

    def __init__(self, windows: Sequence[Window], opposite: Sequence[int], recipe: Recipe, seed: int):
        self.recipe, self.opposite = recipe, list(opposite)
        self.length = recipe.core // recipe.step
        spans = [covered_span(window.targets) for window in windows]
        self.windows = [window for window, (first, end) in zip(windows, spans, strict=True) if end > first]
        spans = [span for span in spans if span[1] > span[0]]
        self.starts = [self._starts(w.targets.shape[1], *span) for w, span in zip(self.windows, spans, strict=True)]
        covered = np.array([end - first for first, end in spans], np.float64)
        self.weights = covered / covered.sum()
        self.random = np.random.default_rng(seed)

    def _starts(self, n_steps: int, first: int, end: int) -> tuple[int, int]:
        """First and last start of a core: inside the covered part, or around it if it is shorter than a core."""
        low, high = sorted((first, end - self.length))
        lowest, highest = sorted((0, n_steps - self.length))
        return int(np.clip(low, lowest, highest)), int(np.clip(high, lowest, highest))

    def batch(self) -> tuple[Codes, Values]:
        """Draw base codes (B, crop) and targets float32 (B, T, core // bin_width), NaN without a target."""
        chosen = self.random.choice(len(self.windows), self.recipe.batch_size, p=self.weights)
        crops = [self._crop(index) for index in chosen]
        codes = self._randomized(np.stack([codes for codes, _ in crops]))
        return codes, np.stack([targets for _, targets in crops])

    def _crop(self, index: int) -> tuple[Codes, Values]:
        low, high = self.starts[index]
        start = int(self.random.integers(low, high + 1))
        slip = int(self.random.integers(-self.recipe.shift, self.recipe.shift + 1))
        codes, targets = cut(self.windows[index], start, slip, self.recipe)
        if self.recipe.reverse_complement and self.random.random() < 0.5:
            return reverse_complement(codes), targets[self.opposite, ::-1]
        return codes, targets

    def _randomized(self, codes: Codes) -> Codes:
        if self.recipe.randomize == 0:
            return codes
        replaced = self.random.random(codes.shape, np.float32) < self.recipe.randomize
        return np.where(replaced, self.random.integers(0, 4, codes.shape, dtype=np.uint8), codes)


def cut(window: Window, start: int, slip: int, recipe: Recipe) -> tuple[Codes, Values]:
    """Cut the crop whose core begins `start` steps into a window, with its sequence shifted by `slip` bp.

    Returns
    -------
    tuple
        Codes (crop,) and targets (T, core // bin_width): target bin i belongs to output bin
        i + loss_margin // bin_width.
    """
    origin = window.flank + start * recipe.step - recipe.loss_margin + slip
    length = recipe.core // recipe.step
    inside = slice(max(start, 0), min(start + length, window.targets.shape[1]))
    fine = np.full((len(window.targets), length), np.nan, np.float32)
    fine[:, inside.start - start : inside.stop - start] = window.targets[:, inside]
    return window.codes[origin : origin + recipe.crop], coarser(fine, recipe.network.bin_width // recipe.step)


def flank(recipe: Recipe, edge: int, length: int) -> int:
    """Bp of sequence needed on each side of a window, for crops and for bins that depend on `edge` bp."""
    return max(recipe.loss_margin, edge) + recipe.shift + max(recipe.core - length, 0) + recipe.step


def mean_and_variance(
    windows: Sequence[Window], scales: Sequence[float], factor: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each track's mean, and the variance of log(1 + scale * y / mean), over the known bins of the windows."""
    bins = np.concatenate([coarser(window.targets, factor) for window in windows], axis=1).astype(np.float64)
    known = np.isfinite(bins)
    counts = np.maximum(known.sum(axis=1), 1)
    means = np.where(known, bins, 0).sum(axis=1) / counts
    safe = np.where(means > 0, means, 1)[:, None]
    logs = np.log1p(np.maximum(np.where(known, bins, 0), 0) / safe * np.asarray(scales)[:, None])
    centred = np.where(known, logs - logs.sum(axis=1, keepdims=True) / counts[:, None], 0)
    return means, (centred**2).sum(axis=1) / counts
