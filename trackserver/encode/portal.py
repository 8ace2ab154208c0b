"""The ENCODE portal's JSON, asked for no faster than it likes, and once a day for the same thing."""

from __future__ import annotations

import hashlib
import json
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

RATE = 5.0  # questions a second: the portal allows ten, and what is asked again comes on top
LONGEST_WAIT = 20.0  # seconds, whatever Retry-After says
_BUSY = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
_PATIENCE = (10, 60)  # seconds to connect, and of silence: a large search takes its time

Query = Mapping[str, str | int | Sequence[str]]


class Pace:
    """A bucket of one token that is filled `rate` times a second. Safe from several threads."""

    def __init__(
        self,
        rate: float = RATE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._interval, self._clock, self._sleep = 1 / rate, clock, sleep
        self._lock, self._next = threading.Lock(), 0.0

    def wait(self) -> None:
        """Return once there is a token."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._interval
        if turn > now:
            self._sleep(turn - now)


class Portal:
    """The portal at an address. What it answered is kept in `cache` until the day is over.

    Answers are kept by what was asked, which is the `@id` of what comes, and by the date: what is revoked or replaced
    is known the day after at the latest.
    """

    def __init__(
        self, url: str, cache: Path, *, pace: Pace | None = None, today: Callable[[], date] = date.today
    ) -> None:
        self.url, self._cache, self._today = url.rstrip("/"), cache, today
        self._session = requests.Session()
        self._session.headers.update({"Accept": "application/json", "User-Agent": f"trackserver/{__version__}"})
        adapter = _Paced(pace or Pace())
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def get(self, path: str, query: Query) -> dict[str, Any]:
        """What the portal answers to a path and a query; a list of values means any of them.

        A search without hits is an answer too, though the portal calls it 404.

        Raises
        ------
        NotFound
            There is no such object.
        InvalidRequest
            It is not public, or the portal does not take the question.
        Unavailable
            The portal is out of reach, still busy after several tries, or answers with something else.
        """
        url = f"{self.url}{path}?{urlencode({**query, 'format': 'json'}, doseq=True)}"
        return self._kept(url) or self._keep(url, self._ask(url, path))

    def _ask(self, url: str, path: str) -> dict[str, Any]:
        try:
            response = self._session.get(url, timeout=_PATIENCE)
        except requests.RequestException:
            raise Unavailable(
                f"The ENCODE portal cannot be reached at {self.url}; check the connection and try again later. "
                "The tracks that this site has are served as ever."
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
                raise InvalidRequest(f"ENCODE does not show {path} to everybody: it is not released.")
            case HTTPStatus.BAD_REQUEST if body:
                raise InvalidRequest(
                    f"The ENCODE portal does not take this question: {body.get('detail', 'no reason')}."
                )
            case status if status in _BUSY:
                raise Unavailable(f"The ENCODE portal is busy (it answers {status}); try again in a few minutes.")
        raise Unavailable(
            f"{self.url} answers {response.status_code} and not as the ENCODE portal does; try again later, and check "
            "encode_url in the site's settings."
        )

    def _kept(self, url: str) -> dict[str, Any]:
        """Today's answer; empty where none is kept, or the file is damaged."""
        with suppress(OSError, ValueError):
            kept: dict[str, Any] = json.loads(self._place(url).read_bytes())
            return kept
        return {}

    def _keep(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        place = self._place(url)
        with suppress(OSError):  # on a disk that is full or read-only the portal is asked each time
            if not place.parent.is_dir():
                shutil.rmtree(self._cache, ignore_errors=True)  # of other days
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, json.dumps(body))
        return body

    def _place(self, url: str) -> Path:
        return self._cache / self._today().isoformat() / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"


def _json(response: requests.Response) -> dict[str, Any]:
    """The object in an answer; empty where there is none."""
    try:
        body = response.json()
    except requests.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


class _Paced(HTTPAdapter):
    """Every question waits for its turn, those of redirects included."""

    def __init__(self, pace: Pace):
        self._pace = pace
        super().__init__(
            max_retries=_Bounded(
                3, connect=1, read=1, status_forcelist=_BUSY, backoff_factor=0.5, raise_on_status=False
            )
        )

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        self._pace.wait()
        return super().send(*args, **kwargs)


class _Bounded(Retry):
    """Waits as long as Retry-After says, within reason."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        wait = super().get_retry_after(response)
        return None if wait is None else min(wait, LONGEST_WAIT)
