"""Pairs of predicted and observed tilesets: by rule, or chosen by people, and never invented."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserver.catalogue.pairs import TrackPair, choose, choose_none, find_pairs, forget, pairs_by_uid
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.errors import InvalidRequest, UnknownTileset


def observed(uid: str, assembly: str = "hg38", **words: Any) -> TilesetRecord:
    return TilesetRecord(uid, uid, "observed", assembly, "", **words)


def predicted(uid: str, assembly: str = "hg38", **words: Any) -> TilesetRecord:
    return TilesetRecord(uid, uid, "predicted", assembly, "", model="m", **words)


def encode(experiment: str, *replicates: int, output_type: str = "read-depth normalized signal") -> dict[str, Any]:
    said = {"experiment": experiment, "biological_replicates": list(replicates), "output_type": output_type}
    return {"provenance": {"encode": said}}


K562 = {"assay": "DNASE", "biosample": "K562"}


def test_by_accession_then_by_words() -> None:
    records = [
        observed("o1", accession="ENCFF1", **K562), observed("o2", assay="DNASE", biosample="HepG2"),
        observed("o3+", accession="C1", strand="+"), observed("o3-", accession="C1", strand="-"),
        observed("o4", assay="CHIP", biosample="K562", target="CTCF"),
        observed("o5", accession="ENCFF5", **encode("ENCSR000AAA")),
        predicted("p1", accession="encff1"), predicted("p2", assay="DNASE", biosample="hepg2"),
        predicted("p3", accession="C1", strand="-"), predicted("p4", assay="CHIP", biosample="K562", target="CTCF"),
        predicted("p5", accession="ENCSR000AAA"), predicted("p6", accession="ENCFF6", **K562),
    ]  # fmt: skip
    assert find_pairs(records) == [
        TrackPair("p1", "o1", "same accession ENCFF1", "certain"),
        TrackPair("p2", "o2", "same assay and biosample", "likely"),
        TrackPair("p3", "o3-", "same accession C1", "certain"),
        TrackPair("p4", "o4", "same assay, biosample and target", "likely"),
        TrackPair("p5", "o5", "same experiment ENCSR000AAA", "certain"),
        TrackPair("p6", "o1", "same assay and biosample, but ENCFF1 and not ENCFF6", "likely"),
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (predicted("p", "hg19", accession="E1", **K562), observed("o", accession="E1", **K562)),
        (predicted("p", accession="E1", strand="+"), observed("o", accession="E1", strand="-")),
        (predicted("p", strand="+", **K562), observed("o", **K562)),
        (predicted("p", assay="DNASE"), observed("o", assay="DNASE")),
        (predicted("p", biosample="K562"), observed("o", biosample="K562")),
        (predicted("p", assay="CHIP", biosample="K562"), observed("o", assay="CHIP", biosample="K562")),
        (predicted("p", assay="CHIP", biosample="K562", target="GATA2"),
         observed("o", assay="CHIP", biosample="K562", target="eGFP-GATA2")),
        (predicted("p", **K562), observed("o", datatype="bedlike", **K562)),
        (predicted("p", **K562), TilesetRecord("o", "o", "registered", "hg38", "", **K562)),
        (predicted("p"), observed("o")),
    ],
)  # fmt: skip
def test_what_is_no_pair(one: TilesetRecord, other: TilesetRecord) -> None:
    assert find_pairs([one, other]) == []


def test_of_several_that_fit_the_best_is_taken_and_that_is_said() -> None:
    records = [
        observed("a", **K562, **encode("ENCSR1", 1, 2, output_type="signal p-value")),
        observed("b", **K562, **encode("ENCSR2", 1)), observed("c", **K562, **encode("ENCSR3", 1, 2)),
        observed("d", **K562, **encode("ENCSR4", 1, 2)), predicted("p", **K562),
    ]  # fmt: skip
    assert find_pairs(records) == [
        TrackPair("p", "c", "same assay and biosample; the first of 4 that match", "ambiguous"),
    ]
    assert find_pairs(records[::-1]) == find_pairs(records)


def test_a_measured_one_is_the_pair_of_the_surest() -> None:
    records = [observed("o", accession="E1", **K562), predicted("likely", **K562), predicted("sure", accession="E1")]
    found = pairs_by_uid(find_pairs(records))
    assert found["likely"].observed == found["sure"].observed == "o"
    assert (found["o"].predicted, found["o"].other("o")) == ("sure", "sure")


words = st.fixed_dictionaries({
    "assay": st.sampled_from(["", "DNASE", "CHIP"]), "biosample": st.sampled_from(["", "K562", "liver"]),
    "target": st.sampled_from(["", "CTCF"]), "strand": st.sampled_from("+-."),
    "accession": st.sampled_from(["", "E1", "E2"]), "assembly": st.sampled_from(["hg38", "hg19"]),
})  # fmt: skip


@given(st.lists(words, max_size=6), st.lists(words, max_size=6))
def test_a_pair_always_shares_what_its_reason_says(one: list[dict[str, str]], other: list[dict[str, str]]) -> None:
    records = {f"o{n}": observed(f"o{n}", **said) for n, said in enumerate(one)}
    records |= {f"p{n}": predicted(f"p{n}", **said) for n, said in enumerate(other)}
    for pair in find_pairs(records.values()):
        p, o = records[pair.predicted], records[pair.observed]
        assert (p.kind, o.kind) == ("predicted", "observed")
        assert (p.assembly, p.strand) == (o.assembly, o.strand)
        if "accession" in pair.reason:
            assert p.accession == o.accession != ""
        else:
            assert (p.assay, p.biosample, p.target) == (o.assay, o.biosample, o.target)
            assert p.assay and p.biosample


def test_what_people_say_goes_first(site: Site) -> None:
    catalogue = site.catalogue
    catalogue.put_tilesets([
        predicted("p", "tiny", assay="DNASE", biosample="K562"), observed("mine", "tiny"), observed("far", "hg38"),
    ])  # fmt: skip
    before = catalogue.stamp()

    def found() -> list[tuple[str, str]]:
        return [(pair.observed, pair.confidence) for pair in find_pairs(catalogue.tilesets(), catalogue.chosen_pairs())]

    assert found() == [("signal", "likely")]
    choose(site, "p", "mine")
    assert found() == [("mine", "chosen")]
    assert catalogue.stamp() != before
    choose_none(site, "p")
    assert found() == []
    forget(site, "p")
    assert found() == [("signal", "likely")]
    with pytest.raises(InvalidRequest, match="'p' lies on tiny and 'far' on hg38"):
        choose(site, "p", "far")
    with pytest.raises(InvalidRequest, match="'signal' is observed, not predicted"):
        choose(site, "signal", "mine")
    with pytest.raises(InvalidRequest, match="'p' is predicted, not observed"):
        choose(site, "p", "p")
    with pytest.raises(UnknownTileset):
        choose(site, "p", "nothing")


def test_a_choice_whose_measured_tileset_is_not_there_says_nothing() -> None:
    assert find_pairs([predicted("p", **K562), observed("o", **K562)], {"p": "gone"})[0].confidence == "likely"
