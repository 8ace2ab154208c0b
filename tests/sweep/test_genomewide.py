from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
import torch

from tests.tolerance import assert_close
from trackserver.catalogue.site import Site
from trackserver.errors import InvalidRequest, TrackserverError, UnknownModel, UnknownTrack
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import N
from trackserver.predict.engine import load_predictor
from trackserver.predict.ensemble import Ensemble
from trackserver.sweep import plan as plans
from trackserver.sweep import prediction
from trackserver.sweep.prediction import SweepOptions, predict_tracks
from trackserver.sweep.run import Progress


def read(path: Path, chrom: str, size: int) -> np.ndarray:
    with pyBigWig.open(str(path)) as reader:
        return np.array(reader.values(chrom, 0, size))


def test_bigwigs_hold_what_the_model_says_of_each_bin(site: Site) -> None:
    """Against one window a bin, the slow way; bins over N alone are gaps, those at both ends of chromosomes are not."""
    records = predict_tracks(site, "random")
    assert [record.uid for record in records] == ["random-t0", "random-t1", "random-t2"]
    predictor = load_predictor(site.models, "random")
    card, genome = predictor.card, site.reference("tiny").genome
    for chrom, size in site.assembly("tiny").chromsizes.items():
        got = np.stack([read(site.inside(record.path), chrom, size) for record in records])
        whole = genome.codes(Locus(chrom, 0, size))
        for start in [0, 32, 2976, 3008, size // 2 // 32 * 32, (size - 1) // 32 * 32]:
            window = start - card.window // 2
            codes = genome.codes(Locus(chrom, window, window + card.window))
            expected = predictor.predict(codes[None])[0][:, (card.window // 2 - card.crop) // 32]
            if (whole[start : start + 32] == N).all():
                assert np.isnan(got[:, start]).all()
            else:
                assert_close(got[:, start], expected, predictor.module)
                assert (got[:, start : start + 32][:, : size - start] == got[:, start, None]).all()


def test_the_numbers_do_not_depend_on_batches_or_chunks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    predict_tracks(site, "random", SweepOptions(batch_size=4), selection="0")
    one = read(site.tilesets / "random" / "random-t0.bw", "chrA", 70_000)
    monkeypatch.setattr(plans, "CHUNK_WINDOWS", 3)
    predict_tracks(site, "random", SweepOptions(batch_size=1), selection="0")
    other = read(site.tilesets / "random" / "random-t0.bw", "chrA", 70_000)
    assert_close(one, other, load_predictor(site.models, "random").module, gaps=True)


def test_regions_and_provenance(site: Site) -> None:
    (record,) = predict_tracks(
        site, "random", SweepOptions(Ensemble(both_strands=True)), selection="1", regions=[Locus("chrA", 100, 1000)]
    )
    values = read(site.inside(record.path), "chrA", 2000)
    known = np.flatnonzero(np.isfinite(values))
    assert (known[0], known[-1]) == (96, 1023)
    assert record.provenance["ensemble"] == ["rc"]
    assert record.provenance["weights_sha256"] == load_predictor(site.models, "random").card.weights_sha256
    assert site.catalogue.tileset("random-t1") == replace(record, created=site.catalogue.tileset("random-t1").created)
    assert (site.tilesets / "random" / "random-t1.json").is_file()


def test_many_tracks_are_predicted_only_when_they_are_chosen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "MAX_DEFAULT_TRACKS", 2)
    with pytest.raises(InvalidRequest, match=r"Random weights has 3 tracks.*--tracks"):
        predict_tracks(site, "random")
    region = [Locus("chrA", 0, 1000)]
    assert len(predict_tracks(site, "random", selection="*", regions=region)) == 3


def test_a_killed_run_leaves_nothing_and_is_resumed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill -9 between two chunks: nothing in the catalogue, no bigWig; --resume computes only what is missing."""
    script = f"""
import os, signal, torch
from pathlib import Path
from trackserver.sweep import plan, prediction, run
torch.set_num_threads({torch.get_num_threads()})  # with more or fewer, sums are added in another order
from trackserver.sweep.prediction import SweepOptions, predict_tracks
from trackserver.catalogue.site import Site
plan.CHUNK_WINDOWS, prediction.READ_BP = 4, 1
def stop(at):
    if at.windows > 8:
        os.kill(os.getpid(), signal.SIGKILL)
predict_tracks(Site(Path({str(site.path)!r})), "random", selection="0", report=stop)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert site.catalogue.tilesets(model="random") == []
    assert list(site.tilesets.rglob("*.bw")) == []
    chunks = sorted((site.cache / "predict").rglob("chunk-*.npy"))
    assert len(chunks) == 2

    seen: list[Progress] = []
    monkeypatch.setattr(plans, "CHUNK_WINDOWS", 4)
    monkeypatch.setattr(prediction, "READ_BP", 1)
    (record,) = predict_tracks(site, "random", selection="0", resume=True, report=seen.append)
    assert (seen[0].windows, seen[-1].windows) == (8, seen[-1].total_windows)
    assert seen[-1].bp == seen[-1].total_bp
    resumed = site.inside(record.path).read_bytes()
    predict_tracks(site, "random", selection="0")
    assert site.inside(record.path).read_bytes() == resumed
    assert not list((site.cache / "predict").iterdir())


def test_without_resume_an_unfinished_run_is_begun_anew(site: Site) -> None:
    class Stopped(Exception):
        pass

    def stop(at: Progress) -> None:
        if at.windows:
            raise Stopped

    with pytest.raises(Stopped):
        predict_tracks(site, "random", selection="0", report=stop)
    (run,) = (site.cache / "predict").iterdir()
    (run / "chunk-000000.npy").write_bytes(b"not an array")
    with pytest.raises(InvalidRequest, match=r"batch size changed.*start again without --resume"):
        predict_tracks(site, "random", SweepOptions(batch_size=2), selection="0", resume=True)
    (record,) = predict_tracks(site, "random", selection="0")
    assert np.isfinite(read(site.inside(record.path), "chrA", 70_000)).any()


def test_what_cannot_be_predicted(site: Site) -> None:
    with pytest.raises(UnknownModel, match="installed: random"):
        predict_tracks(site, "nothing")
    with pytest.raises(UnknownTrack, match="numbered 0 to 2"):
        predict_tracks(site, "random", selection="7")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_site_is_said_before_anything_is_computed(site: Site) -> None:
    site.path.chmod(0o555)
    began = time.monotonic()
    with pytest.raises(TrackserverError, match="is read-only"):
        predict_tracks(site, "random")
    assert time.monotonic() - began < 5
    site.path.chmod(0o755)
