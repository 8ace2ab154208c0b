"""A UCSC track hub: hub.txt, genomes.txt and a trackDb.txt for each assembly.

Format: Raney et al., "Track data hubs enable visualization of user-defined genome-wide annotations", Bioinformatics
2014; https://genome.ucsc.edu/goldenPath/help/trackDb/trackDbHub.html.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from trackserver.catalogue.store import OBSERVED, PREDICTED
from trackserver.hubs.headers import Header
from trackserver.hubs.hub import HubTrack, to_one_line, ucsc_name

MAX_SHORT_LABEL, MAX_LONG_LABEL = 17, 76  # letters; UCSC cuts longer labels
MAX_NAME = 100  # letters of a track's name; UCSC prepends the hub's number
MIN_BED_COLUMNS, MAX_BED_COLUMNS = 3, 12  # columns that BED itself defines
KIND_LABELS = {OBSERVED: "Measured", PREDICTED: "Predicted"}
TYPES = {"bigwig": "bigWig", "bigbed": "bigBed"}
FACETS = ("assay", "biosample", "target", "strand", "model")  # UCSC's page offers these to choose tracks by


def hub_txt(title: str, contact: str, genomes_url: str) -> str:
    """Write hub.txt; `contact` is the e-mail address that UCSC requires."""
    return _stanza({
        "hub": "trackserver", "shortLabel": _shorten(title, MAX_SHORT_LABEL),
        "longLabel": _shorten(title, MAX_LONG_LABEL), "genomesFile": genomes_url, "email": to_one_line(contact),
    })  # fmt: skip


def genomes_txt(track_dbs: Mapping[str, str]) -> str:
    """Write genomes.txt from the address of each assembly's trackDb.txt.

    Raises
    ------
    AssemblyNotShown
        UCSC does not support one of the assemblies.
    """
    return "\n".join(_stanza({"genome": ucsc_name(assembly), "trackDb": url}) for assembly, url in track_dbs.items())


def track_db(tracks: Iterable[HubTrack], headers: Mapping[str, Header]) -> str:
    """Write trackDb.txt of one assembly, with a composite track for each kind (observed, predicted) and file type."""
    groups: dict[tuple[str, str], list[HubTrack]] = {}
    for track in tracks:
        groups.setdefault((track.record.kind, track.record.filetype), []).append(track)
    taken = {_composite_name(*group) for group in groups}
    stanzas = []
    for group, members in groups.items():
        tags = _tags(members)
        stanzas.append(_stanza(_composite(*group, members, tags)))
        for track in members:
            name = _unique(_track_name(track.record.uid), track.record.uid, taken)
            settings = _subtrack(track, name, _composite_name(*group), tags, headers.get(track.record.uid))
            stanzas.append(_stanza(settings, indent="    "))
    return "\n".join(stanzas)


def _composite_name(kind: str, filetype: str) -> str:
    return f"{kind}_{TYPES[filetype]}"


def _composite(kind: str, filetype: str, members: list[HubTrack], tags: dict[str, dict[str, str]]) -> dict[str, str]:
    label = f"{KIND_LABELS.get(kind, 'Added')} {'signals' if filetype == 'bigwig' else 'regions'}"
    settings = {
        "track": _composite_name(kind, filetype), "compositeTrack": "on", "shortLabel": label, "longLabel": label,
        "type": TYPES[filetype] + (" 3" if filetype == "bigbed" else ""),
        "visibility": "full" if filetype == "bigwig" else "pack",
    }  # fmt: skip
    for number, (facet, tag_of) in enumerate(tags.items(), 1):
        choices = " ".join(f"{tag}={_to_one_word(value) or 'none'}" for value, tag in tag_of.items())
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
        "track": name, "parent": f"{parent} {'on' if track.is_shown else 'off'}",
        "shortLabel": _short_label(track), "longLabel": _long_label(track), "bigDataUrl": track.url,
        "color": track.rgb,
        "metadata": " ".join(f'{facet}="{_without_quotes(value)}"' for facet, value in track.facets.items()),
    }  # fmt: skip
    if tags:
        settings["subGroups"] = " ".join(
            f"{facet}={tag_of[track.facets.get(facet, '')]}" for facet, tag_of in tags.items()
        )
    return settings | (_signal_settings(header) if record.filetype == "bigwig" else _interval_settings(header))


def _signal_settings(header: Header | None) -> dict[str, str]:
    settings = {"type": "bigWig", "autoScale": "on", "alwaysZero": "on", "maxHeightPixels": "100:40:8"}
    if header and header.value_range:
        low, high = header.value_range
        high = high if high > low else low + 1.0  # UCSC refuses an empty range
        settings |= {"type": f"bigWig {low:.9g} {high:.9g}", "viewLimits": f"{min(low, 0):.9g}:{max(high, 0):.9g}"}
    return settings


def _interval_settings(header: Header | None) -> dict[str, str]:
    if header is None:
        return {"type": "bigBed 3 +"}
    columns = min(max(header.n_bed_columns, MIN_BED_COLUMNS), MAX_BED_COLUMNS)
    return {"type": f"bigBed {columns}{' +' if header.n_columns > columns else ''}"}


def _tags(members: list[HubTrack]) -> dict[str, dict[str, str]]:
    """Give every value of each facet that the tracks have a tag, which is one unique word."""
    tags = {}
    for facet in FACETS:
        values = dict.fromkeys(track.facets.get(facet, "") for track in members)
        if any(values):
            taken: set[str] = set()
            tags[facet] = {value: _unique(_tag(value), value, taken) for value in values}
    return tags


def _tag(value: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", value).strip("_") or "none"


def _track_name(uid: str) -> str:
    """Make a track name from a uid: a letter first, then letters, digits and _ only."""
    name = re.sub(r"[^A-Za-z0-9]", "_", uid)
    return (name if name[0].isalpha() else f"t{name}")[:MAX_NAME]


def _unique(word: str, meaning: str, taken: set[str]) -> str:
    """Make a word unique: if it is taken, append a checksum of its meaning, so that it stays the same over time."""
    free = word if word not in taken else f"{word}_{hashlib.sha256(meaning.encode()).hexdigest()[:8]}"
    taken.add(free)
    return free


def _short_label(track: HubTrack) -> str:
    """The name if it is short, else target or assay, biosample and strand."""
    record = track.record
    facts = " ".join(filter(None, [record.target or record.assay, record.biosample, record.strand.strip(".")]))
    return _shorten(record.name if len(record.name) <= MAX_SHORT_LABEL or not facts else facts, MAX_SHORT_LABEL)


def _long_label(track: HubTrack) -> str:
    record = track.record
    origin = f"predicted by {record.model}" if record.model else record.kind
    return _shorten(f"{_shorten(record.name, MAX_LONG_LABEL - len(origin) - 3)} ({origin})", MAX_LONG_LABEL)


def _without_quotes(text: str) -> str:
    return to_one_line(re.sub(r'["\\]', "", text))


def _shorten(text: str, limit: int) -> str:
    return to_one_line(text)[:limit].rstrip() or "-"


def _to_one_word(text: str) -> str:
    """Join the words of a text with _, which UCSC shows as spaces."""
    return "_".join(to_one_line(text.replace("=", " ")).split())


def _stanza(settings: Mapping[str, str], indent: str = "") -> str:
    return "".join(f"{indent}{setting} {value}\n" for setting, value in settings.items())
