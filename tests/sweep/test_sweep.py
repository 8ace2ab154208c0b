"""The sweep against slow and plain ways of the same, and in trouble."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.conftest import make_site
from tests.tolerance import assert_close, tolerance
from trackserver.catalogue.site import Site
from trackserver.cli import main
from trackserver.errors import InvalidRequest, NoRoom
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.genome.regions import difference, intersection, merge_nearby, on_bins
from trackserver.genome.sequence import N, build_index
from trackserver.models.card import ModelCard, Track
from trackserver.predict.engine import devices, load_predictor
from trackserver.predict.stream import merge_streams, prefetch
from trackserver.sweep import estimate, prediction, run
from trackserver.sweep import plan as plans
from trackserver.sweep.plan import Plan
from trackserver.sweep.prediction import Hardware, Prediction, SweepOptions, predict_tracks
from trackserver.sweep.windows import tile

HERE = Assembly("here", ("a", "b", "c"), (10_007, 999, 31))
CARD = ModelCard("m", "compact", "", ("here",), 1024, 256, 32, (Track(0, "t"),), {}, "")


def within(chrom: str, start: int, length: int) -> Locus:
    start %= HERE.chromsizes[chrom]
    return Locus(chrom, start, min(start + length, HERE.chromsizes[chrom]))


loci = st.builds(within, st.sampled_from(HERE.chroms), st.integers(0, 11_000), st.integers(1, 3_000))
regions = st.lists(loci, max_size=6).map(lambda found: on_bins(found, HERE, 1))


def bases(regions: list[Locus]) -> set[tuple[str, int]]:
    return {(region.chrom, at) for region in regions for at in range(region.start, region.end)}


@given(regions, regions, st.integers(0, 2_000))
def test_regions_are_sets_of_bases(one: list[Locus], other: list[Locus], gap: int) -> None:
    assert bases(intersection(one, other, HERE)) == bases(one) & bases(other)
    assert bases(difference(one, other, HERE)) == bases(one) - bases(other)
    together = merge_nearby(one, gap)
    assert bases(together) >= bases(one)
    for before, after in pairwise(together):
        assert before.chrom != after.chrom or after.start - before.end >= gap


@given(regions.map(lambda found: on_bins(found, HERE, 32)), st.integers(0, 6), st.integers(1, 4), st.integers(1, 5))
def test_every_wanted_bin_is_in_one_chunk_once_and_no_other_is_kept(
    wanted: list[Locus], trim: int, windows_at_once: int, most: int
) -> None:
    plan = Plan(CARD, HERE, tuple(wanted), 0 if windows_at_once > 1 else trim, windows_at_once)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "CHUNK_WINDOWS", most)
        kept: list[tuple[str, int]] = []
        for number in range(len(plan.chunks)):
            bins = [
                (window.keep.chrom, window.keep.start + 32 * i)
                for window in plan.windows(number)
                for i in range(window.n_bins(32))
            ]
            assert len(bins) == plan.n_bins[number]
            assert len(list(plan.windows(number))) == plan.chunk_size(number)[1] <= most
            kept += [one for one, is_wanted in zip(bins, plan.mask(number), strict=True) if is_wanted]
            for window in plan.windows(number):
                assert window.keep.start - window.read.start == 256 + 32 * plan.trim
                assert (len(window.read) - 1024) % CARD.predicted_bp == 0
    assert kept == sorted(kept, key=lambda one: (HERE.chroms.index(one[0]), one[1]))
    assert set(kept) == {(r.chrom, at) for r in wanted for at in range(r.start, r.end, 32)}
    assert len(kept) == len(set(kept))


def test_a_chunk_is_no_larger_the_more_tracks_there_are() -> None:
    human = Assembly("human", ("c",), (100_000_000,))
    card = ModelCard("m", "basenji2", "", ("human",), 131_072, 8192, 128, CARD.tracks, {}, "")
    for tracks, most in ((1, 9 << 20), (100, 9 << 20), (5313, 2 << 20)):
        plan = Plan(card, human, (Locus("c", 0, 100_000_000),), tracks=tracks)
        assert max(plan.n_bins) * 4 * tracks <= plans.CHUNK_BYTES
        assert max(len(piece) for chunk in plan.chunks for piece in chunk) <= most


def test_a_trim_that_leaves_nothing_is_refused_before_anything_is_computed(site: Site) -> None:
    with pytest.raises(InvalidRequest, match="trim at most 95"):
        predict_tracks(site, "random", SweepOptions(trim=96))
    assert [record.uid for record in predict_tracks(site, "random", SweepOptions(trim=95), selection="1")] == [
        "random-t1"
    ]


# --- Exactness -------------------------------------------------------------------------------------------------------


def values(path: Path, site: Site) -> dict[str, NDArray[np.float64]]:
    with pyBigWig.open(str(path)) as reader:
        return {
            chrom: np.array(reader.values(chrom, 0, size)) for chrom, size in site.assembly("tiny").chromsizes.items()
        }


def written(site: Site, how: SweepOptions = SweepOptions(), **more: Any) -> dict[str, NDArray[np.float64]]:  # noqa: B008
    (record,) = predict_tracks(site, "random", how, selection="1", **more)
    return values(site.inside(record.path), site)


@pytest.mark.parametrize("trim", [0, 7])
def test_bit_for_bit_a_plain_loop_over_windows(site: Site, trim: int) -> None:
    """The same windows one after another: no threads, no chunks, no bigWig."""
    got = written(site, SweepOptions(trim=trim, separate_windows=True, batch_size=1))
    predictor = load_predictor(site.models, "random", tracks=[1], batch_size=1)
    card, genome, assembly = predictor.card, site.reference("tiny").genome, site.assembly("tiny")
    known = merge_nearby(on_bins(site.reference("tiny").known_sequence(), assembly, 32), card.predicted_bp)
    for window in tile(known, card, assembly, trim=trim):
        row = predictor.predict(genome.codes(window.read)[None])[0, 0, trim : trim + window.n_bins(32)]
        for number, value in enumerate(row):
            start = window.keep.start + 32 * number
            end = min(start + 32, assembly.chromsizes[window.keep.chrom])
            expected = np.nan if (genome.codes(Locus(window.keep.chrom, start, end)) == N).all() else value
            np.testing.assert_array_equal(got[window.keep.chrom][start:end], expected)


def test_every_base_lies_in_one_bin_but_those_of_n_alone(site: Site) -> None:
    got = written(site)
    for chrom, size in site.assembly("tiny").chromsizes.items():
        codes = site.reference("tiny").genome.codes(Locus(chrom, 0, size))
        for start in range(0, size, 32):
            nothing = (codes[start : start + 32] == N).all()
            assert np.isnan(got[chrom][start : start + 32]).all() == nothing
            assert nothing or len(set(got[chrom][start : start + 32])) == 1


def test_batches_sharing_and_devices_change_nothing_but_the_last_places(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load_predictor(site.models, "random").module
    plain = written(site, SweepOptions(separate_windows=True, batch_size=1))
    assert Prediction(site, "random", SweepOptions()).plan.windows_at_once > 1
    monkeypatch.setattr(plans, "CHUNK_WINDOWS", 3)
    for other in (
        written(site, SweepOptions(batch_size=3)), written(site, SweepOptions(separate_windows=True, batch_size=5)),
        written(site, SweepOptions(separate_windows=True, batch_size=1), hardware=Hardware(device="cpu,cpu")),
    ):  # fmt: skip
        for chrom, expected in plain.items():
            assert_close(other[chrom], expected, module, gaps=True)


def test_what_the_blacklist_touches_is_left_out(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"no blacklist of tiny; set assemblies\.tiny\.blacklist"):
        predict_tracks(site, "random", SweepOptions(skip_blacklist=True))
    (site.path / "black.bed").write_text("chrA\t1000\t1001\nchrA\t5000\t9000\nchrB\t0\t20\n")
    text = (site.path / "trackserver.toml").read_text()
    (site.path / "trackserver.toml").write_text(
        text.replace("[assemblies.tiny]", '[assemblies.tiny]\nblacklist = "black.bed"')
    )
    plain, got = written(site), written(Site(site.path), SweepOptions(skip_blacklist=True))
    out = {"chrA": [(992, 1024), (4992, 9024)], "chrB": [(0, 32)]}
    for chrom, expected in plain.items():
        for start, end in out.get(chrom, []):
            expected[start:end] = np.nan
        assert_close(got[chrom], expected, load_predictor(site.models, "random").module, gaps=True)
    assert Site(site.path).catalogue.tileset("random-t1").provenance["blacklist_left_out"] is True


def test_more_tracks_than_files_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    records = predict_tracks(site, "random")
    before = [site.inside(record.path).read_bytes() for record in records]
    monkeypatch.setattr(run, "BIGWIGS_PER_PASS", 2)
    assert [site.inside(record.path).read_bytes() for record in predict_tracks(site, "random")] == before


def test_less_than_float32_is_said(site: Site) -> None:
    region = [Locus("chrA", 20_000, 21_000)]
    (plain,) = predict_tracks(site, "random", selection="1", regions=region)
    exact = values(site.inside(plain.path), site)["chrA"][20_000:21_000]
    (record,) = predict_tracks(site, "random", SweepOptions(precision="bfloat16"), selection="1", regions=region)
    assert (record.name, record.provenance["precision"]) == (f"{plain.name} (bfloat16)", "bfloat16")
    rough = values(site.inside(record.path), site)["chrA"][20_000:21_000]
    assert 0 < np.abs(rough - exact).max() < 0.05 * np.abs(exact).max()


def test_digits(site: Site) -> None:
    (record,) = predict_tracks(site, "random", selection="1")
    exact, size = values(site.inside(record.path), site), site.inside(record.path).stat().st_size
    (record,) = predict_tracks(site, "random", SweepOptions(digits=3), selection="1")
    assert site.inside(record.path).stat().st_size < size
    for chrom, kept in values(site.inside(record.path), site).items():
        np.testing.assert_allclose(kept, exact[chrom], rtol=0.5e-3)  # half of the third digit


# --- Threads ---------------------------------------------------------------------------------------------------------


def test_items_are_made_ahead_and_a_fault_is_raised_where_they_are_used() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number
        raise ZeroDivisionError

    items = prefetch(numbers(), 3)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert made == [0, 1, 2, 3, 4]  # one is taken, three wait, one is to be handed over
    with pytest.raises(ZeroDivisionError):
        list(items)


def test_an_iterator_that_is_closed_ends_its_threads() -> None:
    ended: list[str] = []

    def forever(name: str) -> Iterator[str]:
        try:
            while True:
                yield name
        finally:
            ended.append(name)

    items = merge_streams([forever("a"), forever("b")], 2)
    assert {next(items) for _ in range(50)} <= {"a", "b"}
    items.close()
    assert sorted(ended) == ["a", "b"]


def test_where_memory_does_not_suffice_batches_are_halved(shared_site: Site) -> None:
    """In a process that may have so much memory and no more: large batches do not fit, small ones do."""
    rounding = tolerance(load_predictor(shared_site.models, "random").module)
    script = f"""
