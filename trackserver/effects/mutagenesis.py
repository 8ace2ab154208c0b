"""Saturation mutagenesis of a site: computed once, stored in `mutagenesis/<id>/`, and served as tilesets.

A map's folder holds `mutagenesis.json` (everything but the array) and `map.npy` (T, 4, L). It appears whole or not at
all.
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
    mutagenesis,
    preview,
    resolve_score,
)
from trackserver.variants.warnings import MIN_UNKNOWN, Caveat

PARTS = ("map", "logo", "importance")
MAX_NUMBERS = 100_000  # in a description; further tracks are in tiles only
_ID = re.compile(r"^[0-9a-f]{20}$")


@dataclass(frozen=True)
class MutagenesisQuestion:
    """Everything a map depends on; equal questions have equal ids.

    full : run a full prediction per substitution, as a check, instead of computing only what each can reach
    preview : estimate the map from the gradient at the reference
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
    """A request for the map of a locus, as it came in.

    locus : in any form of `genome.locus.parse_locus`
    selection : tracks, in the syntax of `models.card.select_tracks`; None for all
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
        """From a flat request, where the selection is called `tracks` and each ensemble option is a field."""
        rest = dict(fields)
        return cls(ensemble=EnsembleOptions.pop(rest), selection=rest.pop("tracks", None), **rest)


def mutagenesis_question(site: Site, request: MutagenesisRequest) -> MutagenesisQuestion:
    """Resolve and check a request: its model, reference, locus, tracks and score."""
    card, reference = registry.card(site.models, request.model), site.reference(request.assembly)
    locus = reference.assembly.check(parse_locus(request.locus))
    check_locus(card, reference.genome, reference.assembly, locus)
    if request.full and request.preview:
        raise InvalidRequest("Ask for full predictions or for a preview, not for both.")
    return MutagenesisQuestion(
        model=card.id,
        weights_sha256=card.weights_sha256,
        assembly=request.assembly,
        fasta_sha256=reference.fasta_sha256(),
        locus=locus,
        tracks=select(card, request.selection),
        ensemble=request.ensemble.resolve(card),
        score=resolve_score(card, request.score),
        full=request.full,
        preview=request.preview,
    )


def folder(site: Site) -> Path:
    """Where the site's maps are stored."""
    return site.path / "mutagenesis"


def stored_map(site: Site, mutagenesis_id: str) -> dict[str, Any] | None:
    """The description of a stored map; None if it is not stored."""
    if not _ID.match(mutagenesis_id):
        raise UnknownMutagenesis(mutagenesis_id)
    return store.read(folder(site) / mutagenesis_id / "mutagenesis.json")


