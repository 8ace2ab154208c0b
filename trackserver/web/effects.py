"""Variants in, effects out: answered at once where known, else queued. No tile request ever waits for a model."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trackserver.catalogue import effects as store
from trackserver.catalogue.effects import Question
from trackserver.errors import InvalidRequest, NeedsTorch, UnknownEffect, UnknownJob
from trackserver.jobs import FAILED, Job
from trackserver.models.card import first_problem
from trackserver.predict.reading import MOST_SHIFTS
from trackserver.web.site import can_predict
from trackserver.web.state import body, here

blueprint = Blueprint("effects", __name__, url_prefix="/api/v1")


class Asked(BaseModel):
    """The body of a question."""

    model_config = ConfigDict(extra="forbid")

    variants: list[str] = Field(min_length=1, max_length=32)
    model: str = ""
    assembly: str = ""
    tracks: str | list[int] | None = None
    ensemble: list[Literal["rc", "none"]] | None = None
    shifts: list[int] | None = Field(default=None, max_length=MOST_SHIFTS)
    squashed: bool = False


@blueprint.post("/effects/")
def create() -> tuple[Response, int]:
    question = _question(body())
    if found := store.stored(here().site, question.id):
        return jsonify(found), 200
    if not can_predict():
        raise NeedsTorch()
    here().site.check_writable()
    site = here().site
    job = here().jobs.submit(question.id, lambda: store.compute(site, question))
    return jsonify(_progress(job)), 202


@blueprint.get("/effects/<effect_id>/")
def show(effect_id: str) -> Response:
    if found := store.stored(here().site, effect_id):
        return jsonify(found)
    try:
        return jsonify(_progress(here().jobs.get(effect_id)))
    except UnknownJob:
        raise UnknownEffect(effect_id) from None


@blueprint.get("/jobs/")
def jobs() -> Response:
    return jsonify(jobs=[_job(job) for job in here().jobs.all()])


@blueprint.get("/jobs/<job_id>/")
def job(job_id: str) -> Response:
    return jsonify(_job(here().jobs.get(job_id)))


def _question(sent: dict[str, Any]) -> Question:
    try:
        asked = Asked.model_validate(sent)
    except ValidationError as error:
        raise InvalidRequest(f"This question cannot be read: {first_problem(error)}.") from error
    site = here().site
    model = asked.model or store.default_model(site)
    tracks = ",".join(map(str, asked.tracks)) if isinstance(asked.tracks, list) else asked.tracks
    return store.ask(
        site, model, asked.assembly or site.default_assembly, asked.variants, tracks or None,
        ensemble=asked.ensemble, shifts=asked.shifts, squashed=asked.squashed,
    )  # fmt: skip


def _progress(job: Job) -> dict[str, Any]:
    described = {"id": job.id, "status": job.status, "position": job.position}
    return described | ({"error": job.error, "code": job.code} if job.status == FAILED else {})


def _job(job: Job) -> dict[str, Any]:
    times = {name: value.isoformat() if (value := getattr(job, name)) else None for name in ("created", "ended")}
    return _progress(job) | times
