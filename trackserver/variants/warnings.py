"""Warnings: reasons not to believe an effect, each with a severity, a sentence, advice, and evidence.

Nothing here reads a file: what a warning needs besides the effect and the model's card is in `Surroundings`.
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

MIN_UNKNOWN = 0.02  # share of N in the window that is worth a note
MIN_MUCH_UNKNOWN = 0.25  # and a caution
MIN_REPEAT_SHARE = 0.5  # of the bases around a variant that lies outside a repeat
MIN_CHANGE = 0.1  # |log2 fold change| of a track that counts as changed, as on the page
NEAR = 0.1  # fraction of a threshold within which |Δ| is near it
MAX_SPREAD = 0.5  # as a fraction of the change
MIN_PEARSON = 0.3  # with the measurement on the test fold
MAX_LISTED = 8  # tracks in a warning's evidence

TrackKind = tuple[str, str, str, str]  # assay, biosample, target and strand, in lower case


@dataclass(frozen=True)
class Overlap:
    """How the variants overlap intervals of one kind, such as repeats.

    hit : whether a changed base lies in an interval
    share : fraction of the 501 bp around the variants that lies in intervals
    names : names of the intervals that touch these 501 bp, by position
    """

    hit: bool
    share: float
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class OtherEffect:
    """Another model's effect of the same variants, `effect` being its id.

    `sizes` are signed: Δ for probabilities, otherwise log2 fold changes. Tracks are matched by kind (`track_kind`);
    several tracks of one kind count by their mean, if they agree on the sign.
    """

    model: str
    title: str
    effect: str
    sizes: dict[TrackKind, float]


@dataclass(frozen=True)
class Surroundings:
    """What is known about the variants' position and the model's training; None or empty means unknown.

    window : the model's input, of which `beyond` bp lie beyond the chromosome's ends
    repeats, blacklist : the overlap with repeats and with blacklisted regions
    fold : the fold of the model's training that the variants lie in
    others : other models' effects of the same variants on the same assembly
    """

    assembly: str
    window: Locus
    beyond: int = 0
    repeats: Overlap | None = None
    blacklist: Overlap | None = None
    fold: str = ""
    others: tuple[OtherEffect, ...] = ()


@dataclass(frozen=True)
class Caveat:
    """One warning. `advice` is what to do about it; `evidence` is strict JSON."""

    code: str
    severity: Severity
    sentence: str
    advice: str
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Case:
    """What warnings are based on; `sizes` (T,) are signed, `bins` (T,) are those of each track's largest |Δ|."""

    effect: Effect
    surroundings: Surroundings
    spread: NDArray[np.float64] | None
    sizes: Column
    bins: list[int]

    @property
    def card(self) -> ModelCard:
        return self.effect.card

    @property
    def changed(self) -> list[int]:
        """The rows that count as changed, largest change first."""
        size = np.abs(self.sizes)
        threshold = MODERATE if self.card.probability else MIN_CHANGE
        return [row for row in np.argsort(-size, kind="stable").tolist() if size[row] >= threshold]

    def track(self, row: int) -> Track:
        return self.card.tracks[self.effect.tracks[row]]

    def track_kind(self, row: int) -> TrackKind:
        track = self.track(row)
        return track_kind(track.assay, track.biosample, track.target, track.strand)

    def evidence(self, rows: Sequence[int], **values: Callable[[int], float]) -> list[dict[str, Any]]:
        """The first tracks, each with the named values."""
        return [
            {"index": self.track(row).index, "name": self.track(row).name}
            | {name: round(float(value(row)), 4) for name, value in values.items()}
            for row in rows[:MAX_LISTED]
        ]

    def format_size(self, size: float) -> str:
        return f"{size:+.2f}" if self.card.probability else f"{size:+.2f} log2"


