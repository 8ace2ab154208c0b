"""Every route, in one table: /api/v1/openapi.json is made of it, and /docs, which people read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from flask import Blueprint, Response, jsonify, render_template
from pydantic import BaseModel, RootModel
from pydantic.json_schema import models_json_schema

from trackserver import __version__
from trackserver.catalogue.facets import FACETS
from trackserver.web.agreement import WIDEST
from trackserver.web.batches import MOST_AT_ONCE, PAGE_OF_ROWS, AskedBatch
from trackserver.web.effects import AskedEffect
from trackserver.web.mutagenesis import AskedMutagenesis
from trackserver.web.register import AskedFile
from trackserver.web.state import here
from trackserver.web.tilesets import MOST, ORDERS, PAGE
from trackserver.web.views import KeptView

blueprint = Blueprint("openapi", __name__)

JSON, HTML, TEXT, BYTES = "application/json", "text/html", "text/plain", "application/octet-stream"


class Error(BaseModel):
    """What every error is: a sentence for people, a word for programs, the status."""

    error: str
    code: str
    status: int


class TilesOfOne(BaseModel):
    tilesetUid: str  # noqa: N815 - HiGlass's name
    tileIds: list[str]  # noqa: N815
    options: dict[str, Any] = {}


class PostedTiles(RootModel[list[TilesOfOne]]):
    """Tile ids by tileset, `zoom.x` each."""


@dataclass(frozen=True)
class Query:
    """A word of the query."""

    name: str
    words: str
    many: bool = False
    required: bool = False
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True)
class Route:
    method: str
    rule: str  # as Flask writes it
    words: str
    query: tuple[Query, ...] = ()
    body: type[BaseModel] | None = None
    files: tuple[str, ...] = ()  # other forms of body, with what the JSON would say besides in the query
    gives: tuple[str, ...] = (JSON,)
    statuses: tuple[int, ...] = (200,)  # besides errors

    @property
    def path(self) -> str:
        """As OpenAPI writes it."""
        return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", self.rule)

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)


def _choice(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


def _whole(most: int, default: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": most, "default": default}


_ASSEMBLY = Query("assembly", "such as hg38; by default the site's own")
_BATCH = tuple(
    Query(name, "of a list sent as a file; in JSON it is in the body")
    for name in AskedBatch.model_fields
    if name not in ("variants", "vcf")
)
_VIEW = Query("d", "the view's id", required=True)
_CHOSEN = (
    Query("ac", "words, each of them somewhere in name, uid, assay, biosample, target, accession or model"),
    *(Query(name, "exactly; one of several", many=True) for name in FACETS),
    Query("t", "file type", many=True),
    Query("dt", "data type", many=True),
)
_ELSEWHERE = (Query("view", "id of a kept view; without it or 'd' the whole catalogue"),
              Query("d", "uid of a tileset", many=True))  # fmt: skip
_TRACKS_ASSEMBLY = Query("assembly", "such as hg38; by default that of the first track")
_ELSEWHERE_AT = (*_ELSEWHERE, _TRACKS_ASSEMBLY, Query("locus", "where to look, as typed; by default as the view does"))

TABLE: dict[str, tuple[Route, ...]] = {
    "HiGlass": (
        Route("GET", "/api/v1/tileset_info/", "What tilesets are; one that is unknown is an error under its key.",
              (Query("d", "uid", many=True), Query("s", "the client's session, not needed"))),
        Route("GET", "/api/v1/tiles/", "Tiles by id; one that cannot be made is an error under its key.",
              (Query("d", "tile id: uid.zoom.x, of a matrix uid.zoom.x.y, and a modifier such as max", many=True),
               Query("s", "the client's session, not needed"))),
        Route("POST", "/api/v1/tiles/", "The same for the ids of the query and of the body together.",
              (Query("d", "tile id", many=True),), PostedTiles),
        Route("GET", "/api/v1/chrom-sizes/", "Chromosomes in drawing order, as lines or as JSON.",
              (Query("id", "uid; by default the chromosomes of the site's assembly"),
               Query("type", "form of the answer", schema=_choice("tsv", "json")),
               Query("cum", "with offsets", schema=_choice("1"))),
              gives=("text/tab-separated-values", JSON)),
        Route("GET", "/api/v1/available-chrom-sizes/", "The tilesets that are chromosome sizes."),
        Route("GET", "/api/v1/suggest/", "Genes by a part of their name.",
              (Query("d", "uid of a gene annotation", required=True), Query("ac", "text"))),
        Route("GET", "/api/v1/tilesets/", "The catalogue, a page at a time.",
              (*_CHOSEN, Query("o", "order", schema=_choice(*ORDERS)), Query("r", "backwards, if anything is said"),
               Query("limit", "tilesets a page", schema=_whole(MOST, PAGE)),
               Query("offset", "tilesets before the page", schema=_whole(10**9, 0)))),
        Route("GET", "/api/v1/tilesets/<uid>/", "One tileset, with its provenance."),
        Route("GET", "/api/v1/facets/", "How many tilesets there are of each assay, biosample and so on.", _CHOSEN),
        Route("POST", "/api/v1/register_url/", "Show a file from its address; the same address is the same uid.",
              body=AskedFile, statuses=(200, 201)),
        Route("GET", "/api/v1/viewconfs/", "A kept view, as HiGlass reads it.", (_VIEW,)),
        Route("POST", "/api/v1/viewconfs/", "Keep a view, as HiGlass exports it.", body=KeptView),
        Route("GET", "/l/", "Leads to a kept view.", (_VIEW,), statuses=(302,)),
        Route("GET", "/link/", "Leads to a kept view.", (_VIEW,), statuses=(302,)),
        *(Route(method, f"/api/v1/{name}/", "Not offered here; HiGlass's old server had it.", statuses=())
          for name in ("fragments_by_loci", "link_tile") for method in ("GET", "POST")),
        Route("GET", "/api/v1/uids_by_filename/", "Not offered here; HiGlass's old server had it.", statuses=()),
    ),
    "What can be asked for": (
        Route("GET", "/api/v1/site/", "What the page opens with."),
        Route("GET", "/api/v1/assemblies/", "Assemblies and their chromosomes."),
        Route("GET", "/api/v1/models/", "Installed models."),
        Route("GET", "/api/v1/models/<model_id>/", "One model: its card, metrics and provenance."),
        Route("GET", "/api/v1/models/<model_id>/tracks/", "A model's tracks.",
              (Query("q", "anywhere in the words"), Query("assay", "exactly"), Query("biosample", "exactly"),
               Query("target", "exactly"))),
        Route("GET", "/api/v1/search/", "What a text means, a gene, a locus or a variant, and where it is.",
              (Query("q", "text", required=True), _ASSEMBLY)),
    ),
    "Effects": (
        Route("POST", "/api/v1/effects/", "The effect of a variant: at once where it is known, else it is queued.",
              body=AskedEffect, statuses=(200, 202)),
        Route("GET", "/api/v1/effects/<effect_id>/", "An effect, or how far it is."),
        Route("POST", "/api/v1/mutagenesis/", "What every base of a locus does: at once where known, else queued.",
              body=AskedMutagenesis, statuses=(200, 202)),
        Route("GET", "/api/v1/mutagenesis/<mutagenesis_id>/", "A saturation mutagenesis, or how far it is."),
        Route("POST", "/api/v1/batches/", "Score a list of variants; its rows are there as they are ready.",
              _BATCH, body=AskedBatch, files=(TEXT, "application/gzip"), statuses=(200, 202)),
        Route("GET", "/api/v1/batches/<batch_id>/", "A list of variants: how far it is, and a page of its rows.",
              (Query("start", "rows before the page", schema=_whole(10**9, 0)),
               Query("count", "rows of the page", schema=_whole(MOST_AT_ONCE, PAGE_OF_ROWS)),
               Query("order", "of the input, or the largest impact first", schema=_choice("input", "rank")))),
        Route("GET", "/api/v1/batches/<batch_id>.tsv", "Its rows so far as tab-separated values.",
              gives=("text/tab-separated-values",)),
        Route("GET", "/api/v1/batches/<batch_id>.vcf", "The list as a VCF with its scores in INFO.", gives=(TEXT,)),
        Route("GET", "/api/v1/jobs/", "Computations and how far they are."),
        Route("GET", "/api/v1/jobs/<job_id>/", "One computation."),
    ),
    "Agreement": (
        Route("GET", "/api/v1/agreement/", "How well a predicted tileset agrees with a measured one.",
              (Query("predicted", "uid", required=True), Query("observed", "uid", required=True),
               Query("locus", "such as chr1:1,000,001-2,000,000; without one genome-wide figures only", many=True),
               Query("bin", "bp a bin; by default the predictions' own, or wider",
                     schema={"type": "integer", "minimum": 1, "maximum": WIDEST}),
               Query("peaks", "uid of called peaks; by default the top 5 % of the measured bins"))),
    ),
    "Views": (
        Route("POST", "/api/v1/views/", "Keep a view; the same view is the same link.", body=KeptView, statuses=(201,)),
        Route("GET", "/api/v1/views/<view_id>/", "Title and date of a kept view."),
    ),
    "Other genome browsers": (
        Route("GET", "/api/v1/open/", "Links that open tracks in UCSC, IGV, JBrowse and WashU.", _ELSEWHERE_AT),
        Route("GET", "/api/v1/hub/ucsc/hub.txt", "A UCSC track hub.", _ELSEWHERE, gives=(TEXT,), statuses=(200, 206)),
        Route("GET", "/api/v1/hub/ucsc/genomes.txt", "Its assemblies.", _ELSEWHERE, gives=(TEXT,),
              statuses=(200, 206)),
        Route("GET", "/api/v1/hub/ucsc/<assembly>/trackDb.txt", "Its tracks on one assembly.", _ELSEWHERE,
              gives=(TEXT,), statuses=(200, 206)),
        Route("GET", "/api/v1/hub/igv.xml", "A session for IGV-Web and IGV Desktop.", _ELSEWHERE_AT,
              gives=("application/xml",), statuses=(200, 206)),
        Route("GET", "/api/v1/hub/jbrowse.json", "A JBrowse 2 config.", _ELSEWHERE_AT),
        Route("GET", "/api/v1/hub/washu.json", "A WashU datahub.", (*_ELSEWHERE, _TRACKS_ASSEMBLY)),
        Route("GET", "/api/v1/hub/higlass.json", "A viewconf for HiGlass elsewhere.", _ELSEWHERE_AT),
        Route("GET", "/api/v1/files/<uid>", "A tileset's bigWig or bigBed, whole or by ranges.", gives=(BYTES,),
              statuses=(200, 206)),
        Route("GET", "/api/v1/files/<uid>.<ending>", "The same, with the ending of its kind: bw or bb.",
              gives=(BYTES,), statuses=(200, 206)),
    ),
    "Pages": (
        Route("GET", "/", "The page.", gives=(HTML,)),
        Route("GET", "/v/<view_id>", "A kept view.", gives=(HTML,), statuses=(200, 404)),
        Route("GET", "/embed/<view_id>", "A kept view, for an iframe.", gives=(HTML,), statuses=(200, 404)),
        Route("GET", "/docs", "This page.", gives=(HTML,)),
        Route("GET", "/static/<path:filename>", "The page's own files.", gives=("*/*",)),
        Route("GET", "/favicon.ico", "The page's icon.", gives=("image/svg+xml",)),
    ),
    "For machines": (
        Route("GET", "/api/v1/openapi.json", "These routes, as OpenAPI 3.1."),
        Route("GET", "/healthz", "200 while the server and its database work."),
        Route("GET", "/metrics", "Figures for Prometheus.", gives=(TEXT,)),
    ),
}  # fmt: skip

ROUTES = tuple(route for routes in TABLE.values() for route in routes)


@blueprint.get("/api/v1/openapi.json")
def openapi() -> Response:
    return jsonify(description() | {"info": {"title": here().site.settings.title, "version": __version__}})


@blueprint.get("/docs")
def docs() -> str:
    schemas = description()["components"]["schemas"]
    return render_template("docs.html", title=here().site.settings.title, table=TABLE, schemas=schemas)


@cache
def description() -> dict[str, Any]:
    """The table as OpenAPI 3.1; the caller adds `info`."""
    bodies = {route.body for route in ROUTES if route.body} | {Error}
    names, schemas = models_json_schema(
        [(model, "validation") for model in sorted(bodies, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    references: dict[Any, Any] = {model: reference for (model, _), reference in names.items()}
    paths: dict[str, Any] = {}
    for tag, routes in TABLE.items():
        for route in routes:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, tag, references)
    return {
        "openapi": "3.1.0",
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in TABLE],
        "paths": paths,
        "components": {"schemas": schemas["$defs"]},
    }


def _operation(route: Route, tag: str, references: dict[Any, Any]) -> dict[str, Any]:
    error = {"description": "An error.", "content": {JSON: {"schema": references[Error]}}}
    given: dict[str, Any] = {form: {"schema": {}} for form in route.gives}
    described: dict[str, Any] = {
        "summary": route.words,
        "tags": [tag],
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-z0-9]+', '_', route.path)}",
        "responses": {str(status): {"description": "As asked.", "content": given} for status in route.statuses}
        | {"default": error},
    }
    if parameters := [*map(_in_path, route.parameters), *map(_in_query, route.query)]:
        described["parameters"] = parameters
    if route.body:
        forms = {form: {"schema": {"type": "string"}} for form in route.files}
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": references[route.body]}} | forms}
    return described


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _in_query(query: Query) -> dict[str, Any]:
    schema = {"type": "array", "items": query.schema, "maxItems": 1000} if query.many else query.schema
    return {
        "name": query.name, "in": "query", "description": query.words, "required": query.required, "schema": schema,
    }  # fmt: skip