def compute_request(site: Site, mutagenesis_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Compute a request that was queued under an id."""
    question = mutagenesis_question(site, MutagenesisRequest.from_fields(fields))
    if question.id != mutagenesis_id:
        raise InvalidRequest("The model or the reference was replaced while this request was queued; ask again.")
    return compute(site, question)


def compute(site: Site, question: MutagenesisQuestion, report: Progress = no_progress) -> dict[str, Any]:
    """The map's description; computes and stores the map unless the site has it already."""
    if description := stored_map(site, question.id):
        return description
    site.check_writable()
    card = registry.card(site.models, question.model)
    began = time.perf_counter()
    result = _predict(site, question, card, report)
    description = describe(question, card, result, seconds=time.perf_counter() - began)
    store.write(folder(site) / question.id / "mutagenesis.json", description, {"map": result.map})
    return description


def _predict(site: Site, question: MutagenesisQuestion, card: ModelCard, report: Progress) -> Mutagenesis:
    predictor = models.predictor(site, question.model, card.weights_sha256, question.tracks, question.ensemble)
    reference, locus = site.reference(question.assembly), question.locus
    if question.preview:
        return preview(predictor, reference.genome, reference.assembly, locus, score=question.score)
    cones = None if question.full else models.cones(site)
    return mutagenesis(
        predictor, reference.genome, reference.assembly, locus, cones, score=question.score, report=report
    )


def describe(question: MutagenesisQuestion, card: ModelCard, result: Mutagenesis, seconds: float) -> dict[str, Any]:
    """The JSON of a map, for the API and the command line."""
    max_with_numbers = max(MAX_NUMBERS // (8 * len(question.locus)), 1)
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
        "score": {"name": result.score, "description": SCORES[result.score]},
        "tracks": [
            _track(question.id, card, result, row, with_numbers=rank < max_with_numbers)
            for rank, row in enumerate(_by_size(result))
        ],
        "warnings": [asdict(caveat) for caveat in _warnings(question, card, result)],
        "provenance": provenance(
            card, question.assembly, question.fasta_sha256, question.ensemble, seconds=round(seconds, 3)
        ),
    }


def _by_size(result: Mutagenesis) -> list[int]:
    """Rows of the map, largest |score| first; ties by index."""
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
    base, offset = np.unravel_index(np.nan_to_num(np.abs(result.map[row])).argmax(), result.map.shape[1:])
    ref, position = decode(result.codes[offset : offset + 1]), result.locus.start + int(offset)
    return {
        "variant": f"{result.locus.chrom}:{position + 1}:{ref}:{BASES[base]}",
        "at": asdict(Locus(result.locus.chrom, position, position + 1)),
        "score": float(np.nan_to_num(result.map[row, base, offset])),
    }


def _numbers(values: NDArray[np.float32]) -> list[float | None]:
    """The shortest decimals that give the same float32; None for NaN."""
    return [None if isnan(value) else float(str(value)) for value in values]


def _warnings(question: MutagenesisQuestion, card: ModelCard, result: Mutagenesis) -> list[Caveat]:
    caveats = []
    if question.assembly != (trained := card.assemblies[0]):
        caveats.append(Caveat(
            "other_assembly", "note",
            f"{card.title} was trained on {trained}, but this map is for {question.assembly}.",
            f"If both assemblies have the same sequence here, so is the map; else use the position on {trained}.",
            {"trained_on": trained, "asked": question.assembly},
        ))  # fmt: skip
    if result.unknown >= MIN_UNKNOWN:
        caveats.append(Caveat(
            "unknown_sequence", "caution" if result.unknown > 0.25 else "note",
            f"{result.unknown:.0%} of the {card.window:,} bp in the model's window is unknown sequence (N, or beyond "
            "the chromosome's end), which the model was not trained on.",
            "Trust only bins that the gap cannot reach, or use another assembly or a model with a shorter window.",
            {"unknown": round(result.unknown, 4)},
        ))  # fmt: skip
    if left_out := int(np.isnan(result.map[0, 0]).sum()):
        caveats.append(Caveat(
            "bases_left_out", "note", f"{left_out:,} of {len(result.locus):,} positions are N and were left out.",
            "Nothing is drawn there; that does not mean that these positions do not matter.", {"positions": left_out},
        ))  # fmt: skip
    if result.preview:
        caveats.append(Caveat(
            "preview", "note", "These scores are estimated from the gradient at the reference, not predicted.",
            "Saturation, new binding sites and pairs of changes show only in the full map: compute that.", {},
        ))  # fmt: skip
    if not np.nan_to_num(result.map).any():
        caveats.append(Caveat(
            "no_effect", "note", "No base here changes the chosen tracks at all.",
            "Look at all tracks; a model with a longer window may show an effect.", {"largest": 0.0},
        ))  # fmt: skip
    return caveats


def load_track(site: Site, description: dict[str, Any], track: int) -> Mutagenesis:
    """Load one track of a stored map, given the map's description."""
    path, row = folder(site) / description["id"], description["question"]["tracks"].index(track)
    try:
        values = np.array(np.load(path / "map.npy", mmap_mode="r")[row : row + 1])
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"The map {path.name} is damaged; delete {path} and ask again.") from error
    locus, codes = Locus(**description["locus"]), encode(description["sequence"])
    return Mutagenesis(locus, codes, (track,), description["score"]["name"], values, 0.0)
