"""Weight files of any framework: read without running code, matched to a network name by name, loaded and saved.

`read` returns a file's tensors, memory-mapped if the format allows it. An architecture takes the tensors of its layers
through `Fit`, which names the first layer that differs if the file does not fit. `fill` loads them into the network. A
site stores every model as safetensors under the network's own names, written by `save_weights`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trackserver.errors import DataError, listing
from trackserver.genome.sequence import BASES
from trackserver.storage import whole_file


@dataclass(frozen=True)
class Weights:
    """The content of a weight file.

    tensors : by the file's own names, in the file's order; views of the file if it can be mapped
    settings : a Keras file's model configuration; empty for other formats
    """

    path: Path
    tensors: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """Options for translating a file, including facts it does not state; each architecture uses those that concern it.

    head : the outputs to take: `human`, `mouse`; ChromBPNet's `full`, `bias`, `nobias`; Sei's `profiles`, `classes`
    alphabet : the order of the bases in the file's first layer
    activation : Basenji2's GELU (`sigmoid`, `tanh`), for a file that holds only weights
    projection : Sei's projection of profiles on sequence classes, float32 (classes, profiles)
    """

    head: str = ""
    alphabet: str = "ACGT"
    activation: str = ""
    projection: Tensor | None = None


class TranslatedWeights(NamedTuple):
    """A published file translated for a network: the network's sizes, and its state under its own names."""

    config: dict[str, Any]
    state: dict[str, Tensor]


def read(path: str | os.PathLike[str]) -> Weights:
    """Read the tensors of a weight file; the format is recognised by the first bytes, not the name.

    Safetensors, torch state dicts and whole pickled modules (`pickles`), Keras h5 (`keras`), TensorFlow V2
    checkpoints, by their .index or the prefix they share (`tensorbundle`).

    Raises
    ------
    DataError
        The file is missing, truncated, of an unknown format, or would run code when read.
    """
    path = Path(path)
    from trackserver.models import keras, pickles, tensorbundle

    if index := tensorbundle.find_index(path):
        return Weights(path, tensorbundle.read(index))
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise DataError(f"There are no weights to read at {path}: {error.strerror}.") from None
    if start.startswith(keras.MAGIC):
        tensors, settings = keras.read(path)
        return Weights(path, tensors, settings)
    if start[8:9] == b"{":
        return Weights(path, read_safetensors(path))
    if start.startswith(pickles.MAGICS):
        return Weights(path, pickles.read(path))
    raise DataError(
        f"{path} is no weight file known here: safetensors, a torch state dict, Keras h5 or a TensorFlow checkpoint."
    )


def read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(str(path))
    except FileNotFoundError:
        raise DataError(f"There are no weights {path}.") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is not a complete safetensors file: {error}.") from None


class Fit:
    """Takes a file's tensors one by one, by the names and shapes that an architecture expects.

    Every DataError names the file, the architecture and the first layer that differs.
    """

    def __init__(self, weights: Weights, architecture: str):
        self.weights, self.architecture = weights, architecture
        self._remaining = dict(weights.tensors)

    def take(self, name: str, *shape: int | None) -> Tensor:
        """Take the tensor of a name; None in the shape allows any size."""
        if name not in self._remaining:
            raise self.misfit(f"it has no {name} (expected {_shape(shape)}); {self._first_remaining()}")
        return self._check(name, self._remaining.pop(name), shape)

    def take_layer(self, **shapes: tuple[int | None, ...]) -> list[Tensor]:
        """Take the next layer of a Keras file, which has to have exactly these weights; returns them in this order."""
        name = self.next_layer()
        if name is None:
            raise self.misfit(f"its layers end where one with {_shapes(shapes)} is expected")
        if not name:
            raise self.misfit(f"its tensors are not grouped in Keras layers; {self._first_remaining()}")
        keys = {weight_name(key): key for key in self._remaining if layer_name(key) == name}
        if set(keys) != set(shapes):
            actual = {weight: tuple(self._remaining[key].shape) for weight, key in keys.items()}
            raise self.misfit(f"its layer {name} should have {_shapes(shapes)} but has {_shapes(actual)}")
        return [self._check(keys[weight], self._remaining.pop(keys[weight]), shape) for weight, shape in shapes.items()]

    def next_layer(self) -> str | None:
        """Name the first layer that has not been taken."""
        return next((layer_name(key) for key in self._remaining), None)

    def has(self, name: str) -> bool:
        return name in self._remaining

    def ignore(self, pattern: str) -> None:
        """Drop tensors that are known to be unneeded: optimizer slots, counters, other heads."""
        self._remaining = {name: tensor for name, tensor in self._remaining.items() if not re.search(pattern, name)}

    def check_all_taken(self) -> None:
        """Raise DataError if the file has tensors that the network does not use."""
        if self._remaining:
            name = next(iter(self._remaining))
            raise self.misfit(
                f"it also holds {name} {_shape(self._remaining[name].shape)}, which the network does not have"
            )

    def misfit(self, reason: str) -> DataError:
        return DataError(f"{self.weights.path} does not fit {self.architecture}: {reason}.")

    def _check(self, name: str, tensor: Tensor, shape: Sequence[int | None]) -> Tensor:
        actual = tuple(tensor.shape)
        sizes = zip(shape, actual, strict=False)
        if len(actual) != len(shape) or any(expected not in (None, size) for expected, size in sizes):
            raise self.misfit(f"{name} should have shape {_shape(shape)} but has {_shape(actual)}")
        return tensor

    def _first_remaining(self) -> str:
        if not self._remaining:
            return "it has no more tensors"
        name = next(iter(self._remaining))
        return f"its first unused tensor is {name} {_shape(self._remaining[name].shape)}"


