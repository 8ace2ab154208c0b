"""The models of a site: id -> card -> module. A model is a directory `<id>/` with card.json and its weights:
weights.safetensors under the network's own names, whatever the published file was, or the program a user brought.

Listing models and reading their cards needs no torch; `load` does.
"""

from __future__ import annotations

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

# Programs a user brings, weights and arithmetic in one: the name of the file that is kept as it came.
PROGRAMS = {"torchscript": "program.pt", "export": "program.pt2"}

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Architecture(Protocol):
    """What a model file offers."""

    @property
    def ROW_TENSORS(self) -> tuple[str, ...]:  # noqa: N802  (a constant of the module)
        """Tensors of which row i belongs to track i."""
        ...

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
    with needing_torch():
        from trackserver.models.sandbox import Program
        from trackserver.models.weights import read_safetensors

    if described.architecture in PROGRAMS:
        return Program(path, described, tracks)
    return assemble(
        described.architecture, described.config, read_safetensors(path), path,
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
    with needing_torch():
        import torch

        from trackserver.models.weights import fill

    built = architecture(name)
    with torch.device("meta"):  # no memory, and no random numbers, for what is replaced at once
        module = built.build(config, n_tracks if tracks is None else len(tracks), crop)
    fill(module, state, path, rows=tracks, n_rows=n_tracks, row_tensors=built.ROW_TENSORS)
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
    with needing_torch():
        known = architectures()
    if name not in known:
        raise DataError(f"No architecture '{name}' here; known: {listing(known, 20)}.")
    return known[name]


@cache
def architectures() -> dict[str, Architecture]:
    """The modules that build networks, by the architecture's name."""
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
    try:
        with whole_folder(directory.resolve(), replace=True) as stage:
            yield stage
    except OSError as error:
        raise SiteReadOnly(f"The model cannot be written to {directory}: {error.strerror or error}.") from error
