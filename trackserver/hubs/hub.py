"""The catalogue for other genome browsers: which tilesets they can read from an address, and why not the others.

What each browser is given of them is in ucsc.py and sessions.py.
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

ENDINGS = {"bigwig": "bw", "bigbed": "bb"}  # what every browser reads by ranges, and how their addresses end
COLOURS = {PREDICTED: "#0b6e69"}  # the page's own; what is not predicted is drawn in:
MEASURED_COLOUR = "#b9c6cd"
KEPT_BACK = "this site does not hand out its files (setting `serve_files`)"
MOST_SHOWN = 10  # tracks of a whole catalogue that a browser opens with; the others are there to be chosen

# The assemblies that UCSC, IGV and WashU all know, by their names there.
SHOWN = ("hg38", "hg19", "mm39", "mm10", "mm9", "rn6", "dm6", "ce11", "danRer11", "sacCer3")
_THEIRS = {name: name for name in SHOWN} | {"GRCh38": "hg38", "GRCh37": "hg19", "GRCm39": "mm39", "GRCm38": "mm10"}


class LeftOut(NamedTuple):
    """A tileset that other browsers cannot show, and why."""

    uid: str
    name: str
    why: str


class Chosen(NamedTuple):
    """What somebody asked to have elsewhere; `opened` are as many of the records as are shown at first."""

    records: list[TilesetRecord]
    left_out: list[LeftOut]
    opened: int


@dataclass(frozen=True)
class Addresses:
    """Where browsers elsewhere reach this site's files; None of a file that is not handed out."""

    file: Callable[[TilesetRecord], str | None]
    chromsizes: Callable[[str], str]  # by assembly


@dataclass(frozen=True)
class HubTrack:
    """A tileset and the address of its file."""

    record: TilesetRecord
    url: str
    opened: bool  # shown at first

    @property
    def colour(self) -> str:
        """As `#rrggbb`."""
        return COLOURS.get(self.record.kind, MEASURED_COLOUR)

    @property
    def rgb(self) -> str:
        """The same as `r,g,b`, each to 255."""
        return ",".join(str(part) for part in bytes.fromhex(self.colour[1:]))

    @property
    def facets(self) -> dict[str, str]:
        """What is known of it, by the catalogue's words; only what is said."""
        record = self.record
        strand = {"+": "plus", "-": "minus"}.get(record.strand, "")
        said = {"kind": record.kind, "assay": record.assay, "biosample": record.biosample, "target": record.target,
                "strand": strand, "model": record.model, "accession": record.accession}  # fmt: skip
        return {facet: value for facet, value in said.items() if value}


@dataclass(frozen=True)
class Hub:
    """Tracks for other browsers, in order, and what had to be left out."""

    title: str
    tracks: tuple[HubTrack, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def assemblies(self) -> list[str]:
        """By this site's names, in the tracks' order."""
        return list(dict.fromkeys(track.record.assembly for track in self.tracks))

    def on(self, assembly: str) -> list[HubTrack]:
        return [track for track in self.tracks if track.record.assembly == assembly]


def whole_catalogue(site: Site) -> Chosen:
    """Every tileset of the site's own; addresses that visitors have registered are theirs."""
    return Chosen([record for record in site.catalogue.tilesets() if record.kind != REGISTERED], [], MOST_SHOWN)


def named(site: Site, uids: Iterable[str]) -> Chosen:
    """These tilesets, in order.

    Raises
    ------
    UnknownTileset
        One of them is none of this site's.
    """
    records, left_out = [], []
    for uid in dict.fromkeys(uids):
        if why := _no_file(uid):
            left_out.append(LeftOut(uid, uid, why))
        else:
            records.append(site.catalogue.tileset(uid))
    return Chosen(records, left_out, len(records))


def drawn_by(site: Site, view: View) -> Chosen:
    """The tilesets of a kept view, in its order."""
    known = {record.uid for record in site.catalogue.tilesets()}
    uids = dict.fromkeys(tilesets_of(view.viewconf))
    strangers = [uid for uid in uids if uid not in known and not _no_file(uid)]
    chosen = named(site, (uid for uid in uids if uid not in strangers))
    left_out = [LeftOut(uid, uid, "it is no tileset of this site") for uid in strangers]
    return chosen._replace(left_out=[*chosen.left_out, *left_out])


def _no_file(uid: str) -> str:
    """Why a tileset that is in no catalogue has no file to show elsewhere; empty of any other."""
    if is_effect_uid(uid) or is_mutagenesis_uid(uid):
        return "it is computed for this page and has no file; `trackserver predict` makes files of predictions"
    if is_assembly_uid(uid):
        return "genes, chromosomes and sequence are every browser's own"
    return ""


def make_hub(site: Site, chosen: Chosen, addresses: Addresses) -> Hub:
    """What was chosen as tracks with addresses; what no browser could read that way is left out, with the reason."""
    tracks: list[HubTrack] = []
    left_out = list(chosen.left_out)
    for record in chosen.records:
        if why := _unreadable(site, record):
            left_out.append(LeftOut(record.uid, record.name, why))
        elif url := record.path if is_remote(record.path) else addresses.file(record):
            tracks.append(HubTrack(record, url, len(tracks) < chosen.opened))
        else:
            left_out.append(LeftOut(record.uid, record.name, KEPT_BACK))
    return Hub(site.settings.title, tuple(tracks), tuple(left_out))


def _unreadable(site: Site, record: TilesetRecord) -> str:
    """Why no browser elsewhere can read a tileset's file; empty if it can."""
    if record.filetype not in ENDINGS:
        return f"other browsers read bigWig and bigBed from an address, not {record.filetype}"
    if is_remote(record.path):
        return "" if is_public(record.path) else "its address is for this server only"
    return "" if site.inside(record.path).is_file() else "its file is gone"


def is_public(url: str) -> bool:
    """Whether an address may be told to anybody: http(s), without a user or a signature, outside private networks."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or parts.query or "@" in parts.netloc:
        return False
    return is_public_host(host)


def is_public_host(host: str) -> bool:
    """Whether the internet can reach a host, as far as its name tells."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".internal", ".lan", ".localhost"))


def name_elsewhere(assembly: str) -> str:
    """What UCSC, IGV and WashU call an assembly.

    Raises
    ------
    AssemblyNotShown
        They do not know it.
    """
    if assembly not in _THEIRS:
        raise AssemblyNotShown(assembly, SHOWN)
    return _THEIRS[assembly]


def is_shown_elsewhere(assembly: str) -> bool:
    return assembly in _THEIRS


def one_line(text: str) -> str:
    """A text as hubs and sessions can hold it: in one line, without signs that cannot be printed."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def local_file(site: Site, uid: str) -> Path:
    """The file of a tileset, where it may be handed out.

    Raises
    ------
    UnknownTileset, NoFile
        There is none of that uid, or it is of another kind, elsewhere, gone, or kept back.
    """
    if why := _no_file(uid):
        raise NoFile(uid, why)
    record = site.catalogue.tileset(uid)
    if is_remote(record.path):
        raise NoFile(uid, "it lies on another server")
    if why := _unreadable(site, record):
        raise NoFile(uid, why)
    if not site.settings.serve_files:
        raise NoFile(uid, KEPT_BACK)
    return site.inside(record.path)


HEIGHT = 60  # pixels


def plain(locus: Locus) -> str:
    """As every browser reads it in an address: counted from 1, without commas."""
    return f"{locus.chrom}:{locus.start + 1}-{locus.end}"
