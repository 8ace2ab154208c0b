"""What is known so far of a list of variants: a small database that is right whenever its process is killed.

All rows are entered when the list is read, then scored some at a time; each such chunk is on the disk as a whole or
not at all. Nothing of it is held in memory, however long the list is.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trackserver.batches.scoring import DUPLICATE, OK, Entry, Refused, Scored
from trackserver.batches.table import Row
from trackserver.errors import DataError, SiteReadOnly
from trackserver.genome.locus import Locus
from trackserver.genome.variant import Variant
from trackserver.storage import whole_file

WAITING = "waiting"  # the status of a row that is still to be scored
_WAITING = "key IS NOT NULL AND same_as IS NULL AND status = 'ok' AND found IS NULL"
_TABLES = f"""
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE rows (
    number INTEGER PRIMARY KEY, line INTEGER NOT NULL, id TEXT NOT NULL, written TEXT NOT NULL,
    chrom TEXT, position INTEGER, ref TEXT, alt TEXT, key BLOB, kind TEXT, window INTEGER,
    status TEXT NOT NULL, message TEXT NOT NULL, fix TEXT NOT NULL, same_as INTEGER,
    impact REAL, found TEXT, every BLOB
);
CREATE INDEX by_key ON rows (key) WHERE key IS NOT NULL;
CREATE INDEX by_waiting ON rows (number) WHERE {_WAITING};
CREATE TABLE ranks (rank INTEGER PRIMARY KEY, number INTEGER NOT NULL UNIQUE);
"""
_ENTERED = "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL)"
# A row that repeats an earlier one says what that one says.
_SHOWN = """
SELECT own.number, own.line, own.id, own.written, own.chrom, own.position, own.ref, own.alt, own.status, own.message,
       own.same_as, said.line AS said_line, said.status AS said_status, said.message AS said_message,
       said.impact, said.found, said.every, ranks.rank
