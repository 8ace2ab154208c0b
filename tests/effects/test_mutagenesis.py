from __future__ import annotations

import json

import numpy as np
import pytest

from tests.tolerance import assert_close
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.catalogue.site import Site
from trackserver.effects import mutagenesis as store
from trackserver.effects.mutagenesis import MutagenesisRequest, mutagenesis_question
from trackserver.effects.tilesets import COMPUTED
from trackserver.errors import (
    BadLocus,
    InvalidRequest,
    NoSequence,
    UnknownChromosome,
    UnknownMutagenesis,
    UnknownTileset,
    UnknownTrack,
)
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import BASES, decode
from trackserver.predict.engine import load_predictor
from trackserver.predict.ensemble import EnsembleOptions
from trackserver.tiles.tileset import TileId
from trackserver.tiles.wire import decode_dense

LOCUS = "chrB:2,996-3,015"  # its first five bases are N


def drawn(site: Site, uid: str, start: int, end: int) -> np.ndarray:
    """(rows, end - start) of chrB as a tileset's deepest tiles have it."""
    tilesets = TilesetCache(site, COMPUTED)
    handle = tilesets.get(uid)
    info = handle.tileset.info()
    zoom = info["max_zoom"] if "max_zoom" in info else len(info["resolutions"]) - 1
    offset = site.assembly("tiny").absolute("chrB", 0)
    tiles = range((offset + start) // 1024, (offset + end - 1) // 1024 + 1)
    rows = [decode_dense(json.loads(tilesets.tile(handle, TileId(uid, zoom, x)))).reshape(-1, 1024) for x in tiles]
    first = offset + start - tiles[0] * 1024
    return np.concatenate(rows, axis=1)[:, first : first + end - start]


def test_a_map_is_stored_once_and_its_tiles_are_its_numbers(site: Site) -> None:
    question = mutagenesis_question(site, MutagenesisRequest("random", "tiny", LOCUS))
    found = store.compute(site, question)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert store.compute(site, question)["provenance"]["date"] == found["provenance"]["date"]
    assert [path.name for path in store.folder(site).iterdir()] == [question.id]

    assert found["sequence"] == decode(site.reference("tiny").genome.codes(Locus("chrB", 2_995, 3_015)))
    assert found["locus"] == {"chrom": "chrB", "start": 2_995, "end": 3_015}
    for track in found["tracks"]:
        numbers = {name: np.array(track[name], float) for name in ("map", "importance", "largest", "gain", "loss")}
        own = np.array([[base == letter for letter in found["sequence"]] for base in BASES])
        uids = track["tilesets"]
        np.testing.assert_array_equal(drawn(site, uids["map"], 2_995, 3_015), numbers["map"].astype(np.float32))
        np.testing.assert_array_equal(
            drawn(site, uids["importance"], 2_995, 3_015)[0], numbers["importance"].astype("f4")
        )
        logo = drawn(site, uids["logo"], 2_995, 3_015)
        np.testing.assert_array_equal(logo[:, 5:], np.where(own, numbers["importance"], 0)[:, 5:].astype("f4"))
        assert np.isnan(logo[:, :5]).all()
        assert np.isnan(drawn(site, uids["map"], 2_900, 2_995)).all()
        assert (numbers["map"][own] == 0).all()
        assert_close(
            numbers["importance"], -numbers["map"].sum(0) / 3, 4, scale=np.nanmax(np.abs(numbers["map"])), gaps=True
        )
        assert_close(numbers["largest"], np.abs(numbers["map"]).max(0), 1, gaps=True)
        assert abs(track["strongest"]["score"]) == np.nanmax(numbers["largest"].astype("f4"))
    sizes = [abs(track["strongest"]["score"]) for track in found["tracks"]]
    assert sizes == sorted(sizes, reverse=True)
    assert {warning["code"] for warning in found["warnings"]} == {"bases_left_out", "unknown_sequence"}


def test_a_tileset_says_what_its_rows_are(site: Site) -> None:
    found = store.compute(
        site, mutagenesis_question(site, MutagenesisRequest("random", "tiny", "chrA:20001-20004", "0"))
    )
    uids, tilesets = found["tracks"][0]["tilesets"], TilesetCache(site, COMPUTED)
    info = tilesets.get(uids["map"]).tileset.info()
    assert (info["datatype"], info["row_infos"], info["shape"]) == ("multivec", list(BASES), [1024, 4])
    assert tilesets.get(uids["importance"]).tileset.info()["datatype"] == "vector"
    assert found["question"]["locus"] == "chrA:20001-20004"
    ref = decode(site.reference("tiny").genome.codes(Locus("chrA", 20_000, 20_004)))
    chrom, position, own, other = found["tracks"][0]["strongest"]["variant"].split(":")
    assert chrom == "chrA" and own == ref[int(position) - 20_001] != other


def test_of_a_long_locus_the_tracks_that_change_most_are_told_in_numbers(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_NUMBERS", 8 * 4 * 2)
    found = store.compute(site, mutagenesis_question(site, MutagenesisRequest("random", "tiny", "chrA:20001-20004")))
    assert [track["map"] is not None for track in found["tracks"]] == [True, True, False]
    assert [track["gain"] is not None for track in found["tracks"]] == [True, True, False]
    assert TilesetCache(site, COMPUTED).get(found["tracks"][2]["tilesets"]["map"]).tileset.info()["row_infos"] == list(
        BASES
    )


def test_the_id_is_the_whole_question(site: Site) -> None:
    question = mutagenesis_question(site, MutagenesisRequest("random", "tiny", "chrA:20001-20004"))
    assert (
        mutagenesis_question(
            site,
            MutagenesisRequest(
                "random", "tiny", "A:20, 001-20, 004", score="log2fc", ensemble=EnsembleOptions(ensemble=("none",))
            ),
        ).id
        == question.id
    )
    others = {
        mutagenesis_question(site, MutagenesisRequest("random", "tiny", "chrA:20001-20005")).id,
        mutagenesis_question(site, MutagenesisRequest("random", "tiny", "chrA:20001-20004", "0")).id,
        mutagenesis_question(site, MutagenesisRequest("random", "tiny", "chrA:20001-20004", score="sad")).id,
        mutagenesis_question(
            site, MutagenesisRequest("random", "tiny", "chrA:20001-20004", ensemble=EnsembleOptions(ensemble=("rc",)))
        ).id,
        mutagenesis_question(
            site, MutagenesisRequest("random", "tiny", "chrA:20001-20004", ensemble=EnsembleOptions(shifts=(0, 1)))
        ).id,
        mutagenesis_question(site, MutagenesisRequest("random", "tiny", "chrA:20001-20004", full=True)).id,
        mutagenesis_question(site, MutagenesisRequest("random", "tiny", "chrA:20001-20004", preview=True)).id,
    }
    assert len(others | {question.id}) == 8


def test_full_predictions_and_a_preview_are_kept_beside_it(site: Site) -> None:
    found = {
        name: store.compute(
            site,
            mutagenesis_question(
                site,
                MutagenesisRequest.from_fields(
                    {"model": "random", "assembly": "tiny", "locus": "chrA:20001-20006", **options}
                ),
            ),
        )
        for name, options in {"cone": {}, "full": {"full": True}, "preview": {"preview": True}}.items()
    }
    maps = {name: {t["index"]: np.array(t["map"]) for t in result["tracks"]} for name, result in found.items()}
    module = load_predictor(site.models, "random").module
    for track in range(3):
        assert_close(maps["cone"][track], maps["full"][track], module, scale=1)  # log2 fold changes
    assert [warning["code"] for warning in found["preview"]["warnings"]] == ["preview"]
    assert len(list(store.folder(site).iterdir())) == 3


@pytest.mark.parametrize(
    ("fields", "error", "why"),
    [
        ({"locus": "chrA:1-3000"}, InvalidRequest, "at most 2,000 bp"),
        ({"locus": "chrA"}, BadLocus, "is not a locus"),
        ({"locus": "chrA:69990-70010"}, BadLocus, "70,000 bp long"),
        ({"locus": "chrZ:1-10"}, UnknownChromosome, "chrA, chrB, chrC"),
        ({"locus": "chrB:2991-3000"}, NoSequence, "nothing but N"),
        ({"score": "loud"}, InvalidRequest, "known: log2fc"),
        ({"score": "log_odds"}, InvalidRequest, "Log odds need probabilities"),
        ({"tracks": "3"}, UnknownTrack, "numbered 0 to 2"),
        ({"full": True, "preview": True}, InvalidRequest, "not for both"),
    ],
)
def test_questions_that_cannot_be_answered(
    shared_site: Site, fields: dict[str, object], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        mutagenesis_question(
            shared_site,
            MutagenesisRequest.from_fields(
                {"model": "random", "assembly": "tiny", "locus": "chrA:20001-20004"} | fields
            ),
        )  # type: ignore[arg-type]


def test_uids_of_nothing(site: Site) -> None:
    found = store.compute(
        site, mutagenesis_question(site, MutagenesisRequest("random", "tiny", "chrA:20001-20004", "0"))
    )
    nowhere = f"ism-{'0' * 20}-0-map"
    for uid in (nowhere, f"ism-{found['id']}-1-map", f"ism-{found['id']}-0-other", "ism-", "ism-x-0-map"):
        with pytest.raises(UnknownTileset):
            TilesetCache(site, COMPUTED).get(uid)
    with pytest.raises(UnknownMutagenesis, match="POST the locus"):
        store.stored_map(site, "../effects")
    assert store.stored_map(site, "0" * 20) is None


def test_a_damaged_map_says_how_to_repair_it(site: Site) -> None:
    found = store.compute(
        site, mutagenesis_question(site, MutagenesisRequest("random", "tiny", "chrA:20001-20004", "0"))
    )
    (store.folder(site) / found["id"] / "map.npy").write_bytes(b"no array")
    with pytest.raises(InvalidRequest, match=r"delete .* and ask again"):
        TilesetCache(site, COMPUTED).get(found["tracks"][0]["tilesets"]["map"])
