"""What a site knows about the place of an effect and about its model: what warnings are made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from trackserver.catalogue.reference import Reference
from trackserver.catalogue.site import Site
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
from trackserver.variants.warnings import Measured, Other, Overlap, Surroundings, like


def surroundings(site: Site, assembly: str, effect: Effect) -> Surroundings:
    """What is known of an effect's place; what the site has no file for is left unsaid."""
    card, window, reference = effect.card, effect.window, site.reference(assembly)
    size = reference.assembly.chromsizes[window.chrom]
    place = _place(effect, size)
    changed = [_changed(variant.change.start, variant.change.end, place.chrom, size) for variant in effect.variants]
    return Surroundings(
        assembly=assembly,
        window=window,
        beyond=max(0, -window.start) + max(0, window.end - size),
        repeats=_repeats(reference, place, changed),
        blacklist=_overlap(reference.regions("blacklist"), place, changed),
        fold=fold_of(card, changed) if assembly == card.assemblies[0] else "",
    )


def _place(effect: Effect, size: int) -> Locus:
    """501 bp around the variants' middle, of them what lies on the chromosome."""
    half = NARROW // 2
    return Locus(effect.locus.chrom, max(effect.middle - half, 0), min(effect.middle + half + 1, size))


def _changed(start: int, end: int, chrom: str, size: int) -> Locus:
    """The bases that are changed; of an insertion those at its two sides."""
    return Locus(chrom, start, end) if end > start else Locus(chrom, max(start - 1, 0), min(start + 1, size))


def _repeats(reference: Reference, place: Locus, changed: list[Locus]) -> Overlap | None:
    """By the site's own list, else by the lower case of the FASTA."""
    if regions := reference.regions("repeats"):
        return _overlap(regions, place, changed)
    genome = reference.genome
    return Overlap(any(genome.masked(locus) > 0 for locus in changed), genome.masked(place))


def _overlap(regions: Regions | None, place: Locus, changed: list[Locus]) -> Overlap | None:
    if regions is None:
        return None
    hit = any(regions.touches(locus) for locus in changed)
    return Overlap(hit, regions.overlap(place) / len(place), regions.names(place))


def other_models(site: Site, question: Question) -> Iterator[Other]:
    """What other installed models said of the same variants, each asked in its own way about all its tracks."""
    question = replace(question, variants=tuple(sorted(question.variants)))
    for model in registry.installed(site.models):
        card = _card(site.models, model, identity_at(site.models / model / registry.CARD))
        if card and model != question.model and question.assembly in card.assemblies:
            if found := _kept(site, _asked_of(card, question)):
                yield Other(model, card.title, found["id"], _sizes(card, found["tracks"]))


@lru_cache(64)
def _card(models: Path, model: str, identity: str) -> ModelCard | None:
    """A card, read once for as long as its file stays the same."""
    try:
        return registry.card(models, model)
    except (DataError, UnknownModel):  # another model's damage, which `check` names, is not this effect's
        return None


def _asked_of(card: ModelCard, question: Question) -> Question:
    """The same variants, asked of another model in its own way; of the question only the id is used."""
    return replace(
        question, model=card.id, weights_sha256=card.weights_sha256, tracks=select(card, None),
        ensemble=EnsembleOptions().of(card), full=False,
    )  # fmt: skip


def _kept(site: Site, question: Question) -> dict[str, Any] | None:
    try:
        return dict(json.loads((site.effects / question.id / "effect.json").read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _sizes(card: ModelCard, tracks: list[dict[str, Any]]) -> dict[Measured, float]:
    """The signed size of what is measured; the mean of several tracks where they agree on the sign."""
    alike: dict[Measured, list[float]] = {}
    for track in tracks:
        if track["assay"] or track["target"]:
            kind = like(*(track[name] for name in ("assay", "biosample", "target", "strand")))
            alike.setdefault(kind, []).append(track["delta" if card.probability else "log2fc"])
    return {kind: float(np.mean(sizes)) for kind, sizes in alike.items() if min(sizes) * max(sizes) > 0}
