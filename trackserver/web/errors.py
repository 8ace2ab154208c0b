"""From an error to an answer: one table, one body."""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from trackserver.errors import (
    DataError,
    InvalidRequest,
    NeedsTorch,
    NotFound,
    QueueFull,
    TrackserverError,
    Unavailable,
)

# The nearest base class decides.
STATUS: dict[type[TrackserverError], HTTPStatus] = {
    NotFound: HTTPStatus.NOT_FOUND,
    InvalidRequest: HTTPStatus.BAD_REQUEST,
    DataError: HTTPStatus.INTERNAL_SERVER_ERROR,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    NeedsTorch: HTTPStatus.NOT_IMPLEMENTED,
    QueueFull: HTTPStatus.SERVICE_UNAVAILABLE,
    TrackserverError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

SENTENCES = {
    404: ("Nothing is served at this address.", "not_found"),
    405: ("This address does not take that method.", "method_not_allowed"),
    413: ("The request is larger than this server takes.", "too_large"),
    415: ("The request's body should be JSON.", "invalid_request"),
}

_log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    app.register_error_handler(TrackserverError, _ours)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unforeseen)


def status_of(error: TrackserverError) -> HTTPStatus:
    return next(STATUS[family] for family in type(error).__mro__ if family in STATUS)


def answer(sentence: str, code: str, status: int) -> tuple[Response, int]:
    """The one body errors have."""
    return jsonify(error=sentence, code=code, status=int(status)), int(status)


def _ours(error: TrackserverError) -> tuple[Response, int]:
    status = status_of(error)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s", error, exc_info=error)
    return answer(str(error), error.code, status)


def _http(error: HTTPException) -> tuple[Response, int]:
    status = error.code or 500
    sentence, code = SENTENCES.get(status, (f"{error.name}.", "http_error"))
    return answer(sentence, code, status)


def _unforeseen(error: Exception) -> tuple[Response, int]:
    _log.error("Unforeseen error", exc_info=error)
    return answer("Something went wrong on the server; its log says what.", "internal", 500)
