"""What the routes share: the site, the job queue, strict JSON, and the headers of every answer."""

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
from trackserver.errors import InvalidRequest, shortened
from trackserver.hubs.headers import Headers
from trackserver.jobs.queue import Jobs
from trackserver.validation import first_problem
from trackserver.web.metrics import Metrics

# HiGlass compiles its shaders and schemas at run time, hence unsafe-eval; it styles elements inline.
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
    headers: Headers
    metrics: Metrics


class StrictJSON(DefaultJSONProvider):
    """JSON that never holds NaN or Infinity: one of them makes HiGlass drop a whole batch of tiles."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return json.dumps(obj, allow_nan=False, default=self.default, ensure_ascii=False, separators=(",", ":"))


def here() -> State:
    state: State = current_app.extensions["trackserver"]
    return state


def body(model: type[Body]) -> Body:
    """What a request brings, read as a model. Strict JSON: what is let in here can be sent out again."""
    sent = posted_json()
    if not isinstance(sent, dict):
        raise InvalidRequest("The request's body should be a JSON object.")
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        raise InvalidRequest(f"The request's body cannot be read: {first_problem(error)}.") from error


def posted_json() -> Any:
    """What a request's body says; None where it is no JSON."""
    try:
        return strict_json(request.get_data())
    except ValueError:
        return None


def strict_json(text: str | bytes) -> Any:
    """What a text says; ValueError where it holds what JSON cannot: NaN, 1e999, half of a surrogate pair."""
    sent = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    json.dumps(sent, ensure_ascii=False).encode()
    return sent


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if isfinite(value) else _refuse(text)


def asked_assembly() -> str:
    """The assembly a request names, else the site's own."""
    return request.args.get("assembly") or here().site.default_assembly


def asked_number(name: str, default: int, most: int, least: int = 0) -> int:
    """A whole number of the query."""
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
        raise InvalidRequest(f"'{name}' should be a whole number from {least} to {most:,}, not '{shortened(text)}'.")
    return int(text)


def init_app(app: Flask) -> None:
    app.after_request(_headers)


def _headers(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if request.path.startswith("/api/"):
        # Reading is public and carries no cookie, so notebooks and portals on other origins may; HiGlass sends
        # Content-Type even on GET, which makes every one of its requests preflighted.
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization, X-Requested-With, Range"
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
        # What a page elsewhere may see of an answer: without them it cannot tell a range from the whole file.
        response.headers["Access-Control-Expose-Headers"] = "Accept-Ranges, Content-Length, Content-Range, ETag"
        response.headers["Access-Control-Max-Age"] = "86400"
    else:
        embedded = request.path.startswith("/embed/")
        ancestors = here().site.settings.frame_ancestors if embedded else "'self'"
        response.headers["Content-Security-Policy"] = f"{CONTENT_POLICY}; frame-ancestors {ancestors}"
    return response
