"""Client for the ENCODE portal's JSON: limited in rate, and cached for a day."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.util import Retry

from trackserver import __version__
from trackserver.errors import InvalidRequest, NotFound, Unavailable
from trackserver.storage import write_whole

MAX_REQUESTS_PER_S = 5.0  # the portal allows ten, and retries come on top
MAX_RETRY_AFTER_S = 20.0  # even if Retry-After says more
_BUSY = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
_TIMEOUTS_S = (10, 60)  # to connect, and to wait for data: a large search takes long

Query = Mapping[str, str | int | Sequence[str]]


class RateLimiter:
    """Spaces requests evenly, at most `rate` a second. Thread-safe."""

    def __init__(
        self,
        rate: float = MAX_REQUESTS_PER_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._interval, self._clock, self._sleep = 1 / rate, clock, sleep
        self._lock, self._next = threading.Lock(), 0.0

    def wait(self) -> None:
        """Wait for this request's turn."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._interval
        if turn > now:
            self._sleep(turn - now)


class Portal:
    """The portal at an address.

    Responses are cached by address and date in the folder `cache`, so a revoked or replaced file is noticed the day
    after at the latest.
    """

    def __init__(
        self,
        url: str,
        cache: str | os.PathLike[str],
        *,
        limiter: RateLimiter | None = None,
        today: Callable[[], date] = date.today,
    ) -> None:
        self.url, self._cache, self._today = url.rstrip("/"), Path(cache), today
        self._session = requests.Session()
        self._session.headers.update({"Accept": "application/json", "User-Agent": f"trackserver/{__version__}"})
        adapter = _LimitedAdapter(limiter or RateLimiter())
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def get(self, path: str, query: Query) -> dict[str, Any]:
        """Get the JSON object at a path. A list of values in the query means any of them.

        A search without hits returns an empty result, although the portal responds with 404.

        Raises
        ------
        NotFound
            There is no such object.
        InvalidRequest
            The object is not public, or the portal does not accept the query.
        Unavailable
            The portal cannot be reached, is still busy after several tries, or responds with something else.
        """
        url = f"{self.url}{path}?{urlencode({**query, 'format': 'json'}, doseq=True)}"
        if cached := self._read_cache(url):
            return cached
        body = self._request(url, path)
        self._write_cache(url, body)
        return body

    def _request(self, url: str, path: str) -> dict[str, Any]:
        try:
            response = self._session.get(url, timeout=_TIMEOUTS_S)
        except requests.RequestException:
            raise Unavailable(
                f"The ENCODE portal cannot be reached at {self.url}; check the connection and try again later. "
                "The site keeps serving the tracks it has."
            ) from None
        body = _json(response)
        if response.ok and body:
            return body
        match response.status_code:
            case HTTPStatus.NOT_FOUND if "@graph" in body:
                return body
            case HTTPStatus.NOT_FOUND if body:
                raise NotFound(
                    f"ENCODE has no {path.strip('/').rpartition('/')[2]}; check the accession, or look for it with "
                    "`trackserver encode search`."
                )
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                raise InvalidRequest(f"ENCODE has not released {path}, so it is not public.")
            case HTTPStatus.BAD_REQUEST if body:
                raise InvalidRequest(
                    f"The ENCODE portal does not accept this query: {body.get('detail', 'it gives no reason')}."
                )
            case status if status in _BUSY:
                raise Unavailable(f"The ENCODE portal is busy (status {status}); try again in a few minutes.")
        raise Unavailable(
            f"{self.url} responds with status {response.status_code}, unlike the ENCODE portal; try again later, and "
            "check encode_url in the site's settings."
        )

    def _read_cache(self, url: str) -> dict[str, Any]:
        """Today's response from the cache; empty if it is not there or damaged."""
        with suppress(OSError, ValueError):
            cached: dict[str, Any] = json.loads(self._cache_file(url).read_bytes())
            return cached
        return {}

    def _write_cache(self, url: str, body: dict[str, Any]) -> None:
        file = self._cache_file(url)
        with suppress(OSError):  # works without a cache where the disk is full or read-only
            if not file.parent.is_dir():
                shutil.rmtree(self._cache, ignore_errors=True)  # responses of earlier days
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(body))

    def _cache_file(self, url: str) -> Path:
        return self._cache / self._today().isoformat() / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"


def _json(response: requests.Response) -> dict[str, Any]:
    """The JSON object in a response; empty if there is none."""
    try:
        body = response.json()
    except requests.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


class _LimitedAdapter(HTTPAdapter):
    """Makes every request wait for its turn, redirects included."""

    def __init__(self, limiter: RateLimiter):
        self._limiter = limiter
        super().__init__(
            max_retries=_BoundedRetry(
                3, connect=1, read=1, status_forcelist=_BUSY, backoff_factor=0.5, raise_on_status=False
            )
        )

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        self._limiter.wait()
        return super().send(*args, **kwargs)


class _BoundedRetry(Retry):
    """Waits as long as Retry-After says, up to `MAX_RETRY_AFTER_S`."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        wait = super().get_retry_after(response)
        return None if wait is None else min(wait, MAX_RETRY_AFTER_S)
