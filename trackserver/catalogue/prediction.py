"""A model swept over a site's genome: bigWigs in `tilesets/<model>/`, each with its provenance, in the catalogue."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackserver import __version__
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import PREDICTED, TilesetRecord
from trackserver.catalogue.tilesets import check_tileset
from trackserver.errors import InvalidRequest, NeedsTorch
from trackserver.genome.locus import Locus
from trackserver.models import registry
from trackserver.models.card import ModelCard, Track, select
from trackserver.predict.reading import Reading, reading

if TYPE_CHECKING:
    from trackserver.predict.genomewide import Run

Report = Callable[[int, int], None]
MOST_UNASKED = 100  # tracks that are predicted without having been chosen: of a whole genome, 100 MB a track


def predict_tracks(
    site: Site,
    model: str,
    *,
    selection: str | None = None,
    regions: Sequence[Locus] | None = None,
    assembly: str | None = None,
    how: Reading | None = None,
    stride: int | None = None,
    device: str | None = None,
    batch_size: int = 4,
    resume: bool = False,
    report: Report = lambda done, total: None,
) -> list[TilesetRecord]:
    """Predict tracks over the regions (the whole genome by default) and register them, all or none.

    Parameters
    ----------
    assembly
        By default the first of the model's that the site has.
    how
        By default as the model's authors predict.
    stride
        For models of one value a window: how far apart the windows are; by default the model's bin width.
    resume
        Go on with what an earlier run of exactly this question left; otherwise that is thrown away.
    """
    try:
        from trackserver.predict.engine import load_predictor
        from trackserver.predict.genomewide import Run, forget, sweep
        from trackserver.predict.windows import whole_genome
    except ModuleNotFoundError as error:
        raise NeedsTorch() from error
    site.check_writable()
    card = registry.card(site.models, model)
    card = card.at_stride(stride) if stride else card
    lies_on = site.assembly(assembly_for(site, card, assembly))
    tracks = _chosen(card, selection)
    run = Run(
        model=card.id,
        weights_sha256=card.weights_sha256,
        fasta_sha256=site.fasta_sha256(lies_on.name),
        assembly=lies_on.name,
        tracks=tracks,
        reading=how or reading(card),
        bin_width=card.bin_width,
        regions=tuple(regions or whole_genome(lies_on)),
    )
    work = site.cache / "predict"
    if not resume:
        forget(work, run)
    predictor = load_predictor(
        site.models,
        model,
        tracks=tracks,
        device=device or site.settings.device,
        batch_size=batch_size,
        reading=run.reading,
        stride=stride,
    )
    folder = site.tilesets / card.id
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{uid(card, track, run.assembly)}.bw" for track in tracks]
    sweep(predictor, site.genome(run.assembly), lies_on, run, work, paths, report)
    records = [_record(site, card, card.tracks[track], path, run) for track, path in zip(tracks, paths, strict=True)]
    site.catalogue.put_tilesets(records)
    return records


def _chosen(card: ModelCard, selection: str | None) -> tuple[int, ...]:
    if selection is None and len(card.tracks) > MOST_UNASKED:
        raise InvalidRequest(
            f"{card.title} has {len(card.tracks):,} tracks, each a file of its own: choose some with --tracks "
            "(such as assay=DNASE), or '*' for all."
        )
    return select(card, selection)


def assembly_for(site: Site, card: ModelCard, asked: str | None = None) -> str:
    """The assembly to predict on: the one asked for, else the first of the model's that the site has."""
    known = [name for name in card.assemblies if name in site.assembly_names]
    if not known:
        has = ", ".join(site.assembly_names)
        raise InvalidRequest(f"Model {card.id} is for {' and '.join(card.assemblies)}; this site has {has}.")
    if asked and asked not in known:
        raise InvalidRequest(f"Model {card.id} cannot predict on {asked}; on this site it can on {', '.join(known)}.")
    return asked or known[0]


def uid(card: ModelCard, track: int, assembly: str) -> str:
    """`k562-t0`; where the assembly is not the model's first, `deepsea-hg38-t0`."""
    return f"{card.id}-t{track}" if assembly == card.assemblies[0] else f"{card.id}-{assembly}-t{track}"


def _record(site: Site, card: ModelCard, track: Track, path: Path, run: Run) -> TilesetRecord:
    provenance = _provenance(card, track, run)
    record = check_tileset(site, TilesetRecord(
        uid=path.stem, name=track.name, kind=PREDICTED, assembly=run.assembly, path=str(path),
        assay=track.assay, biosample=track.biosample, target=track.target, strand=track.strand,
        accession=track.accession, model=card.id, track_index=track.index, provenance=provenance,
    ))  # fmt: skip
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(provenance | {"sha256": record.sha256}, indent=1, allow_nan=False))
    os.replace(partial, path.with_suffix(".json"))
    return record


def _provenance(card: ModelCard, track: Track, run: Run) -> dict[str, Any]:
    return {
        "model": card.id,
        "title": card.title,
        "licence": card.licence,
        "weights_sha256": card.weights_sha256,
        "track": track.index,
        "assembly": run.assembly,
        "fasta_sha256": run.fasta_sha256,
        **run.reading.asked(),
        "window": card.window,
        "crop": card.crop,
        "bin_width": card.bin_width,
        "regions": len(run.regions),
        "precision": "float32",
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
