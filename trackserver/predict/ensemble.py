"""How a model is asked: where the window lies, which strands and shifts are averaged, in which units it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from trackserver.errors import InvalidRequest
from trackserver.models.card import ModelCard

Placement = Literal["centre", "grid"]
MOST_SHIFTS = 32  # each costs a forward; the published tools use 1 to 5


@dataclass(frozen=True)
class Ensemble:
    """One way to read a window.

    both_strands : the mean of the model's outputs (probabilities, where those are what it gives) for the window and
        for its reverse complement, whose bins are turned round and whose stranded tracks change places
    shifts : the window's sequence is moved by each of these bp, to the right if positive, and the outputs averaged as
        they are; what moves in is unknown sequence. As Calico's tools do, for each strand in its own direction.
    squashed : leave outputs as the network gives them, where its data were squashed for training
    placement : where a variant lies in the window, if elsewhere than the card has it; see `ModelCard.placement`
    """

    both_strands: bool = False
    shifts: tuple[int, ...] = (0,)
    squashed: bool = False
    placement: Placement | None = None

    def __post_init__(self) -> None:
        if not self.shifts or len(set(self.shifts)) != len(self.shifts) or len(self.shifts) > MOST_SHIFTS:
            raise InvalidRequest(f"Shifts are 1 to {MOST_SHIFTS} different numbers of bp, such as -1, 0, 1.")

    def options(self) -> dict[str, Any]:
        """The options that it comes from, in JSON's terms."""
        ensemble = ["rc" if self.both_strands else "none"]
        placed = {"placement": self.placement} if self.placement else {}
        return {"ensemble": ensemble, "shifts": list(self.shifts), "squashed": self.squashed} | placed

    def words(self) -> str:
        words = ["both strands" if self.both_strands else "forward strand"]
        if self.shifts != (0,):
            words.append(f"shifts {', '.join(map(str, self.shifts))} bp")
        if self.placement:
            words.append({"centre": "variants in the middle", "grid": "windows on the bin grid"}[self.placement])
        return ", ".join(words)

    def placed(self, card: ModelCard) -> ModelCard:
        """The card, with variants where they are asked for."""
        return replace(card, placement=self.placement) if self.placement else card


@dataclass(frozen=True)
class EnsembleOptions:
    """What a person asks for; the model's own way where nothing is said.

    ensemble : `rc` for both strands, `none` for the forward strand; None as the model's authors did
    placement : `centre` or `grid`, on which neighbours have their window in common; None as the card says
    """

    ensemble: Sequence[str] | None = None
    shifts: Sequence[int] | None = None
    squashed: bool = False
    placement: Placement | None = None

    @classmethod
    def pop(cls, fields: dict[str, Any]) -> EnsembleOptions:
        """Take the options out of the fields of a request."""
        return cls(**{name: fields.pop(name) for name in cls.__dataclass_fields__ if name in fields})

    def of(self, card: ModelCard) -> Ensemble:
        """How a model is asked with these options.

        Raises
        ------
        InvalidRequest
            Another ensemble, or a shift longer than the window.
        """
        both = card.strands == "average"
        if self.ensemble is not None:
            if unknown := set(self.ensemble) - {"rc", "none"}:
                raise InvalidRequest(f"No ensemble '{min(unknown)}'; known: rc (both strands), none.")
            both = "rc" in self.ensemble
        shifts = (0,) if self.shifts is None else tuple(self.shifts)
        if too_far := [shift for shift in shifts if abs(shift) >= card.window]:
            raise InvalidRequest(
                f"A shift of {too_far[0]} bp leaves nothing of the {card.window:,} bp {card.id} reads."
            )
        return Ensemble(both, shifts, self.squashed, self.placement if self.placement != card.placement else None)
