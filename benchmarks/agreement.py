"""How long a page waits for the figures of its window, and how long genome-wide figures take.

    python benchmarks/agreement.py [--repeats 20] [--genome] [--json]

Makes its own tracks: predictions in bins of 128 bp, and a measurement in intervals of 20 bp, about as dense as ENCODE's
fold change over control. Somebody pans over 1 Mb at a time by steps of a fifth, and asks the application, with no
network; cold is a window of which nothing was read before. With --genome all of hg38 is compared too.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig

from trackserver.agreement.compare import genome_wide, open_pair
from trackserver.catalogue.init import init_site
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import OBSERVED, PREDICTED, TilesetRecord
from trackserver.genome.assembly import known_assembly
from trackserver.web import create_app

WINDOW, BIN, DENSE = 1_000_000, 128, 20  # bp
CHROM, LENGTH = "chr1", 60_000_000  # of which tracks are made
MOST_ENTRIES = 1_000_000  # written at once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--genome", action="store_true", help="some minutes, 1 GB of disk")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        site = init_site(Path(temporary) / "site", "hg38")
        add(site, "predicted", PREDICTED, {CHROM: LENGTH}, BIN)
        add(site, "observed", OBSERVED, {CHROM: LENGTH}, DENSE)
        found: dict[str, Any] = panning(site, options.repeats)
        if options.genome:
            sizes = known_assembly("hg38").chromsizes
            add(site, "predicted-all", PREDICTED, sizes, BIN)
            add(site, "observed-all", OBSERVED, sizes, BIN)
            found |= whole(site)
    print(
        json.dumps(found, indent=2)
        if options.json
        else "\n".join(f"{name:28} {value}" for name, value in found.items())
    )


def add(site: Site, uid: str, kind: str, sizes: dict[str, int], step: int) -> None:
    """A track of random values; registered without being read through."""
    path, rng = site.tilesets / f"{uid}.bw", np.random.default_rng(len(uid))
    with pyBigWig.open(str(path), "w") as writer:
        writer.addHeader(list(known_assembly("hg38").chromsizes.items()))
        for chrom, size in sizes.items():
            for first in range(0, size, step * MOST_ENTRIES):
                starts = np.arange(first, min(first + step * MOST_ENTRIES, size), step)
                values = rng.gamma(0.3, 2.0, len(starts)).astype(np.float32)
                ends = np.minimum(starts + step, size)
                writer.addEntries([chrom] * len(starts), starts.tolist(), ends=ends.tolist(), values=values.tolist())
    provenance = {"bin_width": BIN} if kind == PREDICTED else {}
    record = TilesetRecord(
        uid, uid, kind, "hg38", f"tilesets/{uid}.bw", size=path.stat().st_size, provenance=provenance
    )
    site.catalogue.put_tilesets([record])


def panning(site: Site, repeats: int) -> dict[str, float]:
    app = create_app(site)
    app.extensions["trackserver"].tilesets.warm_up()
    client = app.test_client()
    cold = [asked(client, number * 2 * WINDOW) for number in range(1, repeats + 1)]
    panned = [asked(client, 2 * WINDOW + number * WINDOW // 5) for number in range(repeats)]
    still = [asked(client, 2 * WINDOW) for _ in range(repeats)]
    each = {"cold": cold, "panning": panned, "again": still}
    return {
        f"window_{how}_{name}_ms": round(1000 * value, 1)
        for how, taken in each.items()
        for name, value in (("median", statistics.median(taken)), ("worst", max(taken)))
    }


def asked(client: Any, start: int) -> float:
    """Seconds until the figures of a window are there."""
    locus = f"{CHROM}:{start + 1}-{start + WINDOW}"
    began = time.perf_counter()
    answer = client.get(f"/api/v1/agreement/?predicted=predicted&observed=observed&locus={locus}")
    taken = time.perf_counter() - began
    if answer.status_code != 200:
        raise SystemExit(answer.text)
    return taken


def whole(site: Site) -> dict[str, float]:
    opened, began = TilesetCache(site), time.perf_counter()
    found = genome_wide(site, open_pair(opened, "predicted-all", "observed-all"))
    return {
        "genome_bins": found["figures"]["n_bins"],
        "genome_seconds": round(time.perf_counter() - began, 1),
        "genome_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    main()
