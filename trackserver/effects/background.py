"""Backgrounds: the effects of random variants on a model's tracks, which give every effect its percentiles.

A background is valid for exactly one model, its weights, a FASTA and an ensemble. It is computed once and stored in a
folder of `backgrounds/`, with `background.json` (its provenance), `sizes.npy` and `activities.npy`, float32 (T, n),
each row sorted. The folder appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.catalogue.site import Site
from trackserver.effects import models
from trackserver.errors import DataError, InvalidRequest, SiteReadOnly
from trackserver.genome.locus import Locus
from trackserver.genome.regions import on_bins, whole_genome
from trackserver.genome.variant import Variant
from trackserver.models import registry
from trackserver.models.card import ModelCard, select
from trackserver.predict.ensemble import Ensemble, EnsembleOptions
from trackserver.predict.provenance import provenance
from trackserver.progress import Progress, no_progress
from trackserver.sources.source import identity_at
from trackserver.storage import LOCK, digest, locked, whole_file, whole_folder
from trackserver.variants.effect import effect
from trackserver.variants.random_variants import RandomVariants
from trackserver.variants.scores import Background

PER_WINDOW = 8  # variants that share a window, so that its reference is computed once
CHUNK = 64  # variants between two writes, and the most that a kill loses
_FORMAT = "1"  # change it when sizes or activities are defined anew, so that old backgrounds do not match


@dataclass(frozen=True)
class DrawOptions:
    """How many random variants to draw, and where; None is the whole genome. See `random_variants.RandomVariants`."""

    n: int
    seed: int = 1
    per_window: int = PER_WINDOW
    regions: Sequence[Locus] | None = None


@dataclass(frozen=True)
class BackgroundPlan:
    """Everything a background's numbers depend on; chunks of an earlier run are reused only if all of it is equal."""

    model: str
    weights_sha256: str
    assembly: str
    fasta_sha256: str
    ensemble: Ensemble
    tracks: tuple[int, ...]
    n: int
    seed: int
    per_window: int
    regions: tuple[Locus, ...]

    @property
    def id(self) -> str:
        return digest([_FORMAT, asdict(self)])

    @property
    def chunks(self) -> list[range]:
        """The variants' numbers in each chunk."""
        return [range(start, min(start + CHUNK, self.n)) for start in range(0, self.n, CHUNK)]


def build(
    site: Site,
    model: str,
    assembly: str,
    draws: DrawOptions,
    *,
    selection: str | None = None,
    ensemble: Ensemble | None = None,
    resume: bool = False,
    report: Progress = no_progress,
) -> dict[str, Any]:
    """Score random substitutions and store their sizes on each track; returns the background's JSON.

    Replaces the site's background of the same model, weights, FASTA and ensemble. If another process is computing the
    same background, waits for it and returns its result.

    Parameters
    ----------
    ensemble
        By default the model's own.
    resume
        Continue an earlier run with the same plan; otherwise its chunks are deleted.

    Raises
    ------
    InvalidRequest
        The model is for another assembly, or the regions have hardly any known sequence.
    SiteReadOnly
        The site cannot be written to.
    """
    site.check_writable()
    card = registry.card(site.models, model)
    ensemble = ensemble or EnsembleOptions().resolve(card)
    card = ensemble.place_variants(card)
    if assembly not in card.assemblies:
        raise InvalidRequest(f"Model {card.id} is for {' and '.join(card.assemblies)}, not for {assembly}.")
    plan = _plan(site, card, assembly, draws, select(card, selection), ensemble)
    work, began = site.cache / "background" / plan.id, time.time()
    try:
        work.parent.mkdir(parents=True, exist_ok=True)
        with locked(work.with_name(f".{plan.id}.{LOCK}")):
            newer = _newer_background(_folder(site, _describe(site, plan, card, 0.0)), plan, began)
            return newer or _compute(site, plan, card, work, resume, report)
    except OSError as error:
        raise SiteReadOnly(
            f"The background stopped: {error.strerror or error}. Make room, then continue with --resume."
        ) from error


def _plan(
    site: Site, card: ModelCard, assembly: str, draws: DrawOptions, tracks: tuple[int, ...], ensemble: Ensemble
) -> BackgroundPlan:
    reference = site.reference(assembly)
    regions = on_bins(draws.regions or whole_genome(reference.assembly), reference.assembly, 1)
    return BackgroundPlan(
        card.id, card.weights_sha256, assembly, reference.fasta_sha256(), ensemble, tracks,
        draws.n, draws.seed, draws.per_window, tuple(regions),
    )  # fmt: skip


def _newer_background(folder: Path, plan: BackgroundPlan, began: float) -> dict[str, Any] | None:
    """The description of a background that another process has stored for the same plan since `began`."""
    file = folder / "background.json"
    if not file.exists() or file.stat().st_mtime < began:
        return None
    newer: dict[str, Any] = json.loads(file.read_text())
    return newer if (newer["n"], newer["seed"], newer["tracks"]) == (plan.n, plan.seed, list(plan.tracks)) else None


