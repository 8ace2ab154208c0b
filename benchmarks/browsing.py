"""What the tile benchmarks browse: ten whole-genome signals and a contact map, and how people walk over them.

Only numpy is needed at the top, so the environment that clodius runs in can read this file too.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from math import ceil, floor, log2
from pathlib import Path

import numpy as np

# GRCh38's assembled chromosomes in drawing order, as UCSC's hg38.chrom.sizes has them.
HG38 = {
    "chr1": 248_956_422, "chr2": 242_193_529, "chr3": 198_295_559, "chr4": 190_214_555, "chr5": 181_538_259,
    "chr6": 170_805_979, "chr7": 159_345_973, "chr8": 145_138_636, "chr9": 138_394_717, "chr10": 133_797_422,
    "chr11": 135_086_622, "chr12": 133_275_309, "chr13": 114_364_328, "chr14": 107_043_718, "chr15": 101_991_189,
    "chr16": 90_338_345, "chr17": 83_257_441, "chr18": 80_373_285, "chr19": 58_617_616, "chr20": 64_444_167,
    "chr21": 46_709_983, "chr22": 50_818_468, "chrX": 156_040_895, "chrY": 57_227_415,
}  # fmt: skip
LENGTH = sum(HG38.values())
TILE_SIZE, MAX_ZOOM = 1024, 22
MAX_WIDTH = TILE_SIZE << MAX_ZOOM
BIN = 128
TRACKS = 10
IDS_A_REQUEST = 15  # HiGlass's MAX_FETCH_TILES
SCREEN = 1200  # pixels a track is wide

SIDE = 256  # bins of a matrix tile
MAP = "map"
RESOLUTIONS = (10_000_000, 5_000_000, 2_500_000, 1_000_000, 500_000, 250_000, 100_000, 50_000, 25_000)
CONTACTS = 12_000_000  # pixels at the finest resolution

# One request: tile ids.
Requests = list[list[str]]


def write_signal(path: Path, chromsizes: dict[str, int], seed: int = 0) -> None:
    """A smooth random signal in 128-bp bins, as a bedGraph, with gaps as assemblies and reads leave them."""
    import pyBigWig

    rng = np.random.default_rng(seed)
    partial = path.with_name(f".{path.name}.partial")
    with pyBigWig.open(str(partial), "w") as writer:
        writer.addHeader(list(chromsizes.items()))
        for chrom, size in chromsizes.items():
            starts = np.arange(0, size, BIN, dtype=np.int64)
            kept = ~_gaps(rng, len(starts))
            starts, values = starts[kept], _smooth(rng, len(starts))[kept]
            ends = np.minimum(starts + BIN, size)
            writer.addEntries(np.repeat(chrom, len(starts)), starts, ends=ends, values=values)
    partial.rename(path)


def _smooth(rng: np.random.Generator, n: int) -> np.ndarray:
    """Non-negative, with structure at several scales, at the precision of a text file."""
    signal = np.zeros(n)
    for width in (1, 8, 200):
        noise = rng.gamma(0.5, 1.0, n // width + 2)
        signal += np.interp(np.arange(n) / width, np.arange(len(noise)), noise)
    return np.round(signal, 4)


def _gaps(rng: np.random.Generator, n: int) -> np.ndarray:
    """One gap of 2 % such as a centromere, and short ones every few hundred bins."""
    gap = np.zeros(n, bool)
    middle = int(n * rng.uniform(0.3, 0.5))
    gap[middle : middle + n // 50] = True
    for start in rng.integers(0, n, n // 800):
        gap[start : start + int(rng.integers(1, 20))] = True
    return gap


def write_map(path: Path, chromsizes: dict[str, int], contacts: int = CONTACTS, seed: int = 0) -> None:
    """Contacts that thin out with distance, most of them within a chromosome, balanced by random weights."""
    import cooler
    import h5py
    import pandas as pd

    rng = np.random.default_rng(seed)
    base, coarser = RESOLUTIONS[-1], RESOLUTIONS[:-1]
    bins = cooler.binnify(pd.Series(chromsizes), base)
    first = rng.integers(0, len(bins), contacts)
    near = np.exp(rng.uniform(0, np.log(len(bins) / 20), contacts)).astype(np.int64) - 1
    far = rng.random(contacts) < 0.05
    second = np.where(far, rng.integers(0, len(bins), contacts), np.minimum(first + near, len(bins) - 1))
    pairs, counts = np.unique(np.minimum(first, second) * len(bins) + np.maximum(first, second), return_counts=True)
    pixels = pd.DataFrame({"bin1_id": pairs // len(bins), "bin2_id": pairs % len(bins), "count": counts})
    plain, partial = path.with_suffix(".cool"), path.with_name(f".{path.name}.partial")
    cooler.create_cooler(str(plain), bins, pixels, ordered=True)
    cooler.zoomify_cooler(str(plain), str(partial), [*coarser, base], chunksize=10_000_000)
    with h5py.File(partial, "r+") as file:
        for resolution in RESOLUTIONS:
            table = file[f"resolutions/{resolution}/bins"]
            weights = rng.lognormal(0, 0.3, len(table["start"]))
            weights[rng.random(len(weights)) < 0.03] = np.nan
            table.create_dataset("weight", data=weights, compression="gzip")
    plain.unlink()
    partial.rename(path)


def signals(folder: Path) -> list[Path]:
    """Ten files of their own, not links: whatever is known of one must be found out anew for the next."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"signal{number}.bw" for number in range(TRACKS)]
    if not paths[0].exists():
        write_signal(paths[0], HG38)
    for path in paths[1:]:
        if not path.exists():
            shutil.copyfile(paths[0], path)
    return paths


