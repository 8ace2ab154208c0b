"""A JBrowse 2 config.

Format: https://jbrowse.org/jb2/docs/config_guide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trackserver.catalogue.store import TilesetRecord
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.hubs.hub import Addresses, HubTrack, has_ucsc_name, ucsc_name

SEQUENCES = "https://hgdownload.soe.ucsc.edu/goldenPath"  # UCSC's downloads, which pages of other origins may read


def make_config(
    tracks: Sequence[HubTrack], assemblies: Sequence[Assembly], addresses: Addresses, locus: Locus | None
) -> dict[str, Any]:
    """Make a config that opens the first assembly, at the locus or else on its first chromosome."""
    shown = [track for track in tracks if track.is_shown and track.record.assembly == assemblies[0].name]
    return {
        "assemblies": [_assembly(assembly.name, addresses) for assembly in assemblies],
        "tracks": [_track(track) for track in tracks],
        "defaultSession": {"name": "trackserver", "views": [_view(shown, assemblies[0], locus)]},
    }


def _assembly(name: str, addresses: Addresses) -> dict[str, Any]:
    """Describe an assembly by UCSC's sequence if there is one, else by its chromosomes, which is enough for tracks."""
    adapter: dict[str, Any] = {"type": "ChromSizesAdapter", "chromSizesLocation": _location(addresses.chromsizes(name))}
    if has_ucsc_name(name):
        ucsc = ucsc_name(name)
        sequence = _location(f"{SEQUENCES}/{ucsc}/bigZips/{ucsc}.2bit")
        adapter |= {"type": "TwoBitAdapter", "twoBitLocation": sequence}
    return {
        "name": name,
        "sequence": {"type": "ReferenceSequenceTrack", "trackId": f"{name}-sequence", "adapter": adapter},
    }


def _track(track: HubTrack) -> dict[str, Any]:
    record = track.record
    common = {
        "trackId": record.uid, "name": record.name, "assemblyNames": [record.assembly],
        "category": [record.kind.capitalize(), *filter(None, [record.assay])], "metadata": track.facets,
    }  # fmt: skip
    if record.filetype == "bigbed":
        return common | {
            "type": "FeatureTrack", "adapter": {"type": "BigBedAdapter", "bigBedLocation": _location(track.url)},
        }  # fmt: skip
    bars = {"type": "XYPlotRenderer", "color": track.colour}
    display = {
        "type": "LinearWiggleDisplay", "displayId": _display_id(record), "renderers": {"XYPlotRenderer": bars},
    }  # fmt: skip
    return common | {
        "type": "QuantitativeTrack", "displays": [display],
        "adapter": {"type": "BigWigAdapter", "bigWigLocation": _location(track.url)},
    }  # fmt: skip


def _view(tracks: Sequence[HubTrack], assembly: Assembly, locus: Locus | None) -> dict[str, Any]:
    locus = locus or Locus(assembly.chroms[0], 0, assembly.sizes[0])
    bp_per_pixel = len(locus) / 1000  # in a window 1,000 pixels wide
    region = {
        "assemblyName": assembly.name, "refName": locus.chrom, "start": 0, "end": assembly.chromsizes[locus.chrom],
        "reversed": False,
    }  # fmt: skip
    return {
        "id": "trackserver", "type": "LinearGenomeView", "displayedRegions": [region],
        "bpPerPx": bp_per_pixel, "offsetPx": round(locus.start / bp_per_pixel),
        "tracks": [
            {
                "type": "FeatureTrack" if track.record.filetype == "bigbed" else "QuantitativeTrack",
                "configuration": track.record.uid,
                "displays": [{
                    "type": "LinearBasicDisplay" if track.record.filetype == "bigbed" else "LinearWiggleDisplay",
                    "configuration": _display_id(track.record),
                }],
            }
            for track in tracks
        ],
    }  # fmt: skip


def _display_id(record: TilesetRecord) -> str:
    """The id that JBrowse itself gives a track's display."""
    return f"{record.uid}-{'LinearBasicDisplay' if record.filetype == 'bigbed' else 'LinearWiggleDisplay'}"


def _location(url: str) -> dict[str, str]:
    return {"uri": url, "locationType": "UriLocation"}
