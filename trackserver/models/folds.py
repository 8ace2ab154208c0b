"""Where a model's training, validation and test lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trackserver.genome.locus import Locus
from trackserver.models.card import ModelCard

FOLDS = ("train", "valid", "test")


def fold_of(card: ModelCard, loci: list[Locus]) -> str:
    """The fold of the model's training that loci lie in, `train` before `valid` before `test`; empty if not known."""
    for fold, windows in folds(card).items():
        if any(window.overlaps(locus) for window in windows for locus in loci):
            return fold
    return ""


def folds(card: ModelCard) -> dict[str, list[Locus]]:
    """Where each fold of the model's training lies, `train`, `valid`, `test`; empty if not known.

    Cards of models that were trained here have it as `provenance.folds`: of each fold its `[chrom, start, end]`.
    """
    written = card.provenance.get("folds")
    if not isinstance(written, Mapping):
        return {}
    return {fold: found for fold in FOLDS if (found := list(_windows(written.get(fold))))}


def _windows(written: Any) -> Iterator[Locus]:
    for window in written if isinstance(written, list) else ():
        match window:
            case [str(chrom), int(start), int(end)]:
                yield Locus(chrom, start, end)
