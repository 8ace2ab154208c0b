"""Stored views: HiGlass's viewconfs and the links to them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, redirect, request, url_for
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.wrappers import Response as Redirect

from trackserver.catalogue.store import View
from trackserver.errors import InvalidRequest
from trackserver.web.state import body, here, strict_json

blueprint = Blueprint("views", __name__)

MAX_TITLE_LENGTH = 200


class ViewBody(BaseModel):
    """A HiGlass viewconf to store for good, as an object, or as a string as higlass-manage sends it."""

    model_config = ConfigDict(extra="ignore")

    viewconf: dict[str, Any] | str
    title: str | None = None
    uid: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{0,64}$", description="only for HiGlass's own route")


@blueprint.post("/api/v1/views/")
def create() -> tuple[Response, int]:
    """Store a view for good; the same view has the same link."""
    view = _store(body(ViewBody).model_copy(update={"uid": ""}))
    return jsonify(id=view.id, url=f"/v/{view.id}", embed=f"/embed/{view.id}", title=view.title), 201


@blueprint.get("/api/v1/views/<view_id>/")
def show(view_id: str) -> Response:
    view = here().site.catalogue.view(view_id)
    return jsonify(id=view.id, title=view.title, created=view.created.isoformat())


@blueprint.post("/api/v1/viewconfs/")
def create_viewconf() -> Response:
    """HiGlass's own export; responds with `{"uid": …}`, which its client opens as /l/?d=uid."""
    return jsonify(uid=_store(body(ViewBody)).id)


@blueprint.get("/api/v1/viewconfs/")
def viewconf() -> Response:
    return jsonify(here().site.catalogue.view(request.args.get("d", "")).viewconf)


@blueprint.get("/l/")
@blueprint.get("/link/")
def link() -> Redirect:
    return redirect(url_for("pages.view", view_id=here().site.catalogue.view(request.args.get("d", "")).id))


def _store(view: ViewBody) -> View:
    conf: Any = view.viewconf
    if isinstance(conf, str):
        try:
            conf = strict_json(conf)
        except ValueError:
            conf = None
    if not isinstance(conf, dict) or not isinstance(conf.get("views"), list) or not conf["views"]:
        raise InvalidRequest("'viewconf' should be a HiGlass viewconf: a JSON object with a list of views.")
    return here().site.catalogue.put_view(_portable(conf), (view.title or "")[:MAX_TITLE_LENGTH], view.uid or "")


def _portable(conf: Any) -> Any:
    """Remove this server's address from a viewconf, so that its link survives a change of host name.

    HiGlass makes each track's server absolute when it exports a view, and would keep asking the old host.
    """
    if isinstance(conf, dict):
        return {key: _portable(value) for key, value in conf.items()}
    if isinstance(conf, list):
        return [_portable(item) for item in conf]
    if isinstance(conf, str) and conf.startswith(f"{request.host_url}api/v1"):
        return conf.removeprefix(request.host_url.rstrip("/"))
    return conf
