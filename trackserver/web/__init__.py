"""The Flask skin: one application factory, one blueprint a resource, one table from error to status."""

from __future__ import annotations

from flask import Flask

from trackserver.catalogue.listing import Listing
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.catalogue.site import Site
from trackserver.effects.tilesets import COMPUTED
from trackserver.hubs.headers import Headers
from trackserver.jobs.process import queue
from trackserver.web import (
    agreement,
    batches,
    compression,
    effects,
    errors,
    higlass,
    hubs,
    metrics,
    mutagenesis,
    openapi,
    pages,
    register,
    site,
    state,
    tilesets,
    views,
)


def create_app(served: Site) -> Flask:
    """The application that serves one site. Opens nothing but the site's settings."""
    app = Flask(__name__, static_folder="static", static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = served.settings.max_request_bytes
    app.json = state.StrictJSON(app)
    app.url_map.strict_slashes = False
    tileset_cache = TilesetCache(served, COMPUTED)
    shared = state.State(served, queue(served), tileset_cache, Listing(served), Headers(served), metrics.Metrics())
    app.extensions["trackserver"] = shared
    for name, cache in (("blocks", shared.tilesets.blocks), ("tiles", shared.tilesets.payloads)):
        shared.metrics.watch(name, cache)
    for resource in (
        higlass, tilesets, register, site, effects, mutagenesis, batches, agreement, views, hubs, pages, openapi,
    ):  # fmt: skip
        app.register_blueprint(resource.blueprint)
    metrics.init_app(app, shared.metrics)
    for part in (compression, errors, state):  # metrics, then these: who comes first has the last word on an answer
        part.init_app(app)
    return app
