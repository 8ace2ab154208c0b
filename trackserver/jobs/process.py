"""What a site's queue can do, and the process of its own that does it: no tile waits for a model."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, Any

from trackserver import processes
from trackserver.batches import uploads
from trackserver.catalogue.site import Site
from trackserver.effects import effects, mutagenesis
from trackserver.errors import ComputingFails
from trackserver.jobs.queue import Jobs, Work

# What is freed goes back to the system, rather than being kept in pieces of all sizes for the next window's.
_ALLOCATOR = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "67108864"}
MAX_FALSE_STARTS = 5  # processes in a row that end before they have begun to work
MOST_TIDYING = 10.0  # seconds that are waited for a cluster, which may not answer any more
_log = logging.getLogger(__name__)


def queue(site: Site, works: Mapping[str, Work] | None = None) -> Jobs:
    """The queue of a site, which all its processes share."""
    return Jobs(site.cache / "jobs.sqlite", site.settings.queue_length, works or works_here(site))


def works_here(site: Site) -> dict[str, Work]:
    """What this process can do, by the kind of job."""
    return {
        "effect": partial(effects.answer, site),
        "mutagenesis": partial(mutagenesis.answer, site),
        "batch": partial(uploads.work, site),
    }


def apart(site: Site, lock: IO[str]) -> None:
    """Have the queue worked through by a process of its own, and by another whenever that one ends.

    It ends with this process, whose end closes its input; the lock is its too, so that no other begins before.

    Raises
    ------
    ComputingFails
        Several in a row have ended before they had begun to work.
    """
    false_starts = 0
    while false_starts < MAX_FALSE_STARTS:
        began, status = _run_one(site, lock)
        false_starts = 0 if began else false_starts + 1
        _log.warning("The process that computes has ended (status %d); another takes its place.", status)
        time.sleep(1)
    raise ComputingFails(status)


def _run_one(site: Site, lock: IO[str]) -> tuple[bool, int]:
    """Whether a process has begun to work before it ended, and its exit status."""
    began, begins = os.pipe()
    with closing(os.fdopen(began, "rb")) as told:
        command = processes.python_command(__name__, json.dumps([str(site.path), site.flags]), str(begins))
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[lock.fileno(), begins], env=_ALLOCATOR | os.environ
        ) as process:
            os.close(begins)
            has_begun = bool(told.read(1))
            return has_begun, process.wait()


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, with which this ends
    path, flags = json.loads(sys.argv[1])
    begun = partial(_say_begun, int(sys.argv[2]))
    site = Site(Path(path), **flags)
    if site.settings.cluster:
        work_with_cluster(site, begun)
    else:
        work(site, begun)


def _say_begun(pipe: int) -> None:
    os.write(pipe, b"1")
    os.close(pipe)


def work(site: Site, begun: Callable[[], object]) -> None:
    """Work through a site's queue for good, alone; `begun` is called once the model is ready."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    queue(site).work(partial(effects.warm_up, site) if effects.default_model(site) else None, begun=begun)


def work_with_cluster(site: Site, begun: Callable[[], object]) -> None:
    """Work through a site's queue for good: effects on the site's cluster, many at once, the rest here, one by one."""
    from trackserver.jobs.ray_serve import MOST_TOGETHER, Served

    served, here = Served(site), threading.Lock()
    threading.Thread(target=_end_with_parent, args=(served.end,), daemon=True).start()
    works: dict[str, Work] = {kind: partial(_alone, here, work) for kind, work in works_here(site).items()}
    works["effect"] = served.answer
    queue(site, works).work(served.begin, MOST_TOGETHER * site.settings.cluster_replicas, begun)


def _alone(lock: threading.Lock, work: Work, job_id: str, asked: dict[str, Any]) -> object:
    with lock:
        return work(job_id, asked)


def _end_with_parent(tidy: Callable[[], object] | None = None) -> None:
    sys.stdin.buffer.read()
    if tidy:
        tidying = threading.Thread(target=tidy, daemon=True)
        tidying.start()
        tidying.join(MOST_TIDYING)
    os._exit(0)


if __name__ == "__main__":
    main()
