"""Connections to addresses that were looked up beforehand, held to a deadline, and kept for the next question."""

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

MOST_KEPT, KEPT_FOR = 32, 20.0  # connections, seconds
MOST_UNWANTED = 65_536  # bytes of an error page that are read so that its connection can be kept
PORTS = {"http": 80, "https": 443}


class Target(NamedTuple):
    """A web address taken apart: where to connect, and what to ask for there."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


class Answer(NamedTuple):
    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: bytes


class Connections:
    """Asks targets, over a connection that was kept where there is one: a handshake is most of a small range's time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[Hashable, float, _Connection]] = []

    def get(
        self,
        target: Target,
        headers: dict[str, str],
        *,
        most: int,
        deadline: float,
        find: Callable[[Target], Sequence[str]],
        kind: Hashable,
    ) -> Answer:
        """What the target answers; of its body at most `most` bytes.

        Parameters
        ----------
        deadline
            On the monotonic clock.
        find
            The addresses of the target's host; only these are connected to.
        kind
            Connections are shared by questions of one kind only: those for which `find` gives the same.

        Raises
        ------
        OSError, http.client.HTTPException
            Out of reach, too slow (`TimeoutError`), broken off, or no HTTP.
        """
        key = (kind, *target[:3])
        if kept := self._take(key):
            # Closed by the server meanwhile, perhaps: then it is asked anew.
            with suppress(OSError, http.client.HTTPException), self._keeping(key, kept):
                return kept.ask(target, headers, most, deadline)
        with self._keeping(key, _Connection(target, find(target))) as fresh:
            return fresh.ask(target, headers, most, deadline)

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop()[-1].close()

    @contextmanager
    def _keeping(self, key: Hashable, connection: _Connection) -> Iterator[_Connection]:
        """Keep the connection if all goes well and the server does not end it; else close it."""
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
            self._drop()

    def _take(self, key: Hashable) -> _Connection | None:
        with self._lock:
            self._drop()
            for entry in reversed(self._idle):
                if entry[0] == key:
                    self._idle.remove(entry)
                    return entry[-1]
        return None

    def _drop(self) -> None:
        oldest = time.monotonic() - KEPT_FOR
        while self._idle and (len(self._idle) > MOST_KEPT or self._idle[0][1] < oldest):
            self._idle.pop(0)[-1].close()


class _Connection(http.client.HTTPConnection):
    """A connection to one of some addresses; Host and the TLS name stay the target's own."""

    def __init__(self, target: Target, addresses: Sequence[str]):
        super().__init__(target.host, target.port)
        self._secure, self._addresses = target.scheme == "https", addresses
        self._deadline, self._overdue = 0.0, False
        self._wire: socket.socket | None = None

    def ask(self, target: Target, headers: dict[str, str], most: int, deadline: float) -> Answer:
        with self._until(deadline):
            self.request("GET", target.path, headers={"Host": target.netloc, **headers})
            with self.getresponse() as response:
                body = response.read(most if response.status < 300 else MOST_UNWANTED)
                if not response.isclosed() and response.read(1):
                    self.close()  # the rest would be taken for the next answer
                return Answer(response.status, response.reason, response.headers, body)

    @contextmanager
    def _until(self, deadline: float) -> Iterator[None]:
        """End whatever is waited for at the deadline, a server that sends a byte now and then included."""
        self._deadline = deadline
        watch = threading.Timer(max(0.0, deadline - time.monotonic()), self._abort)
        watch.daemon = True
        watch.start()
        try:
            yield
        except (OSError, http.client.HTTPException):
            if self._overdue:
                raise TimeoutError from None
            raise
        finally:
            watch.cancel()
        if self._overdue:
            raise TimeoutError

    def _abort(self) -> None:
        self._overdue = True
        if self._wire:
            with suppress(OSError):  # the plain shutdown: that of TLS is not made for another thread
                socket.socket.shutdown(self._wire, socket.SHUT_RDWR)

    def connect(self) -> None:
        """Called by `request` where nothing is connected yet."""
        self._watched(self._reached())
        if self._secure:
            # The handshake comes only when `_abort` can reach the socket.
            secure = _tls().wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self._watched(secure)
            secure.do_handshake()

    def _watched(self, wire: socket.socket) -> None:
        self._wire = self.sock = wire
        if self._overdue:  # `_abort` came too early to see this socket
            raise TimeoutError

    def _reached(self) -> socket.socket:
        failed: OSError = ConnectionError("no address")
        for number, address in enumerate(self._addresses):
            left = (self._deadline - time.monotonic()) / (len(self._addresses) - number)
            try:
                reached = socket.create_connection((address, self.port), max(0.01, left))
            except OSError as error:
                failed = error
                continue
            reached.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reached.settimeout(None)  # `_until` watches
            return reached
        raise failed

    def close(self) -> None:
        super().close()
        self._wire = None


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
