"""The Flask skin: an application factory, a blueprint for each resource, and a table from errors to statuses."""

from __future__ import annotations

from flask import Flask

from trackserver.catalogue.listing import Listing
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.catalogue.site import Site
from trackserver.effects.tilesets import COMPUTED
from trackserver.hubs.headers import HeaderCache
from trackserver.jobs.process import open_queue
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
    """Make the application that serves a site. Files are opened later, on request."""
    app = Flask(__name__, static_folder="static", static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = served.settings.max_request_bytes
    app.json = state.StrictJSON(app)
    app.url_map.strict_slashes = False
    tileset_cache = TilesetCache(served, COMPUTED)
    shared = state.State(
        served, open_queue(served), tileset_cache, Listing(served), HeaderCache(served), metrics.Metrics()
    )
    app.extensions["trackserver"] = shared
    for name, cache in (("blocks", shared.tilesets.blocks), ("tiles", shared.tilesets.payloads)):
        shared.metrics.watch(name, cache)
    for resource in (
        higlass, tilesets, register, site, effects, mutagenesis, batches, agreement, views, hubs, pages, openapi,
    ):  # fmt: skip
        app.register_blueprint(resource.blueprint)
    metrics.init_app(app, shared.metrics)
    # Flask runs after-request functions in reverse order, so metrics, above, sees the final response.
    for part in (compression, errors, state):
        part.init_app(app)
    return app
