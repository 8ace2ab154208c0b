"""A view of HiGlass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.uids import CHROMSIZES, GENES
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.hubs.hub import COLOURS, HEIGHT, MEASURED_COLOUR

# How a HiGlass view draws each datatype: the track's type and its height in pixels.
DRAWN = {
    "vector": ("bar", HEIGHT), "bedlike": ("bedlike", 40), "multivec": ("horizontal-multivec", 120),
    "matrix": ("horizontal-heatmap", 200),
}  # fmt: skip


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
