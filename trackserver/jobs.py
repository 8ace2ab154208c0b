"""Long work: queued, done in order by a worker thread, visible while it waits.

One worker: the model is the bottleneck, and two predictions at once on one device are slower than one after
the other.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from trackserver.errors import QueueFull, TrackserverError, UnknownJob

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
REMEMBERED = 1000  # finished jobs kept for whoever asks late

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
    """A queue and the thread that works through it; the thread starts with the first job."""

    def __init__(self, length: int):
        self._length = length
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._queue: queue.Queue[tuple[str, Callable[[], object]]] = queue.Queue()
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None

    def submit(self, job_id: str, work: Callable[[], object]) -> Job:
        """Queue work under an id; one that waits or runs under that id already is joined, not repeated."""
        with self._lock:
            known = self._jobs.get(job_id)
            if not known or known.status in (DONE, FAILED):
                if self._waiting() >= self._length:
                    raise QueueFull(self._length)
                self._jobs[job_id] = Job(job_id, QUEUED, created=datetime.now(UTC))
                self._jobs.move_to_end(job_id)
                self._queue.put((job_id, work))
                self._forget()
                self._start()
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        with self._lock:
            if job_id not in self._jobs:
                raise UnknownJob(job_id)
            return self._placed(self._jobs[job_id])

    def all(self) -> list[Job]:
        """Jobs in the order in which they came."""
        with self._lock:
            return [self._placed(job) for job in self._jobs.values()]

    def _placed(self, job: Job) -> Job:
        if job.status != QUEUED:
            return job
        before = 0
        for other in self._jobs.values():
            if other.id == job.id:
                break
            before += other.status in (QUEUED, RUNNING)
        return replace(job, position=before)

    def _waiting(self) -> int:
        return sum(job.status == QUEUED for job in self._jobs.values())

    def _forget(self) -> None:
        ended = [job.id for job in self._jobs.values() if job.status in (DONE, FAILED)]
        for job_id in ended[: max(0, len(ended) - REMEMBERED)]:
            del self._jobs[job_id]

    def _start(self) -> None:
        if not self._worker:
            self._worker = threading.Thread(target=self._run, name="trackserver-jobs", daemon=True)
            self._worker.start()

    def _run(self) -> None:
        while True:
            job_id, work = self._queue.get()
            self._change(job_id, status=RUNNING)
            try:
                work()
            except TrackserverError as error:
                self._change(job_id, status=FAILED, error=str(error), code=error.code, ended=datetime.now(UTC))
            except Exception:  # the worker outlives any fault of one job; the log has the traceback
                _log.exception("Job %s failed", job_id)
                sentence = "The computation failed; the server's log says why."
                self._change(job_id, status=FAILED, error=sentence, code="internal", ended=datetime.now(UTC))
            else:
                self._change(job_id, status=DONE, ended=datetime.now(UTC))

    def _change(self, job_id: str, **fields: object) -> None:
        with self._lock:
            self._jobs[job_id] = replace(self._jobs[job_id], **fields)  # type: ignore[arg-type]
