"""Tiles of this server against tiles of clodius 0.20.4, in one run: the same ids, the same application around them.

    python benchmarks/tiles.py [--repeats 5] [--quick] [--json] [--folder build/tiles] [--venv build/clodius]

Makes what it needs on its first run: ten whole-genome bigWigs of 24 million bins (2 GB), a contact map, and an
environment for clodius, which does not work with the pandas that everything else here does. What is browsed is in
browsing.py. Everything is run alternately and repeated; ratios are medians over the repeats. Figures say something of
the programs only where nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from browsing import MAP, Requests, signals, uids, walk
from tiles_clients import ONE_THREAD, median_ms, serving, visit

from trackserver.catalogue.init import init_site
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.tiles.tileset import parse_tile_id

ROOT = Path(__file__).parents[1]
CLODIUS = ("clodius==0.20.4", "pandas<3")
SHARED = ("flask", "gunicorn")  # the same versions on both sides
MANY = 10_000  # tilesets
PEOPLE = 4  # who browse in one process, without HTTP
CLIENTS = {1: 1.0, 16: 0.5, 64: 0.25}  # at once, and how much of a walk each goes

Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "build/tiles", help="the data, kept between runs")
    parser.add_argument("--venv", type=Path, default=ROOT / "build/clodius", help="clodius' environment, likewise")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one repeat, fewer clients")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    python = clodius_python(options.venv)
    signals(options.folder)
    make_map(python, options.folder)
    with tempfile.TemporaryDirectory() as temporary:
        repeats = 1 if options.quick else options.repeats
        bench = Bench(options.folder.resolve(), python, Path(temporary), repeats)
        clients = {1: 1.0, 16: 0.25} if options.quick else CLIENTS
        found = {
            "in_process": bench.in_process("walk"),
            "http": {str(n): bench.over_http(n, share) for n, share in clients.items()},
            "catalogue_of_10_000": bench.large_catalogue(),
            "contact_map": bench.in_process("map-walk"),
            "remote": bench.remote(),
            "seconds_a_tile_by_stage": bench.stages(),
        }
    print(json.dumps(found, indent=2) if options.json else report(found))


def clodius_python(venv: Path) -> Path:
    """The interpreter of an environment with clodius in it, made where it is not there."""
    python = venv / "bin/python"
    if not (venv / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        same = [f"{name}=={version(name)}" for name in SHARED]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *CLODIUS, *same], check=True)
        (venv / ".installed").touch()
    return python


def make_map(python: Path, folder: Path) -> None:
    """The contact map; cooler is in clodius' environment in any case."""
    if not (folder / f"{MAP}.mcool").exists():
        script = f"from browsing import *; write_map(Path({str(folder / MAP)!r} + '.mcool'), HG38)"
        subprocess.run([str(python), "-W", "ignore", "-c", script], cwd=Path(__file__).parent, check=True)


def make_site(place: Path, folder: Path, n_tilesets: int) -> Site:
    """The benchmark's files, and as many entries more as the catalogue should have."""
    site = init_site(place, "hg38")
    records = [TilesetRecord(uid, uid, "observed", "hg38", str(folder / f"{uid}.bw")) for uid in uids()]
    others = [replace(records[0], uid=f"other{n}", name=f"Other {n}") for n in range(n_tilesets - len(records))]
    heatmap = TilesetRecord(MAP, MAP, "observed", "hg38", str(folder / f"{MAP}.mcool"), filetype="cooler")
    site.catalogue.put_tilesets([*records, *others, replace(heatmap, datatype="matrix")])
    return site


