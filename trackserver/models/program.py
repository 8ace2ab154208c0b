"""Read programs saved by torch (weights and arithmetic in one file) and check them without trusting them.

There are two kinds. `torch.export` files are a JSON graph over raw tensors; torch's own reader unpickles and evaluates
parts of the file, so the graph is run here instead, operator by operator. TorchScript is run by torch's interpreter.
Both may use only the operators in `operators`: a file that names another one is refused before any of it runs. To run a
program, use `sandbox`, which runs it in a process with limits.
"""

from __future__ import annotations

import json
import operator
import re
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from trackserver.errors import DataError
from trackserver.models.card import ModelCard
from trackserver.models.operators import is_allowed

# Python operators on sizes.
_SIZE_OPERATORS: dict[str, Callable[..., Any]] = {
    f"_operator.{name}": getattr(operator, name)
    for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "eq", "ne", "ge", "gt", "le", "lt", "getitem")
}
# torch._export.serde.schema.ScalarType
_DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
# torch._export.serde.schema.MemoryFormat
_MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
# Entries that are read; others (debugging, samples, extra files of the author) are ignored.
_SCRIPT_ENTRY = re.compile(
    r"[^/]+/(code/.+\.py|data\.pkl|constants\.pkl|(data|constants)/\d+|version|byteorder|\.data/serialization_id)"
)
_EXPORT_ENTRY = re.compile(r"[^/]+/(models/model\.json|data/(weights|constants)/[\w.]+)")
_LOAD_HOOKS = (b"__setstate__", b"torch.classes")  # code or compiled classes that torch would run while loading
MAX_ENTRIES = 100_000
MAX_TEXT_BYTES = 64 << 20  # of a compressed entry: code, graphs
MAX_TENSOR_BYTES = 2 << 30  # of the whole file: 500 million parameters of 4 bytes
_PLAIN_KINDS = {"as_int", "as_ints", "as_bool", "as_bools", "as_string", "as_strings"}


def read_program(path: Path, architecture: str) -> nn.Module:
    """Read a user's program as a module (B, 4, L) -> (B, T, bins) that runs in this process.

    Raises
    ------
    DataError
        The file is of another kind, truncated, or uses an operator that is not allowed.
    """
    return (read_export(path) if architecture == "export" else read_torchscript(path)).eval()


def read_torchscript(path: Path) -> nn.Module:
    """Read a TorchScript file as a module after checking every operator of every function in it.

    torch reads a copy that holds only the entries checked here, so that both see the same file. Files with
    `__setstate__` are refused, because loading would call it.
    """
    with tempfile.NamedTemporaryFile(prefix="trackserver-", suffix=".pt") as copy, _open_archive(path) as archive:
        _copy_script(path, archive, copy)
        copy.flush()
        functions = torch._C.CompilationUnit()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                module = cast(Any, torch._C).import_ir_module(functions, copy.name, torch.device("cpu"), {}, False)
            for function in cast(Any, functions).get_functions():
                _check_block(path, function.graph)
        except (RuntimeError, ValueError) as error:
            reason = last_line(error) if "PytorchStreamReader" in str(error) else str(error).strip().splitlines()[0]
            raise DataError(f"{path} cannot be read as TorchScript: {reason.rstrip('.')}.") from None
    wrapped: nn.Module = torch.jit._recursive.wrap_cpp_module(module)
    return wrapped


def _copy_script(path: Path, archive: zipfile.ZipFile, copy: IO[bytes]) -> None:
    """Copy the entries that torch needs, as they were checked, into an archive that torch can read."""
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as target:
        for entry in archive.infolist():
            if not _SCRIPT_ENTRY.fullmatch(entry.filename):
                continue
            if "/code/" in entry.filename or entry.filename.endswith(".pkl"):
                text = archive.read(entry)
                for word in _LOAD_HOOKS:
                    if word in text:
                        raise _refusal(path, word.decode())
                target.writestr(entry.filename, text)
            else:
                with archive.open(entry) as source, target.open(entry.filename, "w", force_zip64=True) as destination:
                    shutil.copyfileobj(source, destination, 1 << 20)


def _check_block(path: Path, block: Any) -> None:
    for node in block.nodes():
        if not is_allowed(node.kind()):
            raise _refusal(path, node.kind())
        for inner in node.blocks():
            _check_block(path, inner)


