"""Show a server's tilesets in a notebook, as higlass-python objects.

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

TIMEOUT_S = 30

# How each datatype is drawn: HiGlass's track type, height in pixels, options.
TRACK_STYLES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "vector": ("bar", 60, {"valueScaleMin": 0}),  # otherwise the smallest bar would have no height
    "multivec": ("horizontal-multivec", 120, {}),
    "matrix": ("heatmap", 400, {}),
    "gene-annotation": ("gene-annotations", 90, {}),
    "bedlike": ("bedlike", 40, {}),
    "chromsizes": ("chromosome-labels", 25, {}),
}


def higlass(server: str) -> dict[str, RemoteTileset]:
    """Return a server's tilesets by uid, as `higlass.remote` makes them.

    Parameters
    ----------
    server
        The server's address as the browser reaches it, such as `http://localhost:8989`.

    Raises
    ------
    Unavailable
        The server does not answer or is not a HiGlass server, or higlass-python is not installed.
    """
    hg, api = _import_higlass(), _api_address(server)
    return {entry["uuid"]: hg.remote(entry["uuid"], api, entry["name"]) for entry in _tileset_entries(api)}


def tracks(server: str, *uids: str) -> list[Track]:
    """Return tracks of some of a server's tilesets, each with the usual track type of its datatype.

    Raises
    ------
    UnknownTileset
        The server has no tileset with that uid.
    InvalidRequest
        There is no usual track type for the tileset; make its track with `higlass(server)[uid].track(...)`.
    """
    hg, api = _import_higlass(), _api_address(server)
    entries = {entry["uuid"]: entry for entry in _tileset_entries(api)}
    return [_track(hg, api, entries, uid) for uid in uids]


def _track(hg: Any, api: str, entries: dict[str, Any], uid: str) -> Track:
    if uid not in entries:
        raise UnknownTileset(uid)
    datatype = entries[uid]["datatype"]
    if datatype not in TRACK_STYLES:
        raise InvalidRequest(
            f"There is no usual track type for a tileset of {datatype}; choose one with higlass(server)['{uid}'].track."
        )
    track_type, height, options = TRACK_STYLES[datatype]
    track: Track = hg.remote(uid, api, entries[uid]["name"]).track(track_type, height=height)
    return track.opts(**options)


def _import_higlass() -> Any:
    try:
        import higlass as hg
    except ModuleNotFoundError:
        raise Unavailable("This needs higlass-python; install it with: pip install 'trackserver[notebook]'.") from None
    return hg


def _api_address(server: str) -> str:
    """`http://localhost:8989/` -> `http://localhost:8989/api/v1`; HiGlass needs an absolute address."""
    if urlsplit(server).scheme not in ("http", "https"):
        raise InvalidRequest(f"'{server}' is not a server's address; write one such as http://localhost:8989.")
    return f"{server.rstrip('/').removesuffix('/api/v1')}/api/v1"


def _tileset_entries(api: str) -> Iterator[dict[str, Any]]:
    """Read a server's catalogue, page after page."""
    address = f"{api}/tilesets/?limit=10000"
    while address:
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as response:
                page = json.load(response)
            yield from page["results"]
            address = page["next"]
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            raise Unavailable(f"There is no HiGlass server at {api}: {error}.") from None
