from __future__ import annotations

import gzip
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.genome.test_variant import Reads
from trackserver.errors import UnknownRsid, UnreadableFile
from trackserver.genome.assembly import Assembly, known_assembly
from trackserver.genome.variant import Variant
from trackserver.genome.vcf import VcfRow, read_vcf

HERE = Assembly("here", ("chr1", "chr2"), (50_000_000, 100))

VCF = (
    "##fileformat=VCFv4.3\n"
    '##INFO=<ID=AF,Number=A,Type=Float,Description="x">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\tS2\n"
    "1\t100\trs1\tA\tC\t50\tPASS\tAF=0.5\tGT\t0/1\t1/1\n"
    "1\t200\t.\tAC\tA,G,<DEL>,*\t.\t.\t.\n"
    "chr9\t200\t.\tAC\tA\t.\t.\t.\n"
    "1\tabc\t.\tA\tC\t.\t.\t.\n"
    "1\t300\n"
    "\n"
    "chr2\t101\tx;y\tA\tC\t.\t.\t.\n"
    "chr2\t7\t.\tN\tC\t.\t.\t.\r\n"
)


def rows(text: str | bytes, **more: object) -> list[VcfRow]:
    data = text if isinstance(text, bytes) else text.encode()
    return list(read_vcf(io.BytesIO(data), HERE, **more))  # type: ignore[arg-type]


def test_every_line_is_a_row_and_every_alt_has_its_status() -> None:
    found = rows(VCF)
    assert [row.number for row in found] == [4, 5, 6, 7, 8, 10, 11]
    first, second, nowhere, odd, short, off, unknown = found
    assert first.variants == (Variant("chr1", 100, "A", "C"),)
    assert (first.id, first.problems) == ("rs1", ())
    assert first.columns == ("1", "100", "rs1", "A", "C", "50", "PASS", "AF=0.5", "GT\t0/1\t1/1")
    assert first.text == "\t".join(first.columns)
    assert second.variants == (Variant("chr1", 200, "AC", "A"), Variant("chr1", 200, "AC", "G"))
    assert [allele.alt for allele in second.alleles] == ["A", "G", "<DEL>", "*"]
    assert [bool(allele.problem) for allele in second.alleles] == [False, False, True, True]
    assert second.problems[0].startswith(
        "Line 5: chr1:200:AC:<DEL> cannot be scored: ALT <DEL> gives the type of a change"
    )
    assert nowhere.problem == "Line 6: here has no chromosome 'chr9'; it has chr1, chr2."
    assert odd.problem == "Line 7: its POS 'abc' is not a position counted from 1."
    assert short.problem.startswith("Line 8: it has 2 columns, but a VCF has at least five")
    assert off.problems == ("Line 10: chr2:101:A:C is not on its chromosome: chr2 of here ends at 100.",)
    assert off.id == "x;y"
    assert "Line 11" in unknown.problems[0] and not unknown.text.endswith("\r")
    assert not any(row.variants for row in found[2:])


def test_the_header_is_kept() -> None:
    reader = read_vcf(io.BytesIO(VCF.encode()), HERE)
    assert reader.is_vcf
    assert reader.header == tuple(VCF.splitlines()[:3])
    reader.close()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("as_path", [False, True])
def test_plain_and_gzip_files_and_streams(tmp_path: Path, packed: bool, as_path: bool) -> None:
    path = tmp_path / "in.vcf"  # what it is is told by its content
    data = VCF.encode()
    half = data.index(b"1\t200")
    # Two members, as bgzip writes them.
    path.write_bytes(gzip.compress(data[:half]) + gzip.compress(data[half:]) if packed else data)
    if as_path:
        assert list(read_vcf(path, HERE)) == rows(VCF)
        return
    with path.open("rb") as stream:
        assert list(read_vcf(stream, HERE)) == rows(VCF)
        assert not stream.closed
    with tempfile.SpooledTemporaryFile() as upload:
        upload.write(path.read_bytes())
        upload.seek(0)
        assert list(read_vcf(upload, HERE)) == rows(VCF)


