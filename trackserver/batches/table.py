"""The table of scored variants: its columns, and how it is written as TSV and as Parquet."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import InvalidRequest

_GROUP_ROWS = 10_000  # rows per group of a Parquet file


@dataclass(frozen=True, slots=True)
class Row:
    """One row: an ALT of an input line, or a line without one. The fields are the table's columns, in order.

    line : line number in the input, from 1
    id : the id in the input
    written, variant : the variant as typed, and in its normal form on the model's assembly
    status, message : `ok` or the reason why there are no scores, one of `scoring.STATUSES`, and a sentence
    gene, distance : the gene with the nearest start site, and its distance in bp
    impact : sum over tracks of size times the weight of the track's assay
    rank : 1 for the largest impact; repeated variants share a rank; None until all rows are scored
    track, name, assay, biosample, target : the track with the largest size
    ref, alt, delta, log2fc, size, verdict : that track's scores, as in `scores.TrackScores`
    warnings : codes
    track_scores : one score of every selected track, float32 (T,), if requested; it fills a column per track
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
    track_scores: NDArray[np.float32] | None = None

    def to_json(self) -> dict[str, Any]:
        """The row under its columns' names, in JSON's terms; without `track_scores`."""
        return {name: getattr(self, name) for name in COLUMNS} | {"warnings": list(self.warnings)}


COLUMNS = tuple(field.name for field in fields(Row) if field.name != "track_scores")
_INTEGERS = ("line", "distance", "rank", "track")
_FLOATS = ("impact", "ref", "alt", "delta", "log2fc", "size")


def write_tsv(out: IO[bytes], about: Mapping[str, str], track_columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write tab-separated values, UTF-8.

    Parameters
    ----------
    about
        The provenance of the numbers; each item becomes a line that begins with `#`.
    track_columns
        Names of the columns for `Row.track_scores`; empty if there are none.

    Notes
    -----
    Numbers have six digits, the precision of a float32. A cell without a value is empty.
    """
    lines = [f"# {name}: {_cell(value)}" for name, value in about.items()]
    lines.append("\t".join([*COLUMNS, *map(_cell, track_columns)]))
    out.write("".join(f"{line}\n" for line in lines).encode())
    for row in rows:
        cells = [_cell(getattr(row, name)) for name in COLUMNS]
        if track_columns and row.track_scores is None:
            cells += [""] * len(track_columns)
        elif track_columns and row.track_scores is not None:
            cells += [f"{value:.6g}" for value in row.track_scores.tolist()]
        out.write(("\t".join(cells) + "\n").encode())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return ",".join(value)
    return " ".join(value.split()) if isinstance(value, str) else str(value)


def import_pyarrow() -> Any:
    """Import the library that writes Parquet.

    Raises
    ------
    InvalidRequest
        It is not installed.
    """
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")  # by name, because it has no types and is optional
    except ModuleNotFoundError as error:
        raise InvalidRequest("Parquet needs pyarrow; pip install pyarrow, or write .tsv.gz instead.") from error


def write_parquet(
    path: str | os.PathLike[str], about: Mapping[str, str], track_columns: Sequence[str], rows: Iterable[Row]
) -> None:
    """Write Parquet, with all digits; `about` becomes the schema's metadata. See `write_tsv` for the parameters."""
    arrow = import_pyarrow()
    types = {name: arrow.int64() for name in _INTEGERS} | {name: arrow.float64() for name in _FLOATS}
    types |= {"warnings": arrow.list_(arrow.string())}
    columns = [(name, types.get(name, arrow.string())) for name in COLUMNS]
    columns += [(name, arrow.float32()) for name in track_columns]
    schema = arrow.schema(columns, metadata=dict(about))
    with arrow.parquet.ParquetWriter(os.fspath(path), schema) as writer:
        for group in _groups(rows):
            values = [[getattr(row, name) for row in group] for name in COLUMNS]
            scores = [row.track_scores for row in group]
            values += [[None if row is None else row[i] for row in scores] for i in range(len(track_columns))]
            arrays = [arrow.array(column, kind.type) for column, kind in zip(values, schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while group := list(islice(remaining, _GROUP_ROWS)):
        yield group


class BgzipFile:
    """A file compressed in bgzip's blocks, which tabix and gzip both read; equal content gives equal bytes."""

    def __init__(self, raw: IO[bytes]):
        from Bio import bgzf

        library: Any = bgzf  # it has no types
        self.writer = library.BgzfWriter(fileobj=raw, mode="wb")

    def write(self, data: bytes) -> int:
        self.writer.write(data)
        return len(data)

    def close(self) -> None:
        """Write the remaining data and the end-of-file block, and close the file."""
        self.writer.close()


def bgzip_file(raw: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", BgzipFile(raw))
