"""The Flask skin: one application factory, one blueprint a resource, one table from error to status."""

from __future__ import annotations

from flask import Flask

from trackserver.catalogue.listing import Listing
from trackserver.catalogue.opened import Opened
from trackserver.catalogue.site import Site
from trackserver.jobs import Jobs
from trackserver.web import effects, errors, higlass, pages, register, site, state, tilesets, views


def create_app(served: Site) -> Flask:
    """The application that serves one site. Opens nothing but the site's settings."""
    app = Flask(__name__, static_folder="static", static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = served.settings.max_request_bytes
    app.json = state.StrictJSON(app)
    app.url_map.strict_slashes = False
    app.extensions["trackserver"] = state.State(
        served, Jobs(served.settings.queue_length), Opened(served), Listing(served)
    )
    for resource in (higlass, tilesets, register, site, effects, views, pages):
        app.register_blueprint(resource.blueprint)
    errors.init_app(app)
    state.init_app(app)
    return app
