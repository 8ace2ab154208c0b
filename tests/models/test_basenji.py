from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tolerance import assert_close
from trackserver.errors import DataError
from trackserver.models import registry
from trackserver.models.basenji import build, translate
from trackserver.models.layers import SameConv
from trackserver.models.weights import Choice, Weights, read

WIDTHS = (4, 5, 6, 7, 8, 9, 10)
KERNELS = (22, 1, 6, 6, 6, 3)
ADDED = 3


def published(dilated: int = 4, tracks: int = 7) -> Weights:
    """A checkpoint as training leaves it: names sorted, optimizer slots and counters among the layers."""
    convs = [(kernel, WIDTHS[i], WIDTHS[i + 1]) for i, kernel in enumerate(KERNELS)]
    convs += [(3, WIDTHS[-1] + i * ADDED, ADDED) for i in range(dilated)]
    convs += [(1, WIDTHS[-1] + dilated * ADDED, 11)]
    random = torch.Generator().manual_seed(0)
    tensors = {"global_step": torch.tensor(7), "beta1_power": torch.tensor(0.5)}
    for i, shape in enumerate(convs):
        norm = f"cnn{i}/batch_normalization"
        tensors[f"cnn{i}/conv1d/kernel"] = torch.randn(shape, generator=random) / (shape[0] * shape[1]) ** 0.5
        tensors[f"cnn{i}/conv1d/kernel/Adam_1"] = torch.zeros(shape)
        tensors[f"{norm}/renorm_mean"] = torch.zeros(shape[2])
        for name in ("beta", "moving_mean"):
            tensors[f"{norm}/{name}"] = torch.randn(shape[2], generator=random) / 3
        for name in ("gamma", "moving_variance"):  # a negative gamma turns a channel around
            tensors[f"{norm}/{name}"] = torch.rand(shape[2], generator=random) + (-0.3 if name == "gamma" else 0.5)
    tensors["final/conv1d/kernel"] = torch.randn(1, 11, tracks, generator=random)
    tensors["final/conv1d/bias"] = torch.randn(tracks, generator=random)
    return Weights(Path("model.tf.index"), dict(sorted(tensors.items())))


