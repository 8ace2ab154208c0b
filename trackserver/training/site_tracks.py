"""Select a site's observed tilesets as tracks to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import OBSERVED, TilesetRecord
from trackserver.errors import InvalidRequest
from trackserver.models.card import Track, select_tracks
from trackserver.training.targets import Loss, TrainingTrack

# The scale of the loss, log(1 + scale * y / mean): the smaller, the more high values count. CAGE has steep peaks.
SCALES = {"CAGE": 0.5}
SCALE = 1.0

_OPPOSITE = {"+": "-", "-": "+"}


def training_tracks(site: Site, assembly: str, selection: str | None, loss: Loss = "signal") -> list[TrainingTrack]:
    """The selected observed tilesets of an assembly, sorted by uid and numbered from 0."""
    records = sorted(site.catalogue.tilesets(kind=OBSERVED, assembly=assembly), key=lambda record: record.uid)
    if not records:
        raise InvalidRequest(
            f"This site has no observed tileset of {assembly} to train on; add some with `trackserver add`."
        )
    all_tracks = [_track(number, record) for number, record in enumerate(records)]
    selected = [records[index] for index in select_tracks(all_tracks, selection, owner="the observed tilesets")]
    tracks = _pair_strands([_track(number, record) for number, record in enumerate(selected)])
    return [
        TrainingTrack(
            track, site.inside(record.path), loss, 1.0 if loss == "peaks" else SCALES.get(track.assay.upper(), SCALE)
        )
        for track, record in zip(tracks, selected, strict=True)
    ]


def _track(index: int, record: TilesetRecord) -> Track:
    return Track(
        index, record.name, record.assay, record.biosample, record.target, record.strand, record.accession
    )  # fmt: skip


def _pair_strands(tracks: Sequence[Track]) -> list[Track]:
    """Set `strand_pair` of tracks whose experiment has exactly one track on the other strand."""
    by_strand: dict[tuple[str, ...], list[int]] = {}
    for track in tracks:
        by_strand.setdefault((*_experiment(track), track.strand), []).append(track.index)
    return [replace(track, strand_pair=_opposite(track, by_strand)) for track in tracks]


def _opposite(track: Track, by_strand: dict[tuple[str, ...], list[int]]) -> int | None:
    own = by_strand[(*_experiment(track), track.strand)]
    other = by_strand.get((*_experiment(track), _OPPOSITE.get(track.strand, "")), [])
    return other[0] if len(own) == len(other) == 1 else None


def _experiment(track: Track) -> tuple[str, ...]:
    return track.accession, track.assay, track.biosample, track.target
