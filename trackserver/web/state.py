"""State that the routes share, strict JSON in and out, and the headers of every response."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeVar

from flask import Flask, Response, current_app, request
from flask.json.provider import DefaultJSONProvider
from pydantic import BaseModel, ValidationError

from trackserver.catalogue.listing import Listing
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.catalogue.site import Site
from trackserver.errors import InvalidRequest, shorten
from trackserver.hubs.headers import HeaderCache
from trackserver.jobs.queue import Jobs
from trackserver.validation import first_problem
from trackserver.web.metrics import Metrics

# HiGlass compiles its shaders and schemas at run time, which needs unsafe-eval; and it styles elements inline.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:; connect-src 'self'; object-src 'none'; base-uri 'self'"
)


Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class State:
    site: Site
    jobs: Jobs
    tilesets: TilesetCache
    listing: Listing
    headers: HeaderCache
    metrics: Metrics


class StrictJSON(DefaultJSONProvider):
    """JSON without NaN or Infinity, because one of them makes HiGlass drop a whole batch of tiles."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return json.dumps(obj, allow_nan=False, default=self.default, ensure_ascii=False, separators=(",", ":"))


def here() -> State:
    """State of the application that handles this request."""
    state: State = current_app.extensions["trackserver"]
    return state


def body(model: type[Body]) -> Body:
    """Read the request's body, strict JSON, as a model."""
    content = read_json()
    if not isinstance(content, dict):
        raise InvalidRequest("The request's body should be a JSON object.")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InvalidRequest(f"Cannot read the request's body: {first_problem(error)}.") from error


def read_json() -> Any:
    """Read the request's body; None if it is not JSON."""
    try:
        return strict_json(request.get_data())
    except ValueError:
        return None


def strict_json(text: str | bytes) -> Any:
    """Parse JSON; raises ValueError for what could not be sent as JSON again: NaN, 1e999, half a surrogate pair."""
    content = json.loads(text, parse_constant=_refuse, parse_float=_parse_finite)
    json.dumps(content, ensure_ascii=False).encode()
    return content


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _parse_finite(text: str) -> float:
    value = float(text)
    return value if isfinite(value) else _refuse(text)


def query_assembly() -> str:
    """The assembly that the query names, else the site's own."""
    return request.args.get("assembly") or here().site.default_assembly


def query_number(name: str, default: int, maximum: int, minimum: int = 0) -> int:
    """Read a whole number from the query."""
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and minimum <= int(text) <= maximum):
        raise InvalidRequest(f"'{name}' should be a whole number from {minimum} to {maximum:,}, not '{shorten(text)}'.")
    return int(text)


def init_app(app: Flask) -> None:
    app.after_request(_add_headers)


def _add_headers(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if request.path.startswith("/api/"):
        # Reading is public and carries no cookie, so pages of other origins may read, such as notebooks and portals.
        # HiGlass sends Content-Type even on GET, so browsers send a preflight before each of its requests.
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization, X-Requested-With, Range"
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
        # Without these, a page of another origin cannot tell a range from the whole file.
        response.headers["Access-Control-Expose-Headers"] = "Accept-Ranges, Content-Length, Content-Range, ETag"
        response.headers["Access-Control-Max-Age"] = "86400"
    else:
        embedded = request.path.startswith("/embed/")
        ancestors = here().site.settings.frame_ancestors if embedded else "'self'"
        response.headers["Content-Security-Policy"] = f"{CONTENT_POLICY}; frame-ancestors {ancestors}"
    return response
