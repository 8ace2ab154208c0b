"""Write scores into the INFO column of the input VCF; its header and other columns stay as they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO
from urllib.parse import quote

from trackserver.batches.table import Row
from trackserver.genome.assembly import Assembly
from trackserver.genome.vcf import VcfReader, VcfRow

_PREFIX = "TS_"
# INFO keys: the row's field, the VCF type, the description.
KEYS = {
    "STATUS": ("status", "String", "ok, or why this allele has no scores"),
    "MESSAGE": ("message", "String", "The status in a sentence"),
    "VARIANT": ("variant", "String", "The scored variant, in its normal form on the model's assembly"),
    "RANK": ("rank", "Integer", "1 for the largest impact"),
    "IMPACT": ("impact", "Float", "Sum of size over tracks, times the weight of their assay"),
    "TRACK": ("track", "Integer", "Index of the track with the largest size"),
    "TOP": ("name", "String", "Name of that track"),
    "REF": ("ref", "Float", "Its prediction for REF at the bin that changes most"),
    "ALT": ("alt", "Float", "Its prediction for ALT there"),
    "DELTA": ("delta", "Float", "ALT - REF there"),
    "LOG2FC": ("log2fc", "Float", "Its log2(ALT/REF), each summed over 501 bp around the variant"),
    "SIZE": ("size", "Float", "What tracks are ranked by: |delta| for a probability, else |log2fc|"),
    "VERDICT": ("verdict", "String", "For probabilities none, moderate (0.2 or more) or strong (0.5 or more)"),
    "GENE": ("gene", "String", "The gene with the nearest start site"),
    "DISTANCE": ("distance", "Integer", "Distance to it, bp"),
    "WARNINGS": ("warnings", "String", "Codes of the warnings, separated by |"),
}
_COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
_MAX_INFO_LETTERS = 200  # of one value


def write_vcf(
    out: IO[bytes],
    open_list: Callable[[], VcfReader],
    assembly: Assembly,
    about: Mapping[str, str],
    rows: Iterable[Row],
) -> None:
    """Write the input with `TS_` keys, each with a value for every ALT (Number=A); a plain list becomes a VCF.

    Lines that no VCF can hold, such as those without a position, are named in the header instead.

    Parameters
    ----------
    open_list
        Opens the input, which is read twice.
    rows
        The rows of all its lines, in order.
    """
    with open_list() as reader:
        header, is_vcf = reader.header, reader.is_vcf
        unwritable = [line for line in reader if not _fits_vcf(line)]
    notes = [f'##trackserver_unwritten=<ID=line{line.number},Message="{_quote(_first(line.problems))}">'
             for line in unwritable]  # fmt: skip
    lines = [*_base_header(header if is_vcf else (), assembly), *_header_fields(about), *notes]
    lines.append(next((line for line in header if is_vcf and line.startswith("#CHROM")), _COLUMNS))
    out.write("".join(f"{line}\n" for line in lines).encode())
    with open_list() as reader:
        for line, line_rows in _lines_with_rows(reader, rows):
            for text in _annotated(line, line_rows) if _fits_vcf(line) else ():
                out.write(f"{text}\n".encode())


def _base_header(header: Sequence[str], assembly: Assembly) -> list[str]:
    """The input's own header without the lines of an earlier run, or a new one."""
    own = [line for line in header if line.startswith("##") and not re.match(r"##(INFO=<ID=TS_|trackserver)", line)]
    if any(line.startswith("##fileformat=") for line in own):
        return own
    contigs = [f"##contig=<ID={chrom},length={size}>" for chrom, size in assembly.chromsizes.items()]
    return ["##fileformat=VCFv4.3", *(own or contigs)]


def _header_fields(about: Mapping[str, str]) -> Iterator[str]:
    for name, value in about.items():
        key = re.sub("^trackserver_trackserver$", "trackserver", re.sub("[^A-Za-z0-9_]+", "_", f"trackserver_{name}"))
        yield f"##{key}={' '.join(value.split())}"
    for key, (_, kind, description) in KEYS.items():
        yield f'##INFO=<ID={_PREFIX}{key},Number=A,Type={kind},Description="{description}">'


def _quote(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"')


def _first(problems: Sequence[str]) -> str:
    return problems[0] if problems else ""


def _fits_vcf(line: VcfRow) -> bool:
    """Whether a VCF can hold the line."""
    if line.columns:
        return len(line.columns) >= 5 and line.columns[1].isdecimal()
    return bool(line.variants)


def _lines_with_rows(lines: Iterable[VcfRow], rows: Iterable[Row]) -> Iterator[tuple[VcfRow, list[Row]]]:
    """Each line with its rows."""
    remaining = iter(rows)
    ahead = next(remaining, None)
    for line in lines:
        line_rows = []
        while ahead is not None and ahead.line <= line.number:
            line_rows.append(ahead)
            ahead = next(remaining, None)
        yield line, line_rows


def _annotated(line: VcfRow, rows: Sequence[Row]) -> Iterator[str]:
    """A VCF line with its keys; a line of a plain list becomes a VCF line for each of its variants."""
    if not line.columns:
        for variant, row in zip(line.variants, rows, strict=True):
            name = quote(line.id, safe=" ;:/+-_") or "."
            columns = [variant.chrom, str(variant.position), name, variant.ref, variant.alt, ".", "."]
            yield "\t".join([*columns, ";".join(_info([row]))])
        return
    columns = list(line.columns) + ["."] * (8 - len(line.columns))
    own_info = [part for part in columns[7].split(";") if part not in ("", ".") and not part.startswith(_PREFIX)]
    n_alts = len(columns[4].split(","))
    columns[7] = ";".join([*own_info, *_info(rows if len(rows) == n_alts else [rows[0]] * n_alts)])
    yield "\t".join(columns)


def _info(rows: Sequence[Row]) -> Iterator[str]:
    for key, (field, _, _) in KEYS.items():
        values = [_value(getattr(row, field)) for row in rows]
        if any(value != "." for value in values):
            yield f"{_PREFIX}{key}={','.join(values)}"


def _value(value: object) -> str:
    if value is None or value == "" or value == ():
        return "."
    if isinstance(value, float):
        return f"{value:.6g}"
    # VCF 4.3 allows no spaces, commas, semicolons or equals signs in INFO, so they are percent-encoded.
    text = "|".join(value) if isinstance(value, tuple) else re.sub(r"^Line \d+: ", "", str(value))[:_MAX_INFO_LETTERS]
    return quote(text, safe="!\"#$&'()*+-./:<>?@[\\]^_`{|}~")
