from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tolerance import assert_close
from trackserver.errors import InvalidRequest, Unavailable, UnknownTrack
from trackserver.genome.sequence import Codes, N, one_hot, reverse_complement
from trackserver.models import registry
from trackserver.models.card import ModelCard, Squash, Track, write_card
from trackserver.models.compact import Compact, CompactConfig, Residual
from trackserver.models.weights import save_weights
from trackserver.predict.engine import Predictor, load_predictor, resolve_device
from trackserver.predict.ensemble import Ensemble, EnsembleOptions
from trackserver.storage import sha256

TINY = CompactConfig(8, 7, 2, (8,), (2,), 3, (1, 2), 4, 8, 0.3)
TRACKS = (Track(0, "a"), Track(1, "b", strand="+", strand_pair=2), Track(2, "b", strand="-", strand_pair=1))
RANDOM = np.random.default_rng(0)
CODES = RANDOM.integers(0, 5, (7, 64), dtype=np.uint8)
BOTH = Ensemble(both_strands=True)
READINGS = [Ensemble(), BOTH, Ensemble(both_strands=True, shifts=(1, 0, -3))]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    (models / "m").mkdir()
    torch.manual_seed(0)
    network = Compact(TINY, 3)
    for module in network.modules():
        if isinstance(module, Residual):
            torch.nn.init.normal_(module.back.weight)
    network.scale.copy_(torch.tensor([1.0, 2.0, 3.0]))
    save_weights(network.state_dict(), models / "m" / registry.WEIGHTS)
    digest = sha256(models / "m" / registry.WEIGHTS)
    card = ModelCard("m", "compact", "M", ("hg38",), 64, 16, 4, TRACKS, asdict(TINY), digest, shortest=36, n_value=0.25)
    write_card(card, models / "m" / registry.CARD)
    return models


def predictor(models: Path, **options: object) -> Predictor:
    return load_predictor(models, "m", device="cpu", **options)  # type: ignore[arg-type]


def test_it_says_what_the_module_says(models: Path) -> None:
    values, module = predictor(models).predict(CODES), registry.load(models, "m")
    with torch.inference_mode():
        expected = module(torch.from_numpy(one_hot(CODES, 0.25))).numpy()
    assert values.dtype == np.float32
    assert values.shape == (7, 3, 8)
    assert_close(values, expected, module)


@pytest.mark.parametrize("how", READINGS)
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
def test_the_batch_size_changes_nothing(models: Path, batch_size: int, how: Ensemble) -> None:
    one, other = (predictor(models, batch_size=size, ensemble=how) for size in (1, batch_size))
    assert_close(other.predict(CODES), one.predict(CODES), one.module)


@pytest.mark.parametrize("how", READINGS)
@pytest.mark.parametrize("tracks", [(2,), (1, 0), (0, 1, 2)])
def test_some_tracks_say_what_they_say_among_all(models: Path, tracks: tuple[int, ...], how: Ensemble) -> None:
    whole = predictor(models, ensemble=how).predict(CODES)
    some = predictor(models, tracks=tracks, ensemble=how)
    assert some.tracks == tracks
    assert_close(some.predict(CODES), whole[:, list(tracks)], some.module)


def test_both_strands_averaged_by_hand(models: Path) -> None:
    alone = predictor(models)
    other = alone.predict(reverse_complement(CODES))[:, [0, 2, 1], ::-1]
    expected = (alone.predict(CODES) + other) / 2
    assert_close(predictor(models, ensemble=BOTH).predict(CODES), expected, alone.module)


def test_both_strands_averaged_say_the_same_of_either_strand(models: Path) -> None:
    both = predictor(models, ensemble=BOTH)
    other = both.predict(reverse_complement(CODES))[:, [0, 2, 1], ::-1]
    assert_close(both.predict(CODES), other, both.module)


def test_equal_alleles_and_places_out_of_reach_differ_by_exactly_nothing(models: Path) -> None:
    one = RANDOM.integers(0, 4, (1, 64), dtype=np.uint8)
    changed = one.copy()
    changed[0, 18] = (changed[0, 18] + 1) % 4
    ref, alt = predictor(models).predict(np.concatenate([one, one]))
    assert np.array_equal(ref, alt)
    ref, alt = predictor(models).predict(np.concatenate([one, changed]))
    touched = np.flatnonzero((ref != alt).any(axis=0))
    reach = 16 // 4 + 1
    assert touched.size
    assert touched.max() <= (18 - 16) // 4 + reach < 8 - 1


