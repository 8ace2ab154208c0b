"""Torch files: state dicts, and whole modules or checkpoints with nothing of theirs run.

A pickle names the classes and functions it is made of. Those of torch's tensors are read by torch's own weights-only
reader. Classes of networks (`torch.nn`, and the packages whose published files are whole modules) are replaced by a
stub without any code, and only their tensors are taken out. Anything else that is named is refused.
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
# What a stub stands for: modules and what they are set up with, never a function that reaches outside.
STUBBED = (
    "torch.nn.modules.", "torch.nn.functional.", "bpnetlite.", "grelu.", "enformer_pytorch.", "borzoi_pytorch.",
    "pytorch_lightning.", "lightning.",
)  # fmt: skip


class _Stub:
    """Stands for a class of the file: keeps its attributes, has none of its code."""

    def __new__(cls, *_: object, **__: object) -> _Stub:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object):
        pass

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, a checkpoint that holds one, or a whole module, under their dotted names.

    Raises
    ------
    DataError
        Cut short, no tensors in it, or it names something that could run code.
    """
    try:
        loaded = _load(path)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise DataError(f"{path} cannot be read as a torch file; it may be cut short: {_first_line(error)}.") from None
    tensors = dict(_tensors(_unwrapped(loaded)))
    if not tensors:
        raise DataError(f"{path} is a torch file without any weights in it.")
    return tensors


def _load(path: Path) -> object:
    if not zipfile.is_zipfile(path):  # written by torch before 1.6: it cannot be mapped
        return _inert(path, mmap=False)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith(("constants.pkl", "/models/model.json")) for name in names):
        raise DataError(
            f"{path} is a program (TorchScript or torch.export), not weights; install it with a card of its own: "
            "`trackserver models install ID FILE --card CARD.toml`."
        )
    return _inert(path, mmap=True)


def _inert(path: Path, *, mmap: bool) -> object:
    stubs = [(type(name.rpartition(".")[2], (_Stub,), {}), name) for name in _named(path) if name.startswith(STUBBED)]
    try:
        with torch.serialization.safe_globals(stubs):  # type: ignore[arg-type]
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        if refused := _would_run(str(error)):
            raise DataError(
                f"{path} is refused: reading it would run {refused}. Ask for the state dict alone "
                "(torch.save(model.state_dict(), FILE)), or for safetensors."
            ) from None
        raise


def _would_run(said: str) -> str:
    """What torch's weights-only reader would not do, from what it says; empty where the file is only damaged."""
    if "persistent_load" in said:
        return "the classes of a whole network, in the form of torch before 1.6"
    named = re.search(r"(?:GLOBAL|function|class) ([\w.]+)", said)
    return named[1] if named else ""


def _named(path: Path) -> set[str]:
    """The classes and functions a file's pickles name, without unpickling them."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
            return {name for data in pickles for name in _globals(io.BytesIO(data))}
    with path.open("rb") as file:  # four in a row: a magic number, a version, the machine, and then the object
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


def _unwrapped(loaded: object) -> object:
    """A training checkpoint keeps the network's state under a key of its own."""
    if isinstance(loaded, Mapping):
        for key in ("state_dict", "model_state_dict", "model"):
            if isinstance(loaded.get(key), Mapping | _Stub):
                return loaded[key]
    return loaded


def _tensors(loaded: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """A state dict's tensors; or a module's, as `state_dict()` names them."""
    if isinstance(loaded, Mapping):
        yield from ((f"{prefix}{name}", value) for name, value in loaded.items() if isinstance(value, Tensor))
        return
    for kind in ("_parameters", "_buffers"):
        yield from _tensors(_attribute(loaded, kind), prefix)
    for name, child in _attribute(loaded, "_modules").items():
        yield from _tensors(child, f"{prefix}{name}.")


def _attribute(stub: object, name: str) -> Mapping[str, Any]:
    found = getattr(stub, "__dict__", {}).get(name, {})
    return found if isinstance(found, Mapping) else {}


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
