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
from functools import partial
from pathlib import Path
from typing import IO

from trackserver.catalogue import effects, mutagenesis, posted
from trackserver.catalogue.site import Site
from trackserver.jobs import Jobs, Work

# What is freed goes back to the system, rather than being kept in pieces of all sizes for the next window's.
_ALLOCATOR = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "67108864"}
_log = logging.getLogger(__name__)


def queue(site: Site) -> Jobs:
    """The queue of a site, which all its processes share."""
    works: dict[str, Work] = {
        "effect": partial(effects.answer, site),
        "mutagenesis": partial(mutagenesis.answer, site),
        "batch": partial(posted.work, site),
    }
    return Jobs(site.cache / "jobs.sqlite", site.settings.queue_length, works)


def apart(site: Site, lock: IO[str]) -> None:
    """Have the queue worked through by a process of its own, and by another whenever that one ends.

    It ends with this process, whose end closes its input; the lock is its too, so that no other begins before.
    """
    command = [sys.executable, "-m", __name__, json.dumps([str(site.path), site.flags])]
    while True:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[lock.fileno()], env=_ALLOCATOR | os.environ
        ) as process:
            status = process.wait()
        _log.warning("The process that computes has ended (status %d); another takes its place.", status)
        time.sleep(1)


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, with which this ends
    threading.Thread(target=_end_with_parent, daemon=True).start()
    path, flags = json.loads(sys.argv[1])
    site = Site(Path(path), **flags)
    queue(site).work(partial(effects.warm_up, site) if effects.default_model(site) else None)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
