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

if TYPE_CHECKING:
    from trackserver.predict.genomewide import Run

Report = Callable[[int, int], None]


def predict_tracks(
    site: Site,
    model: str,
    *,
    selection: str | None = None,
    regions: Sequence[Locus] | None = None,
    ensemble: tuple[str, ...] = (),
    device: str | None = None,
    batch_size: int = 4,
    resume: bool = False,
    report: Report = lambda done, total: None,
) -> list[TilesetRecord]:
    """Predict tracks over the regions (the whole genome by default) and register them, all or none.

    Parameters
    ----------
    resume
        Go on with what an earlier run of exactly this question left; otherwise that is thrown away.
    """
    try:
        from trackserver.predict.engine import load_predictor
        from trackserver.predict.genomewide import Run, forget, sweep
        from trackserver.predict.windows import whole_genome
    except ImportError as error:
        raise NeedsTorch() from error
    site.check_writable()
    card = registry.card(site.models, model)
    if card.assembly not in site.assembly_names:
        raise InvalidRequest(f"Model {card.id} is for {card.assembly}; this site has {', '.join(site.assembly_names)}.")
    assembly = site.assembly(card.assembly)
    tracks = select(card, selection)
    run = Run(
        model=card.id,
        weights_sha256=card.weights_sha256,
        fasta_sha256=site.fasta_sha256(card.assembly),
        assembly=card.assembly,
        tracks=tracks,
        ensemble=ensemble,
        regions=tuple(regions or whole_genome(assembly)),
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
        ensemble=ensemble,
    )
    folder = site.tilesets / card.id
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{uid(card, track)}.bw" for track in tracks]
    sweep(predictor, site.genome(card.assembly), assembly, run, work, paths, report)
    records = [_record(site, card, card.tracks[track], path, run) for track, path in zip(tracks, paths, strict=True)]
    site.catalogue.put_tilesets(records)
    return records


def uid(card: ModelCard, track: int) -> str:
    return f"{card.id}-t{track}"


def _record(site: Site, card: ModelCard, track: Track, path: Path, run: Run) -> TilesetRecord:
    provenance = _provenance(card, track, run)
    record = check_tileset(site, TilesetRecord(
        uid=uid(card, track.index), name=track.name, kind=PREDICTED, assembly=card.assembly, path=str(path),
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
        "weights_sha256": card.weights_sha256,
        "track": track.index,
        "assembly": card.assembly,
        "fasta_sha256": run.fasta_sha256,
        "ensemble": list(run.ensemble),
        "window": card.window,
        "crop": card.crop,
        "bin_width": card.bin_width,
        "regions": len(run.regions),
        "precision": "float32",
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