def test_a_list_in_any_form() -> None:
    table = {"rs7": (Variant("chr1", 9, "A", "C"), Variant("chr1", 9, "A", "G"))}

    def find_rsid(rsid: str) -> tuple[Variant, ...]:
        if rsid not in table:
            raise UnknownRsid(rsid, "table")
        return table[rsid]

    found = rows(
        "\ufeffchr1:100:A:C\n"
        "# a comment\n"
        "1-200-AC-A\tmy label\tmore\n"
        "chr1:g.300A>C\n"
        "rs7\n"
        "rs8\n"
        "TAL1\n"
        "chr1:5:A:C,G\n"
        "1 400 rs9 A C\n"
        "1\t500\t.\tA\tC\t.\t.\t.\n"
        "1\t600\tA\tC\tbeta\n"
        "1\t700\tA\tC,G\tT\t0.5\n"
        "chr2:5:A:-",
        genome=Reads("ACGTACGT"),
        find_rsid=find_rsid,
    )
    assert [(row.number, row.id, [str(v) for v in row.variants]) for row in found] == [
        (1, "", ["chr1:100:A:C"]),
        (3, "my label", ["chr1:200:AC:A"]),
        (4, "", ["chr1:300:A:C"]),
        (5, "rs7", ["chr1:9:A:C", "chr1:9:A:G"]),
        (6, "", []),
        (7, "", []),
        (8, "", ["chr1:5:A:C", "chr1:5:A:G"]),
        (9, "", ["chr1:400:A:C"]),
        (10, "", ["chr1:500:A:C"]),
        (11, "", ["chr1:600:A:C"]),
        (12, "", ["chr1:700:A:C", "chr1:700:A:G"]),
        (13, "", ["chr2:4:TA:T"]),
    ]
    assert found[4].problem.startswith("Line 6: table has no rs8")
    assert found[5].problem.startswith("Line 7: 'TAL1' is not a variant")
    assert [row.columns != () for row in found].index(True) == 8


def test_rsids_without_a_table_say_so() -> None:
    (row,) = rows("rs7\n")
    assert row.problem.startswith("Line 1: rs7 is an rsID, and no rsID table is installed")


def test_a_vcf_whose_tabs_became_spaces() -> None:
    (row,) = rows("##fileformat=VCFv4.2\n1   100  rs1  A   C  .  PASS  .\n")
    assert row.variants == (Variant("chr1", 100, "A", "C"),)


def test_a_vcf_without_rows_is_one() -> None:
    assert rows("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n") == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"BCF\x02\x02\x00\x00", "is a BCF; convert it to VCF with: bcftools view"),
        (gzip.compress(b"BCF\x02\x02\x00\x00", mtime=0), "is a BCF"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "is binary"),
        ("chr1:100:A:C\n".encode("utf-16"), "is binary"),
        (b"", "has no variants"),
        (b"# only this\n", "has no variants"),
        (b"Dear all,\nplease find attached\n", "neither a VCF nor a list of variants: it begins with 'Dear all,'"),
        (b">chr1\nACGT\n", "neither a VCF nor a list"),
        (gzip.compress(VCF.encode() * 1000, mtime=0)[:-300], "damaged or truncated"),
    ],
)
def test_what_is_no_list_of_variants(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "in.vcf.gz"
    path.write_bytes(data)
    with pytest.raises(UnreadableFile, match=why) as error:
        list(read_vcf(path, HERE))
    assert len(str(error.value)) < 300
    with pytest.raises(UnreadableFile, match=why):
        rows(data)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"none\.vcf is missing"):
        read_vcf(tmp_path / "none.vcf", HERE)


def test_rows_come_before_the_file_is_read_whole() -> None:
    asked = 0

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            nonlocal asked
            asked += 1
            line = b"chr1\t100\t.\tA\tC\t.\t.\t.\n"
            held = (line * (len(buffer) // len(line) + 1))[: len(buffer) // len(line) * len(line)]
            buffer[: len(held)] = held
            return len(held)

    reader: Iterator[VcfRow] = read_vcf(Endless(), HERE)  # type: ignore[arg-type]
    for _ in range(1000):
        assert next(reader).variants
    assert asked < 20


@pytest.mark.realdata
def test_a_real_vcf(real_data: Path) -> None:
    found = list(read_vcf(real_data / "hg38" / "eqtl.vcf", known_assembly("hg38")))
    assert len(found) == 8 and not any(row.problems for row in found)
    assert [str(v).replace(":", "_") + "_b38" for row in found for v in row.variants] == [row.id for row in found]
