"""The rows of a list and their scores, in a small database that stays consistent whenever its process is killed.

All rows are inserted when the list is read, then scored in chunks, each of which is written whole or not at all. Memory
does not grow with the list.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trackserver.batches.scoring import DUPLICATE, OK, Entry, Refusal, RowScores
from trackserver.batches.table import Row
from trackserver.errors import DataError, SiteReadOnly
from trackserver.genome.locus import Locus
from trackserver.genome.variant import Variant
from trackserver.storage import whole_file

WAITING = "waiting"  # the status of a row that is not scored yet
_PENDING = "key IS NOT NULL AND same_as IS NULL AND status = 'ok' AND result IS NULL"
_TABLES = f"""
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE rows (
    number INTEGER PRIMARY KEY, line INTEGER NOT NULL, id TEXT NOT NULL, written TEXT NOT NULL,
    chrom TEXT, position INTEGER, ref TEXT, alt TEXT, key BLOB, kind TEXT, window INTEGER,
    status TEXT NOT NULL, message TEXT NOT NULL, fix TEXT NOT NULL, same_as INTEGER,
    impact REAL, result TEXT, track_scores BLOB
);
CREATE INDEX by_key ON rows (key) WHERE key IS NOT NULL;
CREATE INDEX by_pending ON rows (number) WHERE {_PENDING};
CREATE TABLE ranks (rank INTEGER PRIMARY KEY, number INTEGER NOT NULL UNIQUE);
"""
_INSERT = "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL)"
# A row that repeats an earlier one gets its results from that one.
_SELECT = """
SELECT own.number, own.line, own.id, own.written, own.chrom, own.position, own.ref, own.alt, own.same_as,
       first.line AS first_line, first.status, first.message, first.impact, first.result, first.track_scores, ranks.rank
