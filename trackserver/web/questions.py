"""Questions to a model: answered at once where the answer is known, else queued. No tile ever waits for a model."""

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
from trackserver.predict.ensemble import MOST_SHIFTS
from trackserver.web.site import can_predict
from trackserver.web.state import here

# Questions that are read at the same time, however many come: tiles have the other threads and most of the time.
_reading = threading.BoundedSemaphore(2)


class Asked(BaseModel):
    """What questions have in common."""

    model_config = ConfigDict(extra="forbid")

    model: str = ""
    assembly: str = ""
    tracks: str | list[int] | None = None
    ensemble: list[Literal["rc", "none"]] | None = None
    shifts: list[int] | None = Field(default=None, max_length=MOST_SHIFTS)
    squashed: bool = False
    full: bool = False

    def words(self) -> dict[str, Any]:
        """The question as the catalogue takes it, the site's own model and assembly where none is named."""
        asked, tracks = self.model_dump(), self.tracks
        return asked | {
            "model": self.model or default_model(here().site),
            "assembly": self.assembly or here().site.default_assembly,
            "tracks": (",".join(map(str, tracks)) if isinstance(tracks, list) else tracks) or None,
        }


@dataclass(frozen=True)
class Kind:
    """A kind of question: what the queue calls it, how it is read (to what has an `id`), what is known already, and
    what of how it was asked is told besides.
    """

    name: str
    read: Callable[[Site, Mapping[str, Any]], Any]
    stored: Callable[[Site, str], dict[str, Any] | None]
    unknown: Callable[[str], NotFound]
    besides: Callable[[Any], dict[str, Any]] = lambda question: {}


def answer(kind: Kind, asked: dict[str, Any]) -> tuple[Response, int]:
    """The answer (200), or where the question is in the queue (202)."""
    site = here().site
    with _reading:
        question = kind.read(site, asked)
    if found := kind.stored(site, question.id):
        return jsonify(found | kind.besides(question)), 200
    if not can_predict():
        raise NeedsTorch()
    site.check_writable()
    return jsonify(progress(here().jobs.submit(question.id, kind.name, asked))), 202


def show(kind: Kind, answer_id: str) -> Response:
    """An answer, or how far it is."""
    site = here().site
    if found := kind.stored(site, answer_id):
        return jsonify(found)
    try:
        job = here().jobs.get(answer_id)
    except UnknownJob:
        raise kind.unknown(answer_id) from None
    if job.status != DONE:
        return jsonify(progress(job))
    if found := kind.stored(site, answer_id):  # it was done meanwhile
        return jsonify(found)
    raise kind.unknown(answer_id)


def progress(job: Job) -> dict[str, Any]:
    described = {"id": job.id, "status": job.status, "position": job.position}
    return described | ({"error": job.error, "code": job.code} if job.status == FAILED else {})
