"""What base composition alone predicts: the line a trained model must clear.

Quadratic regression of log(1 + 10 y) on the GC and CpG content of 128, 512 and 2,048 bp around each bin, fitted on the
train fold, for each track.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from trackserver.agreement.metrics import TrackMetrics, track_metrics
from trackserver.genome.sequence import Codes
from trackserver.training.targets import Values, Window, coarser, covered_span, of_fold

Floats = NDArray[np.float64]

WIDTHS = (128, 512, 2048)  # bp: the bin itself, an element with its flanks, a CpG island
SCALE = 10.0
C, G = 1, 2


def gc_baseline(windows: Sequence[Window], bin_width: int, step: int, fold: str = "test") -> list[TrackMetrics]:
    """TrackMetrics of the regression with each track over one fold.

    Parameters
    ----------
    windows
        From `targets.load_windows`, in bins of `step` bp, with at least max(WIDTHS) / 2 bp of flank.
    """
    factor = bin_width // step
    train = [_design_and_targets(window, bin_width, factor) for window in of_fold(windows, "train")]
    design = np.concatenate([rows for rows, _ in train])
    targets = np.concatenate([values for _, values in train], axis=1)
    centre, spread = design.mean(axis=0), design.std(axis=0)
    coefficients = [_fit(quadratic((design - centre) / spread), values) for values in targets]
    held_out = [_design_and_targets(window, bin_width, factor) for window in of_fold(windows, fold)]
    terms = [quadratic((rows - centre) / spread) for rows, _ in held_out]
    return [
        track_metrics([np.expm1(rows @ beta) / SCALE for rows in terms], [values[track] for _, values in held_out])
        for track, beta in enumerate(coefficients)
    ]


def composition(window: Window, first: int, end: int, bin_width: int) -> Floats:
    """GC and CpG content of WIDTHS bp centred on bins first to end of a window: (end - first, 2 * len(WIDTHS))."""
    counts = [_running(is_gc(window.codes)), _running(is_cpg(window.codes))]
    middles = window.flank + (np.arange(first, end) + 0.5) * bin_width
    columns = []
    for width in WIDTHS:
        starts = (middles - width / 2).astype(np.int64)
        columns += [(count[starts + width] - count[starts]) / width for count in counts]
    return np.stack(columns, axis=1)


def is_gc(codes: Codes) -> NDArray[np.bool_]:
    return (codes == C) | (codes == G)


def is_cpg(codes: Codes) -> NDArray[np.bool_]:
    """Whether a C stands here and a G next to it."""
    return (codes == C) & (np.append(codes[1:], 0) == G)


def quadratic(features: Floats) -> Floats:
    """1, every feature, and every product of two: (n, k) -> (n, 1 + k + k (k + 1) / 2)."""
    pairs = combinations_with_replacement(range(features.shape[1]), 2)
    products = [features[:, one] * features[:, other] for one, other in pairs]
    return np.column_stack([np.ones(len(features)), features, *products])


def _running(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(flags)])


def _design_and_targets(window: Window, bin_width: int, factor: int) -> tuple[Floats, Values]:
    observed = coarser(window.targets, factor)
    first, end = covered_span(observed)
    return composition(window, first, end, bin_width), observed[:, first:end]


def _fit(terms: Floats, values: Values) -> Floats:
    known = np.isfinite(values)
    return np.linalg.lstsq(terms[known], np.log1p(SCALE * values[known]), rcond=None)[0]
