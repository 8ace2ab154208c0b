"""Models of one's own: torch.jit's and torch.export's files run as torch runs them; all but arithmetic is refused."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trackserver.errors import DataError
from trackserver.models.card import ModelCard, Track
from trackserver.models.program import check_runs, read_export, read_program, read_torchscript

CARD = ModelCard("mine", "export", "Mine", ("hg38",), 256, 0, 16, tuple(Track(i, f"t{i}") for i in range(3)), {}, "")


class Attentive(nn.Module):
    """A bit of everything people use: convolution, norms, attention, sizes taken from the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 8, 16, stride=16)
        self.batch_norm, self.layer_norm = nn.BatchNorm1d(8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)
        self.register_buffer("position", torch.randn(1, 16, 8))

    def forward(self, one_hot: Tensor) -> Tensor:
        x = torch.relu(self.batch_norm(self.conv(one_hot))).transpose(1, 2) + self.position
        x = x + self.attention(self.layer_norm(x), x, x, need_weights=False)[0]
        return nn.functional.softplus(self.head(x)).reshape(one_hot.shape[0], -1, 3).transpose(1, 2)


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return Attentive().eval()


def saved(module: nn.Module, path: Path, *, batch: int = 0) -> Path:
    """By torch.export; a batch of 0 may be any."""
    shapes = None if batch else {"one_hot": {0: torch.export.Dim("batch", min=1, max=64)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (torch.zeros(batch or 2, 4, 256),), dynamic_shapes=shapes)
        torch.export.save(program, path)
    return path


def scripted(module: nn.Module | Callable[..., Tensor], path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), str(path))
    return path


@pytest.mark.parametrize("batch", [0, 1])
def test_an_exported_program_says_what_the_module_says(module: nn.Module, tmp_path: Path, batch: int) -> None:
    one_hot = torch.rand(3, 4, 256)
    program = read_program(saved(module, tmp_path / "m.pt2", batch=batch), CARD)
    with torch.inference_mode():
        torch.testing.assert_close(program(one_hot), module(one_hot), rtol=1e-6, atol=1e-6)
        some = read_program(tmp_path / "m.pt2", CARD, tracks=[2, 0])(one_hot)
        torch.testing.assert_close(some, module(one_hot)[:, [2, 0]], rtol=1e-6, atol=1e-6)
    check_runs(program, CARD, tmp_path / "m.pt2")


def test_an_export_in_core_operators_too(module: nn.Module, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (torch.zeros(1, 4, 256),)).run_decompositions()
        torch.export.save(program, tmp_path / "m.pt2")
    one_hot = torch.rand(2, 4, 256)
    with torch.inference_mode():
        torch.testing.assert_close(read_export(tmp_path / "m.pt2")(one_hot), module(one_hot), rtol=1e-6, atol=1e-6)


