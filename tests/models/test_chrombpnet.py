from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.tolerance import assert_close
from trackserver.errors import DataError
from trackserver.models import registry
from trackserver.models.chrombpnet import ROW_TENSORS, ChromBPNet, build, translate
from trackserver.models.weights import Choice, read

# One network's weights in the file's order and layout: kernel and bias of every layer.
Layers = list[tuple[np.ndarray, np.ndarray]]


def load(path: Path, head: str = "", crop: int = 557) -> ChromBPNet:
    config, state = translate(read(path), Choice(head=head))
    module = registry.assemble(
        "chrombpnet", json.loads(json.dumps(config)), state, path, n_tracks=1, crop=crop, tracks=None
    )
    assert isinstance(module, ChromBPNet)
    return module


def layers(width: int, dilated: int, seed: int) -> Layers:
    rng = np.random.default_rng(seed)
    shapes = [(21, 4, width), *[(3, width, width)] * dilated, (75, width, 1), (width, 1)]
    # Small enough for the values to stay near 1 through all layers.
    kernels = [rng.normal(0, np.prod(shape[:-1]) ** -0.5 / 2, shape).astype("f4") for shape in shapes]
    return [(kernel, rng.normal(0, 0.05, kernel.shape[-1]).astype("f4")) for kernel in kernels]


def windows(n: int) -> Tensor:
    return torch.rand(n, 4, 2114, generator=torch.Generator().manual_seed(0))


def keras_layers(weights: Layers, name: str, spare: int) -> Iterator[dict[str, Any]]:
    """One network's part of a Keras configuration, as far as it is read."""
    yield {"class_name": "InputLayer", "config": {"name": "sequence", "batch_input_shape": [None, 2114, 4]}}
    *convs, profile, total = [f"{name}_{i}" for i in range(len(weights))]
    for i, conv in enumerate([*convs, profile]):
        activation = "linear" if conv == profile else "relu"
        dilation = 1 if conv in (convs[0], profile) else 2**i
        about = {"name": conv, "dilation_rate": [dilation], "activation": activation, "padding": "valid"}
        yield {"class_name": "Conv1D", "config": about}
        if i:
            cut = spare if conv == profile else dilation
            yield {"class_name": "Cropping1D", "config": {"name": f"{conv}_crop", "cropping": [cut, cut]}}
    yield {"class_name": "Dense", "config": {"name": total, "activation": "linear"}}


def write(path: Path, networks: dict[str, Layers], spare: dict[str, int] | None = None) -> Path:
    """A Keras file of nested models, or of one whose name is empty; of weights alone without `spare`."""
    with h5py.File(path, "w") as file:
        root = file if spare is None else file.create_group("model_weights")
        names: list[str] = []
        settings: list[dict[str, Any]] = []
        for network, weights in networks.items():
            stored = {f"{network or 'bpnet'}_{i}": pair for i, pair in enumerate(weights)}
            for outer, inner in [(network, list(stored))] if network else [(name, [name]) for name in stored]:
                group = root.create_group(outer)
                names.append(outer)
                group.attrs["weight_names"] = [f"{name}/{kind}:0" for name in inner for kind in ("kernel", "bias")]
                for name in inner:
                    group[f"{name}/kernel:0"], group[f"{name}/bias:0"] = stored[name]
            if spare is not None:
                about = list(keras_layers(weights, network or "bpnet", spare[network]))
                settings += [{"class_name": "Functional", "config": {"name": network, "layers": about}}]
        root.attrs["layer_names"] = names
        if spare is not None:
            whole = settings[0]["config"]["layers"] if "" in networks else [keras_input(), *settings]
            file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": whole}})
    return path


def keras_input() -> dict[str, Any]:
    return {"class_name": "InputLayer", "config": {"name": "sequence", "batch_input_shape": [None, 2114, 4]}}


def answer(weights: Layers, one_hot: Tensor) -> tuple[Tensor, Tensor]:
    """The same network with every convolution padded, cut at the end: inside, the values are equal."""
    tensors = [(torch.from_numpy(kernel.T.copy()), torch.from_numpy(bias)) for kernel, bias in weights]
    (stem, stem_bias), *dilated, (profile, profile_bias), (total, total_bias) = tensors
    x = F.relu(F.conv1d(one_hot, stem, stem_bias, padding=10))
    edge = 10
    for i, (kernel, bias) in enumerate(dilated):
        dilation = 2 ** (i + 1)
        x = x + F.relu(F.conv1d(x, kernel, bias, padding=dilation, dilation=dilation))
        edge += dilation
    logits = F.conv1d(x, profile, profile_bias, padding=37)[:, 0, 557:-557]
    return logits, x[..., edge:-edge].mean(-1) @ total.T + total_bias


