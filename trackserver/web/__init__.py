"""The Flask skin: one application factory, one blueprint a resource, one table from error to status."""

from __future__ import annotations

from functools import partial

from flask import Flask

from trackserver.catalogue.effects import answer
from trackserver.catalogue.listing import Listing
from trackserver.catalogue.mutagenesis import answer as answer_mutagenesis
from trackserver.catalogue.opened import Opened
from trackserver.catalogue.posted import work as score_list
from trackserver.catalogue.site import Site
from trackserver.jobs import Jobs, Work
from trackserver.web import (
    batches,
    compression,
    effects,
    errors,
    higlass,
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
    works: dict[str, Work] = {
        "effect": partial(answer, served),
        "mutagenesis": partial(answer_mutagenesis, served),
        "batch": partial(score_list, served),
    }
    jobs = Jobs(served.cache / "jobs.sqlite", served.settings.queue_length, works)
    shared = state.State(served, jobs, Opened(served), Listing(served), metrics.Metrics())
    app.extensions["trackserver"] = shared
    for name, cache in (("blocks", shared.tilesets.blocks), ("tiles", shared.tilesets.payloads)):
        shared.metrics.watch(name, cache)
    for resource in (higlass, tilesets, register, site, effects, mutagenesis, batches, views, pages, openapi):
        app.register_blueprint(resource.blueprint)
    metrics.init_app(app, shared.metrics)
    for part in (compression, errors, state):  # metrics, then these: who comes first has the last word on an answer
        part.init_app(app)
    return app
