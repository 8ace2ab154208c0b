from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import write_signal
from trackserver import config
from trackserver.catalogue.check import check_site
from trackserver.catalogue.init import init_site
from trackserver.catalogue.site import Site, create_site, find_site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import add_tileset
from trackserver.catalogue.uids import uid_for
from trackserver.errors import (
    ChromosomesDoNotFit,
    DataError,
    InvalidRequest,
    SiteMissing,
    SiteReadOnly,
    UnknownTileset,
    UnreadableFile,
)


def test_where_no_site_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SiteMissing, match="trackserver init"):
        find_site()
    with pytest.raises(SiteMissing, match="is not a site"):
        Site(tmp_path / "nowhere")


def test_the_nearest_site_upwards_then_the_variable(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site.tilesets)
    assert find_site() == site.path
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACKSERVER_SITE", str(site.path))
    assert find_site() == site.path


def test_a_site_is_never_overwritten(site: Site) -> None:
    with pytest.raises(InvalidRequest, match="is already a site"):
        init_site(site.path, "hg38")


def test_a_site_by_name_needs_no_files(tmp_path: Path) -> None:
    site = init_site(tmp_path / "s", "hg38")
    assert site.assembly("hg38").chroms[0] == "chr1"
    with pytest.raises(InvalidRequest, match="no sequence of hg38"):
        _ = site.reference("hg38").genome


def test_a_site_by_its_fasta_alone(tmp_path: Path, files: Path) -> None:
    site = init_site(tmp_path / "s", "mine", fasta=files / "genome.fa")
    assert site.assembly("mine").chroms == ("chrA", "chrB", "chrC")


@pytest.mark.parametrize(
    ("assembly", "given", "error", "why"),
    [
        ("hg99", {}, DataError, "give --fasta or --chromsizes"),
        ("hg38", {"fasta": "missing.fa"}, DataError, "There is no file"),
        ("hg38", {"fasta": "genome.fa"}, ChromosomesDoNotFit, "no chromosome of hg38"),
        ("tiny", {"fasta": "genome.fa", "chromsizes": "wrong.sizes"}, ChromosomesDoNotFit, "70,000 bp long"),
        ("tiny", {"chromsizes": "chrom.sizes", "genes": "chrom.sizes"}, DataError, "refGene"),
        ("tiny", {"fasta": "chrom.sizes", "chromsizes": "chrom.sizes"}, DataError, "not FASTA"),
    ],
)
def test_a_site_that_cannot_be_leaves_no_site(
    tmp_path: Path, files: Path, assembly: str, given: dict[str, str], error: type[Exception], why: str
) -> None:
    (files / "wrong.sizes").write_text("chrA\t70001\n")
    with pytest.raises(error, match=why):
        init_site(tmp_path / "s", assembly, **{name: files / value for name, value in given.items()})
    assert not (tmp_path / "s" / config.FILE).exists()


def test_a_site_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SiteReadOnly, match="Cannot make a site"):
        create_site(tmp_path / "file" / "site", {})


def test_a_catalogue_that_cannot_be_written(site: Site) -> None:
    (site.path / "catalogue.sqlite").unlink()
    (site.path / "catalogue.sqlite").mkdir()
    with pytest.raises(SiteReadOnly, match="read-only"):
        Site(site.path).catalogue.tilesets()


def test_adding_checks_first_and_registers_only_what_is_good(site: Site, tmp_path: Path) -> None:
    def add(uid: str, path: Path) -> TilesetRecord:
        return add_tileset(site, TilesetRecord(uid, uid, "observed", "tiny", str(path)))

    write_signal(tmp_path / "good.bw")
    good = add("good", tmp_path / "good.bw")
    assert (good.size, len(good.sha256)) == ((tmp_path / "good.bw").stat().st_size, 64)
    write_signal(tmp_path / "other.bw", {"chr1": 100_000})
    with pytest.raises(ChromosomesDoNotFit):
        add("other", tmp_path / "other.bw")
    (tmp_path / "cut.bw").write_bytes((tmp_path / "good.bw").read_bytes()[:2000])
    with pytest.raises(UnreadableFile, match=r"cut.bw"):
        add("cut", tmp_path / "cut.bw")
    with pytest.raises(UnreadableFile, match="no file"):
        add("none", tmp_path / "none.bw")
    for uid in ("a.b", "fx-1", "genes-x", ""):
        with pytest.raises(InvalidRequest, match="cannot be a uid"):
            add(uid, tmp_path / "good.bw")
    assert {record.uid for record in site.catalogue.tilesets()} == {"signal", "good"}


def test_adding_again_replaces(site: Site) -> None:
    record = site.catalogue.tileset("signal")
    write_signal(site.tilesets / "new.bw", seed=9)
    added = add_tileset(site, TilesetRecord("signal", "New", "observed", "tiny", str(site.tilesets / "new.bw")))
    assert added.path == "tilesets/new.bw"
    assert added.sha256 != record.sha256
    assert [r.name for r in site.catalogue.tilesets()] == ["New"]


def test_check_finds_what_has_changed(site: Site) -> None:
    def faults() -> dict[str, str]:
        return {f.name: f.fault for f in check_site(Site(site.path), lambda done, total: None) if f.fault}

    assert faults() == {}
    write_signal(site.tilesets / "mine.bw")
    add_tileset(site, TilesetRecord("mine", "Mine", "observed", "tiny", str(site.tilesets / "mine.bw")))
    write_signal(site.tilesets / "mine.bw", seed=5)
    (site.models / "random" / "weights.safetensors").write_bytes(b"x")
    found = faults()
    assert set(found) == {"mine", "random"}
    assert "changed since it was added" in found["mine"]


def test_an_unknown_uid(site: Site) -> None:
    with pytest.raises(UnknownTileset, match="trackserver list"):
        site.catalogue.tileset("nothing")


@pytest.mark.parametrize(
    ("name", "uid"),
    [("ENCFF136DBS.bigWig", "ENCFF136DBS"), ("x.plus.BW", "x-plus"), ("å b.bw", "b"), (".bw", "tileset")],
)
def test_uids_of_file_names(name: str, uid: str) -> None:
    assert uid_for(name) == uid