import resource, sys, logging
import numpy as np
from pathlib import Path
from trackserver.predict.engine import load_predictor
from trackserver.predict.stream import stream
logging.basicConfig(format="%(message)s")
predictor = load_predictor(Path({str(shared_site.models)!r}), "random", device="cpu", batch_size=512)
codes = np.random.default_rng(1).integers(0, 4, (512, predictor.card.window)).astype(np.uint8)
one = [values for _, values in stream(predictor, [(0, codes[:8])])][0]
now = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (now + (300 << 20), -1))
(found,) = [values for _, values in stream(predictor, [(0, codes)])]
np.testing.assert_allclose(found[:8], one, rtol=0, atol={rounding} * np.abs(one).max())
print(len(found), predictor.batch_size)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found, size = map(int, done.stdout.split())
    assert found == 512 > size
    assert "is out of memory: continuing with batches of 256" in done.stderr


# --- In trouble ------------------------------------------------------------------------------------------------------


def test_a_run_of_another_genome_or_model_is_not_gone_on_with(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Exception):
        pass

    def stop(at: run.Progress) -> None:
        if at.windows > 8:
            raise Stopped

    monkeypatch.setattr(plans, "CHUNK_WINDOWS", 4)
    monkeypatch.setattr(prediction, "READ_BP", 1)
    with pytest.raises(Stopped):
        predict_tracks(site, "random", selection="1", report=stop)
    fasta = site.reference("tiny").genome.path
    copied = site.path / "other.fa"
    shutil.copy(fasta, copied)
    build_index(copied, Path(f"{copied}.fai"))
    text = copied.read_text()
    at = text.index("\n", 3000) + 1
    copied.write_text(text[:at] + ("C" if text[at] != "C" else "G") + text[at + 1 :])
    settings = site.path / "trackserver.toml"
    settings.write_text(settings.read_text().replace(str(fasta), str(copied)))
    with pytest.raises(InvalidRequest, match=r"Cannot resume: since the run was stopped, fasta sha256.* changed"):
        predict_tracks(Site(site.path), "random", selection="1", resume=True)
    assert (
        predict_tracks(Site(site.path), "random", selection="1")[0].provenance["fasta_sha256"]
        != site.reference("tiny").fasta_sha256()
    )


