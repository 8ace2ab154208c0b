"""What IGV, JBrowse, WashU and HiGlass open: their own files, made of a hub's tracks.

Formats: IGV's session in XML, which IGV Desktop and IGV-Web (igv.js) both read, as JSON only the latter does; JBrowse 2
config, https://jbrowse.org/jb2/docs/config_guide; WashU datahub, https://epgg.github.io; HiGlass viewconf.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from trackserver.catalogue.hubs import (
    COLOURS,
    MEASURED_COLOUR,
    Addresses,
    HubTrack,
    is_shown_elsewhere,
    name_elsewhere,
    one_line,
)
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import CHROMSIZES, GENES
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus

IGV_VERSION = "8"  # of its session format
MOST_IN_IGV = 50  # a session's tracks are all opened at once
HEIGHT = 60  # pixels
SEQUENCES = "https://hgdownload.soe.ucsc.edu/goldenPath"  # UCSC's downloads, which other origins may read

# How a HiGlass view draws each datatype: the track's type and its height in pixels.
DRAWN = {
    "vector": ("bar", HEIGHT), "bedlike": ("bedlike", 40), "multivec": ("horizontal-multivec", 120),
    "matrix": ("horizontal-heatmap", 200),
}  # fmt: skip


def igv(tracks: Sequence[HubTrack], assembly: str, locus: Locus | None) -> str:
    """A session for IGV Desktop and IGV-Web, of tracks of one assembly, at most `MOST_IN_IGV` of them.

    Raises
    ------
    AssemblyNotShown
        IGV does not know the assembly.
    """
    session = ElementTree.Element("Session", genome=name_elsewhere(assembly), version=IGV_VERSION, hasGeneTrack="true")
    if locus:
        session.set("locus", plain(locus))
    resources = ElementTree.SubElement(session, "Resources")
    panel = ElementTree.SubElement(session, "Panel", name="DataPanel")
    for track in tracks[:MOST_IN_IGV]:
        ElementTree.SubElement(resources, "Resource", path=track.url)
        # igv.js takes altColor for said where color is.
        ElementTree.SubElement(panel, "Track", {
            "id": track.url, "name": one_line(track.record.name), "color": track.rgb, "altColor": track.rgb,
            "autoScale": "true", "height": str(HEIGHT),
        })  # fmt: skip
    ElementTree.indent(session)
    return ElementTree.tostring(session, "unicode", xml_declaration=True) + "\n"


def jbrowse(
    tracks: Sequence[HubTrack], assemblies: Sequence[Assembly], addresses: Addresses, locus: Locus | None
) -> dict[str, Any]:
    """A JBrowse 2 config. The first assembly is shown at first: at the locus, or its first chromosome."""
    shown = [track for track in tracks if track.opened and track.record.assembly == assemblies[0].name]
    return {
        "assemblies": [_jbrowse_assembly(assembly.name, addresses) for assembly in assemblies],
        "tracks": [_jbrowse_track(track) for track in tracks],
        "defaultSession": {"name": "trackserver", "views": [_jbrowse_view(shown, assemblies[0], locus)]},
    }


def _jbrowse_assembly(name: str, addresses: Addresses) -> dict[str, Any]:
    """With UCSC's sequence where it has one; of any other assembly the chromosomes are enough to show tracks."""
    adapter: dict[str, Any] = {"type": "ChromSizesAdapter", "chromSizesLocation": _place(addresses.chromsizes(name))}
    if is_shown_elsewhere(name):
        theirs = name_elsewhere(name)
        sequence = _place(f"{SEQUENCES}/{theirs}/bigZips/{theirs}.2bit")
        adapter |= {"type": "TwoBitAdapter", "twoBitLocation": sequence}
    return {
        "name": name,
        "sequence": {"type": "ReferenceSequenceTrack", "trackId": f"{name}-sequence", "adapter": adapter},
    }


def _jbrowse_track(track: HubTrack) -> dict[str, Any]:
    record = track.record
    told = {
        "trackId": record.uid, "name": record.name, "assemblyNames": [record.assembly],
        "category": [record.kind.capitalize(), *filter(None, [record.assay])], "metadata": track.facets,
    }  # fmt: skip
    if record.filetype == "bigbed":
        return told | {
            "type": "FeatureTrack", "adapter": {"type": "BigBedAdapter", "bigBedLocation": _place(track.url)},
        }  # fmt: skip
    bars = {"type": "XYPlotRenderer", "color": track.colour}
    display = {
        "type": "LinearWiggleDisplay", "displayId": _display(record), "renderers": {"XYPlotRenderer": bars},
    }  # fmt: skip
    return told | {
        "type": "QuantitativeTrack", "displays": [display],
        "adapter": {"type": "BigWigAdapter", "bigWigLocation": _place(track.url)},
    }  # fmt: skip


