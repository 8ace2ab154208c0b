"""What the server does, counted for Prometheus: requests, tiles, caches, the queue.

With several workers each counts into files of its own in PROMETHEUS_MULTIPROC_DIR, which `server.py` sets, and the one
that is asked adds them up. prometheus-client looks for that variable when it is imported, so it is imported late.
"""

from __future__ import annotations

import os
import threading
from functools import cache
from time import perf_counter
from typing import Protocol

from flask import Flask, Response, g, request

from trackserver import __version__

SHARED = "PROMETHEUS_MULTIPROC_DIR"
METHODS = {"GET", "HEAD", "POST", "OPTIONS"}
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Cache(Protocol):
    """What is watched: how often something was found or not, counted up, and how much is held."""

    hits: int
    misses: int

    @property
    def bytes(self) -> int: ...


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

        self.registry = CollectorRegistry()

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"trackserver_{name}", words, labels, registry=self.registry)

        self._seconds = Histogram(
            "trackserver_request_seconds", "Time to answer a request", ("route", "method", "status"),
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._tiles = counter("tiles", "Tiles sent, by kind", "kind")
        self._hits = counter("cache_hits", "Things found in a cache", "cache")
        self._misses = counter("cache_misses", "Things looked for in a cache and not found", "cache")
        self._bytes = Gauge("trackserver_cache_bytes", "Bytes a cache holds", ("cache",), registry=self.registry,
                            multiprocess_mode="livesum")  # fmt: skip
        self._waiting = Gauge("trackserver_jobs_waiting", "Jobs that wait for the model", registry=self.registry,
                              multiprocess_mode="mostrecent")  # fmt: skip
        info = Gauge("trackserver_info", "The version", ("version",), registry=self.registry,
                     multiprocess_mode="max")  # fmt: skip
        info.labels(__version__).set(1)
        ProcessCollector(registry=self.registry)
        self._timer = cache(lambda route, method, status: self._seconds.labels(route, method, str(status)))
        self._looked = 0.0
        self._caches: dict[str, Cache] = {}
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._lock = threading.Lock()

    def tiles(self, kind: str, n: int) -> None:
        """Count tiles of a kind that were sent."""
        self._tiles.labels(kind).inc(n)

    def watch(self, name: str, held: Cache) -> None:
        """Report a cache from now on."""
        self._caches[name] = held

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        self._timer(route, method, status).observe(seconds)
        if SHARED in os.environ and perf_counter() - self._looked > 1:  # else whoever asks this process looks itself
            self._look_at_caches()

    def text(self, waiting: int) -> bytes:
        """Everything, of every worker, as Prometheus reads it."""
        from prometheus_client import CollectorRegistry, generate_latest, multiprocess

        self._waiting.set(waiting)
        self._look_at_caches()
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry)

    def _look_at_caches(self) -> None:
        self._looked = perf_counter()
        for name, held in self._caches.items():
            with self._lock:
                now = (held.hits, held.misses, held.bytes)
                before = self._seen.get(name, (0, 0, -1))
                self._seen[name] = now
            if now != before:
                self._hits.labels(name).inc(now[0] - before[0])
                self._misses.labels(name).inc(now[1] - before[1])
                self._bytes.labels(name).set(now[2])


def init_app(app: Flask, metrics: Metrics) -> None:
    def end(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"
        method = request.method if request.method in METHODS else "other"
        metrics.request(route, method, response.status_code, perf_counter() - g.began)
        return response

    app.before_request(_begin)
    app.after_request(end)


def _begin() -> None:
    g.began = perf_counter()
