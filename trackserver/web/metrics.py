"""Metrics for Prometheus: requests, tiles, caches and the queue.

With several workers, each writes its counts to files in PROMETHEUS_MULTIPROC_DIR, which `server.py` sets, and the one
that serves /metrics adds them up. prometheus-client reads that variable when it is imported, so it is imported late.
"""

from __future__ import annotations

import os
import threading
from functools import cache
from time import perf_counter
from typing import Protocol

from flask import Flask, Response, g, request

from trackserver import __version__

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
METHODS = {"GET", "HEAD", "POST", "OPTIONS"}
BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Cache(Protocol):
    """A cache that counts its hits and misses, and knows its size."""

    hits: int
    misses: int

    @property
    def bytes(self) -> int: ...


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

        self.registry = CollectorRegistry()

        def counter(name: str, description: str, *labels: str) -> Counter:
            return Counter(f"trackserver_{name}", description, labels, registry=self.registry)

        self._seconds = Histogram(
            "trackserver_request_seconds", "Time to answer a request", ("route", "method", "status"),
            buckets=BUCKETS_S, registry=self.registry,
        )  # fmt: skip
        self._tiles = counter("tiles", "Tiles sent, by kind", "kind")
        self._hits = counter("cache_hits", "Cache look-ups that found an entry", "cache")
        self._misses = counter("cache_misses", "Cache look-ups that found no entry", "cache")
        self._bytes = Gauge("trackserver_cache_bytes", "Size of a cache in bytes", ("cache",), registry=self.registry,
                            multiprocess_mode="livesum")  # fmt: skip
        self._waiting = Gauge("trackserver_jobs_waiting", "Jobs that wait for the model", registry=self.registry,
                              multiprocess_mode="mostrecent")  # fmt: skip
        info = Gauge("trackserver_info", "The version", ("version",), registry=self.registry,
                     multiprocess_mode="max")  # fmt: skip
        info.labels(__version__).set(1)
        ProcessCollector(registry=self.registry)
        self._timer = cache(lambda route, method, status: self._seconds.labels(route, method, str(status)))
        self._caches_read_at = 0.0
        self._caches: dict[str, Cache] = {}
        self._last_counts: dict[str, tuple[int, int, int]] = {}
        self._lock = threading.Lock()

    def count_tiles(self, kind: str, n: int) -> None:
        """Count tiles sent, by kind."""
        self._tiles.labels(kind).inc(n)

    def watch(self, name: str, cache: Cache) -> None:
        """Report a cache from now on."""
        self._caches[name] = cache

    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        self._timer(route, method, status).observe(seconds)
        # Another worker may serve /metrics, and it cannot read this one's caches.
        if FOLDER_VARIABLE in os.environ and perf_counter() - self._caches_read_at > 1:
            self._read_caches()

    def text(self, n_waiting: int) -> bytes:
        """Metrics of all workers, as Prometheus reads them."""
        from prometheus_client import CollectorRegistry, generate_latest, multiprocess

        self._waiting.set(n_waiting)
        self._read_caches()
        if FOLDER_VARIABLE not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry)

    def _read_caches(self) -> None:
        self._caches_read_at = perf_counter()
        for name, counted in self._caches.items():
            with self._lock:
                now = (counted.hits, counted.misses, counted.bytes)
                before = self._last_counts.get(name, (0, 0, -1))
                self._last_counts[name] = now
            if now != before:
                self._hits.labels(name).inc(now[0] - before[0])
                self._misses.labels(name).inc(now[1] - before[1])
                self._bytes.labels(name).set(now[2])


def init_app(app: Flask, metrics: Metrics) -> None:
    def end(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"
        method = request.method if request.method in METHODS else "other"
        metrics.observe_request(route, method, response.status_code, perf_counter() - g.start)
        return response

    app.before_request(_start)
    app.after_request(end)


def _start() -> None:
    g.start = perf_counter()