def warnings(effect: Effect, surroundings: Surroundings, spread: NDArray[np.float64] | None = None) -> list[Caveat]:
    """All reasons not to believe an effect, most severe first.

    Parameters
    ----------
    spread
        (T,) standard deviation of each track's signed size (`signed_sizes`) over the averaged strands and shifts; None
        if there is only one, or it is unknown.
    """
    case = _Case(effect, surroundings, spread, signed_sizes(effect), effect.scores["bin"].astype(int).tolist())
    caveats = [caveat for check in _CHECKS for caveat in check(case)]
    return sorted(caveats, key=lambda caveat: SEVERITIES.index(caveat.severity))


def signed_sizes(effect: Effect) -> Column:
    """(T,) what tracks are ranked by, with its sign: Δ at the strongest bin for a probability, else log2fc."""
    return effect.scores["delta" if effect.card.probability else "log2fc"]


def track_kind(assay: str, biosample: str, target: str, strand: str) -> TrackKind:
    """The kind of a track; tracks of different models are compared if they are of the same kind."""
    return assay.lower(), biosample.lower(), target.lower(), strand


# --- The position ----------------------------------------------------------------------------------------------------


def _blacklist(case: _Case) -> Iterator[Caveat]:
    overlap = case.surroundings.blacklist
    if overlap and overlap.share > 0:
        position = "lies in" if overlap.hit else "is next to"
        yield Caveat(
            "blacklist", "warning" if overlap.hit else "caution",
            f"The variant {position} a blacklisted region{_names(overlap)}: measurements there are artefacts, and the "
            "model may have learnt them.",
            "Do not read the predicted or the measured signal here as biology.",
            _overlap_evidence(overlap),
        )  # fmt: skip


def _repeat(case: _Case) -> Iterator[Caveat]:
    overlap = case.surroundings.repeats
    if overlap and (overlap.hit or overlap.share >= MIN_REPEAT_SHARE):
        position = "lies in" if overlap.hit else "is surrounded by"
        yield Caveat(
            "repeat", "note",
            f"The variant {position} repeats{_names(overlap)}, where short reads map poorly: the measurements that the "
            "model was trained on are unreliable in such sequence.",
            "Compare with the measured tracks; if they are empty all around, prefer other evidence.",
            _overlap_evidence(overlap),
        )  # fmt: skip


def _names(overlap: Overlap) -> str:
    if not overlap.names:
        return ""
    more = len(overlap.names) - 3
    return f" ({', '.join(overlap.names[:3])}{f' and {more} more' if more > 0 else ''})"


def _overlap_evidence(overlap: Overlap) -> dict[str, Any]:
    return {"hit": overlap.hit, "share": round(overlap.share, 4), "names": list(overlap.names[:MAX_LISTED])}


def _chromosome_end(case: _Case) -> Iterator[Caveat]:
    share = case.surroundings.beyond / len(case.surroundings.window)
    if share > 0:
        yield Caveat(
            "chromosome_end", "caution" if share > MIN_MUCH_UNKNOWN else "note",
            f"{case.surroundings.beyond:,} of the {len(case.surroundings.window):,} bp in the model's window lie "
            f"beyond the end of {case.surroundings.window.chrom} and were left blank.",
            "Compare REF with the measured track first; a model with a shorter window suits this position better.",
            {"beyond": case.surroundings.beyond, "share": round(share, 4)},
        )  # fmt: skip


def _unknown(case: _Case) -> Iterator[Caveat]:
    unknown, length = case.effect.unknown, len(case.surroundings.window)
    if unknown - case.surroundings.beyond / length >= MIN_UNKNOWN:
        yield Caveat(
            "unknown_sequence", "caution" if unknown > MIN_MUCH_UNKNOWN else "note",
            f"{unknown:.0%} of the {length:,} bp in the model's window is unknown sequence (N, or beyond the "
            "chromosome's end), which the model was not trained on.",
            "Trust only bins that the gap cannot reach, or use another assembly or a model with a shorter window.",
            {"unknown": round(unknown, 4)},
        )  # fmt: skip


# --- The model -------------------------------------------------------------------------------------------------------