def test_torchscript_says_what_the_module_says(module: nn.Module, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(module, torch.zeros(2, 4, 256)).save(str(tmp_path / "m.pt"))
    one_hot = torch.rand(3, 4, 256)
    program = read_program(tmp_path / "m.pt", replace(CARD, architecture="torchscript"))
    with torch.inference_mode():
        torch.testing.assert_close(program(one_hot), module(one_hot), rtol=1e-6, atol=1e-6)


def test_a_program_that_is_not_what_its_card_says(module: nn.Module, tmp_path: Path) -> None:
    path = saved(module, tmp_path / "m.pt2")
    program = read_program(path, CARD)
    with pytest.raises(DataError, match=r"gives \(1, 3, 16\) for 1 windows; its card says \(1, 3, 8\)"):
        check_runs(program, replace(CARD, bin_width=32), path)
    with pytest.raises(DataError, match="fails on 1 windows"):
        check_runs(program, replace(CARD, window=512), path)
    with pytest.raises(DataError, match="not finite"):
        check_runs(Endless(), CARD, path)
    fixed = saved(module, tmp_path / "fixed.pt2", batch=2)
    with pytest.raises(DataError, match="batches of 2; export it with a dynamic batch"):
        check_runs(read_program(fixed, CARD), CARD, fixed)


class Endless(nn.Module):
    def forward(self, one_hot: Tensor) -> Tensor:
        return torch.full((len(one_hot), 3, 16), torch.inf)


def from_file(x: Tensor) -> Tensor:
    return x + torch.from_file("/tmp/never", True, 10).sum()


def test_torchscript_that_opens_files_is_refused_before_it_runs(tmp_path: Path) -> None:
    path = scripted(from_file, tmp_path / "m.pt")
    with pytest.raises(DataError, match=r"refused: it uses aten::from_file, which is more than arithmetic"):
        read_torchscript(path)


def changed(path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A copy of an archive with its entries changed, or left out."""
    copy = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            content = change(name, source.read(name))
            if content is not None:
                target.writestr(name, content)
    return copy


@pytest.mark.parametrize("target", ["torch.ops.aten.from_file.default", "torch.ops.mine.run.default", "os.system",
                                    "_operator.call", "builtins.exec", "torch.ops.aten.nothing.default"])  # fmt: skip
def test_an_export_that_names_anything_else_is_refused(module: nn.Module, tmp_path: Path, target: str) -> None:
    path = saved(module, tmp_path / "m.pt2")

    def evil(name: str, content: bytes) -> bytes:
        return content.replace(b"torch.ops.aten.relu.default", target.encode())

    with pytest.raises(DataError, match="which is more than arithmetic on tensors"):
        read_export(changed(path, evil))


def test_an_exports_expressions_and_pickles_are_never_evaluated(module: nn.Module, tmp_path: Path) -> None:
    """Torch's own reader evaluates sizes and unpickles sample inputs; here they are not even looked at."""
    path = saved(module, tmp_path / "m.pt2")
    marker = tmp_path / "marker"
    code = f"__import__('pathlib').Path('{marker}').write_text('it ran')"

    def evil(name: str, content: bytes) -> bytes:
        if name.endswith("model.json"):
            program = json.loads(content)
            program["guards_code"] = [code]
            for value in program["graph_module"]["graph"]["tensor_values"].values():
                for size in value["sizes"]:
                    if "as_expr" in size:
                        size["as_expr"]["expr_str"] = code
            return json.dumps(program).encode()
        return b"\x80\x02cos\nsystem\n." if "sample_inputs" in name else content

    one_hot = torch.rand(1, 4, 256)
    with torch.inference_mode():
        torch.testing.assert_close(read_export(changed(path, evil))(one_hot), module(one_hot), rtol=1e-6, atol=1e-6)
    assert not marker.exists()

    def pickled(name: str, content: bytes) -> bytes:
        return content.replace(b'"use_pickle": false', b'"use_pickle": true')

    with pytest.raises(DataError, match="is pickled, not a plain tensor"):
        read_export(changed(path, pickled))


@pytest.mark.parametrize("lost", ["models/model.json", "weight_0", "model_weights_config.json"])
def test_an_export_with_a_part_missing(module: nn.Module, tmp_path: Path, lost: str) -> None:
    path = saved(module, tmp_path / "m.pt2")
    with pytest.raises(DataError, match="not a file of torch"):
        read_export(changed(path, lambda name, content: None if name.endswith(lost) else content))


def test_files_that_are_no_programs(module: nn.Module, tmp_path: Path) -> None:
    path = saved(module, tmp_path / "m.pt2")
    path.write_bytes(path.read_bytes()[:-50])
    for read in (read_export, read_torchscript):
        with pytest.raises(DataError, match=r"not a (whole )?file of torch|cannot be read as TorchScript"):
            read(path)
    path.write_text("text")
    for read in (read_export, read_torchscript):
        with pytest.raises(DataError, match="not a whole file of torch"):
            read(path)
    torch.save(module.state_dict(), path)
    with pytest.raises(DataError, match="not a file of torch"):
        read_export(path)
    with pytest.raises(DataError, match="cannot be read as TorchScript"):
        read_torchscript(path)
