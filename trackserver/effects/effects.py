"""Effects of a site: computed once, stored in `effects/<id>/`, and served as tilesets.

An effect's folder holds `effect.json` (everything but the arrays), `ref.npy` and `alt.npy` (T, bins). It appears whole
or not at all, so a reader never sees half an effect.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.catalogue.reference import Reference
from trackserver.catalogue.site import Site
from trackserver.effects import models, store
from trackserver.effects.background import with_percentiles
from trackserver.effects.context import other_effects, surroundings
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.errors import InvalidRequest, UnknownEffect
from trackserver.genome.genes import Genes
from trackserver.genome.variant import Variant
from trackserver.models import registry
from trackserver.models.card import ModelCard, select
from trackserver.predict.ensemble import EnsembleOptions
from trackserver.predict.provenance import provenance
from trackserver.variants.effect import Effect, Question, effect, haplotype_effects
from trackserver.variants.expression import gene_changes
from trackserver.variants.scores import TrackScores, impact, rank
from trackserver.variants.warnings import signed_sizes, warnings

MAX_GENES = 2000  # rows, one per gene and sample: a window of 100 genes and 500 samples has 50,000
ALLELES = ("ref", "alt", "delta")
_ID = re.compile(r"^[0-9a-f]{20}$")


def stored_effect(site: Site, effect_id: str) -> dict[str, Any] | None:
    """The description of a stored effect, with percentiles of the current background; None if it is not stored."""
    description = read_description(site, effect_id)
    return with_percentiles(site, description) if description else None


def read_description(site: Site, effect_id: str) -> dict[str, Any] | None:
    """The description of a stored effect, without percentiles; None if it is not stored."""
    if not _ID.match(effect_id):
        raise UnknownEffect(effect_id)
    return store.read(site.effects / effect_id / "effect.json")


def compute_request(site: Site, effect_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Compute a request that was queued under an id."""
    return compute(site, question_of(site, effect_id, fields))


def question_of(site: Site, effect_id: str, fields: Mapping[str, Any]) -> Question:
    """The question of a request that was queued under an id; raises `InvalidRequest` if its id has changed since."""
    question = effect_question(site, EffectRequest.from_fields(fields))
    if question.id != effect_id:
        raise InvalidRequest("The model or the reference was replaced while this request was queued; ask again.")
    return question


def compute(site: Site, question: Question) -> dict[str, Any]:
    """The effect's description; computes and stores the effect unless the site has it already."""
    if description := stored_effect(site, question.id):
        return {**description, "lifted": list(question.lifted)}
    (description,) = compute_together(site, [question])
    return with_percentiles(site, description)


def compute_together(site: Site, questions: Sequence[Question]) -> list[dict[str, Any]]:
    """Compute and store several effects at once; returns their descriptions, without percentiles.

    Several questions may differ in their variants only, must share a window, and have neither indels nor `full`.
    """
    site.check_writable()
    card = questions[0].ensemble.place_variants(registry.card(site.models, questions[0].model))
    reference = site.reference(questions[0].assembly)
    began = time.perf_counter()
    results = _predict(site, reference, card, questions)
    seconds = time.perf_counter() - began
    descriptions = []
    for question, result in zip(questions, results, strict=True):
        description = describe(site, question, card, result, seconds, reference)
        store.write(site.effects / question.id / "effect.json", description, {"ref": result.ref, "alt": result.alt})
        descriptions.append(description)
    return descriptions


def _predict(site: Site, reference: Reference, card: ModelCard, questions: Sequence[Question]) -> list[Effect]:
    first, *others = questions
    predictor = models.predictor(site, first.model, card.weights_sha256, first.tracks, first.ensemble)
    genome, assembly = reference.genome, reference.assembly
    if others:
        haplotypes = [question.variants for question in questions]
        return haplotype_effects(predictor, genome, assembly, haplotypes, models.cones(site), window=first.window)
    cones = None if first.full else models.cones(site)
    return [effect(predictor, genome, assembly, first.variants, cones, window=first.window)]


def default_model(site: Site) -> str:
    """The model for requests that name none: the site's setting, or the first installed one; empty without any."""
    return site.settings.model or next(iter(registry.installed_models(site.models)), "")


def warm_up(site: Site) -> None:
    """Load the default model, so that the first request is as fast as the second."""
    card = registry.card(site.models, default_model(site))
    models.predictor(site, card.id, card.weights_sha256, select(card, None), EnsembleOptions().resolve(card))


def describe(
    site: Site, question: Question, card: ModelCard, result: Effect, seconds: float, reference: Reference
) -> dict[str, Any]:
    """The JSON of an effect, for the API and the command line, without percentiles."""
    genes = reference.genes()
    context = replace(surroundings(reference, result), others=tuple(other_effects(site, question)))
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
        "variants": [_variant(variant, genes) for variant in question.variants],
        "locus": asdict(result.locus),
        "origin": result.origin,
        "bin_width": result.bin_width,
        "impact": impact(result, site.settings.impact_weights),
        "tracks": [_track(question.id, card, scores) for scores in rank(result)],
        "genes": [asdict(change) for change in changes[:MAX_GENES]],
        "genes_left_out": max(len(changes) - MAX_GENES, 0),
        "warnings": [asdict(caveat) for caveat in warnings(result, context, _spread(result))],
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
    """(T,) standard deviation over strands and shifts; None if there is only one."""
    if not result.members:
        return None
    return np.asarray(np.std([signed_sizes(member) for member in result.members], axis=0))


def _variant(variant: Variant, genes: Genes | None) -> dict[str, Any]:
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
