"""The sweep on a real Ray cluster of two workers on this machine, one of which does not live long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from trackserver.catalogue.site import Site
from trackserver.errors import DataError, NeedsRay, Unavailable
from trackserver.genome.locus import Locus
from trackserver.predict.engine import Predictor
from trackserver.predict.ray import ray_connection
from trackserver.sweep import cluster, plan, prediction
from trackserver.sweep.cluster import on_cluster
from trackserver.sweep.prediction import Hardware, Prediction, predict_tracks
from trackserver.sweep.run import Progress

pytestmark = [pytest.mark.slow, pytest.mark.alone]
plain = prediction._load_predictor
ONE_CHUNK = [Locus("chrA", 20_000, 21_000)]


@pytest.fixture(autouse=True)
def small_chunks(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHUNK_WINDOWS", 2)
    monkeypatch.setattr(prediction, "READ_BP", 1)


def loaded_and_noted(models: Path, *rest: Any) -> Predictor:
    """The predictor; which process has it stands in the site's cache."""
    (models.parent / "cache" / f"worker-{os.getpid()}").touch()
    return plain(models, *rest)


def workers(site: Site) -> list[int]:
    found = {int(path.name.partition("-")[2]) for path in site.cache.glob("worker-*")}
    return sorted(found - {os.getpid()})


def deadly(*asked: Any) -> Predictor:
    predictor = plain(*asked)
    predictor.predict_batch = lambda codes: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assignment]
    return predictor


def test_a_worker_that_is_killed_costs_nothing_but_time(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    torch.set_num_threads(1)  # as many as a worker has: with more, sums are added in another order
    (record,) = predict_tracks(site, "random", selection="1")
    local = site.inside(record.path).read_bytes()
    monkeypatch.setattr(prediction, "_load_predictor", loaded_and_noted)
    killed: list[int] = []

    def kill_one(at: Progress) -> None:
        if at.windows and not killed:
            killed.append(workers(site)[0])
            os.kill(killed[0], signal.SIGKILL)

    seen: list[Progress] = []
    (record,) = predict_tracks(
        site,
        "random",
        selection="1",
        report=lambda at: (seen.append(at), kill_one(at)),
        hardware=Hardware(cluster="local", workers=2),
    )
    assert site.inside(record.path).read_bytes() == local
    assert caplog.text.count("Lost a worker of the Ray cluster; starting another.") == 1
    assert record.provenance["device"] == "cpu"
    assert seen[-1].windows == seen[-1].total_windows
    assert seen[-1].bp == seen[-1].total_bp
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers(site)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_chunk_that_ends_every_worker_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "_load_predictor", deadly)
    monkeypatch.setattr(cluster, "MAX_LOST_WORKERS", 2)
    with pytest.raises(Unavailable, match=r"2 workers .* ended one after the other at chrA:20,001-21,024\. .* --batch"):
        predict_tracks(site, "random", selection="1", regions=ONE_CHUNK, hardware=Hardware(cluster="local"))


def test_a_site_that_a_node_does_not_find_is_said(site: Site) -> None:
    asked = Prediction(site, "random", prediction.SweepOptions(), "1", ONE_CHUNK)
    genome = site.reference("tiny").genome
    elsewhere = on_cluster(asked.load, genome, asked.plan, Path("/nowhere"))
    with pytest.raises(DataError, match=r"a node of the Ray cluster, does not find /nowhere\. .* all nodes share"):
        list(elsewhere(range(1), lambda bins, windows: None))


def test_without_ray_or_a_cluster_the_fix_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
from trackserver.errors import Unavailable
from trackserver.predict.ray import ray_connection
try:
    with ray_connection("nowhere"):
        pass
except Unavailable as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120).stdout
    assert said.startswith("Cannot connect to a Ray cluster at 'nowhere': ")
    assert "Write ray://host:10001, auto" in said
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NeedsRay, match=r"pip install 'trackserver\[cluster\]'"), ray_connection("local"):
        pass


def test_workers_do_not_run_what_lies_in_the_folder_one_stands_in(site: Site, tmp_path: Path) -> None:
    """A cluster of its own, begun where a file is named like a library."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    script = (
        "import ray, sys\n"
        "from trackserver.predict.ray import ray_connection\n"
        "with ray_connection('local'):\n"
        "    print(ray.get(ray.remote(lambda: __import__('numpy').__file__).remote()))\n"
    )
    alone = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    found = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=120
    )
    assert found.stdout.strip().endswith("site-packages/numpy/__init__.py"), found.stderr