FROM rows AS own JOIN rows AS said ON said.number = coalesce(own.same_as, own.number)
LEFT JOIN ranks ON ranks.number = said.number
"""


class Head(NamedTuple):
    """What a table begins with: where its numbers come from, and the names of its further columns."""

    about: dict[str, str]
    more: list[str]


class Answer(NamedTuple):
    """What a row came to, and what else is told of it, by the names of `Row`."""

    number: int
    result: Scored | Refused
    told: Mapping[str, Any]


class Waiting(NamedTuple):
    """A row that is still to be scored."""

    number: int
    line: int
    variant: Variant


class Ledger:
    """The rows of a list and their scores, in a file."""

    def __init__(self, path: Path):
        self.path = path

    def exists(self) -> bool:
        return self.path.exists()

    def begin(self, question: Mapping[str, Any], head: Head, entered: Iterable[tuple[Entry, Locus | None]]) -> None:
        """Enter all rows, in the order of the input, each with the window it is scored in; whole or not at all."""
        self.path.unlink(missing_ok=True)
        with self._saying(), whole_file(self.path) as part, closing(sqlite3.connect(part)) as database:
            database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _TABLES)
            rows = (_columns(number, *pair) for number, pair in enumerate(entered, 1))
            database.executemany(_ENTERED, rows)
            database.execute(
                "UPDATE rows SET same_as = first.number FROM (SELECT key, min(number) AS number FROM rows "
                "WHERE key IS NOT NULL GROUP BY key) AS first WHERE rows.key = first.key AND rows.number > first.number"
            )
            told = (("question", json.dumps(question)), ("head", json.dumps(head)))
            database.executemany("INSERT INTO about VALUES (?, ?)", told)
            database.commit()

    def question(self) -> dict[str, Any]:
        """What was asked, as `begin` was told."""
        return dict(self._told("question"))

    def head(self) -> Head:
        return Head(*self._told("head"))

    def _told(self, name: str) -> Any:
        with self._open() as database:
            (text,) = database.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return json.loads(text)

    def waiting(self, most: int) -> list[Waiting]:
        """The first rows that are still to be scored."""
        with self._open() as database:
            rows = database.execute(
                f"SELECT number, line, chrom, position, ref, alt FROM rows WHERE {_WAITING} ORDER BY number LIMIT ?",
                (most,),
            ).fetchall()
        return [Waiting(number, line, Variant(*variant)) for number, line, *variant in rows]

    def add(self, answers: Iterable[Answer]) -> None:
        """Note what rows came to; on the disk when this returns."""
        with self._writing() as database:
            for number, result, told in answers:
                if isinstance(result, Refused):
                    change: dict[str, Any] = {"status": result.status, "message": result.message}
                else:
                    every = None if result.every is None else result.every.tobytes()
                    found = json.dumps(_kept(result) | dict(told))
                    change = {"impact": result.impact, "found": found, "every": every}
                values = ", ".join(f"{name} = ?" for name in change)
                database.execute(f"UPDATE rows SET {values} WHERE number = ?", (*change.values(), number))

    def rank(self) -> None:
        """Number the scored rows by impact, the largest first, as they come in the input where it is the same."""
        with self._writing() as database:
            database.execute("DELETE FROM ranks")
            database.execute(
                "INSERT INTO ranks (number) SELECT number FROM rows WHERE impact IS NOT NULL "
                "ORDER BY abs(impact) DESC, number"
            )
            database.execute("INSERT OR REPLACE INTO about VALUES ('ranked', 'yes')")

    def is_ranked(self) -> bool:
        return bool(self._one("SELECT count(*) FROM about WHERE name = 'ranked'"))

    def total(self) -> int:
        """How many rows there are."""
        return self._one("SELECT count(*) FROM rows")

    def left(self) -> int:
        """How many rows are still to be scored."""
        return self._one(f"SELECT count(*) FROM rows INDEXED BY by_waiting WHERE {_WAITING}")

    def counts(self, column: str) -> dict[str, int]:
        """How many rows have each value of a column: `status`, `kind`, `fix`; repeats count as `duplicate`."""
        told = f"CASE WHEN same_as IS NULL THEN {column} ELSE '{DUPLICATE}' END" if column == "status" else column
        with self._open() as database:
            return dict(database.execute(
                f"SELECT {told} AS told, count(*) FROM rows WHERE told IS NOT NULL AND told != '' "
                "GROUP BY told ORDER BY count(*) DESC, told"
            ).fetchall())  # fmt: skip

    def windows(self, chunk: int) -> int:
        """How many windows the model reads, if so many rows at a time are scored."""
        count, seen = 0, set[tuple[str, int]]()
        with self._open() as database:
            placed = database.execute(
                "SELECT chrom, window FROM rows WHERE key IS NOT NULL AND same_as IS NULL ORDER BY number"
            )
            for number, pair in enumerate(placed):
                if number % chunk == 0:
                    count, seen = count + len(seen), set()
                seen.add(tuple(pair))
        return count + len(seen)

    def problems(self, most: int) -> list[str]:
        """The first sentences about rows that cannot be scored."""
        with self._open() as database:
            rows = database.execute("SELECT message FROM rows WHERE status != 'ok' ORDER BY number LIMIT ?", (most,))
            return [message for (message,) in rows]

    def sample(self, most: int) -> list[Variant]:
        """Some of the rows to be scored: those that share the first's window, then the first indel."""
        chosen = "SELECT chrom, position, ref, alt FROM rows WHERE key IS NOT NULL AND same_as IS NULL AND "
        alike = "length(ref) {} length(alt)"
        with self._open() as database:
            together = database.execute(
                f"{chosen} {alike.format('=')} AND (chrom, window) = (SELECT chrom, window FROM rows WHERE "
                f"key IS NOT NULL AND {alike.format('=')} ORDER BY number LIMIT 1) ORDER BY number LIMIT ?",
                (most,),
            ).fetchall()
            indel = database.execute(f"{chosen} {alike.format('!=')} ORDER BY number LIMIT 1").fetchall()
        return [Variant(*found) for found in (*together, *indel)]

    def rows(self, start: int = 0, count: int | None = None, by_rank: bool = False) -> Iterator[Row]:
        """Rows in the order of the input, or by rank with those that have none at the end; `start` counts from 0."""
        order = "ranks.rank IS NULL, ranks.rank, own.number" if by_rank else "own.number"
        with self._open() as database:
            shown = database.execute(
                f"{_SHOWN} ORDER BY {order} LIMIT ? OFFSET ?", (-1 if count is None else count, start)
            )
            for row in shown:
                yield _row(row)

    def _one(self, query: str) -> int:
        with self._open() as database:
            return int(database.execute(query).fetchone()[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._saying(), closing(sqlite3.connect(self.path, timeout=60, isolation_level=None)) as database:
            database.row_factory = sqlite3.Row
            database.execute("PRAGMA synchronous = FULL")
            yield database

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            with database:
                yield database

    @contextmanager
    def _saying(self) -> Iterator[None]:
        """What goes wrong with the file, in a sentence."""
        try:
            yield
        except (OSError, sqlite3.OperationalError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise SiteReadOnly(
                f"{self.path} cannot be read or written: {why}. Make room on the disk or give yourself write "
                "permission, then ask again; what was scored is kept (--resume)."
            ) from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is damaged ({error}); delete it and begin again.") from error


def _columns(number: int, entry: Entry, window: Locus | None) -> tuple[Any, ...]:
    """A row of the table before it is scored."""
    variant = entry.variant
    placed: tuple[Any, ...] = (None,) * 7
    if variant and window:
        key = hashlib.blake2b(str(variant).encode(), digest_size=16).digest()
        placed = (variant.chrom, variant.position, variant.ref, variant.alt, key, variant.kind, window.start)
    return (number, entry.line, entry.id, entry.written, *placed, entry.status, entry.message, entry.fix)


def _kept(result: Scored) -> dict[str, Any]:
    names = ("track", "ref", "alt", "delta", "log2fc", "size", "verdict")
    return {name: getattr(result, name) for name in names} | {"warnings": list(result.warnings)}


def _row(row: sqlite3.Row) -> Row:
    variant = str(Variant(row["chrom"], row["position"], row["ref"], row["alt"])) if row["chrom"] else ""
    found = json.loads(row["found"]) if row["found"] else {}
    if "warnings" in found:
        found["warnings"] = tuple(found["warnings"])
    every = None if row["every"] is None else np.frombuffer(row["every"], np.float32)
    status, message = row["said_status"], row["said_message"]
    if row["same_as"] is not None and status == OK:
        status, message = DUPLICATE, f"Line {row['line']}: the same variant as in line {row['said_line']}."
    elif status == OK and not found:
        status = WAITING
    return Row(
        row["line"], row["id"], row["written"], variant, status, message,
        impact=row["impact"], rank=row["rank"], every=every, **found,
    )  # fmt: skip
