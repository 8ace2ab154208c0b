from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tolerance import FLOAT64, assert_close
from trackserver.errors import DataError
from trackserver.models import layers, registry
from trackserver.models.borzoi import basis, build, translate, unsquash
from trackserver.models.weights import Choice, Weights, read

STEM, TOWER, WIDTH, HEADS, KEY, FEATURES, HIDDEN = 4, (5, 7), 6, 2, 4, 8, 9
CPU = torch.device("cpu")
# As Keras lists them: those that stand side by side in a step up the U by their distance from the output.
UP = [
    ("upsampling_unet1.0", "horizontal_conv1", "separable1"),
    ("upsampling_unet0.0", "horizontal_conv0", "separable0"),
]


def package() -> Weights:
    """A small network as borzoi-pytorch names its layers, with both heads."""
    shapes: dict[str, tuple[int, ...]] = {}

    def block(path: str, made: int, width: int, kernel: int) -> None:
        shapes.update({f"{path}.norm.{x}": (width,) for x in ("weight", "bias", "running_mean", "running_var")})
        conv(f"{path}.conv_layer", made, width, kernel)

    def conv(path: str, *shape: int) -> None:
        shapes.update({f"{path}.weight": shape, f"{path}.bias": shape[:1]})

    conv("conv_dna.conv_layer", STEM, 4, 15)
    for i, (before, after) in enumerate(zip((STEM, *TOWER), TOWER, strict=False)):
        block(f"res_tower.{2 * i}", after, before, 5)
    block("unet1.1", WIDTH, TOWER[-1], 5)
    for level, width in ((0, TOWER[-1]), (1, WIDTH)):
        block(f"horizontal_conv{level}", WIDTH, width, 1)
    for i in range(2):
        path = f"transformer.{i}.0.fn.1"
        conv(f"transformer.{i}.0.fn.0", WIDTH)
        shapes |= {f"{path}.{name}": (1, HEADS, 1, KEY) for name in ("rel_content_bias", "rel_pos_bias")}
        shapes |= {f"{path}.{name}.weight": (HEADS * KEY, WIDTH) for name in ("to_q", "to_k")}
        shapes |= {f"{path}.to_v.weight": (WIDTH, WIDTH), f"{path}.to_rel_k.weight": (HEADS * KEY, FEATURES)}
        conv(f"{path}.to_out", WIDTH, WIDTH)
        conv(f"transformer.{i}.1.fn.0", WIDTH)
        conv(f"transformer.{i}.1.fn.1", 12, WIDTH)
        conv(f"transformer.{i}.1.fn.4", WIDTH, 12)
    for up, _, separable in UP:
        block(up, WIDTH, WIDTH, 1)
        shapes[f"{separable}.conv_layer.0.weight"] = (WIDTH, 1, 3)
        conv(f"{separable}.conv_layer.1", WIDTH, WIDTH, 1)
    block("final_joined_convs.0", HIDDEN, WIDTH, 1)
    conv("human_head", 8, HIDDEN, 1)
    conv("mouse_head", 3, HIDDEN, 1)
    random = torch.Generator().manual_seed(0)
    tensors = {"res_tower.0.norm.num_batches_tracked": torch.tensor(5)}
    for name, shape in shapes.items():
        scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.3
        drawn = torch.randn(shape, generator=random) * scale
        tensors[name] = drawn.abs() + 0.5 if name.endswith("running_var") else drawn
    return Weights(Path("pytorch_model.bin"), tensors)


