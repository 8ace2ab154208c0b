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
from trackserver.models.basset import STEPS, build, translate
from trackserver.models.layers import positions_after, roundest_window
from trackserver.models.weights import Choice, read


def load(path: Path, tracks: list[int] | None = None) -> nn.Module:
    config, state = translate(read(path), Choice())
    n_tracks = len(state["head.weight"])
    return registry.assemble("basset", json.loads(json.dumps(config)), state, path, n_tracks=n_tracks, crop=200,
                             tracks=tracks)  # fmt: skip


def published(channels: tuple[int, int, int] = (5, 6, 7), hidden: int = 8, tracks: int = 9) -> nn.Sequential:
    """The network as the file has it: two-dimensional, in one row of layers, each dense one after a reshaping."""
    torch.manual_seed(0)
    widths, layers = (4, *channels), list[nn.Module]()
    for i, (kernel, pool) in enumerate(((19, 3), (11, 4), (7, 4))):
        layers += [nn.Conv2d(widths[i], widths[i + 1], (kernel, 1)), nn.BatchNorm2d(widths[i + 1])]
        layers += [nn.ReLU(), nn.MaxPool2d((pool, 1))]
    layers.append(nn.Flatten())
    for before in (widths[-1] * 10, hidden):
        layers += [nn.Sequential(nn.Identity(), nn.Linear(before, hidden)), nn.BatchNorm1d(hidden)]
        layers += [nn.ReLU(), nn.Dropout(0.3)]
    network = nn.Sequential(*layers, nn.Sequential(nn.Identity(), nn.Linear(hidden, tracks)), nn.Sigmoid())
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):  # as after training; some weights negative
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.001, 2)
    return network.eval()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(published().state_dict(), tmp_path / "basset.pth")
    return tmp_path / "basset.pth"


@torch.inference_mode()
def test_the_original_code_says_the_same(parity: Path) -> None:
    io = np.load(parity / "basset/tiny.io.npz")
    module = load(parity / "basset/tiny.pth")
    values = module(torch.from_numpy(io["x"]))
    assert values.shape == (3, 164, 1)
    assert_close(values[..., 0].numpy(), io["y"], module)


@pytest.mark.sample
@pytest.mark.parametrize("counters", [True, False], ids=["of-today", "of-2018"])
@torch.inference_mode()
def test_a_small_network_equals_its_published_form(counters: bool, tmp_path: Path) -> None:
    network, one_hot = published(), torch.rand(2, 4, 600)
    state = {name: t for name, t in network.state_dict().items() if counters or "num_batches_tracked" not in name}
    torch.save(state, tmp_path / "w")
    assert_close(load(tmp_path / "w")(one_hot), network(one_hot[..., None])[:, :, None], network)


@torch.inference_mode()
def test_some_tracks_are_those_rows_of_all(weights: Path) -> None:
    one_hot, whole = torch.rand(2, 4, 600), load(weights)
    assert_close(load(weights, [8, 1])(one_hot), whole(one_hot)[:, [8, 1]], whole)


@torch.inference_mode()
def test_another_order_of_the_bases_in_the_file(weights: Path) -> None:
    one_hot = torch.rand(2, 4, 600)
    config, state = translate(read(weights), Choice(alphabet="TGCA"))
    module = registry.assemble("basset", config, state, weights, n_tracks=9, crop=0)
    assert_close(module(one_hot), load(weights)(one_hot.flip(1)), module)


def test_sizes_are_read_from_the_file(weights: Path) -> None:
    assert translate(read(weights), Choice()).config == {"channels": [5, 6, 7], "hidden": [8, 8], "window": 600}
    assert (positions_after(600, STEPS), roundest_window(10, STEPS)) == (10, 600)


def test_the_published_network_has_its_size() -> None:
    with torch.device("meta"):
        module = build({}, 164, 200)
    # What is trained: the norms' weights and biases, not their means and variances.
    assert sum(parameter.numel() for parameter in module.parameters()) == 4_135_064


def test_another_file_is_refused_by_its_first_layer_that_differs(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights)
    torch.save({"0.weight": torch.zeros(5, 4, 1, 8), "12.1.weight": torch.zeros(8, 371)}, tmp_path / "deepsea")
    with pytest.raises(DataError, match=r"Basset: 0\.weight should have .*\(any, 4, 19, 1\) but has \(5, 4, 1, 8\)"):
        translate(read(tmp_path / "deepsea"), Choice())
    torch.save({**state, "18.running_var": torch.zeros(7)}, tmp_path / "narrower")
    with pytest.raises(DataError, match=r"18\.running_var should have shape \(8\) but has \(7\)"):
        translate(read(tmp_path / "narrower"), Choice())
    torch.save({name: tensor for name, tensor in state.items() if name != "5.bias"}, tmp_path / "less")
    with pytest.raises(DataError, match=r"it has no 5\.bias \(expected \(6\)\)"):
        translate(read(tmp_path / "less"), Choice())


def test_an_unknown_head_is_refused(weights: Path) -> None:
    with pytest.raises(DataError, match="no head 'mouse'"):
        translate(read(weights), Choice(head="mouse"))


@pytest.mark.parametrize("config", [{"hidden": [8]}, {"window": 100}, {"channels": [1, 0, 1]}])
def test_a_wrong_configuration_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(DataError, match="Basset"):
        build(config, 9, 0)
