"""A model swept over a site's genome: bigWigs in `tilesets/<model>/`, each with its provenance, in the catalogue."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackserver import __version__
from trackserver.catalogue.site import Site, assembly_for
from trackserver.catalogue.store import PREDICTED, TilesetRecord
from trackserver.catalogue.tilesets import check_tileset
from trackserver.errors import InvalidRequest, needing_torch
from trackserver.genome.locus import Locus
from trackserver.genome.regions import difference, intersection, on_bins, whole_genome
from trackserver.models import registry
from trackserver.models.card import ModelCard, Track, select
from trackserver.predict.ensemble import Ensemble, EnsembleOptions
from trackserver.predict.provenance import provenance
from trackserver.storage import digest, write_whole

if TYPE_CHECKING:
    from trackserver.predict.engine import Precision, Predictor
    from trackserver.sweep.estimate import Estimate
    from trackserver.sweep.plan import Plan
    from trackserver.sweep.run import Producer, Progress

MOST_UNASKED = 100  # tracks that are predicted without having been chosen: of a whole genome, 100 MB a track
STRETCH_BP = 131_072  # that are read as one by models that share what neighbouring windows have in common


@dataclass(frozen=True)
class How:
    """In which way tracks are predicted, besides what the model and the genome say.

    ensemble : None as the model's authors predict
    stride : bp between windows, for models of one value a window; None for the model's bin width
    trim : bins at each side of what a window predicts that are not kept
    one_by_one : each window by itself, to check with, also where a model could share what several have in common
    precision : of the arithmetic; what is less than float32 is for looking at
    compiled : by torch.compile
    skip_blacklist : leave out what the site's blacklist of the assembly touches
    digits : significant digits kept in the bigWigs; None for all
    batch_size : windows computed at once
    """

    ensemble: Ensemble | None = None
    stride: int | None = None
    trim: int = 0
    one_by_one: bool = False
    precision: Precision = "float32"
    compiled: bool = False
    skip_blacklist: bool = False
    digits: int | None = None
    batch_size: int = 4


@dataclass(frozen=True)
class Hardware:
    """What predicts.

    device : `auto` for all GPUs of this machine, `cpu`, `cuda:0,1`; by default the site's setting
    cluster : the address of a Ray cluster to predict on instead; see `predict.ray.connected`
    workers : of the cluster; by default one a GPU, or one a node where there is none
    """

    device: str | None = None
    cluster: str | None = None
    workers: int | None = None


def predict_tracks(
    site: Site,
    model: str,
    how: How = How(),
    *,
    selection: str | None = None,
    regions: Sequence[Locus] | None = None,
    assembly: str | None = None,
    hardware: Hardware = Hardware(),
    resume: bool = False,
    report: Callable[[Progress], object] = lambda progress: None,
) -> list[TilesetRecord]:
    """Predict tracks over the regions (the whole genome by default) and register them, all or none.

    Parameters
    ----------
    assembly
        By default the first of the model's that the site has.
    resume
        Go on with what an earlier run of exactly this question left; otherwise that is thrown away.
    report
        Called after each batch.
    """
    return Prediction(site, model, how, selection, regions, assembly, hardware).run(resume, report)


class Prediction:
    """Tracks that are to be predicted: everything is checked, nothing computed yet."""

    def __init__(
        self,
        site: Site,
        model: str,
        how: How,
        selection: str | None = None,
        regions: Sequence[Locus] | None = None,
        assembly: str | None = None,
        hardware: Hardware = Hardware(),
    ):
        site.check_writable()
        self.site, self.how, self.device = site, how, hardware.device or site.settings.device
        self.cluster, self.workers = hardware.cluster, hardware.workers
        self.model = model
        card = registry.card(site.models, model)
        self.card = card.at_stride(how.stride) if how.stride else card
        self.assembly = site.assembly(assembly_for(site, card, assembly))
        if how.trim > (most := (self.card.n_bins(self.card.window) - 1) // 2):
            raise InvalidRequest(
                f"Trimming {how.trim:,} bins at each side leaves nothing of what {model} predicts at a time; "
                f"trim at most {most:,}."
            )
        self.tracks = _chosen(self.card, selection)
        self.ensemble = how.ensemble or EnsembleOptions().of(self.card)
        self.regions = on_bins(regions or whole_genome(self.assembly), self.assembly, self.card.bin_width)

    def estimate(self) -> Estimate:
        """What it will take; predicts for some seconds."""
        from trackserver.sweep.estimate import estimate

        return estimate(self.plan, self.predictors, self.site.reference(self.assembly.name).genome, self._folder())

    def run(
        self, resume: bool = False, report: Callable[[Progress], object] = lambda progress: None
    ) -> list[TilesetRecord]:
        """Predict, write and register the tracks, all or none; see `predict_tracks`."""
        from trackserver.sweep.chunks import Chunks
        from trackserver.sweep.estimate import check_room
        from trackserver.sweep.run import sweep

        chunks = Chunks(self.site.cache / "predict" / self._place())
        paths = [self._folder() / f"{uid(self.card, track, self.assembly.name)}.bw" for track in self.tracks]
        with chunks.held(), self._connected():
            chunks.begin(self.asked, resume)
            check_room(self.plan, len(self.tracks), self._folder(), already=chunks.nbytes())
            sweep(self.plan, chunks, self.producers(), paths, digits=self.how.digits, report=report)
            records = [self._record(track, path) for track, path in zip(self.tracks, paths, strict=True)]
            kept = self.site.catalogue.put_tilesets(records)
            chunks.forget()
        return kept

    @cached_property
    def plan(self) -> Plan:
        from trackserver.sweep.plan import Plan

        name, width = self.assembly.name, self.card.bin_width
        known = on_bins(self.site.reference(name).known_sequence(), self.assembly, width)
        wanted = intersection(self.regions, known, self.assembly)
        if blacklist := self._blacklist():
            wanted = difference(wanted, on_bins(blacklist, self.assembly, width), self.assembly)
        shares = not self.how.one_by_one and self.predictors[0].reads(self.card.window + self.card.kept)
        along = max(1, STRETCH_BP // self.card.kept) if shares else 1
        return Plan(self.card, self.assembly, tuple(wanted), self.how.trim, along, len(self.tracks))

    def _blacklist(self) -> list[Locus]:
        if not self.how.skip_blacklist:
            return []
        name = self.assembly.name
        regions = self.site.reference(name).regions("blacklist")
        if regions is None:
            raise InvalidRequest(f"This site has no blacklist of {name}; set assemblies.{name}.blacklist to a BED.")
        return [locus for chrom in self.assembly.chroms for locus in regions.loci(chrom)]

    @cached_property
    def predictors(self) -> list[Predictor]:
        """One a device."""
        with needing_torch():
            from trackserver.predict.engine import devices
        return [self.load(device) for device in devices("cpu" if self.cluster else self.device)]

    def gpu_memory(self) -> int:
        """The most bytes of a GPU's memory that were in use so far; 0 without one."""
        return max(predictor.most_memory() for predictor in self.predictors)

    @property
    def load(self) -> Callable[[str], Predictor]:
        """What loads the model onto a device, here or on another machine."""
        return partial(_loaded, self.site.models, self.model, self.tracks, self.ensemble, self.how)

    def producers(self) -> list[Producer]:
        from trackserver.sweep.run import predicted

        genome = self.site.reference(self.assembly.name).genome
        if self.cluster:
            from trackserver.sweep.cluster import on_cluster

            return [on_cluster(self.load, genome, self.plan, self.site.path, self.workers)]
        return [partial(predicted, predictor, genome, self.plan) for predictor in self.predictors]

    def _connected(self) -> AbstractContextManager[None]:
        if not self.cluster:
            return nullcontext()
        from trackserver.predict.ray import connected

        return connected(self.cluster)

    def _device_type(self) -> str:
        """`cpu` or `cuda`."""
        if not self.cluster:
            return self.predictors[0].device.type
        from trackserver.predict.ray import share

        return share(self.workers).device

    @cached_property
    def asked(self) -> dict[str, Any]:
        """Everything the numbers depend on, by the words errors use."""
        how = asdict(self.how) | {"ensemble": asdict(self.ensemble)}
        return how | {
            "version": __version__,
            "model": self.card.id,
            "weights_sha256": self.card.weights_sha256,
            "assembly": self.assembly.name,
            "fasta_sha256": self.site.reference(self.assembly.name).fasta_sha256(),
            "tracks": self.tracks,
            "regions": [digest([str(region) for region in self.plan.wanted]), self.plan.along],
            "device": self._device_type(),
        }

    def _place(self) -> str:
        """Of unfinished work: the same for the same tracks of the same regions."""
        asked = [self.card.id, self.assembly.name, self.tracks, [str(region) for region in self.regions]]
        return digest(asked)

    def _folder(self) -> Path:
        folder = self.site.tilesets / self.card.id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _record(self, track: int, path: Path) -> TilesetRecord:
        about = self.card.tracks[track]
        provenance = self._provenance(about)
        record = check_tileset(self.site, TilesetRecord(
            uid=path.stem, name=self._name(about), kind=PREDICTED, assembly=self.assembly.name, path=str(path),
            assay=about.assay, biosample=about.biosample, target=about.target, strand=about.strand,
            accession=about.accession, model=self.card.id, track_index=about.index, provenance=provenance,
        ))  # fmt: skip
        written = json.dumps(provenance | {"sha256": record.sha256}, indent=1, allow_nan=False)
        write_whole(path.with_suffix(".json"), written)
        return record

    def _name(self, track: Track) -> str:
        """Less than full precision is said wherever the track is."""
        return track.name if self.how.precision == "float32" else f"{track.name} ({self.how.precision})"

    def _provenance(self, track: Track) -> dict[str, Any]:
        how = self.how
        return {
            **provenance(self.card, self.assembly.name, self.asked["fasta_sha256"], self.ensemble),
            "track": track.index,
            **self.ensemble.options(),
            "window": self.card.window,
            "crop": self.card.crop,
            "trim": how.trim,
            "bin_width": self.card.bin_width,
            "windows_at_once": self.plan.along,
            "regions": len(self.regions),
            "blacklist_left_out": how.skip_blacklist,
            "precision": how.precision,
            "compiled": how.compiled,
            "batch_size": how.batch_size,
            "device": self.asked["device"],
            "digits": how.digits,
        }


def _loaded(models: Path, model: str, tracks: Sequence[int], ensemble: Ensemble, how: How, device: str) -> Predictor:
    from trackserver.predict.engine import load_predictor

    predictor = load_predictor(
        models, model, tracks=tracks, device=device, batch_size=how.batch_size, ensemble=ensemble, stride=how.stride,
        precision=how.precision,
    )  # fmt: skip
    if how.compiled:
        predictor.compile()
    return predictor


def _chosen(card: ModelCard, selection: str | None) -> tuple[int, ...]:
    if selection is None and len(card.tracks) > MOST_UNASKED:
        raise InvalidRequest(
            f"{card.title} has {len(card.tracks):,} tracks, each a file of its own: choose some with --tracks "
            "(such as assay=DNASE), or '*' for all."
        )
    return select(card, selection)


def uid(card: ModelCard, track: int, assembly: str) -> str:
    """`k562-t0`; where the assembly is not the model's first, `deepsea-hg38-t0`."""
    return f"{card.id}-t{track}" if assembly == card.assemblies[0] else f"{card.id}-{assembly}-t{track}"
