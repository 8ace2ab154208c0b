"""The installed models of a site: from id to card to network.

A model is a directory `<id>/` with card.json and its weights: weights.safetensors under the network's own names,
whatever format the published file had, or the program a user installed. Listing models and reading their cards needs no
torch; `load` does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trackserver.errors import (
    DataError,
    InvalidRequest,
    SiteReadOnly,
    UnknownModel,
    UnknownTrack,
    listing,
    needing_torch,
)
from trackserver.models.card import ModelCard, read_card
from trackserver.storage import sha256, whole_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = "card.json"
WEIGHTS = "weights.safetensors"

# Programs of users, which hold weights and arithmetic in one file: the name under which the file is stored unchanged.
PROGRAMS = {"torchscript": "program.pt", "export": "program.pt2"}

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Architecture(Protocol):
    """The functions and constants of an architecture's module."""

    @property
    def ROW_TENSORS(self) -> tuple[str, ...]:  # noqa: N802  (a constant of the module)
        """Tensors whose row i belongs to track i."""
        ...

    def build(self, config: dict[str, Any], n_tracks: int, crop: int) -> nn.Module:
        """Build a module (B, 4, L) -> (B, n_tracks, (L - 2 crop) / bin_width); DataError if the configuration is wrong.

        Has to work on torch's meta device, without memory.
        """
        ...


def is_id(text: str) -> bool:
    """Whether a text can be a model's id, which is also a safe directory name."""
    return _ID.fullmatch(text) is not None


def installed_models(models_dir: str | os.PathLike[str]) -> list[str]:
    """List the ids of the models in a directory, sorted; empty if the directory does not exist."""
    return sorted(path.parent.name for path in Path(models_dir).glob(f"*/{CARD}") if is_id(path.parent.name))


def card(models_dir: str | os.PathLike[str], model_id: str) -> ModelCard:
    """Read the card of an installed model; its id is the directory's name, which a person may have changed.

    Raises
    ------
    UnknownModel
        There is no such model, or the id has characters other than A-Z a-z 0-9 _ -.
    DataError
        Its card cannot be read.
    """
    file = Path(models_dir) / model_id / CARD
    try:
        stat = file.stat() if is_id(model_id) else None
    except (FileNotFoundError, NotADirectoryError):
        stat = None
    if stat is None:
        raise UnknownModel(model_id, installed_models(models_dir))
    return _read_version(file, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=16)
def _read_version(file: Path, version: tuple[int, ...]) -> ModelCard:
    """Read a version of a card, cached because every request needs one and large models have thousands of tracks."""
    return replace(read_card(file), id=file.parent.name)


def load(
    models_dir: str | os.PathLike[str], model_id: str, tracks: Sequence[int] | None = None, stride: int | None = None
) -> nn.Module:
    """Load an installed model, in eval mode, on the CPU.

    Parameters
    ----------
    tracks
        Load only these rows of the head, in this order; their outputs equal the same rows of the whole model.
    stride
        Distance between windows in bp, for a model with one value per window; by default the card's.

    Returns
    -------
    torch.nn.Module
        `forward`: one-hot (B, 4, L) -> (B, T, (L - 2 crop) / bin_width), float32.

    Raises
    ------
    UnknownModel, UnknownTrack
        No such model or track.
    DataError
        The weights are not those of the card (SHA-256), do not fit, or the architecture is unknown.
    NeedsTorch
        torch or safetensors is not installed.
    """
    models_dir = Path(models_dir)
    model_card = card(models_dir, model_id)
    check_tracks(tracks, model_card.id, len(model_card.tracks))
    path = weights_path(models_dir, model_card)
    check_weights(model_card, path)
    return read_module(model_card.at_stride(stride) if stride else model_card, path, tracks)


def weights_path(models_dir: Path, model_card: ModelCard) -> Path:
    return models_dir / model_card.id / PROGRAMS.get(model_card.architecture, WEIGHTS)


