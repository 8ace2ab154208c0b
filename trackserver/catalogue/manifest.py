"""Manifests: a readable list of tracks, from where, with what is known of them.

assembly = "hg38"

[[tileset]]
path = "ENCFF136DBS.bigWig"     # beside the manifest, or in the folder named on the command line
name = "DNase K562"
assay = "DNASE"
biosample = "K562"
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import stem_of, uid_for
from trackserver.errors import DataError
from trackserver.models.card import first_problem
from trackserver.tiles.kinds import kind_of
from trackserver.tiles.source import is_remote


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: str  # or an address on the web
    uid: str = ""
    name: str = ""
    kind: Literal["observed", "predicted"] = "observed"
    assay: str = ""
    biosample: str = ""
    target: str = ""
    strand: Literal["+", "-", "."] = "."
    accession: str = ""
    source: str = ""


class Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    assembly: str
    summary: str = ""
    tileset: list[Entry] = Field(min_length=1)


def read_manifest(path: Path, folder: Path | None = None) -> list[TilesetRecord]:
    """The tilesets a manifest names; their files lie in `folder`, or beside the manifest."""
    try:
        manifest = Manifest.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise DataError(f"There is no manifest {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid TOML: {error}.") from error
    except ValidationError as error:
        raise DataError(f"{path} is not a manifest: {first_problem(error)}.") from error
    return [_record(manifest.assembly, entry, folder or path.parent) for entry in manifest.tileset]


def _record(assembly: str, entry: Entry, folder: Path) -> TilesetRecord:
    return TilesetRecord(
        uid=entry.uid or uid_for(entry.path),
        name=entry.name or stem_of(entry.path),
        filetype=kind_of(entry.path).filetype,
        kind=entry.kind,
        assembly=assembly,
        path=entry.path if is_remote(entry.path) else str((folder / entry.path).resolve()),
        assay=entry.assay,
        biosample=entry.biosample,
        target=entry.target,
        strand=entry.strand,
        accession=entry.accession,
        provenance={"source": entry.source} if entry.source else {},
    )
