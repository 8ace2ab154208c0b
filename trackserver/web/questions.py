"""Questions to a model: return the result if it is stored, otherwise queue the question. No tile waits for a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flask import Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

from trackserver.catalogue.site import Site
from trackserver.effects.effects import default_model
from trackserver.errors import NeedsTorch, NotFound, UnknownJob
from trackserver.jobs.queue import DONE, FAILED, Job
from trackserver.predict.ensemble import MAX_SHIFTS
from trackserver.web.site import can_predict
from trackserver.web.state import here

# Limits the questions that are parsed at the same time, so that tiles get the other threads.
_parsing = threading.BoundedSemaphore(2)


class QuestionBody(BaseModel):
    """The fields that all questions have."""

    model_config = ConfigDict(extra="forbid")

    model: str = ""
    assembly: str = ""
    tracks: str | list[int] | None = None
    ensemble: list[Literal["rc", "none"]] | None = None
    shifts: list[int] | None = Field(default=None, max_length=MAX_SHIFTS)
    squashed: bool = False
    full: bool = False

    def to_fields(self) -> dict[str, Any]:
        """The fields of a request, with the site's own model and assembly by default."""
        fields, tracks = self.model_dump(), self.tracks
        return fields | {
            "model": self.model or default_model(here().site),
            "assembly": self.assembly or here().site.default_assembly,
            "tracks": (",".join(map(str, tracks)) if isinstance(tracks, list) else tracks) or None,
        }


@dataclass(frozen=True)
class QuestionKind:
    """A kind of question.

    name : the kind of job that computes it
    parse : makes a question, which has an `id`, from the fields of a request
    stored_result : reads a result by id; None if it is not computed yet
    unknown : the error for an id that is neither stored nor queued
    request_notes : facts about the request to return along with the result
    """

    name: str
    parse: Callable[[Site, Mapping[str, Any]], Any]
    stored_result: Callable[[Site, str], dict[str, Any] | None]
    unknown: Callable[[str], NotFound]
    request_notes: Callable[[Any], dict[str, Any]] = lambda question: {}


def answer(kind: QuestionKind, fields: dict[str, Any]) -> tuple[Response, int]:
    """Respond with the result (200), or with the question's position in the queue (202)."""
    site = here().site
    with _parsing:
        question = kind.parse(site, fields)
    if result := kind.stored_result(site, question.id):
        return jsonify(result | kind.request_notes(question)), 200
    if not can_predict():
        raise NeedsTorch()
    site.check_writable()
    return jsonify(job_progress(here().jobs.submit(question.id, kind.name, fields))), 202


def show(kind: QuestionKind, result_id: str) -> Response:
    """Respond with a result, or with the progress of its job."""
    site = here().site
    if result := kind.stored_result(site, result_id):
        return jsonify(result)
    try:
        job = here().jobs.get(result_id)
    except UnknownJob:
        raise kind.unknown(result_id) from None
    if job.status != DONE:
        return jsonify(job_progress(job))
    if result := kind.stored_result(site, result_id):  # it may have ended just now
        return jsonify(result)
    raise kind.unknown(result_id)


def job_progress(job: Job) -> dict[str, Any]:
    progress = {"id": job.id, "status": job.status, "position": job.position}
    return progress | ({"error": job.error, "code": job.code} if job.status == FAILED else {})
