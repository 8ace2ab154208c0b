"""Twenty people ask for an effect each at once, while others browse: are all answered, do tiles stay quick?

python benchmarks/effects_load.py [--site demo-site] [--people 20] [--rounds 5] [--json]
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tiles_clients import running

from trackserver.catalogue.site import Site
from trackserver.demo.site import MODEL
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import decode

ROOT = Path(__file__).parents[1]
ZOOM_OUT = range(2, 9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, default=ROOT / "demo-site", help="the demo's site, built by make install")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        copied = Path(temporary) / "site"
        shutil.copytree(options.site, copied, ignore=shutil.ignore_patterns("effects", "*.lock"))
        with running([sys.executable, "-m", "trackserver", "serve", "--site", str(copied), "--port"]) as port:
            found = measured(port, Site(copied), options.people, options.rounds)
    print(json.dumps(found, indent=2) if options.json else "\n".join(f"{k:36} {v}" for k, v in found.items()))


def measured(port: int, site: Site, people: int, rounds: int) -> dict[str, Any]:
    variants = Variants(site)
    answered(port, variants.next())  # the model is loaded now
    uids = [record.uid for record in site.catalogue.tilesets()]
    alone = browsing(port, uids, seconds=3.0)
    before = resident_mb(site)
    stop, latencies = threading.Event(), []
    browser = threading.Thread(target=lambda: latencies.extend(browsing_until(port, uids, stop)))
    browser.start()
    waits, sizes = [], []
    for _ in range(rounds):
        waits += at_once(port, [variants.next() for _ in range(people)])
        sizes.append(resident_mb(site))
    stop.set()
    browser.join()
    return {
        "effects_answered": len(waits),
        "effect_seconds_p50": round(statistics.median(waits), 3),
        "effect_seconds_longest": round(max(waits), 3),
        **{f"tiles_alone_{name}": value for name, value in summary(alone).items()},
        **{f"tiles_meanwhile_{name}": value for name, value in summary(latencies).items()},
        "computing_mb_before": before,
        "computing_mb_largest": max(sizes),
        "computing_mb_after": resident_mb(site),
        "reference_cache_mb": site.settings.reference_cache_mb,
    }


class Variants:
    """Substitutions all over the demo's genome, no two the same."""

    def __init__(self, site: Site):
        self.genome, self.assembly = site.reference(site.default_assembly).genome, site.assembly(site.default_assembly)
        self.random = random.Random(1)

    def next(self) -> str:
        chrom = self.random.choice(self.assembly.chroms)
        start = self.random.randrange(50_000, self.assembly.chromsizes[chrom] - 50_000)
        ref = decode(self.genome.codes(Locus(chrom, start, start + 1)))
        if ref not in "ACGT":
            return self.next()
        return f"{chrom}:{start + 1}:{ref}:{self.random.choice([base for base in 'ACGT' if base != ref])}"


def at_once(port: int, variants: list[str]) -> list[float]:
    waits: list[float] = []
    threads = [threading.Thread(target=lambda text=text: waits.append(answered(port, text))) for text in variants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(waits) != len(variants):
        sys.exit(f"{len(variants) - len(waits)} questions were not answered")
    return waits


def answered(port: int, variant: str) -> float:
    """Seconds from the question to the effect."""
    began = time.perf_counter()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        asked = talk(connection, "POST", "/api/v1/effects/", {"model": MODEL, "variants": [variant]})
        wait = 0.15  # then longer each time, up to a second: as the page does
        while asked["status"] != "done":
            if asked["status"] == "failed":
                sys.exit(f"{variant}: {asked['error']}")
            time.sleep(wait)
            wait = min(wait * 1.5, 1.0)
            asked = talk(connection, "GET", f"/api/v1/effects/{asked['id']}/")
    return time.perf_counter() - began


def talk(connection: http.client.HTTPConnection, method: str, path: str, sent: Any = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    connection.request(method, path, None if sent is None else json.dumps(sent), headers)
    answer = connection.getresponse()
    said: dict[str, Any] = json.loads(answer.read())
    if answer.status >= 400:
        sys.exit(f"{answer.status} to {path}: {said}")
    return said


def browsing(port: int, uids: list[str], seconds: float) -> list[float]:
    stop = threading.Event()
    threading.Timer(seconds, stop.set).start()
    return browsing_until(port, uids, stop)


def browsing_until(port: int, uids: list[str], stop: threading.Event) -> list[float]:
    """Seconds of each request for one tile."""
    found, chosen = [], random.Random(2)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        while not stop.is_set():
            zoom = chosen.choice(ZOOM_OUT)
            tile = f"{chosen.choice(uids)}.{zoom}.{chosen.randrange(1 << zoom)}"
            began = time.perf_counter()
            talk(connection, "GET", f"/api/v1/tiles/?d={tile}")
            found.append(time.perf_counter() - began)
            time.sleep(0.005)
    return found


def summary(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    ms = {"p50_ms": cuts[49], "p99_ms": cuts[98], "longest_ms": max(seconds)}
    return {"requests": len(seconds)} | {name: round(value * 1000, 1) for name, value in ms.items()}


def resident_mb(site: Site) -> float:
    """Memory of the process that computes for a site."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if b"catalogue.computing" in (text := command.read_bytes()) and str(site.path).encode() in text:
                lines = command.with_name("status").read_text().splitlines()
                return round(int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1000, 1)
    sys.exit("nothing computes")


if __name__ == "__main__":
    main()
