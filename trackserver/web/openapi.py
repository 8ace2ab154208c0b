"""Table of all routes, from which /api/v1/openapi.json and the page /docs are made."""

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
from trackserver.web.agreement import MAX_BIN_WIDTH
from trackserver.web.batches import DEFAULT_ROWS, MAX_ROWS, BatchBody
from trackserver.web.effects import EffectBody
from trackserver.web.mutagenesis import MutagenesisBody
from trackserver.web.register import FileBody
from trackserver.web.state import here
from trackserver.web.tilesets import DEFAULT_LIMIT, MAX_LIMIT, ORDERS
from trackserver.web.views import ViewBody

blueprint = Blueprint("openapi", __name__)

JSON, HTML, TEXT, BYTES = "application/json", "text/html", "text/plain", "application/octet-stream"


class Error(BaseModel):
    """The body of every error: a sentence for people, a word for programs, and the status."""

    error: str
    code: str
    status: int


class TilesetTileIds(BaseModel):
    tilesetUid: str  # noqa: N815 - HiGlass's name
    tileIds: list[str]  # noqa: N815
    options: dict[str, Any] = {}


class TilesBody(RootModel[list[TilesetTileIds]]):
    """Tile ids by tileset, each as `zoom.x`."""


@dataclass(frozen=True)
class Query:
    """A parameter of the query."""

    name: str
    description: str
    many: bool = False
    required: bool = False
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True)
class Route:
    method: str
    rule: str  # in Flask's syntax
    summary: str
    query: tuple[Query, ...] = ()
    body: type[BaseModel] | None = None
    files: tuple[str, ...] = ()  # media types of bodies other than JSON; the other fields are then in the query
    returns: tuple[str, ...] = (JSON,)  # media types
    statuses: tuple[int, ...] = (200,)  # besides errors

    @property
    def path(self) -> str:
        """The rule in OpenAPI's syntax."""
        return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", self.rule)

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)