def keras(head: str = "human_head", activation: str = "nn.gelu") -> Weights:
    """The same network as Calico's file has it: every tensor in Keras' order, under names that count."""
    file, tensors, counts = package().tensors, dict[str, Tensor](), dict[str, int]()

    def put(kind: str, **weights: Tensor) -> None:
        counts[kind] = counts.get(kind, -1) + 1
        layer = f"{kind}_{counts[kind]}" if counts[kind] else kind
        tensors.update({f"{layer}/{name.replace('__', '/')}:0": tensor for name, tensor in weights.items()})

    def norm(path: str) -> None:
        order = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        put("batch_normalization", **{name: file[f"{path}.norm.{ours}"] for name, ours in order.items()})

    def conv(path: str) -> None:
        put("conv1d", kernel=file[f"{path}.weight"].permute(2, 1, 0), bias=file[f"{path}.bias"])

    def dense(path: str) -> None:
        put("dense", kernel=file[f"{path}.weight"].flatten(1).T, bias=file[f"{path}.bias"])

    conv("conv_dna.conv_layer")
    for path in (*(f"res_tower.{2 * i}" for i in range(len(TOWER))), "unet1.1"):
        norm(path)
        conv(f"{path}.conv_layer")
    for i in range(2):
        put(
            "layer_normalization",
            gamma=file[f"transformer.{i}.0.fn.0.weight"],
            beta=file[f"transformer.{i}.0.fn.0.bias"],
        )
        at = f"transformer.{i}.0.fn.1"
        names = {"q_layer": "to_q", "k_layer": "to_k", "v_layer": "to_v", "embedding_layer": "to_out"}
        biases = {"r_w_bias": file[f"{at}.rel_content_bias"], "r_r_bias": file[f"{at}.rel_pos_bias"]}
        matrices = {f"{name}__kernel": file[f"{at}.{ours}.weight"].T for name, ours in names.items()}
        last = {
            "embedding_layer__bias": file[f"{at}.to_out.bias"],
            "r_k_layer__kernel": file[f"{at}.to_rel_k.weight"].T,
        }
        put("multihead_attention", **biases, **matrices, **last)
        put(
            "layer_normalization",
            gamma=file[f"transformer.{i}.1.fn.0.weight"],
            beta=file[f"transformer.{i}.1.fn.0.bias"],
        )
        dense(f"transformer.{i}.1.fn.1")
        dense(f"transformer.{i}.1.fn.4")
    for up, across, separable in UP:
        norm(up)
        norm(across)
        dense(f"{up}.conv_layer")
        dense(f"{across}.conv_layer")
        depthwise, pointwise = (file[f"{separable}.conv_layer.{i}.weight"] for i in range(2))
        kernels = {"depthwise_kernel": depthwise.permute(2, 0, 1), "pointwise_kernel": pointwise.permute(2, 1, 0)}
        put("separable_conv1d", **kernels, bias=file[f"{separable}.conv_layer.1.bias"])
    norm("final_joined_convs.0")
    conv("final_joined_convs.0.conv_layer")
    dense(head)
    layer = {"class_name": "TFOpLambda", "config": {"function": activation}}
    layer["inbound_nodes"] = [["x", 0, 0, {"approximate": True}]] if activation == "nn.gelu" else []
    return Weights(Path("model0_best.h5"), tensors, {"config": {"layers": [layer]}})


def load(weights: Weights, crop: int, tracks: list[int] | None = None, head: str = "") -> nn.Module:
    config, state = translate(weights, Choice(head=head))
    n_tracks = len(state["head.weight"])
    return registry.assemble("borzoi", config, state, weights.path, n_tracks=n_tracks, crop=crop, tracks=tracks)


@torch.inference_mode()
def test_the_original_code_says_the_same(parity: Path) -> None:
    io, weights = np.load(parity / "borzoi/tiny.io.npz"), read(parity / "borzoi/tiny.pth")
    for head in ("human", "mouse"):
        module = load(weights, 32 * 32, head=head)
        values = module(torch.from_numpy(io["x"]))
        assert values.shape == io[f"y_{head}"].shape
        assert_close(values.numpy(), io[f"y_{head}"], module)


