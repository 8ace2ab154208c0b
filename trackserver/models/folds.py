"""The regions a model was trained, validated and tested on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trackserver.genome.locus import Locus
from trackserver.models.card import ModelCard

FOLDS = ("train", "valid", "test")


def fold_of(card: ModelCard, loci: list[Locus]) -> str:
    """Name the fold that the loci overlap, `train` before `valid` before `test`; empty if unknown."""
    for fold, windows in folds(card).items():
        if any(window.overlaps(locus) for window in windows for locus in loci):
            return fold
    return ""


def folds(card: ModelCard) -> dict[str, list[Locus]]:
    """List the regions of the model's folds `train`, `valid` and `test`; empty if unknown.

    Cards of models trained here list them in `provenance.folds`: for each fold its `[chrom, start, end]`.
    """
    recorded = card.provenance.get("folds")
    if not isinstance(recorded, Mapping):
        return {}
    return {fold: loci for fold in FOLDS if (loci := list(_loci(recorded.get(fold))))}


def _loci(regions: Any) -> Iterator[Locus]:
    for window in regions if isinstance(regions, list) else ():
        match window:
            case [str(chrom), int(start), int(end)]:
                yield Locus(chrom, start, end)
