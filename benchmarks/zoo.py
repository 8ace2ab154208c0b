"""What a full-size Basenji2 costs: a window against a plain torch forward of the same layers, and loading some tracks.

python benchmarks/zoo.py [--json]

Weights are random, in a file of the published form (Keras h5, 5,313 tracks, 120 MB). One core; each figure that is
compared is taken in turn with what it is compared with, in fresh processes for memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

REPEATS = 7
WINDOW, BINS, TRACKS, SOME = 131_072, 896, 5313, (0, 1000, 5000)
TOWER = (288, 339, 399, 470, 554, 652, 768)
DILATIONS = (1, 2, 3, 4, 6, 9, 14, 21, 32, 48, 72)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", choices=list(MEASURES), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(MEASURES[options.measure](options.file)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.h5"
        write_random(path)
        found = {name: apart(name, path) for name in MEASURES}
    print(json.dumps(found, indent=1) if options.json else "\n".join(f"{name}: {what}" for name, what in found.items()))


def write_random(path: Path) -> None:
    """A file with the layers, shapes and order of the published one."""
    random = np.random.default_rng(0)
    kernels = [(15, 4, TOWER[0]), *((5, a, b) for a, b in pairwise(TOWER))]
    kernels += [shape for _ in DILATIONS for shape in ((3, 768, 384), (1, 384, 768))] + [(1, 768, 1536)]
    with h5py.File(path, "w") as file:
        names = []
        for index, (kernel, inputs, outputs) in enumerate(kernels):
            values = random.standard_normal((kernel, inputs, outputs), np.float32) / np.float32(kernel * inputs) ** 0.5
            names += [add(file, f"conv1d_{index}", kernel=values)]
            one, none = np.ones(outputs, np.float32), np.zeros(outputs, np.float32)
            names += [
                add(file, f"batch_normalization_{index}", gamma=one, beta=none, moving_mean=none, moving_variance=one)
            ]
        head = random.standard_normal((1536, TRACKS), np.float32) / 1536**0.5
        names += [add(file, "dense", kernel=head.astype(np.float32), bias=np.zeros(TRACKS, np.float32))]
        file.attrs["layer_names"] = names


def add(file: h5py.File, layer: str, **weights: np.ndarray) -> str:
    group = file.create_group(layer)
    group.attrs["weight_names"] = [f"{layer}/{name}:0" for name in weights]
    for name, values in weights.items():
        group.create_dataset(f"{layer}/{name}:0", data=values)
    return layer


def apart(measure: str, path: Path) -> dict[str, float]:
    """A measurement in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--measure", measure, "--file", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def loading(path: Path, tracks: tuple[int, ...] | None) -> dict[str, float]:
    """Seconds to load (median of repeats, the file in the page cache), and what the process holds at most, in MB."""
    import torch

    from trackserver import models

    torch.set_num_threads(1)
    before = peak_mb()
    models.load("basenji2", path, tracks=tracks)
    after = peak_mb()
    return {"seconds": median(lambda: models.load("basenji2", path, tracks=tracks)), "peak_mb": after - before}


def median(call: Any) -> float:
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def forward(path: Path) -> dict[str, float]:
    """One window on one core, all tracks: this package's module and the plain layers, in turn."""
    import torch

    from trackserver import models

    torch.set_num_threads(1)
    module = models.load("basenji2", path)
    plain = Plain(path)
    one_hot = torch.nn.functional.one_hot(torch.randint(0, 4, (1, WINDOW)), 4).float().transpose(1, 2).contiguous()
    with torch.inference_mode():
        difference = float((module(one_hot) - plain(one_hot)).abs().max())
        seconds: dict[str, list[float]] = {"ours": [], "plain": []}
        for _ in range(REPEATS):
            for name, network in (("ours", module), ("plain", plain)):
                began = time.perf_counter()
                network(one_hot)
                seconds[name].append(time.perf_counter() - began)
    ours, other = statistics.median(seconds["ours"]), statistics.median(seconds["plain"])
    return {"seconds": ours, "plain_seconds": other, "ratio": ours / other, "max_difference": difference}


def forward_memory(path: Path) -> dict[str, float]:
    """What the process holds at most while it predicts one window, in MB: torch, weights and activations."""
    import torch

    from trackserver import models

    torch.set_num_threads(1)
    module = models.load("basenji2", path)
    with torch.inference_mode():
        module(torch.zeros(1, 4, WINDOW))
    return {"peak_mb": peak_mb()}


def some_equal_all(path: Path) -> dict[str, float]:
    """The largest difference between some tracks loaded alone and among all."""
    import torch

    from trackserver import models

    torch.set_num_threads(1)
    one_hot = torch.nn.functional.one_hot(torch.randint(0, 4, (1, WINDOW)), 4).float().transpose(1, 2).contiguous()
    with torch.inference_mode():
        all_tracks = models.load("basenji2", path)(one_hot)[:, list(SOME)]
        some = models.load("basenji2", path, tracks=SOME)(one_hot)
    return {"max_difference": float((some - all_tracks).abs().max()), "values_up_to": float(all_tracks.max())}


class Plain:
    """The same layers, one torch function after another."""

    def __init__(self, path: Path):
        import torch

        with h5py.File(path) as file:
            self.kernels = [
                torch.from_numpy(np.ascontiguousarray(file[f"conv1d_{i}/conv1d_{i}/kernel:0"][()].transpose(2, 1, 0)))
                for i in range(30)
            ]
            self.head = torch.from_numpy(np.ascontiguousarray(file["dense/dense/kernel:0"][()].T))[:, :, None]
        self.norms = [
            (torch.zeros(len(k)), torch.ones(len(k)), torch.ones(len(k)), torch.zeros(len(k))) for k in self.kernels
        ]

    def __call__(self, x: Any) -> Any:
        from torch.nn import functional as F

        def step(x: Any, index: int, dilation: int = 1) -> Any:
            kernel = self.kernels[index]
            x = x * (1.702 * x).sigmoid()
            x = F.conv1d(x, kernel, padding=kernel.shape[-1] // 2 * dilation, dilation=dilation)
            return F.batch_norm(x, *self.norms[index], eps=1e-3)

        for index in range(7):
            x = F.max_pool1d(step(x, index), 2)
        for block, dilation in enumerate(DILATIONS):
            x = x + step(step(x, 7 + 2 * block, dilation), 8 + 2 * block)
        x = step(x[..., 64:-64], 29)
        return F.softplus(F.conv1d(x * (1.702 * x).sigmoid(), self.head))


MEASURES = {
    "forward": forward,
    "forward_memory": forward_memory,
    "load_all": lambda path: loading(path, None),
    "load_3": lambda path: loading(path, SOME),
    "3_equal_all": some_equal_all,
}

if __name__ == "__main__":
    main()
