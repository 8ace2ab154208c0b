from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from tests.tolerance import assert_close
from trackserver.errors import DataError
from trackserver.models.compact import (
    Compact,
    CompactConfig,
    Residual,
    build,
    margin,
    max_pool,
    read_config,
    receptive_field,
)

TINY = CompactConfig(8, 7, 2, (8,), (2,), 3, (1, 2), 4, 8, 0.0)
FINE = CompactConfig(32, 19, 4, (48, 64), (4, 2), 5, (1, 2, 4, 8, 16, 32), 32, 64, 0.0)


def awake(config: CompactConfig, n_tracks: int = 3) -> Compact:
    """A network whose residual blocks do something, as after training."""
    torch.manual_seed(0)
    network = Compact(config, n_tracks)
    for module in network.modules():
        if isinstance(module, Residual):
            torch.nn.init.normal_(module.back.weight)
    return network.eval()


@pytest.mark.parametrize(("config", "bin_width", "parameters"), [(CompactConfig(), 128, 90_222), (FINE, 32, 81_061)])
def test_the_two_networks_in_use_have_the_sizes_they_should(
    config: CompactConfig, bin_width: int, parameters: int
) -> None:
    network = Compact(config, 14 if bin_width == 128 else 5)
    assert config.bin_width == bin_width
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("length", [4, 20, 64, 400])
def test_any_whole_number_of_bins_goes_in(length: int) -> None:
    values = awake(TINY)(torch.rand(2, 4, length))
    assert values.shape == (2, 3, length // 4)
    assert (values >= 0).all()


def test_a_bin_depends_on_its_receptive_field_and_on_nothing_else() -> None:
    network, bin_index = awake(TINY).double(), 50
    one_hot = torch.rand(1, 4, 400, dtype=torch.float64, requires_grad=True)
    network(one_hot)[0, :, bin_index].sum().backward()
    # Max-pools pass one base each, so ask many inputs which bases ever mattered.
    touched = one_hot.grad[0].abs().sum(0) > 0  # type: ignore[index]
    for _ in range(60):
        other = torch.rand(1, 4, 400, dtype=torch.float64, requires_grad=True)
        network(other)[0, :, bin_index].sum().backward()
        touched |= other.grad[0].abs().sum(0) > 0  # type: ignore[index]
    positions = touched.nonzero().flatten()
    first, last = int(positions[0]), int(positions[-1])
    assert last - first + 1 == receptive_field(TINY)
    assert first + last == 2 * 4 * bin_index + 3  # centred in the bin


@pytest.mark.sample
def test_bins_inside_the_margin_do_not_see_beyond_the_window() -> None:
    network, edge = awake(TINY), margin(TINY)
    whole = torch.rand(1, 4, 512)
    part = network(whole[..., 100:400])[..., edge // 4 : -(edge // 4)]
    assert_close(part, network(whole)[..., (100 + edge) // 4 : (400 - edge) // 4], network)


def test_pooling_is_the_same_in_training_and_prediction() -> None:
    x = torch.randn(2, 3, 23)
    with torch.no_grad():
        assert torch.equal(max_pool(x, 4), torch.nn.functional.max_pool1d(x, 4))
        assert max_pool(x, 1) is x


def test_a_configuration_survives_its_card() -> None:
    assert read_config(asdict(FINE)) == FINE
    assert build({"hidden": 5}, 2).config == CompactConfig(hidden=5)


@pytest.mark.parametrize(
    "config",
    [
        {"hiden": 5},
        {"hidden": "5"},
        {"tower_pools": [4]},
        {"stem_kernel": 4},
        {"dropout": 1.0},
        {"hidden": 0},
        {"activation": "tanh"},
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(DataError):
        read_config(config)
