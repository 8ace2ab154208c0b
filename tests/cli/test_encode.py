from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.encode.portal import StandIn, site_with, standing_in
from trackserver.catalogue.site import Site
from trackserver.cli import main

ONE, TWO, EXPERIMENT = "ENCFF000AAA", "ENCFF000AAB", "ENCSR000AAA"


@pytest.fixture
def encode(monkeypatch: pytest.MonkeyPatch, files: Path) -> Iterator[StandIn]:
    """A portal with one ChIP-seq track of K562, and one of HepG2 that was revoked."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    data = (files / "signal.bw").read_bytes()
    with standing_in() as portal:
        portal.file(ONE, data)
        portal.file(TWO, data, status="revoked", biosample_ontology={"term_name": "HepG2"})
        yield portal


@pytest.fixture
def site(tmp_path: Path, files: Path, encode: StandIn) -> Site:
    return site_with(encode, tmp_path / "site", files)


def run(site: Site, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["encode", *arguments, "--site", str(site.path)])


def test_a_search_is_a_table_or_json(site: Site) -> None:
    shown = run(site, "search", "--biosample", "K562", "--assay", "TF ChIP-seq")
    assert shown.exit_code == 0, shown.output
    for word in (ONE, EXPERIMENT, "TF ChIP-seq", "K562", "GATA1", "fold change over control", "1, 2", "ENCODE Proc"):
        assert word in shown.stdout
    (file,) = json.loads(run(site, "search", "gata1", "--json").stdout)
    assert (file["accession"], file["experiment"], file["strand"]) == (ONE, EXPERIMENT, ".")


def test_a_search_says_what_it_does_not_show(site: Site, encode: StandIn) -> None:
    encode.file(TWO, encode.bytes_of[ONE])
    assert "1 of 2 files; list more with --limit" in run(site, "search", "--limit", "1").stderr
    nothing = run(site, "search", "--biosample", "k562")
    assert nothing.exit_code == 0 and nothing.stdout == "" and "K562, not k562" in nothing.stderr
    assert json.loads(run(site, "search", "--biosample", "k562", "--json").stdout) == []


def test_what_can_be_added_is_and_the_rest_is_said(site: Site) -> None:
    added = run(site, "add", EXPERIMENT, TWO, "--json")
    assert added.exit_code == 1
    assert [record["uid"] for record in json.loads(added.stdout)] == [ONE]
    assert f"Error: 1 could not be added.\n{TWO}: ENCODE has revoked it" in added.stderr
    assert [record.uid for record in site.catalogue.tilesets()] == [ONE]


def test_a_download_shows_its_progress_beside_the_table(site: Site) -> None:
    added = run(site, "add", ONE, "--download")
    assert added.exit_code == 0, added.output
    assert f"TF ChIP-seq GATA1 K562 ({ONE})" in added.stdout and "Fetching" in added.stderr
    assert "Fetching" not in added.stdout
    assert (site.tilesets / "encode" / f"{ONE}.bigWig").exists()


def test_a_portal_that_is_down_is_said_once_and_the_site_goes_on(site: Site, encode: StandIn) -> None:
    run(site, "add", ONE)
    encode.answers = [(503, {})] * 9
    failed = run(site, "add", TWO, "ENCSR000AAB")
    assert failed.exit_code == 1 and failed.stdout == ""
    assert failed.stderr.count("The ENCODE portal is busy (status 503)") == 1 and "Traceback" not in failed.output
    listed = CliRunner().invoke(main, ["list", "--site", str(site.path), "--json"])
    assert [record["uid"] for record in json.loads(listed.stdout)] == [ONE]


def test_citations_of_the_site_of_tracks_and_of_a_view(site: Site, encode: StandIn) -> None:
    assert "None of these tracks" in run(site, "cite").stderr
    encode.file(TWO, encode.bytes_of[ONE])
    run(site, "add", ONE, TWO)
    whole = run(site, "cite").stdout
    assert ONE in whole and TWO in whole and EXPERIMENT in whole and "Michael Snyder, Stanford" in whole
    assert TWO not in run(site, "cite", ONE).stdout
    view = site.catalogue.put_view({"views": [{"tracks": {"top": [{"tilesetUid": TWO}]}}]}, "mine")
    (cited,) = json.loads(run(site, "cite", "--view", view.id, "--json").stdout)
    assert (cited["accession"], cited["experiment"], cited["lab"]) == (TWO, "ENCSR000AAB", "Michael Snyder, Stanford")
    assert TWO in cited["text"]
    assert "No tileset 'nothing'" in run(site, "cite", "nothing").stderr
    assert "No view 'nothing'" in run(site, "cite", "--view", "nothing").stderr
