"""Effects of variants, and the jobs that compute them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify
from pydantic import Field

from trackserver.effects import effects
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.errors import UnknownEffect
from trackserver.jobs.queue import Job
from trackserver.predict.ensemble import Placement
from trackserver.web import questions
from trackserver.web.state import body, here

blueprint = Blueprint("effects", __name__, url_prefix="/api/v1")
KIND = questions.QuestionKind(
    "effect",
    lambda site, fields: effect_question(site, EffectRequest.from_fields(fields)),
    effects.stored_effect,
    UnknownEffect,
    lambda question: {"lifted": question.lifted},
)


class EffectBody(questions.QuestionBody):
    """One variant, or several on one haplotype."""

    variants: list[str] = Field(min_length=1, max_length=32)
    lift_from: str = ""
    placement: Placement | None = None


@blueprint.post("/effects/")
def create() -> tuple[Response, int]:
    return questions.answer(KIND, body(EffectBody).to_fields())


@blueprint.get("/effects/<effect_id>/")
def show(effect_id: str) -> Response:
    return questions.show(KIND, effect_id)


@blueprint.get("/jobs/")
def jobs() -> Response:
    return jsonify(jobs=[_job_json(job) for job in here().jobs.all()])


@blueprint.get("/jobs/<job_id>/")
def job(job_id: str) -> Response:
    return jsonify(_job_json(here().jobs.get(job_id)))


def _job_json(job: Job) -> dict[str, Any]:
    times = {name: value.isoformat() if (value := getattr(job, name)) else None for name in ("created", "ended")}
    return questions.job_progress(job) | times
