"""How a model is run: where the window lies, which strands and shifts are averaged, and the units of the values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from trackserver.errors import InvalidRequest
from trackserver.models.card import ModelCard

Placement = Literal["centre", "grid"]
MAX_SHIFTS = 32  # each costs a forward pass; the published tools use 1 to 5


@dataclass(frozen=True)
class Ensemble:
    """Which strands and shifts of a window are averaged, and how.

    both_strands : average the model's outputs (probabilities, if it predicts those) for the window and for its reverse
        complement, whose bins are reversed and whose stranded tracks are swapped
    shifts : move the window's sequence by each of these bp, to the right if positive, and average the outputs without
        moving them back; unknown sequence fills the gap. As Calico's tools do, each strand in its own direction.
    squashed : leave outputs as the network predicts them if its data were squashed for training
    placement : where a variant lies in the window, if not where the card puts it; see `ModelCard.placement`
    """

    both_strands: bool = False
    shifts: tuple[int, ...] = (0,)
    squashed: bool = False
    placement: Placement | None = None

    def __post_init__(self) -> None:
        if not self.shifts or len(set(self.shifts)) != len(self.shifts) or len(self.shifts) > MAX_SHIFTS:
            raise InvalidRequest(f"Shifts are 1 to {MAX_SHIFTS} different numbers of bp, such as -1, 0, 1.")

    def options(self) -> dict[str, Any]:
        """The fields of `EnsembleOptions` that produce this ensemble, as JSON values."""
        ensemble = ["rc" if self.both_strands else "none"]
        placement = {"placement": self.placement} if self.placement else {}
        return {"ensemble": ensemble, "shifts": list(self.shifts), "squashed": self.squashed} | placement

    def description(self) -> str:
        """Describe the ensemble in words, for people and for provenance."""
        parts = ["both strands" if self.both_strands else "forward strand"]
        if self.shifts != (0,):
            parts.append(f"shifts {', '.join(map(str, self.shifts))} bp")
        if self.placement:
            parts.append({"centre": "variants in the middle", "grid": "windows on the bin grid"}[self.placement])
        return ", ".join(parts)

    def place_variants(self, card: ModelCard) -> ModelCard:
        """Return the card with the ensemble's placement of variants, if it has one."""
        return replace(card, placement=self.placement) if self.placement else card


@dataclass(frozen=True)
class EnsembleOptions:
    """The ensemble options of a request; the model's own defaults where an option is missing.

    ensemble : `rc` for both strands, `none` for the forward strand; None for the choice of the model's authors
    placement : `centre`, or `grid`, where neighbouring variants share a window; None for the card's placement
    """

    ensemble: Sequence[str] | None = None
    shifts: Sequence[int] | None = None
    squashed: bool = False
    placement: Placement | None = None

    @classmethod
    def pop(cls, fields: dict[str, Any]) -> EnsembleOptions:
        """Take the options out of the fields of a request."""
        return cls(**{name: fields.pop(name) for name in cls.__dataclass_fields__ if name in fields})

    def resolve(self, card: ModelCard) -> Ensemble:
        """Fill in a model's defaults.

        Raises
        ------
        InvalidRequest
            The ensemble is unknown, or a shift is as long as the window.
        """
        both = card.strands == "average"
        if self.ensemble is not None:
            if unknown := set(self.ensemble) - {"rc", "none"}:
                raise InvalidRequest(f"There is no ensemble '{min(unknown)}'; choose rc (both strands) or none.")
            both = "rc" in self.ensemble
        shifts = (0,) if self.shifts is None else tuple(self.shifts)
        if too_far := [shift for shift in shifts if abs(shift) >= card.window]:
            raise InvalidRequest(
                f"A shift of {too_far[0]} bp leaves nothing of the {card.window:,} bp that {card.id} reads."
            )
        return Ensemble(both, shifts, self.squashed, self.placement if self.placement != card.placement else None)
