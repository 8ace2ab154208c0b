"""The models of a site: id -> card -> module. A model is a directory `<id>/` with card.json and its weights:
weights.safetensors under the network's own names, whatever the published file was, or the program a user brought.

Listing models and reading their cards needs no torch; `load` does.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from trackserver.errors import DataError, InvalidRequest, NeedsTorch, SiteReadOnly, UnknownModel, UnknownTrack, listing
from trackserver.genome.sequence import sha256
from trackserver.models.card import ModelCard, read_card

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = "card.json"
WEIGHTS = "weights.safetensors"

# Architecture -> the module that builds it, imported only when one is loaded.
ARCHITECTURES = {
    name: f"trackserver.models.{name}"
    for name in (
        "deepsea", "beluga", "basset", "basenji", "basenji2", "sei", "enformer", "borzoi", "chrombpnet", "compact",
    )
}  # fmt: skip
# Programs a user brings, weights and arithmetic in one: the name of the file that is kept as it came.
PROGRAMS = {"torchscript": "program.pt", "export": "program.pt2"}

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Architecture(Protocol):
    """What a model file offers."""

    # Tensors of which row i belongs to track i.
    ROW_TENSORS: tuple[str, ...]

    def build(self, config: dict[str, Any], n_tracks: int, crop: int) -> nn.Module:
        """A module (B, 4, L) -> (B, n_tracks, (L - 2 crop) / bin_width); DataError where the configuration is wrong.

        It can be built on torch's meta device, without memory.
        """
        ...


def is_id(text: str) -> bool:
    """Whether a text can be a model's id, and so a directory's name that leads nowhere else."""
    return _ID.fullmatch(text) is not None


def installed(models_dir: Path) -> list[str]:
    """Ids of the models in a directory, sorted; none where there is no such directory."""
    return sorted(path.parent.name for path in models_dir.glob(f"*/{CARD}") if is_id(path.parent.name))


def card(models_dir: Path, model_id: str) -> ModelCard:
    """The card of an installed model; its id is its directory's name, which a person may have changed.

    Raises
    ------
    UnknownModel
        There is no such model, or the id has other characters than A-Z a-z 0-9 _ -.
    DataError
        Its card cannot be read.
    """
    file = models_dir / model_id / CARD
    try:
        about = file.stat() if is_id(model_id) else None
    except (FileNotFoundError, NotADirectoryError):
        about = None
    if about is None:
        raise UnknownModel(model_id, installed(models_dir))
    return _read(file, (about.st_ino, about.st_size, about.st_mtime_ns))


@lru_cache(maxsize=16)
def _read(file: Path, version: tuple[int, ...]) -> ModelCard:
    """A version of a card: those of the largest models have thousands of tracks, and every question asks for one."""
    return replace(read_card(file), id=file.parent.name)


def load(models_dir: Path, model_id: str, tracks: Sequence[int] | None = None, stride: int | None = None) -> nn.Module:
    """An installed model, in eval mode, on the CPU.

    Parameters
    ----------
    tracks
        Only these rows of the head, in this order; their outputs equal the same rows of the whole model.
    stride
        For a model of one value: how far apart, in bp, windows lie; by default as the card has it.

    Returns
    -------
    torch.nn.Module
        `forward`: one-hot (B, 4, L) -> (B, T, (L - 2 crop) / bin_width), float32.

    Raises
    ------
    UnknownModel, UnknownTrack
        No such model or track.
    DataError
        The weights are not those the card describes (SHA-256), do not fit, or the architecture is unknown.
    NeedsTorch
        torch or safetensors is not installed.
    """
    described = card(models_dir, model_id)
    check_tracks(tracks, described.id, len(described.tracks))
    path = weights_path(models_dir, described)
    check_weights(described, path)
    return read_module(described.at_stride(stride) if stride else described, path, tracks)


def weights_path(models_dir: Path, described: ModelCard) -> Path:
    return models_dir / described.id / PROGRAMS.get(described.architecture, WEIGHTS)


def check_weights(described: ModelCard, path: Path) -> None:
    """Raise DataError unless a file is exactly the weights a card was written for."""
    if not path.is_file():
        raise DataError(f"Model {described.id} has no weights: {path} is missing.")
    found = sha256(path)
    if found != described.weights_sha256:
        raise DataError(
            f"{path} is not the file the card of {described.id} describes: "
            f"its SHA-256 is {found}, expected {described.weights_sha256}."
        )


def read_module(described: ModelCard, path: Path, tracks: Sequence[int] | None = None) -> nn.Module:
    """Build what a card describes and fill it from a file, without the checksum; see `load`."""
    if described.architecture in PROGRAMS:
        return cast("nn.Module", _needing_torch("trackserver.models.sandbox").Program(path, described, tracks))
    weights = _needing_torch("trackserver.models.weights")
    return assemble(
        described.architecture, described.config, weights.read_safetensors(path), path,
        n_tracks=len(described.tracks), crop=described.crop, tracks=tracks,
    )  # fmt: skip


def assemble(
    name: str,
    config: dict[str, Any],
    state: Mapping[str, Tensor],
    path: Path,
    *,
    n_tracks: int,
    crop: int,
    tracks: Sequence[int] | None = None,
) -> nn.Module:
    """A network of an architecture with its state, in eval mode, on the CPU; `path` is named where it does not fit."""
    weights, torch = _needing_torch("trackserver.models.weights"), _needing_torch("torch")
    built = architecture(name)
    with torch.device("meta"):  # no memory, and no random numbers, for what is replaced at once
        module = built.build(config, n_tracks if tracks is None else len(tracks), crop)
    weights.fill(module, state, path, rows=tracks, n_rows=n_tracks, row_tensors=built.ROW_TENSORS)
    return module.eval()


def architecture(name: str) -> Architecture:
    """The module of an architecture.

    Raises
    ------
    DataError
        There is none of that name.
    NeedsTorch
        torch is not installed.
    """
    if name not in ARCHITECTURES:
        raise DataError(f"No architecture '{name}' here; known: {listing(ARCHITECTURES, 20)}.")
    return cast(Architecture, _needing_torch(ARCHITECTURES[name]))


def check_tracks(tracks: Sequence[int] | None, model_id: str, n_tracks: int) -> None:
    for index in tracks or ():
        if not 0 <= index < n_tracks:
            raise UnknownTrack(index, model_id, n_tracks)


def _needing_torch(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise NeedsTorch() from error


def check_free(models_dir: Path, model_id: str, overwrite: bool) -> str:
    """An id a new model may have, as it came.

    Raises
    ------
    InvalidRequest
        It has other characters than A-Z a-z 0-9 _ -, or is taken and not to be overwritten.
    """
    if not is_id(model_id):
        raise InvalidRequest(f"'{model_id}' cannot be a model's id; use letters, digits, _ and - only.")
    if (models_dir / model_id).exists() and not overwrite:
        raise InvalidRequest(f"There is a model '{model_id}' already; choose another name (--as), or --overwrite it.")
    return model_id


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """A directory to fill beside a model's own, which it replaces once all is written; removed if that fails.

    Raises
    ------
    SiteReadOnly
        It cannot be written there.
    """
    directory = directory.resolve()
    stage = directory.with_name(f".{directory.name}-{secrets.token_hex(4)}")
    try:
        stage.mkdir(parents=True)
        yield stage
        if directory.exists():
            shutil.rmtree(directory)
        os.replace(stage, directory)
    except OSError as error:
        raise SiteReadOnly(f"The model cannot be written to {directory}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
