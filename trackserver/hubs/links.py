"""Links that open tracks in other genome browsers, and notes on what keeps them from working."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from trackserver.errors import AssemblyNotShown
from trackserver.genome.locus import Locus
from trackserver.hubs import igv
from trackserver.hubs.hub import ASSEMBLIES, Hub, HubTrack, format_locus, has_ucsc_name, is_public_host, ucsc_name

UCSC = "https://genome.ucsc.edu/cgi-bin/hgTracks"
IGV = "https://igv.org/app/"
IGV_DESKTOP = "http://localhost:60151/load"  # IGV listens here on the visitor's own machine
JBROWSE = "https://jbrowse.org/code/jb2/latest/"
WASHU = "https://epigenomegateway.wustl.edu/browser/"


@dataclass(frozen=True)
class FileAddresses:
    """Address of the file that each browser opens."""

    ucsc: str  # hub.txt
    igv: str
    jbrowse: str
    washu: str


def browser_links(tracks: list[HubTrack], assembly: str, locus: Locus | None, files: FileAddresses) -> dict[str, str]:
    """Make a link for each browser that can show these tracks, all on one assembly."""
    if not tracks:
        return {}
    position = format_locus(locus) if locus else ""
    shown = ",".join(track.record.uid for track in tracks if track.is_shown)
    links = {"jbrowse": _link(JBROWSE, config=files.jbrowse, assembly=assembly, loc=position, tracks=shown)}
    if has_ucsc_name(assembly):
        ucsc = ucsc_name(assembly)
        links |= {
            "ucsc": _link(UCSC, db=ucsc, hubUrl=files.ucsc, position=position),
            "igv": _link(IGV, sessionURL=files.igv),
            "igv_desktop": _link(IGV_DESKTOP, file=files.igv),
            "washu": _link(WASHU, genome=ucsc, hub=files.washu, position=position),
        }
    return links


def _link(page: str, **parameters: str) -> str:
    return f"{page}?{urlencode({name: value for name, value in parameters.items() if value})}"


def notes(hub: Hub, assembly: str, server: str) -> Iterator[str]:
    """Sentences to read before following the links; `server` is this server's address in them."""
    tracks = hub.on(assembly)
    others = len(hub.tracks) - len(tracks)
    if not tracks:
        yield f"No other genome browser can show any of these tracks on {assembly}."
        return
    if hub.left_out:
        yield f"{len(hub.left_out)} of {len(hub.left_out) + len(hub.tracks)} tilesets are left out."
    if others:
        yield f"{others} more are on another assembly than {assembly}."
    yield from limit_notes(hub, assembly)
    yield from address_notes(server)


def limit_notes(hub: Hub, assembly: str) -> Iterator[str]:
    """Say what browsers cannot show of the tracks on an assembly."""
    if not has_ucsc_name(assembly):
        yield str(AssemblyNotShown(assembly, ASSEMBLIES))
    if len(hub.on(assembly)) > igv.MAX_TRACKS:
        yield (
            f"IGV opens all tracks of a session at once, so its session holds only the first {igv.MAX_TRACKS} on "
            f"{assembly}."
        )


def address_notes(server: str) -> Iterator[str]:
    """Say which browsers cannot read from a server's address."""
    parts = urlsplit(server)
    if not is_public_host(parts.hostname or ""):
        yield (
            f"These links use the address {server}. UCSC reads tracks from its own machines, so it needs an address "
            "on the internet. IGV, JBrowse and WashU run in your own browser, which may ask you whether they may "
            "reach this machine."
        )
    elif parts.scheme == "http":
        yield (
            f"These links use the address {server}. The pages of IGV, JBrowse and WashU are https, and browsers stop "
            "them from reading plain http: serve this site over https, or use IGV Desktop."
        )
