"""Search the catalogue, and count its tilesets by assay, biosample and other facets.

The text of all tilesets is held in memory, so that 10,000 of them can be searched and counted again at every keystroke.
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
MAX_VALUES = 200  # values listed of each facet
_TEXT = attrgetter("name", "uid", "assay", "biosample", "target", "accession", "model")
_KEYS: dict[str, Callable[[str], str]] = {"biosample": key, "target": key}  # facets that match in any spelling

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TilesetQuery:
    """A search of the catalogue; an empty field matches everything.

    text : words, each of which must be somewhere in name, uid, assay, biosample, target, accession or model
    filetypes, datatypes : HiGlass's names for them
    facets : values to match, any of them, for each facet; see `normalise_facets`
    order : a field of TilesetRecord
    """

    text: str = ""
    filetypes: tuple[str, ...] = ()
    datatypes: tuple[str, ...] = ()
    facets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    order: str = "name"
    descending: bool = False


def normalise_facets(facets: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """The values of each facet in the catalogue's spelling, without the facets that have none."""
    non_empty = {name: tuple(filter(None, values)) for name, values in facets.items()}
    return {name: tuple(map(NORMAL.get(name, str), values)) for name, values in non_empty.items() if values}


@dataclass(frozen=True)
class FacetCounts:
    """How many tilesets match a query, and for each facet how many there would be with each value."""

    count: int
    facets: dict[str, dict[str, int]]

    def as_json(self) -> dict[str, Any]:
        """The most frequent values of each facet first; `more` counts the values that are not listed."""
        listed = {
            name: heapq.nsmallest(MAX_VALUES, counts.items(), key=_by_frequency) for name, counts in self.facets.items()
        }
        return {
            "count": self.count,
            "facets": {name: [{"value": value, "count": n} for value, n in items] for name, items in listed.items()},
            "more": {
                name: len(values) - MAX_VALUES for name, values in self.facets.items() if len(values) > MAX_VALUES
            },
        }


def _by_frequency(item: tuple[str, int]) -> tuple[int, str]:
    value, count = item
    return -count, value


class Index:
    """In-memory search index of tilesets."""

    def __init__(self, records: Sequence[TilesetRecord]):
        self.records = list(records)
        self._texts = [" ".join(_TEXT(record)).casefold() for record in self.records]
        self._columns = {
            name: _Column(map(attrgetter(name), self.records)) for name in (*FACETS, "filetype", "datatype")
        }

    def find(self, query: TilesetQuery) -> list[TilesetRecord]:
        """The tilesets that match. Ordered by name they keep the index's order; otherwise ties are sorted by uid."""
        matches = reduce(np.logical_and, (~miss for miss in self._misses(query).values()), self._matches(query))
        records = list(compress(self.records, matches))
        if query.order != "name":
            records.sort(key=attrgetter("uid"))
            records.sort(key=lambda record: str(getattr(record, query.order)), reverse=query.descending)
        elif query.descending:
            records.reverse()
        return records

    def count(self, query: TilesetQuery) -> FacetCounts:
        """Count the tilesets that match, by facet.

        The values chosen of a facet do not narrow its own counts, because a person may still choose another value.
        """
        matches, misses = self._matches(query), self._misses(query)
        n_misses = np.sum(list(misses.values()), axis=0) if misses else np.zeros(len(self.records), int)
        facets = {}
        for name in FACETS:
            n_other_misses = n_misses - misses[name] if name in misses else n_misses
            facets[name] = self._columns[name].counts(matches & (n_other_misses == 0))
        return FacetCounts(int(np.count_nonzero(matches & (n_misses == 0))), facets)

    def _matches(self, query: TilesetQuery) -> Mask:
        """(tilesets,) which match the text, file types and data types; facets are ignored."""
        matches = np.ones(len(self.records), bool)
        for word in set(query.text.casefold().split()):
            matches &= np.fromiter((word in text for text in self._texts), bool, len(self._texts))
        for name, values in (("filetype", query.filetypes), ("datatype", query.datatypes)):
            matches &= self._columns[name].is_any(values, str) if values else True
        return matches

    def _misses(self, query: TilesetQuery) -> dict[str, Mask]:
        """(tilesets,) which do not match, for each facet of the query."""
        return {
            name: ~self._columns[name].is_any(values, _KEYS.get(name, str)) for name, values in query.facets.items()
        }


class _Column:
    """One field of every tileset, as codes: indices into its distinct values."""

    def __init__(self, values: Iterable[str]):
        indices: dict[str, int] = {}
        self.codes = np.fromiter((indices.setdefault(value, len(indices)) for value in values), np.int32)
        self.values = list(indices)

    def is_any(self, values: Iterable[str], normal: Callable[[str], str]) -> Mask:
        """(tilesets,) which have one of the values, compared in their normal form."""
        accepted = set(map(normal, values))
        return np.array([normal(value) in accepted for value in self.values], bool)[self.codes]

    def counts(self, mask: Mask) -> dict[str, int]:
        """How many tilesets under the mask have each value; an empty value is not counted."""
        counts = np.bincount(self.codes[mask], minlength=len(self.values)).tolist()
        return {value: count for value, count in zip(self.values, counts, strict=True) if value and count}
