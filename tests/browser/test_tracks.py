"""Every kind of track as HiGlass 2.3.5 draws it from this server: what is known to lie at a place is drawn there."""

from __future__ import annotations

import io
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cooler
import h5py
import numpy as np
import pandas as pd
import pybigtools
import pyBigWig
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, Route

from tests.browser.conftest import serving
from tests.conftest import CHROMSIZES, refgene_line
from trackserver.catalogue.init import init_site
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import add_tileset
from trackserver.tiles.kinds import kind_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Open = Callable[..., Page]
Pixels = NDArray[np.int64]

# Two places that stand out, on the axis of all chromosomes: in chrA, and in chrB behind it.
UP, DOWN = (30_000, 33_000), (80_000, 82_000)
LENGTH = sum(CHROMSIZES.values())
NEAR = 3  # pixels: a bin and a rounded edge

RED, BLUE, GREEN, PURPLE = "#d01010", "#1020d0", "#108810", "#8010a0"


@dataclass(frozen=True)
class Drawn:
    """A track as it is on the screen: its pixels, and where places of the genome lie in them."""

    pixels: Pixels
    at: Callable[[float], float]
    at_height: Callable[[float], float]

    def of_colour(self, colour: str, tolerance: int = 60) -> NDArray[np.bool_]:
        wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        return np.asarray(np.abs(self.pixels - wanted).sum(axis=2) <= tolerance)

    def stretch(self, colour: str, rows: slice = slice(None)) -> tuple[int, int]:
        """The first and one past the last column in which a colour is seen."""
        columns = np.flatnonzero(self.of_colour(colour)[rows].any(axis=0))
        assert columns.size, f"nothing of {colour} is drawn"
        return int(columns[0]), int(columns[-1]) + 1

    def check(self, result: tuple[int, int], place: tuple[int, int]) -> None:
        assert abs(result[0] - self.at(place[0])) <= NEAR, (result, [self.at(base) for base in place])
        assert abs(result[1] - self.at(place[1])) <= NEAR, (result, [self.at(base) for base in place])


def local(place: tuple[int, int]) -> tuple[str, int, int]:
    """A place of the axis on its chromosome."""
    offset = 0
    for chrom, size in CHROMSIZES.items():
        if place[0] < offset + size:
            return chrom, place[0] - offset, place[1] - offset
        offset += size
    raise AssertionError(place)


