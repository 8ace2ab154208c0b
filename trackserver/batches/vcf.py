"""A VCF with what was found written into its INFO column; its header and columns stay as they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO
from urllib.parse import quote

from trackserver.batches.table import Row
from trackserver.genome.assembly import Assembly
from trackserver.genome.vcf import VcfReader, VcfRow

_PREFIX = "TS_"
# INFO's keys: the row's field, VCF's type, words.
KEYS = {
    "STATUS": ("status", "String", "ok, or why this allele has no scores"),
    "MESSAGE": ("message", "String", "The status in a sentence"),
    "VARIANT": ("variant", "String", "The variant that was scored, in its normal form on the model's assembly"),
    "RANK": ("rank", "Integer", "1 for the largest impact"),
    "IMPACT": ("impact", "Float", "Sum of size over tracks, times the weight of their assay"),
    "TRACK": ("track", "Integer", "Index of the track of the largest size"),
    "TOP": ("name", "String", "Name of that track"),
    "REF": ("ref", "Float", "Its prediction for REF at the bin that changes most"),
    "ALT": ("alt", "Float", "Its prediction for ALT there"),
    "DELTA": ("delta", "Float", "ALT - REF there"),
    "LOG2FC": ("log2fc", "Float", "Its log2(ALT/REF) of the sums over 501 bp around the variant"),
    "SIZE": ("size", "Float", "What it is ranked by: |delta| of a probability, else |log2fc|"),
    "VERDICT": ("verdict", "String", "Of probabilities none, moderate (from 0.2 on) or strong (from 0.5 on)"),
    "GENE": ("gene", "String", "The gene whose start is nearest"),
    "DISTANCE": ("distance", "Integer", "bp to it"),
    "WARNINGS": ("warnings", "String", "Codes of what speaks against believing it, with | between"),
}
_COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
_MOST_INFO = 200  # letters of a text


def write_vcf(
    out: IO[bytes], read: Callable[[], VcfReader], assembly: Assembly, about: Mapping[str, str], rows: Iterable[Row]
) -> None:
    """The input with `TS_` keys, each with a value for every ALT (Number=A); of a list a VCF is made.

    Lines that cannot stand in a VCF, such as those without a position, are named in the header instead.

    Parameters
    ----------
    read
        Opens the input anew; it is read twice.
    rows
        The rows of all its lines, in order.
    """
    with read() as reader:
        header, is_vcf = reader.header, reader.is_vcf
        unwritable = [row for row in reader if not _stands(row)]
    notes = [f'##trackserver_unwritten=<ID=line{row.number},Message="{_quoted(_first(row.problems))}">'
             for row in unwritable]  # fmt: skip
    lines = [*_head(header if is_vcf else (), assembly), *_described(about), *notes]
    lines.append(next((line for line in header if is_vcf and line.startswith("#CHROM")), _COLUMNS))
    out.write("".join(f"{line}\n" for line in lines).encode())
    with read() as reader:
        for row, own in _together(reader, rows):
            for line in _lines(row, own) if _stands(row) else ():
                out.write(f"{line}\n".encode())


def _head(header: Sequence[str], assembly: Assembly) -> list[str]:
    """The input's own header without what an earlier run has left in it, or a new one."""
    kept = [line for line in header if line.startswith("##") and not re.match(r"##(INFO=<ID=TS_|trackserver)", line)]
    if any(line.startswith("##fileformat=") for line in kept):
        return kept
    contigs = [f"##contig=<ID={chrom},length={size}>" for chrom, size in assembly.chromsizes.items()]
    return ["##fileformat=VCFv4.3", *(kept or contigs)]


def _described(about: Mapping[str, str]) -> Iterator[str]:
    for name, value in about.items():
        key = re.sub("^trackserver_trackserver$", "trackserver", re.sub("[^A-Za-z0-9_]+", "_", f"trackserver_{name}"))
        yield f"##{key}={' '.join(value.split())}"
    for key, (_, kind, words) in KEYS.items():
        yield f'##INFO=<ID={_PREFIX}{key},Number=A,Type={kind},Description="{words}">'


def _quoted(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"')


def _first(problems: Sequence[str]) -> str:
    return problems[0] if problems else ""


def _stands(row: VcfRow) -> bool:
    """Whether a line is one a VCF can have."""
    if row.columns:
        return len(row.columns) >= 5 and row.columns[1].isdecimal()
    return bool(row.variants)


def _together(lines: Iterable[VcfRow], rows: Iterable[Row]) -> Iterator[tuple[VcfRow, list[Row]]]:
    """Each line with its rows."""
    remaining = iter(rows)
    ahead = next(remaining, None)
    for line in lines:
        own = []
        while ahead is not None and ahead.line <= line.number:
            own.append(ahead)
            ahead = next(remaining, None)
        yield line, own


def _lines(row: VcfRow, own: Sequence[Row]) -> Iterator[str]:
    """A line as it was, with its keys; of a line of a list one for each variant it means."""
    if not row.columns:
        for variant, found in zip(row.variants, own, strict=True):
            name = quote(row.id, safe=" ;:/+-_") or "."
            columns = [variant.chrom, str(variant.position), name, variant.ref, variant.alt, ".", "."]
            yield "\t".join([*columns, ";".join(_info([found]))])
        return
    columns = list(row.columns) + ["."] * (8 - len(row.columns))
    kept = [part for part in columns[7].split(";") if part not in ("", ".") and not part.startswith(_PREFIX)]
    n_alts = len(columns[4].split(","))
    columns[7] = ";".join([*kept, *_info(own if len(own) == n_alts else [own[0]] * n_alts)])
    yield "\t".join(columns)


def _info(own: Sequence[Row]) -> Iterator[str]:
    for key, (field, _, _) in KEYS.items():
        values = [_value(getattr(row, field)) for row in own]
        if any(value != "." for value in values):
            yield f"{_PREFIX}{key}={','.join(values)}"


def _value(value: object) -> str:
    if value is None or value == "" or value == ():
        return "."
    if isinstance(value, float):
        return f"{value:.6g}"
    # VCF 4.3 has no spaces, commas, semicolons or equals signs in INFO: they are written as %20 and so on.
    text = "|".join(value) if isinstance(value, tuple) else re.sub(r"^Line \d+: ", "", str(value))[:_MOST_INFO]
    return quote(text, safe="!\"#$&'()*+-./:<>?@[\\]^_`{|}~")
