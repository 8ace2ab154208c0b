"""Label tables: what each output of a model is, as published by its authors or written by you.

form        a line                                              models
calico      tab-separated cells under a header: identifier,     Basenji, Basenji2, Enformer, Borzoi
            description, strand_pair and so on
deepsea     GM12878|CTCF|None: cell, target, treatment;         DeepSEA
            also with _ instead of |
beluga      GM12878_CTCF_None                                   Beluga
basset      GM12878: the cell type of a DNase track             Basset
sei         HeLa_Epithelium_Cervix | BTAF1 | ID:1               Sei
seiclasses  E1 Stem cell                                        Sei's sequence classes
tsv         tab-separated cells under a header                  yours: see `read_labels`

A track's name is the published one. Names repeat, so tracks are identified by their index. Needs no torch.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from trackserver.errors import DataError, InvalidRequest, listing
from trackserver.models.card import Squash, Track

# Far larger than any published table (1.2 MB, 314 characters per line), far smaller than the memory.
_MAX_BYTES = 64 * 2**20
_MAX_LINE_LENGTH = 10_000

_CALICO = ("index", "genome", "identifier", "file", "clip", "clip_soft", "scale", "sum_stat", "strand_pair")
_TSV = ("assay", "biosample", "target", "strand", "accession", "strand_pair", "mean")
_ASSAYS = ("DNASE", "ATAC", "CHIP", "CAGE", "RNA")
_POWERS = {"mean": 1.0, "sum": 1.0, "sum_sqrt": 4 / 3}  # Borzoi's "sqrt" is x^(3/4)
_MAX_UNDERSCORES = 20  # published names have up to 11; bounds the work for a malicious name
_SEI_CLASS = re.compile(r"[A-Z]+[0-9]* \S")


def read_labels(path: str | os.PathLike[str], form: str, n_tracks: int | None) -> tuple[Track, ...]:
    """Read the tracks of a model, in the order of its outputs, which is the order of the lines.

    A table of your own has the form `tsv`: UTF-8, tab-separated, a header and then one line for each output of the
    model. The column `name` is required. Optional columns, in any order and with empty cells allowed: `assay` (DNASE,
    ATAC, CHIP, CAGE, RNA), `biosample`, `target`, `strand` (+, - or .), `accession`, `strand_pair` (the index of the
    same signal on the other strand; the first line after the header is 0) and `mean` (of the training signal).

    Parameters
    ----------
    path
        The table; gzipped if its name ends in .gz.
    form
        One of the forms at the top of this module.
    n_tracks
        The number of the model's outputs, if known.

    Raises
    ------
    DataError
        The file is missing, not text, not of this form, or does not list `n_tracks` tracks; the sentence names the file
        and the line.
    InvalidRequest
        There is no such form.
    """
    path = Path(path)
    if form not in _FORMS:
        raise InvalidRequest(f"There is no label-table form '{form}'; the forms are {listing(_FORMS)}.")
    tracks = tuple(_FORMS[form](_read_lines(path)))
    if n_tracks is not None and len(tracks) != n_tracks:
        raise DataError(
            f"{path} lists {len(tracks):,} tracks but the model has {n_tracks:,}: it is the table of another model."
        )
    return tracks


class _Line(NamedTuple):
    where: str  # file and line, to start an error message with
    text: str


def _read_lines(path: Path) -> list[_Line]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"There is no label table {path}.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a label table: it is not UTF-8 text.") from None
    if len(data) > _MAX_BYTES or "\0" in text:
        raise DataError(f"{path} is not a label table but another kind of file.")
    lines = []
    for number, line in enumerate(text.replace("\r\n", "\n").rstrip("\n").split("\n"), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            raise DataError(f"{where}: the line is empty.")
        if len(line) > _MAX_LINE_LENGTH:
            raise DataError(f"{where}: the line has {len(line):,} characters, too many for a label table.")
        lines.append(_Line(where, line))
    return lines


@dataclass(frozen=True)
class _Row:
    where: str
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    def one_of(self, column: str, known: Sequence[str]) -> str:
        if self[column] not in known:
            raise DataError(f"{self.where}: {column} is '{self[column]}' but should be {' or '.join(known)}.")
        return self[column]

    def integer(self, column: str) -> int:
        if not (self[column].isascii() and self[column].isdigit() and len(self[column]) < 10):
            raise DataError(f"{self.where}: {column} is '{self[column]}' but should be a whole number.")
        return int(self[column])

    def positive(self, column: str) -> float:
        try:
            value = float(self[column])
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise DataError(f"{self.where}: {column} is '{self[column]}' but should be a number above 0.")
        return value


def _parse_rows(header: _Line, lines: Sequence[_Line], required: Sequence[str], optional: Sequence[str]) -> list[_Row]:
    """Split the lines into cells by column; checks that columns are known and complete, and the number of cells."""
    columns = [column.strip() for column in header.text.split("\t")]
    columns[0] = columns[0] or "index"  # as pandas writes a table's index
    if missing := [column for column in required if column not in columns]:
        raise DataError(f"{header.where}: the header has no column {listing(missing)}; is the table of another form?")
    if unknown := [column for column in columns if column not in (*required, *optional)]:
        raise DataError(
            f"{header.where}: unknown column '{unknown[0]}'; the columns are {', '.join((*required, *optional))}."
        )
    if len(set(columns)) < len(columns):
        raise DataError(f"{header.where}: a column name is repeated.")
    if not lines:
        raise DataError(f"{header.where}: there are no tracks after the header.")
    rows = []
    for where, text in lines:
        cells = [cell.strip() for cell in text.split("\t")]
        if len(cells) != len(columns):
            raise DataError(f"{where}: it has {len(cells)} cells under a header of {len(columns)} columns.")
        row = _Row(where, dict(zip(columns, cells, strict=True)))
        if empty := [column for column in required if not row[column]]:
            raise DataError(f"{where}: its {empty[0]} is empty.")
        rows.append(row)
    return rows


def _pairs(rows: Sequence[_Row], indices: Sequence[int]) -> list[int | None]:
    """Find the position of each row's strand pair, None if it is the row itself; `indices` are the table's numbers."""
    positions = {index: position for position, index in enumerate(indices)}
    pairs = [positions.get(row.integer("strand_pair"), -1) if row["strand_pair"] else None for row in rows]
    for position, (row, pair) in enumerate(zip(rows, pairs, strict=True)):
        if pair is not None and (pair < 0 or pairs[pair] != position):
            raise DataError(f"{row.where}: its strand_pair {row['strand_pair']} is not a track that names it back.")
    return [None if pair == position else pair for position, pair in enumerate(pairs)]


def _calico(lines: Sequence[_Line]) -> Iterator[Track]:
    header, lines = lines[0], lines[1:]
    if header.text.count("\t") == 2 and "identifier" not in header.text:  # Basenji's table, from 2017, has no header
        header, lines = _Line(header.where, "identifier\tfile\tdescription"), (header, *lines)
    rows = _parse_rows(header, lines, ("identifier", "description"), _CALICO)
    indexed = any(row["strand_pair"] for row in rows) and all(row["index"] for row in rows)
    pairs = _pairs(rows, [row.integer("index") for row in rows] if indexed else range(len(rows)))
    for index, (row, pair) in enumerate(zip(rows, pairs, strict=True)):
        assay, target, biosample = _parse_description(row["description"])
        accession = row["identifier"]
        strand = accession[-1] if accession[-1] in "+-" else "."
        yield Track(
            index, row["description"], assay, biosample, target, strand, accession.removesuffix(strand),
            strand_pair=pair, squash=_squash(row),
        )  # fmt: skip


def _squash(row: _Row) -> Squash | None:
    if "clip_soft" not in row.cells:
        return None
    power = _POWERS[row.one_of("sum_stat", tuple(_POWERS))]
    return Squash(row.positive("scale"), row.positive("clip_soft") if row["clip_soft"] else None, power)


def _parse_description(description: str) -> tuple[str, str, str]:
    """Split `CHIP:CTCF:HepG2`, `HISTONE:H3K4me3 GM12878` or `DNASE:HepG2` into assay, target and biosample."""
    prefix, _, rest = description.partition(":")
    assay = _assay(prefix)
    if assay not in _ASSAYS:
        return "", "", description
    target = ""
    if assay == "CHIP":
        target, _, rest = rest.partition(":" if ":" in rest else " ")
    return assay, target.strip(" ."), rest.strip(" ,")


def _assay(text: str) -> str:
    """Normalise an assay: DNase and DNase.hot to DNASE, ATAC-seq to ATAC, HISTONE to CHIP, whose target is the mark."""
    assay = text.upper().partition(".")[0].removesuffix("-SEQ")
    return "CHIP" if assay == "HISTONE" else assay


def _tsv(lines: Sequence[_Line]) -> Iterator[Track]:
    rows = _parse_rows(lines[0], lines[1:], ("name",), _TSV)
    for index, (row, pair) in enumerate(zip(rows, _pairs(rows, range(len(rows))), strict=True)):
        yield Track(
            index, row["name"], _assay(row["assay"]), row["biosample"], row["target"],
            row.one_of("strand", ("+", "-", ".")) if row["strand"] else ".", row["accession"],
            strand_pair=pair, mean=row.positive("mean") if row["mean"] else None,
        )  # fmt: skip


def _deepsea(lines: Sequence[_Line]) -> Iterator[Track]:
    if "|" not in lines[0].text:
        yield from _beluga(lines)
        return
    for index, line in enumerate(lines):
        cell, target, treatment = _parts(line, 3, "cell|target|treatment")
        yield _profile(index, f"{cell}|{target}|{treatment}", cell, target)


def _sei(lines: Sequence[_Line]) -> Iterator[Track]:
    for index, line in enumerate(lines):
        pattern = "cell | target | ID:number"
        # A fourth part numbers repeated names.
        parts = _parts(line, 4 if line.text.count("|") == 3 else 3, pattern)
        cell, target, source = parts[:3]
        if source not in ("ENCODE", "Roadmap") and not source.startswith("ID:"):
            raise DataError(f"{line.where}: it should read {pattern}.")
        yield _profile(index, " | ".join(parts), cell, target, source if source.startswith("ID:") else "")


def _parts(line: _Line, n: int, pattern: str) -> list[str]:
    parts = [" ".join(part.split()) for part in line.text.split("|")]  # a cell of DeepSEA ends in a no-break space
    if len(parts) != n or not all(parts):
        raise DataError(f"{line.where}: it should read {pattern}.")
    return parts


def _beluga(lines: Sequence[_Line]) -> Iterator[Track]:
    """Split cell_target_treatment, where cell and treatment can contain underscores, but the target cannot.

    A name that ends in _None is unambiguous. In any other name, the cell is one seen in an unambiguous name, or
    precedes a target seen there. Names that stay ambiguous keep only their name.
    """
    names = [line.text.strip() for line in lines]
    for line, name in zip(lines, names, strict=True):
        if name.count("_") < 2 or "\t" in name:
            raise DataError(f"{line.where}: it should read cell_target_treatment.")
    untreated = [name.rsplit("_", 2) for name in names if name.endswith("_None")]
    targets = {target for _, target, _ in untreated}
    cells = {cell for cell, _, _ in untreated} | {_before_target(name, targets) for name in names}
    for index, name in enumerate(names):
        yield _profile(index, name, *_cell_and_target(name, cells))


def _before_target(name: str, targets: set[str]) -> str:
    parts = name.split("_", _MAX_UNDERSCORES)
    return next(("_".join(parts[:i]) for i in range(1, len(parts) - 1) if parts[i] in targets), "")


def _cell_and_target(name: str, cells: set[str]) -> tuple[str, str]:
    if name.endswith("_None"):
        cell, target, _ = name.rsplit("_", 2)
        return cell, target
    parts = name.split("_", _MAX_UNDERSCORES)
    candidates = ((i, "_".join(parts[:i])) for i in range(len(parts) - 2, 0, -1))
    return next(((cell, parts[i]) for i, cell in candidates if cell in cells), ("", ""))


def _profile(index: int, name: str, cell: str, target: str, accession: str = "") -> Track:
    cell, assay = cell.strip(), _assay(target)
    if cell in ("", "NA"):  # DeepSEA's output 576 is NA|NA|NA
        return Track(index, name)
    if assay in ("DNASE", "ATAC", "FAIRE"):
        return Track(index, name, assay, cell, accession=accession)
    return Track(index, name, "CHIP", cell, target, accession=accession)


def _basset(lines: Sequence[_Line]) -> Iterator[Track]:
    for index, line in enumerate(lines):
        name = line.text.strip()
        if "\t" in name or "|" in name:
            raise DataError(f"{line.where}: it should be the name of a cell type.")
        yield Track(index, name, "DNASE", name)


def _seiclasses(lines: Sequence[_Line]) -> Iterator[Track]:
    for index, line in enumerate(lines):
        if not _SEI_CLASS.match(line.text):
            raise DataError(f"{line.where}: it should read like E1 Stem cell.")
        yield Track(index, line.text.strip())


_FORMS: dict[str, Callable[[Sequence[_Line]], Iterator[Track]]] = {
    "calico": _calico,
    "deepsea": _deepsea,
    "beluga": _beluga,
    "basset": _basset,
    "sei": _sei,
    "seiclasses": _seiclasses,
    "tsv": _tsv,
}
