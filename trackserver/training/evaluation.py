"""Hold a model against the bins it was, or was not, trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trackserver.agreement.metrics import Agreement, agreement
from trackserver.training.targets import Values, Window, coarser, covered_span

if TYPE_CHECKING:
    from trackserver.predict.engine import Predictor


def evaluate(predictor: Predictor, windows: Sequence[Window], factor: int) -> list[Agreement]:
    """Agreement of each of the predictor's tracks over some windows.

    `factor` is how many bins of the windows' targets make one of the model's. Bins before the first and after the last
    covered one of a window are neither predicted nor counted; where nothing is covered, the list is empty.
    """
    pairs = [compared(predictor, window, factor) for window in windows]
    pairs = [pair for pair in pairs if pair[0].shape[1]]
    n_tracks = len(predictor.tracks) if pairs else 0
    return [agreement([said[t] for said, _ in pairs], [seen[t] for _, seen in pairs]) for t in range(n_tracks)]


def compared(predictor: Predictor, window: Window, factor: int) -> tuple[Values, Values]:
    """Predicted and observed bins, both (T, n), of a window's covered part."""
    observed = coarser(window.targets, factor)
    first, end = covered_span(observed)
    return predict_bins(predictor, window, first, end), observed[:, first:end]


def predict_bins(predictor: Predictor, window: Window, first: int, end: int) -> Values:
    """Bins first to end of a window, float32 (T, end - first), however long: read in overlapping parts.

    A part is at most the model's window, and keeps only bins that see nothing beyond it.
    """
    card, width = predictor.card, predictor.card.bin_width
    values = np.empty((len(predictor.tracks), end - first), np.float32)
    at_once = card.n_bins(card.window)
    for start, stop in _parts(first, end, at_once):
        origin = window.flank + start * width - card.crop
        codes = window.codes[origin : origin + (stop - start) * width + 2 * card.crop]
        values[:, start - first : stop - first] = predictor.predict(codes[None])[0]
    return values


def _parts(first: int, end: int, at_once: int) -> Iterable[tuple[int, int]]:
    return ((start, min(start + at_once, end)) for start in range(first, end, at_once))
