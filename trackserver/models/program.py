"""A model of one's own: a program saved by torch, weights and arithmetic in one file, run without trusting it.

Two kinds. `torch.export` files are a graph in JSON over raw tensors; torch's own reader of them unpickles and evaluates
what is in the file, so the graph is carried out here, operator by operator. TorchScript is run by torch's interpreter,
which knows nothing of the machine but a few operators on files. In both, only operators of torch itself (`aten`) that
take no file name are carried out; a file that names another is refused before anything of it runs.
"""

from __future__ import annotations

import json
import operator
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trackserver.errors import DataError
from trackserver.models.card import ModelCard

# Arithmetic on sizes, as Python's operators.
_ON_SIZES: dict[str, Callable[..., Any]] = {
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
_PLAIN = {"as_int", "as_ints", "as_bool", "as_bools", "as_string", "as_strings"}


def read_program(path: Path, card: ModelCard, tracks: Sequence[int] | None = None) -> nn.Module:
    """A user's program as a module (B, 4, L) -> (B, T, bins), the chosen tracks taken from what it gives.

    Raises
    ------
    DataError
        Not such a file, cut short, or it names an operator that is not carried out.
    """
    program = read_export(path) if card.architecture == "export" else read_torchscript(path)
    return Rows(program, tracks).eval()


class Rows(nn.Module):
    """Some of a program's tracks; the program itself computes them all."""

    def __init__(self, program: nn.Module, tracks: Sequence[int] | None):
        super().__init__()
        self.program, self.tracks = program, None if tracks is None else list(tracks)

    def forward(self, one_hot: Tensor) -> Tensor:
        values: Tensor = self.program(one_hot)
        return values if self.tracks is None else values[:, self.tracks]


def read_torchscript(path: Path) -> nn.Module:
    for name, text in _entries(path):
        if "/code/" in name and name.endswith(".py"):
            _check_script(path, text.decode("utf-8", "replace"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{path} cannot be read as TorchScript: {str(error).strip().splitlines()[0]}.") from None


def _check_script(path: Path, text: str) -> None:
    for namespace, name in re.findall(r"\bops\.(\w+)\.(\w+)", text):
        if namespace not in ("aten", "prim"):
            raise _refusal(path, f"{namespace}.{name}")
        _check_schemas(path, f"{namespace}::{name}")
    for name in re.findall(r"\btorch\.(\w+)\(", text):
        _check_schemas(path, f"aten::{name}")


def _check_schemas(path: Path, name: str) -> None:
    for schema in torch._C._jit_get_schemas_for_operator(name):
        if any("file" in argument.name for argument in schema.arguments):
            raise _refusal(path, name)


def _refusal(path: Path, name: str) -> DataError:
    return DataError(f"{path} is refused: it uses {name}, which is more than arithmetic on tensors.")


def _entries(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield name, archive.read(name)
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path} is not a whole file of torch.jit.save or torch.export.save: {error}.") from None


def read_export(path: Path) -> Graph:
    """A `torch.export` file as a module."""
    files = {name.partition("/")[2]: data for name, data in _entries(path)}
    try:
        program = json.loads(files["models/model.json"])
        tensors = {kind: _payloads(path, files, kind) for kind in ("weights", "constants")}
        return Graph(path, program["graph_module"], tensors["weights"] | tensors["constants"])
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise DataError(f"{path} is not a file of torch.export.save that can be read here: {error!r}.") from None


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
    """An exported graph, carried out node by node."""

    def __init__(self, path: Path, module: dict[str, Any], tensors: dict[str, Tensor]):
        super().__init__()
        graph, signature = module["graph"], module["signature"]
        self.names: dict[str, str] = {}  # what the graph calls a tensor -> the buffer that holds it
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
            raise DataError(f"{path} must take one tensor, the one-hot (B, 4, L), and give one, the tracks.")
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
        for carry_out, node in self.nodes:
            given = [(entry["name"], entry.get("kind"), self._value(entry["arg"], values)) for entry in node["inputs"]]
            result = carry_out(
                *(value for _, kind, value in given if kind != 2),
                **{name: value for name, kind, value in given if kind == 2},
            )
            _keep(values, node["outputs"], result)
        return values[self.output]

    def _value(self, argument: dict[str, Any], values: dict[str, Any]) -> Any:
        ((kind, value),) = argument.items()
        if kind in _PLAIN:
            return value
        if kind == "as_none":
            return None
        if kind == "as_float":  # an infinity is written as text
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
        raise DataError(f"The exported program has an argument of kind {kind}, which is not carried out here.")


def _keep(values: dict[str, Any], outputs: list[dict[str, Any]], result: Any) -> None:
    results = result if isinstance(result, tuple) and len(outputs) > 1 else (result,)
    for output, value in zip(outputs, results, strict=True):
        ((kind, entry),) = output.items()
        if kind == "as_tensors":
            values.update({part["name"]: piece for part, piece in zip(entry, value, strict=True)})
        elif kind != "as_none":
            values[entry.get("name") or entry.get("as_name")] = value


def _operator(path: Path, target: str) -> Callable[..., Any]:
    if target in _ON_SIZES:
        return _ON_SIZES[target]
    match = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.(\w+)", target)
    if not match:
        raise _refusal(path, target)
    found = getattr(getattr(torch.ops.aten, match[1], None), match[2], None)
    if not isinstance(found, torch._ops.OpOverload):
        raise _refusal(path, target)
    if any("file" in argument.name for argument in found._schema.arguments):
        raise _refusal(path, target)
    return found


def check_runs(program: nn.Module, card: ModelCard, path: Path) -> None:
    """Run one and two random windows; raise DataError unless what comes out is what the card says, for both."""
    random = np.random.default_rng(0)
    codes = random.integers(0, 4, (2, card.window))
    one_hot = torch.from_numpy(np.moveaxis(np.eye(4, dtype=np.float32)[codes], 1, 2).copy())
    expected = (len(card.tracks), card.n_bins(card.window))
    with torch.inference_mode():
        for batch in (1, 2):
            try:
                found = program(one_hot[:batch])
            except (RuntimeError, TypeError, NotImplementedError) as error:
                raise DataError(
                    f"{path} fails on {batch} windows (B, 4, L) of {card.window} bp: {_last(error)}."
                ) from None
            if not isinstance(found, Tensor) or tuple(found.shape) != (batch, *expected):
                shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise DataError(f"{path} gives {shape} for {batch} windows; its card says {(batch, *expected)}.")
            if not found.is_floating_point() or not torch.isfinite(found).all():
                raise DataError(f"{path} gives values that are not finite floating-point numbers.")


def _last(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].rstrip(".") if str(error).strip() else type(error).__name__
