"""HTTP connections that go to given IP addresses, obey a deadline, and are reused."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import NamedTuple

MAX_IDLE_CONNECTIONS = 32
IDLE_TTL_S = 20.0
MAX_ERROR_PAGE_BYTES = 65_536  # an error page is read up to this size, so that its connection can be reused
PORTS = {"http": 80, "https": 443}


class Target(NamedTuple):
    """The parts of a web address."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


class Response(NamedTuple):
    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: bytes


class Connections:
    """Sends requests and reuses idle connections, because a handshake takes longer than a small range itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[Hashable, float, _Connection]] = []

    def get(
        self,
        target: Target,
        headers: dict[str, str],
        *,
        max_bytes: int,
        deadline: float,
        resolve: Callable[[Target], Sequence[str]],
        pool: Hashable,
    ) -> Response:
        """Send a GET request, and read at most `max_bytes` of the response's body.

        Parameters
        ----------
        deadline
            On the monotonic clock.
        resolve
            Returns the IP addresses of the target's host; connections go to these only.
        pool
            Connections are reused only within a pool, which must always use the same `resolve`.

        Raises
        ------
        OSError, http.client.HTTPException
            The host is unreachable or too slow (`TimeoutError`), the connection broke, or the response is not HTTP.
        """
        key = (pool, *target[:3])
        if idle := self._take(key):
            # The server may have closed it meanwhile; if so, the request is sent again over a new connection.
            with suppress(OSError, http.client.HTTPException), self._keep_alive(key, idle):
                return idle.get(target, headers, max_bytes, deadline)
        with self._keep_alive(key, _Connection(target, resolve(target))) as new:
            return new.get(target, headers, max_bytes, deadline)

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop()[-1].close()

    @contextmanager
    def _keep_alive(self, key: Hashable, connection: _Connection) -> Iterator[_Connection]:
        """Keep the connection for reuse if the block succeeds and the server has not closed it; else close it."""
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if connection.sock is None:
            connection.close()
            return
        with self._lock:
            self._idle.append((key, time.monotonic(), connection))
            self._close_old()

    def _take(self, key: Hashable) -> _Connection | None:
        with self._lock:
            self._close_old()
            for entry in reversed(self._idle):
                if entry[0] == key:
                    self._idle.remove(entry)
                    return entry[-1]
        return None

    def _close_old(self) -> None:
        oldest = time.monotonic() - IDLE_TTL_S
        while self._idle and (len(self._idle) > MAX_IDLE_CONNECTIONS or self._idle[0][1] < oldest):
            self._idle.pop(0)[-1].close()


class _Connection(http.client.HTTPConnection):
    """A connection to one of the given addresses; the Host header and the TLS name are those of the target."""

    def __init__(self, target: Target, addresses: Sequence[str]):
        super().__init__(target.host, target.port)
        self._secure, self._addresses = target.scheme == "https", addresses
        self._deadline, self._overdue = 0.0, False
        self._socket: socket.socket | None = None

    def get(self, target: Target, headers: dict[str, str], max_bytes: int, deadline: float) -> Response:
        with self._until(deadline):
            self.request("GET", target.path, headers={"Host": target.netloc, **headers})
            with self.getresponse() as response:
                body = response.read(max_bytes if response.status < 300 else MAX_ERROR_PAGE_BYTES)
                if not response.isclosed() and response.read(1):
                    self.close()  # otherwise the rest of the body would be read as the next response
                return Response(response.status, response.reason, response.headers, body)

    @contextmanager
    def _until(self, deadline: float) -> Iterator[None]:
        """Abort the block at the deadline, even if the server keeps sending a byte now and then."""
        self._deadline = deadline
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), self._abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, http.client.HTTPException):
            if self._overdue:
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()
        if self._overdue:
            raise TimeoutError

    def _abort(self) -> None:
        self._overdue = True
        if self._socket:
            with suppress(OSError):  # the plain shutdown, because the one of TLS must not be called from another thread
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def connect(self) -> None:
        """Connect to the target; `request` calls this if there is no connection yet."""
        self._set_socket(self._open_socket())
        if self._secure:
            # `_abort` must be able to reach the socket before the handshake starts.
            secure = _tls().wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self._set_socket(secure)
            secure.do_handshake()

    def _set_socket(self, new: socket.socket) -> None:
        self._socket = self.sock = new
        if self._overdue:  # `_abort` ran before it could see this socket
            raise TimeoutError

    def _open_socket(self) -> socket.socket:
        last_error: OSError = ConnectionError("no address")
        for number, address in enumerate(self._addresses):
            seconds = (self._deadline - time.monotonic()) / (len(self._addresses) - number)
            try:
                new = socket.create_connection((address, self.port), max(0.01, seconds))
            except OSError as error:
                last_error = error
                continue
            new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            new.settimeout(None)  # `_until` enforces the deadline
            return new
        raise last_error

    def close(self) -> None:
        super().close()
        self._socket = None


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
