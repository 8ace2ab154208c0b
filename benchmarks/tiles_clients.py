"""Many clients at once, each with a connection that stays open, and the server they ask."""

from __future__ import annotations

import http.client
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from browsing import Requests

SERVER = Path(__file__).parent / "tiles_server.py"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


@dataclass
class Visit:
    """What clients saw: seconds of every request, of all together, and how many tiles came."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    tiles: int = 0
    received: int = 0  # bytes of bodies

    def figures(self) -> dict[str, float]:
        cuts = statistics.quantiles(self.latencies, n=100, method="inclusive")
        return {
            "tiles_per_second": self.tiles / self.seconds,
            "p50_ms": cuts[49] * 1000,
            "p99_ms": cuts[98] * 1000,
            "kb_per_tile": self.received / self.tiles / 1000,
        }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(python: str | Path, engine: str, place: Path) -> Iterator[int]:
    """The port of a fresh server of an engine."""
    with running([str(python), str(SERVER), engine, str(place), "serve"]) as port:
        yield port


@contextmanager
def running(command: list[str]) -> Iterator[int]:
    """The port of a server, which the command takes as its last word."""
    port = free_port()
    process = subprocess.Popen([*command, str(port)], env=ONE_THREAD)
    try:
        wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    sys.exit("the server did not start")


def visit(port: int, walks: list[Requests], accept: str = "identity") -> Visit:
    """All walks at once, each by a client of its own that asks as soon as it has the answer before."""
    seen, lock = Visit(), threading.Lock()
    start = threading.Barrier(len(walks) + 1)
    failures: list[BaseException] = []

    def client(requests: Requests) -> None:
        own = Visit()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.connect()
        start.wait()
        try:
            for ids in requests:
                began = time.perf_counter()
                received = ask(connection, ids, accept)
                own.latencies.append(time.perf_counter() - began)
                own.tiles += len(ids)
                own.received += received
        except BaseException as error:
            failures.append(error)
        connection.close()
        with lock:
            seen.latencies += own.latencies
            seen.tiles += own.tiles
            seen.received += own.received

    threads = [threading.Thread(target=client, args=(requests,)) for requests in walks]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seen.seconds = time.perf_counter() - began
    if failures:
        raise failures[0]
    return seen


def ask(connection: http.client.HTTPConnection, ids: list[str], accept: str) -> int:
    """The bytes of an answer, every tile of which must be there."""
    path = "/api/v1/tiles/?" + "&".join(f"d={tile}" for tile in ids)
    connection.request("GET", path, headers={"Accept-Encoding": accept})
    answer = connection.getresponse()
    body = answer.read()
    whole = answer.headers.get("Content-Encoding") or body.count(b'"dense"') == len(ids)
    if answer.status != 200 or not whole:
        raise RuntimeError(f"{answer.status} to {path}: {body[:200]!r}")
    return len(body)


def median_ms(port: int, path: str, times: int = 200) -> float:
    """Of one request again and again."""
    seconds = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for _ in range(times):
            began = time.perf_counter()
            connection.request("GET", path)
            connection.getresponse().read()
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000
