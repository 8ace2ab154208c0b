"""Training on a genome so simple that its truth can be written down: what is measured is what its bases are."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest
import torch

from tests.tolerance import assert_close
from trackserver.bbi.bigwig import open_bigwig
from trackserver.errors import BadLocus, DataError, InvalidRequest, SiteReadOnly
from trackserver.genome.assembly import Assembly, known_assembly
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import Codes, Genome, N, build_index, decode
from trackserver.models import registry
from trackserver.models.card import ModelCard, Track, read_card
from trackserver.models.compact import CompactConfig, margin
from trackserver.predict.engine import load_predictor
from trackserver.training.crops import Crops, cut, flank, mean_and_variance
from trackserver.training.evaluation import predict_bins
from trackserver.training.fitting import rate
from trackserver.training.recipe import Recipe, read_recipe
from trackserver.training.targets import (
    Loss,
    Window,
    binned,
    coarser,
    covered_span,
    load_windows,
    read_folds,
)
from trackserver.training.train import TrainingRun, TrainingTrack, train

ASSEMBLY = Assembly("toy", ("chr1", "chr2"), (24_000, 16_000))
NETWORK = CompactConfig(8, 5, 2, (8,), (4,), 3, (1,), 8, 8, 0.0)  # bins of 8 bp
RECIPE = Recipe(
    NETWORK, window=512, crop=512, step=4, shift=0, randomize=0.0, batch_size=4, steps=60, learning_rate=1e-2,
    weight_decay=1e-3, warmup=5, average=0.9, evaluate_every=20, patience=0,
)  # fmt: skip
FOLDS = "chr1 1000 9001 train\nchr1 10000 17000 train\nchr1 18000 22000 valid\nchr2 2000 9000 test\n"


class Toy:
    """A genome on disk and bigWigs of where its G, its C and its runs of GC are; chr1:12,001-13,000 has no values."""

    def __init__(self, folder: Path):
        random = np.random.default_rng(0)
        self.folder = folder
        self.codes = {
            chrom: random.choice(4, size, p=(0.3, 0.2, 0.2, 0.3)).astype(np.uint8)
            for chrom, size in ASSEMBLY.chromsizes.items()
        }
        fasta = folder / "toy.fa"
        fasta.write_text("".join(f">{chrom}\n{decode(codes)}\n" for chrom, codes in self.codes.items()))
        build_index(fasta, Path(f"{fasta}.fai"))
        self.genome = Genome(fasta)
        self.track("g", lambda codes: codes == 2)
        self.track("c", lambda codes: codes == 1)
        self.track("gc", lambda codes: (codes == 1) | (codes == 2))
        self.track("nothing", lambda codes: codes > 4)
        (folder / "folds.bed").write_text(FOLDS.replace(" ", "\t"))
        self.folds = read_folds(folder / "folds.bed", ASSEMBLY)

    def track(self, name: str, values: Callable[[Codes], np.ndarray]) -> None:
        with pyBigWig.open(str(self.path(name)), "w") as file:
            file.addHeader(list(ASSEMBLY.chromsizes.items()))
            for chrom, codes in self.codes.items():
                each = values(codes).astype(float)
                parts = [(0, 12_000), (13_000, len(codes))] if chrom == "chr1" else [(0, len(codes))]
                for start, end in parts:
                    file.addEntries(chrom, start, values=each[start:end].tolist(), span=1, step=1)

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.bw"

    def stranded(self, loss: Loss = "signal") -> list[TrainingTrack]:
        return [
            TrainingTrack(Track(0, "g", "G", strand="+", strand_pair=1), self.path("g"), loss),
            TrainingTrack(Track(1, "c", "G", strand="-", strand_pair=0), self.path("c"), loss),
        ]

    def windows(self, *names: str, recipe: Recipe = RECIPE) -> list[Window]:
        paths = [self.path(name) for name in names]
        edge = margin(recipe.network)
        return load_windows(
            self.folds, paths, self.genome, ASSEMBLY, step=recipe.step, flank=lambda length: flank(recipe, edge, length)
        )

    def train(self, directory: Path, recipe: Recipe = RECIPE, loss: Loss = "signal", **options: object) -> ModelCard:
        run = TrainingRun(options.pop("minutes", None), options.pop("seed", 0), "cpu")  # type: ignore[arg-type]
        return train(
            self.stranded(loss), self.genome, self.folds, directory, assembly=ASSEMBLY, recipe=recipe,
            run=run, **options,  # type: ignore[arg-type]
        )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return Toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def trained(toy: Toy) -> Path:
    toy.train(toy.folder / "trained", seed=3)
    return toy.folder / "trained"


def binned_of(path: Path, locus: Locus, step: int, *how: Any) -> np.ndarray:
    bigwig = open_bigwig(path)
    return binned(bigwig, bigwig.chroms[locus.chrom], locus, step, *how)


# ---- targets: every bin covers exactly the bases it stands for


def test_a_bin_is_the_mean_of_exactly_its_bases(toy: Toy) -> None:
    locus = Locus("chr1", 1003, 9001)
    means = binned_of(toy.path("g"), locus, 8)
    expected = (toy.codes["chr1"][1003 : 1003 + 999 * 8] == 2).reshape(-1, 8).mean(axis=1)
    assert_close(means, expected, 8)


def test_one_planted_peak_comes_back_in_its_own_bin(toy: Toy, tmp_path: Path) -> None:
    start, bin_index = 10_000, 37
    path = tmp_path / "peak.bw"
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(ASSEMBLY.chromsizes.items()))
        peak = start + 8 * bin_index
        file.addEntries(["chr1"] * 3, [0, peak, peak + 8], ends=[peak, peak + 8, 24_000], values=[0.0, 1.0, 0.0])
    means = binned_of(path, Locus("chr1", start, 17_000), 8)
    assert np.flatnonzero(means).tolist() == [bin_index]


def test_bins_with_an_unknown_base_are_unknown_unless_the_file_omits_zeros(toy: Toy) -> None:
    path, locus = toy.path("gc"), Locus("chr1", 11_990, 13_010)
    unknown = np.isnan(binned_of(path, locus, 20))
    assert np.flatnonzero(unknown).tolist() == list(range(51))  # from 11,990 to 13,010
    zeros = binned_of(path, locus, 20, "zero")
    assert np.isfinite(zeros).all()
    assert zeros[5:45].sum() == 0


@pytest.mark.parametrize(("reverse", "seed"), list(product([False, True], range(3))))
def test_targets_of_a_crop_lie_on_the_bases_the_network_reads(toy: Toy, reverse: bool, seed: int) -> None:
    recipe = replace(RECIPE, reverse_complement=reverse)
    crops = Crops(toy.windows("g", "c"), [1, 0], recipe, seed)
    codes, targets = crops.batch()
    assert codes.shape == (4, 512)
    inner = codes[:, recipe.loss_margin : 512 - recipe.loss_margin]
    for track, base in enumerate((2, 1)):
        expected = (inner == base).reshape(4, -1, 8).mean(axis=2)
        known = np.isfinite(targets[:, track])
        assert known.any()
        assert_close(targets[:, track][known], expected[known], 8)


def test_a_slip_moves_the_sequence_and_not_its_bins(toy: Toy) -> None:
    window = toy.windows("g")[0]
    codes, targets = cut(window, 11, 0, RECIPE)
    slipped, same = cut(window, 11, 1, replace(RECIPE, shift=1))
    np.testing.assert_array_equal(slipped[:-1], codes[1:])
    np.testing.assert_array_equal(same, targets)


def test_a_window_shorter_than_a_crop_still_teaches(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "f.bed").write_text("chr1 0 200 train\nchr1 300 400 valid\n")
    folds = read_folds(tmp_path / "f.bed", ASSEMBLY)
    windows = load_windows(
        folds, [toy.path("g")], toy.genome, ASSEMBLY, step=4, flank=lambda n: flank(RECIPE, margin(NETWORK), n)
    )
    codes, targets = Crops(windows[:1], [0], replace(RECIPE, reverse_complement=False), 0).batch()
    inner = codes[:, RECIPE.loss_margin : 512 - RECIPE.loss_margin]
    known = np.isfinite(targets[:, 0])
    assert known.sum(axis=1).min() >= 24  # 200 bp, less a bin that its end may cut
    assert_close(targets[:, 0][known], (inner == 2).reshape(4, -1, 8).mean(axis=2)[known], 8)


def test_means_and_variances_are_of_the_known_bins(toy: Toy) -> None:
    windows = toy.windows("g", "gc")
    means, variances = mean_and_variance(windows, [1.0, 5.0], 2)
    for track, scale in enumerate((1.0, 5.0)):
        bins = np.concatenate([coarser(window.targets, 2)[track] for window in windows]).astype(float)
        bins = bins[np.isfinite(bins)]
        assert means[track] == pytest.approx(bins.mean())
        assert variances[track] == pytest.approx(np.log1p(scale * bins / bins.mean()).var())


# ---- files that say what to do


def test_folds_are_read_in_order(toy: Toy) -> None:
    assert [window.fold for window in toy.folds] == ["train", "train", "valid", "test"]
    assert toy.folds[0].locus == Locus("chr1", 1000, 9001)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chr1 0 100 train", "no window of the valid fold"),
        ("chr1 0 100 train\nchr1 90 200 valid", "overlap"),
        ("chr1 0 100 trian\nchr1 90 200 valid", "line 1: 'trian' is not a fold"),
        ("chr1 0 100\n", "line 1: write"),
        ("chr1 x 100 train\n", "line 1: a BED line should be"),
    ],
)
def test_folds_that_do_not_read_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "f.bed").write_text(text)
    with pytest.raises(DataError, match=said):
        read_folds(tmp_path / "f.bed", ASSEMBLY)


def test_folds_outside_the_genome_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f.bed").write_text("# comment\nchr1 0 99999 train\n")
    with pytest.raises(BadLocus):
        read_folds(tmp_path / "f.bed", ASSEMBLY)
    with pytest.raises(DataError, match="no folds file"):
        read_folds(tmp_path / "none.bed", ASSEMBLY)


def test_a_recipe_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("steps = 7\ncrop = 1024\n[network]\ntower_channels = [8]\ntower_pools = [8]\ndilations = [1]\n")
    recipe = read_recipe(path)
    assert (recipe.steps, recipe.network.tower_pools, recipe.batch_size) == (7, (8,), Recipe().batch_size)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stpes = 7", "stpes"),
        ("[network]\nhiden = 7", r"network\.hiden"),
        ("steps = '7'", "steps"),
        ("steps = ", "not valid TOML"),
        ("crop = 1000", "crop must be a multiple"),
        ("crop = 2048", "longer than the margins"),
        ("step = 48", "step must divide"),
        ("batch_size = 0", "at least 1"),
        ("average = 1.0", "must be 0 to 1"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(DataError, match=said):
        read_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize(("schedule", "half_way"), [("plateau", 1.0), ("cosine", 0.525)])
def test_the_learning_rate_warms_up_and_comes_down(schedule: str, half_way: float) -> None:
    recipe = replace(Recipe(), schedule=schedule)  # type: ignore[arg-type]
    assert rate(recipe, 0, 0.0) == pytest.approx(0.01)
    assert rate(recipe, 400, 0.5) == pytest.approx(half_way)
    assert rate(recipe, 800, 1.0) == pytest.approx(0.05)


# ---- training


def test_a_trained_model_is_a_model_that_is_right(toy: Toy, trained: Path) -> None:
    card = read_card(trained / registry.CARD)
    assert card.id == "trained"
    assert (card.bin_width, card.crop, card.probability) == (8, margin(NETWORK), False)
    test = card.metrics["test"]
    assert min(test["pearson"]) > 0.8
    assert test["bins"] == [875, 875]
    assert card.metrics["train"]["bins"][0] == 1000 + 875 - 125
    assert card.metrics["train"]["left_out"][0] == 125
    means = [np.concatenate([w.targets[t] for w in toy.windows("g", "c")[:2]]) for t in (0, 1)]
    assert [track.mean for track in card.tracks] == pytest.approx([np.nanmean(m) for m in means], rel=1e-2)
    assert card.provenance["trained_on"][0]["file"] == "g.bw"
    assert card.provenance["fasta"] == "toy.fa"
    assert str(toy.folder) not in (trained / registry.CARD).read_text()
    assert sorted(path.name for path in trained.iterdir()) == ["card.json", "metrics.tsv", "weights.safetensors"]


def test_what_it_predicts_is_in_the_datas_units_and_in_the_right_bin(toy: Toy, trained: Path) -> None:
    predictor = load_predictor(toy.folder, "trained", device="cpu")
    predictor.card = card = replace(predictor.card, window=8000)
    said = predictor.predict(toy.codes["chr2"][None, :8000])[0, 0]
    seen = binned_of(toy.path("g"), Locus("chr2", card.crop, 8000 - card.crop), 8)
    r = {lag: np.corrcoef(said[5:-5], np.roll(seen, lag)[5:-5])[0, 1] for lag in range(-4, 5)}
    assert max(r, key=lambda lag: r[lag]) == 0
    assert r[0] > 0.8
    assert abs(said.mean() - seen.mean()) < 0.05


def test_the_table_says_what_the_card_says(trained: Path) -> None:
    card = read_card(trained / registry.CARD)
    header, *rows = [line.split("\t") for line in (trained / "metrics.tsv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["train", "train", "valid", "valid", "test", "test"]
    last = dict(zip(header, rows[-1], strict=True))
    assert float(last["spearman"]) == card.metrics["test"]["spearman"][1]
    json.dumps(card.metrics, allow_nan=False)


def test_windows_are_measured_in_parts_that_join(toy: Toy, trained: Path) -> None:
    predictor = load_predictor(toy.folder, "trained", device="cpu")
    window = toy.windows("g", "c")[0]
    parts = predict_bins(predictor, window, 3, 1000)
    predictor.card = replace(predictor.card, window=1 << 16)
    assert_close(parts, predict_bins(predictor, window, 3, 1000), predictor.module, gaps=True)


def test_the_seed_decides_everything_and_the_process_keeps_its_own(toy: Toy) -> None:
    short = replace(RECIPE, steps=4, evaluate_every=2)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    cards = [toy.train(toy.folder / f"seed{i}", short, seed=seed) for i, seed in enumerate((1, 1, 2))]
    assert torch.equal(torch.rand(1), expected)
    assert cards[0].weights_sha256 == cards[1].weights_sha256 != cards[2].weights_sha256
    assert cards[0].metrics == cards[1].metrics


def test_peaks_become_probabilities(toy: Toy) -> None:
    card = toy.train(toy.folder / "peaks", replace(RECIPE, steps=40), "peaks")
    assert card.probability
    values = load_predictor(toy.folder, "peaks", device="cpu").predict(toy.codes["chr2"][None, :512])
    assert 0 <= values.min() < values.max() <= 1
    assert min(card.metrics["test"]["pearson"]) > 0.4


def test_poisson_learns_and_half_precision_is_measured_as_stored(toy: Toy) -> None:
    card = toy.train(toy.folder / "poisson", replace(RECIPE, steps=40, half=True, schedule="cosine"), "poisson")
    assert min(card.metrics["test"]["pearson"]) > 0.7


def test_time_that_runs_out_is_an_end_like_any_other(toy: Toy) -> None:
    card = toy.train(toy.folder / "hurried", replace(RECIPE, steps=100_000), minutes=0.01)
    assert card.provenance["steps"] < 1000
    assert math.isfinite(card.provenance["valid_score"])


def test_patience_ends_a_run_that_gets_no_better(toy: Toy) -> None:
    still = replace(RECIPE, learning_rate=1e-30, steps=1000, evaluate_every=2, patience=3, average=0.0, tolerance=0.0)
    card = toy.train(toy.folder / "patient", still)
    assert card.provenance["steps"] - card.provenance["best_step"] == 6
    assert card.provenance["steps"] < 200


def test_progress_goes_from_nothing_to_done(toy: Toy) -> None:
    told: list[tuple[float, str]] = []
    toy.train(toy.folder / "told", replace(RECIPE, steps=4, evaluate_every=2), progress=lambda *what: told.append(what))
    done = [part for part, _ in told]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0.0, 1.0)
    assert any("step 4" in message for _, message in told)


def test_a_run_that_fails_leaves_nothing_behind(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trackserver.training.train.write_card", full)
    with pytest.raises(SiteReadOnly, match=r"cannot be written to .*broken: No space left"):
        toy.train(tmp_path / "broken", replace(RECIPE, steps=2))
    assert not list(tmp_path.iterdir())


def test_a_model_is_replaced_only_on_request(toy: Toy, tmp_path: Path) -> None:
    short = replace(RECIPE, steps=2)
    first = toy.train(tmp_path / "m", short)
    with pytest.raises(InvalidRequest, match="not empty"):
        toy.train(tmp_path / "m", short, seed=1)
    second = toy.train(tmp_path / "m", short, seed=1, overwrite=True)
    assert read_card(tmp_path / "m" / registry.CARD).weights_sha256 == second.weights_sha256 != first.weights_sha256
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(InvalidRequest, match=r"other files besides a model \(notes\.txt\)"):
        toy.train(tmp_path / "m", short, overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidRequest, match="is a file"):
        toy.train(tmp_path / "file", short)


def test_requests_that_make_no_sense_are_refused_at_once(toy: Toy, tmp_path: Path) -> None:
    one, other = toy.stranded()
    nothing = TrainingTrack(Track(0, "nothing"), toy.path("nothing"))

    def ask(tracks: list[TrainingTrack], name: str = "m") -> None:
        train(tracks, toy.genome, toy.folds, tmp_path / name, assembly=ASSEMBLY, recipe=RECIPE)

    with pytest.raises(InvalidRequest, match="model's id"):
        ask([one, other], "my model")
    with pytest.raises(InvalidRequest, match="number the tracks"):
        ask([other, one])
    with pytest.raises(InvalidRequest, match="number the tracks"):
        ask([])
    with pytest.raises(InvalidRequest, match="not both"):
        ask([one, replace(other, loss="peaks")])
    with pytest.raises(DataError, match="no signal"):
        ask([nothing])
    with pytest.raises(DataError, match=r"none\.bw is missing"):
        ask([replace(nothing, path=tmp_path / "none.bw")])
    assert not list(tmp_path.iterdir())


def test_a_run_that_runs_away_is_stopped(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="smaller learning_rate"):
        toy.train(tmp_path / "m", replace(RECIPE, learning_rate=1e30, steps=20, evaluate_every=5))
    assert not list(tmp_path.iterdir())


def test_a_valid_fold_without_values_is_said(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "f.bed").write_text("chr1 1000 9000 train\nchr1 12100 12900 valid\n")
    with pytest.raises(DataError, match="valid fold"):
        train(
            toy.stranded(), toy.genome, read_folds(tmp_path / "f.bed", ASSEMBLY), tmp_path / "m", assembly=ASSEMBLY,
            recipe=RECIPE,
        )  # fmt: skip


# ---- the real data beside the project

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "hg38"


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.is_dir(), reason="the real data folder is not beside the project")
def test_real_targets_cover_the_middle_of_each_window() -> None:
    folds = read_folds(REAL / "folds.bed", known_assembly("hg38"))
    path = REAL / "observed" / "ENCFF136DBS.bigWig"
    genome = Genome(REAL / "hg38.sparse.fa.gz")
    windows = load_windows(folds[:4], [path], genome, known_assembly("hg38"), step=128, flank=lambda length: 64)
    for window in windows:
        assert covered_span(window.targets) == (256, 768)  # the central 65,536 of 131,072 bp
        assert np.isfinite(window.targets[:, 256:768]).all()
        assert (window.codes[64:-64] < N).mean() > 0.9