CHROMATIN, BIAS = layers(6, 8, 0), layers(5, 4, 1)
# What is cut of each network's profile to leave 1,000 of 2,114 positions.
SPARE = {"model_wo_bias": 0, "model_3": 480}


@pytest.fixture
def both(tmp_path: Path) -> Path:
    return write(tmp_path / "chrombpnet.h5", {"model_wo_bias": CHROMATIN, "model_3": BIAS}, SPARE)


@pytest.mark.parametrize(
    ("file", "head", "answers"),
    [
        ("chrombpnet", "", ("profile_logits", "logcounts")),
        ("chrombpnet", "full", ("profile_logits", "logcounts")),
        ("chrombpnet", "nobias", ("nobias_profile", "nobias_logcounts")),
        ("chrombpnet", "bias", ("bias_profile", "bias_logcounts")),
        ("chrombpnet_nobias", "nobias", ("nobias_profile", "nobias_logcounts")),
        ("chrombpnet_nobias", "", ("nobias_profile", "nobias_logcounts")),
        ("bias", "bias", ("bias_profile", "bias_logcounts")),
    ],
)
@torch.inference_mode()
def test_the_original_code_says_the_same(file: str, head: str, answers: tuple[str, str], parity: Path) -> None:
    io = np.load(parity / "chrombpnet/tiny.io.npz")
    module = load(parity / f"chrombpnet/{file}.h5", head)
    one_hot = torch.from_numpy(io["x"]).transpose(1, 2)
    profile, logcount = module.profile_and_logcount(one_hot)
    theirs, their_count = (io[name].astype(np.float64) for name in answers)
    assert (profile.shape, logcount.shape) == ((2, 1000), (2, 1))
    assert_close(profile.numpy(), theirs, module)
    assert_close(logcount.numpy(), their_count, module)
    signal = np.exp(theirs) / np.exp(theirs).sum(1, keepdims=True) * np.exp(their_count)
    assert_close(module(one_hot)[:, 0].numpy(), signal, module, scale=signal)  # of each base's own reads


@pytest.mark.sample
@pytest.mark.parametrize("head", ["full", "nobias", "bias"])
@torch.inference_mode()
def test_a_small_network_equals_its_padded_form(head: str, both: Path) -> None:
    one_hot = windows(2)
    (logits, count), (bias_logits, bias_count) = answer(CHROMATIN, one_hot), answer(BIAS, one_hot)
    expected = {
        "full": (logits + bias_logits, torch.cat([count, bias_count], 1).logsumexp(1, keepdim=True)),
        "nobias": (logits, count),
        "bias": (bias_logits, bias_count),
    }[head]
    module = load(both, head)
    profile, logcount = module.profile_and_logcount(one_hot)
    assert_close(profile, expected[0], module)
    assert_close(logcount, expected[1], module)


@torch.inference_mode()
def test_the_signal_sums_to_the_total_over_the_published_width(both: Path) -> None:
    module, one_hot = load(both), windows(2)
    signal = module(one_hot)
    assert signal.shape == (2, 1, 1000)
    assert_close(signal.sum(-1), module.profile_and_logcount(one_hot)[1].exp(), module)


@torch.inference_mode()
def test_a_larger_crop_leaves_out_values_and_changes_none(both: Path) -> None:
    one_hot = windows(2)
    assert torch.equal(load(both, crop=757)(one_hot), load(both)(one_hot)[..., 200:-200])


@torch.inference_mode()
def test_another_order_of_the_bases_in_the_file(both: Path) -> None:
    one_hot = windows(1)
    config, state = translate(read(both), Choice(alphabet="TGCA"))
    module = registry.assemble("chrombpnet", config, state, both, n_tracks=1, crop=557)
    assert_close(module(one_hot), load(both)(one_hot.flip(1)), module)


@pytest.mark.parametrize("spare", [None, {"": 480}], ids=["weights-alone", "whole-model"])
@torch.inference_mode()
def test_a_file_of_one_network(spare: dict[str, int] | None, tmp_path: Path) -> None:
    path = write(tmp_path / "bias.h5", {"": BIAS}, spare)
    config = translate(read(path), Choice()).config
    assert json.loads(json.dumps(config)) == {
        "networks": [{"channels": 5, "dilated": 4}], "window": 2114, "crop": 557
    }  # fmt: skip
    one_hot = windows(2)
    module = load(path, "bias")
    for found, expected in zip(module.profile_and_logcount(one_hot), answer(BIAS, one_hot), strict=True):
        assert_close(found, expected, module)
    with pytest.raises(DataError, match="it holds one network, but the full model has two"):
        translate(read(path), Choice(head="full"))


