from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tolerance import assert_close
from trackserver.errors import DataError
from trackserver.models import layers, registry
from trackserver.models.enformer import basis, build, translate
from trackserver.models.layers import RelativeAttention, shift_rows
from trackserver.models.weights import Choice, Weights, read

STEM, TOWER, HEADS, KEY, FEATURES, HIDDEN = 4, (5, 6), 2, 3, 12, 7
CPU = torch.device("cpu")
PLACES = {"stem": "0", "conv_tower": "1", "transformer": "2", "final_pointwise.1": "4._layers.0"}
TRUNK = {"stem": "_trunk.1", "conv_tower": "_trunk.2", "transformer": "_trunk.4", "final_pointwise": "_trunk.6"}


def package() -> Weights:
    """A small network as enformer-pytorch names its layers, each once, with both heads."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(path: str, *shape: int) -> None:
        shapes.update({f"{path}.weight": shape, f"{path}.bias": shape[:1]})

    def norm(path: str, width: int, *kept: str) -> None:
        shapes.update({f"{path}.{name}": (width,) for name in ("weight", "bias", *kept)})

    def mix(path: str, width: int) -> None:
        norm(f"{path}.1.fn.0", width, "running_mean", "running_var")
        conv(f"{path}.1.fn.2", width, width, 1)
        shapes[f"{path}.2.to_attn_logits.weight"] = (width, width, 1, 1)

    conv("stem.0", STEM, 4, 15)
    mix("stem", STEM)
    for i, (before, after) in enumerate(zip((STEM, *TOWER), TOWER, strict=False)):
        norm(f"conv_tower.{i}.0.0", before, "running_mean", "running_var")
        conv(f"conv_tower.{i}.0.2", after, before, 5)
        mix(f"conv_tower.{i}", after)
    width = TOWER[-1]
    for i in range(2):
        path = f"transformer.{i}.0.fn.1"
        norm(f"transformer.{i}.0.fn.0", width)
        shapes |= {f"{path}.{name}": (1, HEADS, 1, KEY) for name in ("rel_content_bias", "rel_pos_bias")}
        shapes |= {f"{path}.{name}.weight": (HEADS * KEY, width) for name in ("to_q", "to_k")}
        shapes |= {f"{path}.to_v.weight": (width, width), f"{path}.to_rel_k.weight": (HEADS * KEY, FEATURES)}
        conv(f"{path}.to_out", width, width)
        norm(f"transformer.{i}.1.fn.0", width)
        conv(f"transformer.{i}.1.fn.1", 9, width)
        conv(f"transformer.{i}.1.fn.4", width, 9)
    norm("final_pointwise.1.0", width, "running_mean", "running_var")
    conv("final_pointwise.1.2", HIDDEN, width, 1)
    conv("_heads.human.0", 8, HIDDEN)
    conv("_heads.mouse.0", 3, HIDDEN)
    random = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in shapes.items():
        scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.3
        drawn = torch.randn(shape, generator=random) * scale
        tensors[name] = drawn.abs() + 0.5 if name.endswith("running_var") else drawn
    tensors["stem.1.fn.0.num_batches_tracked"] = torch.tensor(5)
    return Weights(Path("pytorch_model.bin"), tensors)


def sonnet(root: str = "model/") -> Weights:
    """The same network as the official checkpoint has it."""
    names = {"weight": "scale", "bias": "offset", "running_mean": "moving_mean.average"}
    names |= {"running_var": "moving_variance.average", "rel_content_bias": "_r_w_bias", "rel_pos_bias": "_r_r_bias"}
    attention = {"to_q": "_q_layer", "to_k": "_k_layer", "to_v": "_v_layer", "to_rel_k": "_r_k_layer"}
    attention |= {"to_out": "_embedding_layer", "to_attn_logits": "_logit_linear"}
    tensors = {f"{root}save_counter": torch.tensor(3), f"{root}_trunk/_layers/9/_counter/x": torch.tensor(3)}
    for name, tensor in package().tensors.items():
        *path, last = name.split(".")
        if last == "num_batches_tracked":
            continue
        is_norm = last in ("weight", "bias") and f"{'.'.join(path)}.weight" in package().tensors
        is_norm = is_norm and package().tensors[f"{'.'.join(path)}.weight"].ndim == 1
        if not is_norm and last in ("weight", "bias"):
            last = "w" if last == "weight" else "b"
            tensor = tensor[:, :, 0, 0].T if tensor.ndim == 4 else tensor.permute(*range(tensor.ndim)[::-1])
        else:
            tensor = tensor.reshape(1, 1, -1) if last.startswith("running") else tensor
            last = names[last]
        joined = ".".join(path)
        for ours, place in PLACES.items():
            if joined.startswith(ours):
                joined = f"_trunk._layers.{place}{joined.removeprefix(ours)}"
        parts = ["_module" if part == "fn" else attention.get(part, part) for part in joined.split(".")]
        placed = [f"_layers/{p}" if p.isdigit() and parts[i - 1] != "_layers" else p for i, p in enumerate(parts)]
        tensors[f"{root}{'/'.join(placed)}/{last.replace('.', '/')}/.ATTRIBUTES/VARIABLE_VALUE"] = tensor
    return Weights(Path("enformer.index"), dict(sorted(tensors.items())))


def load(
    weights: Weights, crop: int, tracks: list[int] | None = None, head: str = "", axis: str = "positions"
) -> nn.Module:
    config, state = translate(weights, Choice(head=head))
    config, n_tracks = {**config, "gamma_axis": axis}, len(state["head.weight"])
    return registry.assemble("enformer", config, state, weights.path, n_tracks=n_tracks, crop=crop, tracks=tracks)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "file", "axis"),
    [
        ("sonnet_tiny", "sonnet_tiny.index", "positions"),  # the official arithmetic
        ("tiny", "tiny.pth", "features"),  # the package's, which divides gammas along the other axis
    ],
)
def test_the_original_code_says_the_same(parity: Path, name: str, file: str, axis: str) -> None:
    io, weights = np.load(parity / f"enformer/{name}.io.npz"), read(parity / "enformer" / file)
    one_hot = torch.from_numpy(io["x"]).float().mT
    for head in ("human", "mouse"):
        module = load(weights, 20 * 128, head=head, axis=axis)
        assert_close(module(one_hot).mT.numpy(), io[f"y_{head}"], module)
    assert_close(basis(64, 12, axis, CPU).numpy(), io["pos64"].reshape(127, 12), 62**2)  # of exponents to 62
    if axis == "features":  # and it matters
        assert (
            load(weights, 20 * 128, axis="positions")(one_hot).mT - torch.from_numpy(io["y_human"])
        ).abs().max() > 0.1


def plain(file: dict[str, Tensor], one_hot: Tensor) -> Tensor:
    """The layers one after the other, uncropped, from the package's own tensors."""

    def conv(x: Tensor, path: str) -> Tensor:
        return F.conv1d(x, file[f"{path}.weight"], file[f"{path}.bias"], padding="same")

    def linear(x: Tensor, path: str) -> Tensor:
        return F.linear(x, file[f"{path}.weight"], file.get(f"{path}.bias"))

    def norm(x: Tensor, path: str) -> Tensor:
        order = ("running_mean", "running_var", "weight", "bias")
        return gelu(F.batch_norm(x, *(file[f"{path}.{name}"] for name in order), eps=1e-5))

    def layer_norm(x: Tensor, path: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], file[f"{path}.weight"], file[f"{path}.bias"], 1e-5)

    def gelu(x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)

    def mix(x: Tensor, path: str) -> Tensor:
        x = x + conv(norm(x, f"{path}.1.fn.0"), f"{path}.1.fn.2")
        pairs = x.unflatten(-1, (-1, 2))
        logits = torch.einsum("oc,bclp->bolp", file[f"{path}.2.to_attn_logits.weight"][:, :, 0, 0], pairs)
        return (pairs * logits.softmax(-1)).sum(-1)

    x = mix(conv(one_hot, "stem.0"), "stem")
    for i in range(len(TOWER)):
        x = mix(conv(norm(x, f"conv_tower.{i}.0.0"), f"conv_tower.{i}.0.2"), f"conv_tower.{i}")
    x = x.mT
    for i in range(2):
        attention = f"transformer.{i}.0.fn.1"
        tensors = {name.removeprefix(f"{attention}."): t for name, t in file.items() if name.startswith(attention)}
        x = x + by_definition(
            layer_norm(x, f"transformer.{i}.0.fn.0"), basis(x.shape[1], FEATURES, "positions", CPU), tensors
        )
        inner = linear(layer_norm(x, f"transformer.{i}.1.fn.0"), f"transformer.{i}.1.fn.1").relu()
        x = x + linear(inner, f"transformer.{i}.1.fn.4")
    x = gelu(conv(norm(x.mT, "final_pointwise.1.0"), "final_pointwise.1.2"))
    return F.softplus(linear(x.mT, "_heads.human.0")).mT


