"""The whole path on real human sequence and real signal, measured on held-out windows.

A site from the sparse hg38 and refGene, 10 ENCODE DNase and 4 FANTOM5 CAGE tracks added, a compact model trained on
the train windows, its tracks predicted over the test windows into bigWigs, and those bigWigs, as they are served,
compared with the measured ones at 128-bp bins. Beside it the same figures for a quadratic regression on GC and CpG.

    python benchmarks/real_run.py [--data ../shared/data/hg38] [--site DIR] [--seed N] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from baseline_gc import WIDTHS, gc_baseline

from trackserver.agreement.metrics import TrackMetrics, track_metrics
from trackserver.bbi.bigwig import open_bigwig
from trackserver.catalogue.init import init_site
from trackserver.catalogue.manifest import read_manifest
from trackserver.catalogue.site import Site
from trackserver.catalogue.tilesets import add_tileset
from trackserver.sweep.prediction import predict_tracks
from trackserver.training.site_tracks import training_tracks
from trackserver.training.targets import FoldWindow, TrainingTrack, binned, load_windows, read_folds
from trackserver.training.train import TrainingRun, train

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data" / "hg38"
MANIFEST = ROOT / "tilesets" / "dnase-cage-windows.toml"
MODEL = "windows"
BIN = 128
STEP = 32


FIGURES = ("window_pearson", "log1p_pearson")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with hg38.sparse.fa.gz, folds.bed, observed/")
    parser.add_argument("--site", type=Path, help="keep the site here; otherwise it is thrown away")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"There is no data in {options.data}; give --data.")
    with tempfile.TemporaryDirectory() as scratch:
        found = real_run(options.data, options.site or Path(scratch) / "site", options.minutes, options.seed, say)
    print(json.dumps(found, indent=2) if options.json else report(found))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def real_run(
    data: Path, site_path: Path, minutes: float = 5.0, seed: int = 0, tell: Callable[[str], None] = say
) -> dict[str, Any]:
    """Run it all; seconds of each part, and `FIGURES` of model and regression by assay."""
    clock = time.perf_counter()
    site = init_site(site_path, "hg38", fasta=data / "hg38.sparse.fa.gz", genes=data / "refGene.hg38.txt.gz")
    for listed in read_manifest(MANIFEST, data / "observed"):
        add_tileset(site, listed.record)
    seconds = {"site": time.perf_counter() - clock}
    tell(f"site with {len(site.catalogue.tilesets())} measured tracks: {seconds['site']:.1f} s")

    tracks = training_tracks(site, "hg38", None)
    folds = read_folds(data / "folds.bed", site.assembly("hg38"))
    clock = time.perf_counter()
    card = train(tracks, site.reference("hg38").genome, folds, site.models / MODEL, assembly=site.assembly("hg38"),
                 run=TrainingRun(minutes, seed))  # fmt: skip
    seconds["train"] = time.perf_counter() - clock
    tell(f"trained: {seconds['train']:.0f} s, best at step {card.provenance.get('best_step', '?')}")

    held_out = [window for window in folds if window.fold == "test"]
    clock = time.perf_counter()
    predict_tracks(site, MODEL, regions=[window.locus for window in held_out])
    seconds["predict"] = time.perf_counter() - clock
    tell(f"predicted {len(held_out)} windows: {seconds['predict']:.1f} s")
    return {
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "test_windows": len(held_out),
        "model": by_assay(tracks, served(site, tracks, held_out)),
        "gc_regression": by_assay(tracks, regression(site, tracks, folds)),
    }


def served(site: Site, tracks: Sequence[TrainingTrack], windows: Sequence[FoldWindow]) -> list[TrackMetrics]:
    """Each predicted bigWig of the catalogue against the measured one it was trained on."""
    found = []
    for track in tracks:
        predicted = site.inside(site.catalogue.tileset(f"{MODEL}-t{track.track.index}").path)
        said, seen = open_bigwig(predicted), open_bigwig(track.path)
        found.append(
            track_metrics(
                [binned(said, said.chroms[window.locus.chrom], window.locus, BIN) for window in windows],
                [binned(seen, seen.chroms[window.locus.chrom], window.locus, BIN) for window in windows],
            )
        )
    return found


def regression(site: Site, tracks: Sequence[TrainingTrack], folds: Sequence[FoldWindow]) -> list[TrackMetrics]:
    paths = [track.path for track in tracks]
    windows = load_windows(
        folds, paths, site.reference("hg38").genome, site.assembly("hg38"), step=STEP, flank=lambda length: max(WIDTHS)
    )
    return gc_baseline(windows, BIN, STEP)


def by_assay(tracks: Sequence[TrainingTrack], found: Sequence[TrackMetrics]) -> dict[str, dict[str, float]]:
    assays = sorted({track.track.assay for track in tracks})
    return {
        assay: _means([a for t, a in zip(tracks, found, strict=True) if t.track.assay == assay]) for assay in assays
    }


def _means(found: Sequence[TrackMetrics]) -> dict[str, float]:
    """Means over tracks, on the test windows: of r within each window, and of r of log(1 + y) over all bins."""
    return {name: round(float(np.mean([getattr(a, name) for a in found])), 3) for name in FIGURES}


def report(found: dict[str, Any]) -> str:
    lines = [f"{'test windows, 128-bp bins':28}{'r within a window':>20}{'r of log(1 + y)':>20}"]
    for who, name in (("model", "compact network"), ("gc_regression", "GC and CpG regression")):
        for assay, figures in found[who].items():
            lines.append(f"{assay + ', ' + name:28}{figures['window_pearson']:>20.3f}{figures['log1p_pearson']:>20.3f}")
    lines.append("seconds: " + ", ".join(f"{name} {value}" for name, value in found["seconds"].items()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
