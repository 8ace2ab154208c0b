"""Effects of a site: asked, computed once, kept in `effects/<id>/` and served as tilesets.

An effect's directory holds `effect.json` (everything but the arrays), `ref.npy` and `alt.npy` (T, bins). It
appears whole or not at all, so a reader never sees half of one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.catalogue.site import Site
from trackserver.effects import models, store
from trackserver.effects.background import with_percentiles
from trackserver.effects.context import other_models, surroundings
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.errors import InvalidRequest, UnknownEffect
from trackserver.genome.variant import Variant
from trackserver.models import registry
from trackserver.models.card import ModelCard, select
from trackserver.predict.ensemble import EnsembleOptions
from trackserver.predict.provenance import provenance
from trackserver.variants.effect import Effect, Question, alternatives, effect
from trackserver.variants.expression import gene_changes
from trackserver.variants.scores import TrackScores, impact, rank
from trackserver.variants.warnings import signed_sizes, warnings

MOST_GENES = 2000  # rows of a gene in a sample: a window of 100 genes and 500 samples has 50,000
ALLELES = ("ref", "alt", "delta")
_ID = re.compile(r"^[0-9a-f]{20}$")


def stored(site: Site, effect_id: str) -> dict[str, Any] | None:
    """The description of a computed effect, with the percentiles of the background there is now, or None."""
    found = description(site, effect_id)
    return with_percentiles(site, found) if found else None


def description(site: Site, effect_id: str) -> dict[str, Any] | None:
    if not _ID.match(effect_id):
        raise UnknownEffect(effect_id)
    return store.read(site.effects / effect_id / "effect.json")


def answer(site: Site, effect_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The effect of a request that has waited under an id."""
    return compute(site, question_of(site, effect_id, fields))


def question_of(site: Site, effect_id: str, fields: Mapping[str, Any]) -> Question:
    """The question of a request that has waited under an id; raises `InvalidRequest` where it is another now."""
    question = effect_question(site, EffectRequest.from_fields(fields))
    if question.id != effect_id:
        raise InvalidRequest("The model or the reference was replaced while this waited; ask again.")
    return question


def compute(site: Site, question: Question) -> dict[str, Any]:
    """The effect's description, from the site where it is stored, else computed and stored now."""
    if found := stored(site, question.id):
        return {**found, "lifted": list(question.lifted)}
    (described,) = compute_together(site, [question])
    return with_percentiles(site, described)


def compute_together(site: Site, questions: Sequence[Question]) -> list[dict[str, Any]]:
    """The descriptions of effects that are computed and stored now, without percentiles.

    Several differ in their variants only, which have one window and no indel, and are not asked in full.
    """
    site.check_writable()
    card = questions[0].ensemble.placed(registry.card(site.models, questions[0].model))
    began = time.perf_counter()
    results = _effects(site, card, questions)
    seconds = time.perf_counter() - began
    found = []
    for question, result in zip(questions, results, strict=True):
        found.append(describe(site, question, card, result, seconds))
        store.store(site.effects / question.id / "effect.json", found[-1], {"ref": result.ref, "alt": result.alt})
    return found


def _effects(site: Site, card: ModelCard, questions: Sequence[Question]) -> list[Effect]:
    one, *others = questions
    predictor = models.predictor(site, one.model, card.weights_sha256, one.tracks, one.ensemble)
    place = site.reference(one.assembly).genome, site.assembly(one.assembly)
    if others:
        several = [question.variants for question in questions]
        return alternatives(predictor, *place, several, models.cones(site), window=one.window)
    return [effect(predictor, *place, one.variants, None if one.full else models.cones(site), window=one.window)]


def default_model(site: Site) -> str:
    """The model that is meant where none is named: the site's own, else the first installed; empty without any."""
    return site.settings.model or next(iter(registry.installed(site.models)), "")


def warm_up(site: Site) -> None:
    """Load the default model, so that the first question is answered as fast as the second."""
    card = registry.card(site.models, default_model(site))
    models.predictor(site, card.id, card.weights_sha256, select(card, None), EnsembleOptions().of(card))


def describe(site: Site, question: Question, card: ModelCard, result: Effect, seconds: float) -> dict[str, Any]:
    """What the API and the command line say of an effect; strict JSON. Percentiles are for whoever answers to add."""
    others, genes = other_models(site, question), site.reference(question.assembly).genes()
    around = replace(surroundings(site, question.assembly, result), others=tuple(others))
    changes = gene_changes(result, genes) if genes else []
    return {
        "id": question.id,
        "status": "done",
        "question": {
            "model": question.model,
            "assembly": question.assembly,
            "variants": [str(variant) for variant in question.variants],
            "tracks": list(question.tracks),
            **question.ensemble.options(),
            "full": question.full,
        },
        "lifted": list(question.lifted),
        "variants": [_variant(site, question.assembly, variant) for variant in question.variants],
        "locus": asdict(result.locus),
        "origin": result.origin,
        "bin_width": result.bin_width,
        "impact": impact(result, site.settings.impact_weights),
        "tracks": [_track(question.id, card, scores) for scores in rank(result)],
        "genes": [asdict(change) for change in changes[:MOST_GENES]],
        "genes_left_out": max(len(changes) - MOST_GENES, 0),
        "warnings": [asdict(caveat) for caveat in warnings(result, around, _spread(result))],
        "provenance": provenance(
            card,
            question.assembly,
            question.fasta_sha256,
            question.ensemble,
            background=None,
            seconds=round(seconds, 3),
        ),
    }


def _spread(result: Effect) -> NDArray[np.float64] | None:
    """(T,) how far strands and shifts differ; None where one only was asked."""
    if not result.members:
        return None
    return np.asarray(np.std([signed_sizes(member) for member in result.members], axis=0))


def _variant(site: Site, assembly: str, variant: Variant) -> dict[str, Any]:
    genes = site.reference(assembly).genes()
    near = genes.nearest(variant.chrom, variant.start) if genes else None
    return {
        "text": str(variant),
        **asdict(variant),
        "kind": variant.kind,
        "nearest_gene": {"name": near[0].name, "distance": near[1]} if near else None,
    }


def _track(effect_id: str, card: ModelCard, scores: TrackScores) -> dict[str, Any]:
    track = card.tracks[scores.index]
    return {
        "name": track.name,
        "assay": track.assay,
        "biosample": track.biosample,
        "target": track.target,
        "strand": track.strand,
        **asdict(scores),
        "tilesets": {allele: f"fx-{effect_id}-{track.index}-{allele}" for allele in ALLELES},
    }
