"""What is known about a model without opening its weights: its card, and the choice of its tracks.

No torch: a server that only shows tracks reads cards too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from trackserver.errors import DataError, UnknownTrack

# Cards come from elsewhere with their weights: a mistyped key, a quoted number or a NaN is an error, not a guess.
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Track:
    """One output channel, known by its index; names repeat in published label files.

    `strand_pair` is the index of the same signal on the other strand. `mean` is the track's mean over the bins it
    was trained on, in the track's units: its pseudocount and its scale.
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
    mean: float = 1.0


@dataclass(frozen=True)
class ModelCard:
    """A model in words and numbers.

    `window` is the bp it reads, `crop` the bp to leave out at each side of what it then says, because they depend
    on sequence outside the window; `n_value` is what an unknown base is in all four rows of the one-hot.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    id: str
    architecture: str
    title: str
    assembly: str
    window: int
    crop: int
    bin_width: int
    tracks: tuple[Track, ...]
    config: dict[str, Any]
    weights_sha256: str
    n_value: float = 0.0
    summary: str = ""
    licence: str = ""
    citation: str = ""
    probability: bool = False
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.bin_width < 1 or self.window % self.bin_width or self.crop % self.bin_width:
            raise DataError(f"Model {self.id}: window and crop must be whole numbers of bins of {self.bin_width} bp.")
        if not 0 <= 2 * self.crop < self.window:
            raise DataError(f"Model {self.id}: a crop of {self.crop} bp leaves nothing of {self.window} bp.")
        if [track.index for track in self.tracks] != list(range(len(self.tracks))) or not self.tracks:
            raise DataError(f"Model {self.id}: its tracks must be numbered 0, 1, 2 and so on, and there must be one.")
        for track in self.tracks:
            pair = track.strand_pair
            if pair is not None and not (0 <= pair < len(self.tracks) and self.tracks[pair].strand_pair == track.index):
                raise DataError(f"Model {self.id}: tracks {track.index} and {pair} are not each other's strand pair.")


def read_card(path: Path) -> ModelCard:
    """Read and check a card.json.

    Raises
    ------
    DataError
        There is none, it is not JSON, or it is not a card; the sentence names the first wrong field.
    """
    try:
        return TypeAdapter(ModelCard).validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"There is no model card {path}.") from None
    except ValidationError as error:
        raise DataError(f"{path} is not a model card: {first_problem(error)}.") from None


def write_card(card: ModelCard, path: Path) -> None:
    """Write strict JSON, whole or not at all; a NaN in the metrics is a ValueError here rather than in a browser."""
    text = json.dumps(asdict(card), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def first_problem(error: ValidationError) -> str:
    """`tracks.3.mean: input should be a valid number`: the first thing wrong, for the end of a sentence."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    what = problem["msg"][:1].lower() + problem["msg"][1:]
    return f"{where}: {what}" if where else what


_FIELDS = ("name", "assay", "biosample", "target", "strand", "accession")
_RANGES = re.compile(r"\s*\d+\s*(-\s*\d+\s*)?(,\s*\d+\s*(-\s*\d+\s*)?)*")
_IS_FIELDS = re.compile(rf"\s*({'|'.join(_FIELDS)})\s*=", re.IGNORECASE)
# Only a comma before another `field=` separates: biosamples have commas of their own.
_NEXT_FIELD = re.compile(rf",(?=\s*(?:{'|'.join(_FIELDS)})\s*=)", re.IGNORECASE)


def select(card: ModelCard, selection: str | None) -> tuple[int, ...]:
    """The indices of a model's tracks that a selection means; see `select_tracks`."""
    return select_tracks(card.tracks, selection, of=card.id)


def select_tracks(tracks: Sequence[Track], selection: str | None, *, of: str) -> tuple[int, ...]:
    """The indices a track selection means; None is all of them.

    Parameters
    ----------
    selection
        Indices and ranges `0-9,25` (kept in that order); fields `assay=DNASE,biosample=K562`, all of which must fit,
        one of them where a field is repeated; or a name. Names and values may be globs (`CTCF*`), in either case.
    of
        Whose tracks they are, for the error's sentence.

    Raises
    ------
    UnknownTrack
        An index is out of range, or nothing fits.
    """
    if selection is None:
        return tuple(range(len(tracks)))
    if _RANGES.fullmatch(selection):
        return _by_index(len(tracks), selection, of)
    fits = _by_fields(tracks, selection) if _IS_FIELDS.match(selection) else _by_name(tracks, selection)
    if not fits:
        raise UnknownTrack(selection, of, len(tracks))
    return fits


def _by_index(n_tracks: int, selection: str, of: str) -> tuple[int, ...]:
    chosen: dict[int, None] = {}  # a set that keeps the order typed
    for part in selection.split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if not low <= high < n_tracks:
            raise UnknownTrack(part.strip(), of, n_tracks)
        chosen.update(dict.fromkeys(range(low, high + 1)))
    return tuple(chosen)


def _by_fields(tracks: Sequence[Track], selection: str) -> tuple[int, ...]:
    wanted: dict[str, list[str]] = {}
    for part in _NEXT_FIELD.split(selection):
        key, _, value = part.partition("=")
        wanted.setdefault(key.strip().lower(), []).append(value)
    return tuple(
        track.index
        for track in tracks
        if all(any(_matches(getattr(track, key), value) for value in values) for key, values in wanted.items())
    )


def _by_name(tracks: Sequence[Track], selection: str) -> tuple[int, ...]:
    whole = tuple(track.index for track in tracks if _matches(track.name, selection))
    parts = selection.split(",")
    return whole or tuple(t.index for t in tracks if any(_matches(t.name, part) for part in parts))


def _matches(value: str, pattern: str) -> bool:
    value, pattern = value.strip(" ,").lower(), pattern.strip(" ,").lower()
    return value == pattern or fnmatchcase(value, pattern)
