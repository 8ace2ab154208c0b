"""What the cone saves: full-size networks with random weights, one core, each ratio of two times taken in turn.

python benchmarks/cone.py [--json] [--model NAME ...] [--repeats 5]

Full size means the published configuration and number of tracks (3 where the name says so, and for Enformer).

single : one substitution at the window's centre, against two full predictions in one batch (REF and ALT), and against
    one of them. The reference's cone is built; `build` says in how many seconds, `kept_mb` what it keeps.
saturation : the 600 substitutions of 200 bp at the centre, against predicting them in batches of 32. The naive time is
    of one batch, taken in turn with the cone's over all 600, both a substitution.
Seconds are the processor's, which on one core is what the clock says where nothing else runs.

bound : how many times fewer multiplications the cone takes than what it is compared with.
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

from trackserver.cone.cone import Cone, WindowEdit
from trackserver.models import basenji2, basset, beluga, chrombpnet, deepsea, enformer, sei
from trackserver.models.card import ModelCard, Track
from trackserver.models.zoo import read_published_model
from trackserver.predict.engine import Predictor

NAIVE_BATCH = 32
# Measured with a prototype of the same idea on a core like this one, full-size Basenji2: seconds a substitution.
PROTOTYPE = {"basenji2": 0.202, "basenji2, 3 tracks": 0.063}


class Network(NamedTuple):
    """A published model's network with so many tracks; weights of variance (gain / inputs) keep values near 1."""

    model: str
    build: Callable[[dict[str, Any], int, int], nn.Module]
    tracks: int
    saturated: bool
    gain: float = 1.0


NETWORKS = {
    "basenji2": Network("basenji2", basenji2.build, 5313, False),
    "basenji2, 3 tracks": Network("basenji2", basenji2.build, 3, False),
    "deepsea": Network("deepsea", deepsea.build, 919, True),
    "basset": Network("basset", basset.build, 164, True),
    "beluga": Network("beluga", beluga.build, 2002, True),
    "chrombpnet": Network("chrombpnet", chrombpnet.build, 1, True, 0.25),
    "sei": Network("sei", sei.build, 21907, False, 0.25),
    "enformer": Network("enformer", enformer.build, 3, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", action="append", choices=list(NETWORKS), help="only this one; may be repeated")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: measure(name, options.repeats) for name in options.model or NETWORKS}
    print(json.dumps(found, indent=1) if options.json else "\n".join(f"{name}: {what}" for name, what in found.items()))


def measure(name: str, repeats: int) -> dict[str, Any]:
    predictor = random_predictor(name)
    reference = np.random.default_rng(0).integers(0, 4, predictor.card.window, dtype=np.uint8)
    middle = len(reference) // 2 - 1
    began = time.process_time()
    cone = Cone(predictor, reference)
    found: dict[str, Any] = {"build": time.process_time() - began, "kept_mb": cone.nbytes / 1e6}
    found["single"] = single(cone, substitutions(reference, middle, 1)[0], repeats)
    if name in PROTOTYPE:
        found["single"]["prototype_seconds"] = PROTOTYPE[name]
    if NETWORKS[name].saturated:
        found["saturation"] = saturation(cone, substitutions(reference, middle - 100, 200), repeats)
    found["layouts_mb"] = predictor.layouts.nbytes / 1e6
    return rounded(found)


def random_predictor(name: str) -> Predictor:
    network = NETWORKS[name]
    about = read_published_model(network.model)
    torch.manual_seed(0)
    module = network.build({}, network.tracks, about.crop)
    for tensor in module.parameters():
        if tensor.ndim > 1:
            nn.init.normal_(tensor, std=(network.gain / tensor[0].numel()) ** 0.5)
    card = ModelCard(
        network.model, about.architecture, about.title, about.assemblies, about.window, about.crop, about.bin_width,
        tuple(Track(i, str(i)) for i in range(network.tracks)), {}, "", n_value=about.n_value,
    )  # fmt: skip
    return Predictor(card, module, "cpu", NAIVE_BATCH)


def substitutions(reference: np.ndarray, start: int, n: int) -> list[WindowEdit]:
    return [
        WindowEdit(place, np.array([(reference[place] + by) % 4], np.uint8))
        for place in range(start, start + n)
        for by in (1, 2, 3)
    ]


def changed(reference: np.ndarray, changes: list[WindowEdit]) -> np.ndarray:
    rows = np.repeat(reference[None], len(changes), 0)
    for row, change in zip(rows, changes, strict=True):
        row[change.start] = change.codes[0]
    return rows


def single(cone: Cone, change: WindowEdit, repeats: int) -> dict[str, float]:
    alternative = changed(cone.reference, [change])
    pair = np.concatenate([cone.reference[None], alternative])
    ways: dict[str, Callable[[], Any]] = {
        "cone": lambda: list(cone.predict_edits([change])),
        "one": lambda: cone.predictor.predict(alternative),
        "pair": lambda: cone.predictor.predict(pair),
    }
    (reached,), full = ways["cone"](), ways["one"]()[0]
    values = cone.ref.copy()
    values[:, reached.first : reached.first + reached.alt.shape[1]] = reached.alt
    seconds = in_turn(ways, repeats)
    return {
        "seconds": statistics.median(seconds["cone"]),
        "naive_pair_seconds": statistics.median(seconds["pair"]),
        "faster_than_pair": ratio(seconds["pair"], seconds["cone"]),
        "faster_than_one": ratio(seconds["one"], seconds["cone"]),
        "bound_of_one": flops(ways["one"]) / flops(ways["cone"]),
        "bins": reached.alt.shape[1],
        "max_difference": float(np.abs(values - full).max() / np.abs(full).max()),
    }


def saturation(cone: Cone, changes: list[WindowEdit], repeats: int) -> dict[str, float]:
    some = changed(cone.reference, changes[len(changes) // 2 :][:NAIVE_BATCH])
    ways: dict[str, Callable[[], Any]] = {
        "cone": lambda: list(cone.predict_edits(changes)),
        "naive": lambda: cone.predictor.predict(some),
    }
    cone_flops, naive_flops = flops(ways["cone"]), flops(ways["naive"])  # and warms both up
    seconds = in_turn(ways, repeats)
    share = NAIVE_BATCH / len(changes)
    return {
        "seconds": statistics.median(seconds["cone"]),
        "naive_seconds": statistics.median(seconds["naive"]) / share,
        "faster": ratio(seconds["naive"], seconds["cone"]) / share,
        "bound": naive_flops / cone_flops / share,
    }


def in_turn(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, call in ways.items():
            began = time.process_time()
            call()
            seconds[name].append(time.process_time() - began)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> float:
    """The median of the ratios of times taken in turn."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def flops(call: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    return float(f"{found:.3g}") if isinstance(found, float) else found


if __name__ == "__main__":
    main()
