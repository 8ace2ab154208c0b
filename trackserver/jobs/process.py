"""The compute process: runs the jobs of a site's queue apart from the web workers, so no tile waits for a model."""

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
from trackserver.jobs.queue import FILE, Handler, Jobs

# Return freed memory to the system, instead of keeping fragments of all sizes for the next window.
_ALLOCATOR = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "67108864"}
MAX_FALSE_STARTS = 5  # processes in a row that end before they are ready
CLEAN_UP_TIMEOUT_S = 10.0  # for a cluster that may no longer respond
_log = logging.getLogger(__name__)


def open_queue(site: Site, handlers: Mapping[str, Handler] | None = None) -> Jobs:
    """Open the site's job queue, which all its processes share."""
    return Jobs(site.cache / FILE, site.settings.queue_length, handlers or local_handlers(site))


def local_handlers(site: Site) -> dict[str, Handler]:
    """Handlers that compute in this process, by kind of job."""
    return {
        "effect": partial(effects.compute_request, site),
        "mutagenesis": partial(mutagenesis.compute_request, site),
        "batch": partial(uploads.score_slice, site),
    }


def keep_computing(site: Site, lock: IO[str]) -> None:
    """Run the queue in a child process, and restart it whenever it ends.

    The child ends when this process does, because its input closes then. It inherits the lock, so no other process
    starts computing before it has ended.

    Raises
    ------
    ComputingFails
        Several processes in a row have ended before they were ready.
    """
    false_starts = 0
    while false_starts < MAX_FALSE_STARTS:
        was_ready, status = _run_child(site, lock)
        false_starts = 0 if was_ready else false_starts + 1
        _log.warning("The compute process has ended (status %d); starting another.", status)
        time.sleep(1)
    raise ComputingFails(status)


def _run_child(site: Site, lock: IO[str]) -> tuple[bool, int]:
    """Run a compute process until it ends; return whether it was ever ready, and its exit status."""
    read_end, write_end = os.pipe()
    with closing(os.fdopen(read_end, "rb")) as pipe:
        command = processes.python_command(__name__, json.dumps([str(site.path), site.flags]), str(write_end))
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[lock.fileno(), write_end], env=_ALLOCATOR | os.environ
        ) as process:
            os.close(write_end)
            was_ready = bool(pipe.read(1))
            return was_ready, process.wait()


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the server, and this process ends with it
    path, flags = json.loads(sys.argv[1])
    on_ready = partial(_report_ready, int(sys.argv[2]))
    site = Site(Path(path), **flags)
    if site.settings.cluster:
        run_queue_on_cluster(site, on_ready)
    else:
        run_queue(site, on_ready)


def _report_ready(pipe: int) -> None:
    os.write(pipe, b"1")
    os.close(pipe)


def run_queue(site: Site, on_ready: Callable[[], object]) -> None:
    """Run the jobs of a site forever, one at a time; `on_ready` is called once the model is loaded."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    open_queue(site).work(partial(effects.warm_up, site) if effects.default_model(site) else None, on_ready=on_ready)


def run_queue_on_cluster(site: Site, on_ready: Callable[[], object]) -> None:
    """Run the jobs of a site forever: many effects at once on its cluster, other jobs here one at a time."""
    from trackserver.jobs.ray_serve import MAX_BATCH, RayBackend

    backend, one_at_a_time = RayBackend(site), threading.Lock()
    threading.Thread(target=_end_with_parent, args=(backend.stop,), daemon=True).start()
    handlers: dict[str, Handler] = {
        kind: partial(_run_locked, one_at_a_time, handler) for kind, handler in local_handlers(site).items()
    }
    handlers["effect"] = backend.compute
    open_queue(site, handlers).work(backend.start, MAX_BATCH * site.settings.cluster_replicas, on_ready)


def _run_locked(lock: threading.Lock, handler: Handler, job_id: str, request: dict[str, Any]) -> object:
    with lock:
        return handler(job_id, request)


def _end_with_parent(clean_up: Callable[[], object] | None = None) -> None:
    sys.stdin.buffer.read()
    if clean_up:
        cleaner = threading.Thread(target=clean_up, daemon=True)
        cleaner.start()
        cleaner.join(CLEAN_UP_TIMEOUT_S)
    os._exit(0)


if __name__ == "__main__":
    main()
