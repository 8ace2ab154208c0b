from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tolerance import assert_close
from trackserver.errors import DataError
from trackserver.models import registry
from trackserver.models.basenji2 import build, dilations_of, translate
from trackserver.models.weights import Choice, read

CUSTOM = {"class_name": "GELU", "config": {}}
APPROXIMATE = ["x", 0, 0, {"approximate": True}]
TANH = {"class_name": "TFOpLambda", "config": {"function": "nn.gelu"}, "inbound_nodes": [APPROXIMATE]}
Layers = dict[str, dict[str, np.ndarray]]


def published(tracks: int = 7, offset: int = 0) -> Layers:
    """The layers of a small network; `offset` is how many a session had built before."""
    convs = [(15, 4, 6), (5, 6, 7), (5, 7, 8), *[(3, 8, 4), (1, 4, 8)] * 3, (1, 8, 10)]
    random = np.random.default_rng(0)
    layers: Layers = {}
    for i, shape in enumerate(convs, offset):
        made = shape[2]
        layers[f"conv1d_{i}" if i else "conv1d"] = {"kernel": random.normal(0, (shape[0] * shape[1]) ** -0.5, shape)}
        layers[f"batch_normalization_{i}" if i else "batch_normalization"] = {
            "gamma": random.normal(0.5, 0.5, made),  # a negative one turns a channel around
            "beta": random.normal(0, 0.3, made),
            "moving_mean": random.normal(0, 0.3, made),
            "moving_variance": random.uniform(0.5, 1.5, made),
        }
    layers["dense"] = {"kernel": random.normal(0, 0.3, (10, tracks)), "bias": random.normal(0, 0.3, tracks)}
    return layers


def write(path: Path, layers: Layers, *settings: dict[str, Any]) -> Path:
    """Keras' own arrangement; with settings a full model, else weights alone."""
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if settings else file
        group.attrs["layer_names"] = list(layers)
        for layer, weights in layers.items():
            names = [f"{layer}/{name}:0" for name in weights]
            group.create_group(layer).attrs["weight_names"] = names
            for name, array in zip(names, weights.values(), strict=True):
                group[layer].create_dataset(name, data=array.astype("f4"))
        if settings:
            file.attrs["model_config"] = json.dumps({"config": {"layers": settings}})
    return path


def plain(layers: Layers, one_hot: Tensor, gelu: Any, rates: tuple[int, ...] = (1, 2, 3)) -> Tensor:
    """The published layers one after the other, uncropped, from the file's own tensors."""
    tensors = [{k: torch.from_numpy(v).float() for k, v in layer.items()} for layer in layers.values()]
    steps: Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]] = zip(tensors[::2], tensors[1::2], strict=False)

    def conv(x: Tensor, dilation: int = 1) -> Tensor:
        step, norm = next(steps)
        made = F.conv1d(gelu(x), step["kernel"].permute(2, 1, 0), padding="same", dilation=dilation)
        order = ("moving_mean", "moving_variance", "gamma", "beta")
        return F.batch_norm(made, *(norm[name] for name in order), eps=1e-3)

    x = one_hot
    for _ in range(3):
        x = F.max_pool1d(conv(x), 2)
    for rate in rates:
        x = x + conv(conv(x, rate))
    x = gelu(conv(x))
    return F.softplus(tensors[-1]["kernel"].T @ x + tensors[-1]["bias"][:, None])


def load(path: Path, crop: int, tracks: list[int] | None = None, activation: str = "") -> nn.Module:
    config, state = translate(read(path), Choice(activation=activation))
    n_tracks = len(state["head.weight"])
    return registry.assemble("basenji2", config, state, path, n_tracks=n_tracks, crop=crop, tracks=tracks)


