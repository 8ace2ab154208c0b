"""Weights on disk: safetensors, which cannot run code, read strictly and checked tensor by tensor."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trackserver.errors import DataError


def save_weights(module: nn.Module, path: Path, *, half: bool = False) -> None:
    """Write a module's state, whole or not at all.

    With `half`, matrices and kernels are stored as float16, half the size; vectors (biases, norms, scales) stay
    float32, for a running variance may lie outside what float16 can hold.
    """
    state = {name: _stored(tensor, half) for name, tensor in module.state_dict().items()}
    partial = path.with_name(path.name + ".partial")
    save_file(state, str(partial))
    os.replace(partial, path)


def _stored(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if half and tensor.is_floating_point() and tensor.ndim >= 2 else tensor


def load_weights(
    module: nn.Module,
    path: Path,
    *,
    rows: Sequence[int] | None = None,
    n_rows: int = 0,
    row_tensors: Collection[str] = (),
) -> None:
    """Fill a module from a safetensors file: every tensor, no other, each of the right shape; floats as float32.

    Parameters
    ----------
    rows
        Of the tensors named in `row_tensors`, take only these rows of the file's `n_rows`: the module was
        built with len(rows) outputs.

    Raises
    ------
    DataError
        The file is not safetensors or is cut short, or a tensor is missing, unknown or of another shape; the sentence
        names the first one, what the module expects and what the file holds.
    """
    found = _read(path)
    expected = module.state_dict()
    cut = {} if rows is None else dict.fromkeys(row_tensors, rows)
    for name, tensor in expected.items():
        shape = (n_rows, *tensor.shape[1:]) if name in cut else tuple(tensor.shape)
        _check(path, name, shape, found)
    unknown = [name for name in found if name not in expected]
    if unknown:
        raise DataError(f"{path} does not fit the model: it holds {unknown[0]}, which the model does not have.")
    module.load_state_dict({name: _restored(found[name], cut.get(name)) for name in expected}, strict=True)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(str(path))
    except FileNotFoundError:
        raise DataError(f"There are no weights {path}.") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is not a whole safetensors file: {error}.") from None


def _check(path: Path, name: str, shape: tuple[int, ...], found: Mapping[str, Tensor]) -> None:
    if name not in found:
        raise DataError(f"{path} does not fit the model: {name} is missing; expected shape {shape}.")
    if tuple(found[name].shape) != shape:
        there = tuple(found[name].shape)
        raise DataError(f"{path} does not fit the model: {name} should have shape {shape} but has {there}.")


def _restored(tensor: Tensor, rows: Sequence[int] | None) -> Tensor:
    tensor = tensor if rows is None else tensor[list(rows)]
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor
