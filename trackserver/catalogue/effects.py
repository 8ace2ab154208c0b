"""Effects of a site: asked, computed once, kept in `effects/<id>/` and served as tilesets.

An effect's directory holds `effect.json` (everything but the arrays), `ref.npy` and `alt.npy` (T, bins). It
appears whole or not at all, so a reader never sees half of one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver import __version__
from trackserver.catalogue import answers, loaded
from trackserver.catalogue.background import with_percentiles
from trackserver.catalogue.questions import ask
from trackserver.catalogue.site import Site
from trackserver.catalogue.surroundings import surroundings
from trackserver.errors import InvalidRequest, UnknownEffect, UnknownTileset
from trackserver.genome.locus import Locus
from trackserver.genome.variant import Variant
from trackserver.models import registry
from trackserver.models.card import ModelCard, select
from trackserver.predict.reading import reading
from trackserver.tiles.array import ArrayTileset
from trackserver.tiles.grid import Grid
from trackserver.tiles.source import identity_at
from trackserver.variants.effect import Effect, Question, alternatives, effect
from trackserver.variants.expression import gene_changes
from trackserver.variants.scores import TrackScores, columns, impact, rank
from trackserver.variants.trust import signed_sizes, warnings

MOST_GENES = 2000  # rows of a gene in a sample: a window of 100 genes and 500 samples has 50,000
ALLELES = ("ref", "alt", "delta")
_UID = re.compile(r"^fx-(?P<id>[0-9a-f]{20})-(?P<track>\d{1,5})-(?P<allele>ref|alt|delta)$")
_ID = re.compile(r"^[0-9a-f]{20}$")


def stored(site: Site, effect_id: str) -> dict[str, Any] | None:
    """The description of a computed effect, with the percentiles of the background there is now, or None."""
    found = _kept(site, effect_id)
    return with_percentiles(site, found) if found else None


def _kept(site: Site, effect_id: str) -> dict[str, Any] | None:
    if not _ID.match(effect_id):
        raise UnknownEffect(effect_id)
    return answers.read(site.effects / effect_id / "effect.json")


def answer(site: Site, effect_id: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The effect of a question, as `ask` takes it, that has waited under an id."""
    return compute(site, waited(site, effect_id, asked))


def waited(site: Site, effect_id: str, asked: Mapping[str, Any]) -> Question:
    """A question, as `ask` takes it, that has waited under an id; raises `InvalidRequest` where it is another now."""
    question = ask(site, **asked)
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
    card = questions[0].reading.placed(registry.card(site.models, questions[0].model))
    began = time.perf_counter()
    results = _effects(site, card, questions)
    seconds = time.perf_counter() - began
    found = []
    for question, result in zip(questions, results, strict=True):
        found.append(describe(site, question, card, result, seconds))
        answers.store(site.effects / question.id / "effect.json", found[-1], {"ref": result.ref, "alt": result.alt})
    return found


def _effects(site: Site, card: ModelCard, questions: Sequence[Question]) -> list[Effect]:
    one, *others = questions
    predictor = loaded.predictor(site, one.model, card.weights_sha256, one.tracks, one.reading)
    place = site.genome(one.assembly), site.assembly(one.assembly)
    if others:
        return alternatives(predictor, *place, [question.variants for question in questions], loaded.cones(site))
    return [effect(predictor, *place, one.variants, None if one.full else loaded.cones(site))]


def default_model(site: Site) -> str:
    """The model that is meant where none is named: the site's own, else the first installed; empty without any."""
    return site.settings.model or next(iter(registry.installed(site.models)), "")


def warm_up(site: Site) -> None:
    """Load the default model, so that the first question is answered as fast as the second."""
    card = registry.card(site.models, default_model(site))
    loaded.predictor(site, card.id, card.weights_sha256, select(card, None), reading(card))


def describe(site: Site, question: Question, card: ModelCard, result: Effect, seconds: float) -> dict[str, Any]:
    """What the API and the command line say of an effect; strict JSON. Percentiles are for whoever answers to add."""
    around, genes = surroundings(site, question, card, result), site.genes(question.assembly)
    scored, changes = columns(result, card), gene_changes(result, card, genes) if genes else []
    return {
        "id": question.id,
        "status": "done",
        "question": {
            "model": question.model,
            "assembly": question.assembly,
            "variants": [str(variant) for variant in question.variants],
            "tracks": list(question.tracks),
            **question.reading.asked(),
            "full": question.full,
        },
        "lifted": list(question.lifted),
        "variants": [_variant(site, question.assembly, variant) for variant in question.variants],
        "locus": asdict(result.locus),
        "origin": result.origin,
        "bin_width": result.bin_width,
        "impact": impact(result, card, scored, site.settings.impact_weights),
        "tracks": [_track(question.id, card, scores) for scores in rank(result, card, scored)],
        "genes": [asdict(change) for change in changes[:MOST_GENES]],
        "genes_left_out": max(len(changes) - MOST_GENES, 0),
        "warnings": [asdict(caveat) for caveat in warnings(result, card, scored, around, _spread(result, card))],
        "provenance": {
            "model": card.id,
            "title": card.title,
            "licence": card.licence,
            "weights_sha256": card.weights_sha256,
            "assembly": question.assembly,
            "fasta_sha256": question.fasta_sha256,
            "strands": question.reading.words(),
            "background": None,
            "version": __version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
        },
    }


def _spread(result: Effect, card: ModelCard) -> NDArray[np.float64] | None:
    """(T,) how far strands and shifts differ; None where one only was asked."""
    if not result.members:
        return None
    return np.asarray(np.std([signed_sizes(member, card) for member in result.members], axis=0))


def _variant(site: Site, assembly: str, variant: Variant) -> dict[str, Any]:
    genes = site.genes(assembly)
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


def is_effect_uid(uid: str) -> bool:
    return uid.startswith("fx-")


def effect_version(site: Site, uid: str) -> str:
    """What tells one computation of an effect from another, were it deleted and asked for again."""
    match = _UID.match(uid)
    return identity_at(site.effects / match["id"] / "effect.json") if match else ""


def open_effect_tileset(site: Site, uid: str) -> ArrayTileset:
    """One allele of one track of a stored effect."""
    match = _UID.match(uid)
    described = _kept(site, match["id"]) if match else None
    if not match or not described:
        raise UnknownTileset(uid)
    rows = described["question"]["tracks"]
    track = next((entry for entry in described["tracks"] if entry["index"] == int(match["track"])), None)
    if track is None:
        raise UnknownTileset(uid)
    values = _values(site.effects / match["id"], rows.index(track["index"]), match["allele"])
    grid = Grid(site.assembly(described["question"]["assembly"]))
    name = f"{track['name']} {'Δ' if match['allele'] == 'delta' else match['allele'].upper()}"
    return ArrayTileset(values, Locus(**described["locus"]), described["origin"], described["bin_width"], grid, name)


def _values(place: Path, row: int, allele: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    try:
        ref, alt = (np.load(place / f"{name}.npy", mmap_mode="r") for name in ("ref", "alt"))
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"The effect {place.name} is damaged; delete {place} and ask again.") from error
    return np.array({"ref": ref, "alt": alt}[allele][row] if allele != "delta" else alt[row] - ref[row])
