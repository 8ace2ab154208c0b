"""Saturation mutagenesis of a site: asked, computed once, kept in `mutagenesis/<id>/` and served as tilesets.

A directory holds `mutagenesis.json`, everything but the array, and `map.npy` (T, 4, L). It appears whole or not at all.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.catalogue.site import Site
from trackserver.effects import models, store
from trackserver.errors import InvalidRequest, UnknownMutagenesis
from trackserver.genome.locus import Locus, parse_locus
from trackserver.genome.sequence import BASES, decode, encode
from trackserver.models import registry
from trackserver.models.card import ModelCard, select
from trackserver.predict.ensemble import Ensemble, EnsembleOptions
from trackserver.predict.provenance import provenance
from trackserver.progress import Progress, no_progress
from trackserver.storage import digest
from trackserver.variants.mutagenesis import (
    SCORES,
    Mutagenesis,
    check_locus,
    checked_score,
    mutagenesis,
    preview,
)
from trackserver.variants.warnings import NOTABLE_UNKNOWN, Caveat

PARTS = ("map", "logo", "importance")
MOST_NUMBERS = 100_000  # of a description; tracks beyond are in tiles only
_ID = re.compile(r"^[0-9a-f]{20}$")


@dataclass(frozen=True)
class Question:
    """Everything a map depends on; equal questions have equal ids.

    full : every alternative by a full prediction, to check with, rather than by what it can reach
    preview : from the slope at the reference
    """

    model: str
    weights_sha256: str
    assembly: str
    fasta_sha256: str
    locus: Locus
    tracks: tuple[int, ...]
    ensemble: Ensemble
    score: str
    full: bool = False
    preview: bool = False

    @cached_property
    def id(self) -> str:
        return digest(asdict(self))


@dataclass(frozen=True)
class MutagenesisRequest:
    """What somebody asks about a locus, as it came in.

    locus : as `genome.locus.parse_locus` reads it
    selection : tracks, as `models.card.select_tracks` reads them; None is all
    score : one of `variants.mutagenesis.SCORES`; by default the model's own
    """

    model: str
    assembly: str
    locus: str
    selection: str | None = None
    ensemble: EnsembleOptions = field(default_factory=EnsembleOptions)
    score: str = ""
    full: bool = False
    preview: bool = False

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> MutagenesisRequest:
        """From a flat request, in which the selection is `tracks` and the options of the ensemble are fields too."""
        rest = dict(fields)
        return cls(ensemble=EnsembleOptions.pop(rest), selection=rest.pop("tracks", None), **rest)


def mutagenesis_question(site: Site, request: MutagenesisRequest) -> Question:
    """Everything that identifies a map, checked: the model, the locus, the window, the tracks, the score."""
    card, reference = registry.card(site.models, request.model), site.reference(request.assembly)
    locus = reference.assembly.check(parse_locus(request.locus))
    check_locus(card, reference.genome, reference.assembly, locus)
    if request.full and request.preview:
        raise InvalidRequest("Ask for full predictions or for a preview, not for both.")
    return Question(
        model=card.id,
        weights_sha256=card.weights_sha256,
        assembly=request.assembly,
        fasta_sha256=reference.fasta_sha256(),
        locus=locus,
        tracks=select(card, request.selection),
        ensemble=request.ensemble.of(card),
        score=checked_score(card, request.score),
        full=request.full,
        preview=request.preview,
    )


def directory(site: Site) -> Path:
    return site.path / "mutagenesis"


def stored(site: Site, mutagenesis_id: str) -> dict[str, Any] | None:
    """The description of a computed map, or None."""
    if not _ID.match(mutagenesis_id):
        raise UnknownMutagenesis(mutagenesis_id)
    return store.read(directory(site) / mutagenesis_id / "mutagenesis.json")


def answer(site: Site, mutagenesis_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The map of a request that has waited under an id."""
    question = mutagenesis_question(site, MutagenesisRequest.from_fields(fields))
    if question.id != mutagenesis_id:
        raise InvalidRequest("The model or the reference was replaced while this waited; ask again.")
    return compute(site, question)


def compute(site: Site, question: Question, report: Progress = no_progress) -> dict[str, Any]:
    """The map's description, from the site where it is stored, else computed and stored now."""
    if found := stored(site, question.id):
        return found
    site.check_writable()
    card = registry.card(site.models, question.model)
    began = time.perf_counter()
    result = _computed(site, question, card, report)
    described = describe(question, card, result, seconds=time.perf_counter() - began)
    store.store(directory(site) / question.id / "mutagenesis.json", described, {"map": result.map})
    return described


def _computed(site: Site, question: Question, card: ModelCard, report: Progress) -> Mutagenesis:
    predictor = models.predictor(site, question.model, card.weights_sha256, question.tracks, question.ensemble)
    where = site.reference(question.assembly).genome, site.assembly(question.assembly), question.locus
    if question.preview:
        return preview(predictor, *where, score=question.score)
    cones = None if question.full else models.cones(site)
    return mutagenesis(predictor, *where, cones, score=question.score, report=report)


