from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.tolerance import assert_close
from trackserver.errors import DataError
from trackserver.models import registry
from trackserver.models.beluga import STEPS, build, translate
from trackserver.models.layers import positions_after
from trackserver.models.weights import Choice, read

AGCT = Choice(alphabet="AGCT")


def load(path: Path, tracks: list[int] | None = None) -> nn.Module:
    config, state = translate(read(path), AGCT)
    n_tracks = len(state["head.weight"])
    return registry.assemble("beluga", json.loads(json.dumps(config)), state, path, n_tracks=n_tracks, crop=900,
                             tracks=tracks)  # fmt: skip


def published(channels: tuple[int, int, int] = (5, 6, 7), hidden: int = 8, tracks: int = 9) -> nn.ModuleDict:
    """The network as the file has it: convolutions in two dimensions, then dense layers, each after a reshaping."""
    torch.manual_seed(0)
    widths, convs = (4, *channels), list[nn.Module]()
    for i in range(3):
        convs += [nn.Conv2d(widths[i], widths[i + 1], (1, 8)), nn.ReLU()]
        convs += [nn.Conv2d(widths[i + 1], widths[i + 1], (1, 8)), nn.ReLU()]
        convs += [nn.Dropout(0.2), nn.MaxPool2d((1, 4))] if i < 2 else []
    dense = [nn.Dropout(0.5), nn.Flatten(), nn.Sequential(nn.Identity(), nn.Linear(widths[-1] * 106, hidden))]
    dense += [nn.ReLU(), nn.Sequential(nn.Identity(), nn.Linear(hidden, tracks)), nn.Sigmoid()]
    return nn.ModuleDict({"model": nn.Sequential(nn.Sequential(*convs), nn.Sequential(*dense))}).eval()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(published().state_dict(), tmp_path / "beluga.pth")
    return tmp_path / "beluga.pth"


@torch.inference_mode()
def test_the_original_code_says_the_same(parity: Path) -> None:
    io = np.load(parity / "beluga/tiny.io.npz")
    module = load(parity / "beluga/tiny.pth")
    values = module(torch.from_numpy(io["x_acgt"]))
    assert values.shape == (2, 125, 1)
    assert_close(values[..., 0].numpy(), io["y"], module)


@pytest.mark.sample
@torch.inference_mode()
def test_a_small_network_equals_its_published_form(weights: Path) -> None:
    one_hot, network = torch.rand(2, 4, 2000), published()["model"]
    assert_close(load(weights)(one_hot), network(one_hot[:, [0, 2, 1, 3], None])[:, :, None], network)


@torch.inference_mode()
def test_some_tracks_are_those_rows_of_all(weights: Path) -> None:
    one_hot, whole = torch.rand(2, 4, 2000), load(weights)
    assert_close(load(weights, [8, 1])(one_hot), whole(one_hot)[:, [8, 1]], whole)


def test_sizes_are_read_from_the_file(weights: Path) -> None:
    assert translate(read(weights), AGCT).config == {"channels": [5, 6, 7], "hidden": 8, "window": 2000}
    assert positions_after(2000, STEPS) == 106


def test_the_published_network_has_its_size() -> None:
    with torch.device("meta"):
        module = build({}, 2002, 900)
    assert sum(parameter.numel() for parameter in module.parameters()) == 149_536_251


def test_another_file_is_refused_by_its_first_layer_that_differs(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights)
    torch.save({**state, "model.0.8.weight": torch.zeros(5, 6, 1, 8)}, tmp_path / "narrower")
    with pytest.raises(DataError, match=r"Beluga: model\.0\.8\.weight should have .*\(6, 6, 1, 8\) but has \(5, 6"):
        translate(read(tmp_path / "narrower"), AGCT)
    torch.save({"0.weight": torch.zeros(5, 4, 1, 8)}, tmp_path / "deepsea")
    message = r"it has no 0\.0\.weight .*; its first unused tensor is 0\.weight \(5, 4, 1, 8\)"
    with pytest.raises(DataError, match=message):
        translate(read(tmp_path / "deepsea"), AGCT)


def test_an_unknown_head_is_refused(weights: Path) -> None:
    with pytest.raises(DataError, match="no head 'expression'"):
        translate(read(weights), Choice(head="expression"))


@pytest.mark.parametrize("config", [{"channels": [1, 1, 1, 1]}, {"window": 300}, {"hidden": 0}])
def test_a_wrong_configuration_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(DataError, match="Beluga"):
        build(config, 9, 0)
