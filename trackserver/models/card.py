"""A model's card: everything known about it without opening its weights, and the selection of its tracks.

Needs no torch, because a server that only shows tracks reads cards too.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from trackserver.errors import DataError, InvalidRequest, UnknownTrack
from trackserver.storage import write_whole
from trackserver.validation import first_problem

# Cards come from other people, with their weights: a mistyped key, a quoted number or a NaN is an error, not a guess.
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Squash:
    """How a track's data were compressed before training, as Borzoi's were.

    Values were raised to 1 / `power`, the excess over `clip_soft` was replaced by its square root, and the result was
    multiplied by `scale`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    scale: float
    clip_soft: float | None
    power: float


@dataclass(frozen=True)
class Track:
    """One output channel, identified by its index, because names repeat in published label files.

    `strand_pair` is the index of the same signal on the other strand. `mean` is the track's mean over its training
    bins, in the track's units, if known; it serves as pseudocount and scale.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    index: int
    name: str
    assay: str = ""
    biosample: str = ""
    target: str = ""
    strand: str = "."
    accession: str = ""
    strand_pair: int | None = None
    mean: float | None = None
    squash: Squash | None = None


@dataclass(frozen=True)
class ModelCard:
    """Everything known about a model without its weights.

    assemblies : the assemblies it may be used on; the first is the one it was trained on
    window, crop, bin_width : the bp it reads, the bp at each side that it does not predict, and the width of each of
        the (window - 2 crop) / bin_width values of a track
    shortest : the shortest window it accepts, if it accepts windows shorter than `window`
    n_value : the value of an unknown base in all four rows of the one-hot
    placement : where a variant lies in the window: `centre`, 0-based window / 2 - 1 as in the published tools, or
        `grid`, the nearest position at which the bins coincide with those of the genome-wide tracks
    strands : whether its authors' predictions average both strands (`average`) or use one (`forward`)
    head : which of the published outputs it has
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    id: str
    architecture: str
    title: str
    assemblies: tuple[str, ...]
    window: int
    crop: int
    bin_width: int
    tracks: tuple[Track, ...]
    config: dict[str, Any]
    weights_sha256: str
    shortest: int | None = None
    n_value: float = 0.0
    placement: Literal["centre", "grid"] = "grid"
    strands: Literal["forward", "average"] = "forward"
    head: str = ""
    summary: str = ""
    licence: str = ""
    citation: str = ""
    page: str = ""
    probability: bool = False
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.assemblies:
            raise DataError(f"Model {self.id}: its card has to name the assembly it was trained on.")
        if problem := geometry_problem(self.window, self.crop, self.bin_width):
            raise DataError(f"Model {self.id}: {problem}.")
        if self.shortest is not None and (
            self.shortest > self.window or geometry_problem(self.shortest, self.crop, self.bin_width)
        ):
            raise DataError(f"Model {self.id}: its shortest window cannot be {self.shortest} bp.")
        if [track.index for track in self.tracks] != list(range(len(self.tracks))) or not self.tracks:
            raise DataError(f"Model {self.id}: its tracks must be numbered 0, 1, 2 and so on, and there must be one.")
        for track in self.tracks:
            pair = track.strand_pair
            if pair is not None and not (0 <= pair < len(self.tracks) and self.tracks[pair].strand_pair == track.index):
                raise DataError(f"Model {self.id}: tracks {track.index} and {pair} are not each other's strand pair.")

    @property
    def predicted_bp(self) -> int:
        """The bp of a whole window that it predicts."""
        return self.window - 2 * self.crop

    def n_bins(self, length: int) -> int:
        """Number of bins predicted from a window of `length` bp."""
        return (length - 2 * self.crop) // self.bin_width

    def accepts_length(self, length: int) -> bool:
        """Whether it accepts a window of `length` bp."""
        if self.shortest is None or length > self.window:
            return length == self.window
        return length >= self.shortest and not geometry_problem(length, self.crop, self.bin_width)

    def window_length(self, chrom_size: int, trim: int = 0) -> int:
        """Length of its windows on a chromosome of that size; a short chromosome gets a shorter window if possible.

        `trim` : bins that are dropped at each side, in addition to the crop
        """
        if self.shortest is None:
            return self.window
        covering = (-(-chrom_size // self.bin_width) + 2 * trim) * self.bin_width + 2 * self.crop
        return min(self.window, max(self.shortest, covering))

    def at_stride(self, stride: int) -> ModelCard:
        """Return the card for windows `stride` bp apart, each value covering the `stride` bp at its window's centre.

        Raises
        ------
        InvalidRequest
            The model predicts many bins per window, whose width is fixed; or the stride cannot be centred in it.
        """
        if self.predicted_bp != self.bin_width:
            raise InvalidRequest(
                f"{self.id} predicts {self.bin_width}-bp bins; only models with one value per window take a stride."
            )
        if not 0 < stride <= self.window or (self.window - stride) % 2:
            kind = "even" if self.window % 2 == 0 else "odd"
            raise InvalidRequest(f"The stride of {self.id} must be an {kind} number of bp up to {self.window}.")
        return replace(self, bin_width=stride, crop=(self.window - stride) // 2)


def geometry_problem(window: int, crop: int, bin_width: int) -> str:
    """Say why a window, crop and bin width do not fit together; empty if they do."""
    if bin_width < 1 or crop < 0 or window <= 2 * crop:
        return f"a crop of {crop} bp at each side leaves nothing of a window of {window} bp"
    if (window - 2 * crop) % bin_width:
        return f"{window} bp less {crop} bp at each side are not a whole number of {bin_width}-bp bins"
    return ""


def read_card(path: str | os.PathLike[str]) -> ModelCard:
    """Read and check a card.json.

    Raises
    ------
    DataError
        The file is missing, not JSON, or not a card; the sentence names the first wrong field.
    """
    path = Path(path)
    try:
        return _card_type().validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"There is no model card {path}.") from None
    except ValidationError as error:
        raise DataError(f"{path} is not a model card: {first_problem(error)}.") from None


@cache
def _card_type() -> TypeAdapter[ModelCard]:
    return TypeAdapter(ModelCard)  # takes 10 ms to build


def write_card(card: ModelCard, path: str | os.PathLike[str]) -> None:
    """Write a card as strict JSON, whole or not at all; a NaN in the metrics is a ValueError here, not in a browser."""
    text = json.dumps(asdict(card), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_whole(Path(path), text)


_MAX_SUGGESTIONS = 4  # values of a wrong selection that suggestions are made for
_MAX_VALUE_LENGTH = 80  # characters of such a value that are compared with the tracks
_FIELDS = ("name", "assay", "biosample", "target", "strand", "accession")
_RANGES = re.compile(r"\s*\d+\s*(-\s*\d+\s*)?(,\s*\d+\s*(-\s*\d+\s*)?)*")
_IS_FIELDS = re.compile(rf"\s*({'|'.join(_FIELDS)})\s*=", re.IGNORECASE)
# Only a comma before another `field=` separates fields, because biosamples contain commas.
_NEXT_FIELD = re.compile(rf",(?=\s*(?:{'|'.join(_FIELDS)})\s*=)", re.IGNORECASE)


def select(card: ModelCard, selection: str | None) -> tuple[int, ...]:
    """Return the indices of a model's tracks that match a selection; see `select_tracks`."""
    return select_tracks(card.tracks, selection, owner=card.id)


def select_tracks(tracks: Sequence[Track], selection: str | None, *, owner: str) -> tuple[int, ...]:
    """Return the indices of the tracks that match a selection; None selects all.

    Parameters
    ----------
    selection
        Indices and ranges `0-9,25`, whose order is preserved; or fields `assay=DNASE,biosample=K562`, which all have to
        match (if a field is repeated, one of its values); or a name. Names and values may be globs (`CTCF*`). Case does
        not matter.
    owner
        The model or site the tracks belong to, for error messages.

    Raises
    ------
    UnknownTrack
        An index is out of range, or no track matches.
    """
    if selection is None:
        return tuple(range(len(tracks)))
    if _RANGES.fullmatch(selection):
        return _by_index(len(tracks), selection, owner)
    matches = _by_fields(tracks, selection) if _IS_FIELDS.match(selection) else _by_name(tracks, selection)
    if not matches:
        raise UnknownTrack(selection, owner, len(tracks), _suggestions(tracks, selection))
    return matches


def closest_values(tracks: Sequence[Track], field: str, value: str, max_values: int = 3) -> tuple[str, ...]:
    """Return the tracks' values of a field (`biosample`, `assay` …) that are spelled most like a value, closest first.

    Case and punctuation do not count; empty if nothing is similar.
    """
    values = dict.fromkeys(getattr(track, field) for track in tracks)
    spellings = {_simplify(name): name for name in reversed(values) if name}
    spelling = _simplify(value)
    containing = sorted((name for name in spellings if spelling and spelling in name), key=len)
    similar = difflib.get_close_matches(spelling, spellings, n=max_values, cutoff=0.6)
    return tuple(spellings[name].strip(" ,") for name in dict.fromkeys([*containing, *similar]))[:max_values]


def _simplify(text: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", text.lower())


def _suggestions(tracks: Sequence[Track], selection: str) -> Iterator[str]:
    """Suggest others for each value of a selection that no track has, such as `biosample K562`; globs get none."""
    is_fields = _IS_FIELDS.match(selection)
    fields = _parse_fields(selection) if is_fields else [("name", part) for part in selection.split(",")]
    for name, value in fields[:_MAX_SUGGESTIONS]:
        if not any(_matches(getattr(track, name), value) for track in tracks):
            values = closest_values(tracks, name, value[:_MAX_VALUE_LENGTH])
            yield from [f"{name} {' or '.join(values)}"] if values else []


def _by_index(n_tracks: int, selection: str, owner: str) -> tuple[int, ...]:
    indices: dict[int, None] = {}  # an ordered set: the tracks keep the order of the selection
    for part in selection.split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if not low <= high < n_tracks:
            raise UnknownTrack(part.strip(), owner, n_tracks)
        indices.update(dict.fromkeys(range(low, high + 1)))
    return tuple(indices)


def _by_fields(tracks: Sequence[Track], selection: str) -> tuple[int, ...]:
    wanted: dict[str, list[str]] = {}
    for key, value in _parse_fields(selection):
        wanted.setdefault(key, []).append(value)
    return tuple(
        track.index
        for track in tracks
        if all(any(_matches(getattr(track, key), value) for value in values) for key, values in wanted.items())
    )


def _parse_fields(selection: str) -> list[tuple[str, str]]:
    """Split a selection into (field, value) pairs."""
    parts = (part.partition("=") for part in _NEXT_FIELD.split(selection))
    return [(key.strip().lower(), value) for key, _, value in parts]


def _by_name(tracks: Sequence[Track], selection: str) -> tuple[int, ...]:
    whole = tuple(track.index for track in tracks if _matches(track.name, selection))
    parts = selection.split(",")
    return whole or tuple(t.index for t in tracks if any(_matches(t.name, part) for part in parts))


def _matches(value: str, pattern: str) -> bool:
    value, pattern = value.strip(" ,").lower(), pattern.strip(" ,").lower()
    return value == pattern or fnmatchcase(value, pattern)