def test_two_processes_do_not_predict_the_same(site: Site) -> None:
    def again(at: run.Progress) -> None:
        with pytest.raises(InvalidRequest, match="Another process is already predicting"):
            predict_tracks(site, "random", selection="1")

    predict_tracks(site, "random", selection="1", regions=None, report=again)


def call(site: Site, *words: str) -> Result:
    return CliRunner().invoke(main, ["predict", "random", *words, "--site", str(site.path)])


def test_a_dry_run_says_what_it_takes_and_computes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "TRIAL_S", 0.2)
    said = json.loads(call(site, "--dry-run", "--json", "--separate-windows").stdout)
    plan = Prediction(site, "random", SweepOptions(separate_windows=True)).plan
    assert said["windows"] == sum(len(list(plan.windows(number))) for number in range(len(plan.chunks)))
    assert said["disk_needed"] == 2 * 3 * 4 * sum(plan.n_bins)
    assert (said["tracks"], said["devices"], said["gpu_memory"]) == (3, ["cpu"], 0)
    assert said["seconds"] == pytest.approx(said["bp"] / said["bp_per_second"])
    assert said["memory"] > 100e6
    assert site.catalogue.tilesets(model="random") == [] == list(site.tilesets.rglob("*.bw"))
    text = call(site, "--dry-run").stdout
    assert "windows" in text and "Disk: " in text and "Time: about " in text


