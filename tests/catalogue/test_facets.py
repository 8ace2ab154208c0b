"""Searching and counting the catalogue, against the slow way; words as they enter it; earlier versions' catalogues."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserver.catalogue.facets import FACETS, MAX_VALUES, Index, TilesetQuery, normalise_facets
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import Catalogue, TilesetRecord

words = st.sampled_from(["", "a", "b", "K562", "k 562"])
records = st.lists(
    st.builds(
        TilesetRecord, st.uuids().map(str), words, st.sampled_from(["observed", "predicted"]), words, st.just(""),
        filetype=st.sampled_from(["bigwig", "cooler"]), assay=words, biosample=words, target=words,
        strand=st.sampled_from("+-."), accession=words, source=words, model=words,
    ),
    max_size=12,
)  # fmt: skip
choices = st.dictionaries(st.sampled_from(FACETS), st.lists(words | st.sampled_from("+-"), min_size=1, max_size=2))
wanted = st.builds(
    TilesetQuery,
    st.lists(words, max_size=2).map(" ".join),
    st.sampled_from([(), ("bigwig",)]),
    facets=choices.map(normalise_facets),
)


def slow(records: list[TilesetRecord], wanted: TilesetQuery, leaving_out: str = "") -> list[TilesetRecord]:
    """What is wanted, looked at one by one."""

    def same(name: str, text: str) -> str:
        return text.casefold().replace(" ", "") if name in ("biosample", "target") else text

    def is_wanted(record: TilesetRecord) -> bool:
        text = f"{record.name} {record.uid} {record.assay} {record.biosample} {record.target} {record.accession} "
        return (
            all(word in f"{text}{record.model}".casefold() for word in wanted.text.casefold().split())
            and (not wanted.filetypes or record.filetype in wanted.filetypes)
            and all(
                same(name, getattr(record, name)) in {same(name, value) for value in values}
                for name, values in wanted.facets.items()
                if name != leaving_out
            )
        )

    return [record for record in records if is_wanted(record)]


@given(records, wanted)
def test_found_and_counted_as_one_by_one(records: list[TilesetRecord], wanted: TilesetQuery) -> None:
    index = Index(records)
    assert index.find(wanted) == slow(records, wanted)
    counted = index.count(wanted)
    assert counted.count == len(slow(records, wanted))
    for name in FACETS:
        among = slow(records, wanted, leaving_out=name)
        assert counted.facets[name] == Counter(getattr(one, name) for one in among if getattr(one, name))


@given(records, st.sampled_from(["uid", "created", "filetype"]), st.booleans())
def test_orders(records: list[TilesetRecord], order: str, descending: bool) -> None:
    found = Index(records).find(TilesetQuery(order=order, descending=descending))
    keys = [str(getattr(record, order)) for record in found]
    assert keys == sorted(keys, reverse=descending)
    assert sorted(record.uid for record in found) == sorted(record.uid for record in records)


def test_ten_thousand() -> None:
    chance = random.Random(0)
    many = [
        TilesetRecord(f"u{n}", f"Track {n}", "observed", "hg38", "", assay=chance.choice(["DNASE", "CHIP"]),
                      biosample=f"biosample {chance.randrange(700)}", accession=f"ENCFF{n:06}", strand=".")
        for n in range(10_000)
    ]  # fmt: skip
    wanted = TilesetQuery("track 77", facets={"assay": ["DNASE"]})
    index = Index(many)
    assert index.find(wanted) == slow(many, wanted) != []
    described = index.count(TilesetQuery()).as_json()
    assert described["count"] == 10_000
    assert described["more"] == {"biosample": 500, "accession": 9_800}
    assert len(described["facets"]["biosample"]) == MAX_VALUES
    counts = [(-entry["count"], entry["value"]) for entry in described["facets"]["biosample"]]
    assert counts == sorted(counts)


def test_words_as_they_enter(site: Site) -> None:
    put = site.catalogue.put_tilesets
    first, other = put([
        TilesetRecord("a", "A", "observed", "tiny", "x.bw", assay="DNase-seq", biosample="k-562", target="Zfp 1"),
        TilesetRecord("b", "B", "predicted", "tiny", "x.bw", assay="DNASE", biosample="K562", target="ZFP1", model="m"),
    ])  # fmt: skip
    assert (first.assay, first.biosample, first.target, first.source) == ("DNASE", "K562", "Zfp 1", "file")
    assert first.provenance == {"original": {"assay": "DNase-seq", "biosample": "k-562"}}
    assert (other.target, other.provenance, other.source) == ("Zfp 1", {"original": {"target": "ZFP1"}}, "m")
    (third,) = put([TilesetRecord("c", "C", "observed", "tiny", "https://x.org/x.bw", target="zfp-1")])
    assert (third.target, third.source) == ("Zfp 1", "address")
    (again,) = put([replace(first, name="New")])
    assert again.provenance == first.provenance
    assert [record.uid for record in site.catalogue.tilesets()] == ["b", "c", "signal", "a"]


def test_a_catalogue_of_an_earlier_version_opens_in_todays_words(tmp_path: Path) -> None:
    database = tmp_path / "catalogue.sqlite"
    old = sqlite3.connect(database)
    columns = (
        "uid name kind filetype datatype assembly path assay biosample target strand accession model track_index size "
        "sha256 provenance created"
    ).split()
    old.execute(f"CREATE TABLE tilesets ({', '.join(columns)}, PRIMARY KEY (uid))")
    row = ("u", "U", "observed", "bigwig", "vector", "hg38", "u.bw", "DNase-seq", "k562", "", ".", "E1", "", None, 7,
           "", '{"source": "ENCODE"}', "2025-01-02 03:04:05.000000")  # fmt: skip
    old.execute(f"INSERT INTO tilesets VALUES ({', '.join('?' * len(columns))})", row)
    old.commit()
    old.close()
    for _ in range(2):
        record = Catalogue(f"sqlite:///{database}").tileset("u")
        assert (record.assay, record.biosample, record.source, record.size) == ("DNASE", "K562", "ENCODE", 7)
        assert record.provenance["original"] == {"assay": "DNase-seq", "biosample": "k562"}
        assert record.created.year == 2025


def test_a_catalogue_with_measured_pairs_opens_with_observed_ones(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalogue.sqlite'}"
    catalogue = Catalogue(url)
    catalogue.put_tilesets([TilesetRecord("u", "U", "observed", "tiny", "u.bw", provenance={"said": {"assay": "x"}})])
    catalogue.choose_pair("p", "u")
    database = sqlite3.connect(tmp_path / "catalogue.sqlite")
    database.execute("ALTER TABLE pairs RENAME COLUMN observed TO measured")
    database.close()
    for _ in range(2):
        assert Catalogue(url).chosen_pairs() == {"p": "u"}
        assert Catalogue(url).tileset("u").provenance == {"original": {"assay": "x"}}


@pytest.mark.parametrize(("asked", "meant"), [("DNase-seq", "DNASE"), ("dnase", "DNASE"), ("", None)])
def test_what_is_asked_is_in_the_catalogues_words_too(asked: str, meant: str | None) -> None:
    assert normalise_facets({"assay": [asked], "model": []}) == ({"assay": (meant,)} if meant else {})
