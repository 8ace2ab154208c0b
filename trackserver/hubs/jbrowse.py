"""What IGV, JBrowse, WashU and HiGlass open: their own files, made of a hub's tracks.

Formats: IGV's session in XML, which IGV Desktop and IGV-Web (igv.js) both read, as JSON only the latter does; JBrowse 2
config, https://jbrowse.org/jb2/docs/config_guide; WashU datahub, https://epgg.github.io; HiGlass viewconf.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trackserver.catalogue.store import TilesetRecord
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.hubs.hub import (
    Addresses,
    HubTrack,
    is_shown_elsewhere,
    name_elsewhere,
)

SEQUENCES = "https://hgdownload.soe.ucsc.edu/goldenPath"  # UCSC's downloads, which other origins may read


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
