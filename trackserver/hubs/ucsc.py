"""A UCSC track hub: hub.txt, genomes.txt and one trackDb.txt an assembly.

Format: Raney et al., "Track data hubs enable visualization of user-defined genome-wide annotations", Bioinformatics
2014; https://genome.ucsc.edu/goldenPath/help/trackDb/trackDbHub.html.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from trackserver.catalogue.store import OBSERVED, PREDICTED
from trackserver.hubs.headers import Header
from trackserver.hubs.hub import HubTrack, name_elsewhere, one_line

SHORT, LONG = 17, 76  # letters of a label, beyond which UCSC cuts
MOST_NAME = 100  # letters of a track's name; UCSC puts its own number of the hub before it
BED_COLUMNS = (3, 12)  # of BED itself, fewest and most
KINDS = {OBSERVED: "Measured", PREDICTED: "Predicted"}
TYPES = {"bigwig": "bigWig", "bigbed": "bigBed"}
FACETS = ("assay", "biosample", "target", "strand", "model")  # by which UCSC's page lets tracks be chosen


def hub_txt(title: str, contact: str, genomes_url: str) -> str:
    """hub.txt; `contact` is the e-mail address UCSC demands."""
    return _stanza({
        "hub": "trackserver", "shortLabel": _cut(title, SHORT), "longLabel": _cut(title, LONG),
        "genomesFile": genomes_url, "email": one_line(contact),
    })  # fmt: skip


def genomes_txt(track_dbs: Mapping[str, str]) -> str:
    """genomes.txt, of the address of each assembly's trackDb.txt.

    Raises
    ------
    AssemblyNotShown
        UCSC does not know one of them.
    """
    return "\n".join(
        _stanza({"genome": name_elsewhere(assembly), "trackDb": url}) for assembly, url in track_dbs.items()
    )


def track_db(tracks: Iterable[HubTrack], headers: Mapping[str, Header]) -> str:
    """trackDb.txt of one assembly: a composite for each of measured and predicted, signals and intervals."""
    groups: dict[tuple[str, str], list[HubTrack]] = {}
    for track in tracks:
        groups.setdefault((track.record.kind, track.record.filetype), []).append(track)
    taken = {_composite_name(*group) for group in groups}
    stanzas = []
    for group, members in groups.items():
        tags = _tags(members)
        stanzas.append(_stanza(_composite(*group, members, tags)))
        for track in members:
            name = _unique(_name(track.record.uid), track.record.uid, taken)
            settings = _subtrack(track, name, _composite_name(*group), tags, headers.get(track.record.uid))
            stanzas.append(_stanza(settings, indent="    "))
    return "\n".join(stanzas)


def _composite_name(kind: str, filetype: str) -> str:
    return f"{kind}_{TYPES[filetype]}"


def _composite(kind: str, filetype: str, members: list[HubTrack], tags: dict[str, dict[str, str]]) -> dict[str, str]:
    label = f"{KINDS.get(kind, 'Added')} {'signals' if filetype == 'bigwig' else 'regions'}"
    settings = {
        "track": _composite_name(kind, filetype), "compositeTrack": "on", "shortLabel": label, "longLabel": label,
        "type": TYPES[filetype] + (" 3" if filetype == "bigbed" else ""),
        "visibility": "full" if filetype == "bigwig" else "pack",
    }  # fmt: skip
    for number, (facet, tag_of) in enumerate(tags.items(), 1):
        choices = " ".join(f"{tag}={_joined(value) or 'none'}" for value, tag in tag_of.items())
        settings[f"subGroup{number}"] = f"{facet} {facet.capitalize()} {choices}"
    if {"assay", "biosample"} <= tags.keys():
        settings["dimensions"] = "dimX=assay dimY=biosample"
    if tags:
        settings["sortOrder"] = " ".join(f"{facet}=+" for facet in tags)
    return settings


def _subtrack(
    track: HubTrack, name: str, parent: str, tags: dict[str, dict[str, str]], header: Header | None
) -> dict[str, str]:
    record = track.record
    settings = {
        "track": name, "parent": f"{parent} {'on' if track.opened else 'off'}",
        "shortLabel": _short_label(track), "longLabel": _long_label(track), "bigDataUrl": track.url,
        "color": track.rgb,
        "metadata": " ".join(f'{facet}="{_unquoted(value)}"' for facet, value in track.facets.items()),
    }  # fmt: skip
    if tags:
        settings["subGroups"] = " ".join(
            f"{facet}={tag_of[track.facets.get(facet, '')]}" for facet, tag_of in tags.items()
        )
    return settings | (_signal(header) if record.filetype == "bigwig" else _intervals(header))


def _signal(header: Header | None) -> dict[str, str]:
    settings = {"type": "bigWig", "autoScale": "on", "alwaysZero": "on", "maxHeightPixels": "100:40:8"}
    if header and header.limits:
        low, high = header.limits
        high = high if high > low else low + 1.0  # a range of no width is none to UCSC
        settings |= {"type": f"bigWig {low:.9g} {high:.9g}", "viewLimits": f"{min(low, 0):.9g}:{max(high, 0):.9g}"}
    return settings


def _intervals(header: Header | None) -> dict[str, str]:
    if header is None:
        return {"type": "bigBed 3 +"}
    fewest, most = BED_COLUMNS
    columns = min(max(header.n_bed_columns, fewest), most)
    return {"type": f"bigBed {columns}{' +' if header.n_columns > columns else ''}"}


def _tags(members: list[HubTrack]) -> dict[str, dict[str, str]]:
    """Of each facet in which tracks differ or of which something is known, every value's tag: a word of its own."""
    found = {}
    for facet in FACETS:
        values = dict.fromkeys(track.facets.get(facet, "") for track in members)
        if any(values):
            taken: set[str] = set()
            found[facet] = {value: _unique(_tag(value), value, taken) for value in values}
    return found


def _tag(value: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", value).strip("_") or "none"


def _name(uid: str) -> str:
    """A uid as a track's name: it begins with a letter, and has letters, digits and _ only."""
    name = re.sub(r"[^A-Za-z0-9]", "_", uid)
    return (name if name[0].isalpha() else f"t{name}")[:MOST_NAME]


def _unique(word: str, meaning: str, taken: set[str]) -> str:
    """The word, with a checksum of what it means where it is taken: so it stays the same for as long as it can."""
    free = word if word not in taken else f"{word}_{hashlib.sha256(meaning.encode()).hexdigest()[:8]}"
    taken.add(free)
    return free


def _short_label(track: HubTrack) -> str:
    """The name if it is short, else what was measured in what."""
    record = track.record
    facts = " ".join(filter(None, [record.target or record.assay, record.biosample, record.strand.strip(".")]))
    return _cut(record.name if len(record.name) <= SHORT or not facts else facts, SHORT)


def _long_label(track: HubTrack) -> str:
    record = track.record
    origin = f"predicted by {record.model}" if record.model else record.kind
    return _cut(f"{_cut(record.name, LONG - len(origin) - 3)} ({origin})", LONG)


def _unquoted(text: str) -> str:
    return one_line(re.sub(r'["\\]', "", text))


def _cut(text: str, most: int) -> str:
    return one_line(text)[:most].rstrip() or "-"


def _joined(text: str) -> str:
    """A text as one word, as choices must be; UCSC shows its _ as spaces."""
    return "_".join(one_line(text.replace("=", " ")).split())


def _stanza(settings: Mapping[str, str], indent: str = "") -> str:
    return "".join(f"{indent}{setting} {value}\n" for setting, value in settings.items())
