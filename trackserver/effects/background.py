"""What random variants do to a model's tracks: computed once, kept in `backgrounds/`, and held against each effect.

A background is of exactly one model, its weights, a FASTA and a way to read it; none other's percentiles are shown.
Its directory holds `background.json` (where it comes from), `sizes.npy` and `activities.npy`, float32 (T, n), each row
sorted, and appears whole or not at all.
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
from trackserver.variants.random_variants import Draw
from trackserver.variants.scores import Background

PER_WINDOW = 8  # variants that share a window, of which the reference is computed once
CHUNK = 64  # variants: what a kill costs at most
_FORMAT = "1"  # another one where sizes or activities mean something else


@dataclass(frozen=True)
class Draws:
    """Which random variants: how many, and where (the whole genome by default); see `random_variants.Draw` for how."""

    n: int
    seed: int = 1
    per_window: int = PER_WINDOW
    regions: Sequence[Locus] | None = None


@dataclass(frozen=True)
class Plan:
    """Everything a background's numbers depend on; an old run's chunks are used only where all of it is the same."""

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
        """The numbers of the variants of each chunk."""
        return [range(start, min(start + CHUNK, self.n)) for start in range(0, self.n, CHUNK)]


def build(
    site: Site,
    model: str,
    assembly: str,
    draws: Draws,
    *,
    selection: str | None = None,
    ensemble: Ensemble | None = None,
    resume: bool = False,
    report: Progress = no_progress,
) -> dict[str, Any]:
    """Score random substitutions and keep what they do to each track; returns what the background's JSON says.

    A background that the site has of the same model, weights, FASTA and ensemble is replaced. One that another process
    makes of the same question meanwhile is waited for.

    Parameters
    ----------
    ensemble
        By default as the model's authors predict.
    resume
        Go on with what an earlier run of exactly this question left; otherwise that is thrown away.

    Raises
    ------
    InvalidRequest
        The model is for another assembly; the regions hold hardly any known sequence.
    SiteReadOnly
        The site cannot be written.
    """
    site.check_writable()
    card = registry.card(site.models, model)
    ensemble = ensemble or EnsembleOptions().of(card)
    card = ensemble.placed(card)
    if assembly not in card.assemblies:
        raise InvalidRequest(f"Model {card.id} is for {' and '.join(card.assemblies)}, not for {assembly}.")
    plan = _plan(site, card, assembly, draws, select(card, selection), ensemble)
    work, began = site.cache / "background" / plan.id, time.time()
    try:
        work.parent.mkdir(parents=True, exist_ok=True)
        with locked(work.with_name(f".{plan.id}.{LOCK}")):
            made = _made_since(_place(site, _described(site, plan, card, 0.0)), plan, began)
            return made or _computed(site, plan, card, work, resume, report)
    except OSError as error:
        raise SiteReadOnly(f"The background stopped: {error.strerror or error}. Go on with --resume.") from error


def _plan(
    site: Site, card: ModelCard, assembly: str, draws: Draws, tracks: tuple[int, ...], ensemble: Ensemble
) -> Plan:
    reference = site.reference(assembly)
    regions = on_bins(draws.regions or whole_genome(reference.assembly), reference.assembly, 1)
    return Plan(
        card.id, card.weights_sha256, assembly, reference.fasta_sha256(), ensemble, tracks,
        draws.n, draws.seed, draws.per_window, tuple(regions),
    )  # fmt: skip


def _made_since(place: Path, plan: Plan, began: float) -> dict[str, Any] | None:
    """The description of a background that another process has made of the same plan since a moment."""
    file = place / "background.json"
    if not file.exists() or file.stat().st_mtime < began:
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    return found if (found["n"], found["seed"], found["tracks"]) == (plan.n, plan.seed, list(plan.tracks)) else None


def _computed(site: Site, plan: Plan, card: ModelCard, work: Path, resume: bool, report: Progress) -> dict[str, Any]:
    began = time.perf_counter()
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(exist_ok=True)
    parts = _chunks(site, plan, card, work, report)
    described = _described(site, plan, card, time.perf_counter() - began)
    _keep(_place(site, described), described, np.sort(np.concatenate(parts, axis=2), axis=2))
    shutil.rmtree(work)
    return described


def _chunks(site: Site, plan: Plan, card: ModelCard, work: Path, report: Progress) -> list[NDArray[np.float32]]:
    """Sizes and activities of each chunk, float32 (2, T, m), from an earlier run's files where they are."""
    draw = Draw(
        site.reference(plan.assembly).genome,
        site.assembly(plan.assembly),
        card,
        plan.regions,
        plan.seed,
        plan.per_window,
    )
    parts = []
    for number, chunk in enumerate(plan.chunks):
        path = work / f"chunk-{number:06d}.npy"
        if not path.exists():
            values = _scored(site, plan, card, [draw.variant(index) for index in chunk], chunk.start, report)
            with whole_file(path) as part, part.open("wb") as file:
                np.save(file, values)
        report(chunk.stop, plan.n)
        parts.append(np.load(path))
    return parts