def plain(file: dict[str, Tensor], one_hot: Tensor) -> Tensor:
    """The layers one after the other, uncropped, from the package's own tensors."""

    def conv(x: Tensor, path: str, groups: int = 1) -> Tensor:
        return F.conv1d(x, file[f"{path}.weight"], file.get(f"{path}.bias"), padding="same", groups=groups)

    def linear(x: Tensor, path: str) -> Tensor:
        return F.linear(x, file[f"{path}.weight"], file.get(f"{path}.bias"))

    def gelu(x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))

    def block(x: Tensor, path: str) -> Tensor:
        order = ("running_mean", "running_var", "weight", "bias")
        normed = F.batch_norm(x, *(file[f"{path}.norm.{name}"] for name in order), eps=1e-3)
        return conv(gelu(normed), f"{path}.conv_layer")

    def layer_norm(x: Tensor, path: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], file[f"{path}.weight"], file[f"{path}.bias"], 1e-3)

    def attention(x: Tensor, path: str) -> Tensor:
        n = x.shape[1]
        q, k, v = (linear(x, f"{path}.to_{name}").unflatten(-1, (HEADS, -1)).transpose(1, 2) for name in "qkv")
        r = linear(basis(n, FEATURES, 4096, CPU), f"{path}.to_rel_k").unflatten(-1, (HEADS, -1)).transpose(0, 1)
        q = q * KEY**-0.5
        by_distance = (q + file[f"{path}.rel_pos_bias"]) @ r.mT
        j, i = torch.arange(n), torch.arange(n)[:, None]
        logits = (q + file[f"{path}.rel_content_bias"]) @ k.mT + by_distance[..., i, j - i + n - 1]
        return linear((logits.softmax(-1) @ v).transpose(1, 2).flatten(2), f"{path}.to_out")

    x = conv(one_hot, "conv_dna.conv_layer")
    for i in range(len(TOWER)):
        x = block(F.max_pool1d(x, 2), f"res_tower.{2 * i}")
    below = block(F.max_pool1d(x, 2), "unet1.1")
    bottom = F.max_pool1d(below, 2).mT
    for i in range(2):
        bottom = bottom + attention(layer_norm(bottom, f"transformer.{i}.0.fn.0"), f"transformer.{i}.0.fn.1")
        inner = linear(layer_norm(bottom, f"transformer.{i}.1.fn.0"), f"transformer.{i}.1.fn.1").relu()
        bottom = bottom + linear(inner, f"transformer.{i}.1.fn.4")
    bottom = bottom.mT
    for tower, (up, across, separable) in zip((below, x), UP, strict=True):
        bottom = F.interpolate(block(bottom, up), scale_factor=2) + block(tower, across)
        bottom = conv(conv(bottom, f"{separable}.conv_layer.0", WIDTH), f"{separable}.conv_layer.1")
    return F.softplus(conv(gelu(block(bottom, "final_joined_convs.0")), "human_head"))


@pytest.mark.sample
@torch.inference_mode()
@pytest.mark.parametrize("queries", [512, 3])
def test_a_small_network_equals_its_published_form(monkeypatch: pytest.MonkeyPatch, queries: int) -> None:
    monkeypatch.setattr(layers, "QUERY_BLOCK", queries)  # taken in blocks or all at once
    one_hot, module = torch.rand(2, 4, 160), load(package(), 0)
    assert_close(module(one_hot), plain(package().tensors, one_hot), module)


@pytest.mark.parametrize("head", ["human", "mouse"])
def test_both_kinds_of_file_read_the_same(head: str) -> None:
    expected, found = (translate(file, Choice(head=head)) for file in (package(), keras(f"{head}_head")))
    assert found.config == expected.config
    assert found.state.keys() == expected.state.keys()
    assert all(torch.equal(tensor, found.state[name]) for name, tensor in expected.state.items())


def test_nothing_is_copied() -> None:
    for weights in (package(), keras()):
        memory = {tensor.data_ptr() for tensor in weights.tensors.values()}
        assert all(tensor.data_ptr() in memory for tensor in translate(weights, Choice()).state.values())