def test_networks_of_unequal_width_are_refused(tmp_path: Path) -> None:
    networks = {"model_wo_bias": CHROMATIN, "model": BIAS}
    path = write(tmp_path / "w", networks, {"model_wo_bias": 0, "model": 470})
    with pytest.raises(DataError, match="crop 557 and 547 bp at each side, which should be equal"):
        translate(read(path), Choice())


def test_which_network_is_the_bias_must_be_told_by_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "w", {"model_1": CHROMATIN, "model_2": BIAS}, {"model_1": 0, "model_2": 480})
    assert len(translate(read(path), Choice()).config["networks"]) == 2  # both together: it does not matter
    with pytest.raises(DataError, match="model_1 and model_2, is called model_wo_bias"):
        translate(read(path), Choice(head="bias"))


@pytest.mark.parametrize(("key", "value"), [("dilation_rate", [3]), ("activation", "gelu"), ("padding", "same")])
def test_what_shapes_do_not_tell_is_checked_too(key: str, value: object, tmp_path: Path) -> None:
    path = write(tmp_path / "w", {"": BIAS}, {"": 480})
    with h5py.File(path, "r+") as file:
        settings = json.loads(file.attrs["model_config"])
        settings["config"]["layers"][2]["config"][key] = value
        file.attrs["model_config"] = json.dumps(settings)
    with pytest.raises(DataError, match="bpnet_1 should have dilation 2, activation relu and padding valid but has"):
        translate(read(path), Choice())


@pytest.mark.parametrize("settings", [{"config": []}, {"config": {"layers": [{}]}}, {"config": {"layers": [1]}}])
def test_a_configuration_not_of_keras_is_a_sentence(settings: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "w", {"": BIAS}, {"": 480})
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(settings)
    with pytest.raises(DataError, match="not one of Keras'"):
        translate(read(path), Choice())


def test_another_file_is_refused_by_its_first_layer_that_differs(tmp_path: Path) -> None:
    longer = [(np.zeros((15, 4, 6), "f4"), CHROMATIN[0][1]), *CHROMATIN[1:]]
    with pytest.raises(DataError, match=r"bpnet_0/kernel:0 should have shape \(21, 4, any\) but has \(15, 4, 6\)"):
        translate(read(write(tmp_path / "stem", {"": longer})), Choice())
    wider = [*BIAS[:3], (np.zeros((5, 5, 5), "f4"), BIAS[3][1]), *BIAS[4:]]
    with pytest.raises(DataError, match=r"ChromBPNet: bpnet_3/kernel:0 should have shape \(75, 5, 1\)"):
        translate(read(write(tmp_path / "wider", {"": wider})), Choice())
    with pytest.raises(DataError, match="its layers end where one with kernel"):
        translate(read(write(tmp_path / "less", {"": BIAS[:-1]})), Choice())
    with pytest.raises(DataError, match="it also holds bpnet_7/kernel:0"):
        translate(read(write(tmp_path / "more", {"": [*BIAS, BIAS[-1]]})), Choice())
    torch.save({"0.weight": torch.zeros(5, 4, 1, 8)}, tmp_path / "deepsea")
    with pytest.raises(DataError, match=r"begin with a kernel \(21 x 4 x any\) but begins with 0\.weight \(5 x 4 x 1"):
        translate(read(tmp_path / "deepsea"), Choice())
    with pytest.raises(DataError, match="should hold two networks but holds 3"):
        translate(read(write(tmp_path / "three", {"a": BIAS, "b": BIAS, "c": BIAS})), Choice())


def test_an_unknown_head_is_refused(both: Path) -> None:
    with pytest.raises(DataError, match="no head 'counts'; it has full, nobias, bias"):
        translate(read(both), Choice(head="counts"))


def test_the_published_network_has_its_size() -> None:
    with torch.device("meta"):
        chromatin = build({"networks": [{}]}, 1, 557)
        build({}, 1, 557)
    count = sum(parameter.numel() for parameter in chromatin.parameters())
    assert count == 6_377_986
    assert f"{count / 1e6:.2f} M" == "6.38 M"
    assert ROW_TENSORS == ()


@pytest.mark.parametrize(
    ("config", "n_tracks", "crop", "sentence"),
    [
        ({}, 2, 557, "one track, not 2"),
        ({}, 1, 556, "own crop of 557"),
        ({"networks": []}, 1, 557, "one network or two, not 0"),
        ({"networks": [{"filters": 5}]}, 1, 557, r"networks\.0\.filters"),
        ({"networks": [{"dilated": 9}]}, 1, 2000, "sees 1069 bp"),
        ({"window": 1114}, 1, 557, "at each side of 1114"),
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, Any], n_tracks: int, crop: int, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        build(config, n_tracks, crop)
