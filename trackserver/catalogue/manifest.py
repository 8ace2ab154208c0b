"""Manifests: a readable list of tracks, from where, with what is known of them.

assembly = "hg38"

[[tileset]]
path = "ENCFF136DBS.bigWig"     # beside the manifest, or in the folder named on the command line; or an address
name = "DNase K562"
assay = "DNASE"
biosample = "K562"

Or the same as a table, tab-separated under a header: file, assay, biosample, target, strand and so on.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from trackserver.catalogue import words
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import REGISTERED, TilesetRecord, source_of
from trackserver.catalogue.uids import stem_of, uid_for
from trackserver.errors import DataError, InvalidRequest
from trackserver.sources.source import is_remote
from trackserver.tiles.kinds import kind_of
from trackserver.validation import first_problem

SUFFIXES = (".toml", ".tsv")

_HEADER = re.compile(r"\s*\[\[\s*tileset\s*\]\]")


class Listed(NamedTuple):
    """A tileset of a list, and where it stands there, for the beginning of a sentence."""

    where: str
    record: TilesetRecord


def _strand(value: Any) -> Any:
    return words.strand(value) if isinstance(value, str) else value


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1)  # or an address on the web
    uid: str = ""
    name: str = ""
    kind: Literal["observed", "predicted"] = "observed"
    assembly: str = ""  # where it is not the manifest's
    assay: str = ""
    biosample: str = ""
    target: str = ""
    strand: Annotated[Literal["+", "-", "."], BeforeValidator(_strand)] = "."
    accession: str = ""
    source: str = ""
    model: str = ""
    track_index: int | None = None
    provenance: dict[str, Any] = {}

    def record(self, assembly: str, folder: Path) -> TilesetRecord:
        said = self.model_dump(exclude={"path", "uid", "name", "assembly"})
        return TilesetRecord(
            uid=self.uid or uid_for(self.path),
            name=self.name or stem_of(self.path),
            filetype=kind_of(self.path).filetype,
            assembly=self.assembly or assembly,
            path=self.path if is_remote(self.path) else str((folder / self.path).resolve()),
            **said,
        )


class Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    assembly: str = Field(min_length=1)
    summary: str = ""
    tileset: list[Entry] = Field(min_length=1)


def read_list(path: Path, folder: Path | None, assembly: str) -> list[Listed]:
    """The tilesets of a manifest, or of a table (.tsv) whose rows lie on `assembly` unless they say another."""
    return read_table(path, assembly, folder) if path.suffix.lower() == ".tsv" else read_manifest(path, folder)


def read_manifest(path: Path, folder: Path | None = None) -> list[Listed]:
    """The tilesets a manifest names; their files lie in `folder`, or beside the manifest.

    Raises
    ------
    DataError
        There is none, or it says what cannot be: a sentence for each fault, with its line and key.
    """
    text = _text(path)
    try:
        manifest = Manifest.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} is not valid TOML: {error}.") from error
    except ValidationError as error:
        faults = [_fault(path, text, problem) for problem in error.errors()]
        raise DataError("\n".join(dict.fromkeys(faults))) from error
    places = [f"{path}{_line(text, ('tileset', number))}" for number in range(len(manifest.tileset))]
    entries = list(zip(places, manifest.tileset, strict=True))
    return _listed(entries, manifest.assembly, folder or path.parent)


def read_table(path: Path, assembly: str, folder: Path | None = None) -> list[Listed]:
    """The tilesets of a table: tab-separated, a header, then a line for each.

    The column `file` must be there; the others are the keys of a manifest's tileset. Any further column is kept in the
    tileset's provenance under `table`, unless its name is nearly a known one.

    Raises
    ------
    DataError
        There is none, or it says what cannot be: a sentence for each fault, with its line and column.
    """
    lines = [(number, line) for number, line in enumerate(_text(path).splitlines(), 1) if line.strip()]
    if len(lines) < 2:
        raise DataError(f"{path} lists nothing: it needs a header (file, assay, biosample …) and a line for each file.")
    (first, header), rows = lines[0], lines[1:]
    columns = [column.strip() for column in header.lstrip("#").split("\t")]
    _check_columns(f"{path}, line {first}", columns)
    entries, faults = [], []
    for number, line in rows:
        where = f"{path}, line {number}"
        try:
            entries.append((where, _entry(columns, line)))
        except ValidationError as error:
            faults.append(f"{where}: {first_problem(error)}.")
        except DataError as error:
            faults.append(f"{where}: {error}")
    if faults:
        raise DataError("\n".join(faults))
    return _listed(entries, assembly, folder or path.parent)


def written(site: Site, records: Iterable[TilesetRecord], place: Path | None = None) -> str:
    """A manifest of a site's tilesets, which `read_manifest` reads back to the same.

    Files inside `place`, the folder the manifest is for, are named from there; others by their whole path. A visitor's
    addresses are left out, for they are not the site's own; what a provenance says is null is left out too.
    """
    import tomli_w

    own = [record for record in records if record.kind != REGISTERED]
    if not own:
        raise InvalidRequest("There is no tileset to write a manifest of.")
    assembly = Counter(record.assembly for record in own).most_common(1)[0][0]
    return tomli_w.dumps({"assembly": assembly, "tileset": [_written(site, one, assembly, place) for one in own]})


def _written(site: Site, record: TilesetRecord, assembly: str, place: Path | None) -> dict[str, Any]:
    said = {name: getattr(record, name) for name in Entry.model_fields}
    said |= {
        "path": _path(site, record.path, place),
        "assembly": "" if record.assembly == assembly else record.assembly,
        "source": "" if record.source == source_of(replace(record, source="")) else record.source,
    }
    fields = Entry.model_fields.items()
    return {name: _without_null(said[name]) for name, field in fields if said[name] != field.default}


def _path(site: Site, path: str, place: Path | None) -> str:
    if is_remote(path):
        return path
    whole, folder = site.inside(path).resolve(), place and place.resolve()
    return str(whole.relative_to(folder) if folder and whole.is_relative_to(folder) else whole)


def _without_null(value: Any) -> Any:
    """What TOML can hold."""
    if isinstance(value, dict):
        return {name: _without_null(inner) for name, inner in value.items() if inner is not None}
    return [_without_null(inner) for inner in value if inner is not None] if isinstance(value, list) else value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"There is no manifest {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text: write it as UTF-8.") from error


def _listed(entries: Sequence[tuple[str, Entry]], assembly: str, folder: Path) -> list[Listed]:
    listed, faults = [], []
    for where, entry in entries:
        try:
            listed.append(Listed(where, entry.record(assembly, folder)))
        except InvalidRequest as error:
            faults.append(f"{where}: {error}")
    if faults := [*faults, *_twice(listed)]:
        raise DataError("\n".join(faults))
    return listed


def _twice(listed: Iterable[Listed]) -> Iterator[str]:
    """A sentence for each uid that two tilesets have."""
    first: dict[str, str] = {}
    for where, record in listed:
        if record.uid in first:
            yield f"{where}: the uid '{record.uid}' is also that of {first[record.uid]}; give one of them another."
        first.setdefault(record.uid, where)


def check_uids(listed: Iterable[Listed]) -> None:
    """Refuse two tilesets with one uid, for one would take the other's place."""
    if faults := list(_twice(listed)):
        raise InvalidRequest("\n".join(faults))


