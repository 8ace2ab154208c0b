"""gunicorn's worker and log, where ours differ: its own refusals are JSON too, and its access log goes to stderr."""

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

# A thousand tile ids in one address are about 20 kB; gunicorn's own ceiling is 8 kB.
MOST_ADDRESS = 65_536
message.MAX_REQUEST_LINE = MOST_ADDRESS

REFUSALS: dict[type[Exception], tuple[HTTPStatus, str]] = {
    errors.LimitRequestLine: (
        HTTPStatus.REQUEST_URI_TOO_LONG,
        f"The address is longer than {MOST_ADDRESS:,} bytes; POST the tile ids instead.",
    ),
    errors.LimitRequestHeaders: (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The request's headers are larger than this server takes.",
    ),
    errors.ParseException: (HTTPStatus.BAD_REQUEST, "The request is not HTTP as this server reads it."),
    Exception: (HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on the server; its log says what."),
}


class Worker(ThreadWorker):
    def murder_pending(self) -> None:
        """Close connections on which nothing has come for too long; all of them where the worker is to stop.

        Browsers open connections ahead: gunicorn would wait for these as long as for a request, up to half a minute.
        """
        if not self.alive:
            for unused in self.pending_conns:
                unused.timeout = 0.0
        super().murder_pending()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer a request that never came as far as the application."""
        status, sentence = next(refusal for kind, refusal in REFUSALS.items() if isinstance(exc, kind))
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.error("Unforeseen error", exc_info=exc)
        code = "internal" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "bad_http"
        body = json.dumps({"error": sentence, "code": code, "status": status.value})
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            util.write_nonblock(client, f"{head}{body}".encode("ascii"))
        except OSError:
            self.log.debug("The client is gone.")


class Log(Logger):
    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.access_log.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                handler.setStream(sys.stderr)
