"""Manifests and tables: lists of tilesets with their files and descriptions.

assembly = "hg38"

[[tileset]]
path = "ENCFF136DBS.bigWig"     # beside the manifest or in --folder; or an address
name = "DNase K562"
assay = "DNASE"
biosample = "K562"

A table has the same fields, separated by tabs, under a header: file, assay, biosample, target, strand and so on.
"""

from __future__ import annotations

import difflib
import os
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


class ListEntry(NamedTuple):
    """A tileset of a list, and its file and line there, with which an error message begins."""

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
    assembly: str = ""  # if it is not the manifest's
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
        fields = self.model_dump(exclude={"path", "uid", "name", "assembly"})
        return TilesetRecord(
            uid=self.uid or uid_for(self.path),
            name=self.name or stem_of(self.path),
            filetype=kind_of(self.path).filetype,
            assembly=self.assembly or assembly,
            path=self.path if is_remote(self.path) else str((folder / self.path).resolve()),
            **fields,
        )


class Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    assembly: str = Field(min_length=1)
    summary: str = ""
    tileset: list[Entry] = Field(min_length=1)


def read_list(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None, assembly: str) -> list[ListEntry]:
    """Read a manifest, or a table (.tsv) whose rows are on `assembly` unless they name another."""
    path = Path(path)
    return read_table(path, assembly, folder) if path.suffix.lower() == ".tsv" else read_manifest(path, folder)


def read_manifest(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> list[ListEntry]:
    """Read the tilesets of a manifest; their files are in `folder`, or beside the manifest.

    Raises
    ------
    DataError
        The manifest is missing or wrong; the message has a sentence for each fault, with its line and key.
    """
    path = Path(path)
    text = _text(path)
    try:
        manifest = Manifest.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} is not valid TOML: {error}.") from error
    except ValidationError as error:
        faults = [_fault(path, text, problem) for problem in error.errors()]
        raise DataError("\n".join(dict.fromkeys(faults))) from error
    lines = [f"{path}{_line(text, ('tileset', number))}" for number in range(len(manifest.tileset))]
    entries = list(zip(lines, manifest.tileset, strict=True))
    return _list_entries(entries, manifest.assembly, Path(folder or path.parent))


def read_table(
    path: str | os.PathLike[str], assembly: str, folder: str | os.PathLike[str] | None = None
) -> list[ListEntry]:
    """Read the tilesets of a tab-separated table: a header, then a line for each tileset.

    The column `file` is required; the others are the keys of a manifest's tileset. Any other column is stored in the
    tileset's provenance under `table`, unless its name looks like a misspelled key.

    Raises
    ------
    DataError
        The table is missing or wrong; the message has a sentence for each fault, with its line and column.
    """
    path = Path(path)
    lines = [(number, line) for number, line in enumerate(_text(path).splitlines(), 1) if line.strip()]
    if len(lines) < 2:
        raise DataError(f"{path} lists no tilesets: write a header (file, assay, biosample …) and a line per file.")
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
    return _list_entries(entries, assembly, Path(folder or path.parent))


def format_manifest(site: Site, records: Iterable[TilesetRecord], folder: str | os.PathLike[str] | None = None) -> str:
    """A manifest of a site's tilesets, which `read_manifest` reads back to the same records.

    Paths of files inside `folder`, where the manifest will be, are relative to it; other paths are absolute. Tilesets
    that visitors registered are left out, because they are not the site's own. Null values of a provenance are left
    out too, because TOML has none.
    """
    import tomli_w

    own = [record for record in records if record.kind != REGISTERED]
    if not own:
        raise InvalidRequest("No tileset matches, so there is no manifest to write.")
    assembly = Counter(record.assembly for record in own).most_common(1)[0][0]
    base = Path(folder).resolve() if folder else None
    return tomli_w.dumps({"assembly": assembly, "tileset": [_as_toml(site, one, assembly, base) for one in own]})


def _as_toml(site: Site, record: TilesetRecord, assembly: str, base: Path | None) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in Entry.model_fields}
    values |= {
        "path": _path(site, record.path, base),
        "assembly": "" if record.assembly == assembly else record.assembly,
        "source": "" if record.source == source_of(replace(record, source="")) else record.source,
    }
    fields = Entry.model_fields.items()
    return {name: _without_null(values[name]) for name, field in fields if values[name] != field.default}


