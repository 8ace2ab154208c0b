"""The published models: their geometry, authors, licences and where to get the weights, one TOML file each in cards/.

Needs no torch and downloads nothing. A model of your own is described with the same keys.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from trackserver.errors import DataError, NotFound
from trackserver.models.card import Track
from trackserver.validation import first_problem

# A mistyped key or a quoted number is an error, not a guess.
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

# In order of publication, each followed by its other species and heads.
_IDS = (
    "deepsea", "basset", "basenji", "beluga", "basenji2", "basenji2-mouse", "enformer", "enformer-mouse",
    "sei", "sei-classes", "chrombpnet", "chrombpnet-nobias", "chrombpnet-bias", "borzoi", "borzoi-mouse",
)  # fmt: skip


@dataclass(frozen=True)
class RemoteFile:
    """A published file, with its checksum if its authors, or someone who downloaded it, published one."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    url: str
    md5: str = ""
    sha256: str = ""

    @property
    def checksum(self) -> str | None:
        """`sha256:...` or `md5:...`, as `download_file` takes it."""
        if self.sha256:
            return f"sha256:{self.sha256}"
        return f"md5:{self.md5}" if self.md5 else None


@dataclass(frozen=True)
class PublishedModel:
    """A model before its weights are installed; fields it shares with `ModelCard` mean the same.

    parameters : number of parameters of its network
    alphabet : order of the bases in its file's first layer
    restricted : its licence limits its use or does not allow redistribution, so it is not downloaded: `files` is empty,
        and people who may use it get it at `page`
    code, page : where to find its authors' code, and its weights
    labels : the format of its table of tracks, see `labels`; empty if there is none
    files : its weights
    tracks : its outputs, if there is no table of them
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    id: str
    architecture: str
    title: str
    assemblies: tuple[str, ...]
    n_tracks: int
    window: int
    crop: int
    bin_width: int
    shortest: int | None = None
    n_value: float = 0.0
    alphabet: str = "ACGT"
    placement: Literal["centre", "grid"] = "grid"
    strands: Literal["forward", "average"] = "forward"
    head: str = ""
    probability: bool = False
    parameters: int | None = None
    summary: str = ""
    licence: str = ""
    restricted: bool = False
    citation: str = ""
    code: str = ""
    page: str = ""
    labels: str = ""
    files: tuple[RemoteFile, ...] = ()
    label_files: tuple[RemoteFile, ...] = ()
    tracks: tuple[Track, ...] = ()

    @property
    def table(self) -> str | None:
        """URL of its published table of tracks."""
        return self.label_files[0].url if self.label_files else None

    @property
    def one_value(self) -> bool:
        """Whether it predicts one value per track for a whole window."""
        return self.window - 2 * self.crop == self.bin_width


@cache
def published_models() -> Mapping[str, PublishedModel]:
    """Return the published models by id, oldest first."""
    return MappingProxyType({model_id: _read_packaged_card(model_id) for model_id in _IDS})


def _read_packaged_card(model_id: str) -> PublishedModel:
    card = files("trackserver.models") / "cards" / f"{model_id}.toml"
    return _parse_card(model_id, card.read_text("utf-8"), card.name)


def read_published_model(model_id: str) -> PublishedModel:
    """Return a published model.

    Raises
    ------
    NotFound
        No published model has this id; the sentence lists those there are.
    """
    try:
        return published_models()[model_id]
    except KeyError:
        raise NotFound(f"There is no published model '{model_id}'; there are {', '.join(_IDS)}.") from None


def read_own_card(path: str | os.PathLike[str], model_id: str) -> PublishedModel:
    """Read the card of a model of your own, a TOML file with the keys of `PublishedModel`.

    architecture = "torchscript"    # or "export", or the architecture of a published model
    title = "Accessibility of liver"
    assemblies = ["hg38"]           # the first is the one it was trained on
    window = 2048
    crop = 512
    bin_width = 64

    [[tracks]]                      # or n_tracks = 2 and a label table
    name = "DNASE:liver"
    assay = "DNASE"
    biosample = "liver"

    Raises
    ------
    DataError
        The file is missing, or is not a card; the sentence names the first wrong key.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The card {path} cannot be read: {error}.") from None
    return _parse_card(model_id, text, str(path))


def _parse_card(model_id: str, text: str, file_name: str) -> PublishedModel:
    try:
        fields = _number_tracks(tomllib.loads(text)) | {"id": model_id}
        # By way of JSON, because strict validation accepts JSON's lists as tuples, but not Python's.
        return TypeAdapter(PublishedModel).validate_json(json.dumps(fields, default=str))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{file_name} is not valid TOML: {error}.") from None
    except ValidationError as error:
        raise DataError(f"{file_name} is not a model's card: {first_problem(error)}.") from None


def _number_tracks(fields: dict[str, Any]) -> dict[str, Any]:
    """Add the tracks' indices and their number, which a card need not give."""
    tracks = fields.get("tracks")
    if not isinstance(tracks, list):
        return fields
    numbered = [{"index": i, **track} if isinstance(track, dict) else track for i, track in enumerate(tracks)]
    return {"n_tracks": len(tracks), **fields, "tracks": numbered}
