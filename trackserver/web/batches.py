"""Lists of variants: checked at upload, then scored by a job that lets other questions go first."""

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
from trackserver.web.state import body, here, query_number

blueprint = Blueprint("batches", __name__, url_prefix="/api/v1/batches")

DEFAULT_ROWS, MAX_ROWS = 100, 1000  # of a page
STOPPED = "stopped"  # no job is working on the list any more


class BatchBody(questions.QuestionBody):
    """A list of variants, or a VCF as text. You can also send a file as the body and these fields in the address."""

    variants: list[Annotated[str, Field(min_length=1)]] | None = None
    vcf: str | None = None
    lift_from: str = ""
    placement: Placement | None = None
    score_columns: str = "none"


@blueprint.post("/")
def create() -> tuple[Response, int]:
    site = here().site
    if not can_predict():
        raise NeedsTorch()
    fields, data = _read_request()
    batch_id = uploads.upload(site, data, fields)
    if not uploads.ledger_of(site, batch_id).is_ranked():
        here().jobs.submit(batch_id, "batch", fields)
    progress = _progress(batch_id) | {"preflight": uploads.preflight(site, batch_id)}
    return jsonify(progress), 200 if progress["status"] == DONE else 202


@blueprint.get("/<batch_id>/")
def show(batch_id: str) -> Response:
    progress = _progress(batch_id)
    start, count = query_number("start", 0, 10**9), query_number("count", DEFAULT_ROWS, MAX_ROWS)
    by_rank = _order() == "rank"
    rows = uploads.ledger_of(here().site, batch_id).rows(start, count, by_rank)
    return jsonify(progress | {"start": start, "rows": [row.to_json() for row in rows]})


@blueprint.get("/<batch_id>.tsv")
def as_tsv(batch_id: str) -> Response:
    return _file(batch_id, ".tsv", "text/tab-separated-values")


@blueprint.get("/<batch_id>.vcf")
def as_vcf(batch_id: str) -> Response:
    return _file(batch_id, ".vcf", "text/plain")


def _file(batch_id: str, kind: str, mimetype: str) -> Response:
    response = Response(uploads.export(here().site, batch_id, kind), mimetype=mimetype)
    response.headers["Content-Disposition"] = f'attachment; filename="{batch_id}{kind}"'
    return response


def _progress(batch_id: str) -> dict[str, Any]:
    """Status of a list's job, and counts of its rows."""
    job = _job_progress(batch_id)  # before the rows are counted, so that a list that is done has all of them
    counts = uploads.progress(here().site, batch_id)
    if job["status"] == QUEUED and counts["scored"]:
        job["status"] = RUNNING  # it has begun, and waits between two slices so that others can go first
    return {"id": batch_id} | job | counts


def _job_progress(batch_id: str) -> dict[str, Any]:
    ledger = uploads.ledger_of(here().site, batch_id)
    if ledger.is_ranked():
        return {"status": DONE, "position": 0}
    try:
        job = here().jobs.get(batch_id)
    except UnknownJob:
        return {"status": STOPPED, "position": 0}
    if job.status == DONE:
        return {"status": DONE if ledger.is_ranked() else STOPPED, "position": 0}  # it may have ended just now
    return questions.job_progress(job)


def _read_request() -> tuple[dict[str, Any], bytes]:
    """Read the request's fields, and its list."""
    if request.mimetype == "application/json":
        batch = body(BatchBody)
        if (batch.variants is None) == (batch.vcf is None):
            raise InvalidRequest("Send either 'variants', a list, or 'vcf', a text.")
        text = batch.vcf if batch.vcf is not None else "\n".join(" ".join(v.split("\n")) for v in batch.variants or [])
        data = text.encode()
    else:
        batch, data = _read_address(), request.get_data()
    fields = {name: value for name, value in batch.to_fields().items() if name not in ("variants", "vcf")}
    return fields | {"assembly": batch.assembly or None}, data


def _read_address() -> BatchBody:
    """Read the fields of a request whose body is a list: `?model=&shifts=-1,0,1`."""
    fields: dict[str, Any] = request.args.to_dict()
    for name in {"ensemble", "shifts"} & fields.keys():
        fields[name] = fields[name].split(",")
    try:
        return BatchBody.model_validate(fields)
    except ValidationError as error:
        raise InvalidRequest(f"Cannot read the address: {first_problem(error)}.") from error


def _order() -> str:
    order = request.args.get("order", "input")
    if order not in ("input", "rank"):
        raise InvalidRequest("'order' should be input or rank.")
    return order
