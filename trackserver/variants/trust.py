"""When not to believe an effect: warnings, each with a code, a severity, one sentence and its evidence."""

from __future__ import annotations

from dataclasses import dataclass

from trackserver.models.card import ModelCard
from trackserver.variants.effect import Effect

NOTABLE_UNKNOWN = 0.02  # share of N in the window from which on it is said


@dataclass(frozen=True)
class Caveat:
    code: str
    severity: str  # note | caution
    sentence: str
    evidence: dict[str, float]


def warnings(effect: Effect, card: ModelCard, assembly: str) -> list[Caveat]:
    found = []
    if assembly != card.assemblies[0]:
        found.append(Caveat(
            "other_assembly", "note",
            f"{card.title} was trained on {card.assemblies[0]}; it is asked about the sequence of {assembly}.", {},
        ))  # fmt: skip
    if effect.unknown >= NOTABLE_UNKNOWN:
        found.append(Caveat(
            "unknown_sequence", "caution" if effect.unknown > 0.25 else "note",
            f"{effect.unknown:.0%} of the {card.window:,} bp the model read is unknown sequence (N, or beyond the "
            "chromosome's end), which it was not trained on.",
            {"unknown": round(effect.unknown, 4)},
        ))  # fmt: skip
    if not effect.delta.any():
        found.append(Caveat(
            "no_effect", "note", "The model predicts no change at all on the chosen tracks.", {"max_abs_delta": 0.0},
        ))  # fmt: skip
    return found
