"""When not to believe an effect: warnings, each with a severity, one sentence, what to do about it, and its evidence.

What a warning needs besides the effect and the model's card is a value, `Surroundings`: nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trackserver.genome.locus import Locus
from trackserver.models.card import ModelCard, Track
from trackserver.variants.effect import Effect
from trackserver.variants.scores import MODERATE, STRONG, Column

Severity = Literal["note", "caution", "warning"]
SEVERITIES: tuple[Severity, ...] = ("warning", "caution", "note")

NOTABLE_UNKNOWN = 0.02  # share of N in the window from which on it is said
MUCH_UNKNOWN = 0.25
MOSTLY = 0.5  # share of the bases around a variant from which on repeats are said though it lies between them
CHANGED = 0.1  # |log2 fold change| from which on a track counts as changed, as the page has it
NEAR = 0.1  # part of a threshold within which |Δ| is near it
DISAGREEING = 0.5  # spread, as a part of the change, from which on it is said
POOR = 0.3  # Pearson r with the measurement on the test fold
MOST = 8  # tracks that evidence lists


Measured = tuple[str, str, str, str]  # assay, biosample, target and strand, in lower case


@dataclass(frozen=True)
class Overlap:
    """How intervals of a kind lie at the variants.

    hit : whether a changed base lies in one
    share : of the bases in the 501 bp around the variants that lie in one
    names : of those that touch these bases, in order of place
    """

    hit: bool
    share: float
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Other:
    """What another model says of the same variants: `sizes` are signed, Δ of probabilities, else log2 fold changes.

    Its tracks are known by what they measure (`like`); of several alike the mean, where they agree on the sign.
    """

    model: str
    title: str
    effect: str
    sizes: dict[Measured, float]


@dataclass(frozen=True)
class Surroundings:
    """What is known about the variants' place and about the model's training; None or empty: not known.

    window : what the model read; of it `beyond` bp lie beyond the chromosome's ends
    repeats, blacklist : how they lie there
    fold : of the model's training, where its card says which the variants lie in
    others : other models' effects of the same variants on the same assembly
    """

    assembly: str
    window: Locus
    beyond: int = 0
    repeats: Overlap | None = None
    blacklist: Overlap | None = None
    fold: str = ""
    others: tuple[Other, ...] = ()


@dataclass(frozen=True)
class Caveat:
    """`advice` is what to do about it; `evidence` is strict JSON."""

    code: str
    severity: Severity
    sentence: str
    advice: str
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Case:
    """Everything a warning may be about; `sizes` (T,) are signed, and `changed` the rows that count as changed."""

    effect: Effect
    around: Surroundings
    spread: NDArray[np.float64] | None
    sizes: Column
    at: list[int]

    @property
    def card(self) -> ModelCard:
        return self.effect.card

    @property
    def changed(self) -> list[int]:
        """The rows that change notably, the most changed first."""
        size = np.abs(self.sizes)
        least = MODERATE if self.card.probability else CHANGED
        return [row for row in np.argsort(-size, kind="stable").tolist() if size[row] >= least]

    def track(self, row: int) -> Track:
        return self.card.tracks[self.effect.tracks[row]]

    def measured(self, row: int) -> Measured:
        track = self.track(row)
        return like(track.assay, track.biosample, track.target, track.strand)

    def listed(self, rows: Sequence[int], **values: Callable[[int], float]) -> list[dict[str, Any]]:
        """Tracks as evidence."""
        return [
            {"index": self.track(row).index, "name": self.track(row).name}
            | {name: round(float(of(row)), 4) for name, of in values.items()}
            for row in rows[:MOST]
        ]

    def shown(self, size: float) -> str:
        return f"{size:+.2f}" if self.card.probability else f"{size:+.2f} log2"


def warnings(effect: Effect, around: Surroundings, spread: NDArray[np.float64] | None = None) -> list[Caveat]:
    """All that speaks against believing an effect, the most severe first.

    Parameters
    ----------
    spread
        (T,) standard deviation of each track's change over the strands and shifts that are averaged: of the signed
        size (`signed_sizes`); None where there is one only, or it is not known.
    """
    case = _Case(effect, around, spread, signed_sizes(effect), effect.scores["bin"].astype(int).tolist())
    found = [caveat for check in _CHECKS for caveat in check(case)]
    return sorted(found, key=lambda caveat: SEVERITIES.index(caveat.severity))


def signed_sizes(effect: Effect) -> Column:
    """(T,) what a track ranks by, with its sign: Δ at the strongest bin of a probability, else log2fc."""
    return effect.scores["delta" if effect.card.probability else "log2fc"]


def like(assay: str, biosample: str, target: str, strand: str) -> Measured:
    """What tracks of different models are held to be of the same kind by."""
    return assay.lower(), biosample.lower(), target.lower(), strand


# --- The place -------------------------------------------------------------------------------------------------------


def _blacklist(case: _Case) -> Iterator[Caveat]:
    found = case.around.blacklist
    if found and found.share > 0:
        where = "lies in" if found.hit else "is next to"
        yield Caveat(
            "blacklist", "warning" if found.hit else "caution",
            f"The variant {where} a blacklisted region{_named(found)}: what is measured there is an artefact, and "
            "models may have learnt it.",
            "Do not read the predicted or the measured signal here as biology.",
            _overlap(found),
        )  # fmt: skip


def _repeat(case: _Case) -> Iterator[Caveat]:
    found = case.around.repeats
    if found and (found.hit or found.share >= MOSTLY):
        where = "lies in" if found.hit else "is surrounded by"
        yield Caveat(
            "repeat", "note",
            f"The variant {where} a repeat{_named(found)}, where short reads map badly: measurements, from which the "
            "model learnt, are poor in such sequence.",
            "Compare with the measured tracks; where they are empty all around, prefer other evidence.",
            _overlap(found),
        )  # fmt: skip


def _named(found: Overlap) -> str:
    if not found.names:
        return ""
    more = len(found.names) - 3
    return f" ({', '.join(found.names[:3])}{f' and {more} more' if more > 0 else ''})"


def _overlap(found: Overlap) -> dict[str, Any]:
    return {"hit": found.hit, "share": round(found.share, 4), "names": list(found.names[:MOST])}


def _chromosome_end(case: _Case) -> Iterator[Caveat]:
    share = case.around.beyond / len(case.around.window)
    if share > 0:
        yield Caveat(
            "chromosome_end", "caution" if share > MUCH_UNKNOWN else "note",
            f"{case.around.beyond:,} of the {len(case.around.window):,} bp the model read lie beyond the end of "
            f"{case.around.window.chrom} and were left blank.",
            "Near an end compare REF with the measured track first; a model that reads less fits better here.",
            {"beyond": case.around.beyond, "share": round(share, 4)},
        )  # fmt: skip


def _unknown(case: _Case) -> Iterator[Caveat]:
    unknown, length = case.effect.unknown, len(case.around.window)
    if unknown - case.around.beyond / length >= NOTABLE_UNKNOWN:
        yield Caveat(
            "unknown_sequence", "caution" if unknown > MUCH_UNKNOWN else "note",
            f"{unknown:.0%} of the {length:,} bp the model read is unknown sequence (N, or beyond the chromosome's "
            "end), which it was not trained on.",
            "Trust what the gap cannot reach; an assembly without the gap, or a model that reads less, says more.",
            {"unknown": round(unknown, 4)},
        )  # fmt: skip


# --- The model -------------------------------------------------------------------------------------------------------


def _other_assembly(case: _Case) -> Iterator[Caveat]:
    asked, trained = case.around.assembly, case.card.assemblies[0]
    if asked != trained:
        yield Caveat(
            "other_assembly", "note",
            f"{case.card.title} was trained on {trained}; it is asked about the sequence of {asked}.",
            f"Where the sequence is the same the effect is too; else ask about the variant's place on {trained}.",
            {"trained_on": trained, "asked": asked},
        )  # fmt: skip


def _training_fold(case: _Case) -> Iterator[Caveat]:
    if case.around.fold in ("train", "valid"):
        how = "was trained on" if case.around.fold == "train" else "was selected by"
        yield Caveat(
            "training_fold", "note",
            f"The model {how} the measurements at this place: that its REF looks like them there shows little.",
            "Judge the model by its figures on the test fold, or at places that were held out.",
            {"fold": case.around.fold},
        )  # fmt: skip


def _poor_agreement(case: _Case) -> Iterator[Caveat]:
    known = _test_pearson(case)
    poor = [row for row, r in known.items() if r < POOR]
    if poor:
        poor.sort(key=lambda row: (-abs(case.sizes[row]), row))
        yield Caveat(
            "poor_agreement", "caution",
            f"On the test fold {_among(case, poor)} from the measurement (Pearson r = {known[poor[0]]:.2f}).",
            "Do not rank by such a track; prefer others of the same assay, or another model.",
            {"tracks": case.listed(poor, pearson=known.__getitem__), "count": len(poor)},
        )  # fmt: skip


def _test_pearson(case: _Case) -> dict[int, float]:
    """By row, where the card has such a figure."""
    fold = case.card.metrics.get("test")
    figures = fold.get("pearson") if isinstance(fold, dict) else None
    if not isinstance(figures, list):
        return {}
    each = enumerate(case.effect.tracks)
    return {row: figures[track] for row, track in each if track < len(figures) and figures[track] is not None}


def _among(case: _Case, rows: Sequence[int]) -> str:
    first = case.track(rows[0]).name
    return f"{first} is far" if len(rows) == 1 else f"{len(rows)} of the chosen tracks are far, {first} among them,"


# --- The effect ------------------------------------------------------------------------------------------------------


def _no_effect(case: _Case) -> Iterator[Caveat]:
    if not case.effect.delta.any():
        yield Caveat(
            "no_effect", "note", "The model predicts no change at all on the chosen tracks.",
            "Look at all tracks; a model that reads further, or one of splicing or coding, may see what this cannot.",
            {"max_abs_delta": 0.0},
        )  # fmt: skip


def _near_threshold(case: _Case) -> Iterator[Caveat]:
    if not case.card.probability:
        return
    size = np.abs(case.sizes)
    near = {
        row: limit
        for limit in (MODERATE, STRONG)
        for row in np.flatnonzero(np.abs(size - limit) <= NEAR * limit).tolist()
    }
    if near:
        rows = sorted(near, key=lambda row: (-size[row], row))
        first = rows[0]
        yield Caveat(
            "near_threshold", "note",
            f"{case.track(first).name} changes by {case.shown(case.sizes[first])}, near the threshold of "
            f"{near[first]:g}" + (f"; {len(rows)} of the chosen tracks are near one." if len(rows) > 1 else "."),
            "Read the number, not the word: on the other side of the line it would be hardly different.",
            {"tracks": case.listed(rows, delta=case.sizes.__getitem__, threshold=near.__getitem__), "count": len(rows)},
        )  # fmt: skip


def _ensemble_spread(case: _Case) -> Iterator[Caveat]:
    spread = _spread(case)
    if spread is None:
        return
    torn = [row for row in case.changed if spread[row] > DISAGREEING * abs(case.sizes[row])]
    if torn:
        first = torn[0]
        yield Caveat(
            "ensemble_spread", "caution",
            f"What is averaged disagrees about {len(torn)} of {len(case.changed)} changed tracks: "
            f"{case.track(first).name} {case.shown(case.sizes[first])} ± {spread[first]:.2f} over strands, shifts or "
            "alignments.",
            "Take neither the size nor the sign of these tracks for granted; look for tracks on which they agree.",
            {"tracks": case.listed(torn, size=case.sizes.__getitem__, spread=spread.__getitem__), "count": len(torn)},
        )  # fmt: skip


def _spread(case: _Case) -> Column | None:
    """(T,) standard deviation over an indel's alignments, and over strands and shifts, whichever is larger."""
    found = [] if case.spread is None else [np.asarray(case.spread, np.float64)]
    if len(case.effect.alignments) > 1:
        alone = (replace(case.effect, alt=alt, alignments=(alt,)) for alt in case.effect.alignments)
        found.append(np.std([signed_sizes(effect) for effect in alone], axis=0))
    return np.max(found, axis=0) if found else None


