"""Where the time of this server's tiles goes, by looking at what runs every half millisecond.

    python benchmarks/tiles_stages.py SITE SEED...

The walks go through the whole application, as requests that no network carries. A profiler that counts every call
would make the many small ones look dear; this one only looks.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from browsing import walk
from tiles_server import n_tiles, product

EVERY = 0.0005  # seconds

INDEX = ("_index", "_read_index", "_leaf_items", "_leaf", "_runs", "chroms", "_leaves", "_open", "level")
VERSION = ("identity_of", "identity_at", "check_current")

# The innermost of a stack that is named here says what is being done: part of a path, functions (none: all of them).
STAGES: list[tuple[str, str, tuple[str, ...]]] = [
    ("stat: which version is there", "tiles/source.py", VERSION),
    ("read: bytes of the file", "tiles/source.py", ()),
    ("index: which blocks", "tiles/bbi.py", INDEX),
    ("inflate", "tiles/bbi.py", ("_inflate", "_blocks")),
    ("decode: blocks to columns", "tiles/bbi.py", ()),
    ("gather: pieces onto the axis", "tiles/vector.py", ()),
    ("gather: pieces onto the axis", "genome/assembly.py", ()),
    ("reduce: records to bins", "tiles/grid.py", ()),
    ("encode: bins to base64 and JSON", "tiles/wire.py", ()),
    ("cache: look up and keep", "tiles/cache.py", ()),
    ("cache: look up and keep", "cachetools/", ()),
    ("catalogue: uid to file", "sqlalchemy/", ()),
    ("catalogue: uid to file", "catalogue/", ()),
    ("request: ids and answer", "trackserver/", ()),
    ("request: Flask and werkzeug", "flask/", ()),
    ("request: Flask and werkzeug", "werkzeug/", ()),
]


def stage_of(frame: FrameType | None) -> str:
    while frame is not None:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        for stage, part, names in STAGES:
            if part in path and (not names or name in names):
                return stage
        frame = frame.f_back
    return "other"


@contextmanager
def looking(seen: Counter[str]) -> Iterator[None]:
    def look(_: int, frame: FrameType | None) -> None:
        seen[stage_of(frame)] += 1

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, EVERY, EVERY)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    place, *seeds = sys.argv[1:]
    client = product(Path(place)).test_client()
    walks = [walk(int(seed)) for seed in seeds]
    seen: Counter[str] = Counter()
    began = time.perf_counter()
    with looking(seen):
        for requests in walks:
            for ids in requests:
                client.get("/api/v1/tiles/", query_string=[("d", tile) for tile in ids]).get_data()
    each = (time.perf_counter() - began) / n_tiles(walks)
    total = sum(seen.values())
    print(json.dumps({stage: each * count / total for stage, count in seen.most_common()}))


if __name__ == "__main__":
    main()