def check_weights(model_card: ModelCard, path: Path) -> None:
    """Raise DataError unless a file holds exactly the weights the card was written for."""
    if not path.is_file():
        raise DataError(f"Model {model_card.id} has no weights: {path} is missing.")
    checksum = sha256(path)
    if checksum != model_card.weights_sha256:
        raise DataError(
            f"{path} is not the file that the card of {model_card.id} describes: "
            f"its SHA-256 is {checksum}, expected {model_card.weights_sha256}."
        )


def read_module(model_card: ModelCard, path: Path, tracks: Sequence[int] | None = None) -> nn.Module:
    """Build a card's network and load its weights from a file without checking the checksum; see `load`."""
    with needing_torch():
        from trackserver.models.sandbox import Program
        from trackserver.models.weights import read_safetensors

    if model_card.architecture in PROGRAMS:
        return Program(path, model_card, tracks)
    return assemble(
        model_card.architecture, model_card.config, read_safetensors(path), path,
        n_tracks=len(model_card.tracks), crop=model_card.crop, tracks=tracks,
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
    """Build a network and load its state, in eval mode, on the CPU; `path` is named in the error if they do not fit."""
    with needing_torch():
        import torch

        from trackserver.models.weights import fill

    network = architecture(name)
    with torch.device("meta"):  # needs no memory and no random numbers for weights that are replaced at once
        module = network.build(config, n_tracks if tracks is None else len(tracks), crop)
    fill(module, state, path, rows=tracks, n_rows=n_tracks, row_tensors=network.ROW_TENSORS)
    return module.eval()


def architecture(name: str) -> Architecture:
    """Return the module of an architecture.

    Raises
    ------
    DataError
        There is no architecture of that name.
    NeedsTorch
        torch is not installed.
    """
    with needing_torch():
        known = architectures()
    if name not in known:
        raise DataError(f"There is no architecture '{name}'; there are {listing(known, 20)}.")
    return known[name]


@cache
def architectures() -> dict[str, Architecture]:
    """Return the modules that build networks, by the architecture's name."""
    from trackserver.models import (
        basenji,
        basenji2,
        basset,
        beluga,
        borzoi,
        chrombpnet,
        compact,
        deepsea,
        enformer,
        sei,
    )

    return {
        "deepsea": deepsea,
        "beluga": beluga,
        "basset": basset,
        "basenji": basenji,
        "basenji2": basenji2,
        "sei": sei,
        "enformer": enformer,
        "borzoi": borzoi,
        "chrombpnet": chrombpnet,
        "compact": compact,
    }


def check_tracks(tracks: Sequence[int] | None, model_id: str, n_tracks: int) -> None:
    for index in tracks or ():
        if not 0 <= index < n_tracks:
            raise UnknownTrack(index, model_id, n_tracks)


def check_free(models_dir: Path, model_id: str, overwrite: bool) -> str:
    """Check that a new model can have this id, and return it.

    Raises
    ------
    InvalidRequest
        It has characters other than A-Z a-z 0-9 _ -, or is taken and `overwrite` is not set.
    """
    if not is_id(model_id):
        raise InvalidRequest(f"'{model_id}' cannot be a model's id; use letters, digits, _ and - only.")
    if (models_dir / model_id).exists() and not overwrite:
        raise InvalidRequest(f"There is a model '{model_id}' already; choose another name (--as), or use --overwrite.")
    return model_id


@contextmanager
def staging_folder(directory: Path) -> Iterator[Path]:
    """Yield a temporary directory, which replaces the model's own when the block ends, or is removed on failure.

    Raises
    ------
    SiteReadOnly
        The directory cannot be written.
    """
    try:
        with whole_folder(directory.resolve(), replace=True) as stage:
            yield stage
    except OSError as error:
        raise SiteReadOnly(f"The model cannot be written to {directory}: {error.strerror or error}.") from error
