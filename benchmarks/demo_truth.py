"""How well a model recovers the demo's known truth, on the held-out chromosome and in full.

Signal: Pearson's r of predicted and measured 32-bp bins over the noise ceiling, the r of true and measured bins.
Sites: true against predicted log2 fold change of one random substitution in every planted site, pooled over the sites
whose loss moves the track's true log2 signal by at least 0.1. Substitutions: all three at every base of some elements.
A fold change is the server's: both alleles summed over the bins that touch 501 bp, the track's training mean added.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rich.console import Console
from rich.table import Table

from trackserver import demo
from trackserver.demo import evaluate
from trackserver.demo.generator import SEED, TEST_CHROM, generate
from trackserver.demo.grammar import TRACKS
from trackserver.models import registry
from trackserver.models.card import read_card
from trackserver.predict.engine import Predictor


def load(directory: Path) -> Predictor:
    """A model of the demo's tracks, wherever it lies; its tracks in the truth's order."""
    card = read_card(directory / registry.CARD)
    registry.check_weights(card, directory / registry.WEIGHTS)
    names = [track.name for track in card.tracks]
    order = [names.index(track.name) for track in TRACKS]
    return Predictor(card, registry.read_module(card, directory / registry.WEIGHTS), "cpu", tracks=order)


def measure(predictor: Predictor, seed: int, elements: int, sites: int | None) -> dict[str, Any]:
    """Everything, as JSON holds it."""
    genome, began = generate(seed), time.process_time()
    model = evaluate.Model(predictor.predict, predictor.card.crop)
    drawn = evaluate.some_elements(genome.chromosome(TEST_CHROM), elements)
    signal = evaluate.signal_recovery(model, genome, TEST_CHROM)
    return {
        "chromosome": TEST_CHROM,
        "signal": [asdict(row) | {"ratio": row.ratio} for row in signal],
        "mean_ratio": sum(row.ratio for row in signal) / len(signal),
        "sites": [asdict(row) for row in evaluate.site_effects(model, genome, TEST_CHROM, sites=sites)],
        "substitutions": [asdict(row) for row in evaluate.substitution_effects(model, genome, drawn)],
        "elements": elements,
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def show(found: dict[str, Any], console: Console) -> None:
    table = Table("track", "r", "ceiling", "ratio", "site r", "n", "substitution r", "n")
    rows = zip(found["signal"], found["sites"], found["substitutions"], strict=False)
    for signal, site, substitution in rows:
        table.add_row(
            signal["track"], *(f"{signal[key]:.3f}" for key in ("measured", "ceiling", "ratio")),
            f"{site['r']:.3f}", str(site["variants"]), f"{substitution['r']:.3f}", str(substitution["variants"]),
        )  # fmt: skip
    pooled = found["substitutions"][-1]
    table.add_section()
    table.add_row("all", "", "", f"{found['mean_ratio']:.3f}", "", "", f"{pooled['r']:.3f}", str(pooled["variants"]))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, default=Path(demo.__file__).parent, help="a directory with card and weights"
    )
    parser.add_argument("--seed", type=int, default=SEED, help="of the genome")
    parser.add_argument("--elements", type=int, default=20, help="elements of which all bases are changed")
    parser.add_argument("--sites", type=int, help="planted sites to change; all by default")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = measure(load(chosen.model), chosen.seed, chosen.elements, chosen.sites)
    if chosen.json:
        json.dump(found, sys.stdout, indent=1, allow_nan=False)
    else:
        show(found, Console())


if __name__ == "__main__":
    main()
