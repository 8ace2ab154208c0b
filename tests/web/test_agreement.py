from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import write_signal
from trackserver.agreement.compare import compare, genome_wide, pair, peaks_of
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


def as_json(found: Any) -> Any:
    return json.loads(json.dumps(found, default=vars))


def test_the_figures_of_the_window(client: FlaskClient, site: Site) -> None:
    found = client.get(f"{ASKED}&locus=chrA:1,001-60,000").json
    assert found["loci"] == [{"chrom": "chrA", "start": 1000, "end": 60_000}]
    assert (found["predicted"], found["observed"], found["assembly"]) == ("predicted", "signal", "tiny")
    two = pair(TilesetCache(site), "predicted", "signal")
    assert found["figures"] == as_json(compare(two, [Locus("chrA", 1000, 60_000)], 32))
    assert found["figures"]["n_left_out"] == 50
    assert found["figures"]["interval"].keys() == set(FIGURES)
    assert found["genome"] is None


def test_several_loci_and_wider_bins(client: FlaskClient, site: Site) -> None:
    found = client.get(f"{ASKED}&locus=A:1001-60000&locus=chrB:1-31000&bin=100").json["figures"]
    two = pair(TilesetCache(site), "predicted", "signal")
    assert found == as_json(compare(two, [Locus("chrA", 1000, 60_000), Locus("chrB", 0, 31_000)], 100))


def test_bins_are_wider_where_there_would_be_too_many(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "MOST_BINS", 500)
    found = client.get(f"{ASKED}&locus=chrA:1-64000").json["figures"]
    assert (found["bin_width"], found["n_bins"] + found["n_left_out"]) == (128, 500)
    refused = client.get(f"{ASKED}&locus=chrA:1-64000&bin=32")
    assert refused.status_code == 400
    assert refused.json["error"] == "64,000 bp in bins of 32 bp are more than 500 bins; take 128 bp a bin."


def test_against_called_peaks(client: FlaskClient, site: Site) -> None:
    found = client.get(f"{ASKED}&locus=chrA:1-60000&peaks=called").json
    opened = TilesetCache(site)
    two = pair(opened, "predicted", "signal", peaks_of(opened, "called"))
    assert found["peaks"] == "called"
    assert found["figures"] == as_json(compare(two, [Locus("chrA", 0, 60_000)], 32))
    assert found["figures"]["top"] is None


def test_genome_wide_figures_are_there_once_they_were_computed(client: FlaskClient, site: Site) -> None:
    assert client.get(ASKED).json["genome"] is None
    made = genome_wide(site, pair(TilesetCache(site), "predicted", "signal"))
    found = client.get(ASKED).json
    assert found["genome"] == made
    assert (found["figures"], found["loci"]) == (None, [])
    assert client.get(f"{ASKED}&locus=chrA:1-60000").json["genome"] == made
    assert client.get(f"{ASKED}&peaks=called").json["genome"] is None


@pytest.mark.parametrize(
    ("asked", "status", "sentence"),
    [
        ("?observed=signal", 400, "Name the tilesets to compare"),
        ("?predicted=nothing&observed=signal", 404, "No tileset 'nothing' here"),
        ("?predicted=genes-tiny&observed=signal", 400, "'genes-tiny' is no signal track"),
        ("?predicted=predicted&observed=signal&peaks=signal", 400, "'signal' holds no peaks"),
        ("?predicted=predicted&observed=signal&locus=here", 400, "'here' is not a locus"),
        ("?predicted=predicted&observed=signal&locus=chrA:1-70001", 400, "does not lie on chrA"),
        ("?predicted=predicted&observed=signal&locus=chrZ:1-7", 404, "tiny has no chromosome 'chrZ'"),
        ("?predicted=predicted&observed=signal&locus=chrA:1-700&bin=0", 400, "'bin' should be a whole number from 1"),
        ("?predicted=predicted&observed=signal&locus=chrA:1-700&bin=x", 400, "'bin' should be a whole number from 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered(client: FlaskClient, asked: str, status: int, sentence: str) -> None:
    answer = client.get(f"/api/v1/agreement/{asked}")
    assert (answer.status_code, set(answer.json)) == (status, {"error", "code", "status"})
    assert sentence in answer.json["error"]


def test_a_wide_view_is_refused_with_what_to_run(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "MOST_BASES", 50_000)
    answer = client.get(f"{ASKED}&locus=chrA:1-50001")
    assert answer.status_code == 400
    assert "`trackserver agree predicted signal`" in answer.json["error"]


def test_a_place_without_values_is_an_answer(client: FlaskClient) -> None:
    found = client.get(f"{ASKED}&locus=chrA:3201-4800").json["figures"]
    assert (found["n_bins"], found["n_left_out"], found["pearson"], found["interval"]) == (0, 50, None, {})
    assert found["said"] == ["Bins of 32 bp in which both tracks have a value: 0; it takes 10."]
