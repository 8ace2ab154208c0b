"""A list of variants and everything that its scores depend on."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackserver import __version__
from trackserver.batches import scoring
from trackserver.batches.scoring import Entry, Ground, Scoring
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

CHUNK = 100  # rows that are scored between two writes to the disk, and what a kill costs at most
EVERY = ("delta", "log2fc", "sad", "log_sad", "d1", "d2", "sum501", "sum2001", "log2fc2001", "size")


@dataclass(frozen=True)
class Batch:
    """A list of variants and all that its scores depend on."""

    site: Site
    source: Path
    ground: Ground
    tracks: tuple[int, ...]
    ensemble: Ensemble
    full: bool = False
    every: str = ""
    lift_from: str = ""
    chunk: int = CHUNK

    @property
    def card(self) -> ModelCard:
        return self.ground.card

    @cached_property
    def question(self) -> dict[str, Any]:
        """What the rows depend on; equal questions have equal rows."""
        asked = {
            "version": __version__,
            "model": self.card.id,
            "weights_sha256": self.card.weights_sha256,
            "assembly": self.ground.assembly.name,
            "fasta_sha256": self.site.reference(self.ground.assembly.name).fasta_sha256(),
            "input_sha256": sha256(self.source),
            "tracks": self.tracks,
            "ensemble": asdict(self.ensemble),
            "full": self.full,
            "lift_from": self.lift_from,
            "every": self.every,
            "chunk": self.chunk,
            "device": self.site.settings.device,
            "weights": self.site.settings.impact_weights,
            "files": self._files(),
        }
        return dict(json.loads(json.dumps(asked)))

    @property
    def id(self) -> str:
        return digest(self.question)

    def _files(self) -> list[str]:
        """Sizes and times of the files of the site that rows are made with, besides those with a checksum."""
        name = self.ground.assembly.name
        files = self.site.settings.assemblies[name]
        used = [files.genes, files.repeats, files.blacklist, files.chains.get(self.lift_from)]
        written_on = self.lift_from or name
        tables = [self.site.reference(written_on).rsid_table] if written_on in self.site.assembly_names else []
        stats = [path.stat() for path in (*(self.site.inside(u) for u in used if u), *tables) if path.exists()]
        return [f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats]

    def read(self) -> VcfReader:
        """The list, from its beginning; see `read_vcf` for what can be wrong with it."""
        name, site = self.lift_from or self.ground.assembly.name, self.site
        here = name in site.assembly_names
        rsids = site.reference(name).rsids if here else None
        genome = site.reference(name).genome if here and site.reference(name).has_genome else None
        return read_vcf(self.source, self.ground.source, genome, rsids.find if rsids else None)

    def entries(self) -> Generator[tuple[Entry, Locus | None]]:
        """Every row of the list, checked, with the window it is to be scored in."""
        with self.read() as reader:
            for line in reader:
                for entry in scoring.entries(line, self.ground):
                    yield entry, self._window(entry)

    def _window(self, entry: Entry) -> Locus | None:
        return input_window(self.card, [entry.variant], self.ground.assembly) if entry.variant else None

    def predictor(self) -> Predictor:
        with needing_torch():
            return models.predictor(self.site, self.card.id, self.card.weights_sha256, self.tracks, self.ensemble)

    def scoring(self) -> Scoring:
        return Scoring(partial(_warn, self), self.site.settings.impact_weights, self.every, self.full)

    def about(self) -> dict[str, str]:
        """Where the numbers come from, for the head of a table; nothing of it changes from run to run."""
        weights = ", ".join(f"{assay} {weight:g}" for assay, weight in self.site.settings.impact_weights.items())
        about = {
            "trackserver": __version__,
            "model": f"{self.card.id} ({self.card.title})",
            "weights sha256": self.card.weights_sha256,
            "assembly": self.ground.assembly.name,
            "FASTA sha256": self.question["fasta_sha256"],
            "ensemble": self.ensemble.words() + (", squashed units" if self.ensemble.squashed else ""),
            "tracks": f"{len(self.tracks)} of {len(self.card.tracks)}",
            "impact": f"sum of size over tracks{f', weighted: {weights}' if weights else ''}; rank 1 is the largest",
        }
        lifted = {"written on": self.lift_from} if self.lift_from else {}
        return about | lifted | ({"score of every track": self.every} if self.every else {})

    def more(self) -> list[str]:
        """Names of the columns with every track's score."""
        return [f"{track} {self.card.tracks[track].name}" for track in self.tracks] if self.every else []


@dataclass(frozen=True)
class ListRequest:
    """How somebody wants a list of variants scored, as it came in.

    assembly : None is the model's, where the site has it
    selection : tracks, as `models.card.select_tracks` reads them; None is all
    lift_from : the assembly the variants are written on, where it is another
    every : the score to keep of every track, one of `EVERY`; empty for the top track's only
    """

    model: str
    assembly: str | None = None
    selection: str | None = None
    ensemble: EnsembleOptions = field(default_factory=EnsembleOptions)
    full: bool = False
    lift_from: str = ""
    every: str = ""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> ListRequest:
        """From a flat request, in which the selection is `tracks` and the options of the ensemble are fields too."""
        rest = dict(fields)
        return cls(ensemble=EnsembleOptions.pop(rest), selection=rest.pop("tracks", None), **rest)


def list_question(site: Site, source: Path, request: ListRequest, chunk: int = CHUNK) -> Batch:
    """The question about the variants of a file, checked but for its rows.

    Parameters
    ----------
    source
        A VCF or a list, see `genome.vcf.read_vcf`.
    chunk
        Rows that are scored between two writes.

    Raises
    ------
    InvalidRequest
        The model is not for the assembly, there is no sequence or no chain file, or no such score.
    """
    card = registry.card(site.models, request.model)
    name = assembly_for(site, card, request.assembly)
    if request.every and request.every not in EVERY:
        raise InvalidRequest(f"No score '{request.every}' to keep of every track; known: {listing(EVERY, most=20)}.")
    lift_from = "" if request.lift_from == name else request.lift_from
    ensemble, reference = request.ensemble.of(card), site.reference(name)
    lifted = reference.liftover(lift_from) if lift_from else None
    ground = Ground(ensemble.placed(card), reference.assembly, reference.genome, lifted)
    tracks = select(card, request.selection)
    return Batch(site, source, ground, tracks, ensemble, request.full, request.every, lift_from, chunk)


def every(site: Site, model: str, kept: str | None = None) -> str:
    """The score to keep of every track: the one named, else the one that the model's tracks are ranked by, signed."""
    return kept or ("delta" if registry.card(site.models, model).probability else "log2fc")


def _warn(batch: Batch, effect: Effect) -> tuple[str, ...]:
    """Codes of what speaks against an effect. What other models say is left out: it would depend on who has asked."""
    around = surroundings(batch.site, batch.ground.assembly.name, effect)
    return tuple(caveat.code for caveat in warnings(effect, around))
