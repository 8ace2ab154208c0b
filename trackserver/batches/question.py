"""A list of variants with everything that its scores depend on."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackserver import __version__
from trackserver.batches import scoring
from trackserver.batches.scoring import Entry, ReferenceSet, Scoring
from trackserver.catalogue.site import Site, assembly_for
from trackserver.effects import models
from trackserver.effects.context import surroundings
from trackserver.errors import InvalidRequest, listing, needing_torch
from trackserver.genome.locus import Locus
from trackserver.genome.vcf import VcfReader, read_vcf
from trackserver.models import registry
from trackserver.models.card import ModelCard, select
from trackserver.predict.ensemble import Ensemble, EnsembleOptions
from trackserver.storage import digest, sha256
from trackserver.variants.effect import Effect, input_window
from trackserver.variants.warnings import warnings

if TYPE_CHECKING:
    from trackserver.predict.engine import Predictor

CHUNK = 100  # rows scored between two writes to disk, and the most that a kill loses
# What columns with a score of every track can hold; `auto` is the score that the model's tracks are ranked by.
SCORE_COLUMNS = ("none", "auto", "delta", "log2fc", "sad", "log_sad", "d1", "d2", "sum501", "sum2001", "log2fc2001",
                 "size")  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """A list of variants with everything that its scores depend on.

    score_columns : the score to store for every track; None to store the top track's scores only
    """

    site: Site
    source: Path
    references: ReferenceSet
    tracks: tuple[int, ...]
    ensemble: Ensemble
    full: bool = False
    score_columns: str | None = None
    lift_from: str = ""
    chunk: int = CHUNK

    @property
    def card(self) -> ModelCard:
        return self.references.card

    @cached_property
    def question(self) -> dict[str, Any]:
        """Everything the rows depend on, in JSON's terms; equal questions have equal rows."""
        identity = {
            "version": __version__,
            "model": self.card.id,
            "weights_sha256": self.card.weights_sha256,
            "assembly": self.references.assembly.name,
            "fasta_sha256": self.site.reference(self.references.assembly.name).fasta_sha256(),
            "input_sha256": sha256(self.source),
            "tracks": self.tracks,
            "ensemble": asdict(self.ensemble),
            "full": self.full,
            "lift_from": self.lift_from,
            "score_columns": self.score_columns,
            "chunk": self.chunk,
            "device": self.site.settings.device,
            "weights": self.site.settings.impact_weights,
            "files": self._file_stamps(),
        }
        return dict(json.loads(json.dumps(identity)))

    @property
    def id(self) -> str:
        return digest(self.question)

    def _file_stamps(self) -> list[str]:
        """Sizes and modification times of the site's files that rows depend on and that have no checksum."""
        name = self.references.assembly.name
        files = self.site.settings.assemblies[name]
        used = [files.genes, files.repeats, files.blacklist, files.chains.get(self.lift_from)]
        source = self.lift_from or name
        tables = [self.site.reference(source).rsid_table] if source in self.site.assembly_names else []
        stats = [path.stat() for path in (*(self.site.inside(u) for u in used if u), *tables) if path.exists()]
        return [f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats]

    def open_list(self) -> VcfReader:
        """Open the list at its beginning; see `read_vcf` for the errors."""
        name, site = self.lift_from or self.references.assembly.name, self.site
        reference = site.reference(name) if name in site.assembly_names else None
        genome = reference.genome if reference and reference.has_genome else None
        rsids = reference.rsids if reference else None
        return read_vcf(self.source, self.references.source, genome, rsids.find if rsids else None)

    def entries(self) -> Generator[tuple[Entry, Locus | None]]:
        """Every row of the list, checked, with its input window."""
        with self.open_list() as reader:
            for line in reader:
                for entry in scoring.entries(line, self.references):
                    yield entry, self._window(entry)

    def _window(self, entry: Entry) -> Locus | None:
        return input_window(self.card, [entry.variant], self.references.assembly) if entry.variant else None

    def predictor(self) -> Predictor:
        with needing_torch():
            return models.predictor(self.site, self.card.id, self.card.weights_sha256, self.tracks, self.ensemble)

    def scoring(self) -> Scoring:
        return Scoring(partial(_warning_codes, self), self.site.settings.impact_weights, self.score_columns, self.full)

    def about(self) -> dict[str, str]:
        """The provenance of the numbers, for the table's header; the same in every run."""
        weights = ", ".join(f"{assay} {weight:g}" for assay, weight in self.site.settings.impact_weights.items())
        about = {
            "trackserver": __version__,
            "model": f"{self.card.id} ({self.card.title})",
            "weights sha256": self.card.weights_sha256,
            "assembly": self.references.assembly.name,
            "FASTA sha256": self.question["fasta_sha256"],
            "ensemble": self.ensemble.description() + (", squashed units" if self.ensemble.squashed else ""),
            "tracks": f"{len(self.tracks)} of {len(self.card.tracks)}",
            "impact": f"sum of size over tracks{f', weighted: {weights}' if weights else ''}; rank 1 is the largest",
        }
        lifted = {"written on": self.lift_from} if self.lift_from else {}
        return about | lifted | ({"score of every track": self.score_columns} if self.score_columns else {})

    def track_columns(self) -> list[str]:
        """Names of the columns with every track's score."""
        return [f"{track} {self.card.tracks[track].name}" for track in self.tracks] if self.score_columns else []


