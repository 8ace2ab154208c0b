"""What a site knows about an effect's position and model, for its warnings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from trackserver.catalogue.reference import Reference
from trackserver.catalogue.site import Site
from trackserver.effects import store
from trackserver.errors import DataError, UnknownModel
from trackserver.genome.locus import Locus
from trackserver.genome.regions import Regions
from trackserver.models import registry
from trackserver.models.card import ModelCard, select
from trackserver.models.folds import fold_of
from trackserver.predict.ensemble import EnsembleOptions
from trackserver.sources.source import identity_at
from trackserver.variants.effect import Effect, Question
from trackserver.variants.scores import NARROW
from trackserver.variants.warnings import OtherEffect, Overlap, Surroundings, TrackKind, track_kind


def surroundings(reference: Reference, effect: Effect) -> Surroundings:
    """What is known about an effect's position; what the site has no file for stays empty."""
    card, window = effect.card, effect.window
    size = reference.assembly.chromsizes[window.chrom]
    nearby = _nearby(effect, size)
    changed = [_changed(variant.change.start, variant.change.end, nearby.chrom, size) for variant in effect.variants]
    return Surroundings(
        assembly=reference.name,
        window=window,
        beyond=max(0, -window.start) + max(0, window.end - size),
        repeats=_repeats(reference, nearby, changed),
        blacklist=_overlap(reference.regions("blacklist"), nearby, changed),
        fold=fold_of(card, changed) if reference.name == card.assemblies[0] else "",
    )


def _nearby(effect: Effect, size: int) -> Locus:
    """501 bp around the variants' middle, cut at the chromosome's ends."""
    half = NARROW // 2
    return Locus(effect.locus.chrom, max(effect.middle - half, 0), min(effect.middle + half + 1, size))


def _changed(start: int, end: int, chrom: str, size: int) -> Locus:
    """The changed bases; for an insertion, the bases on its two sides."""
    return Locus(chrom, start, end) if end > start else Locus(chrom, max(start - 1, 0), min(start + 1, size))


def _repeats(reference: Reference, nearby: Locus, changed: list[Locus]) -> Overlap | None:
    """The overlap with the site's list of repeats, or else with the FASTA's lower-case bases."""
    if regions := reference.regions("repeats"):
        return _overlap(regions, nearby, changed)
    genome = reference.genome
    return Overlap(any(genome.masked_fraction(locus) > 0 for locus in changed), genome.masked_fraction(nearby))


def _overlap(regions: Regions | None, nearby: Locus, changed: list[Locus]) -> Overlap | None:
    if regions is None:
        return None
    hit = any(regions.touches(locus) for locus in changed)
    return Overlap(hit, regions.overlap(nearby) / len(nearby), regions.names(nearby))


def other_effects(site: Site, question: Question) -> Iterator[OtherEffect]:
    """Stored effects of the same variants by other installed models, each with its own ensemble and all its tracks."""
    question = replace(question, variants=tuple(sorted(question.variants)))
    for model in registry.installed_models(site.models):
        card = _card(site.models, model, identity_at(site.models / model / registry.CARD))
        if card and model != question.model and question.assembly in card.assemblies:
            stored = store.read(site.effects / _question_for(card, question).id / "effect.json")
            if stored:
                yield OtherEffect(model, card.title, stored["id"], _sizes(card, stored["tracks"]))


@lru_cache(64)
def _card(models: Path, model: str, identity: str) -> ModelCard | None:
    """A model's card, read again only when its file changes; `identity` is the file's."""
    try:
        return registry.card(models, model)
    except (DataError, UnknownModel):  # a damaged model, which `check` reports, must not break another's effect
        return None


def _question_for(card: ModelCard, question: Question) -> Question:
    """The question about the same variants for another model, with its defaults; only its id is valid."""
    return replace(
        question, model=card.id, weights_sha256=card.weights_sha256, tracks=select(card, None),
        ensemble=EnsembleOptions().resolve(card), full=False,
    )  # fmt: skip


def _sizes(card: ModelCard, tracks: list[dict[str, Any]]) -> dict[TrackKind, float]:
    """The signed size by kind of track; several tracks of a kind count by their mean, if they agree on the sign."""
    by_kind: dict[TrackKind, list[float]] = {}
    for track in tracks:
        if track["assay"] or track["target"]:
            kind = track_kind(*(track[name] for name in ("assay", "biosample", "target", "strand")))
            by_kind.setdefault(kind, []).append(track["delta" if card.probability else "log2fc"])
    return {kind: float(np.mean(sizes)) for kind, sizes in by_kind.items() if min(sizes) * max(sizes) > 0}
