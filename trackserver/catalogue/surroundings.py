"""What a site knows about the place of an effect and about its model: what warnings are made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from trackserver.catalogue.site import Site
from trackserver.errors import DataError, UnknownModel
from trackserver.genome.locus import Locus
from trackserver.genome.regions import Regions
from trackserver.models import registry
from trackserver.models.card import ModelCard, select
from trackserver.predict.reading import reading
from trackserver.predict.targets import FOLDS
from trackserver.tiles.source import identity_at
from trackserver.variants.effect import Effect, Question, input_window
from trackserver.variants.scores import NARROW
from trackserver.variants.trust import Measured, Other, Overlap, Surroundings, like


def surroundings(site: Site, question: Question, card: ModelCard, effect: Effect) -> Surroundings:
    """Everything that is known; what the site has no file for is left unsaid.

    Of the question only model, assembly and checksums count, so one serves for many effects.
    """
    assembly = site.assembly(question.assembly)
    window = input_window(card, effect.variants, assembly)
    size = assembly.chromsizes[window.chrom]
    place = _place(effect, size)
    changed = [_changed(variant.change.start, variant.change.end, place.chrom, size) for variant in effect.variants]
    return Surroundings(
        assembly=question.assembly,
        window=window,
        beyond=max(0, -window.start) + max(0, window.end - size),
        repeats=_repeats(site, question.assembly, place, changed),
        blacklist=_overlap(site.regions(question.assembly, "blacklist"), place, changed),
        fold=fold_of(card, changed) if question.assembly == card.assemblies[0] else "",
        others=tuple(_others(site, replace(question, variants=tuple(sorted(effect.variants))))),
    )


def _place(effect: Effect, size: int) -> Locus:
    """501 bp around the variants' middle, of them what lies on the chromosome."""
    half = NARROW // 2
    return Locus(effect.locus.chrom, max(effect.middle - half, 0), min(effect.middle + half + 1, size))


def _changed(start: int, end: int, chrom: str, size: int) -> Locus:
    """The bases that are changed; of an insertion those at its two sides."""
    return Locus(chrom, start, end) if end > start else Locus(chrom, max(start - 1, 0), min(start + 1, size))


def _repeats(site: Site, assembly: str, place: Locus, changed: list[Locus]) -> Overlap | None:
    """By the site's own list, else by the lower case of the FASTA."""
    if regions := site.regions(assembly, "repeats"):
        return _overlap(regions, place, changed)
    genome = site.genome(assembly)
    return Overlap(any(genome.masked(locus) > 0 for locus in changed), genome.masked(place))


def _overlap(regions: Regions | None, place: Locus, changed: list[Locus]) -> Overlap | None:
    if regions is None:
        return None
    hit = any(regions.touches(locus) for locus in changed)
    return Overlap(hit, regions.overlap(place) / len(place), regions.names(place))


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


def _others(site: Site, question: Question) -> Iterator[Other]:
    """What other installed models said of the same variants, each asked in its own way about all its tracks."""
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
    return Question(
        card.id, card.weights_sha256, question.assembly, question.fasta_sha256, question.variants,
        select(card, None), reading(card),
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
