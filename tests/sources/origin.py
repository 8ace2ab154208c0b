"""A web server that gives ranges of files, and can misbehave as servers do."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"


@dataclass
class Origin:
    """`files` by path; `faults` by path: what is wrong with it; `asked` are the requests that came."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # path, Range, Host
    connections: int = 0

    def url(self, path: str, host: str = HOST) -> str:
        return f"http://{host}:{self.port}{path}"


@contextmanager
def serving(host: str = HOST, tls: ssl.SSLContext | None = None) -> Iterator[Origin]:
    origin = Origin()

    class Handler(_Handler):
        served = origin

    with ThreadingHTTPServer((host, 0), Handler) as server:
        origin.port = server.server_address[1]
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield origin
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    served: Origin
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.served.connections += 1

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        span = self.headers.get("Range", "")
        self.served.asked.append((self.path, span, self.headers.get("Host", "")))
        path = self.path.split("?")[0]
        if target := self.served.redirects.get(path):
            self._say(307, b"elsewhere", Location=target)
        elif path not in self.served.files:
            self._say(404, b"nothing here")
        else:
            self._file(path, span, self.served.faults.get(path, ""))

    def _file(self, path: str, span: str, fault: str) -> None:
        whole = self.served.files[path]
        headers = {"ETag": self.served.etags.get(path, '"v1"'), "Last-Modified": "Fri, 21 Nov 2025 12:00:00 GMT"}
        if fault.isdecimal():
            return self._say(int(fault), b"no")
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", span)
        if fault == "no ranges" or not asked:
            return self._say(200, whole, **headers)
        first, last = int(asked[1]), min(int(asked[2] or len(whole)), len(whole) - 1)
        if first >= len(whole):
            return self._say(416, b"", **{"Content-Range": f"bytes */{len(whole)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(whole)}"
        if fault == "wrong range":
            headers["Content-Range"] = f"bytes {first + 1}-{last + 1}/{len(whole)}"
        if fault == "unsaid size":
            headers["Content-Range"] = f"bytes {first}-{last}/*"
        if fault == "compressed":
            headers["Content-Encoding"] = "gzip"
        body = whole[first : last + 1]
        if fault == "silent":
            time.sleep(2)
        elif fault == "dropped":
            self._say(206, body[: len(body) // 2], length=len(body), **headers)
            self.close_connection = True
        elif fault == "dripping":
            self._drip(headers, body)
        else:
            self._say(206, body, **headers)
            self.close_connection = fault == "closing"  # without a word
        return None

    def _drip(self, headers: dict[str, str], body: bytes) -> None:
        self._say(206, b"", length=len(body), **headers)
        self.close_connection = True
        for byte in body[:50]:
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return
            time.sleep(0.05)

    def _say(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True
