"""Hubs for other genome browsers: which tilesets they hold, and their files."""

from __future__ import annotations

from pathlib import Path

import pyBigWig
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import write_signal
from tests.hubs.rules import LEFT_OUT, SIZES, check_tracks, make_hub_site, read_igv, stanzas
from tests.sources.origin import serving
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import OBSERVED, PREDICTED, TilesetRecord
from trackserver.catalogue.viewconf import locus_in
from trackserver.errors import AssemblyNotShown, NoFile, UnknownTileset
from trackserver.genome.assembly import Assembly
from trackserver.genome.locus import Locus
from trackserver.hubs import hub as hubs
from trackserver.hubs import igv, ucsc
from trackserver.hubs.headers import Header, HeaderCache
from trackserver.hubs.hub import Addresses, HubTrack
from trackserver.sources import guard as guards

THERE = Addresses(lambda record: f"https://tracks.example.org/{record.uid}.bw", lambda name: f"https://x.org/{name}")


@pytest.fixture(scope="module")
def hub_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_hub_site(tmp_path_factory.mktemp("hubs") / "hub")


def test_what_is_left_out_and_why(hub_site: Site) -> None:
    hub = hubs.make_hub(hub_site, hubs.select_all(hub_site), THERE)
    reasons = {tileset.uid: tileset.reason for tileset in hub.left_out}
    assert reasons.keys() == LEFT_OUT
    assert reasons["contacts"].endswith("not cooler")
    assert reasons["gone"] == "its file is gone"
    assert "secret" not in repr(hub)
    assert hub.assemblies == ["hg38", "own"]
    not_served = Addresses(lambda record: None, str)
    remote = hubs.make_hub(hub_site, hubs.select_by_uid(hub_site, ["peaks", "far"]), not_served)
    assert [track.record.uid for track in remote.tracks] == ["far"]
    assert "serve_files" in remote.left_out[0].reason


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://www.encodeproject.org/files/ENCFF136DBS/@@download/ENCFF136DBS.bigWig", True),
        ("http://8.8.8.8/a.bw", True),
        ("https://lab.example.org/a.bw?token=5", False),
        ("https://me:secret@lab.example.org/a.bw", False),
        ("http://192.168.0.9/a.bw", False),
        ("http://[fd00::1]/a.bw", False),
        ("http://localhost/a.bw", False),
        ("http://minio:9000/a.bw", False),
        ("http://files.internal/a.bw", False),
        ("s3://bucket/a.bw", False),
    ],
)
def test_addresses_that_may_be_told(url: str, public: bool) -> None:
    assert hubs.is_public(url) is public


def test_a_catalogue_opens_with_a_few_tracks(tmp_path: Path) -> None:
    site = make_hub_site(tmp_path / "many")
    one = site.catalogue.tileset("peaks").__dict__
    site.catalogue.put_tilesets(TilesetRecord(**{**one, "uid": f"p{i}"}) for i in range(60))
    hub = hubs.make_hub(site, hubs.select_all(site), THERE)
    assert sum(track.is_shown for track in hub.tracks) == hubs.MAX_SHOWN
    tracks = check_tracks(stanzas(ucsc.track_db(hub.on("hg38"), {})))
    assert sum(track.get("parent", "").endswith(" on") for track in tracks.values()) == hubs.MAX_SHOWN
    assert len(read_igv(igv.make_session(hub.on("hg38"), "hg38", None)).tracks) == igv.MAX_TRACKS
    assert all(
        track.is_shown
        for track in hubs.make_hub(site, hubs.select_by_uid(site, [f"p{i}" for i in range(30)]), THERE).tracks
    )


