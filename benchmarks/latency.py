"""How long a person waits: the demo's first page, a variant's first Δ tile, a forward pass; and the server's memory.

python benchmarks/latency.py [--site demo-site] [--json]
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trackserver.catalogue.site import Site
from trackserver.demo.site import MODEL

ROOT = Path(__file__).parents[1]
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, default=ROOT / "demo-site", help="the demo's site, built by make install")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {"forward_131kb_seconds": forward_seconds(options.site), **served(options.site)}
    print(
        json.dumps(found, indent=2)
        if options.json
        else "\n".join(f"{name:30} {value}" for name, value in found.items())
    )


def forward_seconds(site_path: Path) -> float:
    """Median of one window of 131,072 bp through the demo's model on one core."""
    import torch

    from trackserver.predict.engine import load_predictor

    torch.set_num_threads(1)
    predictor = load_predictor(Site(site_path).models, MODEL, device="cpu")
    codes = np.random.default_rng(0).integers(0, 4, (1, 131_072), dtype=np.uint8)
    predictor.predict(codes)
    return round(statistics.median(seconds(lambda: predictor.predict(codes)) for _ in range(REPEATS)), 3)


def served(site_path: Path) -> dict[str, Any]:
    """From starting `trackserver demo` on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.perf_counter()
    command = [sys.executable, "-m", "trackserver", "demo", "--dir", str(site_path), "--port", str(port), "--no-open"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while not answers(url):
            time.sleep(0.02)
        first_page = time.perf_counter() - began
        chrom, position, *_ = Site(site_path).settings.show.split(":")
        variants = [f"{chrom}:{int(position) + shift}" for shift in range(1, 40)]
        deltas = [first_delta(url, variant) for variant in substitutions(site_path, variants)[: REPEATS + 1]]
        return {
            "first_page_seconds": round(first_page, 2),
            "first_delta_tile_seconds": round(deltas[0], 2),  # right after the start, the model still loading
            "next_delta_tile_seconds": round(statistics.median(deltas[1:]), 2),
            "server_memory_mb": round(memory_kb(process.pid) / 1024),
        }
    finally:
        process.terminate()
        process.wait(20)


def substitutions(site_path: Path, places: list[str]) -> list[str]:
    """One variant a place, not asked before: effects are kept, and a stored one takes no time."""
    from trackserver.genome.locus import parse_locus
    from trackserver.genome.sequence import decode

    site = Site(site_path)
    genome = site.reference(site.default_assembly).genome
    refs = [decode(genome.codes(parse_locus(place))) for place in places]
    stored = [json.loads(path.read_text()) for path in site.effects.glob("*/effect.json")]
    known = {variant for effect in stored for variant in effect["question"]["variants"]}
    asked = [f"{place}:{ref}:{alt}" for place, ref in zip(places, refs, strict=True) for alt in "ACGT" if alt != ref]
    return [variant for variant in asked if variant not in known]


def first_delta(url: str, variant: str) -> float:
    """Seconds from the question to the tile of Δ on the most changed track."""
    began = time.perf_counter()
    request = urllib.request.Request(
        f"{url}/api/v1/effects/", json.dumps({"variants": [variant]}).encode(), method="POST"
    )
    found = fetch(request)
    while found["status"] != "done":
        time.sleep(0.05)
        found = fetch(f"{url}/api/v1/effects/{found['id']}/")
    fetch(f"{url}/api/v1/tiles/?d={found['tracks'][0]['tilesets']['delta']}.0.0")
    return time.perf_counter() - began


def fetch(request: urllib.request.Request | str) -> Any:
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/", timeout=5).close()
    except OSError:
        return False
    return True


def memory_kb(pid: int) -> int:
    """Resident memory of a process and all that it has started."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for thread in threads for child in thread.read_text().split()]
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    own = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return own + sum(map(memory_kb, children))


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