def test_sizes_are_read_from_the_file_and_survive_a_card() -> None:
    config = translate(keras(), Choice()).config
    assert (config["stem_channels"], config["tower_channels"], config["width"]) == (4, [5, 7], 6)
    assert (config["layers"], config["heads"], config["key"], config["value"]) == (2, 2, 4, 3)
    assert (config["features"], config["mlp"], config["hidden"], config["span"]) == (8, 12, 9, 4096)
    assert json.loads(json.dumps(config)) == config


def test_a_head_is_one_the_file_has() -> None:
    assert len(translate(package(), Choice(head="mouse")).state["head.bias"]) == 3
    for weights in (package(), keras()):
        assert len(translate(weights, Choice()).state["head.bias"]) == 8
        with pytest.raises(DataError, match=r"no head 'rat'; .* human, mouse\."):
            translate(weights, Choice(head="rat"))


@torch.inference_mode()
def test_cropping_leaves_out_whole_bins_at_both_sides() -> None:
    one_hot, module = torch.rand(1, 4, 160), load(package(), 0)
    whole = module(one_hot)
    assert whole.shape == (1, 8, 40)
    assert_close(load(package(), 12)(one_hot), whole[..., 3:-3], module)


@torch.inference_mode()
def test_some_tracks_are_those_rows_of_all() -> None:
    one_hot, whole = torch.rand(2, 4, 64), load(package(), 8)
    assert_close(load(package(), 8, [6, 1])(one_hot), whole(one_hot)[:, [6, 1]], whole)


def test_the_basis_reaches_as_far_in_a_shorter_window() -> None:
    short, published = basis(5, 32, 4096, CPU), basis(4096, 32, 4096, CPU)
    assert torch.equal(short, published[4091:4100])
    reach = (published[4095:, :16] > 0).sum(0)
    assert reach.tolist() == [math.ceil(4097 ** (i / 16) - 1) for i in range(1, 16)] + [4096]
    assert torch.equal(published[:, 16:], published[:, :16] * torch.arange(-4095, 4096).sign()[:, None])


@pytest.mark.parametrize(
    ("tracks", "parameters"),
    [
        (7611, 185_892_699),
        (7611 + 2608, 190_902_667),
    ],  # published as 185.9 and, with the mouse's head too, 190.9 million
)
def test_the_published_network_has_its_size(tracks: int, parameters: int) -> None:
    with torch.device("meta"):
        module = build({}, tracks, 5120 * 32)
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters


def test_flashzoi_and_others_are_refused_by_the_first_layer_that_differs() -> None:
    tensors = package().tensors
    kept = {name: tensor for name, tensor in tensors.items() if ".0.fn.1." not in name}
    flash = {"transformer.0.0.fn.1.mha.Wqkv.weight": torch.zeros(12, 6)}
    with pytest.raises(
        DataError, match=r"Borzoi: its transformer\.0\.0\.fn\.1\.mha\.Wqkv\.weight \(12, 6\) .* Flashzoi"
    ):
        translate(Weights(Path("w"), {**kept, **flash}), Choice())
    wrong = Weights(Path("w"), {**tensors, "horizontal_conv1.norm.bias": torch.zeros(7)})
    with pytest.raises(DataError, match=r"horizontal_conv1\.norm\.bias should have shape \(6\) but has \(7\)"):
        translate(wrong, Choice())
    more = Weights(Path("w"), {**tensors, "unet2.1.conv_layer.bias": torch.zeros(6)})
    with pytest.raises(DataError, match=r"it also holds unet2\.1\.conv_layer\.bias \(6\)"):
        translate(more, Choice())
    other = Weights(Path("w"), {"stem.0.weight": torch.zeros(48, 4, 15)})
    with pytest.raises(
        DataError,
        match=r"has no conv_dna\.conv_layer\.weight .*; its first unused tensor is stem\.0\.weight \(48, 4, 15\)",
    ):
        translate(other, Choice())


