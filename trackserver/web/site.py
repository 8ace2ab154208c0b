"""The site's first view, assemblies, models and their tracks, and search."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from flask import Blueprint, Response, jsonify, request

from trackserver.catalogue.search import search
from trackserver.catalogue.site import Site
from trackserver.catalogue.uids import CHROMSIZES, GENES
from trackserver.effects.effects import default_model
from trackserver.errors import DataError
from trackserver.models import registry
from trackserver.models.card import ModelCard
from trackserver.web.state import here, query_assembly

blueprint = Blueprint("site", __name__, url_prefix="/api/v1")


@blueprint.get("/site/")
def site() -> Response:
    """What the page needs to open."""
    served = here().site
    settings = served.settings
    return jsonify(
        title=settings.title,
        notice=settings.notice,
        assembly=served.default_assembly,
        models=registry.installed_models(served.models),
        default_model=default_model(served) or None,
        view={"locus": settings.locus, "rows": settings.rows},
        examples=[example.model_dump() for example in settings.examples],
        show=settings.show or None,
    )


@blueprint.get("/assemblies/")
def assemblies() -> Response:
    return jsonify(assemblies=[_assembly(here().site, name) for name in here().site.assembly_names])


def _assembly(served: Site, name: str) -> dict[str, Any]:
    assembly = served.assembly(name)
    return {
        "name": name,
        "length": assembly.length,
        "chromsizes": [list(pair) for pair in assembly.chromsizes.items()],
        "chromsizes_uid": f"{CHROMSIZES}{name}",
        "genes_uid": f"{GENES}{name}" if served.settings.assemblies[name].genes else None,
        "has_sequence": served.reference(name).has_genome,
    }


@blueprint.get("/models/")
def models() -> Response:
    """Installed models; a model whose card cannot be read has its error instead."""
    models = []
    for model_id in registry.installed_models(here().site.models):
        try:
            models.append(_model(registry.card(here().site.models, model_id)))
        except DataError as error:
            models.append({"id": model_id, "can_predict": False, "error": str(error)})
    return jsonify(models=models)


@blueprint.get("/models/<model_id>/")
def model(model_id: str) -> Response:
    card = registry.card(here().site.models, model_id)
    return jsonify(**_model(card), metrics=card.metrics, provenance=card.provenance, config=card.config)


def _model(card: ModelCard) -> dict[str, Any]:
    return {
        "id": card.id, "title": card.title, "summary": card.summary, "architecture": card.architecture,
        "assemblies": card.assemblies, "window": card.window, "crop": card.crop, "bin_width": card.bin_width,
        "head": card.head, "n_tracks": len(card.tracks), "probability": card.probability, "n_value": card.n_value,
        "placement": card.placement, "strands": card.strands, "licence": card.licence, "citation": card.citation,
        "page": card.page,
        "weights_sha256": card.weights_sha256, "can_predict": can_predict(),
    }  # fmt: skip


def can_predict() -> bool:
    """Whether torch is installed; a server without it only shows tracks."""
    return find_spec("torch") is not None


@blueprint.get("/models/<model_id>/tracks/")
def tracks(model_id: str) -> Response:
    """A model's tracks: `q` matches anywhere, `assay`, `biosample` and `target` exactly."""
    card = registry.card(here().site.models, model_id)
    text = request.args.get("q", "").lower()
    exact = {field: request.args[field].lower() for field in ("assay", "biosample", "target") if field in request.args}
    matches = [
        asdict(track)
        for track in card.tracks
        if text in " ".join((track.name, track.assay, track.biosample, track.target)).lower()
        and all(getattr(track, field).lower() == value for field, value in exact.items())
    ]
    return jsonify(model=card.id, count=len(matches), tracks=matches)


@blueprint.get("/search/")
def find() -> Response:
    return jsonify(search(here().site, request.args.get("q", ""), query_assembly()))
