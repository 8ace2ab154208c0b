"""What random variants do to a model's tracks: computed once, kept in `backgrounds/`, and held against each effect.

A background is of exactly one model, its weights, a FASTA and a way to read it; none other's percentiles are shown.
Its directory holds `background.json` (where it comes from), `sizes.npy` and `activities.npy`, float32 (T, n), each row
sorted, and appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver import __version__
from trackserver.catalogue import loaded
from trackserver.catalogue.site import Site
from trackserver.errors import DataError, InvalidRequest, SiteReadOnly
from trackserver.genome.locus import Locus
from trackserver.genome.variant import Variant
from trackserver.models import registry
from trackserver.models.card import ModelCard, select
from trackserver.predict.reading import Reading, reading
from trackserver.predict.windows import on_bins, whole_genome
from trackserver.tiles.source import identity_at
from trackserver.variants.draw import Draw
from trackserver.variants.effect import effect
from trackserver.variants.scores import Background, columns

PER_WINDOW = 8  # variants that share a window, of which the reference is computed once
CHUNK = 64  # variants: what a kill costs at most
_FORMAT = "1"  # another one where sizes or activities mean something else

Report = Callable[[int, int], None]  # (variants done, variants in all)


@dataclass(frozen=True)
class Plan:
    """Everything a background's numbers depend on; an old run's chunks are used only where all of it is the same."""

    model: str
    weights_sha256: str
    assembly: str
    fasta_sha256: str
    reading: Reading
    tracks: tuple[int, ...]
    n: int
    seed: int
    per_window: int
    regions: tuple[Locus, ...]

    @property
    def id(self) -> str:
        return hashlib.sha256(json.dumps([_FORMAT, asdict(self)]).encode()).hexdigest()[:16]

    @property
    def chunks(self) -> list[range]:
        """The numbers of the variants of each chunk."""
        return [range(start, min(start + CHUNK, self.n)) for start in range(0, self.n, CHUNK)]


def build(
    site: Site,
    model: str,
    *,
    assembly: str,
    n: int = 2000,
    seed: int = 1,
    selection: str | None = None,
    regions: Sequence[Locus] | None = None,
    per_window: int = PER_WINDOW,
    how: Reading | None = None,
    resume: bool = False,
    report: Report = lambda done, total: None,
) -> dict[str, Any]:
    """Score random substitutions and keep what they do to each track; returns what the background's JSON says.

    A background that the site has of the same model, weights, FASTA and reading is replaced.

    Parameters
    ----------
    regions
        Where variants are drawn; the whole genome by default. See `variants.draw.Draw` for how.
    how
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
    how = how or reading(card)
    card = how.placed(card)
    if assembly not in card.assemblies:
        raise InvalidRequest(f"Model {card.id} is for {' and '.join(card.assemblies)}, not for {assembly}.")
    lies_on = site.assembly(assembly)
    plan = Plan(
        card.id, card.weights_sha256, assembly, site.fasta_sha256(assembly), how,
        select(card, selection), n, seed, per_window, tuple(on_bins(regions or whole_genome(lies_on), lies_on, 1)),
    )  # fmt: skip
    work, began = site.cache / "background" / plan.id, time.perf_counter()
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(parents=True, exist_ok=True)
        parts = _chunks(site, plan, card, work, report)
        described = _described(site, plan, card, time.perf_counter() - began)
        _keep(_place(site, described), described, np.sort(np.concatenate(parts, axis=2), axis=2))
        shutil.rmtree(work)
    except OSError as error:
        raise SiteReadOnly(f"The background stopped: {error.strerror or error}. Go on with --resume.") from error
    return described


def _chunks(site: Site, plan: Plan, card: ModelCard, work: Path, report: Report) -> list[NDArray[np.float32]]:
    """Sizes and activities of each chunk, float32 (2, T, m), from an earlier run's files where they are."""
    draw = Draw(
        site.genome(plan.assembly), site.assembly(plan.assembly), card, plan.regions, plan.seed, plan.per_window
    )
    parts = []
    for number, chunk in enumerate(plan.chunks):
        path = work / f"chunk-{number:06d}.npy"
        if not path.exists():
            _save(path, _scored(site, plan, card, [draw.variant(index) for index in chunk], chunk.start, report))
        report(chunk.stop, plan.n)
        parts.append(np.load(path))
    return parts


def _scored(
    site: Site, plan: Plan, card: ModelCard, variants: Sequence[Variant], before: int, report: Report
) -> NDArray[np.float32]:
    predictor = loaded.predictor(site, plan.model, plan.weights_sha256, plan.tracks, plan.reading)
    genome, assembly, cones = site.genome(plan.assembly), site.assembly(plan.assembly), loaded.cones(site)
    values = np.empty((2, len(plan.tracks), len(variants)), np.float32)
    for number, variant in enumerate(variants):
        scored = columns(effect(predictor, genome, assembly, [variant], cones), card)
        values[0, :, number], values[1, :, number] = scored["size"], scored["activity"]
        report(before + number + 1, plan.n)
    return values


def _save(path: Path, values: NDArray[np.float32]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, values)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _described(site: Site, plan: Plan, card: ModelCard, seconds: float) -> dict[str, Any]:
    whole = plan.regions == tuple(on_bins(whole_genome(site.assembly(plan.assembly)), site.assembly(plan.assembly), 1))
    return {
        "model": card.id,
        "title": card.title,
        "licence": card.licence,
        "weights_sha256": plan.weights_sha256,
        "assembly": plan.assembly,
        "fasta_sha256": plan.fasta_sha256,
        "reading": plan.reading.asked(),
        "tracks": list(plan.tracks),
        "n": plan.n,
        "seed": plan.seed,
        "per_window": plan.per_window,
        "drawn": "random substitutions, uniform over known bases",
        "regions": None if whole else {"count": len(plan.regions), "bases": sum(map(len, plan.regions))},
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
    }


def _keep(place: Path, described: dict[str, Any], values: NDArray[np.float32]) -> None:
    """Whole or not at all; values (2, T, n), sorted."""
    place.parent.mkdir(exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        np.save(partial / "sizes.npy", values[0])
        np.save(partial / "activities.npy", values[1])
        (partial / "background.json").write_text(json.dumps(described, indent=1, allow_nan=False))
        partial.chmod(0o755)  # mkdtemp's are the owner's only, and a server may be another's
        shutil.rmtree(place, ignore_errors=True)
        os.replace(partial, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _place(site: Site, of: Mapping[str, Any]) -> Path:
    """Where the background of a model, an assembly, and the rest that must be the same, lies or would lie."""
    same = [_FORMAT, of["weights_sha256"], of["fasta_sha256"], of["reading"]]
    digest = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]
    return site.path / "backgrounds" / f"{of['model']}-{of['assembly']}-{digest}"


# --- Held against effects --------------------------------------------------------------------------------------------


def with_percentiles(site: Site, described: dict[str, Any]) -> dict[str, Any]:
    """An effect's description with each track's percentiles; as it is where no background is exactly its own.

    They are added as it is answered, not kept: a background may be made, or made anew, after the effect.
    """
    question, provenance = described["question"], described["provenance"]
    if not all("size" in track and "activity" in track for track in described["tracks"]) or "ensemble" not in question:
        return described  # of an older version
    place = _place(site, provenance | {"reading": {key: question[key] for key in Reading().asked()}})
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
