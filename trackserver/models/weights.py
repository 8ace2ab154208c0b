"""Weights on disk, whatever the framework that wrote them: read without running anything, fitted name by name.

`read` gives a file's tensors, mapped rather than copied where the format allows; an architecture takes from them, by
`Fit`, what its layers need, and says of a file that does not fit which layer differs first; `fill` puts them into the
network. A site keeps every model as safetensors under the network's own names, written by `save_weights`.
"""

from __future__ import annotations

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
    """What a file holds.

    tensors : by the file's own names, in the file's order; views of the file where it can be mapped
    settings : a Keras file's model configuration; of others nothing
    """

    path: Path
    tensors: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """What a file does not say, or what is wanted of it; each architecture heeds what concerns it.

    head : the part of the outputs: `human`, `mouse`; ChromBPNet's `full`, `bias`, `nobias`; Sei's `profiles`, `classes`
    alphabet : the order of the bases in the file's first layer
    activation : Basenji2's GELU (`sigmoid`, `tanh`) where the file holds weights alone
    projection : Sei's sequence classes over its profiles, float32 (classes, profiles)
    """

    head: str = ""
    alphabet: str = "ACGT"
    activation: str = ""
    projection: Tensor | None = None


class Translated(NamedTuple):
    """A published file in a network's terms: its sizes, and its state under the network's own names."""

    config: dict[str, Any]
    state: dict[str, Tensor]


def read(path: Path) -> Weights:
    """The tensors of a weight file; the format is told by the first bytes, not the name.

    Safetensors, torch state dicts and whole pickled modules (`pickles`), Keras h5 (`keras`), TensorFlow V2
    checkpoints, by their .index or the prefix they share (`tensorbundle`).

    Raises
    ------
    DataError
        The file is missing, cut short, of another format, or would run code when it is read.
    """
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
        raise DataError(f"{path} is not a whole safetensors file: {error}.") from None


class Fit:
    """A file's tensors, taken one by one under the names and in the shapes an architecture expects.

    Every DataError it raises names the file, the architecture and the first layer that differs.
    """

    def __init__(self, weights: Weights, architecture: str):
        self.weights, self.architecture = weights, architecture
        self._left = dict(weights.tensors)

    def take(self, name: str, *shape: int | None) -> Tensor:
        """The tensor of that name; a size None may be any."""
        if name not in self._left:
            raise self.misfit(f"it has no {name} (expected {_shape(shape)}); {self._first_left()}")
        return self._checked(name, self._left.pop(name), shape)

    def take_layer(self, **shapes: tuple[int | None, ...]) -> list[Tensor]:
        """The next layer of a Keras file, in its order: exactly these weights, in the order asked for."""
        name = self.next_layer()
        if name is None:
            raise self.misfit(f"its layers end where one with {_listed(shapes)} is expected")
        if not name:
            raise self.misfit(f"its tensors are not in Keras' layers; {self._first_left()}")
        found = {weight_name(key): key for key in self._left if layer_name(key) == name}
        if set(found) != set(shapes):
            there = {weight: tuple(self._left[key].shape) for weight, key in found.items()}
            raise self.misfit(f"its layer {name} should have {_listed(shapes)} but has {_listed(there)}")
        return [self._checked(found[weight], self._left.pop(found[weight]), shape) for weight, shape in shapes.items()]

    def next_layer(self) -> str | None:
        """The name of the first layer not yet taken."""
        return next((layer_name(key) for key in self._left), None)

    def holds(self, name: str) -> bool:
        return name in self._left

    def ignore(self, pattern: str) -> None:
        """Leave out what is known to be there and of no use: optimizer slots, counters, another head."""
        self._left = {name: tensor for name, tensor in self._left.items() if not re.search(pattern, name)}

    def done(self) -> None:
        if self._left:
            name = next(iter(self._left))
            raise self.misfit(f"it also holds {name} {_shape(self._left[name].shape)}, which the network does not have")

    def misfit(self, how: str) -> DataError:
        return DataError(f"{self.weights.path} does not fit {self.architecture}: {how}.")

    def _checked(self, name: str, tensor: Tensor, shape: Sequence[int | None]) -> Tensor:
        there = tuple(tensor.shape)
        fits = len(there) == len(shape) and all(want in (None, size) for want, size in zip(shape, there, strict=True))
        if not fits:
            raise self.misfit(f"{name} should have shape {_shape(shape)} but has {_shape(there)}")
        return tensor

    def _first_left(self) -> str:
        if not self._left:
            return "nothing is left in it"
        name = next(iter(self._left))
        return f"it has {name} {_shape(self._left[name].shape)}"


