"""bigWigs of the human genome in 128-bp bins, 24 million of them, written here and by pyBigWig, in one run.

    python benchmarks/writer.py [--repeats 5] [--json] [--folder DIR]

Every writer is given the same float32 array a chromosome, chromosome by chromosome, none of whose bins is missing:
pyBigWig writes that fastest, as fixed steps. Both files are complete on the disk when the clock is read. What is
written takes turns in each repeat, on one core; ratios are medians over the repeats, of times taken in turn. pyBigWig
reads back that what both hold is equal.

processor : the writing thread's own time; of two tracks at once the clock counts, for two threads share the work.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyBigWig
from browsing import BIN, HG38
from numpy.typing import NDArray

from trackserver.bbi.writer import BigWigWriter, write_bigwigs

N_BINS = {chrom: -(-size // BIN) for chrom, size in HG38.items()}
MILLIONS = sum(N_BINS.values()) / 1e6

Tracks = dict[str, NDArray[np.float32]]  # (T, bins) of each chromosome


class Taken(NamedTuple):
    """Seconds."""

    processor: float
    clock: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary one if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(Path(folder), tracks(2), options.repeats)
    print(json.dumps(found, indent=1) if options.json else table(found))


def tracks(n: int) -> Tracks:
    """Peaks some kb wide over a noisy ground, non-negative, with all of float32's digits, as predictions are."""
    rng = np.random.default_rng(0)
    return {chrom: np.stack([_track(rng, count) for _ in range(n)]) for chrom, count in N_BINS.items()}


def _track(rng: np.random.Generator, n_bins: int) -> NDArray[np.float32]:
    coarse = rng.gamma(0.2, 1.0, n_bins // 20 + 2)
    return np.asarray(
        np.interp(np.arange(n_bins) / 20, np.arange(len(coarse)), coarse) + rng.random(n_bins), np.float32
    )


def measure(folder: Path, values: Tracks, repeats: int) -> dict[str, dict[str, float]]:
    paths = {name: folder / f"{name}.bw" for name in ("pyBigWig", "ours", "ours, 3 digits")}
    pair = [folder / f"{number}.bw" for number in range(2)]
    ways: dict[str, Callable[[], None]] = {
        "pyBigWig": lambda: write_with_pybigwig(paths["pyBigWig"], values),
        "ours": lambda: write(paths["ours"], values, None),
        "ours, 3 digits": lambda: write(paths["ours, 3 digits"], values, 3),
        "ours, two tracks, 1 thread": lambda: write_both(pair, values, 1),
        "ours, two tracks, 2 threads": lambda: write_both(pair, values, 2),
    }
    ways["ours"]()  # the loops are compiled, or loaded
    taken = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            taken[name].append(timed(way))
    check_equal(paths["ours"], paths["pyBigWig"])
    bins = {name: MILLIONS * (2 if "two" in name else 1) for name in ways}
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    return {
        name: figures(taken[name], taken["pyBigWig"], bins[name], sizes.get(name), sizes["pyBigWig"]) for name in ways
    }


def write(path: Path, values: Tracks, digits: int | None) -> None:
    with BigWigWriter(path, HG38, BIN, digits=digits) as writer:
        for chrom, bins in values.items():
            writer.add(chrom, 0, bins[0])


def write_both(paths: list[Path], values: Tracks, threads: int) -> None:
    with write_bigwigs(paths, HG38, BIN, threads=threads) as add:
        for chrom, bins in values.items():
            add(chrom, 0, bins)


def write_with_pybigwig(path: Path, values: Tracks) -> None:
    """Fixed steps, and each chromosome's last bin by itself, for it is shorter."""
    with pyBigWig.open(str(path), "w") as writer:
        writer.addHeader(list(HG38.items()))
        for chrom, (bins, *_) in values.items():
            last = len(bins) - 1
            writer.addEntries(chrom, 0, values=bins[:last], span=BIN, step=BIN)
            writer.addEntries([chrom], [last * BIN], ends=[HG38[chrom]], values=[float(bins[last])])
    with path.open("rb") as file:
        os.fsync(file.fileno())


def timed(way: Callable[[], None]) -> Taken:
    processor, clock = time.thread_time(), time.perf_counter()
    way()
    return Taken(time.thread_time() - processor, time.perf_counter() - clock)


def figures(
    taken: list[Taken], theirs: list[Taken], millions: float, size: int | None, their_size: int
) -> dict[str, float]:
    """Of pyBigWig's seconds a bin against ours, in the same repeat; nothing of files that are measured elsewhere."""
    share = millions / MILLIONS
    in_turn = list(zip(taken, theirs, strict=True))
    found = {
        "million_bins_a_second": millions / statistics.median(one.clock for one in taken),
        "faster_clock": statistics.median(share * other.clock / one.clock for one, other in in_turn),
    }
    if size is not None:
        found["faster_processor"] = statistics.median(other.processor / one.processor for one, other in in_turn)
        found["size_mb"], found["size_ratio"] = size / 1e6, size / their_size
    return found


def check_equal(one: Path, other: Path) -> None:
    with pyBigWig.open(str(one)) as first, pyBigWig.open(str(other)) as second:
        assert first.chroms() == second.chroms() == HG38
        for chrom in HG38:
            assert first.intervals(chrom) == second.intervals(chrom), chrom


def table(found: dict[str, dict[str, float]]) -> str:
    columns = {
        "million_bins_a_second": ("million bins/s", "{:.1f}"),
        "faster_processor": ("pyBigWig's processor time / ours", "{:.1f}"),
        "faster_clock": ("pyBigWig's time / ours", "{:.1f}"),
        "size_mb": ("MB", "{:.1f}"),
        "size_ratio": ("size / pyBigWig's", "{:.2f}"),
    }
    rows = [["", *(title for title, _ in columns.values())], ["---"] * (len(columns) + 1)]
    for name, row in found.items():
        rows.append([name, *(form.format(row[key]) if key in row else "" for key, (_, form) in columns.items())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
