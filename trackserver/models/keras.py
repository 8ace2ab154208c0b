"""Read Keras 2 weight files (HDF5) with h5py alone: no layers are built, no Lambda is decoded, no other file opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from trackserver.errors import DataError
from trackserver.sources.hdf5 import check_self_contained

MAGIC = b"\x89HDF\r\n\x1a\n"


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a full model or a file of weights only.

    Returns
    -------
    tensors, settings
        Tensors in the file's order of layers, named `layer/weight:0`, with a nested model's name in front. The model's
        configuration from its JSON; empty if the file holds only weights.

    Raises
    ------
    DataError
        The file is truncated, not from Keras, or its data lie in other files.
    """
    try:
        with h5py.File(path, "r") as file:
            check_self_contained(str(path), file)
            group = file["model_weights"] if "model_weights" in file else file
            if "layer_names" not in group.attrs and "layer_names0" not in group.attrs:
                raise DataError(f"{path} is HDF5, but not a Keras model: it lists no layers.")
            return dict(_tensors(path, group)), _settings(path, file)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise DataError(f"{path} cannot be read as HDF5; it may be truncated: {_first_line(error)}.") from None


def _tensors(path: Path, group: h5py.Group) -> Iterator[tuple[str, Tensor]]:
    for layer in _names(group, "layer_names"):
        for weight in _names(group[layer], "weight_names"):
            name = weight if weight.startswith(f"{layer}/") else f"{layer}/{weight}"
            yield name, _tensor(path, group[layer][weight])


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Read a list of names, which Keras splits into `name0`, `name1` ... if it is long."""
    if attribute in group.attrs:
        parts = [group.attrs[attribute]]
    else:
        parts = []
        while f"{attribute}{len(parts)}" in group.attrs:
            parts.append(group.attrs[f"{attribute}{len(parts)}"])
    return [name.decode() if isinstance(name, bytes) else str(name) for part in parts for name in part]


def _tensor(path: Path, dataset: h5py.Dataset) -> Tensor:
    """Read a tensor: a view of the file if its data are contiguous there, otherwise a copy."""
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize not in (2, 4, 8):
        raise DataError(f"{path}: {dataset.name} holds {dataset.dtype}, not floating-point numbers.")
    offset = dataset.id.get_offset()
    if offset is None or not dataset.dtype.isnative or not dataset.size:
        return torch.from_numpy(np.asarray(dataset[()], dataset.dtype.newbyteorder("=")))
    mapped = np.memmap(path, dataset.dtype, mode="c", offset=offset, shape=dataset.shape)
    return torch.from_numpy(mapped)


def _settings(path: Path, file: h5py.File) -> dict[str, Any]:
    if "model_config" not in file.attrs:
        return {}
    try:
        return dict(json.loads(file.attrs["model_config"]))
    except ValueError:
        raise DataError(f"{path}: its model configuration is not JSON.") from None


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").split("\n")[0]


def activations(settings: dict[str, Any]) -> set[str]:
    """Collect the activation functions in a model's configuration.

    These are classes of custom layers (`GELU`) and functions (`nn.gelu`, with ` approximate` if that is set).
    """
    names: set[str] = set()
    for layer in settings.get("config", {}).get("layers", []):
        kind, config = layer.get("class_name", ""), layer.get("config", {})
        if kind in ("GELU", "ReLU", "Softplus"):
            names.add(kind)
        if kind == "TFOpLambda":
            approximate = any(
                isinstance(call, list) and any(isinstance(part, dict) and part.get("approximate") for part in call)
                for call in layer.get("inbound_nodes", [])
            )
            names.add(str(config.get("function", "")) + (" approximate" if approximate else ""))
        if isinstance(config, dict) and isinstance(config.get("activation"), str):
            names.add(config["activation"])
    return names
