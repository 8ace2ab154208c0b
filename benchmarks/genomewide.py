"""How near a genome-wide prediction comes to what its device can do.

python benchmarks/genomewide.py compact [--fasta hg38.fa.gz] [--tracks 10] [--json]
python benchmarks/genomewide.py basenji2 [--device cuda:0] [--precision bfloat16 ...] [--windows 512] [--tracks 100]

compact : a compact network of the default size with random weights over a whole genome, that of a FASTA or 12 Mb of
    random bases: which share of the time is the model's, and whether memory stays flat.
basenji2 : the published size with random weights, over so many windows of random bases, end to end with bigWigs: the
    model's operations as a share of what matrix products of the same precision reach on the device, the time besides
    the model's, and hours for the 27,000 windows of hg38.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from trackserver.genome.assembly import Assembly
from trackserver.genome.known_sequence import known_sequence
from trackserver.genome.regions import intersection, on_bins, whole_genome
from trackserver.genome.sequence import Genome, build_index
from trackserver.models import basenji2, compact
from trackserver.models.card import ModelCard, Track
from trackserver.models.shared_stride import shares_windows
from trackserver.models.zoo import read_published_model
from trackserver.predict.engine import Predictor
from trackserver.sweep.chunks import Chunks
from trackserver.sweep.plan import Plan
from trackserver.sweep.run import predict_chunks, sweep

HG38_WINDOWS = 26_935  # of 114,688 bp, chromosomes 1 to 22, X and Y
SIZE = 8192  # of the matrices whose product is the measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["compact", "basenji2"])
    parser.add_argument("--fasta", type=Path, help="a genome; by default 12 Mb of random bases")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", action="append", choices=["float32", "tf32", "bfloat16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--tracks", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    measure = {"compact": compact_over_a_genome, "basenji2": basenji2_over_windows}[options.what]
    found = [measure(options, precision) for precision in options.precision or ["float32"]]
    print(
        json.dumps(found, indent=1)
        if options.json
        else "\n".join(f"{k:26} {v}" for row in found for k, v in row.items())
    )


def compact_over_a_genome(options: argparse.Namespace, precision: str) -> dict[str, Any]:
    torch.manual_seed(0)
    module = compact.build({}, options.tracks, crop := compact.margin(compact.read_config({})))
    card = _card("compact", 131_072, crop, 128, options.tracks, shortest=2 * crop + 128)
    predictor = Predictor(card, module, options.device, options.batch_size, precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        fasta = options.fasta or random_fasta(Path(folder) / "random.fa", 12_000_000)
        return end_to_end(predictor, fasta, Path(folder))


def basenji2_over_windows(options: argparse.Namespace, precision: str) -> dict[str, Any]:
    about = read_published_model("basenji2")
    torch.manual_seed(0)
    module = basenji2.build({}, options.tracks, about.crop)
    card = _card("basenji2", about.window, about.crop, about.bin_width, options.tracks)
    predictor = Predictor(card, module, options.device, options.batch_size, precision=precision)
    flops = operations(predictor)
    if options.compile:
        predictor.compile()
    with tempfile.TemporaryDirectory() as folder:
        fasta = random_fasta(Path(folder) / "random.fa", options.windows * card.predicted_bp)
        found = end_to_end(predictor, fasta, Path(folder))
    reached, best = flops * found["windows"] / found["model_s"], matrix_rate(predictor.device, precision)
    hours = HG38_WINDOWS / found["windows"] * found["wall_s"] / 3600
    return found | {
        "precision": precision, "compiled": options.compile, "batch_size": predictor.batch_size,
        "model_tflops_per_s": round(reached / 1e12, 3), "matrix_tflops_per_s": round(best / 1e12, 3),
        "share_of_matrix_rate": round(reached / best, 3),
        "hg38_hours": round(hours, 2), "hg38_hours_both_strands": round(2 * hours, 2),
    }  # fmt: skip


def _card(name: str, window: int, crop: int, bin_width: int, tracks: int, shortest: int | None = None) -> ModelCard:
    rows = tuple(Track(number, str(number)) for number in range(tracks))
    return ModelCard(name, name, name, ("here",), window, crop, bin_width, rows, {}, "", shortest=shortest)


def random_fasta(path: Path, length: int) -> Path:
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), -(-length // 60) * 60).reshape(-1, 60)
    lines = np.concatenate([letters, np.full((len(letters), 1), ord("\n"), np.uint8)], axis=1)
    path.write_bytes(b">chr1\n" + lines.tobytes())
    return path


# --- Measuring -------------------------------------------------------------------------------------------------------


class Timed:
    """A predictor's own time: of every batch, from its first operation to its values on the host."""

    def __init__(self, predictor: Predictor):
        self.seconds, self._plain = 0.0, predictor.computed
        self._cuda = predictor.device.type == "cuda"

    def predict_batch(self, codes: NDArray[np.uint8]) -> torch.Tensor:
        if self._cuda:  # it only begins here; how long it takes is asked for apart, see `alone`
            return self._plain(codes)
        began = time.perf_counter()
        values = self._plain(codes)
        self.seconds += time.perf_counter() - began
        return values


