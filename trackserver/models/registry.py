"""The models of a site: id -> card -> module. A model is a directory `<id>/` with card.json and weights.safetensors.

Listing models and reading their cards needs no torch; `load` does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from trackserver.errors import DataError, NeedsTorch, UnknownModel, UnknownTrack, listing
from trackserver.genome.sequence import sha256
from trackserver.models.card import ModelCard, read_card

if TYPE_CHECKING:
    from torch import nn

CARD = "card.json"
WEIGHTS = "weights.safetensors"

# Architecture -> the module that builds it, imported only when one is loaded.
ARCHITECTURES = {"compact": "trackserver.models.compact"}

_ID = re.compile(r"[A-Za-z0-9_-]+")


class Architecture(Protocol):
    """What a model file offers."""

    # Tensors of which row i belongs to track i.
    ROW_TENSORS: tuple[str, ...]

    def build(self, config: dict[str, Any], n_tracks: int) -> nn.Module:
        """A module (B, 4, L) -> (B, n_tracks, L // bin_width); DataError where the configuration is wrong."""
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
    if not is_id(model_id) or not (models_dir / model_id / CARD).is_file():
        raise UnknownModel(model_id, installed(models_dir))
    return replace(read_card(models_dir / model_id / CARD), id=model_id)


def load(models_dir: Path, model_id: str, tracks: Sequence[int] | None = None) -> nn.Module:
    """An installed model, in eval mode, on the CPU.

    Parameters
    ----------
    tracks
        Only these rows of the head, in this order; their outputs equal the same rows of the whole model.

    Returns
    -------
    torch.nn.Module
        `forward`: one-hot (B, 4, L) -> (B, T, L // bin_width), float32, every bin of the window: nothing cropped.

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
    if tracks is not None:
        _check_tracks(described, tracks)
    path = models_dir / model_id / WEIGHTS
    check_weights(described, path)
    return read_module(described, path, tracks)


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
    architecture = _architecture(described.architecture)
    try:
        from trackserver.models.weights import load_weights
    except ImportError as error:
        raise NeedsTorch() from error
    n_tracks = len(described.tracks)
    module = architecture.build(described.config, n_tracks if tracks is None else len(tracks))
    load_weights(module, path, rows=tracks, n_rows=n_tracks, row_tensors=architecture.ROW_TENSORS)
    return module.eval()


def _architecture(name: str) -> Architecture:
    if name not in ARCHITECTURES:
        raise DataError(f"No architecture '{name}' here; known: {listing(ARCHITECTURES)}.")
    try:
        return cast(Architecture, import_module(ARCHITECTURES[name]))
    except ImportError as error:
        raise NeedsTorch() from error


def _check_tracks(described: ModelCard, tracks: Sequence[int]) -> None:
    for index in tracks:
        if not 0 <= index < len(described.tracks):
            raise UnknownTrack(index, described.id, len(described.tracks))
