"""gunicorn's worker and log, changed so that its own errors are JSON too and its access log goes to stderr."""

from __future__ import annotations

import json
import logging
import sys
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.glogging import Logger
from gunicorn.http import errors, message
from gunicorn.workers.gthread import ThreadWorker

# A thousand tile ids in one address are about 20 kB; gunicorn's own limit is 8 kB.
MAX_ADDRESS_BYTES = 65_536
message.MAX_REQUEST_LINE = MAX_ADDRESS_BYTES

ERRORS: dict[type[Exception], tuple[HTTPStatus, str]] = {
    errors.LimitRequestLine: (
        HTTPStatus.REQUEST_URI_TOO_LONG,
        f"The address is longer than {MAX_ADDRESS_BYTES:,} bytes; POST the tile ids instead.",
    ),
    errors.LimitRequestHeaders: (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The request's headers are larger than this server accepts.",
    ),
    errors.ParseException: (HTTPStatus.BAD_REQUEST, "The request is not valid HTTP."),
    Exception: (HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on the server; see its log for the cause."),
}


class Worker(ThreadWorker):
    def murder_pending(self) -> None:
        """Close idle connections after a while, or at once if the worker is stopping.

        Browsers open connections ahead of need, and gunicorn would wait for them as for requests, up to half a minute.
        """
        if not self.alive:
            for connection in self.pending_conns:
                connection.timeout = 0.0
        super().murder_pending()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer a request that failed before it reached the application."""
        status, sentence = next(answer for kind, answer in ERRORS.items() if isinstance(exc, kind))
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.error("Unexpected error", exc_info=exc)
        code = "internal" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "bad_http"
        body = json.dumps({"error": sentence, "code": code, "status": status.value})
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            util.write_nonblock(client, f"{head}{body}".encode("ascii"))
        except OSError:
            self.log.debug("The client closed the connection.")


class Log(Logger):
    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.access_log.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                handler.setStream(sys.stderr)
