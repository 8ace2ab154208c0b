from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tolerance import assert_close
from trackserver.errors import DataError
from trackserver.models import registry
from trackserver.models.sei import ROW_TENSORS, build, spline_basis, translate
from trackserver.models.weights import Choice, Weights, read

TRACKS = 7


def load(path: Path, choice: Choice | None = None, tracks: list[int] | None = None) -> nn.Module:
    config, state = translate(read(path), choice or Choice())
    n_tracks = len(state["head.weight"])
    return registry.assemble("sei", json.loads(json.dumps(config)), state, path, n_tracks=n_tracks, crop=1984,
                             tracks=tracks)  # fmt: skip


class PublishedModel(nn.Module):
    """The network as the file has it, under its names; small."""

    def __init__(self, channels: tuple[int, int, int] = (5, 6, 7), tracks: int = TRACKS):
        super().__init__()
        torch.manual_seed(0)
        widths = (4, *channels)
        for i in range(3):
            first, width = widths[i : i + 2]
            start: list[nn.Module] = [nn.MaxPool1d(4), nn.Dropout(0.2)] if i else []
            linear = [nn.Conv1d(first, width, 9, padding=4), nn.Conv1d(width, width, 9, padding=4)]
            self.add_module(f"lconv{i + 1}", nn.Sequential(*start, *linear))
            rectified = [layer for _ in range(2) for layer in (nn.Conv1d(width, width, 9, padding=4), nn.ReLU())]
            self.add_module(f"conv{i + 1}", nn.Sequential(*start[1:], *rectified))
        for i, dilation in enumerate((2, 4, 8, 16, 25)):
            conv = nn.Conv1d(width, width, 5, dilation=dilation, padding=2 * dilation)
            self.add_module(f"dconv{i + 1}", nn.Sequential(nn.Dropout(0.1), conv, nn.ReLU()))
        self.classifier = nn.Sequential(
            nn.Linear(width * 16, tracks), nn.ReLU(), nn.Linear(tracks, tracks), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        linear1 = self.lconv1(x)
        out1 = self.conv1(linear1)
        linear2 = self.lconv2(out1 + linear1)
        out2 = self.conv2(linear2)
        linear3 = self.lconv3(out2 + linear2)
        out3 = self.conv3(linear3)
        total = out3 + self.dconv1(out3 + linear3)
        for conv in (self.dconv2, self.dconv3, self.dconv4, self.dconv5):
            total = total + conv(total)
        return self.classifier(torch.matmul(total, torch.from_numpy(by_scipy(256, 16))).flatten(1))


def by_scipy(positions: int, splines: int) -> np.ndarray:
    x = np.arange(positions, dtype=float)
    knots = np.r_[[0] * 3, np.linspace(0, positions - 1, splines - 2), [positions - 1] * 3]
    return BSpline.design_matrix(x, knots, 3).toarray().astype(np.float32)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(PublishedModel().state_dict(), tmp_path / "sei.pth")
    return tmp_path / "sei.pth"


@torch.inference_mode()
def test_the_original_code_says_the_same(parity: Path) -> None:
    io = np.load(parity / "sei/tiny.io.npz")
    module, one_hot = load(parity / "sei/tiny.pth"), torch.from_numpy(io["x"])
    forward, reverse = module(one_hot), module(one_hot.flip(1, 2))
    assert forward.shape == (2, 37, 1)
    assert_close(forward[..., 0].numpy(), io["y"], module)
    assert_close(((forward + reverse) / 2)[..., 0].numpy(), io["y_rcmean"], module)


def test_the_original_code_has_the_same_splines(parity: Path) -> None:
    theirs = np.load(parity / "sei/tiny.io.npz")["spline_basis"]
    assert_close(spline_basis(256, 16).numpy(), theirs, 1)


@pytest.mark.parametrize(("positions", "splines"), [(256, 16), (256, 4), (64, 10), (2, 4), (9, 9)])
def test_splines_are_those_of_scipy(positions: int, splines: int) -> None:
    basis = spline_basis(positions, splines)
    assert basis.shape == (positions, splines)
    assert basis.dtype == torch.float32
    assert_close(basis.numpy(), by_scipy(positions, splines), 1)
    assert_close(basis.sum(1), torch.ones(positions), splines)


@pytest.mark.sample
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
@torch.inference_mode()
def test_a_small_network_equals_its_published_form(prefix: str, tmp_path: Path) -> None:
    network, one_hot = PublishedModel().eval(), torch.rand(2, 4, 4096)
    torch.save({"state_dict": {prefix + name: t for name, t in network.state_dict().items()}}, tmp_path / "w")
    assert_close(load(tmp_path / "w")(one_hot), network(one_hot)[:, :, None], network)


@torch.inference_mode()
def test_another_order_of_the_bases_in_the_file(weights: Path) -> None:
    one_hot, plain = torch.rand(1, 4, 4096), load(weights)
    assert_close(load(weights, Choice(alphabet="TGCA"))(one_hot), plain(one_hot.flip(1)), plain)


@torch.inference_mode()
def test_some_profiles_are_those_rows_of_all(weights: Path) -> None:
    one_hot, whole = torch.rand(2, 4, 4096), load(weights)
    part = load(weights, Choice(head="profiles"), [6, 2])
    assert part.head.weight.shape == (2, TRACKS)  # the layer before stays whole
    assert_close(part(one_hot), whole(one_hot)[:, [6, 2]], whole)


@torch.inference_mode()
def test_classes_are_the_profiles_along_their_directions(weights: Path) -> None:
    one_hot, rows = torch.rand(2, 4, 4096), 1000 * torch.randn(3, TRACKS)
    profiles = load(weights)(one_hot)[..., 0].double()
    expected = (profiles @ rows.double().T / rows.double().norm(dim=1))[:, :, None].float()
    classes = Choice(head="classes", projection=rows)
    whole = load(weights, classes)
    assert_close(whole(one_hot), expected, whole)
    assert_close(load(weights, classes, [2, 0])(one_hot), expected[:, [2, 0]], whole)


@pytest.mark.parametrize(
    ("projection", "sentence"),
    [
        (None, r"projvec_targets\.npy"),
        (torch.ones(3, TRACKS + 1), "a row of 7 numbers for each class, but is 3 x 8"),
        (torch.ones(TRACKS), "but is 7"),
        (torch.zeros(3, TRACKS), "without a direction"),
        (torch.full((3, TRACKS), torch.nan), "without a direction"),
    ],
)
def test_a_wrong_projection_is_a_sentence(projection: Tensor | None, sentence: str, weights: Path) -> None:
    with pytest.raises(DataError, match=sentence):
        translate(read(weights), Choice(head="classes", projection=projection))


def test_the_state_holds_what_the_file_lacks(weights: Path) -> None:
    config, state = translate(read(weights), Choice())
    assert config == {"channels": [5, 6, 7], "splines": 16, "profiles": 7, "window": 4096, "head": "profiles"}
    assert torch.equal(state["spline"], spline_basis(256, 16))
    assert set(ROW_TENSORS) <= set(state)


def test_large_tensors_stay_mapped(weights: Path) -> None:
    read_once = read(weights)
    hidden = translate(read_once, Choice()).state["hidden.weight"]
    assert hidden.data_ptr() == read_once.tensors["classifier.0.weight"].data_ptr()


def test_the_published_networks_have_their_sizes() -> None:
    with torch.device("meta"):
        profiles, classes = build({}, 21_907, 1984), build({"head": "classes"}, 40, 1984)
    assert sum(parameter.numel() for parameter in profiles.parameters()) == 889_979_983
    assert sum(parameter.numel() for parameter in classes.parameters()) == 889_979_983 + 40 * 21_907


def test_the_published_file_fits_in_any_of_its_forms() -> None:
    with torch.device("meta"):
        tensors = dict(PublishedModel((480, 640, 960), 21_907).state_dict())
        config, state = translate(Weights(Path("sei.pth"), tensors), Choice())
        module = build(config, 21_907, 1984)
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    assert {name: tensor.shape for name, tensor in state.items()} == expected


def test_another_file_is_refused_by_its_first_layer_that_differs(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights)
    torch.save({**state, "dconv3.1.weight": torch.zeros(7, 7, 9)}, tmp_path / "wider")
    with pytest.raises(DataError, match=r"Sei: dconv3\.1\.weight should have .*\(7, 7, 5\) but has \(7, 7, 9\)"):
        translate(read(tmp_path / "wider"), Choice())
    torch.save({"0.weight": torch.zeros(5, 4, 1, 8)}, tmp_path / "deepsea")
    message = r"it has no lconv1\.0\.weight .*; its first unused tensor is 0\.weight \(5, 4, 1, 8\)"
    with pytest.raises(DataError, match=message):
        translate(read(tmp_path / "deepsea"), Choice())
    torch.save({**state, "classifier.2.weight": torch.zeros(6, 7), "classifier.2.bias": torch.zeros(6)}, tmp_path / "x")
    with pytest.raises(DataError, match="its last layer gives 6 profiles, the one before 7"):
        translate(read(tmp_path / "x"), Choice())


def test_an_unknown_head_is_refused(weights: Path) -> None:
    with pytest.raises(DataError, match="no head 'class'; it has profiles, classes"):
        translate(read(weights), Choice(head="class"))


@pytest.mark.parametrize("config", [{"splines": 3}, {"window": 16}, {"head": "full"}, {"profiles": 0}])
def test_a_wrong_configuration_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(DataError, match="Sei"):
        build(config, 9, 0)


@torch.inference_mode()
def test_the_dilated_sum_starts_from_the_rectified_pair_alone() -> None:
    module = build({"channels": [2, 2, 2], "profiles": 3}, 3, 0)
    for conv in module.dilated:
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    one_hot = torch.rand(1, 4, 4096)
    x = one_hot
    for i, stage in enumerate(module.stages):
        linear, rectified = stage(x)
        x = F.max_pool1d(linear + rectified, 4) if i < 2 else rectified
    assert_close(module.trunk(one_hot), x, module)
