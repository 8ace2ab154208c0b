"""The published models: what each reads and says, whose it is, and where its weights are. A TOML file each in cards/.

No torch, and nothing is fetched here. A model of your own is described by the same keys.
"""

from __future__ import annotations

import json
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

# As they appeared, with their other species and heads beside them.
_IDS = (
    "deepsea", "basset", "basenji", "beluga", "basenji2", "basenji2-mouse", "enformer", "enformer-mouse",
    "sei", "sei-classes", "chrombpnet", "chrombpnet-nobias", "chrombpnet-bias", "borzoi", "borzoi-mouse",
)  # fmt: skip


@dataclass(frozen=True)
class Remote:
    """A published file; a checksum is there where its authors, or someone who fetched it, published one."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    url: str
    md5: str = ""
    sha256: str = ""

    @property
    def checksum(self) -> str | None:
        """`sha256:...` or `md5:...`, as `download.fetch` takes it."""
        if self.sha256:
            return f"sha256:{self.sha256}"
        return f"md5:{self.md5}" if self.md5 else None


@dataclass(frozen=True)
class Published:
    """A model before its weights are here; what it shares with a `ModelCard` means the same.

    parameters : how many numbers its network has
    alphabet : the order of bases its file's first layer takes
    restricted : its licence is not for all uses or does not let others pass it on, so it is not fetched: `files` is
        empty, and whoever may use it gets it at `page`
    code, page : where its authors' code is, and where people get its weights
    labels : the form of its table of tracks, see `labels`; empty where it has none
    files : its weights
    tracks : what its outputs are, where no table says so
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
    files: tuple[Remote, ...] = ()
    label_files: tuple[Remote, ...] = ()
    tracks: tuple[Track, ...] = ()

    @property
    def table(self) -> str | None:
        """Where its table of tracks is published."""
        return self.label_files[0].url if self.label_files else None

    @property
    def one_value(self) -> bool:
        """Whether it says one value a track about a whole window."""
        return self.window - 2 * self.crop == self.bin_width


@cache
def published() -> Mapping[str, Published]:
    """The published models by id, the oldest first."""
    return MappingProxyType({model_id: _packaged(model_id) for model_id in _IDS})


def _packaged(model_id: str) -> Published:
    card = files("trackserver.models") / "cards" / f"{model_id}.toml"
    return _card(model_id, card.read_text("utf-8"), card.name)


def read_published(model_id: str) -> Published:
    """What is known of a published model.

    Raises
    ------
    NotFound
        None has this id; the sentence lists those there are.
    """
    try:
        return published()[model_id]
    except KeyError:
        raise NotFound(f"No published model is called '{model_id}'; there are {', '.join(_IDS)}.") from None


def read_own_card(path: Path, model_id: str) -> Published:
    """What is known of a model of your own, from a TOML file with the keys of `Published`.

    architecture = "torchscript"    # or "export"; or that of a published model
    title = "Accessibility of liver"
    assemblies = ["hg38"]           # the first is the one it was trained on
    window = 2048
    crop = 512
    bin_width = 64

    [[tracks]]                      # or n_tracks = 2, and a table of them
    name = "DNASE:liver"
    assay = "DNASE"
    biosample = "liver"

    Raises
    ------
    DataError
        There is no such file, or it is no card; the sentence names the first wrong key.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The card {path} cannot be read: {error}.") from None
    return _card(model_id, text, str(path))


def _card(model_id: str, text: str, where: str) -> Published:
    try:
        about = tomllib.loads(text)
        # Through JSON, of which a list may be a tuple.
        return TypeAdapter(Published).validate_json(json.dumps({**_numbered(about), "id": model_id}, default=str))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{where} is not valid TOML: {error}.") from None
    except ValidationError as error:
        raise DataError(f"{where} is not a model's card: {first_problem(error)}.") from None


def _numbered(about: dict[str, Any]) -> dict[str, Any]:
    """Tracks of a card have the index of their place, and are as many as they are."""
    tracks = about.get("tracks")
    if not isinstance(tracks, list):
        return about
    numbered = [{"index": i, **track} if isinstance(track, dict) else track for i, track in enumerate(tracks)]
    return {"n_tracks": len(tracks), **about, "tracks": numbered}
