from __future__ import annotations

import gzip
import pickle
import time
import tracemalloc
from pathlib import Path

import pytest

from trackserver.errors import BadVariant, ChromosomesDoNotFit, DataError, UnknownRsid, UnreadableFile
from trackserver.genome.assembly import Assembly, from_pairs
from trackserver.genome.rsids import Rsids, index_rsids

HERE = Assembly("here", ("chr1", "chrX", "chrY"), (1_000_000, 1_000_000, 1_000_000))

VCF = """##fileformat=VCFv4.2
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
1\t100\trs30\tA\tC,G\t.\t.\tRS=30;VC=SNV
1\t100\trs31\tAT\tA\t.\t.\tRS=31
1\t200\trs4;rs5\tA\tT\t.\t.\t.
1\t300\t12345\tA\tT\t.\t.\tALLELEID=1;RS=6|7
1\t400\trs8\tA\t.\t.\t.\t.
1\t500\trs9\tA\t<DEL>,C\t.\t.\t.
1\t600\t.\tA\tC\t.\t.\t.
X\t50\trs30\tA\tC\t.\t.\t.
Y\t50\trs30\tA\tC\t.\t.\t.
HSCHR1_1\t50\trs30\tA\tC\t.\t.\t.
HSCHR1_1\t50\trs99\tA\tC\t.\t.\t.
"""


@pytest.fixture(scope="module", params=["plain", "gzip"])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rsids:
    folder = tmp_path_factory.mktemp("a folder, with 100% odd name?")
    vcf = folder / "dbsnp.vcf.gz"
    vcf.write_bytes(VCF.encode() if request.param == "plain" else gzip.compress(VCF.encode()))
    told: list[tuple[int, int]] = []
    assert index_rsids(vcf, folder / "rsids.db", HERE, lambda *at: told.append(at)) == 10
    assert told[-1] == (vcf.stat().st_size, vcf.stat().st_size)
    assert sorted(path.name for path in folder.iterdir()) == ["dbsnp.vcf.gz", "rsids.db"]
    return Rsids(folder / "rsids.db", HERE)


@pytest.mark.parametrize(
    ("rsid", "variants"),
    [
        ("rs30", ["chr1:100:A:C", "chr1:100:A:G", "chrX:50:A:C", "chrY:50:A:C"]),
        (" RS31 ", ["chr1:100:AT:A"]),
        ("rs4", ["chr1:200:A:T"]),
        ("rs5", ["chr1:200:A:T"]),
        ("rs6", ["chr1:300:A:T"]),
        ("rs7", ["chr1:300:A:T"]),
        ("rs9", ["chr1:500:A:C"]),
    ],
)
def test_what_a_name_stands_for(table: Rsids, rsid: str, variants: list[str]) -> None:
    assert [str(variant) for variant in table.find(rsid)] == variants
    assert [str(variant) for variant in pickle.loads(pickle.dumps(table)).find(rsid)] == variants


@pytest.mark.parametrize("rsid", ["rs1", "rs99", "rs12345", "rs600", "rs", "TAL1", "rs1'--", "rs999999999999"])
def test_names_it_does_not_have(table: Rsids, rsid: str) -> None:
    with pytest.raises(UnknownRsid, match=r"rsids.db has no rs|rsids.db has no TAL1"):
        table.find(rsid)


def test_a_name_without_bases(table: Rsids) -> None:
    with pytest.raises(BadVariant, match="no other allele was observed"):
        table.find("rs8")


def test_accessions_are_resolved(tmp_path: Path) -> None:
    vcf = tmp_path / "refseq.vcf"
    vcf.write_text("NC_000001.11\t100\trs1\tA\tC\t.\t.\t.\n")
    hg38 = from_pairs("hg38", [("chr1", 248_956_422)])
    index_rsids(vcf, tmp_path / "rsids.db", hg38)
    assert str(Rsids(tmp_path / "rsids.db", hg38).find("rs1")[0]) == "chr1:100:A:C"


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        ("7\t100\trs1\tA\tC\t.\t.\t.\n", ChromosomesDoNotFit, "no data on any chromosome of here"),
        ("1\t100\t.\tA\tC\t.\t.\t.\n", UnreadableFile, "has no rsID"),
        ("##fileformat=VCFv4.2\n", UnreadableFile, "has no rsID"),
        ("1\t100\trs1\tA\tC\t.\t.\t.\n1\tx\trs1\tA\tC\n", UnreadableFile, "line 2 is not a VCF line"),
        ("hello\n", UnreadableFile, "line 1 is not a VCF line|no data on"),
    ],
)
def test_vcfs_no_table_is_made_of(tmp_path: Path, text: str, error: type[Exception], why: str) -> None:
    vcf = tmp_path / "in.vcf"
    vcf.write_text(text)
    with pytest.raises((error, ChromosomesDoNotFit), match=why):
        index_rsids(vcf, tmp_path / "rsids.db", HERE)
    assert [path.name for path in tmp_path.iterdir()] == ["in.vcf"]


def test_what_is_no_table(table: Rsids, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="is missing"):
        Rsids(tmp_path / "none.db", HERE)
    (tmp_path / "text.db").write_text("hello " * 1000)
    with pytest.raises(UnreadableFile, match="is not an rsID table"):
        Rsids(tmp_path / "text.db", HERE)
    with pytest.raises(DataError, match="has the rsIDs of here, not of there"):
        Rsids(table.path, Assembly("there", ("chr1",), (1000,)))


def test_making_a_table_takes_little_memory_and_asking_little_time(tmp_path: Path) -> None:
    vcf = tmp_path / "in.vcf"
    with vcf.open("w") as out:
        out.writelines(f"1\t{n}\trs{n * 7919 % 20_011}\tA\tC\t.\t.\tRS=1\n" for n in range(1, 20_011))
    tracemalloc.start()
    assert index_rsids(vcf, tmp_path / "rsids.db", HERE) == 20_010
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()
    table = Rsids(tmp_path / "rsids.db", HERE)
    began = time.perf_counter()
    for n in range(1, 101):
        assert table.find(f"rs{n * 7919 % 20_011}")[0].position == n
    assert time.perf_counter() - began < 1
