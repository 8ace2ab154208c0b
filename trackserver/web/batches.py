"""Lists of variants in, tables out: checked at once, scored row by row while others' questions go first."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Response, jsonify, request
from pydantic import Field, ValidationError

from trackserver.batches import uploads
from trackserver.errors import InvalidRequest, NeedsTorch, UnknownJob
from trackserver.jobs.queue import DONE, QUEUED, RUNNING
from trackserver.predict.ensemble import Placement
from trackserver.validation import first_problem
from trackserver.web import questions
from trackserver.web.site import can_predict
from trackserver.web.state import asked_number, body, here

blueprint = Blueprint("batches", __name__, url_prefix="/api/v1/batches")

PAGE_OF_ROWS, MOST_AT_ONCE = 100, 1000
STOPPED = "stopped"  # of a list that no job works on any more


class AskedBatch(questions.Asked):
    """Variants, one an entry, or a VCF as text; a list may be sent as it is instead, and the rest in the address."""

    variants: list[Annotated[str, Field(min_length=1)]] | None = None
    vcf: str | None = None
    lift_from: str = ""
    placement: Placement | None = None
    every: str = ""


@blueprint.post("/")
def create() -> tuple[Response, int]:
    site = here().site
    if not can_predict():
        raise NeedsTorch()
    asked, sent = _asked()
    batch_id = uploads.post(site, sent, asked)
    if not uploads.ledger_of(site, batch_id).is_ranked():
        here().jobs.submit(batch_id, "batch", asked)
    found = _described(batch_id) | {"preflight": uploads.checked(site, batch_id)}
    return jsonify(found), 200 if found["status"] == DONE else 202


@blueprint.get("/<batch_id>/")
def show(batch_id: str) -> Response:
    found = _described(batch_id)
    start, count = asked_number("start", 0, 10**9), asked_number("count", PAGE_OF_ROWS, MOST_AT_ONCE)
    by_rank = _order() == "rank"
    rows = uploads.ledger_of(here().site, batch_id).rows(start, count, by_rank)
    return jsonify(found | {"start": start, "rows": [row.described() for row in rows]})


@blueprint.get("/<batch_id>.tsv")
def as_tsv(batch_id: str) -> Response:
    return _file(batch_id, ".tsv", "text/tab-separated-values")


@blueprint.get("/<batch_id>.vcf")
def as_vcf(batch_id: str) -> Response:
    return _file(batch_id, ".vcf", "text/plain")


def _file(batch_id: str, kind: str, mimetype: str) -> Response:
    answer = Response(uploads.export(here().site, batch_id, kind), mimetype=mimetype)
    answer.headers["Content-Disposition"] = f'attachment; filename="{batch_id}{kind}"'
    return answer


def _described(batch_id: str) -> dict[str, Any]:
    """How far a list is, and its job."""
    told = _job(batch_id)  # before the rows are counted: a list that is done has all of them
    counted = uploads.described(here().site, batch_id)
    if told["status"] == QUEUED and counted["scored"]:
        told["status"] = RUNNING  # between two slices it waits for whoever else does, but has begun
    return {"id": batch_id} | told | counted


def _job(batch_id: str) -> dict[str, Any]:
    ledger = uploads.ledger_of(here().site, batch_id)
    if ledger.is_ranked():
        return {"status": DONE, "position": 0}
    try:
        job = here().jobs.get(batch_id)
    except UnknownJob:
        return {"status": STOPPED, "position": 0}
    if job.status == DONE:
        return {"status": DONE if ledger.is_ranked() else STOPPED, "position": 0}  # it was done meanwhile
    return questions.progress(job)


def _asked() -> tuple[dict[str, Any], bytes]:
    """The fields of the request, and the list."""
    if request.mimetype == "application/json":
        given = body(AskedBatch)
        if (given.variants is None) == (given.vcf is None):
            raise InvalidRequest("Send either variants, a list, or vcf, a text.")
        text = given.vcf if given.vcf is not None else "\n".join(" ".join(v.split("\n")) for v in given.variants or [])
        sent = text.encode()
    else:
        given, sent = _in_address(), request.get_data()
    asked = {name: value for name, value in given.words().items() if name not in ("variants", "vcf")}
    return asked | {"assembly": given.assembly or None}, sent


def _in_address() -> AskedBatch:
    """What a request with a list for its body asks for: `?model=&shifts=-1,0,1`."""
    words: dict[str, Any] = request.args.to_dict()
    for name in {"ensemble", "shifts"} & words.keys():
        words[name] = words[name].split(",")
    try:
        return AskedBatch.model_validate(words)
    except ValidationError as error:
        raise InvalidRequest(f"The address cannot be read: {first_problem(error)}.") from error


def _order() -> str:
    order = request.args.get("order", "input")
    if order not in ("input", "rank"):
        raise InvalidRequest("'order' should be input or rank.")
    return order
