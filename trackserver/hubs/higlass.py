"""A viewconf for HiGlass elsewhere.

It reads this server's tiles, so it can show every kind of tileset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.uids import CHROMSIZES, GENES
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.hubs.hub import COLOURS, HEIGHT, OBSERVED_COLOUR

# Type and height in pixels of the track that draws each datatype.
TRACK_TYPES = {
    "vector": ("bar", HEIGHT), "bedlike": ("bedlike", 40), "multivec": ("horizontal-multivec", 120),
    "matrix": ("horizontal-heatmap", 200),
}  # fmt: skip


def make_viewconf(
    records: Sequence[TilesetRecord], site: Site, assembly: Assembly, locus: Locus | None, server: str
) -> dict[str, Any]:
    """Make a viewconf of tilesets on one assembly, under its chromosomes and genes.

    Parameters
    ----------
    locus
        Where the view opens; the whole genome if None.
    server
        Address of this server's /api/v1.
    """
    start = assembly.absolute(locus.chrom, locus.start) if locus else 0
    domain = [start, start + len(locus)] if locus else [0, assembly.length]
    assembly_tracks = [_track("chromosome-labels", f"{CHROMSIZES}{assembly.name}", server, 28, {})]
    if site.settings.assemblies[assembly.name].genes:
        assembly_tracks.append(_track("gene-annotations", f"{GENES}{assembly.name}", server, 62, {"name": "Genes"}))
    tracks = [
        _track(track_type, record.uid, server, height, _options(record))
        for record in records
        if record.datatype in TRACK_TYPES
        for track_type, height in [TRACK_TYPES[record.datatype]]
    ]
    view = {
        "uid": "view", "initialXDomain": domain, "layout": {"x": 0, "y": 0, "w": 12, "h": 12},
        "tracks": {"top": [*assembly_tracks, *tracks]},
    }  # fmt: skip
    return {
        "editable": True, "zoomFixed": False, "trackSourceServers": [server], "exportViewUrl": f"{server}/viewconfs/",
        "views": [view],
    }  # fmt: skip


def _track(track_type: str, uid: str, server: str, height: int, options: dict[str, Any]) -> dict[str, Any]:
    return {"type": track_type, "uid": uid, "tilesetUid": uid, "server": server, "height": height, "options": options}


def _options(record: TilesetRecord) -> dict[str, Any]:
    label = {"name": record.name, "labelPosition": "topLeft"}
    if record.datatype != "vector":
        return label
    return label | {"barFillColor": COLOURS.get(record.kind, OBSERVED_COLOUR), "valueScaleMin": 0}
