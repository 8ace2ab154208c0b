"""Tiles of files that lie elsewhere: on a web server, in a bucket; equal to the local file's, and few requests each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyBigWig
import pytest

from tests.sources.origin import Origin, serving
from trackserver.bbi.bigwig import check_bigwig
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.errors import FileChanged, UnreadableFile
from trackserver.genome.assembly import Assembly
from trackserver.sources.cache import ByteCache
from trackserver.sources.source import LocalSource, S3Source, WebSource, open_remote
from trackserver.tiles.bigwig import BigWigTileset
from trackserver.tiles.grid import Grid
from trackserver.tiles.tileset import TileId
from trackserver.tiles.wire import decode_dense

ASSEMBLY = Assembly("far", ("chr1", "chr2"), (40_000_000, 9_000_000))


@pytest.fixture(scope="module")
def bigwig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough that header, index and data lie apart."""
    path = tmp_path_factory.mktemp("far") / "far.bw"
    write(path, seed=1)
    return path


def write(path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    with pyBigWig.open(str(path), "w") as writer:
        writer.addHeader(list(ASSEMBLY.chromsizes.items()))
        for chrom, size in ASSEMBLY.chromsizes.items():
            writer.addEntries(chrom, 0, values=random.gamma(0.5, 1, size // 64), span=64, step=64)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with serving() as served:
        yield served


ZOOMS = [0, 3, 7, 11, 15]


def middle(grid: Grid, zoom: int) -> TileId:
    return TileId("s", zoom, 21_000_000 // (1024 * grid.bin_width(zoom)))


def assert_same_tile(far: dict[str, object], near: dict[str, object]) -> None:
    """Up to the last summary of a level, whose sum pyBigWig leaves out, and which is only made up for near by."""
    values, expected = decode_dense(far), decode_dense(near)
    lacking = np.isnan(values) & np.isfinite(expected)
    assert lacking.sum() <= len(values) // 32
    np.testing.assert_allclose(values[~lacking], expected[~lacking], rtol=0.2)
    assert (values == expected)[~lacking & np.isfinite(expected)].mean() > 0.99


@pytest.mark.parametrize("zoom", ZOOMS)
def test_a_cold_tile_from_the_web_takes_three_requests_and_is_the_local_one(
    bigwig: Path, origin: Origin, zoom: int
) -> None:
    origin.files["/far.bw"] = bigwig.read_bytes()
    grid = Grid(ASSEMBLY)
    far = BigWigTileset(WebSource(origin.url("/far.bw"), None), grid, "s", ByteCache(1 << 26))
    got = far.tile(middle(grid, zoom))
    assert len(origin.asked) <= 3
    assert_same_tile(got, BigWigTileset(bigwig, grid, "s").tile(middle(grid, zoom)))
    before = len(origin.asked)
    assert far.tile(middle(grid, zoom)) == got
    assert len(origin.asked) == before  # what is known is not asked for again
    assert sum(len(span) > 0 for _, span, _ in origin.asked) == len(origin.asked)  # ranges, never the whole


def test_a_remote_file_that_is_replaced_is_never_mixed_with_the_new_one(
    bigwig: Path, origin: Origin, tmp_path: Path
) -> None:
    origin.files["/far.bw"] = bigwig.read_bytes()
    grid = Grid(ASSEMBLY)
    far = BigWigTileset(WebSource(origin.url("/far.bw"), None), grid, "s", ByteCache(1 << 26))
    far.tile(middle(grid, 0))
    write(tmp_path / "new.bw", seed=2)
    origin.files["/far.bw"], origin.etags["/far.bw"] = (tmp_path / "new.bw").read_bytes(), '"v2"'
    with pytest.raises(FileChanged):
        far.tile(middle(grid, 15))


def test_a_site_serves_a_remote_file_and_notices_its_new_version(
    site: Site, bigwig: Path, origin: Origin, tmp_path: Path
) -> None:
    """A tile that needs more of the old version opens the file anew, and is the new version's."""
    origin.files["/far.bw"] = bigwig.read_bytes()
    settings = site.path / "trackserver.toml"
    sizes = "".join(f"{name}\t{size}\n" for name, size in ASSEMBLY.chromsizes.items())
    (site.path / "far.sizes").write_text(sizes)
    settings.write_text(settings.read_text() + '\n[assemblies.far]\nchromsizes = "far.sizes"\n')
    site = Site(site.path)
    site.catalogue.put_tilesets([TilesetRecord("s", "Far", "observed", "far", origin.url("/far.bw"))])
    opened, grid = TilesetCache(site), Grid(ASSEMBLY)

    def served(zoom: int) -> dict[str, object]:
        tile: dict[str, object] = json.loads(opened.tile(opened.get("s"), middle(grid, zoom)))
        return tile

    assert_same_tile(served(0), BigWigTileset(bigwig, grid, "s").tile(middle(grid, 0)))
    write(tmp_path / "new.bw", seed=2)
    origin.files["/far.bw"], origin.etags["/far.bw"] = (tmp_path / "new.bw").read_bytes(), '"v2"'
    new = BigWigTileset(tmp_path / "new.bw", grid, "s")
    assert_same_tile(served(15), new.tile(middle(grid, 15)))
    assert_same_tile(served(9), new.tile(middle(grid, 9)))


def test_what_is_checked_on_the_web_is_read_through(bigwig: Path, origin: Origin) -> None:
    whole = bigwig.read_bytes()
    origin.files["/far.bw"] = whole
    check_bigwig(WebSource(origin.url("/far.bw"), None), ASSEMBLY)
    origin.files["/cut.bw"] = whole[: len(whole) // 2]
    with pytest.raises(UnreadableFile, match=r"cut\.bw"):
        check_bigwig(WebSource(origin.url("/cut.bw"), None), ASSEMBLY)


def test_a_local_file_that_is_replaced_stays_what_it_was_and_one_written_to_is_refused(
    bigwig: Path, tmp_path: Path
) -> None:
    path = tmp_path / "l.bw"
    path.write_bytes(bigwig.read_bytes())
    grid, source = Grid(ASSEMBLY), LocalSource(path)
    tileset = BigWigTileset(source, grid, "s", ByteCache(1 << 26))
    before = tileset.tile(middle(grid, 7))
    write(tmp_path / "new.bw", seed=2)
    (tmp_path / "new.bw").replace(path)
    assert tileset.tile(middle(grid, 11)) == BigWigTileset(bigwig, grid, "s").tile(middle(grid, 11))
    assert LocalSource(path).identity != source.identity

    path.write_bytes(bigwig.read_bytes())
    written = BigWigTileset(path, grid, "s", ByteCache(1 << 26))
    assert written.tile(middle(grid, 7)) == before
    with path.open("r+b") as file:
        file.truncate(100_000)
    with pytest.raises((FileChanged, UnreadableFile)):
        written.tile(middle(grid, 15))


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A real S3 server on this machine, with credentials, and a bucket in it."""
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="tracks")
        yield "tracks"
    server.stop()


@pytest.mark.filterwarnings("ignore")  # aiohttp's and botocore's own
def test_a_bucket_with_credentials(bigwig: Path, bucket: str) -> None:
    import boto3

    boto3.client("s3").put_object(Bucket=bucket, Key="far.bw", Body=bigwig.read_bytes())
    source = open_remote(f"s3://{bucket}/far.bw", None)
    assert isinstance(source, S3Source)
    grid = Grid(ASSEMBLY)
    far = BigWigTileset(source, grid, "s", ByteCache(1 << 26))
    for zoom in ZOOMS:
        assert_same_tile(far.tile(middle(grid, zoom)), BigWigTileset(bigwig, grid, "s").tile(middle(grid, zoom)))
    with pytest.raises(UnreadableFile, match=r"none\.bw cannot be opened"):
        open_remote(f"s3://{bucket}/none.bw", None)
