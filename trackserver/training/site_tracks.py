"""The site's measured tilesets as something to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import OBSERVED, TilesetRecord
from trackserver.errors import InvalidRequest
from trackserver.models.card import Track, select_tracks
from trackserver.training.targets import Loss, TrainingTrack

# The k of log(1 + k y / mean): how far above its mean a track's signal is still told apart. CAGE is steeper.
SCALES = {"CAGE": 0.5}
SCALE = 1.0

_OPPOSITE = {"+": "-", "-": "+"}


def training_tracks(site: Site, assembly: str, selection: str | None, loss: Loss = "signal") -> list[TrainingTrack]:
    """The chosen measured tilesets of an assembly, numbered anew, in the catalogue's order by uid."""
    records = sorted(site.catalogue.tilesets(kind=OBSERVED, assembly=assembly), key=lambda record: record.uid)
    if not records:
        raise InvalidRequest(f"This site has no measured tileset of {assembly} to learn from; `trackserver add` some.")
    all_tracks = [_track(number, record) for number, record in enumerate(records)]
    chosen = [records[index] for index in select_tracks(all_tracks, selection, of="the measured tilesets")]
    tracks = _paired([_track(number, record) for number, record in enumerate(chosen)])
    return [
        TrainingTrack(
            track, site.inside(record.path), loss, 1.0 if loss == "peaks" else SCALES.get(track.assay.upper(), SCALE)
        )
        for track, record in zip(tracks, chosen, strict=True)
    ]


def _track(index: int, record: TilesetRecord) -> Track:
    return Track(
        index, record.name, record.assay, record.biosample, record.target, record.strand, record.accession
    )  # fmt: skip


def _paired(tracks: Sequence[Track]) -> list[Track]:
    """Tracks that know which one is their other strand: the one track of the same experiment read the other way."""
    by_strand: dict[tuple[str, ...], list[int]] = {}
    for track in tracks:
        by_strand.setdefault((*_experiment(track), track.strand), []).append(track.index)
    return [replace(track, strand_pair=_opposite(track, by_strand)) for track in tracks]


def _opposite(track: Track, by_strand: dict[tuple[str, ...], list[int]]) -> int | None:
    same = by_strand[(*_experiment(track), track.strand)]
    other = by_strand.get((*_experiment(track), _OPPOSITE.get(track.strand, "")), [])
    return other[0] if len(same) == len(other) == 1 else None


def _experiment(track: Track) -> tuple[str, ...]:
    return track.accession, track.assay, track.biosample, track.target