def by_definition(x: Tensor, distances: Tensor, file: dict[str, Tensor]) -> Tensor:
    """Attention one query and key at a time."""
    q, k, v = (F.linear(x, file[f"to_{name}.weight"]).unflatten(-1, (HEADS, -1)) for name in "qkv")
    r = F.linear(distances, file["to_rel_k.weight"]).unflatten(-1, (HEADS, -1))
    content, position = file["rel_content_bias"][0, :, 0], file["rel_pos_bias"][0, :, 0]
    n, q = x.shape[1], q * KEY**-0.5
    logits = torch.empty(len(x), HEADS, n, n)
    for i in range(n):
        for j in range(n):
            logits[:, :, i, j] = ((q[:, i] + content) * k[:, j] + (q[:, i] + position) * r[j - i + n - 1]).sum(-1)
    attended = torch.einsum("bhij,bjhv->bihv", logits.softmax(-1), v).flatten(2)
    return F.linear(attended, file["to_out.weight"], file["to_out.bias"])


@pytest.mark.sample
@torch.inference_mode()
@pytest.mark.parametrize("queries", [512, 3])
def test_a_small_network_equals_its_published_form(monkeypatch: pytest.MonkeyPatch, queries: int) -> None:
    monkeypatch.setattr(layers, "QUERY_BLOCK", queries)  # taken in blocks or all at once
    one_hot = torch.rand(2, 4, 80)
    module = load(package(), 0)
    assert_close(module(one_hot), plain(package().tensors, one_hot), module)