FROM rows AS own JOIN rows AS first ON first.number = coalesce(own.same_as, own.number)
LEFT JOIN ranks ON ranks.number = first.number
"""


class TableHeader(NamedTuple):
    """A table's provenance, and the names of its columns with every track's score."""

    about: dict[str, str]
    track_columns: list[str]


class RowResult(NamedTuple):
    """The result of scoring a row; `annotations` are further fields of `table.Row`, such as its gene."""

    number: int
    result: RowScores | Refusal
    annotations: Mapping[str, Any]


class PendingRow(NamedTuple):
    """A row that is not scored yet."""

    number: int
    line: int
    variant: Variant


class Ledger:
    """The database of a list's rows and scores."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)

    def exists(self) -> bool:
        return self.path.exists()

    def create(
        self, question: Mapping[str, Any], header: TableHeader, entries: Iterable[tuple[Entry, Locus | None]]
    ) -> None:
        """Insert all rows in the order of the input, each with its window; the file appears whole or not at all."""
        self.path.unlink(missing_ok=True)
        with self._explain_errors(), whole_file(self.path) as part, closing(sqlite3.connect(part)) as database:
            database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _TABLES)
            rows = (_columns(number, *entry) for number, entry in enumerate(entries, 1))
            database.executemany(_INSERT, rows)
            database.execute(
                "UPDATE rows SET same_as = first.number FROM (SELECT key, min(number) AS number FROM rows "
                "WHERE key IS NOT NULL GROUP BY key) AS first WHERE rows.key = first.key AND rows.number > first.number"
            )
            about = (("question", json.dumps(question)), ("header", json.dumps(header)))
            database.executemany("INSERT INTO about VALUES (?, ?)", about)
            database.commit()

    def question(self) -> dict[str, Any]:
        """The question that `create` was called with."""
        return dict(self._about("question"))

    def header(self) -> TableHeader:
        return TableHeader(*self._about("header"))

    def _about(self, name: str) -> Any:
        with self._open() as database:
            (text,) = database.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return json.loads(text)

    def pending(self, limit: int) -> list[PendingRow]:
        """The first rows that are not scored yet."""
        with self._open() as database:
            rows = database.execute(
                f"SELECT number, line, chrom, position, ref, alt FROM rows WHERE {_PENDING} ORDER BY number LIMIT ?",
                (limit,),
            ).fetchall()
        return [PendingRow(number, line, Variant(*variant)) for number, line, *variant in rows]

    def add(self, results: Iterable[RowResult]) -> None:
        """Store the results of rows; they are on disk when this returns."""
        with self._transaction() as database:
            for number, result, annotations in results:
                if isinstance(result, Refusal):
                    values: dict[str, Any] = {"status": result.status, "message": result.message}
                else:
                    track_scores = None if result.track_scores is None else result.track_scores.tobytes()
                    text = json.dumps(_result_fields(result) | dict(annotations))
                    values = {"impact": result.impact, "result": text, "track_scores": track_scores}
                assignments = ", ".join(f"{name} = ?" for name in values)
                database.execute(f"UPDATE rows SET {assignments} WHERE number = ?", (*values.values(), number))

    def rank(self) -> None:
        """Rank the scored rows by impact, largest first; ties in the order of the input."""
        with self._transaction() as database:
            database.execute("DELETE FROM ranks")
            database.execute(
                "INSERT INTO ranks (number) SELECT number FROM rows WHERE impact IS NOT NULL "
                "ORDER BY abs(impact) DESC, number"
            )
            database.execute("INSERT OR REPLACE INTO about VALUES ('ranked', 'yes')")

    def is_ranked(self) -> bool:
        return bool(self._count("SELECT count(*) FROM about WHERE name = 'ranked'"))

    def total(self) -> int:
        """Number of rows."""
        return self._count("SELECT count(*) FROM rows")

    def remaining(self) -> int:
        """Number of rows that are not scored yet."""
        return self._count(f"SELECT count(*) FROM rows INDEXED BY by_pending WHERE {_PENDING}")

    def counts(self, column: str) -> dict[str, int]:
        """Number of rows for each value of a column: `status`, `kind` or `fix`. Repeats have the status `duplicate`."""
        value = f"CASE WHEN same_as IS NULL THEN {column} ELSE '{DUPLICATE}' END" if column == "status" else column
        with self._open() as database:
            return dict(database.execute(
                f"SELECT {value} AS value, count(*) FROM rows WHERE value IS NOT NULL AND value != '' "
                "GROUP BY value ORDER BY count(*) DESC, value"
            ).fetchall())  # fmt: skip

    def windows(self, chunk: int) -> int:
        """Number of windows that the model predicts if the list is scored in chunks of so many rows."""
        count, in_chunk = 0, set[tuple[str, int]]()
        with self._open() as database:
            windows = database.execute(
                "SELECT chrom, window FROM rows WHERE key IS NOT NULL AND same_as IS NULL ORDER BY number"
            )
            for number, window in enumerate(windows):
                if number % chunk == 0:
                    count, in_chunk = count + len(in_chunk), set()
                in_chunk.add(tuple(window))
        return count + len(in_chunk)

    def problems(self, limit: int) -> list[str]:
        """The messages of the first rows that cannot be scored."""
        with self._open() as database:
            rows = database.execute("SELECT message FROM rows WHERE status != 'ok' ORDER BY number LIMIT ?", (limit,))
            return [message for (message,) in rows]

    def sample(self, limit: int) -> list[Variant]:
        """Some of the rows to score, for timing: those that share the first one's window, then the first indel."""
        select = "SELECT chrom, position, ref, alt FROM rows WHERE key IS NOT NULL AND same_as IS NULL AND "
        lengths = "length(ref) {} length(alt)"
        with self._open() as database:
            substitutions = database.execute(
                f"{select} {lengths.format('=')} AND (chrom, window) = (SELECT chrom, window FROM rows WHERE "
                f"key IS NOT NULL AND {lengths.format('=')} ORDER BY number LIMIT 1) ORDER BY number LIMIT ?",
                (limit,),
            ).fetchall()
            indel = database.execute(f"{select} {lengths.format('!=')} ORDER BY number LIMIT 1").fetchall()
        return [Variant(*row) for row in (*substitutions, *indel)]

    def rows(self, start: int = 0, count: int | None = None, by_rank: bool = False) -> Iterator[Row]:
        """Rows from `start` (0-based) on, in the order of the input, or by rank with unranked rows at the end."""
        order = "ranks.rank IS NULL, ranks.rank, own.number" if by_rank else "own.number"
        with self._open() as database:
            rows = database.execute(
                f"{_SELECT} ORDER BY {order} LIMIT ? OFFSET ?", (-1 if count is None else count, start)
            )
            for row in rows:
                yield _row(row)

    def _count(self, query: str) -> int:
        with self._open() as database:
            return int(database.execute(query).fetchone()[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._explain_errors(), closing(sqlite3.connect(self.path, timeout=60, isolation_level=None)) as database:
            database.row_factory = sqlite3.Row
            database.execute("PRAGMA synchronous = FULL")
            yield database

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            with database:
                yield database

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        """Turn errors of the file into sentences."""
        try:
            yield
        except (OSError, sqlite3.OperationalError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SiteReadOnly(
                f"{self.path} cannot be read or written: {reason}. Make room on the disk or give yourself write "
                "permission, then try again; the scored rows are kept (--resume)."
            ) from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is damaged ({error}); delete it and start again.") from error


def _columns(number: int, entry: Entry, window: Locus | None) -> tuple[Any, ...]:
    """The values of a row in the database before it is scored."""
    variant = entry.variant
    variant_columns: tuple[Any, ...] = (None,) * 7
    if variant and window:
        key = hashlib.blake2b(str(variant).encode(), digest_size=16).digest()
        allele = variant.chrom, variant.position, variant.ref, variant.alt
        variant_columns = (*allele, key, variant.kind, window.start)
    return (number, entry.line, entry.id, entry.written, *variant_columns, entry.status, entry.message, entry.fix)


def _result_fields(result: RowScores) -> dict[str, Any]:
    names = ("track", "ref", "alt", "delta", "log2fc", "size", "verdict")
    return {name: getattr(result, name) for name in names} | {"warnings": list(result.warnings)}


def _row(row: sqlite3.Row) -> Row:
    variant = str(Variant(row["chrom"], row["position"], row["ref"], row["alt"])) if row["chrom"] else ""
    result = json.loads(row["result"]) if row["result"] else {}
    if "warnings" in result:
        result["warnings"] = tuple(result["warnings"])
    track_scores = None if row["track_scores"] is None else np.frombuffer(row["track_scores"], np.float32)
    status, message = row["status"], row["message"]
    if row["same_as"] is not None and status == OK:
        status, message = DUPLICATE, f"Line {row['line']}: the same variant as in line {row['first_line']}."
    elif status == OK and not result:
        status = WAITING
    return Row(
        row["line"], row["id"], row["written"], variant, status, message,
        impact=row["impact"], rank=row["rank"], track_scores=track_scores, **result,
    )  # fmt: skip
