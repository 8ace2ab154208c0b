"""Which measured tileset a predicted one speaks of, why, and how sure that is.

A person's word goes before everything. Then a predicted track is paired with what was measured of its own accession,
else with what was measured of the same assay, biosample, target and strand. Never across assemblies, and never where
assay or biosample is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trackserver.catalogue import words
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import OBSERVED, PREDICTED, TilesetRecord
from trackserver.errors import InvalidRequest

Sure = Literal["chosen", "certain", "likely", "ambiguous"]
_SUREST: tuple[Sure, ...] = ("chosen", "certain", "likely", "ambiguous")
_Key = tuple[str, ...]
_Index = dict[_Key, list[TilesetRecord]]


@dataclass(frozen=True)
class Pair:
    """A predicted tileset and the measured one it speaks of, by their uids.

    reason : in words
    sure : `chosen` by a person, `certain` by accession, `likely` by what was measured, `ambiguous` where several fit
    """

    predicted: str
    measured: str
    reason: str
    sure: Sure

    def other(self, uid: str) -> str:
        return self.measured if uid == self.predicted else self.predicted


def find_pairs(records: Iterable[TilesetRecord], chosen: Mapping[str, str] | None = None) -> list[Pair]:
    """The pair of every predicted tileset that has one.

    Where several measured tilesets fit, the one of the signal that is shown first of its assay (`words.SIGNAL`), then
    the one that pools the most replicates, then the first by uid.

    Parameters
    ----------
    records
        In the catalogue's words.
    chosen
        What people said: of a predicted tileset the measured one, or nothing where they say that there is none.
    """
    chosen, listed = chosen or {}, list(records)
    measured = [record for record in listed if record.kind == OBSERVED]
    there = {record.uid for record in measured}
    by_accession = _indexed(measured, _accessions)
    by_words = _indexed(measured, _meanings)
    found = []
    for record in listed:
        if record.kind != PREDICTED:
            continue
        said = chosen.get(record.uid)
        if said in there:
            found.append(Pair(record.uid, str(said), "chosen by hand", "chosen"))
        elif said != "":
            found += _by_rules(record, by_accession, by_words)
    return found


def both_ways(pairs: Iterable[Pair]) -> dict[str, Pair]:
    """The pair of each tileset; of a measured one the surest, and among equals the first."""
    found: dict[str, Pair] = {}
    for pair in sorted(pairs, key=lambda pair: _SUREST.index(pair.sure)):
        found[pair.predicted] = pair
        found.setdefault(pair.measured, pair)
    return found


def choose(site: Site, predicted: str, measured: str) -> None:
    """Keep somebody's word on what was measured of a predicted tileset.

    Raises
    ------
    UnknownTileset
        One of them is not there.
    InvalidRequest
        They are not a predicted and a measured tileset, or lie on different assemblies.
    """
    one, other = _predicted(site, predicted), site.catalogue.tileset(measured)
    if other.kind != OBSERVED:
        raise InvalidRequest(f"'{measured}' is not measured but {other.kind}; name a measured tileset.")
    if one.assembly != other.assembly:
        raise InvalidRequest(f"'{predicted}' lies on {one.assembly} and '{measured}' on {other.assembly}.")
    site.catalogue.choose_pair(predicted, measured)


def choose_none(site: Site, predicted: str) -> None:
    """Keep somebody's word that nothing on this site is what was measured of a predicted tileset."""
    site.catalogue.choose_pair(_predicted(site, predicted).uid, "")


def forget(site: Site, predicted: str) -> None:
    """Leave a predicted tileset to the rules again."""
    site.catalogue.forget_pair(_predicted(site, predicted).uid)


def _predicted(site: Site, uid: str) -> TilesetRecord:
    record = site.catalogue.tileset(uid)
    if record.kind != PREDICTED:
        raise InvalidRequest(f"'{uid}' is not predicted but {record.kind}; name a predicted tileset first.")
    return record


def _by_rules(record: TilesetRecord, by_accession: _Index, by_words: _Index) -> list[Pair]:
    for accession in _accessions(record):
        if fitting := by_accession.get(accession):
            return [_pair(record, fitting, f"same {_what(accession[-1])}", "certain")]
    for meaning in _meanings(record):
        if fitting := by_words.get(meaning):
            return [_pair(record, fitting, f"same {_shared(record)}", "likely")]
    return []


def _pair(record: TilesetRecord, fitting: Sequence[TilesetRecord], reason: str, sure: Sure) -> Pair:
    best = min(fitting, key=_rank)
    if sure == "likely" and record.accession and best.accession:
        reason += f", but {best.accession} and not {record.accession}"
    if len(fitting) > 1:
        return Pair(record.uid, best.uid, f"{reason}; the first of {len(fitting)} that fit", "ambiguous")
    return Pair(record.uid, best.uid, reason, sure)


def _rank(record: TilesetRecord) -> tuple[int, int, str]:
    encode = record.provenance.get("encode", {})
    signal = words.signal_rank(record.assay, encode.get("output_type", ""))
    return signal, -len(encode.get("biological_replicates", ())), record.uid


def _indexed(records: Iterable[TilesetRecord], keys: Callable[[TilesetRecord], list[_Key]]) -> _Index:
    found: _Index = {}
    for record in records:
        for key in keys(record):
            found.setdefault(key, []).append(record)
    return found


def _accessions(record: TilesetRecord) -> list[_Key]:
    """By which it is known, the file's before the experiment's."""
    known = (record.accession, record.provenance.get("encode", {}).get("experiment", ""))
    return [(*_place(record), accession.upper()) for accession in dict.fromkeys(known) if accession]


def _meanings(record: TilesetRecord) -> list[_Key]:
    """What it measures, if that is known; ChIP-seq of nobody knows what is not."""
    if not (record.assay and record.biosample) or (record.assay == "CHIP" and not record.target):
        return []
    return [(*_place(record), *map(words.key, (record.assay, record.biosample, record.target)))]


def _place(record: TilesetRecord) -> _Key:
    """What two tilesets must share to be drawn over each other."""
    return record.assembly, record.datatype, record.strand


def _what(accession: str) -> str:
    return f"{'experiment' if accession.startswith('ENCSR') else 'accession'} {accession}"


def _shared(record: TilesetRecord) -> str:
    """`assay, biosample and strand`."""
    also = ["target"] * bool(record.target) + ["strand"] * (record.strand != ".")
    names = ["assay", "biosample", *also]
    return f"{', '.join(names[:-1])} and {names[-1]}"
