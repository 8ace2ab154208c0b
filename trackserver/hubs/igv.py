"""A session of IGV."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from trackserver.genome.locus import Locus
from trackserver.hubs.hub import HEIGHT, HubTrack, name_elsewhere, one_line, plain

IGV_VERSION = "8"  # of its session format


MOST_IN_IGV = 50  # a session's tracks are all opened at once


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
