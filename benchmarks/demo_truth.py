"""Measure how well a model recovers the demo's known truth on the held-out chromosome.

Signal: Pearson's r of predicted and observed 32-bp bins, over the noise ceiling (r of true and observed bins).
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

import demo_evaluation as evaluation
import torch
from rich.console import Console
from rich.table import Table

from trackserver import demo
from trackserver.demo.generator import SEED, TEST_CHROM, generate
from trackserver.demo.grammar import TRACKS
from trackserver.models import registry
from trackserver.models.card import read_card
from trackserver.predict.engine import Predictor


def load(directory: Path) -> Predictor:
    """Load a model of the demo's tracks from a directory, its tracks in the truth's order."""
    card = read_card(directory / registry.CARD)
    registry.check_weights(card, directory / registry.WEIGHTS)
    names = [track.name for track in card.tracks]
    order = [names.index(track.name) for track in TRACKS]
    return Predictor(card, registry.read_module(card, directory / registry.WEIGHTS), "cpu", tracks=order)


def measure(predictor: Predictor, seed: int, elements: int, sites: int | None) -> dict[str, Any]:
    """Measure everything; returns what --json prints."""
    genome, began = generate(seed), time.process_time()
    model = evaluation.Model(predictor.predict, predictor.card.crop)
    edited = evaluation.draw_elements(genome.chromosome(TEST_CHROM), elements)
    signal = evaluation.signal_recovery(model, genome, TEST_CHROM)
    return {
        "chromosome": TEST_CHROM,
        "signal": [asdict(row) | {"ratio": row.ratio} for row in signal],
        "mean_ratio": sum(row.ratio for row in signal) / len(signal),
        "sites": [asdict(row) for row in evaluation.site_effects(model, genome, TEST_CHROM, sites=sites)],
        "substitutions": [asdict(row) for row in evaluation.substitution_effects(model, genome, edited)],
        "elements": elements,
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def show(results: dict[str, Any], console: Console) -> None:
    table = Table("track", "r", "ceiling", "ratio", "site r", "n", "substitution r", "n")
    rows = zip(results["signal"], results["sites"], results["substitutions"], strict=False)
    for signal, site, substitution in rows:
        table.add_row(
            signal["track"], *(f"{signal[key]:.3f}" for key in ("observed", "ceiling", "ratio")),
            f"{site['r']:.3f}", str(site["variants"]), f"{substitution['r']:.3f}", str(substitution["variants"]),
        )  # fmt: skip
    pooled = results["substitutions"][-1]
    table.add_section()
    table.add_row("all", "", "", f"{results['mean_ratio']:.3f}", "", "", f"{pooled['r']:.3f}", str(pooled["variants"]))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, default=Path(demo.__file__).parent, help="a directory with card and weights"
    )
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the genome")
    parser.add_argument("--elements", type=int, default=20, help="number of elements in which to change every base")
    parser.add_argument("--sites", type=int, help="number of planted sites to change; default: all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = measure(load(options.model), options.seed, options.elements, options.sites)
    if options.json:
        json.dump(results, sys.stdout, indent=1, allow_nan=False)
    else:
        show(results, Console())


if __name__ == "__main__":
    main()