def _path(site: Site, path: str, base: Path | None) -> str:
    if is_remote(path):
        return path
    absolute = site.inside(path).resolve()
    return str(absolute.relative_to(base) if base and absolute.is_relative_to(base) else absolute)


def _without_null(value: Any) -> Any:
    """A value without nulls, which TOML cannot hold."""
    if isinstance(value, dict):
        return {name: _without_null(inner) for name, inner in value.items() if inner is not None}
    return [_without_null(inner) for inner in value if inner is not None] if isinstance(value, list) else value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"There is no manifest {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save it as UTF-8.") from error


def _list_entries(entries: Sequence[tuple[str, Entry]], assembly: str, folder: Path) -> list[ListEntry]:
    list_entries, faults = [], []
    for where, entry in entries:
        try:
            list_entries.append(ListEntry(where, entry.record(assembly, folder)))
        except InvalidRequest as error:
            faults.append(f"{where}: {error}")
    if faults := [*faults, *_duplicate_uids(list_entries)]:
        raise DataError("\n".join(faults))
    return list_entries


def _duplicate_uids(entries: Iterable[ListEntry]) -> Iterator[str]:
    """A sentence for each uid that two tilesets have."""
    first: dict[str, str] = {}
    for where, record in entries:
        if record.uid in first:
            yield f"{where}: the uid '{record.uid}' is already used by {first[record.uid]}; change one of them."
        first.setdefault(record.uid, where)


def check_uids(entries: Iterable[ListEntry]) -> None:
    """Refuse two tilesets with the same uid, because one would replace the other."""
    if faults := list(_duplicate_uids(entries)):
        raise InvalidRequest("\n".join(faults))


def _fault(path: Path, text: str, problem: Any) -> str:
    """`x.toml, line 7: unknown key 'asay'; did you mean 'assay'?`."""
    where, key = f"{path}{_line(text, problem['loc'])}", str(problem["loc"][-1])
    if problem["type"] == "extra_forbidden":
        model = Entry if problem["loc"][0] == "tileset" else Manifest
        return f"{where}: unknown key '{key}'; {_suggestion(key, model.model_fields)}"
    if problem["type"] == "missing":
        return f"{where}: '{key}' is missing."
    return f"{where}: {key}: {problem['msg'][:1].lower()}{problem['msg'][1:]}."


def _suggestion(name: str, known: Iterable[str]) -> str:
    similar = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean '{similar[0]}'?" if similar else f"the keys are {', '.join(known)}."


def _line(text: str, loc: Sequence[int | str]) -> str:
    """`, line 7`: the line of a key in a TOML, or of the tileset that lacks it, because the parser does not tell."""
    lines = text.splitlines()
    headers = [number for number, line in enumerate(lines) if _HEADER.match(line)]
    start, end, key = 0, headers[0] if headers else len(lines), str(loc[0])
    if len(loc) > 1 and isinstance(number := loc[1], int):
        if number >= len(headers):  # tilesets may also be written as an inline array
            return ""
        start, end, key = headers[number], [*headers, len(lines)][number + 1], str(loc[2]) if len(loc) > 2 else ""
    pattern = re.compile(rf"\s*(\[\w+\.)?[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    line = next((number for number in range(start, end) if key and pattern.match(lines[number])), start)
    return f", line {line + 1}"


def _check_columns(where: str, columns: Sequence[str]) -> None:
    known = ["file", *(name for name in Entry.model_fields if name not in ("path", "provenance"))]
    if "file" not in columns:
        raise DataError(f"{where}: the column 'file' is missing; write file, assay, biosample, target, strand.")
    if repeated := [name for name, count in Counter(columns).items() if count > 1]:
        raise DataError(f"{where}: the column '{repeated[0]}' appears twice.")
    for column in columns:
        similar = difflib.get_close_matches(column.lower(), known, n=1, cutoff=0.8)
        if similar and column not in known:
            raise DataError(f"{where}: unknown column '{column}'; did you mean '{similar[0]}'?")


def _entry(columns: Sequence[str], line: str) -> Entry:
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) != len(columns):
        raise DataError(f"{len(cells)} cells under a header of {len(columns)} columns; separate cells with tabs.")
    others = {column: cell for column, cell in zip(columns, cells, strict=True) if cell}
    known = {name: others.pop(name) for name in list(others) if name in Entry.model_fields and name != "provenance"}
    path = others.pop("file", "")
    return Entry.model_validate({"path": path, **known, "provenance": {"table": others} if others else {}})
