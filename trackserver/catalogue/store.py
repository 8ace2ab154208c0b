"""The catalogue: a database of tilesets, pairs and views."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from trackserver.catalogue import schema, words
from trackserver.errors import InvalidRequest, SiteReadOnly, UnknownTileset, UnknownView
from trackserver.sources.source import is_remote

OBSERVED, PREDICTED, REGISTERED = "observed", "predicted", "registered"  # a visitor registers; see registration.py
_FREE_TEXT = ("biosample", "target")  # fields with names that only this site may use


@dataclass(frozen=True)
class TilesetRecord:
    """A tileset in the catalogue.

    assay, biosample, target, strand : in the catalogue's spelling; `provenance["original"]` keeps other spellings
    source : where it comes from: ENCODE, a model, or what a manifest says; else `file`, `address` or `visitor`
    path : path of the file, or its address
    size : bytes
    """

    uid: str
    name: str
    kind: str
    assembly: str
    path: str
    filetype: str = "bigwig"
    datatype: str = "vector"
    assay: str = ""
    biosample: str = ""
    target: str = ""
    strand: str = "."
    accession: str = ""
    source: str = ""
    model: str = ""
    track_index: int | None = None
    size: int = 0
    sha256: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class View:
    """A stored HiGlass view."""

    id: str
    viewconf: dict[str, Any]
    title: str
    created: datetime


class Catalogue:
    """Tilesets, pairs and views of a site. Each process opens its own connections, on first use."""

    def __init__(self, url: str):
        self.url = url

    @cached_property
    def _engine(self) -> sa.Engine:
        engine = sa.create_engine(self.url)
        with _readable_errors():
            schema.create_tables(engine)
            _upgrade(engine)
        return engine

    def tileset(self, uid: str) -> TilesetRecord:
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(schema.tilesets).where(schema.tilesets.c.uid == uid)).mappings().first()
        if row is None:
            raise UnknownTileset(uid)
        return TilesetRecord(**row)

    def tilesets(self, **equal: str) -> list[TilesetRecord]:
        """Tilesets whose columns equal the given values, sorted by name."""
        table = schema.tilesets
        query = sa.select(schema.tilesets).where(*(table.c[column] == value for column, value in equal.items()))
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(table.c.name, table.c.uid)).mappings().all()
        return [TilesetRecord(**row) for row in rows]

    def filetypes(self) -> list[str]:
        """The file types that the catalogue has."""
        with self._engine.connect() as connection:
            return list(connection.scalars(sa.select(schema.tilesets.c.filetype).distinct()))

    def stamp(self) -> tuple[int, str, int, str]:
        """A value that changes whenever tilesets or chosen pairs are added or removed."""
        with self._engine.connect() as connection:
            (tilesets, newest), (pairs, last) = (
                connection.execute(sa.select(sa.func.count(), sa.func.max(table.c.created))).one()
                for table in (schema.tilesets, schema.pairs)
            )
        return tilesets, str(newest), pairs, str(last)

    def add_registered(self, record: TilesetRecord, limit: int) -> None:
        """Add a visitor's tileset. It never replaces another one, and a site holds at most `limit` of them."""
        table = schema.tilesets
        with _readable_errors(), self._engine.begin() as connection:
            count = sa.select(sa.func.count()).select_from(table).where(table.c.kind == REGISTERED)
            if connection.execute(count).scalar_one() >= limit:
                raise InvalidRequest(f"This site already holds {limit:,} registered addresses, the most it takes.")
            try:
                connection.execute(sa.insert(table), [_row(one) for one in _normalise(connection, [record])])
            except sa.exc.IntegrityError:
                raise InvalidRequest(f"A tileset '{record.uid}' already exists; choose another uid.") from None

    def put_tilesets(self, records: Iterable[TilesetRecord]) -> list[TilesetRecord]:
        """Register tilesets, all or none. A tileset replaces the one with the same uid.

        Returns
        -------
        list
            The records as stored, in the catalogue's spelling.
        """
        now = datetime.now(UTC)  # not when the record was made: `stamp` must change
        with _readable_errors(), self._engine.begin() as connection:
            stored = [replace(record, created=now) for record in _normalise(connection, records)]
            _put(connection, stored)
        return stored

    def chosen_pairs(self) -> dict[str, str]:
        """People's choices: the uid of a predicted tileset -> that of the observed one, or "" for none."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(schema.pairs)).all()
        return {row.predicted: row.observed for row in rows}

    def choose_pair(self, predicted: str, observed: str) -> None:
        """Store a person's choice of the observed tileset for a predicted one; an empty uid means none."""
        table = schema.pairs
        with _readable_errors(), self._engine.begin() as connection:
            connection.execute(sa.delete(table).where(table.c.predicted == predicted))
            row = {"predicted": predicted, "observed": observed, "created": datetime.now(UTC)}
            connection.execute(sa.insert(table), row)

    def forget_pair(self, predicted: str) -> None:
        """Delete a person's choice for a predicted tileset."""
        with _readable_errors(), self._engine.begin() as connection:
            connection.execute(sa.delete(schema.pairs).where(schema.pairs.c.predicted == predicted))

    def view(self, view_id: str) -> View:
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(schema.views).where(schema.views.c.id == view_id)).mappings().first()
        if row is None:
            raise UnknownView(view_id)
        return View(**row)

    def put_view(self, viewconf: dict[str, Any], title: str, view_id: str = "") -> View:
        """Store a view permanently. Without `view_id`, the same view gets the same id, so its link never changes."""
        view = View(view_id or view_hash(viewconf, title), viewconf, title, datetime.now(UTC))
        try:
            with _readable_errors(), self._engine.begin() as connection:
                connection.execute(sa.insert(schema.views), asdict(view))
        except sa.exc.IntegrityError:
            stored = self.view(view.id)
            if stored.viewconf != viewconf:
                raise InvalidRequest(f"A view '{view.id}' already exists; choose another uid.") from None
            return stored
        return view