def _models_disagree(case: _Case) -> Iterator[Caveat]:
    against = [(other, row) for other in case.around.others for row in _against(case, other)]
    if against:
        other, row = against[0]
        says = other.sizes[case.measured(row)]
        titles = sorted({other.title for other, _ in against})
        yield Caveat(
            "models_disagree", "caution",
            f"{' and '.join(titles)} {'says' if len(titles) == 1 else 'say'} the opposite: {case.track(row).name} "
            f"goes {_direction(case.sizes[row])} here and {_direction(says)} there.",
            "Trust neither sign without a measurement; look at where the models' REF follows the measured track.",
            {"tracks": [
                {"index": case.track(row).index, "name": case.track(row).name, "size": round(float(case.sizes[row]), 4),
                 "model": other.model, "effect": other.effect, "other": round(other.sizes[case.measured(row)], 4)}
                for other, row in against[:MOST]
            ], "count": len(against)},
        )  # fmt: skip


def _against(case: _Case, other: Other) -> list[int]:
    """Rows that change notably here, and of which the other model says the opposite about as loudly."""
    return [
        row for row in case.changed
        if (size := other.sizes.get(case.measured(row))) is not None
        and size * case.sizes[row] < 0 and abs(size) >= CHANGED
    ]  # fmt: skip


