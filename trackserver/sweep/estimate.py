"""What a prediction will take: windows, time from a short run, disk and memory."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from trackserver.errors import NoRoom
from trackserver.genome.sequence import Genome
from trackserver.predict.engine import Predictor
from trackserver.sweep.plan import Plan
from trackserver.sweep.run import predicted

VALUE = 4  # bytes a value has in a chunk
PACKED = 1.0  # of that, about the most a bigWig takes: predictions hardly repeat themselves
SECONDS = 3.0  # a short run lasts about so long, and at least a batch


@dataclass(frozen=True)
class Estimate:
    """What a prediction will take.

    windows, bp : how many are read, and what is predicted
    bp_per_second, seconds : of all devices together, from a short run; the bigWigs are written meanwhile
    disk_needed, disk_free : bytes, of the chunks and the bigWigs
    memory : bytes of this process so far, of which most is the model's; gpu_memory : the most that was used of a GPU
    """

    windows: int
    bp: int
    tracks: int
    devices: tuple[str, ...]
    bp_per_second: float
    seconds: float
    disk_needed: int
    disk_free: int
    memory: int
    gpu_memory: int


def disk_needed(plan: Plan, tracks: int) -> int:
    """Bytes for the chunks of a plan and for its bigWigs."""
    return int(sum(plan.n_bins) * tracks * VALUE * (1 + PACKED))


def check_room(plan: Plan, tracks: int, place: Path, already: int = 0) -> None:
    """Raise `NoRoom` where the disk will not do, saying what would; `already` are bytes that are there."""
    each = disk_needed(plan, 1)
    needed, free = each * tracks - already, shutil.disk_usage(place).free
    if needed > free:
        fit = max(free // max(each, 1), 0)
        raise NoRoom(
            f"{tracks:,} tracks of {sum(plan.n_bins):,} bins need {needed / 1e9:,.1f} GB on the disk of {place}, which "
            f"has {free / 1e9:,.1f} GB free: enough for {fit:,} tracks. Choose fewer with --tracks, or less of the "
            "genome with --regions, or make room."
        )


def estimate(plan: Plan, predictors: Sequence[Predictor], genome: Genome, place: Path) -> Estimate:
    """Predict for some seconds on the first device, and tell from that; `place` is where the bigWigs will lie."""
    predictor = predictors[0]
    rate = _bp_per_second(plan, predictor, genome) * len(predictors) if plan.chunks else 0.0
    bp = sum(len(piece) for chunk in plan.chunks for piece in chunk)
    return Estimate(
        windows=sum(plan.amount(number)[1] for number in range(len(plan.chunks))),
        bp=bp,
        tracks=len(predictor.tracks),
        devices=tuple(str(predictor.device) for predictor in predictors),
        bp_per_second=rate,
        seconds=bp / rate if rate else 0.0,
        disk_needed=disk_needed(plan, len(predictor.tracks)),
        disk_free=shutil.disk_usage(place).free,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        gpu_memory=predictor.most_memory(),
    )


class _Enough(Exception):
    """Ends the short run."""


def _bp_per_second(plan: Plan, predictor: Predictor, genome: Genome) -> float:
    """The first batch is not counted: it finds its memory, and its fastest way."""
    seen: list[tuple[float, int]] = []

    def tick(bins: int, windows: int) -> None:
        seen.append((time.monotonic(), bins))
        if len(seen) > 1 and seen[-1][0] - seen[0][0] >= SECONDS:
            raise _Enough

    try:
        for _ in predicted(predictor, genome, plan, cycle(range(len(plan.chunks))), tick):
            pass
    except _Enough:
        pass
    bins = sum(count for _, count in seen[1:])
    return bins * plan.card.bin_width / (seen[-1][0] - seen[0][0])