def reorder_to_acgt(kernel: Tensor, alphabet: str) -> Tensor:
    """Reorder the input channels of a first layer's kernel (C, 4, k) from the order of `alphabet` to A C G T.

    Raises
    ------
    DataError
        The alphabet is not a permutation of these four letters.
    """
    if sorted(alphabet) != sorted(BASES):
        raise DataError(f"'{alphabet}' is not an order of the bases; write each of A, C, G and T once, such as AGCT.")
    return kernel if alphabet == BASES else kernel[:, [alphabet.index(base) for base in BASES]]


def find_prefix(weights: Weights, name: str) -> str:
    """Find the prefix of a layer's name in the file: `model.`, `module.`, a position in another model; or nothing."""
    full_name = next((key for key in weights.tensors if f".{key}".endswith(f".{name}")), name)
    return full_name.removesuffix(name)


def choose_head(choice: Choice, architecture: str, *heads: str) -> str:
    """Return the chosen head, by default the first of those there are.

    Raises
    ------
    DataError
        There is no such head.
    """
    if choice.head not in ("", *heads):
        raise DataError(f"{architecture} has no head '{choice.head}'; it has {listing(heads)}.")
    return choice.head if choice.head else heads[0]


def take_dense(fit: Fit, channels: int, **names: str) -> dict[str, Tensor]:
    """Take consecutive dense layers, the first of which reads every position of `channels` channels.

    `names` : the network's name of each layer -> the file's
    """
    state: dict[str, Tensor] = {}
    width: int | None = None
    for layer, name in names.items():
        kernel = state[f"{layer}.weight"] = fit.take(f"{name}.weight", None, width)
        inputs = kernel.shape[1]
        if width is None and (not inputs or not channels or inputs % channels):
            raise fit.misfit(f"{name} reads {inputs} numbers, not whole positions of {channels} channels")
        width = len(kernel)
        state[f"{layer}.bias"] = fit.take(f"{name}.bias", width)
    return state


def layer_name(key: str) -> str:
    return key.rpartition("/")[0]


def weight_name(key: str) -> str:
    """`kernel` of `conv1d_3/kernel:0`."""
    return key.rpartition("/")[2].partition(":")[0]


def _shape(sizes: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in sizes) + ")"


def _shapes(shapes: Mapping[str, Sequence[int | None]]) -> str:
    return ", ".join(f"{name} {_shape(shape)}" for name, shape in shapes.items())


def fill(
    module: nn.Module,
    state: Mapping[str, Tensor],
    path: Path,
    *,
    rows: Sequence[int] | None = None,
    n_rows: int = 0,
    row_tensors: Sequence[str] = (),
) -> None:
    """Load a module's state: every tensor, no others, each of the right shape; copied, floats as float32.

    Parameters
    ----------
    module
        May be on the meta device, without memory.
    path
        The file the state comes from, for error messages.
    rows
        Take only these of the `n_rows` rows of the tensors named in `row_tensors`; the module has len(rows) outputs.

    Raises
    ------
    DataError
        A tensor is missing, unknown or of another shape; the sentence names the first one and both shapes.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    row_choices = {} if rows is None else {name: list(rows) for name in row_tensors}
    for name, shape in expected.items():
        _check_tensor(path, name, (n_rows, *shape[1:]) if name in row_choices else shape, state)
    unknown = [name for name in state if name not in expected]
    if unknown:
        raise DataError(f"{path} does not fit the model: it holds {unknown[0]}, which the model does not have.")
    copies = {name: _copy_rows(state[name], row_choices.get(name)) for name in expected}
    module.load_state_dict(copies, strict=True, assign=True)


def _check_tensor(path: Path, name: str, shape: tuple[int, ...], state: Mapping[str, Tensor]) -> None:
    if name not in state:
        raise DataError(f"{path} does not fit the model: {name} is missing; expected shape {shape}.")
    if tuple(state[name].shape) != shape:
        actual = tuple(state[name].shape)
        raise DataError(f"{path} does not fit the model: {name} should have shape {shape} but has {actual}.")


def _copy_rows(tensor: Tensor, rows: list[int] | None) -> Tensor:
    """Copy a tensor, so that replacing or truncating the file later does not affect a network in use."""
    tensor = tensor if rows is None else tensor[rows]
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)


def save_weights(state: Mapping[str, Tensor], path: Path, *, half: bool = False) -> None:
    """Write a network's state, whole or not at all.

    With `half`, matrices and kernels are stored as float16, at half the size. Vectors (biases, norms, scales) stay
    float32, because a running variance can exceed the range of float16.
    """
    with whole_file(path) as part:
        save_file({name: _to_storage(tensor, half) for name, tensor in state.items()}, str(part))
        part.chmod(0o644)  # safetensors creates it for its owner only, and the server may run as another user


def _to_storage(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if half and tensor.is_floating_point() and tensor.ndim >= 2 else tensor