def _refusal(path: Path, name: str) -> DataError:
    return DataError(f"{path} is refused: it uses {name}, and a program may only do arithmetic on tensors.")


@contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file; refuse it unread if two entries share a name or an entry is too large."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_entries(path, archive.infolist())
            yield archive
    except (OSError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError) as error:
        raise DataError(f"{path} is not a complete file of torch.jit.save or torch.export.save: {error}.") from None


def _check_entries(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    names = set()
    for entry in entries:
        if entry.filename in names:
            raise DataError(f"{path} is refused: two of its entries are named {entry.filename}.")
        names.add(entry.filename)
        is_compressed = entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size
        if entry.file_size > (MAX_TEXT_BYTES if is_compressed else MAX_TENSOR_BYTES):
            raise DataError(
                f"{path} is refused: its entry {entry.filename} has {entry.file_size:,} bytes, which is too large."
            )
    if len(names) > MAX_ENTRIES:
        raise DataError(f"{path} is refused: it has {len(names):,} entries, which is too many.")
    if (total := sum(entry.file_size for entry in entries)) > MAX_TENSOR_BYTES:
        raise DataError(f"{path} is refused: it holds {total:,} bytes, which is too large.")


def read_export(path: Path) -> Graph:
    """Read a `torch.export` file as a module."""
    with _open_archive(path) as archive:
        files = {entry.filename.partition("/")[2]: archive.read(entry) for entry in archive.infolist()
                 if _EXPORT_ENTRY.fullmatch(entry.filename)}  # fmt: skip
    try:
        program = json.loads(files["models/model.json"])
        tensors = {kind: _payloads(path, files, kind) for kind in ("weights", "constants")}
        return Graph(path, program["graph_module"], tensors["weights"] | tensors["constants"])
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise DataError(f"{path} is not a readable file of torch.export.save: {error!r}.") from None


def _payloads(path: Path, files: dict[str, bytes], kind: str) -> dict[str, Tensor]:
    config = json.loads(files[f"data/{kind}/model_{kind}_config.json"])["config"]
    return {name: _payload(path, files, kind, name, entry) for name, entry in config.items()}


def _payload(path: Path, files: dict[str, bytes], kind: str, name: str, entry: dict[str, Any]) -> Tensor:
    meta = entry["tensor_meta"]
    if entry["use_pickle"] or meta is None:
        raise DataError(f"{path} is refused: its {name} is pickled, not a plain tensor.")
    values = torch.frombuffer(bytearray(files[f"data/{kind}/{entry['path_name']}"]), dtype=_DTYPES[meta["dtype"]])
    sizes, strides = ([size["as_int"] for size in meta[key]] for key in ("sizes", "strides"))
    return values.as_strided(sizes, strides, meta["storage_offset"]["as_int"])


class Graph(nn.Module):
    """Runs an exported graph node by node."""

    def __init__(self, path: Path, module: dict[str, Any], tensors: dict[str, Tensor]):
        super().__init__()
        graph, signature = module["graph"], module["signature"]
        self.names: dict[str, str] = {}  # name of a tensor in the graph -> name of its buffer
        inputs: list[str] = []
        for spec in signature["input_specs"]:
            ((kind, entry),) = spec.items()
            if kind == "user_input":
                inputs.append(entry["arg"]["as_tensor"]["name"])
            else:
                buffer = f"tensor_{len(self.names)}"
                self.register_buffer(buffer, tensors[entry[f"{kind}_name"]], persistent=False)
                self.names[entry["arg"]["name"]] = buffer
        outputs = [next(iter(spec.items())) for spec in signature["output_specs"]]
        if len(inputs) != 1 or [kind for kind, _ in outputs] != ["user_output"]:
            raise DataError(f"{path} must take one tensor, the one-hot (B, 4, L), and return one, the tracks.")
        self.input, self.output = inputs[0], outputs[0][1]["arg"]["as_tensor"]["name"]
        self.batch = graph["tensor_values"][self.input]["sizes"][0].get("as_int")
        self.nodes = [(_operator(path, node["target"]), node) for node in graph["nodes"]]

    def forward(self, one_hot: Tensor) -> Tensor:
        if self.batch is None:
            return self._run(one_hot)
        if len(one_hot) % self.batch:
            raise DataError(f"The program was exported for batches of {self.batch}; export it with a dynamic batch.")
        return torch.cat([self._run(part) for part in one_hot.split(self.batch)])

    def _run(self, one_hot: Tensor) -> Tensor:
        values: dict[str, Any] = {name: self.get_buffer(buffer) for name, buffer in self.names.items()}
        values[self.input] = one_hot
        for function, node in self.nodes:
            inputs = [(entry["name"], entry.get("kind"), self._value(entry["arg"], values)) for entry in node["inputs"]]
            result = function(
                *(value for _, kind, value in inputs if kind != 2),
                **{name: value for name, kind, value in inputs if kind == 2},  # 2: by keyword
            )
            _store_outputs(values, node["outputs"], result)
        return values[self.output]

    def _value(self, argument: dict[str, Any], values: dict[str, Any]) -> Any:
        ((kind, value),) = argument.items()
        if kind in _PLAIN_KINDS:
            return value
        if kind == "as_none":
            return None
        if kind == "as_float":  # infinities are strings
            return float(value)
        if kind == "as_floats":
            return [float(part) for part in value]
        if kind == "as_tensor":
            return values[value["name"]]
        if kind == "as_tensors":
            return [values[entry["name"]] for entry in value]
        if kind == "as_optional_tensors":
            return [self._value(entry, values) for entry in value]
        if kind in ("as_sym_int", "as_sym_bool"):
            return values[value["as_name"]] if "as_name" in value else next(iter(value.values()))
        if kind == "as_sym_ints":
            return [self._value({"as_sym_int": entry}, values) for entry in value]
        if kind == "as_scalar_type":
            return _DTYPES[value]
        if kind == "as_memory_format":
            return _MEMORY_FORMATS[value]
        if kind == "as_device":
            return next(self.buffers()).device
        if kind == "as_layout":
            return torch.strided
        raise DataError(f"The exported program has an argument of kind {kind}, which is not supported.")


def _store_outputs(values: dict[str, Any], outputs: list[dict[str, Any]], result: Any) -> None:
    results = result if isinstance(result, tuple) and len(outputs) > 1 else (result,)
    for output, value in zip(outputs, results, strict=True):
        ((kind, entry),) = output.items()
        if kind == "as_tensors":
            values.update({part["name"]: piece for part, piece in zip(entry, value, strict=True)})
        elif kind != "as_none":
            values[entry.get("name") or entry.get("as_name")] = value


def _operator(path: Path, target: str) -> Callable[..., Any]:
    if target in _SIZE_OPERATORS:
        return _SIZE_OPERATORS[target]
    match = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.(\w+)", target)
    if not match:
        raise _refusal(path, target)
    overload = getattr(getattr(torch.ops.aten, match[1], None), match[2], None)
    if not isinstance(overload, torch._ops.OpOverload) or not is_allowed(f"aten::{match[1]}"):
        raise _refusal(path, target)
    return overload


def check_runs(program: nn.Module, card: ModelCard, path: Path) -> None:
    """Run one and two random windows; raise DataError unless both outputs have the shape of the card."""
    random = np.random.default_rng(0)
    codes = random.integers(0, 4, (2, card.window))
    one_hot = torch.from_numpy(np.moveaxis(np.eye(4, dtype=np.float32)[codes], 1, 2).copy())
    expected = (len(card.tracks), card.n_bins(card.window))
    with torch.inference_mode():
        for batch in (1, 2):
            try:
                output = program(one_hot[:batch])
            except (RuntimeError, TypeError, NotImplementedError) as error:
                raise DataError(
                    f"{path} fails on {batch} windows (B, 4, L) of {card.window} bp: {last_line(error)}."
                ) from None
            if not isinstance(output, Tensor) or tuple(output.shape) != (batch, *expected):
                shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise DataError(f"{path} returns {shape} for {batch} windows; its card says {(batch, *expected)}.")
            if not output.is_floating_point() or not torch.isfinite(output).all():
                raise DataError(f"{path} returns values that are not finite floating-point numbers.")


def last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].rstrip(".") if str(error).strip() else type(error).__name__