@dataclass(frozen=True)
class ListRequest:
    """A request to score a list of variants, as it came in.

    assembly : default: the model's first assembly that the site has
    selection : tracks, in the syntax of `models.card.select_tracks`; None for all
    lift_from : the assembly that the variants are given on, if it is another one
    score_columns : the score to store for every track, one of `SCORE_COLUMNS`
    """

    model: str
    assembly: str | None = None
    selection: str | None = None
    ensemble: EnsembleOptions = field(default_factory=EnsembleOptions)
    full: bool = False
    lift_from: str = ""
    score_columns: str = "none"

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> ListRequest:
        """From a flat request, where the selection is called `tracks` and each ensemble option is a field."""
        rest = dict(fields)
        return cls(ensemble=EnsembleOptions.pop(rest), selection=rest.pop("tracks", None), **rest)


def list_question(site: Site, source: str | os.PathLike[str], request: ListRequest, chunk: int = CHUNK) -> Batch:
    """Resolve and check a request to score the variants of a file; its rows are not read yet.

    Parameters
    ----------
    source
        A VCF or a plain list, see `genome.vcf.read_vcf`.
    chunk
        Number of rows scored between two writes.

    Raises
    ------
    InvalidRequest
        The model is for another assembly, there is no sequence or chain file, or the score is unknown.
    """
    card = registry.card(site.models, request.model)
    name = assembly_for(site, card, request.assembly)
    lift_from = "" if request.lift_from == name else request.lift_from
    ensemble, reference = request.ensemble.resolve(card), site.reference(name)
    liftover = reference.liftover(lift_from) if lift_from else None
    references = ReferenceSet(ensemble.place_variants(card), reference.assembly, reference.genome, liftover)
    return Batch(
        site, Path(source), references, select(card, request.selection), ensemble, request.full,
        _score_columns(card, request.score_columns), lift_from, chunk,
    )  # fmt: skip


def _score_columns(card: ModelCard, name: str) -> str | None:
    """The score to store for every track, if any."""
    if name not in SCORE_COLUMNS:
        raise InvalidRequest(f"No score '{name}' for score_columns; known: {listing(SCORE_COLUMNS, limit=20)}.")
    if name == "auto":
        return "delta" if card.probability else "log2fc"
    return None if name == "none" else name


def _warning_codes(batch: Batch, effect: Effect) -> tuple[str, ...]:
    """Codes of an effect's warnings, without other models' effects: those depend on what was computed before."""
    reference = batch.site.reference(batch.references.assembly.name)
    return tuple(caveat.code for caveat in warnings(effect, surroundings(reference, effect)))