def test_both_kinds_of_file_and_both_names_of_a_layer_read_the_same() -> None:
    aliased = {}
    for name, tensor in package().tensors.items():
        first, _, rest = name.partition(".")
        aliased[f"{TRUNK[first]}.{rest}" if first in TRUNK else name] = tensor
    expected = translate(package(), Choice())
    both = {**package().tensors, **aliased}
    for other in (sonnet(), sonnet("enformer/x/"), sonnet(""), Weights(Path("w"), aliased), Weights(Path("w"), both)):
        found = translate(other, Choice())
        assert found.config == expected.config
        assert found.state.keys() == expected.state.keys()
        assert all(torch.equal(tensor, found.state[name]) for name, tensor in expected.state.items())


def test_nothing_is_copied() -> None:
    for weights in (package(), sonnet()):
        memory = {tensor.data_ptr() for tensor in weights.tensors.values()}
        assert all(tensor.data_ptr() in memory for tensor in translate(weights, Choice()).state.values())


def test_sizes_are_read_from_the_file_and_survive_a_card() -> None:
    config = translate(package(), Choice()).config
    assert (config["stem_channels"], config["tower_channels"], config["layers"]) == (4, [5, 6], 2)
    assert (config["heads"], config["key"], config["value"], config["features"]) == (2, 3, 3, 12)
    assert (config["mlp"], config["hidden"], config["gamma_axis"]) == (9, 7, "positions")
    assert json.loads(json.dumps(config)) == config


def test_a_head_is_one_the_file_has() -> None:
    assert len(translate(package(), Choice(head="mouse")).state["head.bias"]) == 3
    assert len(translate(sonnet(), Choice()).state["head.bias"]) == 8
    for weights in (package(), sonnet()):
        with pytest.raises(DataError, match=r"no head 'rat'; it has human, mouse\."):
            translate(weights, Choice(head="rat"))


@torch.inference_mode()
def test_cropping_leaves_out_whole_bins_at_both_sides() -> None:
    one_hot, module = torch.rand(1, 4, 96), load(package(), 0)
    whole = module(one_hot)
    assert whole.shape == (1, 8, 12)
    assert_close(load(package(), 24)(one_hot), whole[..., 3:-3], module)


@torch.inference_mode()
def test_some_tracks_are_those_rows_of_all() -> None:
    one_hot, whole = torch.rand(2, 4, 64), load(package(), 8)
    assert_close(load(package(), 8, [6, 1])(one_hot), whole(one_hot)[:, [6, 1]], whole)


def test_a_network_that_predicted_can_also_be_differentiated() -> None:
    module, one_hot = load(package(), 0), torch.rand(1, 4, 64, requires_grad=True)
    with torch.inference_mode():
        expected = module(one_hot)
    values = module(one_hot)
    values.sum().backward()
    assert_close(values, expected, module)
    assert one_hot.grad is not None and one_hot.grad.abs().max() > 0