def plain(weights: Weights, one_hot: Tensor, dilated: int = 4) -> Tensor:
    """The published layers one after the other, uncropped, from the file's own tensors."""
    file, x = weights.tensors, one_hot
    for i in range(len(KERNELS) + dilated + 1):
        kernel, norm = file[f"cnn{i}/conv1d/kernel"].permute(2, 1, 0), f"cnn{i}/batch_normalization"
        is_dense = len(KERNELS) <= i < len(KERNELS) + dilated
        dilation = 2 ** (i - len(KERNELS) + 1) if is_dense else 1
        zeros = (kernel.shape[2] - 1) * dilation
        made = F.conv1d(F.pad(x, (zeros // 2, zeros - zeros // 2)), kernel, dilation=dilation)
        statistics = [file[f"{norm}/{name}"] for name in ("moving_mean", "moving_variance", "gamma", "beta")]
        made = F.batch_norm(made, *statistics, eps=1e-3).relu()
        if i < len(KERNELS):
            made = F.max_pool1d(made, (1, 2, 4, 4, 4, 1)[i])
        x = torch.cat([x, made], 1) if is_dense else made
    logits = F.conv1d(x, file["final/conv1d/kernel"].permute(2, 1, 0), file["final/conv1d/bias"])
    return torch.where(logits > 0, logits + 1, logits.exp())


def load(weights: Weights, crop: int, tracks: list[int] | None = None) -> nn.Module:
    config, state = translate(weights, Choice())
    return registry.assemble(
        "basenji", config, state, weights.path, n_tracks=len(state["head.weight"]), crop=crop, tracks=tracks
    )


@torch.inference_mode()
def test_the_original_code_says_the_same(parity: Path) -> None:
    io = np.load(parity / "basenji2018/tiny.io.npz")
    module = load(read(parity / "basenji2018/tiny.model.tf.index"), 1024)
    values = module(torch.from_numpy(io["x"]).float().mT)
    assert values.shape == (1, 9, 240)
    assert_close(values.mT.numpy(), io["y"], module)


@pytest.mark.sample
@torch.inference_mode()
@pytest.mark.parametrize("dilated", [0, 1, 4])
def test_a_small_network_equals_its_published_form(dilated: int) -> None:
    weights, one_hot = published(dilated), torch.rand(2, 4, 2048)
    module = load(weights, 0)
    expected = plain(weights, one_hot, dilated)
    assert (expected < 1).any() and (expected > 1).any()
    assert_close(module(one_hot), expected, module)


@torch.inference_mode()
def test_cropping_leaves_out_whole_bins_at_both_sides() -> None:
    one_hot, module = torch.rand(1, 4, 2048), load(published(), 0)
    whole = module(one_hot)
    assert whole.shape == (1, 7, 16)
    assert_close(load(published(), 384)(one_hot), whole[..., 3:-3], module)
    with pytest.raises(DataError, match="whole bins of 128 bp, not by 100 bp"):
        build({}, 1, 100)


@torch.inference_mode()
def test_some_tracks_are_those_rows_of_all() -> None:
    one_hot, whole = torch.rand(2, 4, 1024), load(published(), 128)
    assert_close(load(published(), 128, [6, 1])(one_hot), whole(one_hot)[:, [6, 1]], whole)


def test_sizes_are_read_from_the_file_and_survive_a_card() -> None:
    config = translate(published(), Choice()).config
    assert config["channels"] == [5, 6, 7, 8, 9, 10] and config["hidden"] == 11
    assert (config["dense_channels"], config["dilations"]) == (3, [2, 4, 8, 16])
    assert json.loads(json.dumps(config)) == config


def test_the_later_form_of_the_head_reads_the_same() -> None:
    weights = published()
    kernel, bias = (weights.tensors[f"final/conv1d/{name}"] for name in ("kernel", "bias"))
    kept = {name: tensor for name, tensor in weights.tensors.items() if not name.startswith("final/")}
    later = Weights(weights.path, {**kept, "final/dense/kernel": kernel[0], "final/dense/bias": bias})
    one, other = translate(weights, Choice()).state, translate(later, Choice()).state
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_nothing_is_copied() -> None:
    weights = published()
    memory = {tensor.data_ptr() for tensor in weights.tensors.values()}
    assert all(tensor.data_ptr() in memory for tensor in translate(weights, Choice()).state.values())


def test_the_published_network_has_its_size() -> None:
    with torch.device("meta"):
        module = build({}, 4229, 4096)
    assert sum(parameter.numel() for parameter in module.parameters()) == 15_190_636  # published as 15.2 million


@pytest.mark.parametrize("kernel", [1, 2, 3, 6, 22])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_padding_puts_the_odd_zero_on_the_right(kernel: int, dilation: int) -> None:
    conv, x = SameConv(2, 3, kernel, dilation=dilation), torch.rand(1, 2, 40)
    zeros = (kernel - 1) * dilation
    expected = F.conv1d(F.pad(x, (zeros // 2, (zeros + 1) // 2)), conv.weight, conv.bias, dilation=dilation)
    assert_close(conv(x), expected, conv)


def test_another_file_is_refused_by_its_first_layer_that_differs() -> None:
    tensors = published().tensors
    name = "cnn2/conv1d/kernel"
    wrong = Weights(Path("w"), {**tensors, name: torch.zeros(5, 6, 7)})
    with pytest.raises(DataError, match=r"Basenji: cnn2/conv1d/kernel should have .*\(6, 6, any\) but has \(5, 6, 7\)"):
        translate(wrong, Choice())
    other = Weights(Path("w"), {"stem.0.weight": torch.zeros(48, 4, 15)})
    message = r"has no cnn0/conv1d/kernel .*; its first unused tensor is stem\.0\.weight \(48, 4, 15\)"
    with pytest.raises(DataError, match=message):
        translate(other, Choice())
    more = Weights(Path("w"), {**tensors, "cnn11/conv1d/kernel": torch.zeros(1, 11, 2)})
    with pytest.raises(DataError, match=r"it also holds cnn11/conv1d/kernel \(1, 11, 2\)"):
        translate(more, Choice())


@pytest.mark.parametrize("config", [{"channels": [1, 1]}, {"hidden": 0}, {"pool": [1]}, {"hidden": "5"}])
def test_a_wrong_configuration_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(DataError, match="Basenji"):
        build(config, 9, 0)


def test_another_order_of_bases_is_refused() -> None:
    with pytest.raises(DataError, match=r"Basenji's files order the bases ACGT, not AGCT\."):
        translate(published(), Choice(alphabet="AGCT"))
    with pytest.raises(DataError, match=r"Basenji has no head 'mouse'; it has human\."):
        translate(published(), Choice(head="mouse"))
