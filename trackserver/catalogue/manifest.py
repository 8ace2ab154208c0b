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
from trackserver.catalogue.tilesets import uid_for
from trackserver.errors import DataError
from trackserver.models.card import first_problem


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: Path
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
        name=entry.name or entry.path.stem,
        kind=entry.kind,
        assembly=assembly,
        path=str((folder / entry.path).resolve()),
        assay=entry.assay,
        biosample=entry.biosample,
        target=entry.target,
        strand=entry.strand,
        accession=entry.accession,
        provenance={"source": entry.source} if entry.source else {},
    )