def _scored(
    site: Site, plan: Plan, card: ModelCard, variants: Sequence[Variant], before: int, report: Progress
) -> NDArray[np.float32]:
    predictor = models.predictor(site, plan.model, plan.weights_sha256, plan.tracks, plan.ensemble)
    genome, assembly, cones = site.reference(plan.assembly).genome, site.assembly(plan.assembly), models.cones(site)
    values = np.empty((2, len(plan.tracks), len(variants)), np.float32)
    for number, variant in enumerate(variants):
        scored = effect(predictor, genome, assembly, [variant], cones).scores
        values[0, :, number], values[1, :, number] = scored["size"], scored["activity"]
        report(before + number + 1, plan.n)
    return values


def _described(site: Site, plan: Plan, card: ModelCard, seconds: float) -> dict[str, Any]:
    whole = plan.regions == tuple(on_bins(whole_genome(site.assembly(plan.assembly)), site.assembly(plan.assembly), 1))
    return {
        **provenance(card, plan.assembly, plan.fasta_sha256, plan.ensemble, seconds=round(seconds, 1)),
        "ensemble": plan.ensemble.options(),
        "tracks": list(plan.tracks),
        "n": plan.n,
        "seed": plan.seed,
        "per_window": plan.per_window,
        "drawn": "random substitutions, uniform over known bases",
        "regions": None if whole else {"count": len(plan.regions), "bases": sum(map(len, plan.regions))},
    }


def _keep(place: Path, described: dict[str, Any], values: NDArray[np.float32]) -> None:
    """Whole or not at all; values (2, T, n), sorted."""
    with whole_folder(place, replace=True) as part:
        np.save(part / "sizes.npy", values[0])
        np.save(part / "activities.npy", values[1])
        (part / "background.json").write_text(json.dumps(described, indent=1, allow_nan=False))


def _place(site: Site, of: Mapping[str, Any]) -> Path:
    """Where the background of a model, an assembly, and the rest that must be the same, lies or would lie."""
    same = [_FORMAT, of["weights_sha256"], of["fasta_sha256"], of["ensemble"]]
    return site.path / "backgrounds" / f"{of['model']}-{of['assembly']}-{digest(same)}"


# --- Held against effects --------------------------------------------------------------------------------------------


def with_percentiles(site: Site, described: dict[str, Any]) -> dict[str, Any]:
    """An effect's description with each track's percentiles; as it is where no background is exactly its own.

    They are added as it is answered, not kept: a background may be made, or made anew, after the effect.
    """
    question, provenance = described["question"], described["provenance"]
    if not all("size" in track and "activity" in track for track in described["tracks"]) or "ensemble" not in question:
        return described  # of an older version
    place = _place(site, provenance | {"ensemble": {key: question[key] for key in Ensemble().options()}})
    if not (identity := identity_at(place / "background.json")):
        return described
    background, about = _opened(place, identity)
    tracks = [track | _percentiles(background, track) for track in described["tracks"]]
    return described | {"tracks": tracks, "provenance": provenance | {"background": about}}


def _percentiles(background: Background, track: Mapping[str, Any]) -> dict[str, float]:
    found = background.percentiles(track["index"], track["size"], track["activity"])
    return dict(zip(("effect_percentile", "activity_percentile"), found, strict=True)) if found else {}


@lru_cache(32)
def _opened(place: Path, identity: str) -> tuple[Background, dict[str, Any]]:
    """A background, mapped into memory, and what is said of it; `identity` tells one from what replaces it."""
    try:
        about = json.loads((place / "background.json").read_text())
        sizes, activities = (np.load(place / f"{name}.npy", mmap_mode="r") for name in ("sizes", "activities"))
    except (OSError, ValueError) as error:
        raise DataError(f"The background {place.name} is damaged; delete {place}, or make it anew.") from error
    said = {key: about[key] for key in ("n", "seed", "drawn", "regions", "date")}
    return Background(tuple(about["tracks"]), sizes, activities), said
