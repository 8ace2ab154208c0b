"""The web page, at every address that shows it, and the pages for monitoring."""

from __future__ import annotations

from html import escape
from http import HTTPStatus
from pathlib import Path

from flask import Blueprint, Response, jsonify, send_from_directory

from trackserver import __version__
from trackserver.errors import Unavailable, UnknownView
from trackserver.web.state import here

blueprint = Blueprint("pages", __name__)

STATIC = Path(__file__).parent / "static"


@blueprint.get("/")
def index() -> Response:
    return _page(here().site.settings.title)


@blueprint.get("/v/<view_id>")
def view(view_id: str) -> Response:
    """A shared view. An unknown one responds with the page, which tells people, and 404, which tells programs."""
    title = here().site.settings.title
    try:
        return _page(here().site.catalogue.view(view_id).title or title)
    except UnknownView:
        return _page(title, HTTPStatus.NOT_FOUND)


@blueprint.get("/embed/<view_id>")
def embed(view_id: str) -> Response:
    return view(view_id)


@blueprint.get("/healthz")
def healthz() -> Response:
    here().site.catalogue.tilesets(uid="")  # raises if the database does not answer
    return jsonify(status="ok", version=__version__)


@blueprint.get("/metrics")
def metrics() -> Response:
    from prometheus_client import CONTENT_TYPE_LATEST

    return Response(here().metrics.text(here().jobs.count_waiting()), content_type=CONTENT_TYPE_LATEST)


@blueprint.get("/favicon.ico")
def favicon() -> Response:
    return send_from_directory(STATIC, "favicon.svg", mimetype="image/svg+xml")


def _page(title: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    page = STATIC / "index.html"
    if not page.is_file():
        raise Unavailable("The page has not been built; run `make install`, or `npm run build` in frontend/.")
    text = page.read_text().replace("<title>trackserver</title>", f"<title>{escape(title)}</title>")
    return Response(text, status, mimetype="text/html", headers={"Cache-Control": "no-cache"})
