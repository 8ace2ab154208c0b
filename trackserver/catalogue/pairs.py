"""Match predicted tilesets to their observed counterparts, with a reason and a confidence.

A person's choice comes first. Otherwise a predicted tileset is paired with an observed one of the same accession, or
else of the same assay, biosample, target and strand. Tilesets of different assemblies are never paired, and a tileset
whose assay or biosample is unknown is paired by accession only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trackserver.catalogue import words
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import OBSERVED, PREDICTED, TilesetRecord
from trackserver.errors import InvalidRequest

Confidence = Literal["chosen", "certain", "likely", "ambiguous"]
_BY_CONFIDENCE: tuple[Confidence, ...] = ("chosen", "certain", "likely", "ambiguous")
_Key = tuple[str, ...]
_Index = dict[_Key, list[TilesetRecord]]


@dataclass(frozen=True)
class TrackPair:
    """A predicted tileset and its observed counterpart, by their uids.

    reason : a phrase for people
    confidence : `chosen` by a person, `certain` by accession, `likely` by assay and biosample, `ambiguous` if several
        tilesets match
    """

    predicted: str
    observed: str
    reason: str
    confidence: Confidence

    def other(self, uid: str) -> str:
        return self.observed if uid == self.predicted else self.predicted


def find_pairs(records: Iterable[TilesetRecord], chosen: Mapping[str, str] | None = None) -> list[TrackPair]:
    """The pair of every predicted tileset that has one.

    If several observed tilesets match, the first is the one with the assay's preferred signal (`words.SIGNAL`), then
    the one that pools the most replicates, then the first by uid.

    Parameters
    ----------
    records
        With assays, biosamples and targets spelled as in the catalogue.
    chosen
        People's choices: the uid of a predicted tileset -> the uid of the observed one, or "" for none.
    """
    chosen, records = chosen or {}, list(records)
    observed = [record for record in records if record.kind == OBSERVED]
    observed_uids = {record.uid for record in observed}
    by_accession = _index(observed, _accession_keys)
    by_words = _index(observed, _word_keys)
    pairs = []
    for record in records:
        if record.kind != PREDICTED:
            continue
        choice = chosen.get(record.uid)
        if choice in observed_uids:
            pairs.append(TrackPair(record.uid, str(choice), "chosen by hand", "chosen"))
        elif choice != "":
            pairs += _match(record, by_accession, by_words)
    return pairs


def pairs_by_uid(pairs: Iterable[TrackPair]) -> dict[str, TrackPair]:
    """The pair of each tileset; an observed one gets its most confident pair, and the first among equals."""
    by_uid: dict[str, TrackPair] = {}
    for pair in sorted(pairs, key=lambda pair: _BY_CONFIDENCE.index(pair.confidence)):
        by_uid[pair.predicted] = pair
        by_uid.setdefault(pair.observed, pair)
    return by_uid


def choose(site: Site, predicted: str, observed: str) -> None:
    """Store a person's choice of the observed tileset for a predicted one.

    Raises
    ------
    UnknownTileset
        One of them does not exist.
    InvalidRequest
        They are not a predicted and an observed tileset, or lie on different assemblies.
    """
    one, other = _predicted_record(site, predicted), site.catalogue.tileset(observed)
    if other.kind != OBSERVED:
        raise InvalidRequest(f"'{observed}' is {other.kind}, not observed; name an observed tileset.")
    if one.assembly != other.assembly:
        raise InvalidRequest(f"'{predicted}' lies on {one.assembly} and '{observed}' on {other.assembly}.")
    site.catalogue.choose_pair(predicted, observed)


def choose_none(site: Site, predicted: str) -> None:
    """Store a person's choice that a predicted tileset has no observed counterpart on this site."""
    site.catalogue.choose_pair(_predicted_record(site, predicted).uid, "")


def forget(site: Site, predicted: str) -> None:
    """Delete a person's choice, so that the rules apply to the predicted tileset again."""
    site.catalogue.forget_pair(_predicted_record(site, predicted).uid)


def _predicted_record(site: Site, uid: str) -> TilesetRecord:
    record = site.catalogue.tileset(uid)
    if record.kind != PREDICTED:
        raise InvalidRequest(f"'{uid}' is {record.kind}, not predicted; name a predicted tileset first.")
    return record


def _match(record: TilesetRecord, by_accession: _Index, by_words: _Index) -> list[TrackPair]:
    """The pair of a predicted tileset by the rules, in a list that is empty if nothing matches."""
    for accession in _accession_keys(record):
        if candidates := by_accession.get(accession):
            return [_best_pair(record, candidates, f"same {_accession_label(accession[-1])}", "certain")]
    for key in _word_keys(record):
        if candidates := by_words.get(key):
            return [_best_pair(record, candidates, f"same {_shared_fields(record)}", "likely")]
    return []


def _best_pair(
    record: TilesetRecord, candidates: Sequence[TilesetRecord], reason: str, confidence: Confidence
) -> TrackPair:
    best = min(candidates, key=_rank)
    if confidence == "likely" and record.accession and best.accession:
        reason += f", but {best.accession} and not {record.accession}"
    if len(candidates) > 1:
        return TrackPair(record.uid, best.uid, f"{reason}; the first of {len(candidates)} that match", "ambiguous")
    return TrackPair(record.uid, best.uid, reason, confidence)


def _rank(record: TilesetRecord) -> tuple[int, int, str]:
    encode = record.provenance.get("encode", {})
    signal = words.signal_rank(record.assay, encode.get("output_type", ""))
    return signal, -len(encode.get("biological_replicates", ())), record.uid


def _index(records: Iterable[TilesetRecord], keys: Callable[[TilesetRecord], list[_Key]]) -> _Index:
    index: _Index = {}
    for record in records:
        for key in keys(record):
            index.setdefault(key, []).append(record)
    return index


def _accession_keys(record: TilesetRecord) -> list[_Key]:
    """Keys by the file's accession, then by the experiment's."""
    accessions = (record.accession, record.provenance.get("encode", {}).get("experiment", ""))
    return [(*_common_key(record), accession.upper()) for accession in dict.fromkeys(accessions) if accession]


def _word_keys(record: TilesetRecord) -> list[_Key]:
    """The key by assay, biosample and target; none if the assay, the biosample or a ChIP-seq's target is unknown."""
    if not (record.assay and record.biosample) or (record.assay == "CHIP" and not record.target):
        return []
    return [(*_common_key(record), *map(words.key, (record.assay, record.biosample, record.target)))]


def _common_key(record: TilesetRecord) -> _Key:
    """What two tilesets must share to be drawn over each other."""
    return record.assembly, record.datatype, record.strand


def _accession_label(accession: str) -> str:
    return f"{'experiment' if accession.startswith('ENCSR') else 'accession'} {accession}"


def _shared_fields(record: TilesetRecord) -> str:
    """`assay, biosample and strand`."""
    optional = ["target"] * bool(record.target) + ["strand"] * (record.strand != ".")
    names = ["assay", "biosample", *optional]
    return f"{', '.join(names[:-1])} and {names[-1]}"
