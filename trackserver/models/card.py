"""What is known about a model without opening its weights: its card, and the choice of its tracks.

No torch: a server that only shows tracks reads cards too.
"""

from __future__ import annotations

import difflib
import json
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

# Cards come from elsewhere with their weights: a mistyped key, a quoted number or a NaN is an error, not a guess.
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Squash:
    """How a track's data were made smaller before training, as Borzoi's were: raised to 1 / `power`, what lies above
    `clip_soft` replaced by the root of the excess, multiplied by `scale`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    scale: float
    clip_soft: float | None
    power: float


@dataclass(frozen=True)
class Track:
    """One output channel, known by its index; names repeat in published label files.

    `strand_pair` is the index of the same signal on the other strand. `mean` is the track's mean over the bins it
    was trained on, in the track's units, where that is known: its pseudocount and its scale.
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
    """A model in words and numbers.

    assemblies : what it may be asked about; the first is the one it was trained on
    window, crop, bin_width : the bp it reads, the bp at each side of them it says nothing about, and the width of
        each of the (window - 2 crop) / bin_width values of a track
    shortest : the shortest window it may be given, where it need not be `window`
    n_value : what an unknown base is in all four rows of the one-hot
    placement : where a variant lies in the window: `centre`, 0-based window / 2 - 1 as the published tools have it, or
        `grid`, the nearest place at which the bins are those of the genome-wide tracks
    strands : whether its authors' predictions average both strands (`average`) or read one (`forward`)
    head : which part of the published outputs it is
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
            raise DataError(f"Model {self.id}: name the assembly it was trained on.")
        if problem := geometry_problem(self.window, self.crop, self.bin_width):
            raise DataError(f"Model {self.id}: {problem}.")
        if self.shortest is not None and (
            self.shortest > self.window or geometry_problem(self.shortest, self.crop, self.bin_width)
        ):
            raise DataError(f"Model {self.id}: a window of {self.shortest} bp cannot be its shortest.")
        if [track.index for track in self.tracks] != list(range(len(self.tracks))) or not self.tracks:
            raise DataError(f"Model {self.id}: its tracks must be numbered 0, 1, 2 and so on, and there must be one.")
        for track in self.tracks:
            pair = track.strand_pair
            if pair is not None and not (0 <= pair < len(self.tracks) and self.tracks[pair].strand_pair == track.index):
                raise DataError(f"Model {self.id}: tracks {track.index} and {pair} are not each other's strand pair.")

    @property
    def kept(self) -> int:
        """The bp of a whole window that it says something about."""
        return self.window - 2 * self.crop

    def n_bins(self, length: int) -> int:
        """How many values of a track a window of `length` bp gives."""
        return (length - 2 * self.crop) // self.bin_width

    def reads(self, length: int) -> bool:
        """Whether it may be given a window of `length` bp."""
        if self.shortest is None or length > self.window:
            return length == self.window
        return length >= self.shortest and not geometry_problem(length, self.crop, self.bin_width)

    def window_on(self, chrom_size: int, trim: int = 0) -> int:
        """The bp of its windows on a chromosome of that size: no longer than it takes to cover a short one, where
        `trim` more bins at each side are not kept.
        """
        if self.shortest is None:
            return self.window
        covering = (-(-chrom_size // self.bin_width) + 2 * trim) * self.bin_width + 2 * self.crop
        return min(self.window, max(self.shortest, covering))

    def at_stride(self, stride: int) -> ModelCard:
        """The same model with windows `stride` bp apart, its value written over the `stride` bp at their centre.

        Raises
        ------
        InvalidRequest
            It gives many bins a window, whose width is not a choice; or the stride leaves the centre between bases.
        """
        if self.kept != self.bin_width:
            raise InvalidRequest(f"{self.id} predicts {self.bin_width}-bp bins; a stride is for models of one value.")
        if not 0 < stride <= self.window or (self.window - stride) % 2:
            kind = "even" if self.window % 2 == 0 else "odd"
            raise InvalidRequest(f"The stride of {self.id} must be an {kind} number of bp up to {self.window}.")
        return replace(self, bin_width=stride, crop=(self.window - stride) // 2)


def geometry_problem(window: int, crop: int, bin_width: int) -> str:
    """What is impossible about a window, its crop and its bins; empty if nothing is."""
    if bin_width < 1 or crop < 0 or window <= 2 * crop:
        return f"a crop of {crop} bp at each side leaves nothing of {window} bp"
    if (window - 2 * crop) % bin_width:
        return f"{window} bp less {crop} bp at each side are not a whole number of {bin_width}-bp bins"
    return ""


def read_card(path: Path) -> ModelCard:
    """Read and check a card.json.

    Raises
    ------
    DataError
        There is none, it is not JSON, or it is not a card; the sentence names the first wrong field.
    """
    try:
        return _card_type().validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"There is no model card {path}.") from None
    except ValidationError as error:
        raise DataError(f"{path} is not a model card: {first_problem(error)}.") from None


@cache
def _card_type() -> TypeAdapter[ModelCard]:
    return TypeAdapter(ModelCard)  # takes 10 ms to make


def write_card(card: ModelCard, path: Path) -> None:
    """Write strict JSON, whole or not at all; a NaN in the metrics is a ValueError here rather than in a browser."""
    text = json.dumps(asdict(card), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_whole(path, text)


_MEANT, _LONGEST = 4, 80  # values of a wrong selection, and letters of each, that are compared with what there is
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
        raise UnknownTrack(selection, of, len(tracks), _meant(tracks, selection))
    return fits


def nearest(tracks: Sequence[Track], field: str, value: str, most: int = 3) -> tuple[str, ...]:
    """What tracks have in a field (`biosample`, `assay` …) that is written most like a value, the nearest first.

    Case and the signs between words do not count; empty where nothing is like it.
    """
    written = dict.fromkeys(getattr(track, field) for track in tracks)
    spelled = {_plain(name): name for name in reversed(written) if name}
    wanted = _plain(value)
    within = sorted((name for name in spelled if wanted and wanted in name), key=len)
    like = difflib.get_close_matches(wanted, spelled, n=most, cutoff=0.6)
    return tuple(spelled[name].strip(" ,") for name in dict.fromkeys([*within, *like]))[:most]


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", text.lower())


def _meant(tracks: Sequence[Track], selection: str) -> Iterator[str]:
    """For each value of a selection that no track has, `biosample K562`; globs are left alone."""
    asked = _asked(selection) if _IS_FIELDS.match(selection) else [("name", part) for part in selection.split(",")]
    for name, value in asked[:_MEANT]:
        if not any(_matches(getattr(track, name), value) for track in tracks):
            found = nearest(tracks, name, value[:_LONGEST])
            yield from [f"{name} {' or '.join(found)}"] if found else []


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
    for key, value in _asked(selection):
        wanted.setdefault(key, []).append(value)
    return tuple(
        track.index
        for track in tracks
        if all(any(_matches(getattr(track, key), value) for value in values) for key, values in wanted.items())
    )


def _asked(selection: str) -> list[tuple[str, str]]:
    """Fields and the values they should have, as a selection gives them."""
    parts = (part.partition("=") for part in _NEXT_FIELD.split(selection))
    return [(key.strip().lower(), value) for key, _, value in parts]


def _by_name(tracks: Sequence[Track], selection: str) -> tuple[int, ...]:
    whole = tuple(track.index for track in tracks if _matches(track.name, selection))
    parts = selection.split(",")
    return whole or tuple(t.index for t in tracks if any(_matches(t.name, part) for part in parts))


def _matches(value: str, pattern: str) -> bool:
    value, pattern = value.strip(" ,").lower(), pattern.strip(" ,").lower()
    return value == pattern or fnmatchcase(value, pattern)
