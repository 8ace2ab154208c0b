"""A hub: the tilesets that other genome browsers can read from an address, and the reasons for leaving out the others.

Each browser's own files are written by a module of its name: ucsc, igv, jbrowse, washu and higlass.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import PREDICTED, REGISTERED, TilesetRecord, View
from trackserver.catalogue.uids import is_assembly_uid, is_effect_uid, is_mutagenesis_uid
from trackserver.catalogue.viewconf import tilesets_of
from trackserver.errors import AssemblyNotShown, NoFile
from trackserver.genome.locus import Locus
from trackserver.sources.source import is_remote

EXTENSIONS = {"bigwig": "bw", "bigbed": "bb"}  # of the files that every browser reads by ranges
HEIGHT = 60  # pixels of a track
# The page's own colours; tracks of other kinds look like observed ones.
COLOURS = {PREDICTED: "#0b6e69"}
OBSERVED_COLOUR = "#b9c6cd"
FILES_NOT_SERVED = "this site does not serve its files (setting `serve_files`)"
MAX_SHOWN = 10  # tracks of a whole catalogue that a browser shows at first; the user can add the others

# The assemblies that UCSC, IGV and WashU all support, by their names there.
ASSEMBLIES = ("hg38", "hg19", "mm39", "mm10", "mm9", "rn6", "dm6", "ce11", "danRer11", "sacCer3")
_UCSC_NAMES = {name: name for name in ASSEMBLIES} | {
    "GRCh38": "hg38",
    "GRCh37": "hg19",
    "GRCm39": "mm39",
    "GRCm38": "mm10",
}


class LeftOutTileset(NamedTuple):
    """A tileset that other browsers cannot show, with the reason."""

    uid: str
    name: str
    reason: str


class TilesetSelection(NamedTuple):
    """Tilesets to show in other browsers; the first `n_shown` records are shown at first."""

    records: list[TilesetRecord]
    left_out: list[LeftOutTileset]
    n_shown: int


@dataclass(frozen=True)
class Addresses:
    """Where other browsers reach this site's files; None for a file that is not served."""

    file: Callable[[TilesetRecord], str | None]
    chromsizes: Callable[[str], str]  # by assembly


@dataclass(frozen=True)
class HubTrack:
    """A tileset and the address of its file."""

    record: TilesetRecord
    url: str
    is_shown: bool  # at first

    @property
    def colour(self) -> str:
        """The colour as `#rrggbb`."""
        return COLOURS.get(self.record.kind, OBSERVED_COLOUR)

    @property
    def rgb(self) -> str:
        """The colour as `r,g,b`, each up to 255."""
        return ",".join(str(part) for part in bytes.fromhex(self.colour[1:]))

    @property
    def facets(self) -> dict[str, str]:
        """Facets of the catalogue that have a value."""
        record = self.record
        strand = {"+": "plus", "-": "minus"}.get(record.strand, "")
        facets = {"kind": record.kind, "assay": record.assay, "biosample": record.biosample, "target": record.target,
                  "strand": strand, "model": record.model, "accession": record.accession}  # fmt: skip
        return {facet: value for facet, value in facets.items() if value}


@dataclass(frozen=True)
class Hub:
    """Tracks for other browsers, in order, and the tilesets left out."""

    title: str
    tracks: tuple[HubTrack, ...]
    left_out: tuple[LeftOutTileset, ...]

    @property
    def assemblies(self) -> list[str]:
        """Assemblies of the tracks, by this site's names and in the tracks' order."""
        return list(dict.fromkeys(track.record.assembly for track in self.tracks))

    def on(self, assembly: str) -> list[HubTrack]:
        return [track for track in self.tracks if track.record.assembly == assembly]


def select_all(site: Site) -> TilesetSelection:
    """Select the site's own tilesets; files that visitors registered are not included."""
    records = [record for record in site.catalogue.tilesets() if record.kind != REGISTERED]
    return TilesetSelection(records, [], MAX_SHOWN)


def select_by_uid(site: Site, uids: Iterable[str]) -> TilesetSelection:
    """Select tilesets by uid, in order.

    Raises
    ------
    UnknownTileset
        The site has no tileset of that uid.
    """
    records, left_out = [], []
    for uid in dict.fromkeys(uids):
        if reason := _why_no_file(uid):
            left_out.append(LeftOutTileset(uid, uid, reason))
        else:
            records.append(site.catalogue.tileset(uid))
    return TilesetSelection(records, left_out, len(records))


