"""A server under load while its files are replaced, truncated, removed and put back: every answer is checked.

    python benchmarks/load.py [--clients 64] [--seconds 60] [--workers 1] [--json]

Each file is one of three valid versions, or broken, or gone. A tile must be, byte for byte, that of a version which was
there when it was asked for or at most two seconds before; an error is right only where the file was broken or gone.
Half of the files are as hard to tell apart as files can be: all versions have the same size and time of change.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
from tiles_clients import free_port, wait_for

from trackserver.catalogue.init import init_site
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import add_tileset
from trackserver.tiles.bigwig import BigWigTileset
from trackserver.tiles.grid import Grid
from trackserver.tiles.tileset import parse_tile_id

CHROMSIZES = {"chrA": 700_000, "chrB": 310_000, "chrC": 123_457}
TILESETS, VERSIONS = 6, "abc"
BIN = 32
GRACE = 2.0  # seconds in which a change must be seen
EVERY = 0.15  # seconds between faults
CACHE_MB = 16
IDS_A_REQUEST = 15
GONE, BROKEN = "gone", "broken"

Figures = dict[str, Any]


@dataclass
class Phase:
    """What a file was for a while. A broken one has whole tiles of its version yet."""

    version: str
    state: str  # whole | broken | gone
    since: float
    until: float = float("inf")


@dataclass
class File:
    """A served file, its versions elsewhere, and what became of it."""

    uid: str
    path: Path
    versions: dict[str, Path]
    payloads: dict[str, dict[str, Any]]
    history: list[Phase] = field(default_factory=list)

    def change(self, version: str, state: str, act: Callable[[], object]) -> None:
        """Both phases count while the change is being made."""
        now = time.monotonic()
        self.history.append(Phase(version, state, now))
        act()
        if len(self.history) > 1:
            self.history[-2].until = time.monotonic()

    def during(self, begin: float, end: float) -> list[Phase]:
        return [phase for phase in list(self.history) if phase.until >= begin and phase.since <= end]

    def complaint(self, text: str, payload: dict[str, Any], begin: float, end: float) -> str:
        """What is wrong with an answer; empty if nothing is."""
        phases = self.during(begin - GRACE, end)
        if "error" in payload:
            excused = any(phase.state != "whole" for phase in phases)
            return "" if excused else f"{text}: an error while the file was whole: {payload['error']}"
        same = {version for version, payloads in self.payloads.items() if payload == payloads[text]}
        if not same:
            return f"{text}: bytes of no version"
        served = any(phase.version in same and phase.state != GONE for phase in phases)
        return "" if served else f"{text}: version {same}, which was not there any more"


class Faults(threading.Thread):
    """Changes one file after the other until told to stop, and leaves all of them whole."""

    def __init__(self, files: list[File], seed: int):
        super().__init__()
        self.files, self.random = files, random.Random(seed)
        self.made: Counter[str] = Counter()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(EVERY * self.random.uniform(0.3, 1.7)):
            self.disturb(self.random.choice(self.files))
        for file in self.files:
            self.replace(file, "a")

    def disturb(self, file: File) -> None:
        last = file.history[-1]
        if last.state != "whole":
            return self.replace(file, self.random.choice(VERSIONS))
        act = self.random.choices((self.replace, self.truncate, self.remove, self.move_away), (6, 2, 1, 1))[0]
        act(file, self.random.choice(VERSIONS.replace(last.version, "")))
        return None

    def replace(self, file: File, version: str) -> None:
        fresh = file.path.with_suffix(".fresh")
        shutil.copy2(file.versions[version], fresh)  # keeps the time of change
        self.made["replaced"] += 1
        file.change(version, "whole", lambda: os.replace(fresh, file.path))

    def truncate(self, file: File, _: str) -> None:
        size = int(file.path.stat().st_size * self.random.choice((0.0, 0.1, 0.5, 0.9, 0.999)))
        self.made["truncated"] += 1
        file.change(file.history[-1].version, BROKEN, lambda: os.truncate(file.path, size))

    def remove(self, file: File, _: str) -> None:
        self.made["removed"] += 1
        file.change(file.history[-1].version, GONE, file.path.unlink)

    def move_away(self, file: File, other: str) -> None:
        """Another takes its place for a moment; then the very same file is back."""
        version, aside = file.history[-1].version, file.path.with_suffix(".aside")
        os.link(file.path, aside)
        self.replace(file, other)
        time.sleep(self.random.uniform(0, EVERY))
        self.made["moved back"] += 1
        file.change(version, "whole", lambda: os.replace(aside, file.path))


@dataclass
class Seen:
    """What all clients saw together."""

    latencies: list[float] = field(default_factory=list)
    tiles: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Client(threading.Thread):
    def __init__(self, port: int, files: list[File], seen: Seen, until: float, seed: int):
        super().__init__()
        self.files, self.seen, self.until = {file.uid: file for file in files}, seen, until
        self.random = random.Random(seed)
        self.texts = sorted(text for file in files for text in file.payloads["a"])
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def run(self) -> None:
        while time.monotonic() < self.until:
            try:
                self.ask(self.random.sample(self.texts, IDS_A_REQUEST))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.connection.close()
                self.note([f"no answer that can be read: {error!r}"])
        self.connection.close()

    def ask(self, texts: list[str]) -> None:
        begin = time.monotonic()
        self.connection.request("GET", "/api/v1/tiles/?" + "&".join(f"d={text}" for text in texts))
        answer = self.connection.getresponse()
        body = answer.read()
        end = time.monotonic()
        payloads = json.loads(body)
        if answer.status != 200 or set(payloads) != set(texts):
            return self.note([f"{answer.status}: {body[:200]!r}"])
        complaints = [
            complaint
            for text, payload in payloads.items()
            if (complaint := self.files[text.partition(".")[0]].complaint(text, payload, begin, end))
        ]
        errors = sum("error" in payload for payload in payloads.values())
        with self.seen.lock:
            self.seen.latencies.append(end - begin)
            self.seen.tiles.update({"whole": len(texts) - errors, "errors": errors})
        return self.note(complaints)

    def note(self, complaints: list[str]) -> None:
        with self.seen.lock:
            self.seen.complaints += complaints


def write_version(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with pyBigWig.open(str(path), "w") as writer:
        writer.addHeader(list(CHROMSIZES.items()))
        for chrom, size in CHROMSIZES.items():
            writer.addEntries(chrom, 0, values=rng.gamma(0.5, 2.0, size // BIN), span=BIN, step=BIN)


def make_files(folder: Path) -> tuple[Site, list[File]]:
    (folder / "sizes").write_text("".join(f"{chrom}\t{size}\n" for chrom, size in CHROMSIZES.items()))
    site = init_site(folder / "site", "small", chromsizes=folder / "sizes")
    return site, [make_file(site, folder, number) for number in range(TILESETS)]


def make_file(site: Site, folder: Path, number: int) -> File:
    versions = {version: folder / f"{number}-{version}.bw" for version in VERSIONS}
    for seed, path in enumerate(versions.values()):
        write_version(path, 10 * number + seed)
    if number % 2:
        longest = max(path.stat().st_size for path in versions.values())
        for path in versions.values():
            path.write_bytes(path.read_bytes().ljust(longest, b"\0"))  # nobody reads past the last index
            os.utime(path, (1_700_000_000, 1_700_000_000))
    uid = f"file{number}"
    file = File(uid, folder / f"{uid}.bw", versions, {})
    shutil.copy2(versions["a"], file.path)
    file.history.append(Phase("a", "whole", time.monotonic()))
    add_tileset(site, TilesetRecord(uid, uid, "observed", "small", str(file.path)))
    grid = Grid(site.assembly("small"))
    for version, path in versions.items():
        tileset = BigWigTileset(path, grid, uid)
        texts = [f"{uid}.{zoom}.{x}" for zoom in range(grid.max_zoom + 1) for x in range(min(1 << zoom, 24))]
        file.payloads[version] = {text: tileset.tile(parse_tile_id(text)) for text in texts}
    return file


def load(clients: int, seconds: float, workers: int = 1, seed: int = 0) -> Figures:
    """Everything once; `complaints` is empty if all went well."""
    with tempfile.TemporaryDirectory() as folder:
        site, files = make_files(Path(folder))
        port = free_port()
        command = [sys.executable, "-m", "trackserver", "serve", "--port", str(port), "--workers", str(workers)]
        quiet = {**os.environ, "OMP_NUM_THREADS": "1", "TRACKSERVER_CACHE_MB": str(CACHE_MB)}
        with open(Path(folder) / "log", "w+") as log:
            process = subprocess.Popen([*command, "--site", str(site.path)], stderr=log, env=quiet)
            try:
                wait_for(port, process)
                found = attack(process.pid, port, files, clients, seconds, seed)
            finally:
                process.terminate()
                process.wait(60)
            log.seek(0)
            return {**found, "tracebacks": log.read().count("Traceback")}


def attack(pid: int, port: int, files: list[File], clients: int, seconds: float, seed: int) -> Figures:
    seen, faults, began = Seen(), Faults(files, seed), time.monotonic()
    threads = [Client(port, files, seen, began + seconds, seed + client) for client in range(clients)]
    for thread in (faults, *threads):
        thread.start()
    memory: list[float] = []
    while time.monotonic() < began + seconds:
        time.sleep(min(0.5, seconds / 20))
        memory.append(resident_mb(pid))
    for thread in threads:
        thread.join()
    faults.ended.set()
    faults.join()
    time.sleep(GRACE)
    last = Client(port, files, seen, time.monotonic() + 1, seed)
    last.start()
    last.join()
    warm = len(memory) // 3
    cuts = statistics.quantiles(seen.latencies, n=100)
    return {
        "requests": len(seen.latencies),
        "tiles": dict(seen.tiles),
        "faults": dict(faults.made),
        "complaints": len(seen.complaints),
        "first_complaints": sorted(set(seen.complaints))[:20],
        "p50_ms": round(cuts[49] * 1000, 1),
        "p99_ms": round(cuts[98] * 1000, 1),
        "memory_mb": {"warm": max(memory[: warm + 1]), "most_after": max(memory[warm:]), "last": memory[-1]},
        "memory_growth": round(max(memory[warm:]) / max(memory[: warm + 1]) - 1, 3),
    }


def resident_mb(pid: int) -> float:
    """Of a server's processes together."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = [Path(f"/proc/{each}/status").read_text().splitlines() for each in (pid, *children)]
    return round(sum(int(line.split()[1]) for status in lines for line in status if line.startswith("VmRSS")) / 1024, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = load(options.clients, options.seconds, options.workers, options.seed)
    print(json.dumps(found, indent=2) if options.json else "\n".join(f"{name:18} {found[name]}" for name in found))
    sys.exit(bool(found["complaints"]))


if __name__ == "__main__":
    main()
