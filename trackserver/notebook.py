"""A server's tilesets as higlass-python's objects, so that a notebook draws them.

>>> import higlass as hg, trackserver
>>> signal = trackserver.higlass("http://localhost:8989")["k562-t0"]
>>> hg.view(signal.track("bar", height=80))
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trackserver.errors import InvalidRequest, Unavailable, UnknownTileset

if TYPE_CHECKING:
    from higlass.api import Track
    from higlass.tilesets import RemoteTileset

PATIENCE = 30  # seconds

# How each datatype is drawn: the track's type, its height, options.
DRAWN: dict[str, tuple[str, int, dict[str, Any]]] = {
    "vector": ("bar", 60, {"valueScaleMin": 0}),  # else the smallest bar has no height
    "multivec": ("horizontal-multivec", 120, {}),
    "matrix": ("heatmap", 400, {}),
    "gene-annotation": ("gene-annotations", 90, {}),
    "bedlike": ("bedlike", 40, {}),
    "chromsizes": ("chromosome-labels", 25, {}),
}


def higlass(server: str) -> dict[str, RemoteTileset]:
    """A server's tilesets by uid, as `higlass.remote` makes them.

    Parameters
    ----------
    server
        Its address as the browser reaches it, such as `http://localhost:8989`.

    Raises
    ------
    Unavailable
        It does not answer, is none of HiGlass's, or higlass-python is not installed.
    """
    hg, api = _library(), _api(server)
    return {entry["uuid"]: hg.remote(entry["uuid"], api, entry["name"]) for entry in _listed(api)}


def tracks(server: str, *uids: str) -> list[Track]:
    """Tracks of some of a server's tilesets, in the form in which their kind is looked at.

    Raises
    ------
    UnknownTileset
        The server has none of that uid.
    InvalidRequest
        It is of a kind that has no usual form; make its track with `higlass(server)[uid].track(...)`.
    """
    hg, api = _library(), _api(server)
    listed = {entry["uuid"]: entry for entry in _listed(api)}
    return [_track(hg, api, listed, uid) for uid in uids]


def _track(hg: Any, api: str, listed: dict[str, Any], uid: str) -> Track:
    if uid not in listed:
        raise UnknownTileset(uid)
    datatype = listed[uid]["datatype"]
    if datatype not in DRAWN:
        raise InvalidRequest(f"A tileset of {datatype} has no usual form; choose one: higlass(server)['{uid}'].track.")
    form, height, options = DRAWN[datatype]
    track: Track = hg.remote(uid, api, listed[uid]["name"]).track(form, height=height)
    return track.opts(**options)


def _library() -> Any:
    try:
        import higlass as hg
    except ModuleNotFoundError:
        raise Unavailable("This needs higlass-python; install it with: pip install 'trackserver[notebook]'.") from None
    return hg


def _api(server: str) -> str:
    """`http://localhost:8989/` -> `http://localhost:8989/api/v1`; HiGlass wants it absolute."""
    if urlsplit(server).scheme not in ("http", "https"):
        raise InvalidRequest(f"'{server}' is not a server's address; one reads http://localhost:8989.")
    return f"{server.rstrip('/').removesuffix('/api/v1')}/api/v1"


def _listed(api: str) -> Iterator[dict[str, Any]]:
    """A server's catalogue, page after page."""
    address = f"{api}/tilesets/?limit=10000"
    while address:
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
                page = json.load(answer)
            yield from page["results"]
            address = page["next"]
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            raise Unavailable(f"There is no catalogue of HiGlass's kind at {api}: {error}.") from None
