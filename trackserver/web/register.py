"""A visitor's own file, shown beside the site's: HiGlass's `register_url`."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

from trackserver.catalogue.registration import MOST_NAME, Registration, register
from trackserver.web.state import body, here

blueprint = Blueprint("register", __name__, url_prefix="/api/v1")


class AskedFile(BaseModel):
    """A file of the visitor's, in HiGlass's words; what else its clients send is not needed."""

    model_config = ConfigDict(extra="ignore")

    fileurl: str = Field(min_length=1, max_length=2000)
    filetype: str = Field(max_length=40)
    datatype: str | None = None
    coordSystem: str | None = Field(None, max_length=100)  # noqa: N815 - HiGlass's name
    name: str | None = Field(None, max_length=MOST_NAME)
    uid: str | None = Field(None, max_length=100)


@blueprint.post("/register_url/")
def register_url() -> tuple[Response, int]:
    asked = body(AskedFile)
    record, new = register(
        here().site,
        Registration(asked.fileurl, asked.filetype, asked.coordSystem or "", asked.name or "", asked.uid or ""),
    )
    return jsonify(uid=record.uid), 201 if new else 200
