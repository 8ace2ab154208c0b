"""The catalogue: tilesets and views in a database."""

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

OBSERVED, PREDICTED, REGISTERED = "observed", "predicted", "registered"  # the last by a visitor, see remote.py
_SPELLED = ("biosample", "target")  # what sites have names of their own for


@dataclass(frozen=True)
class TilesetRecord:
    """What the catalogue knows of a tileset.

    assay, biosample, target, strand : in the catalogue's words; `provenance` keeps what was said instead as `said`
    source : where it is from: ENCODE, a model, or what a manifest says; `file`, `address` or `visitor` where nothing is
    path : of a file, or its address
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
    """Tilesets and views of a site. Connections are opened on first use, in each process for itself."""

    def __init__(self, url: str):
        self.url = url

    @cached_property
    def _engine(self) -> sa.Engine:
        engine = sa.create_engine(self.url)
        with _writing():
            schema.prepare(engine)
            _renew(engine)
        return engine

    def tileset(self, uid: str) -> TilesetRecord:
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(schema.tilesets).where(schema.tilesets.c.uid == uid)).mappings().first()
        if row is None:
            raise UnknownTileset(uid)
        return TilesetRecord(**row)

    def tilesets(self, **equal: str) -> list[TilesetRecord]:
        """Tilesets whose columns equal the given values, by name."""
        table = schema.tilesets
        query = sa.select(schema.tilesets).where(*(table.c[column] == value for column, value in equal.items()))
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(table.c.name, table.c.uid)).mappings().all()
        return [TilesetRecord(**row) for row in rows]

    def filetypes(self) -> list[str]:
        """The kinds of file there are."""
        with self._engine.connect() as connection:
            return list(connection.scalars(sa.select(schema.tilesets.c.filetype).distinct()))

    def stamp(self) -> tuple[int, str, int, str]:
        """Another whenever tilesets, or pairs that people made, have come or gone."""
        with self._engine.connect() as connection:
            (tilesets, newest), (pairs, last) = (
                connection.execute(sa.select(sa.func.count(), sa.func.max(table.c.created))).one()
                for table in (schema.tilesets, schema.pairs)
            )
        return tilesets, str(newest), pairs, str(last)

    def add_registered(self, record: TilesetRecord, most: int) -> None:
        """Register a visitor's tileset. It never takes the place of another, and there are at most `most` of them."""
        table = schema.tilesets
        with _writing(), self._engine.begin() as connection:
            there = sa.select(sa.func.count()).select_from(table).where(table.c.kind == REGISTERED)
            if connection.execute(there).scalar_one() >= most:
                raise InvalidRequest(f"{most:,} addresses are registered here already, as many as this site takes.")
            try:
                connection.execute(sa.insert(table), [_row(one) for one in _normal(connection, [record])])
            except sa.exc.IntegrityError:
                raise InvalidRequest(f"There is a tileset '{record.uid}' already; choose another uid.") from None

    def put_tilesets(self, records: Iterable[TilesetRecord]) -> list[TilesetRecord]:
        """Register tilesets, all or none; one with a uid already known takes its place.

        Returns
        -------
        list
            The records as they are kept: in the catalogue's words.
        """
        now = datetime.now(UTC)  # by which others see that something has come, however long ago its record was made
        with _writing(), self._engine.begin() as connection:
            kept = [replace(record, created=now) for record in _normal(connection, records)]
            _put(connection, kept)
        return kept

    def chosen_pairs(self) -> dict[str, str]:
        """The measured tileset that people said of predicted ones, empty where they said that there is none."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(schema.pairs)).all()
        return {row.predicted: row.measured for row in rows}

    def choose_pair(self, predicted: str, measured: str) -> None:
        """Keep what somebody says of a predicted tileset: what was measured, or with an empty uid that nothing was."""
        table = schema.pairs
        with _writing(), self._engine.begin() as connection:
            connection.execute(sa.delete(table).where(table.c.predicted == predicted))
            row = {"predicted": predicted, "measured": measured, "created": datetime.now(UTC)}
            connection.execute(sa.insert(table), row)

    def forget_pair(self, predicted: str) -> None:
        """Forget what somebody said of a predicted tileset."""
        with _writing(), self._engine.begin() as connection:
            connection.execute(sa.delete(schema.pairs).where(schema.pairs.c.predicted == predicted))

    def view(self, view_id: str) -> View:
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(schema.views).where(schema.views.c.id == view_id)).mappings().first()
        if row is None:
            raise UnknownView(view_id)
        return View(**row)

    def put_view(self, viewconf: dict[str, Any], title: str, view_id: str = "") -> View:
        """Store a view for good. Without an id of its own the same view gets the same id, so its link never changes."""
        view = View(view_id or view_hash(viewconf, title), viewconf, title, datetime.now(UTC))
        try:
            with _writing(), self._engine.begin() as connection:
                connection.execute(sa.insert(schema.views), asdict(view))
        except sa.exc.IntegrityError:
            stored = self.view(view.id)
            if stored.viewconf != viewconf:
                raise InvalidRequest(f"There is a view '{view.id}' already; views never change.") from None
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


def _normal(connection: sa.Connection, records: Iterable[TilesetRecord]) -> list[TilesetRecord]:
    """Records in the catalogue's words; a name that only this site has is spelled as it was the first time."""
    known = {name: _spellings(connection, name) for name in _SPELLED}
    found = []
    for record in records:
        meant: dict[str, Any] = {name: normal(getattr(record, name)) for name, normal in words.NORMAL.items()}
        for name in _SPELLED:
            meant[name] = known[name].setdefault(words.key(meant[name]), meant[name])
        said = {name: getattr(record, name) for name in meant if getattr(record, name) != meant[name]}
        kept = {"said": said | record.provenance.get("said", {})} if said else {}
        found.append(replace(record, **meant, source=source_of(record), provenance=record.provenance | kept))
    return found


def source_of(record: TilesetRecord) -> str:
    """Where a tileset is from, by what it says itself, else by what its model, its provenance and its path say."""
    if record.source:
        return record.source
    if record.kind == REGISTERED:
        return "visitor"
    if "encode" in record.provenance:
        return "ENCODE"
    given = record.model or record.provenance.get("source")
    return str(given or ("address" if is_remote(record.path) else "file"))


def _spellings(connection: sa.Connection, column: str) -> dict[str, str]:
    """How the catalogue spells the names it has."""
    names = connection.scalars(sa.select(schema.tilesets.c[column]).distinct())
    return {words.key(name): name for name in map(words.NORMAL[column], names)}


def _renew(engine: sa.Engine) -> None:
    """Bring the records of an earlier version's catalogue to today's words, once."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(schema.tilesets).where(schema.tilesets.c.source == "")).mappings().all()
    if rows:
        with engine.begin() as connection:
            _put(connection, _normal(connection, [TilesetRecord(**row) for row in rows]))


@contextmanager
def _writing() -> Iterator[None]:
    """Turn the database's own words for a read-only disk into a sentence."""
    try:
        yield
    except sa.exc.OperationalError as error:
        if "readonly" in str(error) or "unable to open" in str(error):
            raise SiteReadOnly("The site's catalogue cannot be written; is its directory read-only?") from error
        raise