def _choice(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


def _whole_number(maximum: int, default: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": maximum, "default": default}


_ASSEMBLY = Query("assembly", "such as hg38; default: the site's own")
_BATCH = tuple(
    Query(name, "for a list sent as a file; in JSON it is in the body")
    for name in BatchBody.model_fields
    if name not in ("variants", "vcf")
)
_VIEW = Query("d", "the view's id", required=True)
_CATALOGUE = (
    Query("ac", "words; each must appear in the name, uid, assay, biosample, target, accession or model"),
    *(Query(name, "exact value; repeated, any of the values", many=True) for name in FACETS),
    Query("t", "file type", many=True),
    Query("dt", "data type", many=True),
)
_HUB = (Query("view", "id of a shared view; without it or 'd' the whole catalogue"),
        Query("d", "uid of a tileset", many=True))  # fmt: skip
_HUB_ASSEMBLY = Query("assembly", "such as hg38; default: that of the first track")
_HUB_AT_LOCUS = (*_HUB, _HUB_ASSEMBLY, Query("locus", "where to open, as you type it; default: the view's"))

TABLE: dict[str, tuple[Route, ...]] = {
    "HiGlass": (
        Route("GET", "/api/v1/tileset_info/", "Describe tilesets; an unknown one is an error under its key.",
              (Query("d", "uid", many=True), Query("s", "the client's session, ignored"))),
        Route("GET", "/api/v1/tiles/", "Tiles by id; a tile that cannot be made is an error under its key.",
              (Query("d", "tile id: uid.zoom.x, for a matrix uid.zoom.x.y, with a modifier such as max", many=True),
               Query("s", "the client's session, ignored"))),
        Route("POST", "/api/v1/tiles/", "The same, for the ids of the query and of the body together.",
              (Query("d", "tile id", many=True),), TilesBody),
        Route("GET", "/api/v1/chrom-sizes/", "Chromosomes in drawing order, as lines or as JSON.",
              (Query("id", "uid; default: the chromosomes of the site's assembly"),
               Query("type", "format", schema=_choice("tsv", "json")),
               Query("cum", "add offsets", schema=_choice("1"))),
              returns=("text/tab-separated-values", JSON)),
        Route("GET", "/api/v1/available-chrom-sizes/", "The tilesets that are chromosome sizes."),
        Route("GET", "/api/v1/suggest/", "Genes by part of their name.",
              (Query("d", "uid of a gene annotation", required=True), Query("ac", "text"))),
        Route("GET", "/api/v1/tilesets/", "The catalogue, a page at a time.",
              (*_CATALOGUE, Query("o", "order", schema=_choice(*ORDERS)), Query("r", "reverse the order, if not empty"),
               Query("limit", "tilesets on the page", schema=_whole_number(MAX_LIMIT, DEFAULT_LIMIT)),
               Query("offset", "tilesets before the page", schema=_whole_number(10**9, 0)))),
        Route("GET", "/api/v1/tilesets/<uid>/", "One tileset, with its provenance."),
        Route("GET", "/api/v1/facets/", "Counts of tilesets by assay, biosample and so on.", _CATALOGUE),
        Route("POST", "/api/v1/register_url/", "Show a file from its address; the same address has the same uid.",
              body=FileBody, statuses=(200, 201)),
        Route("GET", "/api/v1/viewconfs/", "A stored view, as HiGlass reads it.", (_VIEW,)),
        Route("POST", "/api/v1/viewconfs/", "Store a view, as HiGlass exports it.", body=ViewBody),
        Route("GET", "/l/", "Redirect to a stored view.", (_VIEW,), statuses=(302,)),
        Route("GET", "/link/", "Redirect to a stored view.", (_VIEW,), statuses=(302,)),
        *(Route(method, f"/api/v1/{name}/", "Not offered here; HiGlass's old server had it.", statuses=())
          for name in ("fragments_by_loci", "link_tile") for method in ("GET", "POST")),
        Route("GET", "/api/v1/uids_by_filename/", "Not offered here; HiGlass's old server had it.", statuses=()),
    ),
    "Site, assemblies and models": (
        Route("GET", "/api/v1/site/", "What the page needs to open."),
        Route("GET", "/api/v1/assemblies/", "Assemblies and their chromosomes."),
        Route("GET", "/api/v1/models/", "Installed models."),
        Route("GET", "/api/v1/models/<model_id>/", "One model: its card, metrics and provenance."),
        Route("GET", "/api/v1/models/<model_id>/tracks/", "A model's tracks.",
              (Query("q", "text anywhere in name, assay, biosample or target"), Query("assay", "exact value"),
               Query("biosample", "exact value"), Query("target", "exact value"))),
        Route("GET", "/api/v1/search/", "Find a gene, a locus, an rsID or a variant, and its position.",
              (Query("q", "text", required=True), _ASSEMBLY)),
    ),
    "Effects": (
        Route("POST", "/api/v1/effects/", "The effect of variants: returned if it is stored, otherwise queued.",
              body=EffectBody, statuses=(200, 202)),
        Route("GET", "/api/v1/effects/<effect_id>/", "An effect, or the progress of its job."),
        Route("POST", "/api/v1/mutagenesis/", "Mutagenesis of a locus: returned if it is stored, otherwise queued.",
              body=MutagenesisBody, statuses=(200, 202)),
        Route("GET", "/api/v1/mutagenesis/<mutagenesis_id>/", "A mutagenesis, or the progress of its job."),
        Route("POST", "/api/v1/batches/", "Score a list of variants; read its rows while they are scored.",
              _BATCH, body=BatchBody, files=(TEXT, "application/gzip"), statuses=(200, 202)),
        Route("GET", "/api/v1/batches/<batch_id>/", "A list of variants: its progress, and a page of its rows.",
              (Query("start", "rows before the page", schema=_whole_number(10**9, 0)),
               Query("count", "rows on the page", schema=_whole_number(MAX_ROWS, DEFAULT_ROWS)),
               Query("order", "as in the input, or the largest impact first", schema=_choice("input", "rank")))),
        Route("GET", "/api/v1/batches/<batch_id>.tsv", "The rows scored so far, as tab-separated values.",
              returns=("text/tab-separated-values",)),
        Route("GET", "/api/v1/batches/<batch_id>.vcf", "The list as a VCF with its scores in INFO.", returns=(TEXT,)),
        Route("GET", "/api/v1/jobs/", "Jobs and their progress."),
        Route("GET", "/api/v1/jobs/<job_id>/", "One job."),
    ),
    "Agreement": (
        Route("GET", "/api/v1/agreement/", "How well a predicted tileset agrees with an observed one.",
              (Query("predicted", "uid", required=True), Query("observed", "uid", required=True),
               Query("locus", "such as chr1:1,000,001-2,000,000; without one, only genome-wide figures", many=True),
               Query("bin", "bin width in bp; default: the predictions' own, or wider",
                     schema={"type": "integer", "minimum": 1, "maximum": MAX_BIN_WIDTH}),
               Query("peaks", "uid of called peaks; default: the top 5 % of the observed bins"))),
    ),
    "Views": (
        Route("POST", "/api/v1/views/", "Store a view; the same view has the same link.", body=ViewBody,
              statuses=(201,)),
        Route("GET", "/api/v1/views/<view_id>/", "Title and date of a stored view."),
    ),
    "Other genome browsers": (
        Route("GET", "/api/v1/open/", "Links that open tracks in UCSC, IGV, JBrowse and WashU.", _HUB_AT_LOCUS),
        Route("GET", "/api/v1/hub/ucsc/hub.txt", "A UCSC track hub.", _HUB, returns=(TEXT,), statuses=(200, 206)),
        Route("GET", "/api/v1/hub/ucsc/genomes.txt", "Its assemblies.", _HUB, returns=(TEXT,),
              statuses=(200, 206)),
        Route("GET", "/api/v1/hub/ucsc/<assembly>/trackDb.txt", "Its tracks on one assembly.", _HUB,
              returns=(TEXT,), statuses=(200, 206)),
        Route("GET", "/api/v1/hub/igv.xml", "A session for IGV-Web and IGV Desktop.", _HUB_AT_LOCUS,
              returns=("application/xml",), statuses=(200, 206)),
        Route("GET", "/api/v1/hub/jbrowse.json", "A JBrowse 2 config.", _HUB_AT_LOCUS),
        Route("GET", "/api/v1/hub/washu.json", "A WashU datahub.", (*_HUB, _HUB_ASSEMBLY)),
        Route("GET", "/api/v1/hub/higlass.json", "A viewconf for HiGlass elsewhere.", _HUB_AT_LOCUS),
        Route("GET", "/api/v1/files/<uid>", "A tileset's bigWig or bigBed, whole or by ranges.", returns=(BYTES,),
              statuses=(200, 206)),
        Route("GET", "/api/v1/files/<uid>.<ending>", "The same, with the file's extension: bw or bb.",
              returns=(BYTES,), statuses=(200, 206)),
    ),
    "Pages": (
        Route("GET", "/", "The page.", returns=(HTML,)),
        Route("GET", "/v/<view_id>", "A stored view.", returns=(HTML,), statuses=(200, 404)),
        Route("GET", "/embed/<view_id>", "A stored view, for an iframe.", returns=(HTML,), statuses=(200, 404)),
        Route("GET", "/docs", "This page.", returns=(HTML,)),
        Route("GET", "/static/<path:filename>", "The page's own files.", returns=("*/*",)),
        Route("GET", "/favicon.ico", "The page's icon.", returns=("image/svg+xml",)),
    ),
    "Monitoring": (
        Route("GET", "/api/v1/openapi.json", "These routes, as OpenAPI 3.1."),
        Route("GET", "/healthz", "200 while the server and its database work."),
        Route("GET", "/metrics", "Metrics for Prometheus.", returns=(TEXT,)),
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
    """Describe all routes as OpenAPI 3.1; the caller adds `info`."""
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
    content: dict[str, Any] = {media_type: {"schema": {}} for media_type in route.returns}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "tags": [tag],
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-z0-9]+', '_', route.path)}",
        "responses": {str(status): {"description": "The result.", "content": content} for status in route.statuses}
        | {"default": error},
    }
    if parameters := [*map(_path_parameter, route.parameters), *map(_query_parameter, route.query)]:
        operation["parameters"] = parameters
    if route.body:
        files = {media_type: {"schema": {"type": "string"}} for media_type in route.files}
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": references[route.body]}} | files}
    return operation


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameter(query: Query) -> dict[str, Any]:
    schema = {"type": "array", "items": query.schema, "maxItems": 1000} if query.many else query.schema
    return {
        "name": query.name, "in": "query", "description": query.description, "required": query.required,
        "schema": schema,
    }  # fmt: skip