def in_acgt(kernel: Tensor, alphabet: str) -> Tensor:
    """A first layer's kernel (C, 4, k) whose input channels follow `alphabet`, with channels in the order A C G T.

    Raises
    ------
    DataError
        The alphabet is not those four letters.
    """
    if sorted(alphabet) != sorted(BASES):
        raise DataError(f"'{alphabet}' is no order of the bases; write each of A, C, G and T once, such as AGCT.")
    return kernel if alphabet == BASES else kernel[:, [alphabet.index(base) for base in BASES]]


def prefix_of(weights: Weights, name: str) -> str:
    """What stands before a layer's name in the file: `model.`, `module.`, a position in another model; or nothing."""
    found = next((key for key in weights.tensors if f".{key}".endswith(f".{name}")), name)
    return found.removesuffix(name)


def head_of(choice: Choice, architecture: str, *heads: str) -> str:
    """The outputs asked for, the first of those there are where none are named.

    Raises
    ------
    DataError
        There are no such outputs.
    """
    if choice.head not in ("", *heads):
        raise DataError(f"{architecture} has no head '{choice.head}'; it has: {listing(heads)}.")
    return choice.head if choice.head else heads[0]


def take_dense(fit: Fit, channels: int, **names: str) -> dict[str, Tensor]:
    """The dense layers, one after the other, of which the first reads every position of `channels` channels.

    `names` : the module's name of each -> the file's
    """
    state: dict[str, Tensor] = {}
    width: int | None = None
    for layer, name in names.items():
        kernel = state[f"{layer}.weight"] = fit.take(f"{name}.weight", None, width)
        read = kernel.shape[1]
        if width is None and (not read or not channels or read % channels):
            raise fit.misfit(f"{name} reads {read} numbers, not whole positions of {channels} channels")
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


def _listed(shapes: Mapping[str, Sequence[int | None]]) -> str:
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
    """Give a module its state: every tensor, no other, each of the right shape; floats as float32, copied.

    Parameters
    ----------
    module
        May lie on the meta device: it needs no memory of its own before.
    path
        Where the state comes from, for the error's sentence.
    rows
        Of the tensors named in `row_tensors`, take only these rows of the `n_rows`: the module was built with
        len(rows) outputs.

    Raises
    ------
    DataError
        A tensor is missing, unknown or of another shape; the sentence names the first one, what the module expects
        and what the file holds.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    cut = {} if rows is None else {name: list(rows) for name in row_tensors}
    for name, shape in expected.items():
        _check(path, name, (n_rows, *shape[1:]) if name in cut else shape, state)
    unknown = [name for name in state if name not in expected]
    if unknown:
        raise DataError(f"{path} does not fit the model: it holds {unknown[0]}, which the model does not have.")
    restored = {name: _restored(state[name], cut.get(name)) for name in expected}
    module.load_state_dict(restored, strict=True, assign=True)


def _check(path: Path, name: str, shape: tuple[int, ...], found: Mapping[str, Tensor]) -> None:
    if name not in found:
        raise DataError(f"{path} does not fit the model: {name} is missing; expected shape {shape}.")
    if tuple(found[name].shape) != shape:
        there = tuple(found[name].shape)
        raise DataError(f"{path} does not fit the model: {name} should have shape {shape} but has {there}.")


def _restored(tensor: Tensor, rows: list[int] | None) -> Tensor:
    """A copy of its own: a file that is replaced or cut short later cannot reach a network in use."""
    tensor = tensor if rows is None else tensor[rows]
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)


def save_weights(state: Mapping[str, Tensor], path: Path, *, half: bool = False) -> None:
    """Write a network's state, whole or not at all.

    With `half`, matrices and kernels are stored as float16, half the size; vectors (biases, norms, scales) stay
    float32, for a running variance may lie outside what float16 can hold.
    """
    with whole_file(path) as part:
        save_file({name: _stored(tensor, half) for name, tensor in state.items()}, str(part))
        part.chmod(0o644)  # safetensors makes it its owner's alone; the server may be another user


def _stored(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if half and tensor.is_floating_point() and tensor.ndim >= 2 else tensor
