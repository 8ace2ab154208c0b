"""A locus in, what every base does there out: answered at once where known, else queued."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

from trackserver.catalogue import mutagenesis as store
from trackserver.catalogue.effects import default_model
from trackserver.errors import NeedsTorch, UnknownJob, UnknownMutagenesis
from trackserver.jobs import DONE, FAILED, Job
from trackserver.predict.reading import MOST_SHIFTS
from trackserver.web.site import can_predict
from trackserver.web.state import body, here

blueprint = Blueprint("mutagenesis", __name__, url_prefix="/api/v1/mutagenesis")


class AskedMutagenesis(BaseModel):
    """A locus, every base of which is to be changed to the three others."""

    model_config = ConfigDict(extra="forbid")

    locus: str = Field(min_length=1, max_length=200)
    model: str = ""
    assembly: str = ""
    tracks: str | list[int] | None = None
    ensemble: list[Literal["rc", "none"]] | None = None
    shifts: list[int] | None = Field(default=None, max_length=MOST_SHIFTS)
    squashed: bool = False
    score: str = ""
    full: bool = False
    preview: bool = False


@blueprint.post("/")
def create() -> tuple[Response, int]:
    site = here().site
    asked = _asked()
    question = store.ask(site, **asked)
    if found := store.stored(site, question.id):
        return jsonify(found), 200
    if not can_predict():
        raise NeedsTorch()
    site.check_writable()
    return jsonify(_progress(here().jobs.submit(question.id, "mutagenesis", asked))), 202


@blueprint.get("/<mutagenesis_id>/")
def show(mutagenesis_id: str) -> Response:
    site = here().site
    if found := store.stored(site, mutagenesis_id):
        return jsonify(found)
    try:
        job = here().jobs.get(mutagenesis_id)
    except UnknownJob:
        raise UnknownMutagenesis(mutagenesis_id) from None
    if job.status != DONE:
        return jsonify(_progress(job))
    if found := store.stored(site, mutagenesis_id):  # it was done meanwhile
        return jsonify(found)
    raise UnknownMutagenesis(mutagenesis_id)


def _asked() -> dict[str, Any]:
    """The question as `catalogue.mutagenesis.ask` takes it, the site's own model and assembly where none is named."""
    asked = body(AskedMutagenesis).model_dump()
    tracks = asked["tracks"]
    return asked | {
        "model": asked["model"] or default_model(here().site),
        "assembly": asked["assembly"] or here().site.default_assembly,
        "tracks": (",".join(map(str, tracks)) if isinstance(tracks, list) else tracks) or None,
    }


def _progress(job: Job) -> dict[str, Any]:
    described = {"id": job.id, "status": job.status, "position": job.position}
    return described | ({"error": job.error, "code": job.code} if job.status == FAILED else {})
