"""Read and change HiGlass views: their tilesets, locus and server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus


def tilesets_of(viewconf: Any) -> Iterator[str]:
    """The uids of a HiGlass view's tilesets, in the view's order; a uid may appear more than once."""
    if isinstance(viewconf, list):
        for part in viewconf:
            yield from tilesets_of(part)
    elif isinstance(viewconf, dict):
        if isinstance(uid := viewconf.get("tilesetUid"), str):
            yield uid
        for part in viewconf.values():
            yield from tilesets_of(part)


def locus_in(viewconf: dict[str, Any], assembly: Assembly) -> Locus | None:
    """The locus that a view shows; its longest part if it spans several chromosomes, None if it has no domain."""
    first = viewconf["views"][0]
    domain = first.get("initialXDomain") if isinstance(first, dict) else None
    if not isinstance(domain, list) or len(domain) != 2 or not all(_is_number(edge) for edge in domain):
        return None
    start, end = (int(min(max(edge, 0), assembly.length)) for edge in domain)
    return max((segment.locus for segment in assembly.segments(start, end)), key=len, default=None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def with_server(viewconf: Any, server: str) -> Any:
    """A view whose tracks have this server's full address, so that other sites' pages can draw it."""
    if isinstance(viewconf, dict):
        return {key: with_server(value, server) for key, value in viewconf.items()}
    if isinstance(viewconf, list):
        return [with_server(value, server) for value in viewconf]
    own = isinstance(viewconf, str) and (viewconf == "/api/v1" or viewconf.startswith("/api/v1/"))
    return server + viewconf.removeprefix("/api/v1") if own else viewconf
