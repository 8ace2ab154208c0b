"""Variants in, effects out: answered at once where known, else queued. No tile request ever waits for a model."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

from trackserver.catalogue import effects as store
from trackserver.catalogue.questions import ask
from trackserver.errors import NeedsTorch, UnknownEffect, UnknownJob
from trackserver.jobs import DONE, FAILED, Job
from trackserver.predict.reading import MOST_SHIFTS
from trackserver.web.site import can_predict
from trackserver.web.state import body, here

blueprint = Blueprint("effects", __name__, url_prefix="/api/v1")


class AskedEffect(BaseModel):
    """A question: one variant, or several that are one haplotype."""

    model_config = ConfigDict(extra="forbid")

    variants: list[str] = Field(min_length=1, max_length=32)
    model: str = ""
    assembly: str = ""
    tracks: str | list[int] | None = None
    ensemble: list[Literal["rc", "none"]] | None = None
    shifts: list[int] | None = Field(default=None, max_length=MOST_SHIFTS)
    squashed: bool = False
    full: bool = False
    lift_from: str = ""


@blueprint.post("/effects/")
def create() -> tuple[Response, int]:
    site = here().site
    asked = _asked()
    question = ask(site, **asked)
    if found := store.stored(site, question.id):
        return jsonify({**found, "lifted": question.lifted}), 200
    if not can_predict():
        raise NeedsTorch()
    site.check_writable()
    return jsonify(_progress(here().jobs.submit(question.id, "effect", asked))), 202


@blueprint.get("/effects/<effect_id>/")
def show(effect_id: str) -> Response:
    site = here().site
    if found := store.stored(site, effect_id):
        return jsonify(found)
    try:
        job = here().jobs.get(effect_id)
    except UnknownJob:
        raise UnknownEffect(effect_id) from None
    if job.status != DONE:
        return jsonify(_progress(job))
    if found := store.stored(site, effect_id):  # it was done meanwhile
        return jsonify(found)
    raise UnknownEffect(effect_id)


@blueprint.get("/jobs/")
def jobs() -> Response:
    return jsonify(jobs=[_job(job) for job in here().jobs.all()])


@blueprint.get("/jobs/<job_id>/")
def job(job_id: str) -> Response:
    return jsonify(_job(here().jobs.get(job_id)))


def _asked() -> dict[str, Any]:
    """The question as `catalogue.questions.ask` takes it, the site's own model and assembly where none is named."""
    asked = body(AskedEffect).model_dump()
    tracks = asked["tracks"]
    return asked | {
        "model": asked["model"] or store.default_model(here().site),
        "assembly": asked["assembly"] or here().site.default_assembly,
        "tracks": (",".join(map(str, tracks)) if isinstance(tracks, list) else tracks) or None,
    }


def _progress(job: Job) -> dict[str, Any]:
    described = {"id": job.id, "status": job.status, "position": job.position}
    return described | ({"error": job.error, "code": job.code} if job.status == FAILED else {})


def _job(job: Job) -> dict[str, Any]:
    times = {name: value.isoformat() if (value := getattr(job, name)) else None for name in ("created", "ended")}
    return _progress(job) | times
