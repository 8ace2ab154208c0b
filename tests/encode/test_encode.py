"""The ENCODE importer against a stand-in for the portal that answers over HTTP as the portal does."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest

from tests.conftest import CHROMSIZES, write_signal
from tests.encode.portal import LAB, StandIn, site_with, standing_in
from tests.tiles.test_bigbed import write_bigbed
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.catalogue.pairs import TrackPair, find_pairs
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.viewconf import tilesets_of
from trackserver.encode.add import (
    AddOptions,
    AddResult,
    SearchTerms,
    add_files,
    choose_files,
    open_portal,
    search_files,
)
from trackserver.encode.citation import cite, cite_track
from trackserver.encode.portal import MAX_REQUESTS_PER_S, Portal, RateLimiter
from trackserver.encode.records import find_files, read_dataset, read_file
from trackserver.errors import DataError, InvalidRequest, NotFound, Unavailable
from trackserver.tiles.tileset import TileId

ONE, TWO, THREE = "ENCFF000AAA", "ENCFF000AAB", "ENCFF000AAC"
EXPERIMENT = "ENCSR000AAA"
# One checksum in both notations, from the portal's own tests.
HEXADECIMAL, BASE64 = "19e37212a2b8a24a1cfd12ffd50ef257", "GeNyEqK4okoc/RL/1Q7yVw=="


@pytest.fixture(scope="module")
def signal(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("encode") / "signal.bw"
    write_signal(path)
    return path.read_bytes()


@pytest.fixture
def encode(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with standing_in() as portal:
        yield portal


@pytest.fixture
def site(tmp_path: Path, files: Path, encode: StandIn) -> Site:
    return site_with(encode, tmp_path / "site", files)


@pytest.fixture
def portal(site: Site) -> Portal:
    return portal_at(site)


def portal_at(site: Site, today: date = date(2026, 11, 21)) -> Portal:
    return Portal(site.settings.encode_url, site.cache / "encode", limiter=RateLimiter(10_000), today=lambda: today)


def add(site: Site, portal: Portal, *accessions: str, **options: Any) -> AddResult:
    return add_files(site, portal, accessions, AddOptions(**options), lambda done, total: None)


def fault(site: Site, portal: Portal, *accessions: str, **options: Any) -> str:
    """The one sentence that says why nothing was added."""
    added = add(site, portal, *accessions, **options)
    assert added.records == [] and len(added.faults) == 1
    assert site.catalogue.tilesets() == []
    assert not [path for path in site.tilesets.rglob("*") if path.is_file()]
    return added.faults[0]


# The portal's records, in all their forms.


def test_a_search_lists_what_matters(encode: StandIn, portal: Portal, signal: bytes) -> None:
    encode.file(ONE, signal)
    encode.file(TWO, signal, biosample_ontology={"term_name": "HepG2"}, target={"label": "CTCF"})
    total, files = search_files(portal, SearchTerms(assembly="hg38"), 25)
    assert total == 2
    first = next(file for file in files if file.accession == ONE)
    assert (first.experiment, first.assay, first.biosample, first.target) == (
        EXPERIMENT,
        "TF ChIP-seq",
        "K562",
        "GATA1",
    )
    assert (first.output_type, first.replicates, first.size) == ("fold change over control", (1, 2), len(signal))
    assert (first.lab, first.biosample_id, first.analysis) == (
        "ENCODE Processing Pipeline",
        "EFO:0002067",
        (4, 1, 6, 0),
    )


@pytest.mark.parametrize(
    "terms",
    [
        SearchTerms(assay="TF ChIP-seq"), SearchTerms(assay="CHIP"), SearchTerms(biosample="K562"),
        SearchTerms(target="GATA1"), SearchTerms(assembly="hg38"), SearchTerms(assembly="GRCh38"),
        SearchTerms(output_type="fold change over control"), SearchTerms(text="gata1"),
    ],
)  # fmt: skip
def test_each_thing_can_be_looked_for(encode: StandIn, portal: Portal, signal: bytes, terms: SearchTerms) -> None:
    encode.file(ONE, signal)
    encode.file(
        TWO, signal, assay_title="DNase-seq", biosample_ontology={"term_name": "HepG2"}, target={"label": "CTCF"},
        assembly="hg19", output_type="signal p-value",
    )  # fmt: skip
    assert [file.accession for file in search_files(portal, terms, 25)[1]] == [ONE]


def test_no_hits_is_404_and_no_error(encode: StandIn, portal: Portal) -> None:
    assert search_files(portal, SearchTerms(biosample="k562", assembly="hg38"), 25) == (0, [])


def test_a_search_asks_for_what_the_portal_does_not_say_unasked(encode: StandIn, portal: Portal, signal: bytes) -> None:
    encode.file(ONE, signal)
    bare = portal.get("/search/", {"type": "File", "limit": 25})["@graph"][0]
    assert not {"md5sum", "cloud_metadata", "assay_title"} & set(bare)
    file = find_files(portal, {}, 25)[1][0]
    assert file.md5 and file.url.startswith(f"{encode.url}/bucket/") and file.assay == "TF ChIP-seq"


def test_missing_fields_are_empty(encode: StandIn, portal: Portal, signal: bytes) -> None:
    encode.file(
        ONE, signal, biosample_ontology=None,
        without=("preferred_default", "target", "cloud_metadata", "md5sum", "analyses", "biological_replicates", "lab"),
    )  # fmt: skip
    for file in (search_files(portal, SearchTerms(), 25)[1][0], read_file(portal, ONE)):
        assert (file.target, file.preferred, file.md5, file.biosample) == ("", False, "", "")
        assert (file.analysis, file.replicates, file.lab) == ((), (), "")
        assert file.url == f"{encode.url}/files/{ONE}/@@download/{ONE}.bigWig"


@pytest.mark.parametrize("title", ["DNase-seq", ["DNase-seq"]])
def test_an_assay_may_be_a_list(encode: StandIn, portal: Portal, signal: bytes, title: object) -> None:
    encode.file(ONE, signal, assay_title=title)
    assert read_file(portal, ONE).assay == "DNase-seq"


def test_annotations_may_have_several_targets(encode: StandIn, portal: Portal, signal: bytes) -> None:
    encode.file(ONE, signal, without=("target",), targets=[{"label": "JUN"}, "/targets/FOS-human/"])
    assert read_file(portal, ONE).target == "JUN, FOS"


def test_objects_may_be_paths(encode: StandIn, portal: Portal, signal: bytes) -> None:
    encode.file(
        ONE, signal, biosample_ontology="/biosample-types/cell_line_EFO_0002067/", target="/targets/GATA1-human/",
        lab="/labs/encode-processing-pipeline/", award="/awards/U41HG006992/", analyses=["/analyses/ENCAN000AAA/"],
        simple_biosample_summary="K562",
    )  # fmt: skip
    file = read_file(portal, ONE)
    assert (file.biosample, file.biosample_id, file.target) == ("K562", "EFO:0002067", "GATA1")
    assert (file.lab, file.analysis, file.experiment) == ("encode-processing-pipeline", (), EXPERIMENT)
    assert read_dataset(portal, file.dataset).lab == LAB["title"]  # its lab too is a path, and looked up


def test_a_dataset_may_be_an_object(encode: StandIn, portal: Portal, signal: bytes) -> None:
    encode.file(ONE, signal, dataset={"@id": encode.experiment(EXPERIMENT)})
    assert read_file(portal, ONE).experiment == EXPERIMENT


@pytest.mark.parametrize("saved", ["md5sum", "cloud_metadata"])
def test_a_checksum_is_the_same_in_both_writings(encode: StandIn, portal: Portal, signal: bytes, saved: str) -> None:
    other = ({"md5sum", "cloud_metadata"} - {saved}).pop()
    encode.file(ONE, signal, without=(other,), md5sum=HEXADECIMAL, cloud_metadata={"md5sum_base64": BASE64})
    assert read_file(portal, ONE).md5 == HEXADECIMAL


@pytest.mark.parametrize(
    ("output_type", "strand", "kind"),
    [
        ("fold change over control", ".", "observed"),
        ("plus strand signal of unique reads", "+", "observed"),
        ("minus strand signal of all reads", "-", "observed"),
        ("observed signal profile (minus strand)", "-", "observed"),
        ("predicted signal profile", ".", "predicted"),
        ("predicted signal profile (plus strand)", "+", "predicted"),
        ("bias-corrected predicted signal profile", ".", "predicted"),
        ("normalized bias-corrected predicted signal profile (minus strand)", "-", "predicted"),
        ("predicted bias profile", ".", "predicted"),
        ("counts sequence contribution scores", ".", "predicted"),
        ("DNN-MPRA predicted signal", ".", "predicted"),
    ],
)
def test_output_types_say_strand_and_whether_it_was_measured(
    encode: StandIn, site: Site, portal: Portal, signal: bytes, output_type: str, strand: str, kind: str
) -> None:
    encode.file(ONE, signal, output_type=output_type)
    record = add(site, portal, ONE).records[0]
    assert (record.strand, record.kind) == (strand, kind)


@pytest.mark.parametrize("answer", ["nothing", "a number", "no accession", "../accession"])
def test_an_answer_that_is_another_is_a_sentence(encode: StandIn, portal: Portal, signal: bytes, answer: str) -> None:
    encode.file(ONE, signal)
    if "accession" in answer:
        encode.objects[f"/files/{ONE}/"]["accession"] = "../x" if ".." in answer else None
        with pytest.raises(DataError, match=f"record of /files/{ONE}/: accession"):
            read_file(portal, ONE)
        return
    encode.page = b"<html>captive portal</html>" if answer == "nothing" else b"17"
    with pytest.raises(Unavailable, match=r"unlike the ENCODE portal.*encode_url"):
        read_file(portal, ONE)


# Choosing a file of an experiment.


def of_one_experiment(encode: StandIn, signal: bytes, *files: dict[str, object]) -> None:
    path = encode.experiment(EXPERIMENT)
    for number, more in enumerate(files):
        encode.file(f"ENCFF00{number}AAA", signal, dataset=path, **more)


FOLD, READ_DEPTH, UNIQUE = "fold change over control", "read-depth normalized signal", "signal of unique reads"


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ({"status": "archived", "preferred_default": True}, {"preferred_default": False}),
        ({"output_type": "signal p-value"}, {"output_type": FOLD, "preferred_default": False}),
        ({"output_type": FOLD, "assay_title": "DNase-seq"}, {"output_type": READ_DEPTH, "assay_title": "DNase-seq"}),
        ({"output_type": FOLD, "assay_title": "ATAC-seq"}, {"output_type": READ_DEPTH, "assay_title": "ATAC-seq"}),
        ({"output_type": "signal of all reads", "assay_title": "total RNA-seq"},
         {"output_type": UNIQUE, "assay_title": "total RNA-seq"}),
        ({"output_type": "raw signal", "assay_title": "MNase-seq"},
         {"output_type": UNIQUE, "assay_title": "MNase-seq"}),
        ({"preferred_default": None}, {"preferred_default": True, "biological_replicates": [1]}),
        ({"biological_replicates": [2]}, {"biological_replicates": [1, 2], "analyses": []}),
        ({"analyses": [{"title": "ENCODE4 v1.6.0 GRCh38"}]}, {"analyses": [{"title": "ENCODE4 v1.10.0 GRCh38"}]}),
        ({"analyses": [{"title": "Lab custom GRCh38"}]}, {"analyses": [{"title": "ENCODE3 GRCh38"}]}),
        ({"date_created": "2019-01-01"}, {"date_created": "2021-01-01"}),
        ({"assembly": "hg19"}, {"preferred_default": False}),
        ({"file_format": "bigBed", "output_type": FOLD}, {"output_type": "signal p-value"}),
        ({"restricted": True}, {"preferred_default": False}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("turned", [False, True])
def test_the_file_of_an_experiment_by_each_rule(
    encode: StandIn, portal: Portal, signal: bytes, worse: dict[str, object], better: dict[str, object], turned: bool
) -> None:
    of_one_experiment(encode, signal, *((better, worse) if turned else (worse, better)))
    files = find_files(portal, {}, "all")[1]
    assert [file.accession for file in choose_files(files, "hg38")] == ["ENCFF000AAA" if turned else "ENCFF001AAA"]


def test_a_stranded_experiment_is_both_strands(encode: StandIn, site: Site, portal: Portal, signal: bytes) -> None:
    stranded = [
        {"output_type": f"{strand} strand signal of {reads} reads", "biological_replicates": replicates,
         "assay_title": "total RNA-seq", "preferred_default": None}
        for strand in ("minus", "plus") for reads in ("all", "unique") for replicates in ([1], [2])
    ]  # fmt: skip
    stranded[0]["date_created"] = stranded[7]["date_created"] = "2022-01-01"
    of_one_experiment(encode, signal, *stranded)
    plus, minus = add(site, portal, EXPERIMENT).records
    assert (plus.strand, minus.strand, plus.assay) == ("+", "-", "RNA")
    stored = [record.provenance["encode"] for record in (plus, minus)]
    assert [one["output_type"] for one in stored] == [
        f"{way} strand signal of unique reads" for way in ("plus", "minus")
    ]
    assert stored[0]["biological_replicates"] == stored[1]["biological_replicates"] == [2]
    assert plus.name == f"total RNA-seq GATA1 K562 + ({plus.accession})"
    other = add(site, portal, EXPERIMENT, output_type="minus strand signal of all reads").records
    assert {record.provenance["encode"]["output_type"] for record in other} == {"minus strand signal of all reads"}


def test_another_output_type_can_be_chosen(encode: StandIn, site: Site, portal: Portal, signal: bytes) -> None:
    of_one_experiment(encode, signal, {}, {"output_type": "signal p-value"})
    assert [r.accession for r in add(site, portal, EXPERIMENT, output_type="signal p-value").records] == ["ENCFF001AAA"]
    says = add(site, portal, EXPERIMENT, output_type="peaks").faults[0]
    assert "no 'peaks'" in says and "fold change over control, signal p-value" in says


def test_a_search_keeps_an_experiments_files_together(encode: StandIn, portal: Portal, signal: bytes) -> None:
    of_one_experiment(encode, signal, {"output_type": "signal p-value", "date_created": "2023"}, {})
    encode.file(TWO, signal, date_created="2022")
    assert [f.accession for f in search_files(portal, SearchTerms(), 25)[1]] == ["ENCFF001AAA", "ENCFF000AAA", TWO]


def test_archived_files_of_hg19_are_looked_for_too(encode: StandIn, site: Site, portal: Portal, signal: bytes) -> None:
    of_one_experiment(encode, signal, {"status": "archived", "assembly": "hg19"}, {"status": "archived"})
    assert [file.accession for file in search_files(portal, SearchTerms(assembly="hg19"), 25)[1]] == ["ENCFF000AAA"]
    assert search_files(portal, SearchTerms(assembly="hg38"), 25)[1] == []
    record = add(site, portal, EXPERIMENT, assembly="hg19").records[0]
    assert (record.assembly, record.provenance["encode"]["status"]) == ("hg19", "archived")


@pytest.mark.parametrize("theirs", ["GRCh38", "GRCh38-minimal"])
def test_an_assembly_by_either_name(encode: StandIn, site: Site, portal: Portal, signal: bytes, theirs: str) -> None:
    encode.file(ONE, signal, assembly=theirs)
    assert search_files(portal, SearchTerms(assembly="hg38"), 25)[0] == 1
    for wished in ("", "hg38", "GRCh38"):
        assert add(site, portal, EXPERIMENT, assembly=wished).records[0].assembly == "hg38"
        assert add(site, portal, ONE, assembly=wished).records[0].assembly == "hg38"


# Adding to the catalogue.


def test_a_file_is_attached_where_everybody_reads_it(
    encode: StandIn, site: Site, portal: Portal, signal: bytes
) -> None:
    encode.file(ONE, signal, assay_title="DNase-seq", output_type=READ_DEPTH, without=("target",))
    added = add(site, portal, ONE)
    record = site.catalogue.tileset(ONE)
    assert [record.uid for record in added.records] == [ONE] and added.faults == []
    assert (record.name, record.kind, record.assembly) == (f"DNase-seq K562 ({ONE})", "observed", "hg38")
    assert (record.assay, record.biosample, record.target, record.strand) == ("DNASE", "K562", "", ".")
    assert (record.path, record.size) == (f"{encode.url}/bucket/{ONE}.bigWig", len(signal))
    assert (record.filetype, record.datatype, record.accession) == ("bigwig", "vector", ONE)
    provenance = record.provenance["encode"]
    assert record.provenance["source"] == record.path
    assert (provenance["experiment"], provenance["lab"], provenance["processed_by"]) == (
        EXPERIMENT,
        LAB["title"],
        "ENCODE Processing Pipeline",
    )
    assert (provenance["assay_title"], provenance["biosample_term_id"], provenance["assembly"]) == (
        "DNase-seq",
        "EFO:0002067",
        "GRCh38",
    )
    assert "" not in encode.ranges  # never the whole
    tileset_cache = TilesetCache(site)
    assert b'"dense"' in tileset_cache.tile(tileset_cache.get(ONE), TileId(ONE, 0, 0))


def test_without_a_public_copy_each_range_follows_the_redirect_to_a_signed_one(
    encode: StandIn, site: Site, portal: Portal, signal: bytes
) -> None:
    encode.file(ONE, signal, without=("cloud_metadata",))
    add(site, portal, ONE)
    assert site.catalogue.tileset(ONE).path == f"{encode.url}/files/{ONE}/@@download/{ONE}.bigWig"
    tileset_cache = TilesetCache(site)
    assert b'"dense"' in tileset_cache.tile(tileset_cache.get(ONE), TileId(ONE, 0, 0))
    assert any(path.startswith(f"/signed/{ONE}.bigWig?X-Amz") for path in encode.requests) and "" not in encode.ranges


@pytest.mark.parametrize("without", [(), ("cloud_metadata",)])
def test_a_file_is_copied_into_the_site(
    encode: StandIn, site: Site, portal: Portal, signal: bytes, without: tuple[str, ...]
) -> None:
    encode.file(ONE, signal, without=without)
    heard: list[tuple[int, int]] = []
    add_files(site, portal, [ONE], AddOptions(download=True), lambda done, total: heard.append((done, total)))
    record = site.catalogue.tileset(ONE)
    assert record.path == f"tilesets/encode/{ONE}.bigWig" and len(record.sha256) == 64
    assert (site.tilesets / "encode" / f"{ONE}.bigWig").read_bytes() == signal
    assert heard[-1] == (len(signal), len(signal))
    assert record.provenance["source"].startswith(encode.url)


def test_a_download_that_was_cut_short_goes_on(encode: StandIn, site: Site, portal: Portal, tmp_path: Path) -> None:
    encode.file(ONE, every_base(tmp_path / "long.bw"))
    encode.cut = 300_000
    added = add(site, portal, ONE, download=True)
    assert added.records == [] and "broke after 262,144 bytes; run the command again" in added.faults[0]
    assert site.catalogue.tilesets() == []
    assert add(site, portal, ONE, download=True).faults == []
    assert encode.ranges == ["", "bytes=262144-"]
    assert [path.name for path in (site.tilesets / "encode").iterdir()] == [f"{ONE}.bigWig"]


def every_base(path: Path) -> bytes:
    """A bigWig of several pieces: a value at each base."""
    rng = np.random.default_rng(5)
    with pyBigWig.open(str(path), "w") as writer:
        writer.addHeader(list(CHROMSIZES.items()))
        for chrom, size in CHROMSIZES.items():
            writer.addEntries(chrom, 0, values=rng.gamma(0.5, 2.0, size), span=1, step=1)
    return path.read_bytes()


def test_a_copy_with_another_checksum_is_removed(encode: StandIn, site: Site, portal: Portal, signal: bytes) -> None:
    encode.file(ONE, signal)
    encode.spoilt.add(ONE)
    assert re.search(
        r"expected md5:\w{32} but got \w{32}; the file was removed", fault(site, portal, ONE, download=True)
    )


def test_a_copy_that_does_not_fit_is_removed(encode: StandIn, site: Site, portal: Portal, tmp_path: Path) -> None:
    write_signal(tmp_path / "other.bw", {"chrA": CHROMSIZES["chrA"] + 1})
    encode.file(ONE, (tmp_path / "other.bw").read_bytes())
    assert "was not made with hg38: its chrA is 70,001 bp long" in fault(site, portal, ONE, download=True)


def test_without_a_checksum_nothing_is_copied(encode: StandIn, site: Site, portal: Portal, signal: bytes) -> None:
    encode.file(ONE, signal, without=("md5sum", "cloud_metadata"))
    assert "no checksum for it, so a copy could not be checked; add it without --download" in fault(
        site, portal, ONE, download=True
    )
    assert add(site, portal, ONE).faults == []


def test_peaks_may_be_added(encode: StandIn, site: Site, portal: Portal, tmp_path: Path) -> None:
    data = write_bigbed(tmp_path / "peaks.bb", CHROMSIZES, [("chrA", 10, 500, "peak\t900\t.")]).read_bytes()
    encode.file(ONE, data, file_format="bigBed", output_type="peaks", assay_title="DNase-seq", without=("target",))
    record = add(site, portal, ONE).records[0]
    assert (record.filetype, record.datatype, record.name) == ("bigbed", "bedlike", f"DNase-seq K562 peaks ({ONE})")


def test_several_are_added_at_once_and_what_is_wrong_is_said(
    encode: StandIn, site: Site, portal: Portal, signal: bytes
) -> None:
    encode.file(ONE, signal)
    encode.file(TWO, signal, status="revoked")
    encode.file(THREE, signal)
    encode.lost.add(THREE)
    page = f"https://www.encodeproject.org/files/{ONE}/"
    added = add(site, portal, ONE, TWO, THREE, "K562", page, ONE.lower(), EXPERIMENT)
    assert [record.uid for record in added.records] == [ONE]
    assert [says.partition(":")[0] for says in added.faults] == [TWO, "K562", THREE]
    assert [record.uid for record in site.catalogue.tilesets()] == [ONE]


def test_it_is_what_a_prediction_of_the_same_is_compared_with(
    encode: StandIn, site: Site, portal: Portal, signal: bytes
) -> None:
    encode.file(ONE, signal)
    add(site, portal, ONE)
    predicted = TilesetRecord(
        "m-t0", "CHIP:GATA1:K562", "predicted", "hg38", "m.bw", assay="CHIP", biosample="K562", target="GATA1"
    )
    site.catalogue.put_tilesets([predicted])
    assert find_pairs(site.catalogue.tilesets()) == [
        TrackPair("m-t0", ONE, "same assay, biosample and target", "likely")
    ]


def test_adding_again_takes_the_old_ones_place(encode: StandIn, site: Site, portal: Portal, signal: bytes) -> None:
    encode.file(ONE, signal)
    add(site, portal, ONE)
    add(site, portal, ONE, download=True)
    assert [record.path for record in site.catalogue.tilesets()] == [f"tilesets/encode/{ONE}.bigWig"]


# Files that cannot be added.


Change = Callable[[StandIn, bytes], object]
REFUSALS: dict[str, tuple[Change, str]] = {
    "revoked": (
        lambda e, s: e.file(ONE, s, status="revoked"),
        "revoked it, so it should not be used; `trackserver encode add ENCSR000AAA`",
    ),
    "replaced": (lambda e, s: e.file(ONE, s, status="replaced"), "replaced it with another"),
    "in progress": (lambda e, s: e.file(ONE, s, status="in progress"), "has not released /files/ENCFF000AAA/"),
    "uploading": (lambda e, s: e.file(ONE, s, status="uploading"), r"has not released it \(its status is uploading\)"),
    "of a revoked experiment": (
        lambda e, s: e.file(ONE, s, dataset=e.experiment("ENCSR000AAA", status="revoked")),
        "revoked it.*another experiment",
    ),
    "restricted": (lambda e, s: e.file(ONE, s, restricted=True), "does not distribute this file"),
    "not there": (lambda e, s: e.file(ONE, s, no_file_available=True), "does not distribute this file"),
    "alignments": (
        lambda e, s: e.file(ONE, s, file_format="bam", output_type="alignments"),
        r"is a bam \(alignments\), not a bigWig; `trackserver encode add ENCSR000AAA` adds the preferred file",
    ),
    "another assembly": (lambda e, s: e.file(ONE, s, assembly="mm10"), "is on mm10, but this site has hg38, hg19"),
    "no bigWig": (lambda e, s: e.file(ONE, b"no bigWig" * 100), "neither a bigWig nor a bigBed"),
    "other bytes": (lambda e, s: e.file(ONE, s, file_size=17), "the portal says 17"),
    "unknown": (lambda e, s: None, "ENCODE has no ENCFF000AAA; check the accession.*encode search"),
    "vanished": (lambda e, s: (e.file(ONE, s), e.lost.add(ONE)), "There is no file .*ENCFF000AAA.bigWig"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_file_that_cannot_be_added_is_a_sentence(
    encode: StandIn, site: Site, portal: Portal, signal: bytes, what: str
) -> None:
    change, says = REFUSALS[what]
    change(encode, signal)
    assert re.search(says, fault(site, portal, ONE))


@pytest.mark.parametrize("text", ["K562", "ENCBS000AAA", "ENCFF1", "XENCFF000AAAX", ""])
def test_what_is_no_accession(site: Site, portal: Portal, encode: StandIn, text: str) -> None:
    assert "not an ENCODE accession; write a file's, such as ENCFF136DBS" in fault(site, portal, text)
    assert encode.requests == []


def test_a_replaced_accession_leads_to_the_other(encode: StandIn, site: Site, portal: Portal, signal: bytes) -> None:
    encode.file(TWO, signal)
    encode.moved[f"/files/{ONE}/"] = f"/files/{TWO}/"
    assert f"ENCODE has replaced it with {TWO}; add that one" in fault(site, portal, ONE)


def test_the_wrong_assembly_says_which_there_are(encode: StandIn, site: Site, portal: Portal, signal: bytes) -> None:
    of_one_experiment(encode, signal, {"assembly": "hg19"}, {"assembly": "mm10-minimal"})
    assert "It has no bigWig on hg38, but has one on hg19, mm10 (--assembly)" in fault(site, portal, EXPERIMENT)
    assert "It is on hg19, not on hg38" in fault(site, portal, "ENCFF000AAA", assembly="hg38")
    assert "No assembly 'mm10' here; known: hg38, hg19" in fault(site, portal, EXPERIMENT, assembly="mm10")


def test_an_experiment_that_has_nothing_to_show(encode: StandIn, site: Site, portal: Portal) -> None:
    encode.experiment(EXPERIMENT)
    assert "no bigWig that can be shown; the output types of its bigWigs and bigBeds: none" in fault(
        site, portal, EXPERIMENT
    )
    encode.experiment("ENCSR000AAB", status="revoked")
    assert "revoked it" in fault(site, portal, "ENCSR000AAB")
    assert "ENCODE has no ENCSR000AAC" in fault(site, portal, "ENCSR000AAC")


def test_one_uid_for_two_files(encode: StandIn, site: Site, portal: Portal, signal: bytes) -> None:
    encode.file(ONE, signal)
    encode.file(TWO, signal)
    with pytest.raises(InvalidRequest, match=f"{ONE}, {TWO} cannot all have the uid 'mine'"):
        add(site, portal, ONE, TWO, uid="mine")
    assert [record.uid for record in add(site, portal, ONE, uid="mine").records] == ["mine"]
    assert "The uid 'mine' already belongs to another file" in add(site, portal, TWO, uid="mine").faults[0]
    assert "letters, digits, _ and -" in add(site, portal, TWO, uid="a.b").faults[0]
    assert [record.accession for record in site.catalogue.tilesets()] == [ONE]


# The portal as a server.


def test_a_busy_portal_is_asked_again(encode: StandIn, portal: Portal, signal: bytes) -> None:
    encode.file(ONE, signal)
    encode.answers = [(429, {"Retry-After": "1"})]
    assert read_file(portal, ONE).accession == ONE
    assert len(encode.times) == 2 and encode.times[1] - encode.times[0] > 0.9


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_but_not_for_ever(encode: StandIn, portal: Portal, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    encode.answers = [(status, {"Retry-After": "86400"} if status == 429 else {})] * 9
    with pytest.raises(Unavailable, match=f"is busy \\(status {status}\\); try again"):
        read_file(portal, ONE)
    assert len(encode.requests) == 4 and max(waits) <= 20


def test_a_fault_of_the_portal_is_not_asked_again(encode: StandIn, portal: Portal) -> None:
    encode.answers = [(500, {})] * 2
    with pytest.raises(Unavailable, match="status 500"):
        read_file(portal, ONE)
    assert len(encode.requests) == 1


def test_a_question_that_the_portal_does_not_take(encode: StandIn, portal: Portal) -> None:
    encode.answers = [(400, {})]
    with pytest.raises(InvalidRequest, match="does not accept this query"):
        search_files(portal, SearchTerms(), 25)


def test_a_portal_that_is_down_is_said_once_and_the_site_goes_on(
    encode: StandIn, site: Site, portal: Portal, signal: bytes
) -> None:
    encode.file(ONE, signal)
    add(site, portal, ONE, download=True)
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        down = Portal(
            f"http://127.0.0.1:{nobody_listens.getsockname()[1]}", site.cache / "encode", limiter=RateLimiter(10_000)
        )
        with pytest.raises(Unavailable, match=r"cannot be reached at http.*keeps serving the tracks") as error:
            add(site, down, TWO, THREE)
    assert str(error.value).count("cannot be reached") == 1
    tileset_cache = TilesetCache(site)
    assert b'"dense"' in tileset_cache.tile(tileset_cache.get(ONE), TileId(ONE, 0, 0))
    assert [record.uid for record in site.catalogue.tilesets()] == [ONE]


def test_no_more_than_five_questions_a_second() -> None:
    now, slept = 100.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    limiter = RateLimiter(MAX_REQUESTS_PER_S, clock=lambda: now, sleep=sleep)
    turns = []
    for _ in range(11):
        limiter.wait()
        turns.append(now)
    assert turns[0] == 100.0 and turns[-1] == pytest.approx(102.0)
    assert all(turns[n + 5] - turns[n] == pytest.approx(1.0) for n in range(6))
    now += 60
    limiter.wait()
    assert len(slept) == 10  # after a rest there is no waiting, and no burst either


def test_every_question_keeps_the_pace_redirects_included(encode: StandIn, site: Site, signal: bytes) -> None:
    encode.file(ONE, signal)
    portal = open_portal(site)
    for _ in range(2):
        read_dataset(portal, f"/{EXPERIMENT}/")
    assert len(encode.times) == 3  # the redirect, the experiment, its lab; the second time they are known
    assert encode.times[-1] - encode.times[0] > 0.3


def test_what_was_answered_today_is_not_asked_again(encode: StandIn, site: Site, signal: bytes) -> None:
    encode.file(ONE, signal)
    read_file(portal_at(site), ONE)
    assert len(encode.requests) == 1
    encode.file(ONE, signal, status="revoked")
    assert read_file(portal_at(site), ONE).status == "released" and len(encode.requests) == 1
    tomorrow = portal_at(site, date(2026, 11, 22))
    assert read_file(tomorrow, ONE).status == "revoked" and len(encode.requests) == 2
    assert [folder.name for folder in (site.cache / "encode").iterdir()] == ["2026-11-22"]


def test_errors_and_damaged_answers_are_not_kept(encode: StandIn, site: Site, portal: Portal, signal: bytes) -> None:
    with pytest.raises(NotFound):
        read_file(portal, ONE)
    encode.file(ONE, signal)
    read_file(portal, ONE)
    (saved,) = (site.cache / "encode").rglob("*.json")
    saved.write_text("{cut sho")
    assert read_file(portal, ONE).accession == ONE and len(encode.requests) == 3


def test_where_nothing_can_be_kept_the_portal_is_asked_each_time(
    encode: StandIn, site: Site, portal: Portal, signal: bytes
) -> None:
    encode.file(ONE, signal)
    (site.cache / "encode").write_text("a file")
    assert [read_file(portal, ONE).accession for _ in range(2)] == [ONE, ONE]


# Citations.


def test_citations_name_experiment_file_and_lab(encode: StandIn, site: Site, portal: Portal, signal: bytes) -> None:
    encode.file(ONE, signal)
    encode.file(TWO, signal, dataset=encode.experiment("ENCSR000AAB", lab={"title": "Bradley Bernstein, Broad"}))
    add(site, portal, ONE, TWO)
    one, two = (site.catalogue.tileset(uid) for uid in (ONE, TWO))
    assert cite_track(one) == (
        f"{ONE}; TF ChIP-seq GATA1 K562 (fold change over control, GRCh38); experiment {EXPERIMENT}; "
        "produced by Michael Snyder, Stanford"
    )
    text = cite([one, two, TilesetRecord("mine", "Mine", "observed", "hg38", "mine.bw")])
    for part in (
        cite_track(one),
        cite_track(two),
        "produced these data: Michael Snyder, Stanford; Bradley Bernstein, Broad",
    ):
        assert part in text
    assert "mine" not in text.lower() and text.count("https://doi.org/") == 2
    assert cite([]) == ""


def test_the_tilesets_of_a_view() -> None:
    inner = {"type": "horizontal-bar", "tilesetUid": ONE}
    viewconf = {
        "views": [{"tracks": {"top": [{"type": "combined", "contents": [inner, {"data": {"tilesetUid": TWO}}]}]}}]
    }
    assert list(tilesets_of(viewconf)) == [ONE, TWO]
