"""Long work: queued, done in order, and visible while it waits, to every process of a server.

The queue is a small database in the site's cache. The process that holds its lock has it worked through: the model is
the bottleneck, and two predictions at once on one device are slower than one after the other, and need it twice in
memory. When that process ends, another takes its place and begins again with what was left unfinished.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from trackserver.errors import ComputingFails, QueueFull, SiteReadOnly, TrackserverError, UnknownJob
from trackserver.storage import locked

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
WARM_UP = "warm-up"
REMEMBERED = 1000  # finished jobs kept for whoever asks late
MOST_TRIES = 2  # of a job during which its process ended
POLL = 0.03  # seconds after which it is seen that another process has written to the queue
LOOK = 0.5  # seconds after which the queue is looked into whatever its file says

# What a kind of job does, given its id and the request. True: it has more to do, and lets whoever waits go first.
Work = Callable[[str, dict[str, Any]], object]

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, asked TEXT NOT NULL,
    status TEXT NOT NULL, error TEXT NOT NULL DEFAULT '', code TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 0, created TEXT NOT NULL, ended TEXT
)"""
_SHOWN = """
SELECT id, status, error, code, created, ended, CASE WHEN status = 'queued' THEN (
    SELECT count(*) FROM jobs AS other WHERE other.number < jobs.number AND other.status IN ('queued', 'running')
) ELSE 0 END AS position FROM jobs"""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """How far a piece of work is. `position` counts the jobs before it, 0 when it runs or has ended."""

    id: str
    status: str
    position: int = 0
    error: str = ""
    code: str = ""
    created: datetime | None = None
    ended: datetime | None = None