def view_hash(viewconf: dict[str, Any], title: str) -> str:
    canonical = json.dumps([viewconf, title], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _row(record: TilesetRecord) -> dict[str, Any]:
    return {column.name: getattr(record, column.name) for column in schema.tilesets.columns}


def _put(connection: sa.Connection, records: list[TilesetRecord]) -> None:
    table = schema.tilesets
    if records:
        connection.execute(sa.delete(table).where(table.c.uid == sa.bindparam("of")), [{"of": r.uid} for r in records])
        connection.execute(sa.insert(table), [_row(record) for record in records])


def _normalise(connection: sa.Connection, records: Iterable[TilesetRecord]) -> list[TilesetRecord]:
    """Records in the catalogue's spelling; a name that only this site uses keeps its first spelling."""
    spellings = {name: _spellings(connection, name) for name in _FREE_TEXT}
    normalised = []
    for record in records:
        fields: dict[str, Any] = {name: normal(getattr(record, name)) for name, normal in words.NORMAL.items()}
        for name in _FREE_TEXT:
            fields[name] = spellings[name].setdefault(words.key(fields[name]), fields[name])
        original = {name: getattr(record, name) for name in fields if getattr(record, name) != fields[name]}
        provenance = dict(record.provenance)
        if original:
            provenance["original"] = original | provenance.get("original", {})
        normalised.append(replace(record, **fields, source=source_of(record), provenance=provenance))
    return normalised


def source_of(record: TilesetRecord) -> str:
    """Where a tileset comes from: its own `source`, or else what its model, provenance or path tell."""
    if record.source:
        return record.source
    if record.kind == REGISTERED:
        return "visitor"
    if "encode" in record.provenance:
        return "ENCODE"
    source = record.model or record.provenance.get("source")
    return str(source or ("address" if is_remote(record.path) else "file"))


def _spellings(connection: sa.Connection, column: str) -> dict[str, str]:
    """The catalogue's spelling of each name in a column, by `words.key`."""
    names = connection.scalars(sa.select(schema.tilesets.c[column]).distinct())
    return {words.key(name): name for name in map(words.NORMAL[column], names)}


def _upgrade(engine: sa.Engine) -> None:
    """Convert a catalogue of an earlier version, once."""
    query = sa.select(schema.tilesets)
    has_old_names = schema.has_old_names(engine)
    with engine.connect() as connection:
        rows = connection.execute(query if has_old_names else query.where(schema.tilesets.c.source == "")).mappings()
        records = [_rename_provenance(TilesetRecord(**row)) for row in rows]
    if records:
        with engine.begin() as connection:
            _put(connection, _normalise(connection, records))
    if has_old_names:
        schema.rename_columns(engine)


def _rename_provenance(record: TilesetRecord) -> TilesetRecord:
    """Rename the key of an earlier version."""
    provenance = dict(record.provenance)
    if "said" in provenance:
        provenance["original"] = provenance.pop("said")
    return replace(record, provenance=provenance)


@contextmanager
def _readable_errors() -> Iterator[None]:
    """Turn the database's error about a read-only disk into a sentence for people."""
    try:
        yield
    except sa.exc.OperationalError as error:
        if "readonly" in str(error) or "unable to open" in str(error):
            raise SiteReadOnly(
                "The site's catalogue cannot be written; check whether its directory is read-only."
            ) from error
        raise
