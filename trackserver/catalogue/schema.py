"""Tables of the catalogue, one schema for SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, Column, DateTime, Integer, MetaData, String, Table, Text
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

metadata = MetaData()

tilesets = Table(
    "tilesets",
    metadata,
    Column("uid", String(128), primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", String(16), nullable=False),  # observed | predicted
    Column("filetype", String(16), nullable=False),
    Column("datatype", String(24), nullable=False),
    Column("assembly", String(64), nullable=False, index=True),
    Column("path", Text, nullable=False),  # relative to the site where the file lies inside it
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
    # By which it is seen at once whether anything has changed.
    Column("created", DateTime(timezone=True), nullable=False, index=True),
    Column("source", Text, nullable=False, server_default=""),
)

# Which measured tileset a person says that a predicted one speaks of; none where it is empty.
pairs = Table(
    "pairs",
    metadata,
    Column("predicted", String(128), primary_key=True),
    Column("measured", String(128), nullable=False),
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


def prepare(engine: sa.Engine) -> None:
    """Make the tables, and the columns and indexes that a catalogue of an earlier version lacks.

    Several processes may do so at once, and where nothing is lacking nothing is written.
    """
    tables = metadata.sorted_tables
    with engine.begin() as connection:
        for table in tables:
            connection.execute(CreateTable(table, if_not_exists=True))
    there = _columns(engine)
    for column in tilesets.columns:
        if column.name not in there:
            _add(engine, column)
    with engine.begin() as connection:
        for index in (index for table in tables for index in table.indexes):
            connection.execute(CreateIndex(index, if_not_exists=True))


def _add(engine: sa.Engine, column: Column[Any]) -> None:
    described = CreateColumn(column).compile(dialect=engine.dialect)
    try:
        with engine.begin() as connection:
            connection.execute(sa.DDL(f"ALTER TABLE tilesets ADD COLUMN {described}"))
    except sa.exc.DBAPIError:
        if column.name not in _columns(engine):  # by another process, meanwhile
            raise


def _columns(engine: sa.Engine) -> set[str]:
    return {column["name"] for column in sa.inspect(engine).get_columns("tilesets")}