def _fault(path: Path, text: str, problem: Any) -> str:
    """`x.toml, line 7: no key is called 'asay'; did you mean 'assay'?`."""
    where, key = f"{path}{_line(text, problem['loc'])}", str(problem["loc"][-1])
    if problem["type"] == "extra_forbidden":
        known = Entry if problem["loc"][0] == "tileset" else Manifest
        return f"{where}: no key is called '{key}'; {_meant(key, known.model_fields)}"
    if problem["type"] == "missing":
        return f"{where}: '{key}' is missing."
    return f"{where}: {key}: {problem['msg'][:1].lower()}{problem['msg'][1:]}."


def _meant(name: str, known: Iterable[str]) -> str:
    like = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean '{like[0]}'?" if like else f"there are {', '.join(known)}."


def _line(text: str, loc: Sequence[int | str]) -> str:
    """`, line 7`: where a key of a TOML stands, or the tileset that lacks it; the parser does not say."""
    lines = text.splitlines()
    begins = [number for number, line in enumerate(lines) if _HEADER.match(line)]
    begin, end, key = 0, begins[0] if begins else len(lines), str(loc[0])
    if len(loc) > 1 and isinstance(number := loc[1], int):
        if number >= len(begins):  # an array of tables may be written in other ways too
            return ""
        begin, end, key = begins[number], [*begins, len(lines)][number + 1], str(loc[2]) if len(loc) > 2 else ""
    named = re.compile(rf"\s*(\[\w+\.)?[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    found = next((at for at in range(begin, end) if key and named.match(lines[at])), begin)
    return f", line {found + 1}"


def _check_columns(where: str, columns: Sequence[str]) -> None:
    known = ["file", *(name for name in Entry.model_fields if name not in ("path", "provenance"))]
    if "file" not in columns:
        raise DataError(f"{where}: no column is called 'file'; a header reads file, assay, biosample, target, strand.")
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise DataError(f"{where}: the column '{twice[0]}' is there twice.")
    for column in columns:
        like = difflib.get_close_matches(column.lower(), known, n=1, cutoff=0.8)
        if like and column not in known:
            raise DataError(f"{where}: no column is called '{column}'; did you mean '{like[0]}'?")


def _entry(columns: Sequence[str], line: str) -> Entry:
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) != len(columns):
        raise DataError(f"it has {len(cells)} cells under a header of {len(columns)} columns; tabs go between them.")
    said = {column: cell for column, cell in zip(columns, cells, strict=True) if cell}
    known = {name: said.pop(name) for name in list(said) if name in Entry.model_fields and name != "provenance"}
    return Entry.model_validate({"path": said.pop("file", ""), **known, "provenance": {"table": said} if said else {}})
