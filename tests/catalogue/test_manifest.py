"""Manifests and tables of files: read, checked with file, line and key named, added whole or not at all, written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from tests.conftest import write_signal
from trackserver.catalogue.add import add_all, add_each
from trackserver.catalogue.facets import Index, TilesetQuery
from trackserver.catalogue.init import init_site
from trackserver.catalogue.manifest import ListEntry, format_manifest, read_list, read_manifest, read_table
from trackserver.catalogue.pairs import find_pairs
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.errors import DataError, InvalidRequest
from trackserver.models.card import ModelCard
from trackserver.sweep.prediction import track_uid
from trackserver.training.site_tracks import training_tracks

TWO = """
assembly = "tiny"

[[tileset]]
path = "a.bw"
assay = "DNase-seq"

[[tileset]]
path = "b.bw"
strand = "plus"
"""


def quiet(done: float, total: float) -> None:
    pass


def add(site: Site, path: Path) -> list[TilesetRecord]:
    return add_all(site, read_list(path, None, "tiny"), quiet)


def unchanging(records: list[TilesetRecord]) -> list[TilesetRecord]:
    return [replace(record, created=datetime(2026, 1, 1)) for record in records]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lists").mkdir()
    for name in ("a.bw", "b.bw"):
        write_signal(tmp_path / "lists" / name)
    return tmp_path / "lists"


def test_the_shipped_manifests_read(tmp_path: Path) -> None:
    manifests = sorted((Path(__file__).parents[2] / "tilesets").glob("*.toml"))
    assert manifests
    for manifest in manifests:
        assert read_manifest(manifest, tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x", "not valid TOML"),
        ("assembly = 'hg38'", "m.toml, line 1: 'tileset' is missing."),
        ("[[tileset]]\npath = 'a.bw'", "m.toml, line 1: 'assembly' is missing."),
        ("asembly = 'h'\n[[tileset]]\npath = 'a.bw'", "line 1: .* 'asembly'; did you mean 'assembly'[?]$"),
        (TWO.replace("assay", "asay"), "m.toml, line 6: unknown key 'asay'; did you mean 'assay'[?]$"),
        (TWO.replace('path = "b.bw"\n', ""), "m.toml, line 8: 'path' is missing."),
        (TWO.replace("plus", "up"), "m.toml, line 10: strand: input should be '[+]', '-' or"),
        (TWO.replace("b.bw", "b.txt"), "m.toml, line 8: 'b.txt' has no known file ending"),
        (
            TWO.replace("b.bw", "x/a.bw"),
            "line 8: the uid 'a' is already used by .*m.toml, line 4; change one of them",
        ),
        ("assembly = 'h'\ntileset = [{path = 'a.bw', asay = 'x'}]", "m.toml: unknown key 'asay'"),
        (TWO.replace("assay", "flavour"), r"line 6: unknown key 'flavour'; the keys are path, uid, .*provenance\.$"),
    ],
)
def test_what_is_no_manifest(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(DataError, match=why):
        read_manifest(tmp_path / "m.toml")


def test_every_fault_of_a_manifest_is_said(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(TWO.replace("assay", "asay").replace("plus", "up"))
    with pytest.raises(DataError) as error:
        read_manifest(tmp_path / "m.toml")
    lines = str(error.value).splitlines()
    assert [line.partition(", ")[2].partition(":")[0] for line in lines] == ["line 6", "line 10"]


def test_there_is_none(tmp_path: Path) -> None:
    for name in ("m.toml", "m.tsv"):
        with pytest.raises(DataError, match=f"There is no manifest .*{name}"):
            read_list(tmp_path / name, None, "tiny")
    (tmp_path / "m.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_manifest(tmp_path / "m.toml")


def test_a_table(site: Site, folder: Path) -> None:
    table = folder / "tracks.tsv"
    table.write_text(
        "file\tassay\tbiosample\tstrand\tuid\tclip\r\na.bw\tDNase-seq\tk562\t\t\t32\r\n\nb.bw\tCAGE\tliver\tplus\tmine\t\n"
    )
    first, other = add(site, table)
    assert (first.uid, first.name, first.assay, first.biosample, first.strand) == ("a", "a", "DNASE", "K562", ".")
    assert first.provenance == {"table": {"clip": "32"}, "original": {"assay": "DNase-seq", "biosample": "k562"}}
    assert (other.uid, other.strand, other.assembly, other.path) == ("mine", "+", "tiny", str(folder / "b.bw"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "lists no tilesets"),
        ("file\tassay\n", "lists no tilesets"),
        ("path\tassay\nx\ty", "t.tsv, line 1: the column 'file' is missing"),
        ("file\tbiosampel\nx\ty", "line 1: unknown column 'biosampel'; did you mean 'biosample'"),
        ("file\tassay\tassay\nx\ty\tz", "line 1: the column 'assay' appears twice"),
        ("file\tassay\na.bw\tDNASE\nb.bw CAGE", "line 3: 1 cells under a header of 2 columns; separate cells"),
        ("file\tstrand\na.bw\tup", "line 2: strand: input should be"),
        ("file\tassay\n\tDNASE", "line 2: path: "),
        ("file\na.bw\nb.bw\na.bigwig", "line 4: the uid 'a' is already used by .*t.tsv, line 2"),
        ("file\na.doc", "line 2: 'a.doc' has no known file ending"),
    ],
)
def test_what_is_no_table(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(text)
    with pytest.raises(DataError, match=why):
        read_table(tmp_path / "t.tsv", "tiny")


def spoil(folder: Path) -> None:
    (folder / "b.bw").write_bytes((folder / "b.bw").read_bytes()[:2000])


@pytest.mark.parametrize(
    ("harm", "why"), [(lambda folder: (folder / "b.bw").unlink(), "There is no file .*b.bw"), (spoil, "b.bw")]
)
def test_a_list_is_added_whole_or_not_at_all(
    site: Site, folder: Path, harm: Callable[[Path], object], why: str
) -> None:
    (folder / "m.toml").write_text(TWO)
    harm(folder)
    before = site.catalogue.tilesets()
    with pytest.raises(InvalidRequest, match=rf"(?s)Nothing was added, because 1 of 2 .*m.toml, line 8: .*{why}"):
        add(site, folder / "m.toml")
    assert site.catalogue.tilesets() == before


def test_two_files_with_one_uid_add_nothing(site: Site, folder: Path) -> None:
    listed = [
        ListEntry(name, TilesetRecord("same", "S", "observed", "tiny", str(folder / name))) for name in ("a.bw", "b.bw")
    ]
    for adding in (add_all, add_each):
        with pytest.raises(InvalidRequest, match=r"b.bw: the uid 'same' is already used by a.bw"):
            adding(site, listed, quiet)  # type: ignore[operator]
    assert [record.uid for record in site.catalogue.tilesets()] == ["signal"]


def test_a_written_manifest_reads_back_to_the_same_catalogue(site: Site, folder: Path, files: Path) -> None:
    (folder / "m.toml").write_text(TWO)
    add(site, folder / "m.toml")
    site.catalogue.put_tilesets([
        replace(site.catalogue.tileset("a"), uid="p", name='P "quoted" é', kind="predicted", model="m", track_index=0,
                source="m", provenance={"model": "m", "bin_width": 128, "ensemble": ["rc"], "nested": {"a": 1.5}}),
        TilesetRecord("url", "From elsewhere", "registered", "tiny", "https://x.org/x.bw"),
    ])  # fmt: skip
    own = [record for record in site.catalogue.tilesets() if record.kind != "registered"]
    (folder / "all.toml").write_text(format_manifest(site, site.catalogue.tilesets(), folder))
    assert 'path = "a.bw"' in (folder / "all.toml").read_text()
    other = init_site(folder / "other", "tiny", chromsizes=files / "chrom.sizes")
    add_all(other, read_manifest(folder / "all.toml"), quiet)
    assert unchanging(other.catalogue.tilesets()) == unchanging(own)
    (folder / "whole.toml").write_text(format_manifest(site, own))
    assert unchanging(add_all(other, read_manifest(folder / "whole.toml", Path("/")), quiet)) == unchanging(own)


def test_of_nothing_no_manifest_is_format_manifest(site: Site) -> None:
    with pytest.raises(InvalidRequest, match="No tileset matches"):
        format_manifest(site, [])


@pytest.mark.realdata
def test_the_real_tracks(real_data: Path, tmp_path: Path) -> None:
    """54 measured human tracks added by the table they came with, their facets, a trained model's pairs."""
    observed = real_data / "hg38" / "observed"
    site = init_site(tmp_path / "site", "hg38")
    added = add_all(site, read_table(observed / "manifest.tsv", "hg38"), quiet)
    assert len(added) == 54
    assert added[0].provenance["table"] == {
        "target_index": "0", "clip": "384", "clip_soft": "64", "scale": "1.0", "sum_stat": "sum_sqrt",
    }  # fmt: skip

    facets = Index(site.catalogue.tilesets()).count(TilesetQuery()).facets
    assert facets["assay"] == {"CAGE": 24, "DNASE": 10, "RNA": 10, "RNA3": 10}
    assert facets["strand"] == {"+": 21, "-": 21, ".": 12}
    assert facets["kind"] == {"observed": 54}
    assert len(facets["accession"]) == 33
    assert facets["biosample"]["Ca9-22"] == facets["biosample"]["CD4+ T Cells"] == 2

    tracks = tuple(track.track for track in training_tracks(site, "hg38", None))
    card = ModelCard("trained", "compact", "Trained", ("hg38",), 8192, 1024, 32, tracks, {}, "0" * 64)
    predictions = [
        TilesetRecord(track_uid(card, track.index, "hg38"), track.name, "predicted", "hg38", "", assay=track.assay,
                      biosample=track.biosample, target=track.target, strand=track.strand, accession=track.accession,
                      model=card.id, track_index=track.index)
        for track in tracks
    ]  # fmt: skip
    site.catalogue.put_tilesets(predictions)
    measured = {record.uid: track.name for record, track in zip(predictions, tracks, strict=True)}
    by_uid = {record.uid: record for record in added}
    found = find_pairs(site.catalogue.tilesets())
    assert {pair.predicted: by_uid[pair.observed].name for pair in found} == measured
    assert {pair.confidence for pair in found} == {"certain"}

    # What was not measured here is not made up from what is like it.
    left = [record for record in site.catalogue.tilesets() if record.accession[-1] not in "02468"]
    there = {record.uid for record in left}
    without = [*left, *(record for record in site.catalogue.tilesets(kind="predicted") if record.uid not in there)]
    assert {pair.observed for pair in find_pairs(without)} == there & set(by_uid)
    assert {pair.predicted: by_uid[pair.observed].name for pair in find_pairs(without)}.items() <= measured.items()

    # Without accessions too, by what they measure.
    nameless = [replace(record, accession="") for record in site.catalogue.tilesets()]
    by_words = find_pairs(nameless)
    assert {pair.predicted: by_uid[pair.observed].name for pair in by_words} == measured
    assert {pair.confidence for pair in by_words} == {"likely"}


@pytest.mark.realdata
def test_shipped_manifests_say_of_the_real_tracks_what_their_table_says(real_data: Path, tmp_path: Path) -> None:
    observed, shipped = real_data / "hg38" / "observed", Path(__file__).parents[2] / "tilesets"
    site = init_site(tmp_path / "site", "hg38")
    table = {record.uid: record for record in add_all(site, read_table(observed / "manifest.tsv", "hg38"), quiet)}
    for name, count in (("all-windows.toml", 54), ("dnase-cage-windows.toml", 14)):
        added = add_all(site, read_manifest(shipped / name, observed), quiet)
        assert len(added) == count
        for record in added:
            for field in ("path", "assay", "strand", "accession", "sha256"):
                assert getattr(record, field) == getattr(table[record.uid], field)
