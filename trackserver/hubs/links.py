"""Links that open tracks in other genome browsers, and what stands in their way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from trackserver.errors import AssemblyNotShown
from trackserver.genome.locus import Locus
from trackserver.hubs.hub import SHOWN, Hub, HubTrack, is_public_host, is_shown_elsewhere, name_elsewhere, plain
from trackserver.hubs.igv import MOST_IN_IGV

UCSC = "https://genome.ucsc.edu/cgi-bin/hgTracks"
IGV = "https://igv.org/app/"
IGV_DESKTOP = "http://localhost:60151/load"  # where IGV listens on the visitor's own machine
JBROWSE = "https://jbrowse.org/code/jb2/latest/"
WASHU = "https://epigenomegateway.wustl.edu/browser/"


@dataclass(frozen=True)
class Files:
    """The addresses of what each browser opens."""

    ucsc: str  # hub.txt
    igv: str
    jbrowse: str
    washu: str


def browser_links(tracks: list[HubTrack], assembly: str, locus: Locus | None, files: Files) -> dict[str, str]:
    """An address for each browser that can show these tracks, all of one assembly."""
    if not tracks:
        return {}
    at = plain(locus) if locus else ""
    opened = ",".join(track.record.uid for track in tracks if track.opened)
    found = {"jbrowse": _link(JBROWSE, config=files.jbrowse, assembly=assembly, loc=at, tracks=opened)}
    if is_shown_elsewhere(assembly):
        theirs = name_elsewhere(assembly)
        found |= {
            "ucsc": _link(UCSC, db=theirs, hubUrl=files.ucsc, position=at),
            "igv": _link(IGV, sessionURL=files.igv),
            "igv_desktop": _link(IGV_DESKTOP, file=files.igv),
            "washu": _link(WASHU, genome=theirs, hub=files.washu, position=at),
        }
    return found


def _link(page: str, **words: str) -> str:
    return f"{page}?{urlencode({word: said for word, said in words.items() if said})}"


def notes(hub: Hub, assembly: str, server: str) -> Iterator[str]:
    """What a person should know before following the links; `server` is this one's address in them."""
    tracks = hub.on(assembly)
    others = len(hub.tracks) - len(tracks)
    if not tracks:
        yield f"None of these tracks can be shown in another genome browser on {assembly}."
        return
    if hub.left_out:
        yield f"{len(hub.left_out)} of {len(hub.left_out) + len(hub.tracks)} tilesets are left out."
    if others:
        yield f"Of the others {others} lie on another assembly than {assembly}."
    yield from limits(hub, assembly)
    yield from reach(server)


def limits(hub: Hub, assembly: str) -> Iterator[str]:
    """What browsers cannot do with the tracks of an assembly."""
    if not is_shown_elsewhere(assembly):
        yield str(AssemblyNotShown(assembly, SHOWN))
    if len(hub.on(assembly)) > MOST_IN_IGV:
        yield f"IGV opens all tracks of a session at once, so its session holds the first {MOST_IN_IGV} on {assembly}."


def reach(server: str) -> Iterator[str]:
    """Who cannot read from an address."""
    parts = urlsplit(server)
    if not is_public_host(parts.hostname or ""):
        yield (
            f"These links name this server as {server}. UCSC reads tracks from its own machines, so it needs an "
            "address that the internet reaches. IGV, JBrowse and WashU run in your own browser; it may ask you whether "
            "they may reach this machine."
        )
    elif parts.scheme == "http":
        yield (
            f"This server is reached as {server}. The pages of IGV, JBrowse and WashU are https, and browsers keep "
            "them from addresses that are only http: serve this one by https, or use IGV Desktop."
        )
