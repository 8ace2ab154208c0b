from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.tolerance import assert_close
from trackserver.errors import DataError
from trackserver.models import registry
from trackserver.models.deepsea import ROW_TENSORS, STEPS, DeepSEA, build, translate
from trackserver.models.layers import positions_after, roundest_window
from trackserver.models.weights import Choice, read

AGCT = Choice(alphabet="AGCT")


def load(path: Path, choice: Choice, tracks: list[int] | None = None) -> nn.Module:
    config, state = translate(read(path), choice)
    n_tracks = len(state["head.weight"])
    return registry.assemble("deepsea", json.loads(json.dumps(config)), state, path, n_tracks=n_tracks, crop=400,
                             tracks=tracks)  # fmt: skip


def published(channels: tuple[int, int, int] = (5, 6, 7), hidden: int = 8, tracks: int = 9) -> nn.Sequential:
    """The network as the file has it: two-dimensional, in one row of layers, each dense one after a reshaping."""
    torch.manual_seed(0)
    widths, layers = (4, *channels), list[nn.Module]()
    for i in range(3):
        layers += [nn.Conv2d(widths[i], widths[i + 1], (1, 8)), nn.Threshold(0, 1e-6)]
        layers += [nn.MaxPool2d((1, 4)), nn.Dropout(0.2)] if i < 2 else [nn.Dropout(0.5), nn.Flatten()]
    for before, after in ((widths[-1] * 53, hidden), (hidden, tracks)):
        layers += [nn.Sequential(nn.Identity(), nn.Linear(before, after)), nn.Threshold(0, 1e-6)]
    return nn.Sequential(*layers[:-1], nn.Sigmoid()).eval()


def answer(network: nn.Module, one_hot: Tensor, alphabet: str = "AGCT") -> Tensor:
    """What the published network says of an A C G T one-hot."""
    return network(one_hot[:, ["ACGT".index(base) for base in alphabet], None])[:, :, None]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(published().state_dict(), tmp_path / "deepsea.pth")
    return tmp_path / "deepsea.pth"


@torch.inference_mode()
def test_the_original_code_says_the_same_of_one_strand(parity: Path) -> None:
    io = np.load(parity / "deepsea/tiny.variantEffects.io.npz")
    module = load(parity / "deepsea/tiny.variantEffects.pth", AGCT)
    values = module(torch.from_numpy(io["x"]))
    assert values.shape == (3, 57, 1)
    assert_close(values[..., 0].numpy(), io["y"], module)


@torch.inference_mode()
def test_the_original_code_says_the_same_of_both_strands(parity: Path) -> None:
    io = np.load(parity / "deepsea/tiny.predict.io.npz")
    module, one_hot = load(parity / "deepsea/tiny.predict.pth", AGCT), torch.from_numpy(io["x"])
    both = (module(one_hot) + module(one_hot.flip(1, 2))) / 2
    assert_close(both[..., 0].numpy(), io["y"], module)


@pytest.mark.parametrize("prefix", ["", "1.", "2.", "model.", "module.1."])
@torch.inference_mode()
def test_layers_are_found_wherever_the_network_lies_in_the_file(prefix: str, tmp_path: Path) -> None:
    network, one_hot = published(), torch.rand(2, 4, 1000)
    torch.save({prefix + name: tensor for name, tensor in network.state_dict().items()}, tmp_path / "w")
    assert_close(load(tmp_path / "w", AGCT)(one_hot), answer(network, one_hot), network)


@pytest.mark.sample
@torch.inference_mode()
def test_any_order_of_the_bases_in_the_file(weights: Path) -> None:
    network, one_hot = published(), torch.rand(1, 4, 1000)
    for order in map("".join, permutations("ACGT")):
        values = load(weights, Choice(alphabet=order))(one_hot)
        assert_close(values, answer(network, one_hot, order), network)


@pytest.mark.parametrize("alphabet", ["ACG", "ACGU", "AACG", "acgt", "ACGTN", ""])
def test_an_order_of_other_letters_is_refused(alphabet: str, weights: Path) -> None:
    with pytest.raises(DataError, match="such as AGCT"):
        translate(read(weights), Choice(alphabet=alphabet))