def test_shorter_windows_where_the_card_allows_them(models: Path) -> None:
    for length in (36, 40, 64):
        codes: Codes = np.full((1, length), N, dtype=np.uint8)
        assert predictor(models).predict(codes).shape == (1, 3, (length - 32) // 4)
    assert predictor(models).predict(CODES[:0]).shape == (0, 3, 8)


@pytest.mark.parametrize("shape", [(64,), (1, 63), (1, 0), (1, 32), (1, 68)])
def test_what_is_no_window_is_refused(models: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest, match="of 64 bp"):
        predictor(models).predict(np.zeros(shape, np.uint8))


def test_wrong_options_are_refused(models: Path) -> None:
    with pytest.raises(InvalidRequest):
        predictor(models, batch_size=0)
    card = registry.card(models, "m")
    for asked in ({"ensemble": ("shift",)}, {"shifts": (64,)}, {"shifts": ()}, {"shifts": (1, 1)}):
        with pytest.raises(InvalidRequest):
            EnsembleOptions(**asked).resolve(card)  # type: ignore[arg-type]


def test_how_a_model_is_read_by_default_is_its_authors_way(models: Path) -> None:
    card = registry.card(models, "m")
    assert EnsembleOptions().resolve(card) == Ensemble() == EnsembleOptions(("none",)).resolve(card)
    average = replace(card, strands="average")
    assert EnsembleOptions().resolve(average) == Ensemble(both_strands=True) == EnsembleOptions(("rc",)).resolve(card)
    assert EnsembleOptions(("none",), (-1, 0)).resolve(average) == Ensemble(shifts=(-1, 0))


def test_shifts_move_the_sequence_and_pad_with_the_unknown_base(models: Path) -> None:
    """By hand: two to the right, one to the left; the mean of the three outputs where they come out."""
    alone = predictor(models)
    pad = np.full((7, 2), N, np.uint8)
    right = np.concatenate([pad, CODES[:, :-2]], axis=1)
    left = np.concatenate([CODES[:, 1:], pad[:, :1]], axis=1)
    expected = (alone.predict(right) + alone.predict(CODES) + alone.predict(left)) / 3
    got = predictor(models, ensemble=Ensemble(shifts=(2, 0, -1))).predict(CODES)
    assert_close(got, expected, alone.module)


def test_squashed_tracks_come_back_in_the_units_of_the_data(models: Path) -> None:
    """Undone after averaging, on the tracks that were squashed and on no other."""
    card = registry.card(models, "m")
    squashed = tuple(replace(track, squash=Squash(0.5, 3.36, 4 / 3) if track.index else None) for track in card.tracks)
    card, module = replace(card, tracks=squashed), registry.load(models, "m")
    raw = Predictor(card, module, "cpu", ensemble=Ensemble(both_strands=True, squashed=True), tracks=(2, 0)).predict(
        CODES
    )
    got = Predictor(card, module, "cpu", ensemble=Ensemble(both_strands=True), tracks=(2, 0)).predict(CODES)
    scaled = raw[:, 0] / 0.5
    unclipped = np.where(scaled > 3.36, (scaled - 3.36) ** 2 + 3.36, scaled)
    assert (scaled > 3.36).any() and (scaled < 3.36).any()
    assert_close(got[:, 0], unclipped ** (4 / 3), module)
    np.testing.assert_array_equal(got[:, 1], raw[:, 1])


def test_a_track_there_is_not(models: Path) -> None:
    with pytest.raises(UnknownTrack):
        predictor(models, tracks=[7], ensemble=BOTH)


def test_devices() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(Unavailable, match="CUDA devices on this machine"):
        resolve_device("cuda:63")
    for name in ("tpu", "mps", "", "cuda:x"):
        with pytest.raises(InvalidRequest, match="No device"):
            resolve_device(name)


def test_tf32_is_off(models: Path) -> None:
    torch.backends.cudnn.allow_tf32 = True
    predictor(models)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_says_what_the_processor_says(models: Path) -> None:
    here, on_gpu = predictor(models), load_predictor(models, "m", device="cuda")
    assert_close(on_gpu.predict(CODES), here.predict(CODES), here.module)