def test_what_does_not_fit_is_not_begun(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = estimate.disk_needed(Prediction(site, "random", SweepOptions()).plan, 1)
    usage = shutil.disk_usage(site.path)
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda place: usage._replace(free=int(2.5 * needs)))
    with pytest.raises(NoRoom, match=r"3 tracks of .* bins need .* GB free: enough for 2 tracks"):
        predict_tracks(site, "random")
    assert len(predict_tracks(site, "random", selection="0,1")) == 2


def test_a_disk_that_is_full_in_the_middle_is_a_sentence_and_nothing_is_lost(site: Site) -> None:
    """Files may not become larger than a chunk and a half, as on a disk that is full by then."""
    script = f"""
import resource, signal, sys, torch
from pathlib import Path
from trackserver.sweep import plan, prediction, run
torch.set_num_threads({torch.get_num_threads()})  # with more or fewer, sums are added in another order
from trackserver.catalogue.site import Site
from trackserver.errors import SiteReadOnly
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
plan.CHUNK_WINDOWS, prediction.READ_BP = 4, 1
def full(at):
    if at.windows > 8:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try:
    prediction.predict_tracks(Site(Path({str(site.path)!r})), "random", selection="1", report=full)
except SiteReadOnly as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert "The prediction stopped: File too large" in done.stdout, done.stderr
    assert "continue with --resume" in done.stdout
    assert [path for path in site.tilesets.rglob("*") if path.is_file()] == []
    assert len(list((site.cache / "predict").rglob("chunk-*.npy"))) == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "CHUNK_WINDOWS", 4)
        patch.setattr(prediction, "READ_BP", 1)
        (resumed,) = predict_tracks(site, "random", selection="1", resume=True)
        again = site.inside(resumed.path).read_bytes()
        (record,) = predict_tracks(site, "random", selection="1")
    assert site.inside(record.path).read_bytes() == again


def test_sigterm_is_one_sentence_and_is_gone_on_after(tmp_path: Path, files: Path) -> None:
    site = make_site(tmp_path / "site", files)
    script = f"""
import os, signal, sys
from trackserver.sweep import plan, prediction, run
from trackserver import cli
plan.CHUNK_WINDOWS, prediction.READ_BP = 4, 1
plain = run._Counter.add
def add(self, bins, windows):
    plain(self, bins, windows)
    if self._windows > 8:
        os.kill(os.getpid(), signal.SIGTERM)
run._Counter.add = add
sys.argv = ["trackserver", "predict", "random", "--tracks", "1", "--site", {str(site.path)!r}]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 130, done.stderr
    assert "Stopped. The finished part is stored; continue with --resume." in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert list(site.tilesets.rglob("*.bw")) == []
    found = call(site, "--tracks", "1", "--resume")
    assert found.exit_code == 1  # chunks of another size
    assert call(site, "--tracks", "1").exit_code == 0


def test_devices() -> None:
    assert devices("cpu") == ["cpu"]
    assert devices("cuda:0,1") == ["cuda:0", "cuda:1"]
    assert devices("cuda:0,cuda:3") == ["cuda:0", "cuda:3"]
    assert devices("auto")
