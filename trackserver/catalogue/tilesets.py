"""Open the tilesets of assemblies, and check files before they enter the catalogue."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import REGISTERED, TilesetRecord
from trackserver.catalogue.uids import CHROMSIZES, GENES, SEQUENCE, check_uid
from trackserver.errors import InvalidRequest, UnknownTileset, UnreadableFile, listing
from trackserver.progress import Progress, no_progress
from trackserver.sources.guard import Guard
from trackserver.sources.source import is_remote, open_remote
from trackserver.storage import sha256
from trackserver.tiles.annotation import ChromSizesTileset, GenesTileset
from trackserver.tiles.grid import Grid
from trackserver.tiles.kinds import KINDS, check_file
from trackserver.tiles.sequence import SequenceTileset
from trackserver.tiles.tileset import Tileset


def open_assembly_tileset(site: Site, uid: str) -> Tileset:
    """Open an assembly's genes, chromosome sizes or sequence."""
    prefix, _, name = uid.partition("-")
    if name not in site.assembly_names:
        raise UnknownTileset(uid)
    assembly = site.assembly(name)
    if f"{prefix}-" == CHROMSIZES:
        return ChromSizesTileset(assembly)
    if f"{prefix}-" == SEQUENCE:
        if not site.reference(name).has_genome:
            raise UnknownTileset(uid)
        return SequenceTileset(site.reference(name).genome, Grid(assembly), f"Sequence ({name})")
    genes = site.reference(name).genes()
    if genes is None:
        raise UnknownTileset(uid)
    return GenesTileset(genes, Grid(assembly), f"Genes ({name})")


def guard_of(site: Site, record: TilesetRecord) -> Guard | None:
    """The limits on a visitor's address, from the site's settings; an administrator's own address has none."""
    if record.kind != REGISTERED:
        return None
    settings = site.settings
    return Guard(
        tuple(settings.remote_hosts), settings.remote_private, settings.remote_timeout, settings.remote_max_bytes
    )


def assembly_records(site: Site) -> list[TilesetRecord]:
    """The tilesets that every assembly has without being added."""
    records = []
    for name in site.assembly_names:
        records.append(
            _assembly_record(f"{CHROMSIZES}{name}", f"Chromosomes ({name})", name, "chromsizes", "chromsizes-tsv")
        )
        if site.settings.assemblies[name].genes:
            records.append(_assembly_record(f"{GENES}{name}", f"Genes ({name})", name, "gene-annotation", "beddb"))
        if site.reference(name).has_genome:
            records.append(_assembly_record(f"{SEQUENCE}{name}", f"Sequence ({name})", name, "multivec", "fasta"))
    return [replace(record, created=site.since) for record in records]


def _assembly_record(uid: str, name: str, assembly: str, datatype: str, filetype: str) -> TilesetRecord:
    return TilesetRecord(uid, name, "annotation", assembly, path="", datatype=datatype, filetype=filetype)


def add_tileset(site: Site, record: TilesetRecord) -> TilesetRecord:
    """Check a file against its assembly and register it.

    Raises
    ------
    UnreadableFile
        The file is missing, truncated, or in another format.
    ChromosomesDoNotFit
        Its chromosomes are not the assembly's.
    """
    checked = check_tileset(site, record)
    site.catalogue.put_tilesets([checked])
    return checked


def check_tileset(site: Site, record: TilesetRecord, report: Progress = no_progress) -> TilesetRecord:
    """Check a tileset's file from end to end, and complete its record with data type, size and checksum.

    A file on the web gets no checksum, because its version is checked whenever it is read.
    """
    check_uid(record.uid)
    kind = KINDS[record.filetype]
    assembly = site.assembly(record.assembly)
    if is_remote(record.path):
        source = open_remote(record.path, guard_of(site, record))
        check_file(record.filetype, source, assembly, report)
        return replace(record, datatype=kind.datatype, size=source.size)
    path = site.inside(record.path)
    if not path.is_file():
        raise UnreadableFile(f"There is no file {path}.")
    check_file(record.filetype, path, assembly, report)
    size = path.stat().st_size
    return replace(record, path=site.relative(path), datatype=kind.datatype, size=size, sha256=sha256(path))


def files_in(location: str | os.PathLike[str]) -> list[str]:
    """The servable files of a folder, sorted, as absolute paths; a single file or address is returned in a list."""
    if is_remote(str(location)):
        return [str(location)]
    path = Path(location).resolve()
    if not path.is_dir():
        return [str(path)]
    suffixes = tuple(suffix for kind in KINDS.values() for suffix in kind.suffixes)
    files = sorted(str(file) for file in path.iterdir() if file.name.lower().endswith(suffixes))
    if not files:
        raise InvalidRequest(f"{path} has no file that can be served: {listing(suffixes, 30)}.")
    return files