@torch.inference_mode()
def test_the_threshold_comes_before_the_pool(tmp_path: Path) -> None:
    """Activations below a millionth, where a negative one ends above them."""
    network, one_hot = published(), torch.rand(2, 4, 1000)
    network[0].weight *= 1e-6
    network[0].bias *= 1e-6
    network[4].weight *= 1e6
    torch.save(network.state_dict(), tmp_path / "w")
    assert_close(load(tmp_path / "w", AGCT)(one_hot), answer(network, one_hot), network)


@torch.inference_mode()
def test_some_tracks_are_those_rows_of_all(weights: Path) -> None:
    one_hot = torch.rand(2, 4, 1000)
    whole, part = load(weights, AGCT), load(weights, AGCT, [7, 0, 7])
    assert_close(part(one_hot), whole(one_hot)[:, [7, 0, 7]], whole)


@torch.inference_mode()
def test_the_crop_changes_nothing(weights: Path) -> None:
    config, state = translate(read(weights), AGCT)
    one_hot, values = torch.rand(2, 4, 1000), []
    for crop in (0, 400):
        module = build(config, 9, crop)
        module.load_state_dict(state)
        values.append(module(one_hot))
    assert values[0].shape == (2, 9, 1)
    assert torch.equal(*values)


def test_sizes_are_read_from_the_file(weights: Path) -> None:
    assert translate(read(weights), AGCT).config == {"channels": [5, 6, 7], "hidden": 8, "window": 1000}


@pytest.mark.parametrize(("positions", "window"), [(53, 1000), (54, 1020), (22, 500), (1, 170)])
def test_a_window_is_the_roundest_that_fits(positions: int, window: int) -> None:
    assert roundest_window(positions, STEPS) == window
    assert positions_after(window, STEPS) == positions


def test_the_published_network_has_its_size() -> None:
    with torch.device("meta"):
        module = build({}, 919, 400)
    assert isinstance(module, DeepSEA)
    assert sum(parameter.numel() for parameter in module.parameters()) == 52_843_119
    assert set(ROW_TENSORS) <= set(module.state_dict())


def test_another_file_is_refused_by_its_first_layer_that_differs(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights)
    torch.save({**state, "4.weight": torch.zeros(6, 5, 1, 9)}, tmp_path / "longer")
    with pytest.raises(DataError, match=r"longer does not fit DeepSEA: 4\.weight should have .* has \(6, 5, 1, 9\)"):
        translate(read(tmp_path / "longer"), AGCT)
    torch.save({"model.0.0.weight": torch.zeros(5, 4, 1, 8)}, tmp_path / "beluga")
    message = r"it has no 0\.weight .*; its first unused tensor is model\.0\.0\.weight \(5, 4, 1, 8\)"
    with pytest.raises(DataError, match=message):
        translate(read(tmp_path / "beluga"), AGCT)
    torch.save({**state, "12.1.weight": torch.zeros(8, 7 * 53 + 1)}, tmp_path / "uneven")
    with pytest.raises(DataError, match=r"12\.1 reads 372 numbers, not whole positions of 7 channels"):
        translate(read(tmp_path / "uneven"), AGCT)
    torch.save({**state, "16.1.weight": torch.zeros(9, 9)}, tmp_path / "more")
    with pytest.raises(DataError, match=r"it also holds 16\.1\.weight"):
        translate(read(tmp_path / "more"), AGCT)


def test_an_unknown_head_is_refused(weights: Path) -> None:
    with pytest.raises(DataError, match="no head 'human'; it has profiles"):
        translate(read(weights), Choice(head="human"))


@pytest.mark.parametrize("config", [{"chanels": [1, 1, 1]}, {"channels": [1, 1]}, {"window": 162}, {"hidden": "8"}])
def test_a_wrong_configuration_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(DataError, match="DeepSEA"):
        build(config, 9, 0)
