"""Evaluate a model against observed bins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trackserver.agreement.metrics import TrackMetrics, track_metrics
from trackserver.training.targets import Values, Window, coarser, covered_span

if TYPE_CHECKING:
    from trackserver.predict.engine import Predictor


def evaluate(predictor: Predictor, windows: Sequence[Window], factor: int) -> list[TrackMetrics]:
    """Metrics of each of the predictor's tracks over the windows.

    `factor` is the number of target bins in one bin of the model. Bins before the first and after the last covered bin
    of a window are neither predicted nor counted. If nothing is covered, the list is empty.
    """
    pairs = [compare_window(predictor, window, factor) for window in windows]
    pairs = [pair for pair in pairs if pair[0].shape[1]]
    n_tracks = len(predictor.tracks) if pairs else 0
    return [
        track_metrics([predicted[t] for predicted, _ in pairs], [observed[t] for _, observed in pairs])
        for t in range(n_tracks)
    ]


def compare_window(predictor: Predictor, window: Window, factor: int) -> tuple[Values, Values]:
    """Predicted and observed bins, both (T, n), of a window's covered part."""
    observed = coarser(window.targets, factor)
    first, end = covered_span(observed)
    return predict_bins(predictor, window, first, end), observed[:, first:end]


def predict_bins(predictor: Predictor, window: Window, first: int, end: int) -> Values:
    """Predict bins `first` to `end` of a window of any length, float32 (T, end - first).

    The window is read in overlapping parts. A part is at most as long as the model's window, and only bins that do not
    depend on sequence beyond it are kept.
    """
    card, width = predictor.card, predictor.card.bin_width
    values = np.empty((len(predictor.tracks), end - first), np.float32)
    max_bins = card.n_bins(card.window)
    for start, stop in _parts(first, end, max_bins):
        origin = window.flank + start * width - card.crop
        codes = window.codes[origin : origin + (stop - start) * width + 2 * card.crop]
        values[:, start - first : stop - first] = predictor.predict(codes[None])[0]
    return values


def _parts(first: int, end: int, max_bins: int) -> Iterable[tuple[int, int]]:
    return ((start, min(start + max_bins, end)) for start in range(first, end, max_bins))
