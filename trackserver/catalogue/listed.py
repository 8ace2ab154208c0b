"""A list of variants and everything that its scores depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackserver import __version__
from trackserver.catalogue import loaded
from trackserver.catalogue.prediction import assembly_for
from trackserver.catalogue.site import Site
from trackserver.catalogue.surroundings import surroundings
from trackserver.errors import InvalidRequest, NeedsTorch, listing
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import sha256
from trackserver.genome.vcf import VcfReader, read_vcf
from trackserver.models import registry
from trackserver.models.card import ModelCard, select
from trackserver.predict.reading import Placement, Reading, reading
from trackserver.variants import batch
from trackserver.variants.batch import Entry, Ground, Scoring
from trackserver.variants.effect import Effect, Question, input_window
from trackserver.variants.scores import Column
from trackserver.variants.trust import warnings

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
    how: Reading
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
            "fasta_sha256": self.site.fasta_sha256(self.ground.assembly.name),
            "input_sha256": sha256(self.source),
            "tracks": self.tracks,
            "reading": asdict(self.how),
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
        return hashlib.sha256(json.dumps(self.question, sort_keys=True).encode()).hexdigest()[:20]

    @cached_property
    def as_question(self) -> Question:
        """What is asked about each variant, without one."""
        return Question(
            self.card.id, self.card.weights_sha256, self.ground.assembly.name, self.question["fasta_sha256"], (),
            self.tracks, self.how, self.full,
        )  # fmt: skip

    def _files(self) -> list[str]:
        """Sizes and times of the files of the site that rows are made with, besides those with a checksum."""
        name = self.ground.assembly.name
        files = self.site.settings.assemblies[name]
        used = [files.genes, files.repeats, files.blacklist, files.chains.get(self.lift_from)]
        tables = [self.site.rsid_table(self.lift_from or name)]
        stats = [path.stat() for path in (*(self.site.inside(u) for u in used if u), *tables) if path.exists()]
        return [f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats]

    def read(self) -> VcfReader:
        """The list, from its beginning; see `read_vcf` for what can be wrong with it."""
        name, site = self.lift_from or self.ground.assembly.name, self.site
        here = name in site.assembly_names
        rsids = site.rsids(name) if here else None
        genome = site.genome(name) if here and site.has_genome(name) else None
        return read_vcf(self.source, self.ground.source, genome, rsids.find if rsids else None)

    def entries(self) -> Generator[tuple[Entry, Locus | None]]:
        """Every row of the list, checked, with the window it is to be scored in."""
        with self.read() as reader:
            for line in reader:
                for entry in batch.entries(line, self.ground):
                    yield entry, self._window(entry)

    def _window(self, entry: Entry) -> Locus | None:
        return input_window(self.card, [entry.variant], self.ground.assembly) if entry.variant else None

    def predictor(self) -> Predictor:
        try:
            return loaded.predictor(self.site, self.card.id, self.card.weights_sha256, self.tracks, self.how)
        except ModuleNotFoundError as error:
            raise NeedsTorch() from error

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
            "reading": self.how.words() + (", squashed units" if self.how.squashed else ""),
            "tracks": f"{len(self.tracks)} of {len(self.card.tracks)}",
            "impact": f"sum of size over tracks{f', weighted: {weights}' if weights else ''}; rank 1 is the largest",
        }
        lifted = {"written on": self.lift_from} if self.lift_from else {}
        return about | lifted | ({"score of every track": self.every} if self.every else {})

    def more(self) -> list[str]:
        """Names of the columns with every track's score."""
        return [f"{track} {self.card.tracks[track].name}" for track in self.tracks] if self.every else []


def prepare(
    site: Site,
    source: Path,
    model: str,
    assembly: str | None = None,
    tracks: str | None = None,
    *,
    ensemble: Sequence[str] | None = None,
    shifts: Sequence[int] | None = None,
    squashed: bool = False,
    placement: Placement | None = None,
    full: bool = False,
    lift_from: str = "",
    every: str = "",
    chunk: int = CHUNK,
) -> Batch:
    """The question about the variants of a file, checked but for its rows.

    Parameters
    ----------
    source
        A VCF or a list, see `genome.vcf.read_vcf`.
    every
        The score to keep of every track, one of `EVERY`; empty for the top track's only.
    chunk
        Rows that are scored between two writes.

    Raises
    ------
    InvalidRequest
        The model is not for the assembly, there is no sequence or no chain file, or no such score.
    """
    card = registry.card(site.models, model)
    name = assembly_for(site, card, assembly)
    if every and every not in EVERY:
        raise InvalidRequest(f"No score '{every}' to keep of every track; known: {listing(EVERY, most=20)}.")
    lift_from = "" if lift_from == name else lift_from
    how = reading(card, ensemble, shifts, squashed, placement)
    lifted = site.liftover(lift_from, name) if lift_from else None
    ground = Ground(how.placed(card), site.assembly(name), site.genome(name), lifted)
    return Batch(site, source, ground, select(card, tracks), how, full, every, lift_from, chunk)


def every(site: Site, model: str, kept: str | None = None) -> str:
    """The score to keep of every track: the one named, else the one that the model's tracks are ranked by, signed."""
    return kept or ("delta" if registry.card(site.models, model).probability else "log2fc")


def _warn(asked: Batch, effect: Effect, scored: Mapping[str, Column]) -> tuple[str, ...]:
    """Codes of what speaks against an effect. What other models say is left out: it would depend on who has asked."""
    around = surroundings(asked.site, asked.as_question, asked.card, effect)
    return tuple(caveat.code for caveat in warnings(effect, asked.card, scored, replace(around, others=())))