def _direction(size: float) -> str:
    return "up" if size > 0 else "down"


def _indel_edge(case: _Case) -> Iterator[Caveat]:
    if len(case.effect.alignments) < 2 or not case.changed:
        return
    left, right = case.effect.alignments[:2]
    touched = junction(case.effect)
    differ = np.abs(left[:, touched] - right[:, touched]).max(axis=1, initial=0.0)
    strongest = np.abs(case.effect.delta).max(axis=1)
    torn = [row for row in case.changed
            if touched.start <= case.at[row] < touched.stop and differ[row] > DISAGREEING * strongest[row]]  # fmt: skip
    if torn:
        first = torn[0]
        yield Caveat(
            "indel_edge", "caution" if case.changed[0] in torn else "note",
            f"The largest change of {case.track(first).name} lies at the indel itself, where ALT is the mean of two "
            f"alignments with the reference that differ by {differ[first]:.3g} there.",
            "Read the bins beside the indel and the sums over 501 bp rather than the single bin at its edge.",
            {"tracks": case.listed(torn, differ=differ.__getitem__, delta=strongest.__getitem__), "count": len(torn)},
        )  # fmt: skip


def junction(effect: Effect) -> slice:
    """The bins that the variants touch; of an indel ALT is there the mean of its alignments."""
    ends = [max(change.start, change.end - 1) for change in (variant.change for variant in effect.variants)]
    first = (min(variant.change.start for variant in effect.variants) - effect.origin) // effect.bin_width
    return slice(max(first, 0), (max(ends) - effect.origin) // effect.bin_width + 1)


_CHECKS: tuple[Callable[[_Case], Iterator[Caveat]], ...] = (
    _blacklist, _models_disagree, _ensemble_spread, _indel_edge, _poor_agreement, _unknown, _chromosome_end, _repeat,
    _near_threshold, _other_assembly, _training_fold, _no_effect,
)  # fmt: skip
