from __future__ import annotations

import pytest

from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.errors import InvalidRequest, UnknownTrack
from trackserver.training.site_tracks import training_tracks


@pytest.fixture
def site_with_strands(site: Site) -> Site:
    path = site.catalogue.tileset("signal").path
    site.catalogue.put_tilesets(
        TilesetRecord(uid, uid, "observed", "tiny", path, assay="CAGE", strand=strand, accession=accession)
        for uid, strand, accession in [("c1-plus", "+", "c1"), ("c1-minus", "-", "c1"), ("c2-plus", "+", "c2")]
    )
    return site


def test_strands_of_an_experiment_are_paired_and_numbered_anew(site_with_strands: Site) -> None:
    tracks = training_tracks(site_with_strands, "tiny", None)
    assert [(t.track.index, t.track.name, t.track.strand_pair) for t in tracks] == [
        (0, "c1-minus", 1), (1, "c1-plus", 0), (2, "c2-plus", None), (3, "DNase K562", None),
    ]  # fmt: skip
    assert [t.scale for t in tracks] == [0.5, 0.5, 0.5, 1.0]
    chosen = training_tracks(site_with_strands, "tiny", "1,3", loss="peaks")
    assert [(t.track.index, t.track.strand_pair, t.scale) for t in chosen] == [(0, None, 1.0), (1, None, 1.0)]


def test_what_cannot_be_learnt_from(site_with_strands: Site) -> None:
    with pytest.raises(UnknownTrack, match="'the observed tilesets' has no track 'ATAC\\*'"):
        training_tracks(site_with_strands, "tiny", "ATAC*")
    with pytest.raises(InvalidRequest, match="no observed tileset of hg38"):
        training_tracks(site_with_strands, "hg38", None)
