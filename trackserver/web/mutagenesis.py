"""Saturation mutagenesis of a locus."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import Field

from trackserver.effects import mutagenesis
from trackserver.effects.mutagenesis import MutagenesisRequest, mutagenesis_question
from trackserver.errors import UnknownMutagenesis
from trackserver.web import questions
from trackserver.web.state import body

blueprint = Blueprint("mutagenesis", __name__, url_prefix="/api/v1/mutagenesis")
KIND = questions.QuestionKind(
    "mutagenesis",
    lambda site, fields: mutagenesis_question(site, MutagenesisRequest.from_fields(fields)),
    mutagenesis.stored_map,
    UnknownMutagenesis,
)


class MutagenesisBody(questions.QuestionBody):
    """A locus in which to change every base to the three others."""

    locus: str = Field(min_length=1, max_length=200)
    score: str = ""
    preview: bool = False


@blueprint.post("/")
def create() -> tuple[Response, int]:
    return questions.answer(KIND, body(MutagenesisBody).to_fields())


@blueprint.get("/<mutagenesis_id>/")
def show(mutagenesis_id: str) -> Response:
    return questions.show(KIND, mutagenesis_id)
