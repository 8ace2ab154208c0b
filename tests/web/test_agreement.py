from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import write_signal
from trackserver.agreement.compare import compare, genome_wide, open_pair, peaks_from_tileset
from trackserver.agreement.figures import FIGURES
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import PREDICTED, TilesetRecord
from trackserver.catalogue.tilesets import add_tileset
from trackserver.genome.locus import Locus
from trackserver.web import agreement

ASKED = "/api/v1/agreement/?predicted=predicted&observed=signal"


@pytest.fixture
def site(site: Site, tmp_path: Path) -> Site:
    """The shared one's tracks, and another beside them that stands for a prediction."""
    write_signal(tmp_path / "predicted.bw", seed=11)
    (tmp_path / "called.bed").write_text("chrA\t10000\t12000\nchrA\t40000\t40640\n")
    add_tileset(site, TilesetRecord("predicted", "P", PREDICTED, "tiny", str(tmp_path / "predicted.bw"),
                                    model="random", provenance={"bin_width": 32}))  # fmt: skip
    add_tileset(site, TilesetRecord("called", "C", "observed", "tiny", str(tmp_path / "called.bed"), filetype="beddb"))
    return site


def as_json(result: Any) -> Any:
    return json.loads(json.dumps(result, default=vars))


def test_the_figures_of_the_window(client: FlaskClient, site: Site) -> None:
    result = client.get(f"{ASKED}&locus=chrA:1,001-60,000").json
    assert result["loci"] == [{"chrom": "chrA", "start": 1000, "end": 60_000}]
    assert (result["predicted"], result["observed"], result["assembly"]) == ("predicted", "signal", "tiny")
    two = open_pair(TilesetCache(site), "predicted", "signal")
    assert result["figures"] == as_json(compare(two, [Locus("chrA", 1000, 60_000)], 32))
    assert result["figures"]["n_left_out"] == 50
    assert result["figures"]["interval"].keys() == set(FIGURES)
    assert result["genome"] is None


def test_several_loci_and_wider_bins(client: FlaskClient, site: Site) -> None:
    result = client.get(f"{ASKED}&locus=A:1001-60000&locus=chrB:1-31000&bin=100").json["figures"]
    two = open_pair(TilesetCache(site), "predicted", "signal")
    assert result == as_json(compare(two, [Locus("chrA", 1000, 60_000), Locus("chrB", 0, 31_000)], 100))


def test_bins_are_wider_where_there_would_be_too_many(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "MAX_BINS", 500)
    result = client.get(f"{ASKED}&locus=chrA:1-64000").json["figures"]
    assert (result["bin_width"], result["n_bins"] + result["n_left_out"]) == (128, 500)
    refused = client.get(f"{ASKED}&locus=chrA:1-64000&bin=32")
    assert refused.status_code == 400
    expected = "64,000 bp in bins of 32 bp would be more than 500 bins; use bins of 128 bp or wider."
    assert refused.json["error"] == expected


def test_against_called_peaks(client: FlaskClient, site: Site) -> None:
    result = client.get(f"{ASKED}&locus=chrA:1-60000&peaks=called").json
    tileset_cache = TilesetCache(site)
    two = open_pair(tileset_cache, "predicted", "signal", peaks_from_tileset(tileset_cache, "called"))
    assert result["peaks"] == "called"
    assert result["figures"] == as_json(compare(two, [Locus("chrA", 0, 60_000)], 32))
    assert result["figures"]["top"] is None


def test_genome_wide_figures_are_there_once_they_were_computed(client: FlaskClient, site: Site) -> None:
    assert client.get(ASKED).json["genome"] is None
    made = genome_wide(site, open_pair(TilesetCache(site), "predicted", "signal"))
    result = client.get(ASKED).json
    assert result["genome"] == made
    assert (result["figures"], result["loci"]) == (None, [])
    assert client.get(f"{ASKED}&locus=chrA:1-60000").json["genome"] == made
    assert client.get(f"{ASKED}&peaks=called").json["genome"] is None


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ("?observed=signal", 400, "Name the tilesets to compare"),
        ("?predicted=nothing&observed=signal", 404, "No tileset 'nothing' here"),
        ("?predicted=genes-tiny&observed=signal", 400, "'genes-tiny' is not a signal track"),
        ("?predicted=predicted&observed=signal&peaks=signal", 400, "'signal' is not a peak file"),
        ("?predicted=predicted&observed=signal&locus=here", 400, "'here' is not a locus"),
        ("?predicted=predicted&observed=signal&locus=chrA:1-70001", 400, "is not on chrA"),
        ("?predicted=predicted&observed=signal&locus=chrZ:1-7", 404, "tiny has no chromosome 'chrZ'"),
        ("?predicted=predicted&observed=signal&locus=chrA:1-700&bin=0", 400, "'bin' should be a whole number from 1"),
        ("?predicted=predicted&observed=signal&locus=chrA:1-700&bin=x", 400, "'bin' should be a whole number from 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered(client: FlaskClient, query: str, status: int, sentence: str) -> None:
    answer = client.get(f"/api/v1/agreement/{query}")
    assert (answer.status_code, set(answer.json)) == (status, {"error", "code", "status"})
    assert sentence in answer.json["error"]


def test_a_wide_view_is_refused_with_what_to_run(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "MAX_BASES", 50_000)
    answer = client.get(f"{ASKED}&locus=chrA:1-50001")
    assert answer.status_code == 400
    assert "`trackserver agree predicted signal`" in answer.json["error"]


def test_a_place_without_values_is_an_answer(client: FlaskClient) -> None:
    result = client.get(f"{ASKED}&locus=chrA:3201-4800").json["figures"]
    assert (result["n_bins"], result["n_left_out"], result["pearson"], result["interval"]) == (0, 50, None, {})
    assert result["notes"] == ["Both tracks have a value in 0 bins of 32 bp; figures need at least 10."]
