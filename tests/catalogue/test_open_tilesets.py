"""Open tilesets follow their files: a new version soon, a damaged one as a sentence, and back when it is back."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.conftest import CHROMSIZES
from trackserver.catalogue.open_tilesets import LOCAL_VERSION_TTL_S, MAX_OPEN, TilesetCache
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.errors import UnknownTileset, UnreadableFile
from trackserver.tiles.bigwig import BigWigTileset
from trackserver.tiles.grid import Grid
from trackserver.tiles.tileset import TileId
from trackserver.tiles.wire import encode

TILE = TileId("own", 3, 1)


@pytest.fixture
def tilesets(site: Site, files: Path) -> TilesetCache:
    shutil.copy(files / "signal.bw", site.path / "own.bw")
    site.catalogue.put_tilesets([TilesetRecord("own", "Own", "observed", "tiny", "own.bw")])
    return TilesetCache(site)


def expected(site: Site, path: Path) -> bytes:
    return encode(BigWigTileset(path, Grid(site.assembly("tiny")), "Own").tile(TILE))


def other_signal(path: Path) -> None:
    import pyBigWig

    with pyBigWig.open(str(path), "w") as writer:
        writer.addHeader(list(CHROMSIZES.items()))
        for chrom, size in CHROMSIZES.items():
            writer.addEntries([chrom], [0], ends=[size], values=[7.0])


def test_a_tile_is_made_once_for_each_version(tilesets: TilesetCache, files: Path) -> None:
    first = tilesets.tile(tilesets.get("own"), TILE)
    assert first == expected(tilesets.site, files / "signal.bw")
    made = tilesets.payloads.misses
    assert tilesets.tile(tilesets.get("own"), TILE) is first
    assert tilesets.payloads.misses == made
    assert tilesets.get("own") is tilesets.get("own")


def test_a_replaced_file_is_soon_the_new_one(tilesets: TilesetCache, tmp_path: Path) -> None:
    handle = tilesets.get("own")
    before = tilesets.tile(handle, TILE)
    other_signal(tmp_path / "new.bw")
    (tmp_path / "new.bw").replace(tilesets.site.path / "own.bw")
    assert tilesets.tile(tilesets.get("own"), TILE) == before  # one version or the other, for a moment
    time.sleep(LOCAL_VERSION_TTL_S)
    after = tilesets.tile(tilesets.get("own"), TILE)
    assert after == expected(tilesets.site, tilesets.site.path / "own.bw") != before
    assert tilesets.tile(handle, TileId("own", 4, 1))  # who still holds the old one reads the old one


def test_a_file_that_goes_and_comes_back(tilesets: TilesetCache, files: Path) -> None:
    path = tilesets.site.path / "own.bw"
    before = tilesets.tile(tilesets.get("own"), TILE)
    path.unlink()
    time.sleep(LOCAL_VERSION_TTL_S)
    with pytest.raises(UnreadableFile, match=r"own\.bw is missing"):
        tilesets.get("own")
    shutil.copy(files / "signal.bw", path)
    assert tilesets.tile(tilesets.get("own"), TILE) == before


@pytest.mark.parametrize("keep", [0, 30, 500, 5000])
def test_a_file_cut_short_under_the_server_heals(tilesets: TilesetCache, files: Path, keep: int) -> None:
    path = tilesets.site.path / "own.bw"
    handle = tilesets.get("own")
    tilesets.tile(handle, TILE)
    with path.open("r+b") as file:
        file.truncate(keep)
    with pytest.raises(UnreadableFile, match=r"own\.bw"):
        tilesets.tile(tilesets.get("own"), TileId("own", 7, 60))
    with pytest.raises(UnreadableFile, match=r"own\.bw"):
        tilesets.tile(handle, TileId("own", 7, 61))
    path.write_bytes((files / "signal.bw").read_bytes())
    assert tilesets.tile(tilesets.get("own"), TILE) == expected(tilesets.site, files / "signal.bw")


def test_memory_is_bounded(site: Site, files: Path) -> None:
    small = TilesetCache(Site(site.path, cache_mb=16))
    for x in range(1 << 7):
        assert json.loads(small.tile(small.get("signal"), TileId("signal", 7, x)))
    assert small.payloads.bytes <= 4 << 20
    assert small.blocks.bytes <= 12 << 20
    assert MAX_OPEN >= 512


def test_what_there_is_not(tilesets: TilesetCache) -> None:
    for uid in ("nothing", "genes-hg99", "fx-00000000000000000000-0-ref"):
        with pytest.raises(UnknownTileset):
            tilesets.get(uid)