def _compute(
    site: Site, plan: BackgroundPlan, card: ModelCard, work: Path, resume: bool, report: Progress
) -> dict[str, Any]:
    began = time.perf_counter()
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(exist_ok=True)
    parts = _chunks(site, plan, card, work, report)
    description = _describe(site, plan, card, time.perf_counter() - began)
    _write(_folder(site, description), description, np.sort(np.concatenate(parts, axis=2), axis=2))
    shutil.rmtree(work)
    return description


def _chunks(
    site: Site, plan: BackgroundPlan, card: ModelCard, work: Path, report: Progress
) -> list[NDArray[np.float32]]:
    """Sizes and activities of each chunk, float32 (2, T, m), read from an earlier run's files if they exist."""
    reference = site.reference(plan.assembly)
    random_variants = RandomVariants(
        reference.genome, reference.assembly, card, plan.regions, plan.seed, plan.per_window
    )
    parts = []
    for number, chunk in enumerate(plan.chunks):
        path = work / f"chunk-{number:06d}.npy"
        if not path.exists():
            variants = [random_variants.variant(index) for index in chunk]
            values = _score(site, plan, variants, chunk.start, report)
            with whole_file(path) as part, part.open("wb") as file:
                np.save(file, values)
        report(chunk.stop, plan.n)
        parts.append(np.load(path))
    return parts


def _score(
    site: Site, plan: BackgroundPlan, variants: Sequence[Variant], before: int, report: Progress
) -> NDArray[np.float32]:
    """Sizes and activities (2, T, m) of a chunk; `before` is the number of variants in earlier chunks."""
    predictor = models.predictor(site, plan.model, plan.weights_sha256, plan.tracks, plan.ensemble)
    reference, cones = site.reference(plan.assembly), models.cones(site)
    values = np.empty((2, len(plan.tracks), len(variants)), np.float32)
    for number, variant in enumerate(variants):
        scores = effect(predictor, reference.genome, reference.assembly, [variant], cones).scores
        values[0, :, number], values[1, :, number] = scores["size"], scores["activity"]
        report(before + number + 1, plan.n)
    return values


def _describe(site: Site, plan: BackgroundPlan, card: ModelCard, seconds: float) -> dict[str, Any]:
    assembly = site.assembly(plan.assembly)
    is_whole_genome = plan.regions == tuple(on_bins(whole_genome(assembly), assembly, 1))
    return {
        **provenance(card, plan.assembly, plan.fasta_sha256, plan.ensemble, seconds=round(seconds, 1)),
        "ensemble": plan.ensemble.options(),
        "tracks": list(plan.tracks),
        "n": plan.n,
        "seed": plan.seed,
        "per_window": plan.per_window,
        "drawn": "random substitutions, uniform over known bases",
        "regions": None if is_whole_genome else {"count": len(plan.regions), "bases": sum(map(len, plan.regions))},
    }


def _write(folder: Path, description: dict[str, Any], values: NDArray[np.float32]) -> None:
    """Write a background, whole or not at all; `values` are (2, T, n), sorted."""
    with whole_folder(folder, replace=True) as part:
        np.save(part / "sizes.npy", values[0])
        np.save(part / "activities.npy", values[1])
        (part / "background.json").write_text(json.dumps(description, indent=1, allow_nan=False))


def _folder(site: Site, identity: Mapping[str, Any]) -> Path:
    """The folder of the background with this model, assembly, weights, FASTA and ensemble, whether it exists or not."""
    key = digest([_FORMAT, identity["weights_sha256"], identity["fasta_sha256"], identity["ensemble"]])
    return site.path / "backgrounds" / f"{identity['model']}-{identity['assembly']}-{key}"


# --- Percentiles -----------------------------------------------------------------------------------------------------


def with_percentiles(site: Site, description: dict[str, Any]) -> dict[str, Any]:
    """Add each track's percentiles to an effect's description, if the site has a matching background.

    They are not stored with the effect, because a background may be computed, or replaced, after it.
    """
    question, provenance = description["question"], description["provenance"]
    if (
        not all("size" in track and "activity" in track for track in description["tracks"])
        or "ensemble" not in question
    ):
        return description  # stored by an older version
    folder = _folder(site, provenance | {"ensemble": {key: question[key] for key in Ensemble().options()}})
    if not (identity := identity_at(folder / "background.json")):
        return description
    background, background_provenance = _load(folder, identity)
    tracks = [track | _percentiles(background, track) for track in description["tracks"]]
    return description | {"tracks": tracks, "provenance": provenance | {"background": background_provenance}}


def _percentiles(background: Background, track: Mapping[str, Any]) -> dict[str, float]:
    percentiles = background.percentiles(track["index"], track["size"], track["activity"])
    return dict(zip(("effect_percentile", "activity_percentile"), percentiles, strict=True)) if percentiles else {}


@lru_cache(32)
def _load(folder: Path, identity: str) -> tuple[Background, dict[str, Any]]:
    """A background, memory-mapped, and its provenance; `identity` changes if the background is replaced."""
    try:
        description = json.loads((folder / "background.json").read_text())
        sizes, activities = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("sizes", "activities"))
    except (OSError, ValueError) as error:
        raise DataError(f"The background {folder.name} is damaged; delete {folder}, or compute it again.") from error
    provenance = {key: description[key] for key in ("n", "seed", "drawn", "regions", "date")}
    return Background(tuple(description["tracks"]), sizes, activities), provenance
