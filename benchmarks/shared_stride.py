"""Time saved by reading overlapping windows as one sequence: full-size networks with random weights, one core.

python benchmarks/shared_stride.py [--json] [--model NAME ...] [--length 131072] [--repeats 3]

Full size means the published configuration and number of tracks. `shared` is one sequence of about `--length` bp,
`separate` the same windows in batches of 1, 4, 8, 16 or 64. Each repeat runs them in turn, one batch of each size.
Milliseconds are medians per window; `faster` is the median of the repeats' ratios against the fastest batch size and
against batches of 1 and 8. `bound` is the ratio of multiplications, separate to shared. `difference` is the largest
difference between the two: absolute for probabilities, relative for ChromBPNet's reads.

Milliseconds are processor time, which on one otherwise idle core is wall-clock time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trackserver.models import basset, beluga, chrombpnet, deepsea
from trackserver.models.card import ModelCard, Track
from trackserver.models.zoo import read_published_model
from trackserver.predict.engine import Predictor

BATCHES = (1, 4, 8, 16, 64)


class Network(NamedTuple):
    """A published model's network with so many tracks; weights of variance (gain / inputs) keep values near 1."""

    model: str
    build: Callable[[dict[str, Any], int, int], nn.Module]
    tracks: int
    stride: int
    bin_width: int
    gain: float = 1.0


NETWORKS = {
    "DeepSEA, 128 bp": Network("deepsea", deepsea.build, 919, 128, 128),
    "DeepSEA, 200 bp": Network("deepsea", deepsea.build, 919, 200, 200),
    "Beluga, 128 bp": Network("beluga", beluga.build, 2002, 128, 128),
    "Beluga, 200 bp": Network("beluga", beluga.build, 2002, 200, 200),
    "Basset, 192 bp": Network("basset", basset.build, 164, 192, 192),
    "ChromBPNet, 1,000 bp": Network("chrombpnet", chrombpnet.build, 1, 1000, 1, 0.25),
}
COLUMNS = ("ms separate", "batch", "ms shared", "faster", "than batch 1", "than batch 8", "bound", "difference")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", action="append", choices=list(NETWORKS), help="only this one; may be repeated")
    parser.add_argument("--length", type=int, default=131_072, help="about the bp read at once")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.json:
        print(f"| network, stride | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|", sep="\n")
    found = {}
    for name in options.model or NETWORKS:
        found[name] = measure(NETWORKS[name], options.length, options.repeats)
        if not options.json:
            values = " | ".join(f"{found[name][column]:.3g}" for column in COLUMNS)
            print(f"| {name} | {values} |", flush=True)
    if options.json:
        print(json.dumps(found, indent=1))


def measure(network: Network, length: int, repeats: int) -> dict[str, float]:
    predictor = random_predictor(network)
    window, n = predictor.card.window, (length - predictor.card.window) // network.stride + 1
    codes = np.random.default_rng(0).integers(0, 4, (1, window + (n - 1) * network.stride), dtype=np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(codes[0], window)[:: network.stride]
    ways: dict[int, Callable[[], np.ndarray]] = {
        batch: lambda some=windows[:batch]: predictor.predict(some)
        for batch in BATCHES  # type: ignore[misc]
    }
    ways[n] = lambda: predictor.predict(codes)
    expected, apart = counted(ways[BATCHES[-1]])
    values, together = counted(ways[n])
    bound = apart / BATCHES[-1] / (together / n)
    seconds = in_turn(ways, repeats)
    each = {batch: statistics.median(times) for batch, times in seconds.items()}
    best = min(BATCHES, key=lambda batch: each[batch])
    return {
        "ms separate": each[best] * 1e3, "batch": best, "ms shared": each[n] * 1e3,
        "faster": ratio(seconds[best], seconds[n]), "than batch 1": ratio(seconds[1], seconds[n]),
        "than batch 8": ratio(seconds[8], seconds[n]), "bound": bound,
        "difference": difference(network, values, expected),
    }  # fmt: skip


def random_predictor(network: Network) -> Predictor:
    about = read_published_model(network.model)
    crop = (about.window - network.stride) // 2
    torch.manual_seed(0)
    module = network.build({}, network.tracks, crop)
    for tensor in module.parameters():
        if tensor.ndim > 1:
            nn.init.normal_(tensor, std=(network.gain / tensor[0].numel()) ** 0.5)
    card = ModelCard(
        network.model, about.architecture, about.title, about.assemblies, about.window, crop, network.bin_width,
        tuple(Track(i, str(i)) for i in range(network.tracks)), {}, "", n_value=about.n_value,
    )  # fmt: skip
    return Predictor(card, module, "cpu", BATCHES[-1])


def difference(network: Network, values: np.ndarray, expected: np.ndarray) -> float:
    """The largest, of values (1, T, n * bins) from the first windows' (B, T, bins)."""
    by_window = expected.swapaxes(0, 1).reshape(network.tracks, -1)
    apart = np.abs(values[0, :, : by_window.shape[1]] - by_window)
    return float((apart / by_window).max() if network.bin_width == 1 else apart.max())


def counted(call: Callable[[], np.ndarray]) -> tuple[np.ndarray, int]:
    """What a call returns, and its multiplications and additions; it is warm then."""
    with FlopCounterMode(display=False) as counter:
        values = call()
    return values, int(counter.get_total_flops())


def in_turn(ways: dict[int, Callable[[], np.ndarray]], repeats: int) -> dict[int, list[float]]:
    """Seconds a window, of calls by how many windows each asks about."""
    seconds: dict[int, list[float]] = {n: [] for n in ways}
    for _ in range(repeats):
        for n, call in ways.items():
            began = time.process_time()
            call()
            seconds[n].append((time.process_time() - began) / n)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> float:
    """The median of the ratios of times taken in turn."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


if __name__ == "__main__":
    main()