class Jobs:
    """A queue at a place that processes share, and this process's part in working through it."""

    def __init__(self, place: Path, length: int, works: Mapping[str, Work]):
        self._place, self._length, self._works = place, length, works
        self._wake = threading.Event()
        self._starting = threading.Lock()
        self._one_writes = threading.Lock()
        self._one_looks = threading.Lock()  # of the threads that work, for all of them
        self._worker: threading.Thread | None = None
        self._hold: Callable[[IO[str]], object] = lambda lock: self.work()

    def submit(self, job_id: str, kind: str, asked: Mapping[str, Any]) -> Job:
        """Queue work under an id; one that waits or runs under that id already is joined, not repeated."""
        with self._writing() as database:
            known = database.execute("SELECT status FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if not known or known[0] in (DONE, FAILED):
                if _waiting(database) >= self._length:
                    raise QueueFull(self._length)
                _insert(database, job_id, kind, json.dumps(asked), QUEUED)
            job = _job(database.execute(f"{_SHOWN} WHERE id = ?", (job_id,)).fetchone())
        self.start()
        self._wake.set()
        return job

    def get(self, job_id: str) -> Job:
        for row in self._read(f"{_SHOWN} WHERE id = ?", job_id):
            return _job(row)
        raise UnknownJob(job_id)

    def all(self) -> list[Job]:
        """Jobs in the order in which they came."""
        return [_job(row) for row in self._read(f"{_SHOWN} ORDER BY number")]

    def waiting(self) -> int:
        """How many wait."""
        return sum(count for (count,) in self._read("SELECT count(*) FROM jobs WHERE status = 'queued'"))

    def start(self, hold: Callable[[IO[str]], object] | None = None) -> None:
        """Take part: once no other process has the lock, this one works in a thread of its own.

        hold : what to do with the lock instead, such as to have yet another process work; it returns only to try again
        """
        with self._starting:
            self._hold = hold or self._hold
            if not self._worker:
                self._worker = threading.Thread(target=self._run, name="trackserver-jobs", daemon=True)
                self._worker.start()

    def work(
        self,
        first: Callable[[], object] | None = None,
        at_once: int = 1,
        begun: Callable[[], object] = lambda: None,
    ) -> None:
        """Work through the queue for good, in the process that has the lock.

        Parameters
        ----------
        first
            To begin with, such as loading the model.
        at_once
            Jobs that are done at the same time, each in a thread of its own; several where others compute.
        begun
            Called when the first job may be taken.
        """
        self._take_over()
        if first:
            with self._writing() as database:
                _insert(database, WARM_UP, WARM_UP, "{}", RUNNING)
            self._do(WARM_UP, first)
        begun()
        for _ in range(at_once - 1):
            threading.Thread(target=self._work_on, name="trackserver-jobs", daemon=True).start()
        self._work_on()

    def _work_on(self) -> None:
        while True:
            try:
                with self._one_looks:
                    found = self._next()
                self._do(*found)
            except (TrackserverError, sqlite3.Error):  # somebody has taken the queue away, or filled the disk
                _log.exception("The queue %s", self._place)
                time.sleep(1)

    def _read(self, query: str, *values: object) -> list[sqlite3.Row]:
        if not self._place.exists():  # nothing was ever queued; perhaps nothing can be, in a site that is read-only
            return []
        with closing(self._connect()) as database:
            return database.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            self._place.parent.mkdir(exist_ok=True)
            # One thread after the other: SQLite lets those that wait sleep for up to 0.1 s at a time.
            with self._one_writes, closing(self._connect()) as database:
                database.execute("BEGIN IMMEDIATE")
                with database:
                    yield database
        except (OSError, sqlite3.OperationalError) as error:
            raise SiteReadOnly(f"The queue {self._place} cannot be written: {error}.") from error

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._place, timeout=20, isolation_level=None)
        database.row_factory = sqlite3.Row
        database.execute(_TABLE)
        return database

    def _run(self) -> None:
        try:
            self._place.parent.mkdir(exist_ok=True)
            with locked(self._place.with_suffix(".lock")) as lock:  # waits for as long as another process has it
                self._hold(lock)
        except (OSError, TrackserverError) as fault:
            _log.exception("The queue %s", self._place)
            if isinstance(fault, ComputingFails):
                self._give_up(fault)
            self._worker = None  # the next job tries again

    def _give_up(self, fault: ComputingFails) -> None:
        """Fail what waits: there is nobody to do it."""
        with self._writing() as database:
            database.execute(
                "UPDATE jobs SET status = ?, error = ?, code = ?, ended = ? WHERE status IN (?, ?)",
                (FAILED, str(fault), fault.code, _now(), QUEUED, RUNNING),
            )

    def _take_over(self) -> None:
        """Queue again what a process that ended was doing; what has ended several is given up."""
        with self._writing() as database:
            database.execute(f"DELETE FROM jobs WHERE id = '{WARM_UP}'")
            database.execute(
                "UPDATE jobs SET status = ?, code = 'internal', error = ?, ended = ? WHERE status = ? AND tries >= ?",
                (FAILED, "The computation ended the process that did it; is there memory enough?", _now(), RUNNING,
                 MOST_TRIES),
            )  # fmt: skip
            database.execute("UPDATE jobs SET status = ? WHERE status = ?", (QUEUED, RUNNING))

    def _next(self) -> tuple[str, Callable[[], object]]:
        """The job that has waited longest, once there is one, and what it does."""
        while True:
            seen = self._version()
            if found := self._taken():
                return found["id"], lambda: self._works[found["kind"]](found["id"], json.loads(found["asked"]))
            self._await_another(seen)

    def _version(self) -> tuple[int, int]:
        try:
            about = self._place.stat()
        except OSError:  # nothing was queued yet, or somebody has taken the queue away
            return 0, 0
        return about.st_mtime_ns, about.st_size

    def _await_another(self, seen: tuple[int, int]) -> None:
        """Until the queue is another, or some time has gone: a file's clock ticks slower than it can be written."""
        until = time.monotonic() + LOOK
        while not self._wake.wait(POLL) and self._version() == seen and time.monotonic() < until:
            continue
        self._wake.clear()

    def _taken(self) -> sqlite3.Row | None:
        if not self.waiting():
            return None
        with self._writing() as database:
            row: sqlite3.Row | None = database.execute(
                "SELECT * FROM jobs WHERE status = ? ORDER BY number LIMIT 1", (QUEUED,)
            ).fetchone()
            if row is not None:
                database.execute("UPDATE jobs SET status = ?, tries = tries + 1 WHERE id = ?", (RUNNING, row["id"]))
        return row

    def _do(self, job_id: str, work: Callable[[], object]) -> None:
        status, error, code = DONE, "", ""
        try:
            if work() is True:
                status = QUEUED
        except TrackserverError as fault:
            status, error, code = FAILED, str(fault), fault.code
        except Exception:  # the worker outlives any fault of one job; the log has the traceback
            _log.exception("Job %s failed", job_id)
            status, error, code = FAILED, "The computation failed; the server's log says why.", "internal"
        with self._writing() as database:
            if status == QUEUED:
                database.execute(
                    "UPDATE jobs SET status = ?, tries = 0, number = (SELECT max(number) + 1 FROM jobs) WHERE id = ?",
                    (status, job_id),
                )
                return
            database.execute(
                "UPDATE jobs SET status = ?, error = ?, code = ?, ended = ? WHERE id = ?",
                (status, error, code, _now(), job_id),
            )
            _forget(database)


def _waiting(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT count(*) FROM jobs WHERE status = ?", (QUEUED,)).fetchone()[0])


def _insert(database: sqlite3.Connection, job_id: str, kind: str, asked: str, status: str) -> None:
    """Add a job at the end."""
    database.execute(
        "INSERT OR REPLACE INTO jobs (id, kind, asked, status, created) VALUES (?, ?, ?, ?, ?)",
        (job_id, kind, asked, status, _now()),
    )


def _forget(database: sqlite3.Connection) -> None:
    """Of the jobs that have ended, all but the last."""
    database.execute(
        "DELETE FROM jobs WHERE number IN "
        "(SELECT number FROM jobs WHERE status IN (?, ?) ORDER BY number DESC LIMIT -1 OFFSET ?)",
        (DONE, FAILED, REMEMBERED),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _job(row: sqlite3.Row) -> Job:
    times = {name: datetime.fromisoformat(row[name]) if row[name] else None for name in ("created", "ended")}
    return Job(row["id"], row["status"], row["position"], row["error"], row["code"], **times)
