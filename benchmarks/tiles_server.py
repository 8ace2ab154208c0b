"""One Flask application for tiles, in front of this server's tiles or of clodius', and the walks timed without HTTP.

    python benchmarks/tiles_server.py ENGINE PLACE serve PORT
    python benchmarks/tiles_server.py ENGINE PLACE walk|map-walk SEED...

ENGINE is `ours` or `clodius` behind the same small application, or `product`, this server as it is. PLACE is a site
for ours, the folder of files for clodius. A walk prints seconds as JSON. Runs in an environment without trackserver
where the engine is clodius: nothing of it is imported at the top.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from browsing import HG38, MAP, Requests, map_walk, walk
from flask import Flask, Response, request
from gunicorn.app.base import BaseApplication

THREADS = 8

# Tile ids to the body of the answer.
Engine = Callable[[list[str]], bytes]


def ours(place: Path) -> Engine:
    from trackserver.catalogue.open_tilesets import TilesetCache
    from trackserver.catalogue.site import Site
    from trackserver.tiles.tileset import parse_tile_id

    opened = TilesetCache(Site(place))
    opened.warm_up()  # as a worker does before it is asked; clodius' imports are made by now, too

    def body(ids: list[str]) -> bytes:
        asked = [parse_tile_id(text) for text in ids]
        handles = {uid: opened.get(uid) for uid in {tile.uid for tile in asked}}
        tiles = [opened.tile(handles[tile.uid], tile) for tile in asked]
        return b"{%b}" % b",".join(b'"%b":%b' % pair for pair in zip(map(str.encode, ids), tiles, strict=True))

    return body


def clodius(place: Path) -> Engine:
    """As clodius' own servers call it: once a tileset, with the assembly's chromosomes in order."""
    from clodius.tiles import bigwig, cooler

    warnings.simplefilter("ignore", FutureWarning)  # one for each chromosome of each tile
    chromsizes = [list(pair) for pair in HG38.items()]

    def tiles(uid: str, ids: list[str]) -> list[tuple[str, Any]]:
        if uid == MAP:
            return cooler.tiles(str(place / f"{uid}.mcool"), ids)  # type: ignore[no-any-return]
        return bigwig.tiles(str(place / f"{uid}.bw"), ids, chromsizes=chromsizes)  # type: ignore[no-any-return]

    def body(ids: list[str]) -> bytes:
        found: dict[str, Any] = {}
        for uid, asked in groupby(sorted(ids), key=lambda text: text.partition(".")[0]):
            found.update(tiles(uid, list(asked)))
        return json.dumps(found, separators=(",", ":")).encode()

    return body


ENGINES: dict[str, Callable[[Path], Engine]] = {"ours": ours, "clodius": clodius}


def small_app(body: Engine) -> Flask:
    """All that differs between the two is `body`."""
    app = Flask(__name__)

    @app.get("/api/v1/tiles/")
    def tiles() -> Response:
        return Response(body(request.args.getlist("d")), mimetype="application/json")

    @app.get("/healthz")
    def healthz() -> Response:
        return Response("ok")

    return app


def product(place: Path) -> Flask:
    from trackserver.catalogue.site import Site
    from trackserver.web import create_app

    app = create_app(Site(place))
    app.extensions["trackserver"].tilesets.warm_up()
    return app


class Server(BaseApplication):
    def __init__(self, make: Callable[[], Flask], port: int):
        self.make, self.port = make, port
        super().__init__()

    def load_config(self) -> None:
        chosen = {"bind": f"127.0.0.1:{self.port}", "worker_class": "gthread", "threads": THREADS, "keepalive": 60}
        for name, value in {**chosen, "loglevel": "error", "control_socket_disable": True}.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self.make()


def timed(body: Engine, walks: list[Requests]) -> dict[str, float]:
    """Seconds a tile: the first person in a fresh process, the same again, the people after, and all but the repeat.

    `all_cpu` is that last one in seconds of the processor, which other programs disturb less.
    """
    first, *others = walks
    cold, warm, running = (_seconds(body, part) for part in ([first], [first], others))
    n_first, n_others = n_tiles([first]), n_tiles(others)
    return {
        "cold": cold.wall / n_first,
        "warm": warm.wall / n_first,
        "running": running.wall / n_others,
        "all": (cold.wall + running.wall) / (n_first + n_others),
        "all_cpu": (cold.cpu + running.cpu) / (n_first + n_others),
        "tiles": n_first + n_others,
    }


def n_tiles(walks: list[Requests]) -> int:
    return sum(len(ids) for requests in walks for ids in requests)


class Seconds(NamedTuple):
    wall: float
    cpu: float


def _seconds(body: Engine, walks: list[Requests]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    for requests in walks:
        for ids in requests:
            body(ids)
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def main() -> None:
    engine, place, what, *rest = sys.argv[1:]
    numbers = [int(text) for text in rest]
    if what != "serve":
        way = {"walk": walk, "map-walk": map_walk}[what]
        print(json.dumps(timed(ENGINES[engine](Path(place)), [way(seed) for seed in numbers])))
        return
    sys.argv = sys.argv[:1]  # gunicorn reads it too
    make = (lambda: product(Path(place))) if engine == "product" else (lambda: small_app(ENGINES[engine](Path(place))))
    Server(make, numbers[0]).run()


if __name__ == "__main__":
    main()