def uids() -> list[str]:
    return [f"signal{number}" for number in range(TRACKS)]


def walk(seed: int) -> Requests:
    """The requests of one person's visit to ten tracks, in the order HiGlass sends them."""
    return _requests([visible(start, end) for start, end in views(seed)])


def map_walk(seed: int) -> Requests:
    """The requests of one person's visit to a contact map."""
    return _requests([visible_map(start, end) for start, end in views(seed) if end - start > 500_000])


def _requests(seen: list[list[str]]) -> Requests:
    """What each view asks for: the tiles that the view before did not show, for no others are kept.

    The first track's go out at once; what the others ask for meanwhile is collected and sent by fifteen.
    """
    requests: Requests = []
    for before, now in zip([[], *seen], seen, strict=False):
        fresh = [tile for tile in now if tile not in set(before)]
        first = [tile for tile in fresh if tile.partition(".")[0] == fresh[0].partition(".")[0]]
        for tiles in (first, fresh[len(first) :]):
            requests += [tiles[i : i + IDS_A_REQUEST] for i in range(0, len(tiles), IDS_A_REQUEST)]
    return requests


def visible(start: float, end: float) -> list[str]:
    """The tiles that HiGlass 2.3.5 shows of ten 1-D pyramids."""
    sharper = max(0, ceil(log2(SCREEN / 384))) + floor(8 - log2(TILE_SIZE))
    zoom = min(max(round(log2(max(LENGTH / (end - start), 1))) + sharper, 0), MAX_ZOOM)
    width = MAX_WIDTH / 2**zoom
    places = range(max(0, floor(start / width)), min(2**zoom, ceil(end / width)))
    return [f"{uid}.{zoom}.{x}" for uid in uids() for x in places]


def visible_map(start: float, end: float) -> list[str]:
    """The tiles of a symmetric matrix of several resolutions: the finest whose bins are wider than a pixel."""
    fine = [number for number, bp in enumerate(RESOLUTIONS) if (end - start) / bp < SCREEN]
    zoom = fine[-1] if fine else 0
    width = RESOLUTIONS[zoom] * SIDE
    places = range(max(0, floor(start / width)), ceil(min(end, LENGTH) / width))
    return [f"{MAP}.{zoom}.{x}.{y}.default" for x in places for y in places if x <= y]


def views(seed: int) -> Iterator[tuple[float, float]]:
    """Genome, chromosome, gene, base, a look around at each, and back to the gene; a gesture halves what is seen."""
    rng = random.Random(seed)
    centre, span = LENGTH / 2, float(LENGTH)
    target = rng.uniform(0.02, 0.98) * LENGTH
    yield 0.0, float(LENGTH)
    for goal, pans in ((200e6, 3), (20e6, 2), (1e6, 3), (100e3, 4), (10e3, 2), (300, 3), (60e3, 2)):
        while span > goal or span * 1.9 < goal:
            span = span / 2 if span > goal else span * 2
            centre = target + (centre - target) * min(1.0, span / LENGTH)
            yield _held(centre, span)
        for _ in range(pans):
            target = centre = centre + rng.choice((-0.6, 0.4, 0.6)) * span
            yield _held(centre, span)


def _held(centre: float, span: float) -> tuple[float, float]:
    start = min(max(centre - span / 2, 0.0), LENGTH - span)
    return start, start + span