def describe(question: Question, card: ModelCard, result: Mutagenesis, seconds: float) -> dict[str, Any]:
    """What the API and the command line say of a map; strict JSON."""
    order = _by_size(result)
    told = MOST_NUMBERS // (8 * len(question.locus))
    return {
        "id": question.id,
        "status": "done",
        "question": {
            "model": question.model,
            "assembly": question.assembly,
            "locus": str(question.locus).replace(",", ""),
            "tracks": list(question.tracks),
            **question.ensemble.options(),
            "score": question.score,
            "full": question.full,
            "preview": question.preview,
        },
        "locus": asdict(question.locus),
        "sequence": decode(result.codes),
        "bases": list(BASES),
        "score": {"name": result.score, "words": SCORES[result.score]},
        "tracks": [
            _track(question.id, card, result, row, with_numbers=place < max(told, 1)) for place, row in enumerate(order)
        ],
        "warnings": [asdict(caveat) for caveat in _warnings(question, card, result)],
        "provenance": provenance(
            card, question.assembly, question.fasta_sha256, question.ensemble, seconds=round(seconds, 3)
        ),
    }


def _by_size(result: Mutagenesis) -> list[int]:
    """Rows of the map, the one with the largest |score| first; ties by index."""
    sizes = np.nan_to_num(result.largest).max(axis=1)
    return sorted(range(len(sizes)), key=lambda row: (-sizes[row], result.tracks[row]))


def _track(
    mutagenesis_id: str, card: ModelCard, result: Mutagenesis, row: int, *, with_numbers: bool
) -> dict[str, Any]:
    track = card.tracks[result.tracks[row]]
    lines = {name: getattr(result, name)[row] for name in ("importance", "largest", "gain", "loss")}
    return {
        "index": track.index,
        "name": track.name,
        "assay": track.assay,
        "biosample": track.biosample,
        "target": track.target,
        "strand": track.strand,
        "strongest": _strongest(result, row),
        **{name: _numbers(line) if with_numbers else None for name, line in lines.items()},
        "map": [_numbers(line) for line in result.map[row]] if with_numbers else None,
        "tilesets": {part: f"ism-{mutagenesis_id}-{track.index}-{part}" for part in PARTS},
    }


def _strongest(result: Mutagenesis, row: int) -> dict[str, Any]:
    """The substitution with the largest |score|, as a variant."""
    base, at = np.unravel_index(np.nan_to_num(np.abs(result.map[row])).argmax(), result.map.shape[1:])
    ref, position = decode(result.codes[at : at + 1]), result.locus.start + int(at)
    return {
        "variant": f"{result.locus.chrom}:{position + 1}:{ref}:{BASES[base]}",
        "at": asdict(Locus(result.locus.chrom, position, position + 1)),
        "score": float(np.nan_to_num(result.map[row, base, at])),
    }


def _numbers(values: NDArray[np.float32]) -> list[float | None]:
    """The shortest decimals that are the same float32; None where nothing is known."""
    return [None if isnan(value) else float(str(value)) for value in values]


def _warnings(question: Question, card: ModelCard, result: Mutagenesis) -> list[Caveat]:
    found = []
    if question.assembly != (trained := card.assemblies[0]):
        found.append(Caveat(
            "other_assembly", "note",
            f"{card.title} was trained on {trained}; it is asked about the sequence of {question.assembly}.",
            f"Where the sequence is the same the map is too; else ask about the place on {trained}.",
            {"trained_on": trained, "asked": question.assembly},
        ))  # fmt: skip
    if result.unknown >= NOTABLE_UNKNOWN:
        found.append(Caveat(
            "unknown_sequence", "caution" if result.unknown > 0.25 else "note",
            f"{result.unknown:.0%} of the {card.window:,} bp the model read is unknown sequence (N, or beyond the "
            "chromosome's end), which it was not trained on.",
            "Trust what the gap cannot reach; an assembly without the gap, or a model that reads less, says more.",
            {"unknown": round(result.unknown, 4)},
        ))  # fmt: skip
    if left_out := int(np.isnan(result.map[0, 0]).sum()):
        found.append(Caveat(
            "bases_left_out", "note", f"{left_out:,} of {len(result.locus):,} positions read N and were left out.",
            "Nothing is drawn there; it does not mean that these positions do not matter.", {"positions": left_out},
        ))  # fmt: skip
    if result.preview:
        found.append(Caveat(
            "preview", "note", "These scores are read off the slope at the reference; no alternative was computed.",
            "What saturates, makes a site or needs two changes shows only in the full map: ask for that.", {},
        ))  # fmt: skip
    if not np.nan_to_num(result.map).any():
        found.append(Caveat(
            "no_effect", "note", "No base here changes the chosen tracks at all.",
            "Look at all tracks; a model that reads further may see what this cannot.", {"largest": 0.0},
        ))  # fmt: skip
    return found


def of_track(site: Site, described: dict[str, Any], track: int) -> Mutagenesis:
    """What is stored of one track of a map, by its description."""
    place, row = directory(site) / described["id"], described["question"]["tracks"].index(track)
    try:
        values = np.array(np.load(place / "map.npy", mmap_mode="r")[row : row + 1])
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"The map {place.name} is damaged; delete {place} and ask again.") from error
    locus, codes = Locus(**described["locus"]), encode(described["sequence"])
    return Mutagenesis(locus, codes, (track,), described["score"]["name"], values, 0.0)
