"""Models of one's own: torch.jit's and torch.export's files run as torch runs them; all but arithmetic is refused."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trackserver.errors import DataError
from trackserver.models import program as programs
from trackserver.models import sandbox
from trackserver.models.card import ModelCard, Track
from trackserver.models.operators import ATEN, is_allowed
from trackserver.models.program import check_runs, read_export, read_torchscript
from trackserver.models.sandbox import Program

CARD = ModelCard("mine", "export", "Mine", ("hg38",), 256, 0, 16, tuple(Track(i, f"t{i}") for i in range(3)), {}, "")

SCRIPT = replace(CARD, architecture="torchscript")


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
    program = Program(saved(module, tmp_path / "m.pt2", batch=batch), CARD)
    with torch.inference_mode():
        torch.testing.assert_close(program(one_hot), module(one_hot), rtol=1e-6, atol=1e-6)
        some = Program(tmp_path / "m.pt2", CARD, tracks=[2, 0])(one_hot)
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
    program = Program(tmp_path / "m.pt", SCRIPT)
    with torch.inference_mode():
        torch.testing.assert_close(program(one_hot), module(one_hot), rtol=1e-6, atol=1e-6)


def test_a_program_that_is_not_what_its_card_says(module: nn.Module, tmp_path: Path) -> None:
    path = saved(module, tmp_path / "m.pt2")
    program = Program(path, CARD)
    with pytest.raises(DataError, match=r"returns \(1, 3, 16\) for 1 windows; its card says \(1, 3, 8\)"):
        check_runs(program, replace(CARD, bin_width=32), path)
    with pytest.raises(DataError, match="fails on 1 windows"):
        check_runs(program, replace(CARD, window=512), path)
    with pytest.raises(DataError, match="not finite"):
        check_runs(Endless(), CARD, path)
    fixed = saved(module, tmp_path / "fixed.pt2", batch=2)
    with pytest.raises(DataError, match="batches of 2; export it with a dynamic batch"):
        check_runs(Program(fixed, CARD), CARD, fixed)


class Endless(nn.Module):
    def forward(self, one_hot: Tensor) -> Tensor:
        return torch.full((len(one_hot), 3, 16), torch.inf)


class Printing(nn.Module):
    def forward(self, one_hot: Tensor) -> Tensor:
        print("This is nobody's business.")
        return one_hot.float()[:, :3, ::16]


def test_what_a_program_prints_is_thrown_away(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = Program(scripted(Printing(), tmp_path / "m.pt"), SCRIPT)
    assert program(torch.ones(2, 4, 256)).shape == (2, 3, 16)
    assert capfd.readouterr() == ("", "")


def endless(x: Tensor) -> Tensor:
    while True:
        x = x + 1
    return x


def hungry(x: Tensor) -> Tensor:
    return torch.ones(1 << 32)


def failing(x: Tensor) -> Tensor:
    return x[:, 5]


def test_a_program_is_bounded_in_time_and_memory(tmp_path: Path) -> None:
    program = Program(scripted(endless, tmp_path / "m.pt"), SCRIPT, max_batch_s=1)
    with pytest.raises(DataError, match="ran for more than 1 seconds"):
        program(torch.ones(1, 4, 256))
    with pytest.raises(DataError, match="its process ended"):
        program(torch.ones(1, 4, 256))
    program = Program(scripted(hungry, tmp_path / "m.pt"), SCRIPT, max_memory=4 << 30)
    with pytest.raises(torch.OutOfMemoryError, match="can't allocate memory"):
        program(torch.ones(1, 4, 256))
    with pytest.raises(DataError, match=r"fails on 1 windows \(B, 4, L\): .*out of range"):
        Program(scripted(failing, tmp_path / "m.pt"), SCRIPT)(torch.ones(1, 4, 256))


def test_a_program_can_write_no_file_and_open_few(tmp_path: Path) -> None:
    """What the list of operators already rules out, its process cannot do either."""
    program = Program(scripted(Printing(), tmp_path / "m.pt"), SCRIPT)
    lines = Path(f"/proc/{program.pid}/limits").read_text().splitlines()
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max open files"] == [str(sandbox.MAX_FILES)] * 2
    assert limits["Max data size"] == [str(sandbox.MAX_MEMORY_BYTES)] * 2


def test_a_programs_slopes_are_its_own(module: nn.Module, tmp_path: Path) -> None:
    program, one_hot = Program(saved(module, tmp_path / "m.pt2"), CARD), torch.rand(2, 4, 256)
    slopes = []
    for network in (program, module):
        given = one_hot.clone().requires_grad_()
        slopes.append(torch.autograd.grad((network(given) ** 2).sum(), given)[0])
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-6)


# --- Programs that do more than arithmetic ---------------------------------------------------------------------------


def from_file(x: Tensor) -> Tensor:
    return x + torch.from_file("/nowhere/never", True, 10).sum()


def saves(x: Tensor) -> Tensor:
    if x.sum() > 1e9:
        torch.save(x, "/nowhere/never")
    return x


class Within(nn.Module):
    """It saves in a method that nothing calls, of a module within."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, one_hot: Tensor) -> Tensor:
        return one_hot


