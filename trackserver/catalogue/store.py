"""The catalogue: tilesets and views in a database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from trackserver.catalogue import schema
from trackserver.errors import InvalidRequest, SiteReadOnly, UnknownTileset, UnknownView

OBSERVED, PREDICTED, REGISTERED = "observed", "predicted", "registered"  # the last by a visitor, see remote.py


@dataclass(frozen=True)
class TilesetRecord:
    """What the catalogue knows of a tileset."""

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
    model: str = ""
    track_index: int | None = None
    size: int = 0
    sha256: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class Wanted:
    """Which tilesets, and in which order: `text` in the name, one of the types where any is given."""

    text: str = ""
    filetypes: tuple[str, ...] = ()
    datatypes: tuple[str, ...] = ()
    order: str = "name"  # a field of TilesetRecord
    backwards: bool = False

    def holds(self, record: TilesetRecord) -> bool:
        return (
            self.text.lower() in record.name.lower()
            and (not self.filetypes or record.filetype in self.filetypes)
            and (not self.datatypes or record.datatype in self.datatypes)
        )


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
            schema.metadata.create_all(engine)
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
        query = sa.select(table).where(*(table.c[column] == value for column, value in equal.items()))
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(table.c.name, table.c.uid)).mappings().all()
        return [TilesetRecord(**row) for row in rows]

    def filetypes(self) -> list[str]:
        """The kinds of file there are."""
        with self._engine.connect() as connection:
            return list(connection.scalars(sa.select(schema.tilesets.c.filetype).distinct()))

    def find(self, wanted: Wanted, most: int) -> tuple[int, list[TilesetRecord]]:
        """How many tilesets are wanted, and the first `most` of them in order."""
        table = schema.tilesets
        chosen = [table.c.name.icontains(wanted.text, autoescape=True)] if wanted.text else []
        for column, values in (("filetype", wanted.filetypes), ("datatype", wanted.datatypes)):
            chosen += [table.c[column].in_(values)] if values else []
        first = table.c[wanted.order].desc() if wanted.backwards else table.c[wanted.order]
        query = sa.select(table).where(*chosen).order_by(first, table.c.uid).limit(most)
        with self._engine.connect() as connection:
            count = connection.execute(sa.select(sa.func.count()).select_from(table).where(*chosen)).scalar_one()
            rows = connection.execute(query).mappings().all() if most else []
        return count, [TilesetRecord(**row) for row in rows]

    def stamp(self) -> tuple[int, str]:
        """Another whenever tilesets have come or gone."""
        table = schema.tilesets
        with self._engine.connect() as connection:
            count, newest = connection.execute(sa.select(sa.func.count(), sa.func.max(table.c.created))).one()
        return count, str(newest)

    def add_registered(self, record: TilesetRecord, most: int) -> None:
        """Register a visitor's tileset. It never takes the place of another, and there are at most `most` of them."""
        table = schema.tilesets
        with _writing(), self._engine.begin() as connection:
            there = sa.select(sa.func.count()).select_from(table).where(table.c.kind == REGISTERED)
            if connection.execute(there).scalar_one() >= most:
                raise InvalidRequest(f"{most:,} addresses are registered here already, as many as this site takes.")
            try:
                connection.execute(sa.insert(table), asdict(record))
            except sa.exc.IntegrityError:
                raise InvalidRequest(f"There is a tileset '{record.uid}' already; choose another uid.") from None

    def put_tilesets(self, records: Iterable[TilesetRecord]) -> None:
        """Register tilesets, all or none; one with a uid already known takes its place."""
        rows = [asdict(record) for record in records]
        with _writing(), self._engine.begin() as connection:
            for row in rows:
                connection.execute(sa.delete(schema.tilesets).where(schema.tilesets.c.uid == row["uid"]))
            if rows:
                connection.execute(sa.insert(schema.tilesets), rows)

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


@contextmanager
def _writing() -> Iterator[None]:
    """Turn the database's own words for a read-only disk into a sentence."""
    try:
        yield
    except sa.exc.OperationalError as error:
        if "readonly" in str(error) or "unable to open" in str(error):
            raise SiteReadOnly("The site's catalogue cannot be written; is its directory read-only?") from error
        raise