def test_the_shift_gives_each_query_its_own_distances() -> None:
    """Of 7 keys, the queries 2, 3 and 4 meet the distances -4 to 4."""
    distances = torch.arange(-4, 5).float().expand(1, 1, 3, -1)
    assert shift_rows(distances)[0, 0].tolist() == [[j - i for j in range(7)] for i in (2, 3, 4)]


@torch.inference_mode()
def test_attention_does_not_depend_on_the_blocks_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    attention, x, distances = RelativeAttention(8, 2, 3, 5, 12), torch.randn(2, 10, 8), basis(10, 12, "positions", CPU)
    nn.init.normal_(attention.content_bias), nn.init.normal_(attention.position_bias)
    expected = attention(x, distances)
    for queries in (1, 4, 10):
        monkeypatch.setattr(layers, "QUERY_BLOCK", queries)
        assert_close(attention(x, distances), expected, attention)


def test_the_basis_of_distances() -> None:
    """From its definition, in float64: only the gammas' logarithms lose digits, the more the longer the window."""
    n, count = 200, 4
    values, d = basis(n, 6 * count, "positions", CPU).double().numpy(), np.arange(n)[:, None]
    half = values[n - 1 :, : 3 * count]
    assert_close(half[:, :4], 0.5 ** (d / 2 ** np.linspace(3, np.log2(n), count)), 1)
    np.testing.assert_array_equal(half[:, 4:8], d < 2 ** np.arange(1, 5) - 1)
    mean, deviation = np.linspace(n / count, n, count), n / (2 * count)
    shape, rate = (mean / deviation) ** 2, mean / deviation**2
    lgamma = np.array([math.lgamma(x) for x in shape])
    with np.errstate(divide="ignore"):
        power = (shape - 1) * np.log(d)
    density = np.exp(power - rate * d - lgamma + shape * np.log(rate)) + 1e-8
    # An exponential's relative error is the absolute one of its exponent, here that of the largest term in it.
    assert_close(half[:, 8:], density / density.max(0), 1, scale=power.max())
    np.testing.assert_array_equal(values[: n - 1, : 3 * count], half[:0:-1])  # the same to both sides
    np.testing.assert_array_equal(
        values[:, 3 * count :], values[:, : 3 * count] * np.sign(np.arange(1 - n, n))[:, None]
    )


def test_the_published_network_has_its_size() -> None:
    with torch.device("meta"):
        module = build({}, 5313 + 1643, 320 * 128)  # both heads, which are linear maps of the same values
    assert sum(parameter.numel() for parameter in module.parameters()) == 251_221_292


def test_another_file_is_refused_by_its_first_layer_that_differs() -> None:
    tensors = package().tensors
    wrong = Weights(Path("w"), {**tensors, "conv_tower.1.0.2.weight": torch.zeros(6, 5, 3)})
    with pytest.raises(
        DataError, match=r"Enformer: conv_tower\.1\.0\.2\.weight should have .*\(any, 5, 5\) but has \(6"
    ):
        translate(wrong, Choice())
    official = sonnet().tensors
    name = next(name for name in official if "2/_layers/1/" in name and "_k_layer" in name)
    with pytest.raises(DataError, match=r"2/_layers/1/.*_k_layer/w.* should have .*\(6, 6\) but has \(6, 7\)"):
        translate(Weights(Path("w"), {**official, name: torch.zeros(6, 7)}), Choice())
    other = Weights(Path("w"), {"cnn0/conv1d/kernel": torch.zeros(22, 4, 26)})
    message = r"has no stem\.0\.weight .*; its first unused tensor is cnn0/conv1d/kernel \(22, 4, 26\)"
    with pytest.raises(DataError, match=message):
        translate(other, Choice())
    more = Weights(Path("w"), {**tensors, "_trunk.7.weight": torch.zeros(2)})
    with pytest.raises(DataError, match=r"it also holds _trunk\.7\.weight \(2\)"):
        translate(more, Choice())


@pytest.mark.parametrize(
    "config", [{"features": 20}, {"tower_channels": []}, {"gamma_axis": "both"}, {"heads": 0}, {"depth": 11}]
)
def test_a_wrong_configuration_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(DataError, match="Enformer"):
        build(config, 9, 0)


def test_another_order_of_bases_is_refused() -> None:
    with pytest.raises(DataError, match=r"Enformer's files order the bases ACGT, not AGCT\."):
        translate(package(), Choice(alphabet="AGCT"))
