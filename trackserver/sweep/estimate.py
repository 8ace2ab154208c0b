"""Estimate what a prediction takes: windows, time (from a short trial run), disk and memory."""

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
from trackserver.sweep.run import predict_chunks

VALUE_BYTES = 4  # in a chunk
BIGWIG_RATIO = 1.0  # size of a bigWig over that of its chunks, at most about this: predictions compress poorly
TRIAL_S = 3.0  # length of the trial run, which takes at least one batch


@dataclass(frozen=True)
class Estimate:
    """What a prediction takes.

    windows, bp : windows read, and bp predicted
    bp_per_second, seconds : of all devices together, from a trial run; the bigWigs are written meanwhile
    disk_needed, disk_free : bytes, for the chunks and the bigWigs
    memory, gpu_memory : peak bytes so far of this process, and of one GPU
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
    return int(sum(plan.n_bins) * tracks * VALUE_BYTES * (1 + BIGWIG_RATIO))


def check_disk_space(plan: Plan, tracks: int, folder: Path, existing_bytes: int = 0) -> None:
    """Raise `NoRoom`, with the number of tracks that fit, if the disk is too full.

    existing_bytes : of chunks that are written already
    """
    bytes_per_track = disk_needed(plan, 1)
    needed, free = bytes_per_track * tracks - existing_bytes, shutil.disk_usage(folder).free
    if needed > free:
        fit = max(free // max(bytes_per_track, 1), 0)
        raise NoRoom(
            f"{tracks:,} tracks of {sum(plan.n_bins):,} bins need {needed / 1e9:,.1f} GB on the disk of {folder}, "
            f"which has {free / 1e9:,.1f} GB free: enough for {fit:,} tracks. Choose fewer with --tracks, or less of "
            "the genome with --regions, or free some space."
        )


def estimate(plan: Plan, predictors: Sequence[Predictor], genome: Genome, folder: Path) -> Estimate:
    """Estimate from some seconds of prediction on the first device; `folder` is where the bigWigs will be."""
    predictor = predictors[0]
    rate = _bp_per_second(plan, predictor, genome) * len(predictors) if plan.chunks else 0.0
    bp = sum(len(piece) for chunk in plan.chunks for piece in chunk)
    return Estimate(
        windows=sum(plan.chunk_size(number)[1] for number in range(len(plan.chunks))),
        bp=bp,
        tracks=len(predictor.tracks),
        devices=tuple(str(predictor.device) for predictor in predictors),
        bp_per_second=rate,
        seconds=bp / rate if rate else 0.0,
        disk_needed=disk_needed(plan, len(predictor.tracks)),
        disk_free=shutil.disk_usage(folder).free,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        gpu_memory=predictor.peak_memory_bytes(),
    )


class _TrialEnd(Exception):
    """Ends the trial run."""


def _bp_per_second(plan: Plan, predictor: Predictor, genome: Genome) -> float:
    """Speed without the first batch, which allocates memory and selects algorithms."""
    ticks: list[tuple[float, int]] = []

    def tick(bins: int, windows: int) -> None:
        ticks.append((time.monotonic(), bins))
        if len(ticks) > 1 and ticks[-1][0] - ticks[0][0] >= TRIAL_S:
            raise _TrialEnd

    try:
        for _ in predict_chunks(predictor, genome, plan, cycle(range(len(plan.chunks))), tick):
            pass
    except _TrialEnd:
        pass
    bins = sum(count for _, count in ticks[1:])
    return bins * plan.card.bin_width / (ticks[-1][0] - ticks[0][0])