def write_peaks(path: Path, up: float = 10.0, down: float = 10.0, ground: float = 0.5) -> None:
    """One value over each of the two places, another everywhere else."""
    with pyBigWig.open(str(path), "w") as writer:
        writer.addHeader(list(CHROMSIZES.items()))
        for chrom, size in CHROMSIZES.items():
            values = np.full(size // 100, ground)
            for place, value in ((UP, up), (DOWN, down)):
                name, start, end = local(place)
                if name == chrom:
                    values[start // 100 : end // 100] = value
            writer.addEntries(chrom, 0, values=values, span=100, step=100)


def write_contacts(path: Path) -> None:
    """Contacts along the diagonal, and one block: between the two places."""
    for width in (100, 500):
        bins = cooler.binnify(pd.Series(CHROMSIZES), width)
        bins["weight"] = 1.0
        starts = {str(chrom): int(rows.index[0]) for chrom, rows in bins.groupby("chrom", observed=True)}

        def numbers(place: tuple[int, int], width: int = width, starts: dict[str, int] = starts) -> range:
            chrom, start, end = local(place)
            return range(starts[chrom] + start // width, starts[chrom] + end // width)

        pairs = {(i, i): 1 for i in range(len(bins))} | {(i, j): 500 for i in numbers(UP) for j in numbers(DOWN)}
        rows = [(i, j, count) for (i, j), count in sorted(pairs.items())]
        pixels = pd.DataFrame(rows, columns=["bin1_id", "bin2_id", "count"])
        cooler.create_cooler(f"{path}::resolutions/{width}", bins, pixels, mode="a", ordered=True)


def write_rows(path: Path) -> None:
    """Three rows, the first high over one place, the last over the other."""
    with h5py.File(path, "w") as file:
        file.create_group("info").attrs["tile-size"] = 256
        file["chroms/name"] = np.array(list(CHROMSIZES), "S")
        file["chroms/length"] = list(CHROMSIZES.values())
        for width in (100, 500):
            for chrom, size in CHROMSIZES.items():
                values = np.zeros((-(-size // width), 3), np.float32)
                for row, place in ((0, UP), (2, DOWN)):
                    name, start, end = local(place)
                    if name == chrom:
                        values[start // width : end // width, row] = 10
                file[f"resolutions/{width}/values/{chrom}"] = values


def write_intervals(bed: Path, bigbed: Path) -> None:
    rows = [(*local(place), f"{name}\t500\t{strand}") for place, name, strand in ((UP, "up", "+"), (DOWN, "down", "-"))]
    bed.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    pybigtools.open(str(bigbed), "w").write(CHROMSIZES, rows, None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Site:
    """A site with a tileset of every kind; its uid is the file's stem."""
    folder = tmp_path_factory.mktemp("tracks")
    (folder / "sizes").write_text("".join(f"{chrom}\t{size}\n" for chrom, size in CHROMSIZES.items()))
    (folder / "genes.txt").write_text(
        refgene_line("NM_1", *_strand(UP, "+"), "UPGENE") + refgene_line("NM_2", *_strand(DOWN, "-"), "DOWNGENE")
    )
    site = init_site(
        folder / "site", "tiny", fasta=files / "genome.fa", genes=folder / "genes.txt", chromsizes=folder / "sizes"
    )
    write_peaks(folder / "bigwig.bw")
    write_peaks(folder / "signed.bw", up=5.0, down=-5.0, ground=0.0)
    write_peaks(folder / "fragile.bw")
    write_contacts(folder / "contacts.mcool")
    write_rows(folder / "rows.mv5")
    write_intervals(folder / "lines.bed", folder / "packed.bb")
    for path in sorted(folder.iterdir()):
        if path.suffix in (".bw", ".mcool", ".mv5", ".bed", ".bb"):
            add_tileset(site, _record(path))
    return site


def _strand(place: tuple[int, int], strand: str) -> tuple[str, str, int, int]:
    chrom, start, end = local(place)
    return chrom, strand, start, end


def _record(path: Path) -> TilesetRecord:
    kind = kind_of(path.name)
    return TilesetRecord(
        path.stem, path.stem, "observed", "tiny", str(path), filetype=kind.filetype, datatype=kind.datatype
    )


@pytest.fixture(scope="module")
def address(site: Site) -> Iterator[str]:
    with serving(site) as (url, _):
        yield url


def track(kind: str, uid: str, tileset: str, height: int = 60, **options: Any) -> dict[str, Any]:
    return {
        "type": kind, "uid": uid, "server": "/api/v1", "tilesetUid": tileset, "height": height,
        "options": {"labelPosition": "hidden", "axisPositionHorizontal": "hidden", **options},
    }  # fmt: skip


def view(
    address: str,
    top: list[dict[str, Any]],
    domain: tuple[float, float],
    center: dict[str, Any] | None = None,
    assembly: str = "tiny",
) -> str:
    """The address of a page that shows these tracks as they are: views of the page's own have nothing at the bottom."""
    axis = track("chromosome-labels", "axis", f"chromsizes-{assembly}", height=30)
    tracks = {"top": top, "bottom": [axis], "center": [center] if center else []}
    layout = {"x": 0, "y": 0, "w": 12, "h": 12}
    shown = {"uid": "v", "initialXDomain": domain, "initialYDomain": domain, "tracks": tracks, "layout": layout}
    conf = {"editable": False, "trackSourceServers": ["/api/v1"], "views": [shown]}
    request = urllib.request.Request(f"{address}/api/v1/views/", json.dumps({"viewconf": conf}).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return f"{address}{json.load(answer)['url']}"


PLACE = """uid => {
  const plot = Object.values(window.trackserver.hgApi.getComponent().tiledPlots)[0];
  const outer = plot.trackRenderer.trackDefObjects;
  const tracks = Object.values(outer).flatMap(({ trackObject }) => [trackObject, ...(trackObject.childTracks ?? [])]);
  const track = tracks.find(each => each.id === uid || each.uid === uid) ?? outer[uid].trackObject;
  const axis = scale => [scale(0), (scale(1e5) - scale(0)) / 1e5];
  return { left: track.position[0], top: track.position[1], width: track.dimensions[0], height: track.dimensions[1],
           across: axis(track._xScale), down: axis(track._yScale), errors: Object.values(track.errorTexts ?? {}) };
}"""


def drawn(page: Page, uid: str) -> Drawn:
    page.evaluate("window.trackserver.tilesLoaded()")
    place = page.evaluate(PLACE, uid)
    stage = page.get_by_test_id("higlass").bounding_box()
    assert stage
    clip = {
        "x": stage["x"] + place["left"], "y": stage["y"] + place["top"],
        "width": place["width"], "height": place["height"],
    }  # fmt: skip
    image = Image.open(io.BytesIO(page.screenshot(clip=clip)))  # type: ignore[arg-type]
    pixels = np.asarray(image.convert("RGB")).astype(np.int64)
    across, down = place["across"], place["down"]
    return Drawn(pixels, lambda base: across[0] + across[1] * base, lambda base: down[0] + down[1] * base)


def test_lines_and_bars(address: str, open_page: Open) -> None:
    scale = {"valueScaleMin": 0, "valueScaleMax": 10}
    tracks = [
        track("bar", "bars", "bigwig", barFillColor=RED, barOpacity=1, **scale),
        track("line", "lines", "bigwig", lineStrokeColor=BLUE, lineStrokeWidth=2, **scale),
        track("divergent-bar", "signed", "signed", barFillColorTop=GREEN, barFillColorBottom=PURPLE, barOpacity=1,
              valueScaleMin=-5, valueScaleMax=5),
    ]  # fmt: skip
    page = open_page(view(address, tracks, (0, LENGTH)))
    for uid, colour in (("bars", RED), ("lines", BLUE)):
        shown = drawn(page, uid)
        high = shown.of_colour(colour)[:40]  # the ground is drawn below
        middle = round(shown.at((UP[1] + DOWN[0]) / 2))
        for place, half in ((UP, slice(0, middle)), (DOWN, slice(middle, None))):
            columns = np.flatnonzero(high[:, half].any(axis=0)) + (half.start or 0)
            shown.check((columns[0], columns[-1] + 1), place)
    signed = drawn(page, "signed")
    signed.check(signed.stretch(GREEN, slice(0, 28)), UP)
    signed.check(signed.stretch(PURPLE, slice(32, 60)), DOWN)
    assert not signed.of_colour(PURPLE)[:28].any()


def test_genes(address: str, open_page: Open) -> None:
    genes = track("gene-annotations", "genes", "genes-tiny", 120, plusStrandColor=RED, minusStrandColor=BLUE)
    shown = drawn(open_page(view(address, [genes], (0, LENGTH))), "genes")
    for colour, place in ((RED, UP), (BLUE, DOWN)):
        begin, end = shown.stretch(colour)  # its name, over its middle, is wider than a short gene
        assert abs((begin + end) / 2 - shown.at(sum(place) / 2)) <= NEAR


def test_contacts(address: str, open_page: Open) -> None:
    heatmap = track(
        "heatmap", "map", "contacts", 300, colorRange=["#ffffff", RED], heatmapValueScaling="linear",
        colorbarPosition="hidden",
    )  # fmt: skip
    shown = drawn(open_page(view(address, [], (0, LENGTH), heatmap)), "map")
    for across, down in ((UP, DOWN), (DOWN, UP)):
        middle = [round(shown.at((UP[1] + DOWN[0]) / 2)), round(shown.at_height((UP[1] + DOWN[0]) / 2))]
        rows = slice(0, middle[1]) if down == UP else slice(middle[1], None)
        shown.check(shown.stretch(RED, rows), across)
        seen = np.flatnonzero(shown.of_colour(RED)[rows].any(axis=1)) + (rows.start or 0)
        assert abs(seen[0] - shown.at_height(down[0])) <= NEAR
        assert abs(seen[-1] + 1 - shown.at_height(down[1])) <= NEAR


def test_many_rows(address: str, open_page: Open) -> None:
    rows = track("multivec", "rows", "rows", 90, **row_colours(10))
    shown = drawn(open_page(view(address, [rows], (0, LENGTH))), "rows")
    shown.check(shown.stretch(RED, slice(0, 30)), UP)
    assert not shown.of_colour(RED)[33:57].any()
    shown.check(shown.stretch(RED, slice(60, 90)), DOWN)


def row_colours(most: float) -> dict[str, Any]:
    return {
        "colorRange": ["#ffffff", RED], "valueScaleMin": 0, "valueScaleMax": most,
        "heatmapValueScaling": "linear", "colorbarPosition": "hidden",
    }  # fmt: skip


@pytest.mark.parametrize("uid", ["lines", "packed"])
def test_intervals(uid: str, address: str, open_page: Open) -> None:
    intervals = track("bedlike", "bed", uid, plusStrandColor=RED, minusStrandColor=BLUE, fillOpacity=1,
                      annotationHeight=16, showTexts=False)  # fmt: skip
    shown = drawn(open_page(view(address, [intervals], (0, LENGTH))), "bed")
    shown.check(shown.stretch(RED), UP)
    shown.check(shown.stretch(BLUE), DOWN)


def test_sequence_as_rows(address: str, open_page: Open, sequences: dict[str, str]) -> None:
    """Forty bases of the second chromosome: each is marked in the row of its letter, and nowhere else."""
    chrom, start, _ = local(DOWN)
    bases = sequences[chrom][start : start + 40].upper()
    rows = track("multivec", "letters", "sequence-tiny", 120, **row_colours(1))
    page = open_page(view(address, [rows], (DOWN[0], DOWN[0] + 40)))
    shown = drawn(page, "letters")
    marked = shown.of_colour(RED)
    for number, base in enumerate(bases):
        column = round(shown.at(DOWN[0] + number + 0.5))
        assert [row for row in range(6) if marked[20 * row + 10, column]] == ["ATGCN".index(base)]


LETTERS = {"A": GREEN, "C": BLUE, "G": "#c08000", "T": RED, "N": "#808080"}


@pytest.mark.parametrize(("width", "most"), [(40, 0.5), (120, 1.0)], ids=["letters", "bars"])
def test_sequence(address: str, open_page: Open, sequences: dict[str, str], width: int, most: float) -> None:
    """Each base has its colour at its place, also where the N end: bars fill it, letters in part."""
    begin = 73_000 - 10  # the N at the beginning of the second chromosome end at 73,000
    letters = track("horizontal-sequence", "letters", "sequence-tiny", 16, colorScale=[LETTERS[c] for c in "ATGCN"])
    shown = drawn(open_page(view(address, [letters], (begin, begin + width))), "letters")
    for number, base in enumerate(sequences["chrB"][2_990 : 2_990 + width]):
        columns = slice(round(shown.at(begin + number)) + 1, round(shown.at(begin + number + 1)) - 1)
        seen = {letter: shown.of_colour(colour)[2:-2, columns].mean() for letter, colour in LETTERS.items()}
        assert max(seen, key=seen.__getitem__) == base, (number, seen)
        assert 0.05 < seen[base] <= most


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_the_letters_when_one_zooms_in(
    address: str, open_page: Open, sequences: dict[str, str], scheme: str
) -> None:
    page = open_page(f"{address}/#chrB:10,001-10,040", scheme=scheme)
    palette = {base: page.evaluate(TOKEN, f"--base-{base.lower()}") for base in "ACGT"}
    shown = drawn(page, "sequence")
    for number, base in enumerate(sequences["chrB"][10_000:10_040]):
        columns = slice(round(shown.at(80_000 + number)), round(shown.at(80_000 + number + 1)))
        seen = {letter: shown.of_colour(colour)[:, columns].sum() for letter, colour in palette.items()}
        assert max(seen, key=seen.__getitem__) == base, (number, seen)
    hint = page.get_by_text("Zoom in to see bases")
    assert not hint.is_visible()
    query: list[str] = []
    page.on("request", lambda request: query.append(request.url))
    for _ in range(12):
        page.get_by_label("Zoom out").click()
    shown = drawn(page, "sequence")
    assert hint.is_visible()
    assert not any(shown.of_colour(colour).any() for colour in palette.values())
    assert set(re.findall(r"sequence-tiny\.(\d+)\.", " ".join(query))) <= {"7"}  # the one that has letters


TOKEN = "name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()"


@pytest.mark.parametrize("uid", ["rows", "letters"])
def test_rows_and_letters_bear_a_tile_that_cannot_be_made(uid: str, address: str, site: Site, open_page: Open) -> None:
    """The file of the one is cut short or gone, the answers for the other are errors; then all is well again."""
    drawn_as = {
        "rows": track("multivec", "rows", "rows", 90, **row_colours(10)),
        "letters": track("horizontal-sequence", "letters", "sequence-tiny", 16, colorScale=[RED] * 6),
    }
    bars = track("bar", "bars", "bigwig", valueScaleMin=0, valueScaleMax=10, barFillColor=RED, barOpacity=1)
    page = open_page(view(address, [drawn_as[uid], bars], (UP[0], UP[0] + 40)))
    assert drawn(page, uid).of_colour(RED).any()
    harm = [lying_letters(page)] if uid == "letters" else failing_file(Path(site.catalogue.tileset(uid).path))
    for ill, well in harm:
        ill()
        reload(page, uid)
        assert "rows.mv5" in text(page, uid) or "could not" in text(page, uid)
        assert not drawn(page, uid).of_colour(RED).any()
        page.evaluate(ZOOM_TO, [DOWN[0], DOWN[0] + 40])
        page.wait_for_timeout(300)
        assert drawn(page, "bars").of_colour(RED)[35:55].all()
        page.evaluate(ZOOM_TO, [UP[0], UP[0] + 40])
        page.wait_for_timeout(300)
        well()
        reload(page, uid, "bars")
        assert not text(page, uid)
        assert drawn(page, uid).of_colour(RED).any()


Steps = tuple[Callable[[], object], Callable[[], object]]


def failing_file(path: Path) -> Iterator[Steps]:
    """How a file comes to harm, and how it is mended."""
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 3], b""):
        yield (lambda broken=broken: path.write_bytes(broken)), (lambda: path.write_bytes(whole))
    yield path.unlink, (lambda: path.write_bytes(whole))


def lying_letters(page: Page) -> Steps:
    """The server says of each tile of the sequence that it could not be made."""

    def answer(route: Route) -> None:
        response = route.fetch()
        tiles = {
            key: {"error": "This tile could not be made."} if key.startswith("sequence-") else tile
            for key, tile in response.json().items()
        }
        route.fulfill(response=response, json=tiles)

    return (lambda: page.route("**/tiles/?*", answer)), (lambda: page.unroute_all(behavior="wait"))


def test_a_failing_tileset_beside_good_ones(address: str, site: Site, open_page: Open) -> None:
    """Its track says so and the others are drawn; once the file is back, a reload of the tiles draws it."""
    scale = {"valueScaleMin": 0, "valueScaleMax": 10, "barFillColor": RED, "barOpacity": 1}
    uids = ("bigwig", "fragile", "signed")
    page = open_page(view(address, [track("bar", uid, uid, **scale) for uid in uids], (0, LENGTH)))
    path = Path(site.catalogue.tileset("fragile").path)
    whole = path.read_bytes()
    assert all(drawn(page, uid).of_colour(RED).any() for uid in uids)

    for broken in (whole[: len(whole) // 3], b"", None):
        if broken is None:
            path.unlink()
        else:
            path.write_bytes(broken)
        reload(page, *uids)
        assert "fragile" in text(page, "fragile")
        assert not drawn(page, "fragile").of_colour(RED).any()
        for uid in ("bigwig", "signed"):
            assert not text(page, uid)
            shown = drawn(page, uid)
            assert shown.of_colour(RED)[35:55, round(shown.at(sum(UP) / 2))].all()

        path.write_bytes(whole)
        reload(page, *uids)
        assert not text(page, "fragile")
        assert drawn(page, "fragile").of_colour(RED).any()


def reload(page: Page, *uids: str) -> None:
    page.evaluate(
        "uids => window.trackserver.hgApi.reload(uids.map(trackId => ({ viewId: 'v', trackId })))", list(uids)
    )
    page.evaluate("window.trackserver.tilesLoaded()")


def text(page: Page, uid: str) -> str:
    """What a track writes over itself."""
    return "\n".join(page.evaluate(PLACE, uid)["errors"])


ZOOM_TO = "([from, to]) => window.trackserver.hgApi.zoomTo('v', from, to, undefined, undefined, 0)"


def test_the_benchmarks_walk_is_what_the_client_asks_for(
    tmp_path: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    from browsing import HG38, SCREEN, uids, views, walk

    with pyBigWig.open(str(tmp_path / "some.bw"), "w") as writer:
        writer.addHeader(list(HG38.items()))
        writer.addEntries(["chr1"], [1_000], ends=[1_000_000], values=[1.0])
    site = init_site(tmp_path / "site", "hg38")
    for uid in uids():
        add_tileset(site, TilesetRecord(uid, uid, "observed", "hg38", str(tmp_path / "some.bw")))
    seen = list(views(0))[:14]
    with serving(site) as (url, _):
        tracks = [track("bar", uid, uid, 30) for uid in uids()]
        query: list[list[str]] = []
        page = open_page(view(url, tracks, seen[0], assembly="hg38"), 1800)
        assert SCREEN <= page.get_by_test_id("higlass").bounding_box()["width"] <= 1500  # type: ignore[index]
        page.on("request", lambda request: query.append(re.findall(r"[?&]d=([^&]*)", request.url)))
        for start, end in seen[1:]:
            page.evaluate(
                "([from, to]) => window.trackserver.hgApi.zoomTo('v', from, to, undefined, undefined, 0)", [start, end]
            )
            page.wait_for_timeout(300)
            page.evaluate("window.trackserver.tilesLoaded()")
    assert len(query) > 20
    assert query == walk(0)[2 : 2 + len(query)]  # the first view asked before anybody listened
