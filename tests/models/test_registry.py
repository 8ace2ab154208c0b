from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from tests.tolerance import assert_close
from trackserver.errors import DataError, NeedsTorch, UnknownModel, UnknownTrack
from trackserver.models import registry
from trackserver.models.card import ModelCard, Track, read_card, write_card
from trackserver.models.compact import Compact, CompactConfig
from trackserver.models.weights import save_weights
from trackserver.storage import sha256

TINY = CompactConfig(8, 7, 2, (8,), (2,), 3, (1, 2), 4, 8, 0.0)
TRACKS = tuple(Track(i, f"t{i}") for i in range(5))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        network = Compact(TINY, 5)
        network.scale.copy_(torch.arange(1.0, 6.0))
        save_weights(network.state_dict(), tmp_path / name / registry.WEIGHTS)
        digest = sha256(tmp_path / name / registry.WEIGHTS)
        card = ModelCard(name, "compact", "A", ("hg38",), 256, 16, 4, TRACKS, asdict(TINY), digest)
        write_card(card, tmp_path / name / registry.CARD)
    (tmp_path / "not a model").mkdir()
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_what_is_installed_is_listed_by_name(models: Path) -> None:
    assert registry.installed_models(models) == ["a", "b"]
    assert registry.installed_models(models / "nowhere") == []


@pytest.mark.parametrize("model_id", ["c", "empty", "", "..", "../b", "a/../b", "a b", "a\n"])
def test_an_unknown_model_is_an_error_that_lists_those_there_are(models: Path, model_id: str) -> None:
    with pytest.raises(UnknownModel, match="installed: a, b"):
        registry.card(models, model_id)


def test_a_models_id_is_its_directorys_name(models: Path) -> None:
    (models / "a").rename(models / "renamed")
    assert registry.card(models, "renamed").id == "renamed"


def test_a_model_says_a_number_a_track_and_bin(models: Path) -> None:
    module = registry.load(models, "a")
    assert not module.training
    assert module(torch.rand(2, 4, 64)).shape == (2, 5, 8)


@pytest.mark.parametrize("tracks", [(0,), (3, 1), (4, 4, 0)])
def test_part_of_the_head_says_the_same(models: Path, tracks: tuple[int, ...]) -> None:
    one_hot = torch.rand(2, 4, 64)
    whole = registry.load(models, "a")
    assert_close(registry.load(models, "a", tracks)(one_hot), whole(one_hot)[:, list(tracks)], whole)


def test_a_track_there_is_not(models: Path) -> None:
    with pytest.raises(UnknownTrack):
        registry.load(models, "a", [5])


def test_other_weights_than_the_cards_are_refused(models: Path) -> None:
    (models / "a" / registry.WEIGHTS).write_bytes((models / "b" / registry.WEIGHTS).read_bytes())
    with pytest.raises(DataError, match="SHA-256"):
        registry.load(models, "a")
    (models / "a" / registry.WEIGHTS).unlink()
    with pytest.raises(DataError, match="is missing"):
        registry.load(models, "a")


def test_an_architecture_there_is_not(models: Path) -> None:
    path = models / "a" / registry.CARD
    write_card(replace(read_card(path), architecture="oracle"), path)
    with pytest.raises(DataError, match="There is no architecture 'oracle'; there are deepsea, beluga"):
        registry.load(models, "a")


def test_without_torch_there_is_a_sentence(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("trackserver.models.compact", "trackserver.models.weights"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NeedsTorch):
        registry.load(models, "a")