def select_by_view(site: Site, view: View) -> TilesetSelection:
    """Select the tilesets of a shared view, in its order."""
    known = {record.uid for record in site.catalogue.tilesets()}
    uids = dict.fromkeys(tilesets_of(view.viewconf))
    unknown = [uid for uid in uids if uid not in known and not _why_no_file(uid)]
    selection = select_by_uid(site, (uid for uid in uids if uid not in unknown))
    left_out = [LeftOutTileset(uid, uid, "it is not a tileset of this site") for uid in unknown]
    return selection._replace(left_out=[*selection.left_out, *left_out])


def _why_no_file(uid: str) -> str:
    """Reason why a tileset outside the catalogue has no file; empty for others."""
    if is_effect_uid(uid) or is_mutagenesis_uid(uid):
        return "it is computed for this page and has no file; `trackserver predict` writes predictions to files"
    if is_assembly_uid(uid):
        return "every browser has its own genes, chromosomes and sequence"
    return ""


def make_hub(site: Site, selection: TilesetSelection, addresses: Addresses) -> Hub:
    """Give the selected tilesets their addresses; leave out those that no other browser could read."""
    tracks: list[HubTrack] = []
    left_out = list(selection.left_out)
    for record in selection.records:
        if reason := _why_unreadable(site, record):
            left_out.append(LeftOutTileset(record.uid, record.name, reason))
        elif url := record.path if is_remote(record.path) else addresses.file(record):
            tracks.append(HubTrack(record, url, len(tracks) < selection.n_shown))
        else:
            left_out.append(LeftOutTileset(record.uid, record.name, FILES_NOT_SERVED))
    return Hub(site.settings.title, tuple(tracks), tuple(left_out))


def _why_unreadable(site: Site, record: TilesetRecord) -> str:
    """Reason why other browsers cannot read a tileset's file; empty if they can."""
    if record.filetype not in EXTENSIONS:
        return f"other browsers read bigWig and bigBed from an address, not {record.filetype}"
    if is_remote(record.path):
        return "" if is_public(record.path) else "its address is for this server only"
    return "" if site.inside(record.path).is_file() else "its file is gone"


def is_public(url: str) -> bool:
    """Whether an address can be published: http(s), no user or signature, and outside private networks."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or parts.query or "@" in parts.netloc:
        return False
    return is_public_host(host)


def is_public_host(host: str) -> bool:
    """Whether a host looks reachable from the internet."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".internal", ".lan", ".localhost"))


def ucsc_name(assembly: str) -> str:
    """The name of an assembly in UCSC, IGV and WashU.

    Raises
    ------
    AssemblyNotShown
        They do not support it.
    """
    if assembly not in _UCSC_NAMES:
        raise AssemblyNotShown(assembly, ASSEMBLIES)
    return _UCSC_NAMES[assembly]


def has_ucsc_name(assembly: str) -> bool:
    """Whether UCSC, IGV and WashU support an assembly."""
    return assembly in _UCSC_NAMES


def to_one_line(text: str) -> str:
    """Put a text on one line and drop unprintable characters, because hubs and sessions hold nothing else."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def local_file(site: Site, uid: str) -> Path:
    """Path of a tileset's file, if the site serves it.

    Raises
    ------
    UnknownTileset, NoFile
        The uid is unknown, or its file has another format, lies elsewhere, is gone or is not served.
    """
    if reason := _why_no_file(uid):
        raise NoFile(uid, reason)
    record = site.catalogue.tileset(uid)
    if is_remote(record.path):
        raise NoFile(uid, "it lies on another server")
    if reason := _why_unreadable(site, record):
        raise NoFile(uid, reason)
    if not site.settings.serve_files:
        raise NoFile(uid, FILES_NOT_SERVED)
    return site.inside(record.path)


def format_locus(locus: Locus) -> str:
    """Write a locus as every browser reads it in an address: counted from 1, without commas."""
    return f"{locus.chrom}:{locus.start + 1}-{locus.end}"
