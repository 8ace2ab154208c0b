"""Views that are kept: HiGlass's viewconfs, our links, and the pages behind them."""

from __future__ import annotations

import json
import re
from typing import Any

from flask import Blueprint, Response, jsonify, redirect, request, url_for
from werkzeug.wrappers import Response as Redirect

from trackserver.catalogue.store import View
from trackserver.errors import InvalidRequest
from trackserver.web.state import body, here

blueprint = Blueprint("views", __name__)

_VIEW_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
MOST_TITLE = 200


@blueprint.post("/api/v1/views/")
def create() -> tuple[Response, int]:
    """Keep a view for good; the same view is the same link."""
    view = _keep(body(), view_id="")
    return jsonify(id=view.id, url=f"/v/{view.id}", embed=f"/embed/{view.id}", title=view.title), 201


@blueprint.get("/api/v1/views/<view_id>/")
def show(view_id: str) -> Response:
    view = here().site.catalogue.view(view_id)
    return jsonify(id=view.id, title=view.title, created=view.created.isoformat())


@blueprint.post("/api/v1/viewconfs/")
def create_viewconf() -> Response:
    """HiGlass's own export; answers `{"uid": …}`, which its client opens as /l/?d=uid."""
    sent = body()
    return jsonify(uid=_keep(sent, view_id=str(sent.get("uid") or "")).id)


@blueprint.get("/api/v1/viewconfs/")
def viewconf() -> Response:
    return jsonify(here().site.catalogue.view(request.args.get("d", "")).viewconf)


@blueprint.get("/l/")
def link() -> Redirect:
    return redirect(url_for("pages.view", view_id=here().site.catalogue.view(request.args.get("d", "")).id))


def _keep(sent: dict[str, Any], view_id: str) -> View:
    conf = sent.get("viewconf")
    if isinstance(conf, str):  # HiGlass's client posts an object, higlass-manage a string
        try:
            conf = json.loads(conf)
        except ValueError:
            conf = None
    if not isinstance(conf, dict) or not isinstance(conf.get("views"), list) or not conf["views"]:
        raise InvalidRequest("'viewconf' should be a HiGlass viewconf: a JSON object with a list of views.")
    if view_id and not _VIEW_ID.match(view_id):
        raise InvalidRequest(f"'{view_id}' cannot be a view's id: use letters, digits, _ and - only.")
    title = str(sent.get("title") or "")[:MOST_TITLE]
    return here().site.catalogue.put_view(_portable(conf), title, view_id)


def _portable(conf: Any) -> Any:
    """The viewconf with this server's address taken out, so that a link outlives a change of host name.

    HiGlass makes a track's server absolute when it exports; left so, the view would ask the old host for ever.
    """
    if isinstance(conf, dict):
        return {key: _portable(value) for key, value in conf.items()}
    if isinstance(conf, list):
        return [_portable(item) for item in conf]
    if isinstance(conf, str) and conf.startswith(f"{request.host_url}api/v1"):
        return conf.removeprefix(request.host_url.rstrip("/"))
    return conf
