"""Turn errors into responses: one table of statuses, one form of body."""

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

# The status of an error is that of its nearest base class.
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
    404: ("There is no page at this address.", "not_found"),
    405: ("This address does not accept that method.", "method_not_allowed"),
    413: ("The request is larger than this server accepts.", "too_large"),
    415: ("The request's body should be JSON.", "invalid_request"),
}

_log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    app.register_error_handler(TrackserverError, _handle_own)
    app.register_error_handler(HTTPException, _handle_http)
    app.register_error_handler(ParseException, _handle_bad_http)
    app.register_error_handler(RecursionError, _handle_recursion)
    app.register_error_handler(Exception, _handle_unexpected)
    app.after_request(_handle_precondition)


def status_of(error: TrackserverError) -> HTTPStatus:
    return next(STATUS[family] for family in type(error).__mro__ if family in STATUS)


def error_response(sentence: str, code: str, status: int) -> tuple[Response, int]:
    """Make the response that every error has."""
    return jsonify(error=sentence, code=code, status=int(status)), int(status)


def _handle_own(error: TrackserverError) -> tuple[Response, int]:
    status = status_of(error)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s", error, exc_info=error)
    return error_response(str(error), error.code, status)


def _handle_http(error: HTTPException) -> tuple[Response, int]:
    status = error.code or 500
    sentence, code = SENTENCES.get(status, (f"{error.name}.", "http_error"))
    return error_response(sentence, code, status)


def _handle_precondition(response: Response) -> Response:
    """Add a body to Flask's own error_response to If-Match, which raises no exception."""
    if response.status_code != HTTPStatus.PRECONDITION_FAILED:
        return response
    response.close()
    failed, status = error_response(
        "The file's version differs from the one that the request names.", "precondition_failed", 412
    )
    failed.status_code = status
    return failed


def _handle_bad_http(error: ParseException) -> tuple[Response, int]:
    """Answer a body that is not HTTP; this appears only here because gunicorn reads the body late."""
    return error_response("The request's body is not valid HTTP.", "bad_http", 400)


def _handle_recursion(error: RecursionError) -> tuple[Response, int]:
    return error_response("The request's body is nested too deeply.", "invalid_request", 400)


def _handle_unexpected(error: Exception) -> tuple[Response, int]:
    _log.error("Unexpected error", exc_info=error)
    return error_response("Something went wrong on the server; see its log for the cause.", "internal", 500)
