"""Job queue of a site, shared by all its server processes.

The queue is a small SQLite database in the site's cache. Only the process that holds its lock runs jobs, because two
predictions at once on one device are slower than one after the other and need twice the memory. When that process
ends, another takes over and restarts the unfinished jobs.
"""

from __future__ import annotations

import json
import logging
import os
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

FILE = "queue.sqlite"
QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
WARM_UP = "warm-up"
MAX_FINISHED_JOBS = 1000  # finished jobs that can still be looked up
MAX_TRIES = 2  # for a job whose process ended while running it
POLL_S = 0.03  # how often to check whether another process has written to the queue
REFRESH_S = 0.5  # how often to read the queue even if its file looks unchanged

# Runs one kind of job, given its id and request. Returns True if it has more to do and should rejoin the queue.
Handler = Callable[[str, dict[str, Any]], object]

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, request TEXT NOT NULL,
    status TEXT NOT NULL, error TEXT NOT NULL DEFAULT '', code TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 0, created TEXT NOT NULL, ended TEXT
)"""
_SELECT_JOB = """
SELECT id, status, error, code, created, ended, CASE WHEN status = 'queued' THEN (
    SELECT count(*) FROM jobs AS other WHERE other.number < jobs.number AND other.status IN ('queued', 'running')
) ELSE 0 END AS position FROM jobs"""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """Progress of a job. `position` counts the unfinished jobs ahead of it; 0 once it runs or has ended."""

    id: str
    status: str
    position: int = 0
    error: str = ""
    code: str = ""
    created: datetime | None = None
    ended: datetime | None = None


class Jobs:
    """A job queue in a file that several processes share.

    Parameters
    ----------
    path
        The database; its lock file lies beside it.
    length
        Most jobs that may wait.
    handlers
        What runs each kind of job in this process.
    """

    def __init__(self, path: str | os.PathLike[str], length: int, handlers: Mapping[str, Handler]):
        self._path, self._length, self._handlers = Path(path), length, handlers
        self._wake = threading.Event()
        self._start_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._poll_lock = threading.Lock()  # one of the working threads polls for all of them
        self._worker: threading.Thread | None = None
        self._on_lock: Callable[[IO[str]], object] = lambda lock: self.work()

    def submit(self, job_id: str, kind: str, request: Mapping[str, Any]) -> Job:
        """Queue a job. If a job with this id is already waiting or running, return that one."""
        with self._writing() as database:
            known = database.execute("SELECT status FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if not known or known[0] in (DONE, FAILED):
                if _count_waiting(database) >= self._length:
                    raise QueueFull(self._length)
                _insert(database, job_id, kind, json.dumps(request), QUEUED)
            job = _to_job(database.execute(f"{_SELECT_JOB} WHERE id = ?", (job_id,)).fetchone())
        self.start()
        self._wake.set()
        return job

    def get(self, job_id: str) -> Job:
        for row in self._read(f"{_SELECT_JOB} WHERE id = ?", job_id):
            return _to_job(row)
        raise UnknownJob(job_id)

    def all(self) -> list[Job]:
        """All jobs, in queue order."""
        return [_to_job(row) for row in self._read(f"{_SELECT_JOB} ORDER BY number")]

    def count_waiting(self) -> int:
        """Count the jobs that wait."""
        return sum(count for (count,) in self._read("SELECT count(*) FROM jobs WHERE status = 'queued'"))

    def start(self, on_lock: Callable[[IO[str]], object] | None = None) -> None:
        """Start a thread that runs jobs here whenever no other process holds the queue's lock.

        Parameters
        ----------
        on_lock
            What to do with the lock instead of running jobs in this process, such as starting a process that does.
            If it returns, the next `submit` tries again.
        """
        with self._start_lock:
            self._on_lock = on_lock or self._on_lock
            if not self._worker:
                self._worker = threading.Thread(target=self._run, name="trackserver-jobs", daemon=True)
                self._worker.start()

    def work(
        self,
        warm_up: Callable[[], object] | None = None,
        n_threads: int = 1,
        on_ready: Callable[[], object] = lambda: None,
    ) -> None:
        """Run jobs forever, in the process that holds the lock.

        Parameters
        ----------
        warm_up
            Runs before the first job, such as loading the model.
        n_threads
            Jobs to run at the same time; more than one where other machines compute.
        on_ready
            Called once the first job can be taken.
        """
        self._requeue_unfinished()
        if warm_up:
            with self._writing() as database:
                _insert(database, WARM_UP, WARM_UP, "{}", RUNNING)
            self._run_job(WARM_UP, warm_up)
        on_ready()
        for _ in range(n_threads - 1):
            threading.Thread(target=self._run_jobs, name="trackserver-jobs", daemon=True).start()
        self._run_jobs()

    def _run_jobs(self) -> None:
        while True:
            try:
                with self._poll_lock:
                    job_id, run = self._next_job()
                self._run_job(job_id, run)
            except (TrackserverError, sqlite3.Error):  # somebody deleted the queue, or the disk is full
                _log.exception("The queue %s", self._path)
                time.sleep(1)

    def _read(self, query: str, *values: object) -> list[sqlite3.Row]:
        if not self._path.exists():  # nothing was ever queued, perhaps because the site is read-only
            return []
        with closing(self._connect()) as database:
            return database.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(exist_ok=True)
            # Threads take turns here, because SQLite lets a waiting one sleep for up to 0.1 s at a time.
            with self._write_lock, closing(self._connect()) as database:
                database.execute("BEGIN IMMEDIATE")
                with database:
                    yield database
        except (OSError, sqlite3.OperationalError) as error:
            raise SiteReadOnly(
                f"Cannot write the job queue {self._path}: {error}. Check the disk space and who may write there."
            ) from error

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=20, isolation_level=None)
        database.row_factory = sqlite3.Row
        database.execute(_TABLE)
        return database

    def _run(self) -> None:
        try:
            self._path.parent.mkdir(exist_ok=True)
            with locked(self._path.with_suffix(".lock")) as lock:  # waits while another process holds it
                self._on_lock(lock)
        except (OSError, TrackserverError) as fault:
            _log.exception("The queue %s", self._path)
            if isinstance(fault, ComputingFails):
                self._fail_all(fault)
            self._worker = None  # the next job tries again

    def _fail_all(self, fault: ComputingFails) -> None:
        """Fail every unfinished job, because no process can run it."""
        with self._writing() as database:
            database.execute(
                "UPDATE jobs SET status = ?, error = ?, code = ?, ended = ? WHERE status IN (?, ?)",
                (FAILED, str(fault), fault.code, _now(), QUEUED, RUNNING),
            )

    def _requeue_unfinished(self) -> None:
        """Requeue the jobs of a process that ended; fail those that have ended several."""
        with self._writing() as database:
            database.execute(f"DELETE FROM jobs WHERE id = '{WARM_UP}'")
            database.execute(
                "UPDATE jobs SET status = ?, code = 'internal', error = ?, ended = ? WHERE status = ? AND tries >= ?",
                (FAILED, "The process that computed this ended before it was done, perhaps because memory ran out; "
                 "see the server's log.", _now(), RUNNING, MAX_TRIES),
            )  # fmt: skip
            database.execute("UPDATE jobs SET status = ? WHERE status = ?", (QUEUED, RUNNING))

    def _next_job(self) -> tuple[str, Callable[[], object]]:
        """Wait for a job; return the id of the oldest one and the function that runs it."""
        while True:
            version = self._version()
            if job := self._take_job():
                return job["id"], lambda: self._handlers[job["kind"]](job["id"], json.loads(job["request"]))
            self._wait_for_change(version)

    def _version(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:  # nothing was queued yet, or somebody deleted the queue
            return 0, 0
        return status.st_mtime_ns, status.st_size

    def _wait_for_change(self, version: tuple[int, int]) -> None:
        """Wait until the queue's file changes, or briefly: a file's clock is too coarse to show every write."""
        until = time.monotonic() + REFRESH_S
        while not self._wake.wait(POLL_S) and self._version() == version and time.monotonic() < until:
            continue
        self._wake.clear()

    def _take_job(self) -> sqlite3.Row | None:
        """Mark the oldest waiting job as running and return it."""
        if not self.count_waiting():
            return None
        with self._writing() as database:
            row: sqlite3.Row | None = database.execute(
                "SELECT * FROM jobs WHERE status = ? ORDER BY number LIMIT 1", (QUEUED,)
            ).fetchone()
            if row is not None:
                database.execute("UPDATE jobs SET status = ?, tries = tries + 1 WHERE id = ?", (RUNNING, row["id"]))
        return row

    def _run_job(self, job_id: str, run: Callable[[], object]) -> None:
        status, error, code = DONE, "", ""
        try:
            if run() is True:
                status = QUEUED
        except TrackserverError as fault:
            status, error, code = FAILED, str(fault), fault.code
        except Exception:  # no fault of one job may end the worker; the log has the traceback
            _log.exception("Job %s failed", job_id)
            status, error, code = FAILED, "The computation failed; see the server's log for the cause.", "internal"
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
            _delete_oldest(database)


def _count_waiting(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT count(*) FROM jobs WHERE status = ?", (QUEUED,)).fetchone()[0])


def _insert(database: sqlite3.Connection, job_id: str, kind: str, request: str, status: str) -> None:
    """Add a job at the end."""
    database.execute(
        "INSERT OR REPLACE INTO jobs (id, kind, request, status, created) VALUES (?, ?, ?, ?, ?)",
        (job_id, kind, request, status, _now()),
    )


def _delete_oldest(database: sqlite3.Connection) -> None:
    """Delete all finished jobs but the newest `MAX_FINISHED_JOBS`."""
    database.execute(
        "DELETE FROM jobs WHERE number IN "
        "(SELECT number FROM jobs WHERE status IN (?, ?) ORDER BY number DESC LIMIT -1 OFFSET ?)",
        (DONE, FAILED, MAX_FINISHED_JOBS),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _to_job(row: sqlite3.Row) -> Job:
    times = {name: datetime.fromisoformat(row[name]) if row[name] else None for name in ("created", "ended")}
    return Job(row["id"], row["status"], row["position"], row["error"], row["code"], **times)