def end_to_end(predictor: Predictor, fasta: Path, folder: Path) -> dict[str, Any]:
    """The whole of `predict` but for the catalogue: sequence from the FASTA, predictions, chunks, bigWigs."""
    index = Path(f"{fasta}.fai")
    if not index.exists():
        build_index(fasta, index)
    sizes = {name: int(size) for name, size, *_ in (line.split("\t") for line in index.read_text().splitlines())}
    assembly, genome, card = Assembly("here", tuple(sizes), tuple(sizes.values())), Genome(fasta, index), predictor.card
    began = time.perf_counter()
    wanted = intersection(
        on_bins(whole_genome(assembly), assembly, card.bin_width),
        on_bins(known_sequence(fasta, index), assembly, card.bin_width), assembly,
    )  # fmt: skip
    looked = time.perf_counter() - began
    shares = shares_windows(predictor.module, card.predicted_bp)
    windows_at_once = max(1, 131_072 // card.predicted_bp) if shares else 1
    plan = Plan(card, assembly, tuple(wanted), windows_at_once=windows_at_once)
    next(iter(predict_chunks(predictor, genome, plan, [0])))  # memory is found, kernels are chosen
    model = alone(predictor, plan, genome) if predictor.device.type == "cuda" else None
    timed = Timed(predictor)
    predictor.computed = timed.computed  # type: ignore[method-assign]
    paths = [folder / f"{track}.bw" for track in predictor.tracks]
    chunks = Chunks(folder / "chunks")
    chunks.folder.mkdir()
    resident: list[tuple[float, float]] = []
    began = time.perf_counter()
    producer = partial(predict_chunks, predictor, genome, plan)
    sweep(plan, chunks, [producer], paths, report=lambda at: note(resident, at.bp))
    wall = time.perf_counter() - began
    seconds = timed.seconds if model is None else model
    bp = sum(len(piece) for chunk in plan.chunks for piece in chunk)
    half = [mb for at, mb in resident if at >= bp / 2] or [0.0]
    return {
        "device": torch.cuda.get_device_name(predictor.device) if model is not None else "cpu",
        "genome_bp": assembly.length, "predicted_bp": bp, "tracks": len(paths),
        "windows": sum(plan.chunk_size(number)[1] for number in range(len(plan.chunks))),
        "looking_for_n_s": round(looked, 2), "wall_s": round(wall, 2), "model_s": round(seconds, 2),
        "model_share": round(seconds / wall, 3), "mb_per_s": round(bp / wall / 1e6, 3),
        "resident_mb_half_way": round(half[0], 1), "resident_mb_largest": round(max(mb for _, mb in resident), 1),
        "bigwig_mb": round(sum(path.stat().st_size for path in paths) / 1e6, 1),
    }  # fmt: skip


def alone(predictor: Predictor, plan: Plan, genome: Genome) -> float:
    """Seconds the model takes for the plan's windows with nothing else to do: one batch, again and again."""
    window = next(plan.windows(0))
    codes = np.stack([genome.codes(window.read)] * predictor.batch_size)
    n = sum(plan.chunk_size(number)[1] for number in range(len(plan.chunks)))
    torch.cuda.synchronize(predictor.device)
    began = time.perf_counter()
    for _ in range(-(-n // predictor.batch_size)):
        predictor.predict_batch(codes)
    torch.cuda.synchronize(predictor.device)
    return time.perf_counter() - began


def note(resident: list[tuple[float, float]], bp: int) -> None:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    resident.append((bp, int(line.split()[1]) / 1000))


def operations(predictor: Predictor) -> float:
    """Floating-point operations of one window."""
    codes = np.zeros((1, predictor.card.window), np.uint8)
    with FlopCounterMode(display=False) as counter:
        predictor.predict_batch(codes)
    return float(counter.get_total_flops())


def matrix_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a large matrix product."""
    size = SIZE if device.type == "cuda" else 2048
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    one, other = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))

    def seconds(times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            one @ other
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    seconds(2)
    return 2 * size**3 / statistics.median(seconds(5) / 5 for _ in range(5))


if __name__ == "__main__":
    main()
