"""A session for IGV Desktop and IGV-Web (igv.js), in XML, the form that both read."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from trackserver.genome.locus import Locus
from trackserver.hubs.hub import HEIGHT, HubTrack, format_locus, to_one_line, ucsc_name

FORMAT_VERSION = "8"
MAX_TRACKS = 50  # IGV opens all tracks of a session at once


def make_session(tracks: Sequence[HubTrack], assembly: str, locus: Locus | None) -> str:
    """Make a session of tracks on one assembly, at most `MAX_TRACKS` of them.

    Raises
    ------
    AssemblyNotShown
        IGV does not support the assembly.
    """
    session = ElementTree.Element("Session", genome=ucsc_name(assembly), version=FORMAT_VERSION, hasGeneTrack="true")
    if locus:
        session.set("locus", format_locus(locus))
    resources = ElementTree.SubElement(session, "Resources")
    panel = ElementTree.SubElement(session, "Panel", name="DataPanel")
    for track in tracks[:MAX_TRACKS]:
        ElementTree.SubElement(resources, "Resource", path=track.url)
        # igv.js expects altColor wherever color is set.
        ElementTree.SubElement(panel, "Track", {
            "id": track.url, "name": to_one_line(track.record.name), "color": track.rgb, "altColor": track.rgb,
            "autoScale": "true", "height": str(HEIGHT),
        })  # fmt: skip
    ElementTree.indent(session)
    return ElementTree.tostring(session, "unicode", xml_declaration=True) + "\n"
