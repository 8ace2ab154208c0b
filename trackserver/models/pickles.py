"""Read torch files (state dicts, checkpoints, whole modules) without running any of their code.

A pickle names the classes and functions it is made of. torch's own weights-only reader reads those of tensors. Classes
of networks (`torch.nn`, and packages whose published files are whole modules) are replaced by a stub without code, from
which only the tensors are taken. Everything else is refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from trackserver.errors import DataError

MAGICS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# Classes that may be replaced by a stub: modules and their settings, never functions with side effects.
STUB_PREFIXES = (
    "torch.nn.modules.", "torch.nn.functional.", "bpnetlite.", "grelu.", "enformer_pytorch.", "borzoi_pytorch.",
    "pytorch_lightning.", "lightning.",
)  # fmt: skip


class _Stub:
    """Replaces a class named in the file: keeps the attributes, has none of the code."""

    def __new__(cls, *_: object, **__: object) -> _Stub:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object):
        pass

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a state dict, a checkpoint that holds one, or a whole module, by their dotted names.

    Raises
    ------
    DataError
        The file is truncated, holds no tensors, or names something that could run code.
    """
    try:
        content = _load(path)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise DataError(f"{path} cannot be read as a torch file; it may be truncated: {_first_line(error)}.") from None
    tensors = dict(_tensors(_unwrap(content)))
    if not tensors:
        raise DataError(f"{path} is a torch file without weights.")
    return tensors


def _load(path: Path) -> object:
    if not zipfile.is_zipfile(path):  # written before torch 1.6: cannot be memory-mapped
        return _load_without_code(path, mmap=False)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith(("constants.pkl", "/models/model.json")) for name in names):
        raise DataError(
            f"{path} is a program (TorchScript or torch.export), not weights; install it with its own card: "
            "`trackserver models install ID FILE --card CARD.toml`."
        )
    return _load_without_code(path, mmap=True)


def _load_without_code(path: Path, *, mmap: bool) -> object:
    stubs = [
        (type(name.rpartition(".")[2], (_Stub,), {}), name)
        for name in _class_names(path)
        if name.startswith(STUB_PREFIXES)
    ]
    try:
        with torch.serialization.safe_globals(stubs):  # type: ignore[arg-type]
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        if refused := _refused_name(str(error)):
            raise DataError(
                f"{path} is refused: reading it would run {refused}. Ask for the state dict alone "
                "(torch.save(model.state_dict(), FILE)), or for safetensors."
            ) from None
        raise


def _refused_name(message: str) -> str:
    """Find in its message what torch's weights-only reader refused to run; empty if the file is only damaged."""
    if "persistent_load" in message:
        return "the classes of a whole network, in the format of torch before 1.6"
    name = re.search(r"(?:GLOBAL|function|class) ([\w.]+)", message)
    return name[1] if name else ""


def _class_names(path: Path) -> set[str]:
    """Collect the classes and functions that a file's pickles name, without unpickling them."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
            return {name for data in pickles for name in _globals(io.BytesIO(data))}
    with path.open("rb") as file:  # four pickles: a magic number, a version, the machine, then the object
        return {name for _ in range(4) for name in _globals(file)}


def _globals(file: IO[bytes]) -> Iterator[str]:
    strings: list[str] = []
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
            yield ".".join(strings[-2:])
        elif isinstance(argument, str):
            strings.append(argument)


def _unwrap(content: object) -> object:
    """Return a training checkpoint's network, which it stores under a key of its own."""
    if isinstance(content, Mapping):
        for key in ("state_dict", "model_state_dict", "model"):
            if isinstance(content.get(key), Mapping | _Stub):
                return content[key]
    return content


def _tensors(network: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a state dict or a module, named as `state_dict()` would."""
    if isinstance(network, Mapping):
        yield from ((f"{prefix}{name}", value) for name, value in network.items() if isinstance(value, Tensor))
        return
    for kind in ("_parameters", "_buffers"):
        yield from _tensors(_attribute(network, kind), prefix)
    for name, child in _attribute(network, "_modules").items():
        yield from _tensors(child, f"{prefix}{name}.")


def _attribute(stub: object, name: str) -> Mapping[str, Any]:
    value = getattr(stub, "__dict__", {}).get(name, {})
    return value if isinstance(value, Mapping) else {}


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
