"""The catalogue from the command line: lists, facets, manifests, pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.conftest import write_signal
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.cli import main


def run(site: Site, *arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--site", str(site.path)])


def listed(site: Site, *arguments: object) -> list[str]:
    shown = run(site, "list", *arguments, "--json")
    assert shown.exit_code == 0, shown.output
    return [record["uid"] for record in json.loads(shown.stdout)]


@pytest.fixture
def more(site: Site) -> Site:
    site.catalogue.put_tilesets([
        TilesetRecord("liver", "DNase liver", "observed", "tiny", "x.bw", assay="DNase-seq", biosample="liver"),
        TilesetRecord("p", "Predicted", "predicted", "tiny", "x.bw", assay="DNASE", biosample="K562", model="random"),
        TilesetRecord("q", "Predicted", "predicted", "tiny", "x.bw", assay="CAGE", biosample="K562", model="random"),
    ])  # fmt: skip
    return site


def test_lists_by_words_and_facets(more: Site) -> None:
    assert listed(more) == ["signal", "liver", "p", "q"]
    assert listed(more, "dnase k562") == ["signal", "p"]
    assert listed(more, "--assay", "DNase-seq", "--kind", "observed") == ["signal", "liver"]
    assert listed(more, "--biosample", "k-562", "--biosample", "liver", "--assay", "CAGE") == ["q"]
    assert listed(more, "--source", "random") == listed(more, "--model", "random") == ["p", "q"]
    assert listed(more, "nothing") == []


def test_facets(more: Site) -> None:
    counted = json.loads(run(more, "list", "--facets", "--assay", "DNASE", "--json").stdout)
    assert counted["count"] == 3
    assert counted["facets"]["assay"] == [{"value": "DNASE", "count": 3}, {"value": "CAGE", "count": 1}]
    assert counted["facets"]["biosample"] == [{"value": "K562", "count": 2}, {"value": "liver", "count": 1}]
    assert ["assay", "DNASE", "3"] in [line.split() for line in run(more, "list", "--facets").stdout.splitlines()]


def test_a_manifest_of_a_site_makes_another(site: Site, tmp_path: Path) -> None:
    written = run(site, "list", "--manifest", tmp_path / "all.toml")
    assert written.exit_code == 0, written.output
    assert run(site, "list", "--manifest", "-").stdout == (tmp_path / "all.toml").read_text()
    added = run(site, "add", "--manifest", tmp_path / "all.toml", "--json")
    assert [record["uid"] for record in json.loads(added.stdout)] == ["signal"]


def test_a_folder_and_a_table_in_one_go(site: Site, tmp_path: Path) -> None:
    for name in ("a.bw", "b.bigWig"):
        write_signal(tmp_path / name)
    folder = run(site, "add", tmp_path, "--assay", "DNase-seq", "--json")
    assert [(r["uid"], r["assay"]) for r in json.loads(folder.stdout)] == [("a", "DNASE"), ("b", "DNASE")]
    (tmp_path / "t.tsv").write_text("file\tassay\tbiosample\tuid\na.bw\tATAC\tliver\ta\nb.bigWig\tATAC\tliver\tc\n")
    table = run(site, "add", tmp_path / "t.tsv", "--json")
    assert [(r["uid"], r["assay"]) for r in json.loads(table.stdout)] == [("a", "ATAC"), ("c", "ATAC")]
    assert listed(site) == ["signal", "a", "b", "c"]


def test_what_cannot_be_added_is_a_sentence_and_adds_nothing(site: Site, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("file\tassay\na.bw\tATAC\nb.bw\tATAC\n")
    write_signal(tmp_path / "a.bw")
    (tmp_path / "x").mkdir()
    write_signal(tmp_path / "x" / "a.bw")
    for arguments, sentence in [
        ((tmp_path / "t.tsv",), "Error: Nothing was added, because 1 of 2 tilesets failed the check."),
        ((tmp_path / "t.tsv",), "t.tsv, line 3: There is no file"),
        ((tmp_path / "a.bw", tmp_path / "x" / "a.bw"), "x/a.bw: the uid 'a' is already used by"),
        ((tmp_path / "t.tsv", "--assay", "ATAC"), "describes its files itself"),
        ((tmp_path / "t.tsv", tmp_path / "a.bw"), "Give either files, folders or addresses, or a manifest"),
        ((), "Give either files, folders or addresses, or a manifest"),
    ]:
        failed = run(site, "add", *arguments)
        assert failed.exit_code != 0
        assert sentence in failed.output
        assert listed(site) == ["signal"]


def test_pairs_are_listed_set_and_unset(more: Site) -> None:
    def pairs() -> list[list[str]]:
        shown = run(more, "pairs", "--json")
        assert shown.exit_code == 0, shown.output
        return [list(pair.values()) for pair in json.loads(shown.stdout)]

    by_rule = [["p", "signal", "same assay and biosample", "likely"]]
    assert pairs() == by_rule
    assert "same assay and biosample" in run(more, "pairs").stdout
    assert run(more, "pairs", "set", "q", "liver").exit_code == 0
    assert pairs() == [*by_rule, ["q", "liver", "chosen by hand", "chosen"]]
    assert run(more, "pairs", "unset", "p").exit_code == 0
    assert [pair[0] for pair in pairs()] == ["q"]
    for uid in ("p", "q"):
        assert run(more, "pairs", "reset", uid).exit_code == 0
    assert pairs() == by_rule
    failed = run(more, "pairs", "set", "signal", "liver")
    assert failed.exit_code == 1
    assert failed.output == "Error: 'signal' is observed, not predicted; name a predicted tileset first.\n"