def sigmoid(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


@torch.inference_mode()
def test_the_original_code_says_the_same(parity: Path) -> None:
    io = np.load(parity / "basenji2/tiny2020.io.npz")
    module = load(parity / "basenji2/tiny2020.h5", 32 * 128)
    values = module(torch.from_numpy(io["x"]).float().mT)
    assert values.shape == (1, 17, 64)
    assert_close(values.mT.numpy(), io["y"], module)


@pytest.mark.sample
@torch.inference_mode()
@pytest.mark.parametrize("settings", [CUSTOM, TANH, None])
def test_a_small_network_equals_its_published_form_and_the_file_says_its_gelu(tmp_path: Path, settings: Any) -> None:
    one_hot = torch.rand(2, 4, 512)
    path = write(tmp_path / "w.h5", published(), *([settings] if settings else []))
    expected = plain(published(), one_hot, tanh if settings is TANH else sigmoid)
    module = load(path, 0)
    assert_close(module(one_hot), expected, module)
    assert (expected - plain(published(), one_hot, sigmoid if settings is TANH else tanh)).abs().max() > 1e-3


def test_weights_alone_may_be_told_their_gelu_a_full_file_not_otherwise(tmp_path: Path) -> None:
    alone, full = write(tmp_path / "alone.h5", published()), write(tmp_path / "full.h5", published(), CUSTOM)
    assert translate(read(alone), Choice(activation="tanh")).config["gelu"] == "tanh"
    assert translate(read(full), Choice(activation="sigmoid")).config["gelu"] == "sigmoid"
    with pytest.raises(DataError, match=r"full\.h5 was trained with the sigmoid GELU, not with 'tanh'"):
        translate(read(full), Choice(activation="tanh"))
    with pytest.raises(DataError, match="activation is 'sigmoid' or 'tanh', not 'relu'"):
        translate(read(alone), Choice(activation="relu"))
    with pytest.raises(DataError, match=r"one of its activations \(ReLU\) has to be a known GELU"):
        translate(read(write(tmp_path / "relu.h5", published(), {"class_name": "ReLU"})), Choice())


@torch.inference_mode()
def test_a_full_file_also_says_its_dilations(tmp_path: Path) -> None:
    one_hot = torch.rand(1, 4, 512)
    told = [{"class_name": "Conv1D", "config": {"kernel_size": [3], "dilation_rate": [rate]}} for rate in (1, 4, 16)]
    path = write(tmp_path / "w.h5", published(), CUSTOM, *told)
    expected = plain(published(), one_hot, sigmoid, (1, 4, 16))
    module = load(path, 0)
    assert_close(module(one_hot), expected, module)


def test_the_published_dilations() -> None:
    assert dilations_of(11) == (1, 2, 3, 4, 6, 9, 14, 21, 32, 48, 72)


@torch.inference_mode()
def test_cropping_leaves_out_whole_bins_at_both_sides(tmp_path: Path) -> None:
    path, one_hot = write(tmp_path / "w.h5", published()), torch.rand(1, 4, 256)
    module = load(path, 0)
    whole = module(one_hot)
    assert whole.shape == (1, 7, 32)
    assert_close(load(path, 24)(one_hot), whole[..., 3:-3], module)
    with pytest.raises(DataError, match="whole bins of 128 bp, not by -128 bp"):
        build({}, 1, -128)


@torch.inference_mode()
def test_some_tracks_are_those_rows_of_all(tmp_path: Path) -> None:
    path, one_hot = write(tmp_path / "w.h5", published()), torch.rand(2, 4, 128)
    whole = load(path, 8)
    assert_close(load(path, 8, [6, 1])(one_hot), whole(one_hot)[:, [6, 1]], whole)


def test_names_do_not_matter_only_the_order(tmp_path: Path) -> None:
    one = translate(read(write(tmp_path / "one.h5", published())), Choice())
    other = translate(read(write(tmp_path / "other.h5", published(offset=30))), Choice())
    assert one.config == other.config
    assert all(torch.equal(tensor, other.state[name]) for name, tensor in one.state.items())


def test_sizes_are_read_from_the_file_and_survive_a_card(tmp_path: Path) -> None:
    config = translate(read(write(tmp_path / "w.h5", published())), Choice()).config
    assert (config["stem_channels"], config["tower_channels"], config["hidden"]) == (6, [7, 8], 10)
    assert (config["residual_channels"], config["dilations"]) == (4, [1, 2, 3])
    assert json.loads(json.dumps(config)) == config


@pytest.mark.parametrize(("n_tracks", "stored"), [(5313, 30_123_584), (1643, 24_482_794)])
def test_the_published_network_has_its_size(n_tracks: int, stored: int) -> None:
    with torch.device("meta"):
        module = build({}, n_tracks, 64 * 128)
    assert sum(tensor.numel() for tensor in module.state_dict().values()) == stored
    if n_tracks == 5313:
        assert sum(parameter.numel() for parameter in module.parameters()) == 30_088_228


@pytest.mark.parametrize(
    ("at", "kernel", "sentence"),
    [
        (0, (19, 4, 6), r"conv1d/kernel:0 should have shape \(15, 4, any\) but has \(19, 4, 6\)"),
        (2, (5, 5, 7), r"conv1d_1/kernel:0 should have shape \(5, 6, any\) but has \(5, 5, 7\)"),
        (8, (1, 4, 9), r"conv1d_4/kernel:0 should have shape \(1, 4, 8\) but has \(1, 4, 9\)"),
    ],
)
def test_another_file_is_refused_by_its_first_layer_that_differs(
    tmp_path: Path, at: int, kernel: tuple[int, ...], sentence: str
) -> None:
    layers = published()
    layers[list(layers)[at]] = {"kernel": np.zeros(kernel)}
    with pytest.raises(DataError, match="does not fit Basenji2: " + sentence):
        translate(read(write(tmp_path / "w.h5", layers)), Choice())


def test_a_convolution_with_a_bias_is_another_networks(tmp_path: Path) -> None:
    layers = {"conv1d": {"kernel": np.zeros((15, 4, 6)), "bias": np.zeros(6)}}
    with pytest.raises(DataError, match=r"its layer conv1d should have kernel \(15, 4, any\) but has .*bias \(6\)"):
        translate(read(write(tmp_path / "w.h5", layers)), Choice())


@pytest.mark.parametrize("config", [{"gelu": "erf"}, {"hidden": 0}, {"dilations": [1, 0]}, {"filters": 5}])
def test_a_wrong_configuration_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(DataError, match="Basenji2"):
        build(config, 9, 0)


def test_another_order_of_bases_and_an_unknown_head_are_refused(tmp_path: Path) -> None:
    weights = read(write(tmp_path / "w.h5", published()))
    with pytest.raises(DataError, match=r"Basenji2's files order the bases ACGT, not AGCT\."):
        translate(weights, Choice(alphabet="AGCT"))
    with pytest.raises(DataError, match=r"Basenji2 has no head 'rat'; it has human, mouse\."):
        translate(weights, Choice(head="rat"))
