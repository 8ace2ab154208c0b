"""How long facet counts, searches and pages of a large catalogue take.

    python benchmarks/catalogue.py [--tilesets 10000] [--repeats 30] [--json]

Makes up a catalogue: half of it measured, half predicted by four models, in as many assays, biosamples and targets as
the tables of published models have, each with the provenance of a real one. It is asked through the application, with
no network. Milliseconds, the median; the first question after a change also works out which tilesets are pairs.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trackserver.catalogue.init import init_site
from trackserver.catalogue.pairs import find_pairs
from trackserver.catalogue.store import OBSERVED, PREDICTED, TilesetRecord
from trackserver.web import create_app

ASSAYS = ("DNASE", "ATAC", "CHIP", "CAGE", "RNA")
BIOSAMPLES, TARGETS, MODELS = 800, 600, 4
QUESTIONS = {
    "facets": "facets/",
    "facets, one choice": "facets/?assay=DNASE",
    "facets, three choices": "facets/?assay=CHIP&biosample=biosample%207&biosample=biosample%208&kind=observed",
    "facets of a search": "facets/?ac=chip%20factor7",
    "facets of a search for one letter": "facets/?ac=e",
    "search": "tilesets/?ac=chip%20factor7",
    "search and choice": "tilesets/?ac=factor7&kind=predicted",
    "search for nothing there": "tilesets/?ac=nothing",
    "page": "tilesets/",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tilesets", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = measured(Path(temporary), options.tilesets, options.repeats)
    print(
        json.dumps(found, indent=2) if options.json else "\n".join(f"{name:36} {ms:8.1f}" for name, ms in found.items())
    )


def measured(folder: Path, n_tilesets: int, repeats: int) -> dict[str, float]:
    site = init_site(folder / "site", "hg38")
    records = list(synthetic(n_tilesets))
    found = {"add all": milliseconds(lambda: site.catalogue.put_tilesets(records), 1)}
    client = create_app(site).test_client()
    found["pairs of all"] = milliseconds(lambda: find_pairs(site.catalogue.tilesets()), 3)
    found["first page after a change"] = milliseconds(lambda: client.get("/api/v1/tilesets/"), 1)
    return found | {
        name: milliseconds(lambda url=url: client.get(f"/api/v1/{url}").data, repeats)  # type: ignore[misc]
        for name, url in QUESTIONS.items()
    }


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(taken), 1)


def synthetic(n: int) -> Iterator[TilesetRecord]:
    chance = random.Random(1)
    for number in range(n):
        assay, biosample = chance.choice(ASSAYS), f"biosample {chance.randrange(BIOSAMPLES)}"
        target = f"FACTOR{chance.randrange(TARGETS)}" if assay == "CHIP" else ""
        model = f"model{chance.randrange(MODELS)}" if number % 2 else ""
        yield TilesetRecord(
            f"u{number}", f"{assay}:{target}:{biosample}", PREDICTED if model else OBSERVED, "hg38",
            f"tilesets/u{number}.bw", assay=assay, biosample=biosample, target=target, strand=chance.choice("+-."),
            accession=f"ENCFF{number // 2:06d}", model=model, track_index=number if model else None, size=10**8,
            sha256="0" * 64, provenance=provenance(number),
        )  # fmt: skip


def provenance(number: int) -> dict[str, Any]:
    """About as much as a prediction's, or ENCODE's."""
    return {"date": "2026-01-01", "regions": number} | {f"setting {n}": "some words of this length" for n in range(20)}


if __name__ == "__main__":
    main()