class Bench:
    def __init__(self, folder: Path, python: Path, temporary: Path, repeats: int):
        self.folder, self.python, self.temporary, self.repeats = folder, python, temporary, repeats
        self.site = make_site(temporary / "site", folder, len(uids())).path
        self.server = {
            "ours": (Path(sys.executable), "ours", self.site),
            "clodius": (python, "clodius", folder),
            "product": (Path(sys.executable), "product", self.site),
        }

    def in_process(self, what: str) -> Figures:
        """Milliseconds a tile without HTTP, each repeat in fresh processes and at other places."""
        runs: list[dict[str, dict[str, float]]] = []
        for repeat in range(self.repeats):
            seeds = [str(repeat * PEOPLE + person) for person in range(PEOPLE)]
            runs.append({name: self._walked(name, what, seeds) for name in ("ours", "clodius")})
        kinds = ("cold", "warm", "running", "all", "all_cpu")
        return {
            **{f"{name}_ms": {k: median(run[name][k] * 1000 for run in runs) for k in kinds} for name in runs[0]},
            "times_faster": {k: median(run["clodius"][k] / run["ours"][k] for run in runs) for k in kinds},
            "tiles_a_repeat": runs[0]["ours"]["tiles"],
        }

    def _walked(self, name: str, what: str, seeds: list[str]) -> dict[str, float]:
        python, engine, place = self.server[name]
        command = [str(python), str(ROOT / "benchmarks/tiles_server.py"), engine, str(place), what, *seeds]
        printed = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True, check=True).stdout
        return dict(json.loads(printed))

    def over_http(self, n_clients: int, share: float) -> Figures:
        """Tiles a second and the latency of requests, first in a fresh process, then the same once more."""
        runs: list[dict[str, dict[str, Figures]]] = []
        for repeat in range(self.repeats):
            walks = [part(walk(1000 * repeat + client), share, client) for client in range(n_clients)]
            runs.append({name: self._visited(name, walks) for name in ("ours", "clodius", "product")})
            runs[-1]["product, compressed"] = self._visited("product", walks, accept="gzip, deflate, br, zstd")
        return {
            when: {
                name: {
                    **{key: median(run[name][when][key] for run in runs) for key in runs[0][name][when]},
                    "times_faster": median(
                        run[name][when]["tiles_per_second"] / run["clodius"][when]["tiles_per_second"] for run in runs
                    ),
                }
                for name in runs[0]
            }
            for when in ("cold", "warm")
        }

    def _visited(self, name: str, walks: list[Requests], accept: str = "identity") -> dict[str, Figures]:
        with serving(*self.server[name]) as port:
            return {when: visit(port, walks, accept).figures() for when in ("cold", "warm")}

    def large_catalogue(self) -> Figures:
        """The product with ten tilesets and with ten thousand: one client, and how much longer it takes with many."""
        large = make_site(self.temporary / "large", self.folder, MANY).path
        runs = []
        for repeat in range(self.repeats):
            walks = [[ids for person in range(PEOPLE) for ids in walk(500 + repeat * PEOPLE + person)]]
            found = {}
            for name, place in (("few", self.site), ("many", large)):
                with serving(sys.executable, "product", place) as port:
                    found[name] = {when: visit(port, walks).figures()["p50_ms"] for when in ("cold", "warm")}
                    found[name]["info"] = median_ms(port, f"/api/v1/tileset_info/?d={uids()[0]}")
            runs.append(found)
        return {
            f"{what}_ms": {
                **{name: median(run[name][what] for run in runs) for name in runs[0]},
                "ratio": median(run["many"][what] / run["few"][what] for run in runs),
            }
            for what in ("cold", "warm", "info")
        }

    def remote(self) -> Figures:
        """Range requests of a first tile of a file on the web, nothing of which is known, at each zoom."""
        sys.path.append(str(ROOT))
        from tests.sources.origin import serving as origin_serving

        site = make_site(self.temporary / "remote", self.folder, len(uids()))
        with origin_serving() as origin:
            origin.files["/signal0.bw"] = (self.folder / "signal0.bw").read_bytes()
            record = TilesetRecord("far", "far", "observed", "hg38", origin.url("/signal0.bw"))
            site.catalogue.put_tilesets([record])
            asked = {}
            for text in dict.fromkeys(tile for ids in walk(3) for tile in ids if tile.startswith("signal0.")):
                tile = parse_tile_id(text)._replace(uid="far")
                origin.asked.clear()
                opened = TilesetCache(site)
                opened.tile(opened.get("far"), tile)
                asked[str(tile)] = len(origin.asked)
        return {"most": max(asked.values()), "median": statistics.median(asked.values()), "tiles": len(asked)}

    def stages(self) -> dict[str, float]:
        seeds = [str(seed) for seed in range(PEOPLE * 2)]
        command = [sys.executable, str(ROOT / "benchmarks/tiles_stages.py"), str(self.site), *seeds]
        return dict(json.loads(subprocess.run(command, env=ONE_THREAD, capture_output=True, check=True).stdout))


def part(requests: Requests, share: float, client: int) -> Requests:
    """As much of a walk, begun somewhere else by each client: not all of them look at the whole genome at once."""
    begin = client * 7 % len(requests)
    return [*requests[begin:], *requests[:begin]][: round(len(requests) * share)]


def median(values: Any) -> float:
    return round(statistics.median(values), 4)


def report(found: Figures) -> str:
    return "\n".join(_lines(found, 0))


def _lines(found: Figures, depth: int) -> list[str]:
    lines = []
    for name, value in found.items():
        if isinstance(value, dict) and any(isinstance(each, dict) for each in value.values()):
            lines += [f"{'  ' * depth}{name}", *_lines(value, depth + 1)]
        elif isinstance(value, dict):
            text = "  ".join(f"{key} {each:,.4g}" for key, each in value.items())
            lines.append(f"{'  ' * depth}{name:24} {text}")
        else:
            lines.append(f"{'  ' * depth}{name:24} {value:,.4g}")
    return lines


if __name__ == "__main__":
    main()