def _jbrowse_view(tracks: Sequence[HubTrack], assembly: Assembly, locus: Locus | None) -> dict[str, Any]:
    at = locus or Locus(assembly.chroms[0], 0, assembly.sizes[0])
    width = len(at) / 1000  # bp a pixel, in a window of 1,000 pixels
    region = {
        "assemblyName": assembly.name, "refName": at.chrom, "start": 0, "end": assembly.chromsizes[at.chrom],
        "reversed": False,
    }  # fmt: skip
    return {
        "id": "trackserver", "type": "LinearGenomeView", "displayedRegions": [region],
        "bpPerPx": width, "offsetPx": round(at.start / width),
        "tracks": [
            {
                "type": "FeatureTrack" if track.record.filetype == "bigbed" else "QuantitativeTrack",
                "configuration": track.record.uid,
                "displays": [{
                    "type": "LinearBasicDisplay" if track.record.filetype == "bigbed" else "LinearWiggleDisplay",
                    "configuration": _display(track.record),
                }],
            }
            for track in tracks
        ],
    }  # fmt: skip


def _display(record: TilesetRecord) -> str:
    """As JBrowse itself names a track's display."""
    return f"{record.uid}-{'LinearBasicDisplay' if record.filetype == 'bigbed' else 'LinearWiggleDisplay'}"


def _place(url: str) -> dict[str, str]:
    return {"uri": url, "locationType": "UriLocation"}


def washu(tracks: Sequence[HubTrack]) -> list[dict[str, Any]]:
    """A datahub for the WashU Epigenome Browser, of tracks of one assembly."""
    return [
        {
            "type": track.record.filetype, "name": track.record.name, "url": track.url,
            "showOnHubLoad": track.opened, "options": {"color": track.colour, "height": HEIGHT},
            "metadata": track.facets,
        }
        for track in tracks
    ]  # fmt: skip


def higlass(records: Sequence[TilesetRecord], site: Site, assembly: Assembly, locus: Locus | None, server: str) -> Any:
    """A viewconf of one assembly's tilesets under its chromosomes and genes; `server` is this one's /api/v1."""
    start = assembly.absolute(locus.chrom, locus.start) if locus else 0
    domain = [start, start + len(locus)] if locus else [0, assembly.length]
    own = [_higlass_track("chromosome-labels", f"{CHROMSIZES}{assembly.name}", server, 28, {})]
    if site.settings.assemblies[assembly.name].genes:
        own.append(_higlass_track("gene-annotations", f"{GENES}{assembly.name}", server, 62, {"name": "Genes"}))
    drawn = [
        _higlass_track(form, record.uid, server, height, _options(record))
        for record in records
        if record.datatype in DRAWN
        for form, height in [DRAWN[record.datatype]]
    ]
    view = {
        "uid": "view", "initialXDomain": domain, "layout": {"x": 0, "y": 0, "w": 12, "h": 12},
        "tracks": {"top": [*own, *drawn]},
    }  # fmt: skip
    return {
        "editable": True, "zoomFixed": False, "trackSourceServers": [server], "exportViewUrl": f"{server}/viewconfs/",
        "views": [view],
    }  # fmt: skip


def _higlass_track(form: str, uid: str, server: str, height: int, options: dict[str, Any]) -> dict[str, Any]:
    return {"type": form, "uid": uid, "tilesetUid": uid, "server": server, "height": height, "options": options}


def _options(record: TilesetRecord) -> dict[str, Any]:
    named = {"name": record.name, "labelPosition": "topLeft"}
    if record.datatype != "vector":
        return named
    return named | {"barFillColor": COLOURS.get(record.kind, MEASURED_COLOUR), "valueScaleMin": 0}


def served_from(viewconf: Any, server: str) -> Any:
    """A kept view whose tracks of this server are asked for at its whole address, so that other pages draw it."""
    if isinstance(viewconf, dict):
        return {key: served_from(value, server) for key, value in viewconf.items()}
    if isinstance(viewconf, list):
        return [served_from(value, server) for value in viewconf]
    own = isinstance(viewconf, str) and (viewconf == "/api/v1" or viewconf.startswith("/api/v1/"))
    return server + viewconf.removeprefix("/api/v1") if own else viewconf


def plain(locus: Locus) -> str:
    """As every browser reads it in an address: counted from 1, without commas."""
    return f"{locus.chrom}:{locus.start + 1}-{locus.end}"
