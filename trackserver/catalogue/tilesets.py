"""From a uid to a tileset that answers, and from a file to a tileset in the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from trackserver.catalogue.effects import is_effect_uid, open_effect_tileset
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import PREDICTED, TilesetRecord
from trackserver.errors import InvalidRequest, UnknownTileset, UnreadableFile
from trackserver.genome.sequence import sha256
from trackserver.tiles.annotation import ChromSizesTileset, GenesTileset
from trackserver.tiles.grid import Grid
from trackserver.tiles.tileset import UID, Tileset
from trackserver.tiles.vector import BigWigTileset, check_chromosomes, check_readable

GENES, CHROMSIZES = "genes-", "chromsizes-"


def open_tileset(site: Site, uid: str) -> Tileset:
    """Whatever a uid names on this site: a file, an effect's array, an assembly's genes or chromosomes."""
    if is_effect_uid(uid):
        return open_effect_tileset(site, uid)
    if uid.startswith((GENES, CHROMSIZES)):
        return _open_assembly_tileset(site, uid)
    record = site.catalogue.tileset(uid)
    return BigWigTileset(site.inside(record.path), Grid(site.assembly(record.assembly)), record.name)


def _open_assembly_tileset(site: Site, uid: str) -> Tileset:
    prefix, _, name = uid.partition("-")
    if name not in site.assembly_names:
        raise UnknownTileset(uid)
    assembly = site.assembly(name)
    if f"{prefix}-" == CHROMSIZES:
        return ChromSizesTileset(assembly)
    genes = site.genes(name)
    if genes is None:
        raise UnknownTileset(uid)
    return GenesTileset(genes, Grid(assembly), f"Genes ({name})")


def assembly_records(site: Site) -> list[TilesetRecord]:
    """The tilesets every assembly brings along, as HiGlass lists them."""
    records = []
    for name in site.assembly_names:
        records.append(
            _assembly_record(f"{CHROMSIZES}{name}", f"Chromosomes ({name})", name, "chromsizes", "chromsizes-tsv")
        )
        if site.settings.assemblies[name].genes:
            records.append(_assembly_record(f"{GENES}{name}", f"Genes ({name})", name, "gene-annotation", "beddb"))
    return records


def _assembly_record(uid: str, name: str, assembly: str, datatype: str, filetype: str) -> TilesetRecord:
    return TilesetRecord(uid, name, "annotation", assembly, path="", datatype=datatype, filetype=filetype)


def add_tileset(site: Site, record: TilesetRecord) -> TilesetRecord:
    """Check a bigWig against its assembly and register it; nothing is registered that could not be served.

    Raises
    ------
    UnreadableFile
        It is missing, truncated, or another format.
    ChromosomesDoNotFit
        Its chromosomes are not the assembly's.
    """
    checked = check_tileset(site, record)
    site.catalogue.put_tilesets([checked])
    return checked


def check_tileset(site: Site, record: TilesetRecord) -> TilesetRecord:
    """The record with the file's size and checksum, once the file is known to be good."""
    path = site.inside(record.path)
    if not UID.match(record.uid):
        raise InvalidRequest(f"'{record.uid}' cannot be a uid: use letters, digits, _ and - only.")
    if record.uid.startswith(("fx-", GENES, CHROMSIZES)):
        raise InvalidRequest(f"'{record.uid}' cannot be a uid: fx-, genes- and chromsizes- are the server's own.")
    if not path.is_file():
        raise UnreadableFile(f"There is no file {path}.")
    check_readable(path)
    check_chromosomes(path, site.assembly(record.assembly))
    return replace(record, path=site.relative(path), size=path.stat().st_size, sha256=sha256(path))


def uid_for(path: Path) -> str:
    """A uid made of a file's name: `ENCFF136DBS.bigWig` -> `ENCFF136DBS`, `x.plus.bw` -> `x-plus`."""
    stem = re.sub(r"\.(bigwig|bw)$", "", path.name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "tileset"


def pairs(records: Iterable[TilesetRecord]) -> dict[str, str]:
    """Each predicted tileset and the measured one it speaks of, both ways.

    By accession and strand where the predicted track carries one, else by assay, biosample, target and strand
    where exactly one measured tileset has them.
    """
    listed = list(records)
    by_accession: dict[tuple[str, ...], list[str]] = {}
    by_meaning: dict[tuple[str, ...], list[str]] = {}
    for record in listed:
        if record.kind != PREDICTED:
            by_accession.setdefault(_accession(record), []).append(record.uid)
            by_meaning.setdefault(_meaning(record), []).append(record.uid)
    found: dict[str, str] = {}
    for record in listed:
        if record.kind != PREDICTED:
            continue
        candidates = by_accession.get(_accession(record), []) if record.accession else []
        if not candidates and any(_meaning(record)[1:4]):
            candidates = by_meaning.get(_meaning(record), [])
        if len(candidates) == 1:
            found[record.uid] = candidates[0]
            found.setdefault(candidates[0], record.uid)
    return found


def _accession(record: TilesetRecord) -> tuple[str, ...]:
    return record.assembly, record.accession, record.strand


def _meaning(record: TilesetRecord) -> tuple[str, ...]:
    words = (record.assay, record.biosample, record.target)
    return (record.assembly, *(word.casefold() for word in words), record.strand)