def test_another_keras_file_is_refused_by_the_first_layer_that_differs() -> None:
    def refuse(weights: Weights, sentence: str) -> None:
        with pytest.raises(DataError, match="does not fit Borzoi: " + sentence):
            translate(weights, Choice())

    tensors = keras().tensors
    without_bias = {name: tensor for name, tensor in tensors.items() if name != "conv1d/bias:0"}
    refuse(
        Weights(Path("w"), without_bias), r"it has batch_normalization/gamma:0 \(4,\) where a bias \(4\) is expected"
    )
    wrong = {**tensors, "dense_4/kernel:0": torch.zeros(6, 7)}
    refuse(Weights(Path("w"), wrong), r"dense_4/kernel:0 should have shape \(6, 6\) but has \(6, 7\)")
    refuse(Weights(Path("w"), {**tensors, "dense_9/bias:0": torch.zeros(2)}), r"it also holds dense_9/bias:0 \(2\)")
    cut = dict(list(tensors.items())[:-1])
    refuse(Weights(Path("w"), cut), r"it has nothing more where a bias \(8\) is expected")
    refuse(keras(activation="GELU"), "its activation is GELU, not the tanh GELU")


@pytest.mark.parametrize("config", [{"features": 5}, {"tower_channels": []}, {"heads": 0}, {"depth": 8}])
def test_a_wrong_configuration_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(DataError, match="Borzoi"):
        build(config, 9, 0)


# √n is how much larger than a sum the square above a soft clip makes its rounding.
UNSQUASHED = 16**2


def test_unsquashing_undoes_what_training_did_to_coverage() -> None:
    """`sum_sqrt` tracks like RNA-seq's, `sum` tracks like CAGE's; below and above the soft clip."""
    coverage = np.array([0.0, 0.3, 5.0, 383.9, 384.1, 2000.0, 1e5])
    scale, clip_soft, exponent = np.array([0.01, 0.3, 1.0]), np.array([384.0, 96.0, 384.0]), np.array([0.75, 0.75, 1.0])
    powered = coverage[None] ** exponent[:, None]
    over = powered > clip_soft[:, None]
    squashed = np.where(over, clip_soft[:, None] + np.sqrt(np.maximum(powered - clip_soft[:, None], 0)), powered)
    squashed = squashed * scale[:, None]
    assert over.any(1).all() and not over.all(1).any()
    tensors = [torch.from_numpy(array) for array in (scale, clip_soft, 1 / exponent)]
    found = unsquash(torch.from_numpy(squashed).expand(2, -1, -1), *tensors)
    expected = np.broadcast_to(coverage, (2, 3, 7))
    assert_close(found, expected, UNSQUASHED, scale=expected, roundoff=FLOAT64)


def test_unsquashing_says_what_the_original_code_says() -> None:
    """borzoi-pytorch's `undo_squashed_scale` in its older form: scale, soft clip, power, one track at a time."""
    values = np.random.default_rng(0).gamma(0.5, 5, (2, 3, 50)).astype("f4")
    parameters = [(0.01, 384.0, 0.75), (0.3, 384.0, 0.75), (2.0, 3.0, 1.0)]
    expected = np.empty_like(values)
    for track, (scale, clip_soft, transform) in enumerate(parameters):
        x = values[:, track] / scale
        x = np.where(x > clip_soft, (x - clip_soft) ** 2 + clip_soft, x)
        expected[:, track] = x ** (1 / transform)
    scale, clip_soft, transform = (torch.tensor(column) for column in zip(*parameters, strict=True))
    found = unsquash(torch.from_numpy(values), scale, clip_soft, 1 / transform)
    assert found.dtype == torch.float32
    assert_close(found, expected, UNSQUASHED, scale=expected)


def test_another_order_of_bases_is_refused() -> None:
    with pytest.raises(DataError, match=r"Borzoi's files order the bases ACGT, not AGCT\."):
        translate(package(), Choice(alphabet="AGCT"))
