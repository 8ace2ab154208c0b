"""Tables of the catalogue: one schema for SQLite and PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, Column, DateTime, Integer, MetaData, String, Table, Text
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

metadata = MetaData()

tilesets = Table(
    "tilesets",
    metadata,
    Column("uid", String(128), primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", String(16), nullable=False),  # observed | predicted | registered
    Column("filetype", String(16), nullable=False),
    Column("datatype", String(24), nullable=False),
    Column("assembly", String(64), nullable=False, index=True),
    Column("path", Text, nullable=False),  # relative to the site if the file is inside it
    Column("assay", Text, nullable=False),
    Column("biosample", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("strand", String(1), nullable=False),
    Column("accession", Text, nullable=False),
    Column("model", String(128), nullable=False),
    Column("track_index", Integer),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("provenance", JSON, nullable=False),
    # Indexed, because its maximum tells whether the catalogue has changed.
    Column("created", DateTime(timezone=True), nullable=False, index=True),
    Column("source", Text, nullable=False, server_default=""),
)

# People's choices of the observed tileset for a predicted one; an empty uid means that there is none.
pairs = Table(
    "pairs",
    metadata,
    Column("predicted", String(128), primary_key=True),
    Column("observed", String(128), nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
)

views = Table(
    "views",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("viewconf", JSON, nullable=False),
    Column("title", Text, nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
)


def create_tables(engine: sa.Engine) -> None:
    """Create the tables, and the columns and indexes that a catalogue of an earlier version lacks.

    Several processes may call this at once. If nothing is lacking, nothing is written.
    """
    tables = metadata.sorted_tables
    with engine.begin() as connection:
        for table in tables:
            connection.execute(CreateTable(table, if_not_exists=True))
    existing = _column_names(engine, tilesets)
    for column in tilesets.columns:
        if column.name not in existing:
            definition = CreateColumn(column).compile(dialect=engine.dialect)
            _alter(engine, tilesets, f"ADD COLUMN {definition}", column.name)
    with engine.begin() as connection:
        for index in (index for table in tables for index in table.indexes):
            connection.execute(CreateIndex(index, if_not_exists=True))


def has_old_names(engine: sa.Engine) -> bool:
    """Whether an earlier version wrote the catalogue, which called observed tilesets measured."""
    return "observed" not in _column_names(engine, pairs)


def rename_columns(engine: sa.Engine) -> None:
    """Rename the column of an earlier version."""
    _alter(engine, pairs, "RENAME COLUMN measured TO observed", "observed")


def _alter(engine: sa.Engine, table: Table, change: str, column: str) -> None:
    """Change a table so that it has a column; another process may do the same meanwhile."""
    try:
        with engine.begin() as connection:
            connection.execute(sa.DDL(f"ALTER TABLE {table.name} {change}"))
    except sa.exc.DBAPIError:
        if column not in _column_names(engine, table):
            raise


def _column_names(engine: sa.Engine, table: Table) -> set[str]:
    return {column["name"] for column in sa.inspect(engine).get_columns(table.name)}
