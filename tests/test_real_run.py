"""The main job on real human sequence and real ENCODE and FANTOM5 signal; the thresholds it must clear."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from trackserver.catalogue.listing import Listing
from trackserver.catalogue.site import Site

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.alone
@pytest.mark.realdata
@pytest.mark.slow
def test_held_out_windows(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(os.cpu_count() or 1)  # other tests may have left one
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from real_run import real_run

    said: list[str] = []
    found = real_run(real_data / "hg38", tmp_path / "site", tell=said.append)
    sys.stdout.write(f"\n{found}\n")
    dnase, cage, regression = found["model"]["DNASE"], found["model"]["CAGE"], found["gc_regression"]["DNASE"]
    assert found["test_windows"] == 10
    site = Site(tmp_path / "site")
    trained_on = {record.uid: record.accession for record in site.catalogue.tilesets(kind="predicted")}
    pairs = Listing(site).pairs()
    assert {uid: site.catalogue.tileset(pairs[uid].observed).accession for uid in trained_on} == trained_on
    assert dnase["window_pearson"] >= 0.30
    assert dnase["window_pearson"] >= regression["window_pearson"] + 0.08
    assert dnase["log1p_pearson"] >= 0.42
    assert cage["log1p_pearson"] >= 0.15
