"""Tables of the catalogue, one schema for SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, DateTime, Integer, MetaData, String, Table, Text

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
