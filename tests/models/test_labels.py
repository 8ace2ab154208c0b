from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from trackserver.errors import DataError, InvalidRequest
from trackserver.models.card import Squash, Track
from trackserver.models.labels import read_labels

CALICO = """\
index\tgenome\tidentifier\tfile\tclip\tscale\tsum_stat\tdescription
5313\t1\tENCFF833POA\t/a.w5\t32\t2\tmean\tDNASE:cerebellum male adult (27 years)
5314\t1\tENCFF495DAC\t/b.w5\t32\t2\tmean\tCHIP:H3K27ac:liver, left lobe
5315\t1\tGSM1920693\t/c.w5\t64\t1\tsum\tCHIP:.:batch1 / LoVo / .
5316\t1\tCNhs10608\t/d.w5\t384\t1\tsum\tCAGE:lung adenocarcinoma cell line:PC-14,
5317\t1\tmine\t/e.w5\t384\t1\tsum\ta sample: the second
"""
BORZOI = """\
\tidentifier\tfile\tclip\tclip_soft\tscale\tsum_stat\tstrand_pair\tdescription
7\tCNhs10608+\t/a.w5\t768\t384\t1.0\tsum\t8\tCAGE:liver
8\tCNhs10608-\t/b.w5\t768\t384\t1.0\tsum\t7\tCAGE:liver
9\tENCFF833POA\t/c.w5\t128\t\t2.0\tmean\t9\tDNASE:liver
10\tGTEX-1.1\t/d.w5\t768\t384\t0.01\tsum_sqrt\t10\tRNA:liver
"""


def written(folder: Path, text: str, name: str = "labels.txt") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["targets.txt", "targets.txt.gz"])
def test_calico_rows_are_outputs_whatever_their_index_says(tmp_path: Path, name: str) -> None:
    tracks = read_labels(written(tmp_path, CALICO, name), "calico", 5)
    assert tracks[:2] == (
        Track(
            0,
            "DNASE:cerebellum male adult (27 years)",
            "DNASE",
            "cerebellum male adult (27 years)",
            accession="ENCFF833POA",
        ),
        Track(1, "CHIP:H3K27ac:liver, left lobe", "CHIP", "liver, left lobe", "H3K27ac", accession="ENCFF495DAC"),
    )
    assert [track.target for track in tracks] == ["", "H3K27ac", "", "", ""]
    assert tracks[3].biosample == "lung adenocarcinoma cell line:PC-14"
    assert (tracks[4].assay, tracks[4].biosample) == ("", "a sample: the second")


def test_borzoi_tracks_have_strands_pairs_and_a_squash(tmp_path: Path) -> None:
    tracks = read_labels(written(tmp_path, BORZOI), "calico", None)
    assert [(track.strand, track.strand_pair) for track in tracks] == [("+", 1), ("-", 0), (".", None), (".", None)]
    assert {track.accession for track in tracks[:2]} == {"CNhs10608"}
    assert [track.squash for track in tracks[1:]] == [
        Squash(1.0, 384.0, 1.0), Squash(2.0, None, 1.0), Squash(0.01, 384.0, 4 / 3),
    ]  # fmt: skip


def test_basenji_of_2018_has_no_header_and_calls_a_mark_histone(tmp_path: Path) -> None:
    text = "ENCSR000EJD_3_1\t/a.h5\tDNASE:GM12878\nENCSR057BWO_2_1\t/b.h5\tHISTONE:H3K4me3 GM12878\n"
    assert read_labels(written(tmp_path, text), "calico", 2) == (
        Track(0, "DNASE:GM12878", "DNASE", "GM12878", accession="ENCSR000EJD_3_1"),
        Track(1, "HISTONE:H3K4me3 GM12878", "CHIP", "GM12878", "H3K4me3", accession="ENCSR057BWO_2_1"),
    )


DEEPSEA = "BE2_C|DNase|None\nMCF-7|c-Myc|serum_starved_media\nHeLa-S3|c-Myc|None\nNA|NA|NA\nHCM|DNase|None\n"


@pytest.mark.parametrize(("form", "separator"), [("deepsea", "|"), ("deepsea", "_"), ("beluga", "_")])
def test_deepsea_and_beluga_name_cell_target_and_treatment(tmp_path: Path, form: str, separator: str) -> None:
    text = DEEPSEA.replace("|", separator)
    tracks = read_labels(written(tmp_path, text), form, 5)
    assert [track.name for track in tracks] == text.splitlines()
    assert [(track.assay, track.biosample, track.target) for track in tracks] == [
        ("DNASE", "BE2_C", ""),
        ("CHIP", "MCF-7", "c-Myc"),
        ("CHIP", "HeLa-S3", "c-Myc"),
        ("", "", ""),
        ("DNASE", "HCM", ""),
    ]


