from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from trackserver.errors import DataError
from trackserver.models.weights import fill, read_safetensors, save_weights


def network(outputs: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(4, 3, 3), nn.BatchNorm1d(3), nn.Conv1d(3, outputs, 1))


def load(module: nn.Module, path: Path, **rows: Any) -> None:
    fill(module, read_safetensors(path), path, **rows)


def test_weights_read_back_exactly(tmp_path: Path) -> None:
    one, other = network(), network()
    save_weights(one.state_dict(), tmp_path / "w")
    load(other, tmp_path / "w")
    for name, tensor in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_half_precision_is_for_kernels_only_and_reads_back_as_float32(tmp_path: Path) -> None:
    one, other = network(), network()
    one[1].running_var.fill_(1e6)  # beyond float16
    save_weights(one.state_dict(), tmp_path / "w", half=True)
    load(other, tmp_path / "w")
    assert load_file(tmp_path / "w")["0.weight"].dtype == torch.float16
    assert other[0].weight.dtype == torch.float32
    assert torch.equal(other[0].weight, one[0].weight.half().float())
    assert torch.equal(other[1].running_var, one[1].running_var)


def test_some_rows_of_the_head(tmp_path: Path) -> None:
    one, other = network(5), network(2)
    save_weights(one.state_dict(), tmp_path / "w")
    load(other, tmp_path / "w", rows=(4, 1), n_rows=5, row_tensors=("2.weight", "2.bias"))
    assert torch.equal(other[2].weight, one[2].weight[[4, 1]])
    with pytest.raises(DataError, match=r"2\.weight should have shape \(6, 3, 1\) but has \(5, 3, 1\)"):
        load(other, tmp_path / "w", rows=(4, 1), n_rows=6, row_tensors=("2.weight", "2.bias"))


def test_a_misfit_names_the_first_tensor(tmp_path: Path) -> None:
    save_weights(network(5).state_dict(), tmp_path / "w")
    with pytest.raises(DataError, match=r"2\.weight should have shape \(7, 3, 1\) but has \(5, 3, 1\)"):
        load(network(7), tmp_path / "w")
    state = load_file(tmp_path / "w")
    save_file({name: t for name, t in state.items() if name != "0.bias"}, tmp_path / "less")
    with pytest.raises(DataError, match=r"0\.bias is missing; expected shape \(3,\)"):
        load(network(5), tmp_path / "less")
    save_file({**state, "extra": torch.zeros(1)}, tmp_path / "more")
    with pytest.raises(DataError, match="it holds extra"):
        load(network(5), tmp_path / "more")


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_file_cut_short_is_a_sentence(tmp_path: Path, keep: int) -> None:
    save_weights(network().state_dict(), tmp_path / "w")
    (tmp_path / "w").write_bytes((tmp_path / "w").read_bytes()[:keep])
    with pytest.raises(DataError, match="not a complete safetensors file"):
        load(network(), tmp_path / "w")


def test_no_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no weights"):
        load(network(), tmp_path / "w")
