"""A locus in, what every base does there out."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import Field

from trackserver.effects import mutagenesis
from trackserver.effects.mutagenesis import MutagenesisRequest, mutagenesis_question
from trackserver.errors import UnknownMutagenesis
from trackserver.web import questions
from trackserver.web.state import body

blueprint = Blueprint("mutagenesis", __name__, url_prefix="/api/v1/mutagenesis")
KIND = questions.Kind(
    "mutagenesis",
    lambda site, fields: mutagenesis_question(site, MutagenesisRequest.from_fields(fields)),
    mutagenesis.stored,
    UnknownMutagenesis,
)


class AskedMutagenesis(questions.Asked):
    """A locus, every base of which is to be changed to the three others."""

    locus: str = Field(min_length=1, max_length=200)
    score: str = ""
    preview: bool = False


@blueprint.post("/")
def create() -> tuple[Response, int]:
    return questions.answer(KIND, body(AskedMutagenesis).words())


@blueprint.get("/<mutagenesis_id>/")
def show(mutagenesis_id: str) -> Response:
    return questions.show(KIND, mutagenesis_id)