def test_a_name_with_underscores_that_stays_unclear_is_kept(tmp_path: Path) -> None:
    text = "SK-N-SH_RA_CTCF_None\nSK-N-SH_DNase.hot_None\nSK-N-SH_RA_GR_DEX_5nM\nECC-1_GR_DEX_5nM\n"
    tracks = read_labels(written(tmp_path, text), "beluga", None)
    assert [(track.assay, track.biosample, track.target) for track in tracks] == [
        ("CHIP", "SK-N-SH_RA", "CTCF"), ("DNASE", "SK-N-SH", ""), ("CHIP", "SK-N-SH_RA", "GR"), ("", "", ""),
    ]  # fmt: skip
    assert tracks[3].name == "ECC-1_GR_DEX_5nM"


def test_basset_and_sei(tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, "8988T\nPLCNT_FET \n"), "basset", 2)[1] == Track(
        1, "PLCNT_FET", "DNASE", "PLCNT_FET"
    )
    text = (
        "HeLa_Cervix | BTAF1 | ID:1\nWI-38 (4OHTAM) | DNase | ENCODE\nK562 | CTCF | ENCODE | 3\nA | ATAC-seq | ID:2\n"
    )
    tracks = read_labels(written(tmp_path, text), "sei", 4)
    assert tracks[0] == Track(0, "HeLa_Cervix | BTAF1 | ID:1", "CHIP", "HeLa_Cervix", "BTAF1", accession="ID:1")
    assert [track.assay for track in tracks] == ["CHIP", "DNASE", "CHIP", "ATAC"]
    assert tracks[2].name == "K562 | CTCF | ENCODE | 3"
    assert read_labels(written(tmp_path, "E1 Stem cell\nP Promoter\n"), "seiclasses", 2)[0] == Track(0, "E1 Stem cell")


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    text = (
        "\ufeffmean\tname\tassay\tbiosample\ttarget\tstrand\taccession\tstrand_pair\r\n"
        "0.5\tfirst\tDNase\tK562\t\t\tENCFF1\t\r\n\tsecond\tChIP-seq\tK562\tCTCF\t-\t\t2\r\n\tthird\t\t\t\t+\t\t1\r\n"
    )
    assert read_labels(written(tmp_path, text), "tsv", 3) == (
        Track(0, "first", "DNASE", "K562", accession="ENCFF1", mean=0.5),
        Track(1, "second", "CHIP", "K562", "CTCF", strand="-", strand_pair=2),
        Track(2, "third", strand="+", strand_pair=1),
    )
    assert read_labels(written(tmp_path, "name\nonly\n"), "tsv", 1) == (Track(0, "only"),)


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("tsv", "nmae\na\n", r"labels\.txt, line 1: the header has no column name"),
        ("tsv", "name\tbiosampel\na\tb\n", r"line 1: unknown column 'biosampel'; the columns are name, assay"),
        ("tsv", "name\tname\na\tb\n", "line 1: a column name is repeated"),
        ("tsv", "name\tassay\na\n", "line 2: it has 1 cells under a header of 2 columns"),
        ("tsv", "name\tassay\na\tb\n\tb\n", "line 3: its name is empty"),
        ("tsv", "name\tstrand\na\tplus\n", r"line 2: strand is 'plus' but should be \+ or - or \."),
        ("tsv", "name\tmean\na\tnan\n", "line 2: mean is 'nan' but should be a number above 0"),
        ("tsv", "name\tmean\na\t-1\n", "line 2: mean is '-1'"),
        ("tsv", "name\tstrand_pair\na\t1\nb\t1\n", "line 2: its strand_pair 1 is not a track that names it back"),
        ("tsv", "name\tstrand_pair\na\t7\n", "line 2: its strand_pair 7 is not a track that names it back"),
        ("tsv", "name\tstrand_pair\na\t-1\n", "line 2: strand_pair is '-1' but should be a whole number"),
        ("tsv", "name\n", "line 1: there are no tracks after the header"),
        ("calico", DEEPSEA, "line 1: the header has no column identifier, description"),
        ("calico", CALICO.replace("clip", "clop"), "line 1: unknown column 'clop'"),
        ("calico", BORZOI.replace("sum_sqrt", "sum_root"), "line 5: sum_stat is 'sum_root' but should be mean or sum"),
        ("calico", BORZOI.replace("\t2.0\t", "\t\t"), "line 4: scale is '' but should be a number above 0"),
        (
            "calico",
            BORZOI.replace("\t8\tCAGE", "\t9\tCAGE"),
            "line 2: its strand_pair 9 is not a track that names it back",
        ),
        ("deepsea", "K562|CTCF|None\nK562|CTCF\n", r"line 2: it should read cell\|target\|treatment"),
        ("beluga", "K562_CTCF_None\nK562\n", "line 2: it should read cell_target_treatment"),
        ("basset", DEEPSEA, "line 1: it should be the name of a cell type"),
        ("sei", DEEPSEA, r"line 1: it should read cell \| target \| ID:number"),
        ("seiclasses", "8988T\n", "line 1: it should read like E1 Stem cell"),
        ("basset", "K562\n\nHepG2\n", "line 2: the line is empty"),
        ("basset", "K562\n" + "a" * 10_001, "line 2: the line has 10,001 characters"),
        ("basset", "", "line 1: the line is empty"),
        ("basset", "K562\0\n", "not a label table but another kind of file"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, form: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labels(written(tmp_path, text), form, None)


def test_the_table_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lists 5 tracks but the model has 5,313: it is the table of another model"):
        read_labels(written(tmp_path, CALICO), "calico", 5313)


def test_no_file_no_text_and_no_such_form(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no label table"):
        read_labels(tmp_path / "none.txt", "calico", None)
    (tmp_path / "weights.h5").write_bytes(b"\x89HDF\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8 text"):
        read_labels(tmp_path / "weights.h5", "calico", None)
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(CALICO.encode())[:-9])
    with pytest.raises(DataError, match=r"cut\.txt\.gz cannot be read"):
        read_labels(tmp_path / "cut.txt.gz", "calico", None)
    with pytest.raises(InvalidRequest, match="the forms are calico, deepsea"):
        read_labels(tmp_path, "csv", None)


def test_a_hostile_name_costs_no_more_than_its_length(tmp_path: Path) -> None:
    names = ["a_b_None"] + ["_".join("a" * 4000)] * 500
    assert len(read_labels(written(tmp_path, "\n".join(names)), "beluga", 501)) == 501


@pytest.mark.parametrize(
    ("name", "form", "assays"),
    [
        ("basenji2_targets_human.txt", "calico", {"CHIP": 3991, "DNASE": 674, "CAGE": 638, "ATAC": 10}),
        ("basenji2_targets_mouse.txt", "calico", {"CHIP": 1058, "CAGE": 357, "ATAC": 127, "DNASE": 101}),
        ("borzoi_targets_human.txt", "calico", {"CHIP": 3886, "RNA": 1543, "CAGE": 1276, "DNASE": 674, "ATAC": 232}),
        ("deepsea_predictor.names", "deepsea", {"CHIP": 793, "DNASE": 125, "": 1}),
        ("beluga_predictor_names.txt", "beluga", {"CHIP": 1668, "DNASE": 334}),
        ("basset_target_labels.txt", "basset", {"DNASE": 164}),
        ("sei_target.names", "sei", {"CHIP": 19345, "DNASE": 1564, "ATAC": 964, "FAIRE": 34}),
        ("sei_seqclass.names", "seiclasses", {"": 40}),
    ],
)
def test_the_published_tables(labels: Path, name: str, form: str, assays: dict[str, int]) -> None:
    tracks = read_labels(labels / name, form, sum(assays.values()))
    assert Counter(track.assay for track in tracks) == assays
    assert [track.index for track in tracks] == list(range(len(tracks)))
    assert all(track.biosample for track in tracks if track.assay)
    for track in tracks:
        assert track.strand_pair is None or tracks[track.strand_pair].strand_pair == track.index
    assert (None in {track.squash for track in tracks}) == (name != "borzoi_targets_human.txt")


def test_borzoi_pairs_are_the_two_strands_of_one_experiment(labels: Path) -> None:
    tracks = read_labels(labels / "borzoi_targets_human.txt", "calico", 7611)
    paired = [(track, tracks[track.strand_pair]) for track in tracks if track.strand_pair is not None]
    assert len(paired) == 2 * 1226
    assert all(one.accession == other.accession and {one.strand, other.strand} == {*"+-"} for one, other in paired)
    assert {track.assay for track in tracks if track.squash and track.squash.power != 1} == {"RNA"}


def test_names_repeat(labels: Path) -> None:
    tracks = read_labels(labels / "deepsea_predictor.names", "deepsea", 919)
    assert sum(times > 1 for times in Counter(track.name for track in tracks).values()) == 54


def test_underscores_are_resolved_as_the_bars_say(labels: Path, tmp_path: Path) -> None:
    bars = labels / "deepsea_predictor.names"
    underscores = written(tmp_path, bars.read_text().replace("|", "_"))
    for bar, underscore in zip(
        read_labels(bars, "deepsea", 919), read_labels(underscores, "deepsea", 919), strict=True
    ):
        assert (bar.assay, bar.biosample, bar.target) == (underscore.assay, underscore.biosample, underscore.target)
