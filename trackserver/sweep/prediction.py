"""Predict a model's tracks along a site's genome, as bigWigs with provenance in `tilesets/<model>/`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackserver import __version__, config
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

MAX_DEFAULT_TRACKS = 100  # predicted without --tracks; a track of a whole genome takes 100 MB
READ_BP = 131_072  # read at once by models that can share work between neighbouring windows


@dataclass(frozen=True)
class SweepOptions:
    """Options of a sweep.

    ensemble : None for the one of the model's authors
    stride : bp between windows, for models with one value per window; None for the model's bin width
    trim : bins left out at each end of a window's predictions
    separate_windows : compute each window by itself even if the model can share work between windows, as a check
    precision : of the arithmetic; use less than float32 only for viewing
    compiled : use torch.compile
    skip_blacklist : leave out bins that touch the site's blacklist
    digits : significant digits in the bigWigs; None for all
    batch_size : windows computed at once
    """

    ensemble: Ensemble | None = None
    stride: int | None = None
    trim: int = 0
    separate_windows: bool = False
    precision: Precision = "float32"
    compiled: bool = False
    skip_blacklist: bool = False
    digits: int | None = None
    batch_size: int = 4


@dataclass(frozen=True)
class Hardware:
    """The devices to predict on.

    device : `auto` for all GPUs of this machine, `cpu`, `cuda:0,1`; default: the site's setting
    cluster : the address of a Ray cluster to predict on instead; see `predict.ray.ray_connection`
    workers : of the cluster; default: one per GPU, or one per node without GPUs
    """

    device: str | None = None
    cluster: str | None = None
    workers: int | None = None


def predict_tracks(
    site: Site,
    model: str,
    options: SweepOptions = SweepOptions(),
    *,
    selection: str | None = None,
    regions: Sequence[Locus] | None = None,
    assembly: str | None = None,
    hardware: Hardware = Hardware(),
    resume: bool = False,
    report: Callable[[Progress], object] = lambda progress: None,
) -> list[TilesetRecord]:
    """Predict tracks over regions (default: the whole genome) and register them, all or none.

    Parameters
    ----------
    assembly
        Default: the model's first one that the site has.
    resume
        Continue an earlier run of exactly the same question; otherwise its chunks are deleted.
    report
        Called after each batch.
    """
    return Prediction(site, model, options, selection, regions, assembly, hardware).run(resume, report)


class Prediction:
    """A prediction whose request has been checked, but not yet computed."""

    def __init__(
        self,
        site: Site,
        model: str,
        options: SweepOptions,
        selection: str | None = None,
        regions: Sequence[Locus] | None = None,
        assembly: str | None = None,
        hardware: Hardware = Hardware(),
    ):
        site.check_writable()
        self.site, self.options, self.device = site, options, hardware.device or site.settings.device
        self.cluster, self.workers = hardware.cluster, hardware.workers
        self.model = model
        card = registry.card(site.models, model)
        self.card = card.at_stride(options.stride) if options.stride else card
        self.assembly = site.assembly(assembly_for(site, card, assembly))
        if options.trim > (max_trim := (self.card.n_bins(self.card.window) - 1) // 2):
            raise InvalidRequest(
                f"Trimming {options.trim:,} bins at each end leaves nothing of a window of {model}; "
                f"trim at most {max_trim:,}."
            )
        self.tracks = _select_tracks(self.card, selection)
        self.ensemble = options.ensemble or EnsembleOptions().resolve(self.card)
        self.regions = on_bins(regions or whole_genome(self.assembly), self.assembly, self.card.bin_width)

    def estimate(self) -> Estimate:
        """Estimate time, disk and memory; this predicts for some seconds."""
        from trackserver.sweep.estimate import estimate

        return estimate(self.plan, self.predictors, self.site.reference(self.assembly.name).genome, self._folder())

    def run(
        self, resume: bool = False, report: Callable[[Progress], object] = lambda progress: None
    ) -> list[TilesetRecord]:
        """Predict, write and register the tracks, all or none; see `predict_tracks`."""
        from trackserver.sweep.chunks import Chunks
        from trackserver.sweep.estimate import check_disk_space
        from trackserver.sweep.run import sweep

        chunks = Chunks(self.site.cache / "predict" / self._chunks_name())
        paths = [self._folder() / f"{track_uid(self.card, track, self.assembly.name)}.bw" for track in self.tracks]
        with chunks.lock(), self._connect():
            chunks.start(self.question, resume)
            check_disk_space(self.plan, len(self.tracks), self._folder(), existing_bytes=chunks.nbytes())
            sweep(self.plan, chunks, self.producers(), paths, digits=self.options.digits, report=report)
            records = [self._record(track, path) for track, path in zip(self.tracks, paths, strict=True)]
            stored = self.site.catalogue.put_tilesets(records)
            chunks.delete()
        return stored

    @cached_property
    def plan(self) -> Plan:
        from trackserver.sweep.plan import Plan

        name, width = self.assembly.name, self.card.bin_width
        known = on_bins(self.site.reference(name).known_sequence(), self.assembly, width)
        regions = intersection(self.regions, known, self.assembly)
        if blacklist := self._blacklist():
            regions = difference(regions, on_bins(blacklist, self.assembly, width), self.assembly)
        two_windows = self.card.window + self.card.predicted_bp
        shares = not self.options.separate_windows and self.predictors[0].accepts_length(two_windows)
        windows_at_once = max(1, READ_BP // self.card.predicted_bp) if shares else 1
        return Plan(self.card, self.assembly, tuple(regions), self.options.trim, windows_at_once, len(self.tracks))

    def _blacklist(self) -> list[Locus]:
        if not self.options.skip_blacklist:
            return []
        name = self.assembly.name
        regions = self.site.reference(name).regions("blacklist")
        if regions is None:
            raise InvalidRequest(
                f"This site has no blacklist of {name}; set assemblies.{name}.blacklist in {config.FILE} to a BED file."
            )
        return [locus for chrom in self.assembly.chroms for locus in regions.loci(chrom)]

    @cached_property
    def predictors(self) -> list[Predictor]:
        """One per device."""
        with needing_torch():
            from trackserver.predict.engine import devices
        return [self.load(device) for device in devices("cpu" if self.cluster else self.device)]

    def gpu_memory(self) -> int:
        """Peak bytes in use so far on one GPU; 0 without a GPU."""
        return max(predictor.peak_memory_bytes() for predictor in self.predictors)

    @property
    def load(self) -> Callable[[str], Predictor]:
        """A function that loads the model onto a device, here or on another machine."""
        return partial(_load_predictor, self.site.models, self.model, self.tracks, self.ensemble, self.options)

    def producers(self) -> list[Producer]:
        from trackserver.sweep.run import predict_chunks

        genome = self.site.reference(self.assembly.name).genome
        if self.cluster:
            from trackserver.sweep.cluster import on_cluster

            return [on_cluster(self.load, genome, self.plan, self.site.path, self.workers)]
        return [partial(predict_chunks, predictor, genome, self.plan) for predictor in self.predictors]

    def _connect(self) -> AbstractContextManager[None]:
        if not self.cluster:
            return nullcontext()
        from trackserver.predict.ray import ray_connection

        return ray_connection(self.cluster)

    def _device_type(self) -> str:
        """`cpu` or `cuda`."""
        if not self.cluster:
            return self.predictors[0].device.type
        from trackserver.predict.ray import allocate_workers

        return allocate_workers(self.workers).device

    @cached_property
    def question(self) -> dict[str, Any]:
        """Everything the numbers depend on, under names that errors use."""
        options = asdict(self.options) | {"ensemble": asdict(self.ensemble)}
        return options | {
            "version": __version__,
            "model": self.card.id,
            "weights_sha256": self.card.weights_sha256,
            "assembly": self.assembly.name,
            "fasta_sha256": self.site.reference(self.assembly.name).fasta_sha256(),
            "tracks": self.tracks,
            "regions": [digest([str(region) for region in self.plan.regions]), self.plan.windows_at_once],
            "device": self._device_type(),
        }

    def _chunks_name(self) -> str:
        """The folder name of the chunks, which is the same for the same tracks and regions."""
        return digest([self.card.id, self.assembly.name, self.tracks, [str(region) for region in self.regions]])

    def _folder(self) -> Path:
        folder = self.site.tilesets / self.card.id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _record(self, track: int, path: Path) -> TilesetRecord:
        info = self.card.tracks[track]
        provenance = self._provenance(info)
        record = check_tileset(self.site, TilesetRecord(
            uid=path.stem, name=self._name(info), kind=PREDICTED, assembly=self.assembly.name, path=str(path),
            assay=info.assay, biosample=info.biosample, target=info.target, strand=info.strand,
            accession=info.accession, model=self.card.id, track_index=info.index, provenance=provenance,
        ))  # fmt: skip
        text = json.dumps(provenance | {"sha256": record.sha256}, indent=1, allow_nan=False)
        write_whole(path.with_suffix(".json"), text)
        return record

    def _name(self, track: Track) -> str:
        """The track's name, with the precision if that is reduced."""
        return track.name if self.options.precision == "float32" else f"{track.name} ({self.options.precision})"

    def _provenance(self, track: Track) -> dict[str, Any]:
        options = self.options
        return {
            **provenance(self.card, self.assembly.name, self.question["fasta_sha256"], self.ensemble),
            "track": track.index,
            **self.ensemble.options(),
            "window": self.card.window,
            "crop": self.card.crop,
            "trim": options.trim,
            "bin_width": self.card.bin_width,
            "windows_at_once": self.plan.windows_at_once,
            "regions": len(self.regions),
            "blacklist_left_out": options.skip_blacklist,
            "precision": options.precision,
            "compiled": options.compiled,
            "batch_size": options.batch_size,
            "device": self.question["device"],
            "digits": options.digits,
        }


def _load_predictor(
    models: Path, model: str, tracks: Sequence[int], ensemble: Ensemble, options: SweepOptions, device: str
) -> Predictor:
    from trackserver.predict.engine import load_predictor

    predictor = load_predictor(
        models, model, tracks=tracks, device=device, batch_size=options.batch_size, ensemble=ensemble,
        stride=options.stride, precision=options.precision,
    )  # fmt: skip
    if options.compiled:
        predictor.compile()
    return predictor


def _select_tracks(card: ModelCard, selection: str | None) -> tuple[int, ...]:
    if selection is None and len(card.tracks) > MAX_DEFAULT_TRACKS:
        raise InvalidRequest(
            f"{card.title} has {len(card.tracks):,} tracks, and each becomes a file. Choose some with --tracks "
            "(such as assay=DNASE), or '*' for all."
        )
    return select(card, selection)


def track_uid(card: ModelCard, track: int, assembly: str) -> str:
    """`k562-t0`; with the assembly if it is not the model's first: `deepsea-hg38-t0`."""
    return f"{card.id}-t{track}" if assembly == card.assemblies[0] else f"{card.id}-{assembly}-t{track}"
