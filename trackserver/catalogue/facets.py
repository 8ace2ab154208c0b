"""Which tilesets are wanted, and how many there are of each assay, biosample and so on among them: facets.

All tilesets' words are held in memory, so that 10,000 of them are searched and counted anew with every letter typed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import compress
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.words import NORMAL, key

FACETS = ("assay", "biosample", "target", "strand", "model", "kind", "assembly", "source", "accession")
MOST_VALUES = 200  # of a facet that are listed
_TEXT = attrgetter("name", "uid", "assay", "biosample", "target", "accession", "model")
_SPELLED: dict[str, Callable[[str], str]] = {"biosample": key, "target": key}  # facets asked for in any spelling

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Wanted:
    """Which tilesets, and in which order; what is empty is any.

    text : words, each of which must be somewhere in name, uid, assay, biosample, target, accession or model
    filetypes, datatypes : one of HiGlass's
    facets : of each facet named, one of the values; see `normal`
    order : a field of TilesetRecord
    """

    text: str = ""
    filetypes: tuple[str, ...] = ()
    datatypes: tuple[str, ...] = ()
    facets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    order: str = "name"
    backwards: bool = False


def normal(asked: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """What is asked of each facet, in the catalogue's words; where nothing is, the facet is left out."""
    chosen = {name: tuple(filter(None, values)) for name, values in asked.items()}
    return {name: tuple(map(NORMAL.get(name, str), values)) for name, values in chosen.items() if values}


@dataclass(frozen=True)
class Counted:
    """How many tilesets are wanted; and of each facet how many there would be with each value."""

    count: int
    facets: dict[str, dict[str, int]]

    def described(self) -> dict[str, Any]:
        """As JSON: of each facet the values, the most frequent first, and of how many more there is no room."""
        first = {name: heapq.nsmallest(MOST_VALUES, found.items(), key=_order) for name, found in self.facets.items()}
        return {
            "count": self.count,
            "facets": {name: [{"value": value, "count": n} for value, n in found] for name, found in first.items()},
            "more": {name: len(found) - MOST_VALUES for name, found in self.facets.items() if len(found) > MOST_VALUES},
        }


def _order(item: tuple[str, int]) -> tuple[int, str]:
    value, count = item
    return -count, value


class Index:
    """Tilesets by their words."""

    def __init__(self, records: Sequence[TilesetRecord]):
        self.records = list(records)
        self._texts = [" ".join(_TEXT(record)).casefold() for record in self.records]
        self._columns = {
            name: _Column(map(attrgetter(name), self.records)) for name in (*FACETS, "filetype", "datatype")
        }

    def find(self, wanted: Wanted) -> list[TilesetRecord]:
        """Those wanted; by name they stay in the order in which they came, otherwise equals are by uid."""
        has_all = reduce(np.logical_and, (~miss for miss in self._misses(wanted).values()), self._among(wanted))
        kept = list(compress(self.records, has_all))
        if wanted.order != "name":
            kept.sort(key=attrgetter("uid"))
            kept.sort(key=lambda record: str(getattr(record, wanted.order)), reverse=wanted.backwards)
        elif wanted.backwards:
            kept.reverse()
        return kept

    def count(self, wanted: Wanted) -> Counted:
        """How many are wanted, by facet. A facet's own choice does not narrow it: others can be chosen too."""
        among, misses = self._among(wanted), self._misses(wanted)
        n_misses = np.sum(list(misses.values()), axis=0) if misses else np.zeros(len(self.records), int)
        found = {}
        for name in FACETS:
            others = n_misses - misses[name] if name in misses else n_misses
            found[name] = self._columns[name].counts(among & (others == 0))
        return Counted(int(np.count_nonzero(among & (n_misses == 0))), found)

    def _among(self, wanted: Wanted) -> Mask:
        """(tilesets,) which of them are wanted but for the facets."""
        among = np.ones(len(self.records), bool)
        for word in set(wanted.text.casefold().split()):
            among &= np.fromiter((word in text for text in self._texts), bool, len(self._texts))
        for name, values in (("filetype", wanted.filetypes), ("datatype", wanted.datatypes)):
            among &= self._columns[name].among(values, str) if values else True
        return among

    def _misses(self, wanted: Wanted) -> dict[str, Mask]:
        """(tilesets,) of each facet that something is chosen of, which tilesets have another value."""
        return {
            name: ~self._columns[name].among(values, _SPELLED.get(name, str)) for name, values in wanted.facets.items()
        }


class _Column:
    """One word of every tileset, by its place among the distinct ones."""

    def __init__(self, words: Iterable[str]):
        places: dict[str, int] = {}
        self.places = np.fromiter((places.setdefault(word, len(places)) for word in words), np.int32)
        self.values = list(places)

    def among(self, wanted: Iterable[str], same: Callable[[str], str]) -> Mask:
        chosen = set(map(same, wanted))
        return np.array([same(value) in chosen for value in self.values], bool)[self.places]

    def counts(self, kept: Mask) -> dict[str, int]:
        """How many of those kept have each value; what is empty is no value."""
        counted = np.bincount(self.places[kept], minlength=len(self.values)).tolist()
        return {value: count for value, count in zip(self.values, counted, strict=True) if value and count}
