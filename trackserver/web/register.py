"""HiGlass's `register_url`: a visitor shows a file of their own beside the site's tracks."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

from trackserver.catalogue.registration import MAX_NAME_LENGTH, Registration, register
from trackserver.web.state import body, here

blueprint = Blueprint("register", __name__, url_prefix="/api/v1")


class FileBody(BaseModel):
    """A visitor's file, in HiGlass's terms; other fields that its clients send are ignored."""

    model_config = ConfigDict(extra="ignore")

    fileurl: str = Field(min_length=1, max_length=2000)
    filetype: str = Field(max_length=40)
    datatype: str | None = None
    coordSystem: str | None = Field(None, max_length=100)  # noqa: N815 - HiGlass's name
    name: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    uid: str | None = Field(None, max_length=100)


@blueprint.post("/register_url/")
def register_url() -> tuple[Response, int]:
    file = body(FileBody)
    record, is_new = register(
        here().site,
        Registration(file.fileurl, file.filetype, file.coordSystem or "", file.name or "", file.uid or ""),
    )
    return jsonify(uid=record.uid), 201 if is_new else 200