def _other_assembly(case: _Case) -> Iterator[Caveat]:
    assembly, trained = case.surroundings.assembly, case.card.assemblies[0]
    if assembly != trained:
        yield Caveat(
            "other_assembly", "note",
            f"{case.card.title} was trained on {trained}, but this prediction is for {assembly}.",
            f"If both assemblies have the same sequence here, so is the effect; else use the variant's position on "
            f"{trained}.",
            {"trained_on": trained, "asked": assembly},
        )  # fmt: skip


def _training_fold(case: _Case) -> Iterator[Caveat]:
    if case.surroundings.fold in ("train", "valid"):
        use = "trained" if case.surroundings.fold == "train" else "selected"
        yield Caveat(
            "training_fold", "note",
            f"The model was {use} on the measurements at this position, so it proves little that REF agrees with them.",
            "Judge the model by its figures on the test fold, or at positions held out from training.",
            {"fold": case.surroundings.fold},
        )  # fmt: skip


def _poor_agreement(case: _Case) -> Iterator[Caveat]:
    pearson = _test_pearson(case)
    poor = [row for row, r in pearson.items() if r < MIN_PEARSON]
    if poor:
        poor.sort(key=lambda row: (-abs(case.sizes[row]), row))
        yield Caveat(
            "poor_agreement", "caution",
            f"On the test fold {_poor_tracks(case, poor)} from the measurement (Pearson r = {pearson[poor[0]]:.2f}).",
            "Do not rank by such a track; prefer others of the same assay, or another model.",
            {"tracks": case.evidence(poor, pearson=pearson.__getitem__), "count": len(poor)},
        )  # fmt: skip


def _test_pearson(case: _Case) -> dict[int, float]:
    """Pearson r on the test fold by row, for the tracks whose figure is in the card."""
    fold = case.card.metrics.get("test")
    figures = fold.get("pearson") if isinstance(fold, dict) else None
    if not isinstance(figures, list):
        return {}
    rows = enumerate(case.effect.tracks)
    return {row: figures[track] for row, track in rows if track < len(figures) and figures[track] is not None}


def _poor_tracks(case: _Case, rows: Sequence[int]) -> str:
    first = case.track(rows[0]).name
    return f"{first} is far" if len(rows) == 1 else f"{len(rows)} of the chosen tracks are far, {first} among them,"


# --- The effect ------------------------------------------------------------------------------------------------------


def _no_effect(case: _Case) -> Iterator[Caveat]:
    if not case.effect.delta.any():
        yield Caveat(
            "no_effect", "note", "The model predicts no change at all on the chosen tracks.",
            "Look at all tracks; a model with a longer window, or one of splicing or coding, may show an effect.",
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
            f"{case.track(first).name} changes by {case.format_size(case.sizes[first])}, near the threshold of "
            f"{near[first]:g}" + (f"; {len(rows)} of the chosen tracks are near one." if len(rows) > 1 else "."),
            "Read the number, not the word: on the other side of the threshold it would hardly differ.",
            {"tracks": case.evidence(rows, delta=case.sizes.__getitem__, threshold=near.__getitem__),
             "count": len(rows)},
        )  # fmt: skip


def _ensemble_spread(case: _Case) -> Iterator[Caveat]:
    spread = _spread(case)
    if spread is None:
        return
    unsure = [row for row in case.changed if spread[row] > MAX_SPREAD * abs(case.sizes[row])]
    if unsure:
        first, size = unsure[0], case.format_size(case.sizes[unsure[0]])
        yield Caveat(
            "ensemble_spread", "caution",
            f"The averaged predictions disagree about {len(unsure)} of {len(case.changed)} changed tracks: "
            f"{case.track(first).name} {size} ± {spread[first]:.2f} over strands, shifts or alignments.",
            "Take neither the size nor the sign of these tracks for granted; look for tracks on which they agree.",
            {"tracks": case.evidence(unsure, size=case.sizes.__getitem__, spread=spread.__getitem__),
             "count": len(unsure)},
        )  # fmt: skip