class Inner(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def later(self, x: Tensor) -> Tensor:
        return saves(x)


class Restoring(nn.Module):
    """Its state is set by a method of its own, which torch calls when it loads the file."""

    def forward(self, one_hot: Tensor) -> Tensor:
        return one_hot

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return torch.zeros(1), self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.training = state[1]


def forking(x: Tensor) -> Tensor:
    return torch.jit.wait(torch.jit.fork(torch.relu, x))


def remembering(x: Tensor) -> Tensor:
    torch.set_grad_enabled(False)
    return x


@pytest.mark.parametrize(
    ("program", "operator"),
    [
        (from_file, "aten::from_file"),
        (saves, "aten::save"),
        (Within, "aten::save"),
        (Restoring, "__setstate__"),
        (forking, "prim::fork"),
        (remembering, "aten::set_grad_enabled"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_torchscript_that_does_more_is_refused_before_it_runs(tmp_path: Path, program: Any, operator: str) -> None:
    path = scripted(program() if isinstance(program, type) else program, tmp_path / "m.pt")
    with pytest.raises(DataError, match=rf"refused: it uses {operator}, and a program may only do arithmetic"):
        read_torchscript(path)
    with pytest.raises(DataError, match=rf"refused: it uses {operator}"):
        Program(path, SCRIPT)


@pytest.mark.parametrize("call", [b"torch.from_file (", b"torch . from_file(", b"torch.\\\n  from_file("])
def test_the_spelling_of_a_script_hides_nothing(tmp_path: Path, call: bytes) -> None:
    def spelt(name: str, content: bytes) -> bytes:
        assert b"torch.from_file(" in content or not name.endswith(".py")
        return content.replace(b"torch.from_file(", call)

    path = changed(scripted(from_file, tmp_path / "m.pt"), spelt)
    with pytest.raises(DataError, match=r"refused: it uses aten::from_file|cannot be read as TorchScript"):
        read_torchscript(path)


def test_two_entries_of_one_name_are_refused(module: nn.Module, tmp_path: Path) -> None:
    """Readers differ in which of them they take."""
    path = scripted(from_file, tmp_path / "m.pt")
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = next(name for name in archive.namelist() if name.endswith(".py"))
        archive.writestr(code, archive.read(code).replace(b"from_file", b"zeros"))
    for read in (read_torchscript, read_export):
        with pytest.raises(DataError, match=r"refused: two of its entries are named .*\.py"):
            read(path)


def test_oversized_entries_are_refused_unread(
    module: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("an entry was read")

    for path, read in ((scripted(Printing(), tmp_path / "m.pt"), read_torchscript),
                       (saved(module, tmp_path / "m.pt2"), read_export)):  # fmt: skip
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("m/data/weights/filler", bytes(programs.MAX_TEXT_BYTES + 1))
        with monkeypatch.context() as patch:
            patch.setattr(zipfile.ZipFile, "open", never)
            with pytest.raises(DataError, match=r"refused: its entry m/data/weights/filler has 67,108,865 bytes"):
                read(path)
            patch.setattr(programs, "MAX_TENSOR_BYTES", 1000)
            patch.setattr(programs, "MAX_TEXT_BYTES", 1 << 30)
            with pytest.raises(DataError, match=r"refused: .* bytes"):
                read(path)


def test_entries_that_torch_does_not_need_are_not_read(
    module: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_names: list[str] = []
    really = zipfile.ZipFile.open

    def counted(self: zipfile.ZipFile, name: Any, *args: Any, **kwargs: Any) -> Any:
        read_names.append(getattr(name, "filename", name))
        return really(self, name, *args, **kwargs)

    for path, read in ((scripted(Printing(), tmp_path / "m.pt"), read_torchscript),
                       (saved(module, tmp_path / "m.pt2"), read_export)):  # fmt: skip
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("m/extra/filler", bytes(1 << 20))
        with monkeypatch.context() as patch:
            patch.setattr(zipfile.ZipFile, "open", counted)
            read(path)
    assert read_names and not [name for name in read_names if "filler" in name or "debug_pkl" in name]


@pytest.mark.parametrize("name", ["save", "from_file", "set_", "resize_", "as_strided", "set_grad_enabled", "wait",
                                  "manual_seed", "set_data", "_fw_primal", "anything_new"])  # fmt: skip
def test_operators_that_are_not_carried_out(name: str) -> None:
    assert not is_allowed(f"aten::{name}")
    assert not is_allowed(f"mine::{name}") and not is_allowed(f"prim::{name}")


def test_the_operators_that_are_carried_out_take_no_files() -> None:
    for name in ATEN:
        for schema in torch._C._jit_get_schemas_for_operator(f"aten::{name}"):
            assert not any("file" in argument.name for argument in schema.arguments), name


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

    with pytest.raises(DataError, match="a program may only do arithmetic on tensors"):
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
    with pytest.raises(DataError, match="not a readable file of torch"):
        read_export(changed(path, lambda name, content: None if name.endswith(lost) else content))


def test_files_that_are_no_programs(module: nn.Module, tmp_path: Path) -> None:
    path = saved(module, tmp_path / "m.pt2")
    path.write_bytes(path.read_bytes()[:-50])
    for read in (read_export, read_torchscript):
        with pytest.raises(DataError, match=r"not a (complete|readable) file of torch|cannot be read as TorchScript"):
            read(path)
    path.write_text("text")
    for read in (read_export, read_torchscript):
        with pytest.raises(DataError, match="not a complete file of torch"):
            read(path)
    torch.save(module.state_dict(), path)
    with pytest.raises(DataError, match="not a readable file of torch"):
        read_export(path)
    with pytest.raises(DataError, match="cannot be read as TorchScript"):
        read_torchscript(path)