@pytest.mark.parametrize(
    ("uid", "error"),
    [("nosuch", UnknownTileset), ("far", NoFile), ("contacts", NoFile), ("gone", NoFile), ("sequence-hg38", NoFile),
     ("ism-0", UnknownTileset)],
)  # fmt: skip
def test_files_that_are_not_served(hub_site: Site, uid: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        hubs.local_file(hub_site, uid)


def test_a_file_that_is_served(hub_site: Site) -> None:
    assert hubs.local_file(hub_site, "peaks") == hub_site.tilesets / "peaks.bb"


def test_assembly_names_of_other_browsers() -> None:
    assert [hubs.ucsc_name(name) for name in ("hg38", "GRCh38", "sacCer3")] == ["hg38", "hg38", "sacCer3"]
    with pytest.raises(AssemblyNotShown, match=r"do not know the assembly 'own'.*JBrowse shows any"):
        hubs.ucsc_name("own")
    with pytest.raises(AssemblyNotShown):
        ucsc.genomes_txt({"own": "https://x.org/own/trackDb.txt"})


@pytest.mark.parametrize(
    ("domain", "locus"),
    [
        ([100, 300.5], Locus("chr1", 100, 300)),
        ([69_000, 80_000], Locus("chr2", 0, 10_000)),
        ([-500, 10], Locus("chr1", 0, 10)),
        ([5, 5], None),
        ([9, 5], None),
        ("somewhere", None),
    ],
)
def test_where_a_view_looks(domain: object, locus: Locus | None) -> None:
    assembly = Assembly("hg38", tuple(SIZES), tuple(SIZES.values()))
    assert locus_in({"views": [{"initialXDomain": domain}]}, assembly) == locus


texts = st.text(max_size=60)
uids = st.text("abYZ019_-", min_size=1, max_size=120)
records = st.builds(
    TilesetRecord, uid=uids, name=texts, kind=st.sampled_from([OBSERVED, PREDICTED]), assembly=st.just("hg38"),
    path=st.just("x.bw"), filetype=st.sampled_from(["bigwig", "bigbed"]), assay=texts, biosample=texts, target=texts,
    strand=st.sampled_from("+-."), accession=texts, model=texts,
)  # fmt: skip
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
value_ranges = st.none() | st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))
headers = st.none() | st.builds(Header, value_ranges, st.integers(0, 30), st.integers(0, 30))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(records, headers), min_size=1, max_size=8, unique_by=lambda pair: pair[0].uid))
def test_any_catalogue_makes_a_valid_hub(rows: list[tuple[TilesetRecord, Header | None]]) -> None:
    tracks = [HubTrack(record, f"https://x.org/{record.uid}.bw", number < 3) for number, (record, _) in enumerate(rows)]
    written = ucsc.track_db(tracks, {record.uid: header for record, header in rows if header})
    assert sum("bigDataUrl" in track for track in check_tracks(stanzas(written)).values()) == len(rows)
    assert len(read_igv(igv.make_session(tracks, "hg38", None)).tracks) == len(rows)


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (Header(None, 10, 6), "bigBed 6 +"),
        (Header(None, 6, 6), "bigBed 6"),
        (Header(None, 4, 0), "bigBed 3 +"),
        (None, "bigBed 3 +"),
    ],
)
def test_columns_of_a_bigbed(header: Header | None, kind: str) -> None:
    track = HubTrack(TilesetRecord("p", "P", OBSERVED, "hg38", "p.bb", filetype="bigbed"), "https://x.org/p.bb", True)
    written = check_tracks(stanzas(ucsc.track_db([track], {"p": header} if header else {})))
    assert written["p"]["type"] == kind


def test_headers_are_read_once_for_each_version(hub_site: Site) -> None:
    path = hub_site.tilesets / "changing.bw"
    write_signal(path, SIZES, seed=5)
    record = TilesetRecord("changing", "C", OBSERVED, "hg38", "tilesets/changing.bw")
    headers = HeaderCache(hub_site)
    first = headers.read([record])["changing"]
    with pyBigWig.open(str(path)) as bigwig:
        values = [value for chrom in SIZES for *_, value in bigwig.intervals(chrom)]
    assert first.value_range == (min(values), max(values))
    assert headers.read([record])["changing"] is first
    write_signal(path, SIZES, seed=6)
    assert headers.read([record])["changing"].value_range != first.value_range
    path.unlink()
    assert headers.read([record]) == {}


def test_headers_of_files_on_the_web(hub_site: Site, tmp_path: Path) -> None:
    write_signal(tmp_path / "far.bw", SIZES)
    with serving() as origin:
        origin.files["/far.bw"] = (tmp_path / "far.bw").read_bytes()
        there = TilesetRecord("a", "A", OBSERVED, "hg38", origin.url("/far.bw"), size=5)
        gone = TilesetRecord("b", "B", OBSERVED, "hg38", origin.url("/nothing.bw"), size=5)
        headers = HeaderCache(hub_site)
        assert headers.read([there, gone]).keys() == {"a"}
        n_requests = len(origin.asked)
        headers.read([there])
        assert len(origin.asked) == n_requests
    guards._connections.close()