def _spread(case: _Case) -> Column | None:
    """(T,) standard deviation over an indel's alignments, or over strands and shifts, whichever is larger."""
    spreads = [] if case.spread is None else [np.asarray(case.spread, np.float64)]
    if len(case.effect.alignments) > 1:
        effects = (replace(case.effect, alt=alt, alignments=(alt,)) for alt in case.effect.alignments)
        spreads.append(np.std([signed_sizes(effect) for effect in effects], axis=0))
    return np.max(spreads, axis=0) if spreads else None


def _models_disagree(case: _Case) -> Iterator[Caveat]:
    opposed = [(other, row) for other in case.surroundings.others for row in _opposed_rows(case, other)]
    if opposed:
        other, row = opposed[0]
        other_size = other.sizes[case.track_kind(row)]
        titles = sorted({other.title for other, _ in opposed})
        yield Caveat(
            "models_disagree", "caution",
            f"{' and '.join(titles)} {'predicts' if len(titles) == 1 else 'predict'} the opposite: "
            f"{case.track(row).name} goes {_direction(case.sizes[row])} here and {_direction(other_size)} there.",
            "Trust neither sign without a measurement; check which model's REF follows the measured track.",
            {"tracks": [
                {"index": case.track(row).index, "name": case.track(row).name, "size": round(float(case.sizes[row]), 4),
                 "model": other.model, "effect": other.effect, "other": round(other.sizes[case.track_kind(row)], 4)}
                for other, row in opposed[:MAX_LISTED]
            ], "count": len(opposed)},
        )  # fmt: skip


def _opposed_rows(case: _Case, other: OtherEffect) -> list[int]:
    """Changed rows for which the other model predicts a change in the opposite direction."""
    return [
        row for row in case.changed
        if (size := other.sizes.get(case.track_kind(row))) is not None
        and size * case.sizes[row] < 0 and abs(size) >= MIN_CHANGE
    ]  # fmt: skip


def _direction(size: float) -> str:
    return "up" if size > 0 else "down"


def _indel_edge(case: _Case) -> Iterator[Caveat]:
    if len(case.effect.alignments) < 2 or not case.changed:
        return
    left, right = case.effect.alignments[:2]
    touched = junction(case.effect)
    difference = np.abs(left[:, touched] - right[:, touched]).max(axis=1, initial=0.0)
    strongest = np.abs(case.effect.delta).max(axis=1)
    unsure = [row for row in case.changed
              if touched.start <= case.bins[row] < touched.stop
              and difference[row] > MAX_SPREAD * strongest[row]]  # fmt: skip
    if unsure:
        first = unsure[0]
        yield Caveat(
            "indel_edge", "caution" if case.changed[0] in unsure else "note",
            f"The largest change of {case.track(first).name} lies at the indel itself, where ALT is the mean of two "
            f"alignments with the reference, which differ by {difference[first]:.3g}.",
            "Read the bins beside the indel and the sums over 501 bp rather than the single bin at its edge.",
            {"tracks": case.evidence(unsure, differ=difference.__getitem__, delta=strongest.__getitem__),
             "count": len(unsure)},
        )  # fmt: skip


def junction(effect: Effect) -> slice:
    """The bins that the variants touch, where ALT is the mean of an indel's alignments."""
    ends = [max(change.start, change.end - 1) for change in (variant.change for variant in effect.variants)]
    first = (min(variant.change.start for variant in effect.variants) - effect.origin) // effect.bin_width
    return slice(max(first, 0), (max(ends) - effect.origin) // effect.bin_width + 1)


_CHECKS: tuple[Callable[[_Case], Iterator[Caveat]], ...] = (
    _blacklist, _models_disagree, _ensemble_spread, _indel_edge, _poor_agreement, _unknown, _chromosome_end, _repeat,
    _near_threshold, _other_assembly, _training_fold, _no_effect,
)  # fmt: skip
