"""Fit a compact model to observed bigWigs.

`train` reads the targets, fits, selects the weights that did best on the valid fold, and writes a model directory
(card, weights, metrics.tsv) whole or not at all. On the CPU, the same seed and number of threads give the same
weights, unless `minutes` run out first.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trackserver.agreement import metrics
from trackserver.errors import DataError, InvalidRequest, listing, needing_torch
from trackserver.genome.assembly import Assembly
from trackserver.genome.regions import on_bins
from trackserver.genome.sequence import Genome
from trackserver.models import registry
from trackserver.models.card import ModelCard, write_card
from trackserver.models.folds import FOLDS
from trackserver.predict.provenance import version_and_date
from trackserver.progress import StageProgress
from trackserver.storage import sha256
from trackserver.training.evaluation import evaluate
from trackserver.training.targets import FoldWindow, TrainingTrack, Window, load_windows, of_fold, read_folds

with needing_torch():
    import torch

    from trackserver.models.compact import Compact, margin
    from trackserver.models.weights import save_weights
    from trackserver.predict.engine import Predictor, allow_tf32, resolve_device
    from trackserver.training.crops import flank, mean_and_variance
    from trackserver.training.fitting import Clock, FitResult, Goal, StageProgress, fit, seeded
    from trackserver.training.recipe import Recipe, read_recipe

__all__ = ["Recipe", "TrainingTrack", "read_folds", "read_recipe", "train"]

METRICS = "metrics.tsv"


@dataclass(frozen=True)
class TrainingRun:
    """Time limit, seed and device of a training run.

    minutes : wall-clock limit for reading and fitting, over which the learning rate decays; training may end earlier by
        the recipe's steps or patience
    """

    minutes: float | None = None
    seed: int = 0
    device: str = "auto"


def train(
    tracks: Sequence[TrainingTrack],
    genome: Genome,
    folds: Sequence[FoldWindow],
    directory: str | os.PathLike[str],
    *,
    assembly: Assembly,
    recipe: Recipe | None = None,
    run: TrainingRun = TrainingRun(),
    overwrite: bool = False,
    progress: StageProgress = lambda done, message: None,
) -> ModelCard:
    """Fit a compact model and write it to a directory, whose name becomes the model's id.

    Parameters
    ----------
    tracks
        Tracks to learn, numbered 0, 1, 2 ... in order (`Track.index`, and `Track.strand_pair` likewise); each track's
        mean is filled in. Either all of them have the loss `peaks`, or none.
    folds
        From `read_folds`. The valid fold decides when to stop; the test fold is only evaluated.
    overwrite
        Replace an existing model.

    Returns
    -------
    ModelCard
        As written; `metrics[fold]` has a list for each metric, with a number per track (`metrics.as_lists`).

    Raises
    ------
    InvalidRequest
        The directory's name is not a model id, or it is not empty; tracks are misnumbered, or losses mixed.
    DataError
        A bigWig or the FASTA cannot be read, or a track has no signal in the train windows.
    """
    recipe, directory = recipe or Recipe(), Path(directory)
    _check_request(tracks, directory, overwrite)
    clock = Clock(recipe.steps, run.minutes)
    progress(0.0, "reading targets")
    windows = _windows(tracks, genome, assembly, folds, recipe, progress)
    goal = _goal(tracks, of_fold(windows, "train"), recipe)
    card = _draft(goal, directory.resolve().name, assembly)
    allow_tf32(False)
    with seeded(run.seed), registry.staging_folder(directory) as stage:
        result = fit(goal, card, windows, clock, run.seed, resolve_device(run.device), progress)
        progress(0.95, "evaluating")
        card = replace(
            card, provenance=_provenance(goal, genome, result, clock, run.seed) | {"folds": _folds(windows, assembly)}
        )
        card = _write(stage, card, result, windows, goal)
    progress(1.0, "done")
    return card


def _check_request(tracks: Sequence[TrainingTrack], directory: Path, overwrite: bool) -> None:
    if not registry.is_id(directory.resolve().name):
        raise InvalidRequest(f"'{directory.name}' cannot be a model's id; use only letters, digits, _ and -.")
    _check_directory(directory, overwrite)
    if [track.track.index for track in tracks] != list(range(len(tracks))) or not tracks:
        raise InvalidRequest("Give at least one track to train on, and number the tracks 0, 1, 2 and so on.")
    if len({track.loss == "peaks" for track in tracks}) > 1:
        raise InvalidRequest("A model learns either peaks (probabilities) or signal, not both: train two models.")


def _check_directory(directory: Path, overwrite: bool) -> None:
    if directory.exists() and not directory.is_dir():
        raise InvalidRequest(f"{directory} is a file; give a directory for the model.")
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    if names and not overwrite:
        raise InvalidRequest(f"{directory} is not empty; choose another directory, or overwrite its model.")
    if other := names - {registry.CARD, registry.WEIGHTS, METRICS}:
        # Overwriting deletes the whole directory.
        raise InvalidRequest(
            f"{directory} has other files besides a model ({listing(sorted(other))}), so it is not overwritten."
        )


def _windows(
    tracks: Sequence[TrainingTrack],
    genome: Genome,
    assembly: Assembly,
    folds: Sequence[FoldWindow],
    recipe: Recipe,
    progress: StageProgress,
) -> list[Window]:
    windows = load_windows(
        folds,
        [track.path for track in tracks],
        genome,
        assembly,
        step=recipe.step,
        flank=lambda length: flank(recipe, margin(recipe.network), length),
        uncovered=recipe.uncovered,
        tick=lambda done: progress(0.05 * done, "reading targets"),
    )
    if not any(np.isfinite(window.targets).any() for window in of_fold(windows, "valid")):
        raise DataError(
            "No track has a value in the windows of the valid fold, so training could not decide when to stop."
        )
    return windows


def _goal(tracks: Sequence[TrainingTrack], windows: Sequence[Window], recipe: Recipe) -> Goal:
    factor = recipe.network.bin_width // recipe.step
    means, variances = mean_and_variance(windows, [track.scale for track in tracks], factor)
    for track, mean in zip(tracks, means, strict=True):
        if not mean > 0:
            raise DataError(f"{track.path} has no signal in the train windows, so it cannot be trained on.")
    track_means = tuple(float(mean) for mean in means)
    tracks_with_means = tuple(
        replace(track, track=replace(track.track, mean=mean)) for track, mean in zip(tracks, track_means, strict=True)
    )
    if tracks[0].loss == "peaks":
        recipe = replace(recipe, network=replace(recipe.network, activation="sigmoid"))
    return Goal(tracks_with_means, track_means, variances, recipe)


def _draft(goal: Goal, model_id: str, assembly: Assembly) -> ModelCard:
    """The card of a model that has no weights yet."""
    network = goal.recipe.network
    names = sorted({track.track.assay for track in goal.tracks} - {""})
    return ModelCard(
        id=model_id,
        architecture="compact",
        title=f"{model_id}: compact model of {len(goal.tracks)} {' and '.join(names)} tracks".replace("  ", " "),
        assemblies=(assembly.name,),
        window=goal.recipe.window,
        crop=margin(network),
        shortest=2 * margin(network) + network.bin_width,
        bin_width=network.bin_width,
        tracks=tuple(track.track for track in goal.tracks),
        config=asdict(network),
        weights_sha256="",
        summary="Trained here on observed tracks; see its metrics and provenance.",
        citation="Architecture after Basenji: Kelley et al., Genome Research 2018.",
        probability=network.activation == "sigmoid",
    )


def _provenance(goal: Goal, genome: Genome, result: FitResult, clock: Clock, seed: int) -> dict[str, Any]:
    return {
        "trained_on": [{"file": track.path.name, "accession": track.track.accession} for track in goal.tracks],
        "losses": [{"loss": track.loss, "scale": track.scale} for track in goal.tracks],
        "fasta": genome.path.name,
        "seed": seed,
        "recipe": asdict(goal.recipe),
        "steps": result.steps,
        "best_step": result.step,
        "valid_score": result.score,
        "seconds": round(clock.seconds(), 1),
        **version_and_date(),
        "torch": torch.__version__,
    }


def _folds(windows: Sequence[Window], assembly: Assembly) -> dict[str, list[list[str | int]]]:
    """The regions of each fold, `[chrom, start, end]`, so that an effect can tell whether it lies in one."""
    loci = {fold: on_bins([window.locus for window in of_fold(windows, fold)], assembly, 1) for fold in FOLDS}
    return {fold: [[locus.chrom, locus.start, locus.end] for locus in regions] for fold, regions in loci.items()}


def _write(stage: Path, card: ModelCard, result: FitResult, windows: Sequence[Window], goal: Goal) -> ModelCard:
    """Write the weights, evaluate them as written, and write the metrics and the card."""
    network = Compact(goal.recipe.network, len(goal.tracks))
    network.load_state_dict(result.state)
    path = stage / registry.WEIGHTS
    save_weights(network.state_dict(), path, half=goal.recipe.half)
    card = replace(card, weights_sha256=sha256(path))
    predictor = Predictor(card, registry.read_module(card, path), "cpu")
    by_fold = {fold: evaluate(predictor, of_fold(windows, fold), goal.factor) for fold in FOLDS}
    card = replace(card, metrics={fold: metrics.as_lists(tracks) for fold, tracks in by_fold.items() if tracks})
    _write_table(stage / METRICS, card)
    write_card(card, stage / registry.CARD)
    return card


def _write_table(path: Path, card: ModelCard) -> None:
    """One row per fold and track; an undefined metric is an empty cell."""
    columns = (*metrics.NAMES, "bins", "left_out")
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(("fold", "index", "name", "assay", "biosample", "strand", "accession", *columns))
        for fold, lists in card.metrics.items():
            for track in card.tracks:
                labels = (track.name, track.assay, track.biosample, track.strand, track.accession)
                table.writerow((fold, track.index, *labels, *(lists[name][track.index] for name in columns)))
