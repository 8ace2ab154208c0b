"""The table of scored variants: what its columns are, and how it is written as TSV and as Parquet."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import InvalidRequest

_AT_ONCE = 10_000  # rows of a group of a Parquet file


@dataclass(frozen=True, slots=True)
class Row:
    """One row: an ALT of a line of the input, or a line that has none. The fields are the table's columns, in order.

    line : in the input, counted from 1
    id : as the input has it
    written, variant : as typed, and in its normal form on the model's assembly
    status, message : `ok` or what hinders, one of `batch.STATUSES`, and a sentence
    gene, distance : the gene whose start is nearest, and how far that is, bp
    impact : sum over tracks of their size times the weight of their assay
    rank : 1 for the largest impact; rows alike have the same; None until all are scored
    track, name, assay, biosample, target : the track of the largest size
    ref, alt, delta, log2fc, size, verdict : of that track, as in `scores.TrackScores`
    warnings : codes
    every : a score of every chosen track, float32 (T,), where it is wanted; not a column but many
    """

    line: int
    id: str
    written: str
    variant: str
    status: str
    message: str
    gene: str = ""
    distance: int | None = None
    impact: float | None = None
    rank: int | None = None
    track: int | None = None
    name: str = ""
    assay: str = ""
    biosample: str = ""
    target: str = ""
    ref: float | None = None
    alt: float | None = None
    delta: float | None = None
    log2fc: float | None = None
    size: float | None = None
    verdict: str = ""
    warnings: tuple[str, ...] = ()
    every: NDArray[np.float32] | None = None

    def described(self) -> dict[str, Any]:
        """The row by its columns' names, as JSON has it."""
        return {name: getattr(self, name) for name in COLUMNS} | {"warnings": list(self.warnings)}


COLUMNS = tuple(field.name for field in fields(Row) if field.name != "every")
_WHOLE = ("line", "distance", "rank", "track")
_REAL = ("impact", "ref", "alt", "delta", "log2fc", "size")


def write_tsv(out: IO[bytes], about: Mapping[str, str], more: Sequence[str], rows: Iterable[Row]) -> None:
    """Lines of tab-separated values, UTF-8.

    Parameters
    ----------
    about
        What the numbers depend on; each goes into a line that begins with `#`.
    more
        Names of the columns of `Row.every`, none where it is not kept.

    Notes
    -----
    Six digits are written, what a float32 holds. A cell without a value is empty.
    """
    lines = [*(f"# {name}: {_cell(value)}" for name, value in about.items()), "\t".join([*COLUMNS, *map(_cell, more)])]
    out.write("".join(f"{line}\n" for line in lines).encode())
    for row in rows:
        cells = [_cell(getattr(row, name)) for name in COLUMNS]
        if more:
            cells += [""] * len(more) if row.every is None else [f"{value:.6g}" for value in row.every.tolist()]
        out.write(("\t".join(cells) + "\n").encode())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return ",".join(value)
    return " ".join(value.split()) if isinstance(value, str) else str(value)


def parquet() -> Any:
    """The library that writes Parquet.

    Raises
    ------
    InvalidRequest
        It is not installed.
    """
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")  # by name: it carries no types, and need not be there
    except ModuleNotFoundError as error:
        raise InvalidRequest("Parquet needs pyarrow; pip install pyarrow, or write .tsv.gz instead.") from error


def write_parquet(path: Path, about: Mapping[str, str], more: Sequence[str], rows: Iterable[Row]) -> None:
    """The same as Parquet, numbers with all their digits; `about` is the schema's metadata. See `write_tsv`."""
    arrow = parquet()
    types = {name: arrow.int64() for name in _WHOLE} | {name: arrow.float64() for name in _REAL}
    types |= {"warnings": arrow.list_(arrow.string())}
    columns = [(name, types.get(name, arrow.string())) for name in COLUMNS]
    schema = arrow.schema([*columns, *((name, arrow.float32()) for name in more)], metadata=dict(about))
    with arrow.parquet.ParquetWriter(str(path), schema) as writer:
        for group in _groups(rows):
            arrays = [[getattr(row, name) for row in group] for name in COLUMNS]
            arrays += [[None if row.every is None else row.every[i] for row in group] for i in range(len(more))]
            made = [arrow.array(values, kind.type) for values, kind in zip(arrays, schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(made, schema=schema))


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while group := list(islice(remaining, _AT_ONCE)):
        yield group


class Blocks:
    """A file packed in bgzip's blocks, which tabix and gzip both read; the same bytes whenever it is written."""

    def __init__(self, raw: IO[bytes]):
        from Bio import bgzf

        library: Any = bgzf  # it carries no types
        self.writer = library.BgzfWriter(fileobj=raw, mode="wb")

    def write(self, data: bytes) -> int:
        self.writer.write(data)
        return len(data)

    def close(self) -> None:
        """Write what is left and the block that marks the end; the file closes with it."""
        self.writer.close()


def packed(raw: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", Blocks(raw))
