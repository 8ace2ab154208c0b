"""From an error to an answer: one table, one body."""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Flask, Response, jsonify
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException

from trackserver.errors import (
    DataError,
    InvalidRequest,
    NeedsTorch,
    NotFound,
    NotOffered,
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
    NotOffered: HTTPStatus.NOT_IMPLEMENTED,
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
    app.register_error_handler(ParseException, _no_http)
    app.register_error_handler(RecursionError, _too_deep)
    app.register_error_handler(Exception, _unforeseen)
    app.after_request(_precondition)


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


def _precondition(response: Response) -> Response:
    """Flask answers If-Match for the page's own files by itself, without an exception or a body."""
    if response.status_code != HTTPStatus.PRECONDITION_FAILED:
        return response
    response.close()
    refused, status = answer("The file is not the version that the request names.", "precondition_failed", 412)
    refused.status_code = status
    return refused


def _no_http(error: ParseException) -> tuple[Response, int]:
    """A body is read while it is needed, so that it is no HTTP shows only then."""
    return answer("The request's body is not HTTP as this server reads it.", "bad_http", 400)


def _too_deep(error: RecursionError) -> tuple[Response, int]:
    return answer("The request's body is nested too deeply.", "invalid_request", 400)


def _unforeseen(error: Exception) -> tuple[Response, int]:
    _log.error("Unforeseen error", exc_info=error)
    return answer("Something went wrong on the server; its log says what.", "internal", 500)
