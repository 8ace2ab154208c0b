"""What a person sees, in a real Chromium: the demo, a typed variant, a shared link."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from trackserver.catalogue.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Open = Callable[..., Page]


def picture(page: Page, row: str) -> np.ndarray:
    """A row's track as it is on the screen, (height, width, 3)."""
    page.evaluate("window.trackserver.tilesLoaded()")
    box = page.locator(f'[data-row="{row}"]').bounding_box()
    stage = page.get_by_test_id("higlass").bounding_box()
    assert box
    assert stage
    clip = {"x": stage["x"] + 2, "y": box["y"] + 2, "width": stage["width"] - 4, "height": box["height"] - 4}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")).astype(int)  # type: ignore[arg-type]


def colours(page: Page, row: str) -> int:
    """How many pixels of a row's track differ from its background."""
    image = picture(page, row)
    values, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
    background = values[counts.argmax()]
    return int((np.abs(image - background).sum(axis=2) > 30).sum())


def drawn_delta(page: Page, row: str) -> int:
    """How many pixels of a Δ row are blue or orange; its zero line is grey."""
    image = picture(page, row)
    return int((image.max(axis=2) - image.min(axis=2) > 60).sum())


def rows(page: Page) -> list[str]:
    return [row.get_attribute("data-row") or "" for row in page.locator("[data-row]").all()]


def settled(page: Page) -> None:
    """The effect the page opens with, or was asked for, is there and drawn."""
    expect(page.get_by_test_id("headline")).to_be_visible()
    page.evaluate("window.trackserver.tilesLoaded()")


def test_the_first_screen_shows_the_point(server: tuple[str, int], open_page: Open, demo_site: Site) -> None:
    """Tracks drawn, the ready-made variant's effect computed, and the demo said to be synthetic."""
    page = open_page(f"{server[0]}/")
    settled(page)
    assert demo_site.settings.show.split(":")[1] in (page.get_by_test_id("headline").text_content() or "").replace(
        ",", ""
    )
    assert "synthetic" in page.locator("#site-notice").inner_text().lower()
    drawn = {row: colours(page, row) for row in rows(page)}
    assert len(drawn) >= 6
    assert all(count > 50 for count in drawn.values()), drawn
    assert len(page.locator('[data-testid="changed"] tbody tr').all()) == 6


def test_a_typed_variant_is_drawn_and_shared(server: tuple[str, int], open_page: Open, demo_site: Site) -> None:
    """Type a variant, see Δ, share, and open the link somewhere else: the same locus and tracks."""
    shown = demo_site.settings.show
    chrom, position, ref, _ = shown.split(":")
    other = next(f"{chrom}-{position}-{ref}-{alt}" for alt in "ACGT" if alt not in (ref, shown[-1]))
    page = open_page(f"{server[0]}/")
    settled(page)
    page.locator("#q").fill(other)
    page.locator("#q").press("Enter")
    expect(page.get_by_test_id("headline")).to_contain_text(f"{ref}>{other[-1]}")
    settled(page)
    delta = next(row for row in rows(page) if row.endswith("delta"))
    assert drawn_delta(page, delta) > 50

    page.locator("#share").click()
    link = page.get_by_test_id("share-link").input_value()
    assert "<iframe" in page.get_by_test_id("share-embed").input_value()
    locus = page.get_by_test_id("locus").inner_text()
    titles = page.locator("[data-row]").all_inner_texts()

    again = open_page(link)
    settled(again)
    assert again.get_by_test_id("locus").inner_text() == locus
    assert rows(again) == rows(page)
    assert [text.split("\n")[0] for text in again.locator("[data-row]").all_inner_texts()] == [
        text.split("\n")[0] for text in titles
    ]
    assert drawn_delta(again, delta) > 50
    expect(again.get_by_test_id("headline")).to_contain_text(f"{ref}>{other[-1]}")

    embed = open_page(link.replace("/v/", "/embed/"))
    assert rows(embed) == rows(page)
    assert drawn_delta(embed, delta) > 50
    assert embed.locator("#q").count() == 0


def test_a_view_whose_effect_is_gone_offers_to_compute_it_again(
    server: tuple[str, int], open_page: Open, demo_site: Site
) -> None:
    """As after an upgrade that gives effects other ids: the link still opens, and says what is missing."""
    page = open_page(f"{server[0]}/")
    settled(page)
    headline = page.get_by_test_id("headline").inner_text()
    page.locator("#share").click()
    link = page.get_by_test_id("share-link").input_value()
    view = demo_site.catalogue.view(link.rpartition("/")[2])
    text = json.dumps(view.viewconf)
    older = re.sub(r"fx-[0-9a-f]{20}-", f"fx-{'0' * 20}-", text)
    assert older != text
    stored = demo_site.catalogue.put_view(json.loads(older), view.title)

    again = open_page(link.replace(view.id, stored.id), tiles=False)
    notice = again.get_by_test_id("notice")
    expect(notice).to_contain_text("is no longer stored on this server")
    notice.get_by_role("button", name="Compute it again").click()
    expect(again.get_by_test_id("headline")).to_contain_text(headline.split("\n")[0])
    settled(again)
    delta = next(row for row in rows(again) if row.endswith("delta"))
    assert "0" * 20 not in delta
    assert drawn_delta(again, delta) > 50


def test_the_letters_stand_under_the_effect(server: tuple[str, int], open_page: Open, demo_site: Site) -> None:
    """Close to the variant one reads REF under its Δ; from a link as well."""
    chrom, position, ref, _ = demo_site.settings.show.split(":")
    page = open_page(f"{server[0]}/")
    settled(page)
    shown = rows(page)
    assert shown[shown.index("sequence") - 1].endswith("delta")
    page.evaluate("hash => { window.location.hash = hash }", f"{chrom}:{int(position) - 10}-{int(position) + 10}")
    expect(page.get_by_test_id("locus")).to_contain_text(f"{int(position) - 10:,}")
    assert letter(page, 10 / 21, 11 / 21) == ref
    page.locator("#share").click()
    again = open_page(page.get_by_test_id("share-link").input_value())
    settled(again)
    assert letter(again, 10 / 21, 11 / 21) == ref


def letter(page: Page, begin: float, end: float) -> str:
    """The base that is read at a part of the row of letters."""
    image = picture(page, "sequence")
    part = image[:, round(begin * image.shape[1]) : round(end * image.shape[1])].reshape(-1, 3)
    output = page.evaluate(
        "[...'ACGT'].map(each => getComputedStyle(document.body).getPropertyValue(`--base-${each.toLowerCase()}`))"
    )
    palette = np.array([[int(colour.strip()[i : i + 2], 16) for i in (1, 3, 5)] for colour in output])
    inked = part[part.max(axis=1) - part.min(axis=1) > 70]
    nearest = np.abs(inked[:, None] - palette).sum(axis=2).argmin(axis=1)
    return "ACGT"[np.bincount(nearest, minlength=4).argmax()]


def test_a_row_of_the_table_adds_the_tracks_of_that_effect(server: tuple[str, int], open_page: Open) -> None:
    page = open_page(f"{server[0]}/")
    settled(page)
    before = set(rows(page))
    page.locator('[data-testid="changed"] tbody tr').nth(2).locator("button, a, td").first.click()
    page.wait_for_function(f"document.querySelectorAll('[data-row]').length > {len(before)}")
    added = set(rows(page)) - before
    assert any(row.endswith("delta") for row in added)
    assert all(colours(page, row) > 20 for row in added)


def test_errors_are_sentences_on_the_page(server: tuple[str, int], open_page: Open, demo_site: Site) -> None:
    chrom, position, ref, alt = demo_site.settings.show.split(":")
    page = open_page(f"{server[0]}/#{chrom}:1000-9000")
    third = next(base for base in "ACGT" if base not in (ref, alt))
    for typed, sentence in [
        ("nosuchgene", "Nothing in"),
        (f"{chrom}:99999999:A:C", "is not on its chromosome"),
        ("chr99:5-9", "has no chromosome 'chr99'"),
        (f"{chrom}:{position}:{third}:{ref}", "did you mean"),
    ]:
        page.locator("#q").fill(typed)
        page.locator("#q").press("Enter")
        expect(page.locator("body")).to_contain_text(sentence)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut(server: tuple[str, int], open_page: Open, scheme: str, tmp_path: Path) -> None:
    page = open_page(f"{server[0]}/", 390, 844, scheme)
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert all(colours(page, row) > 20 for row in rows(page)[:3])
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = sum(int(value) for value in background[4:-1].split(","))
    assert (lightness < 200) == (scheme == "dark")


def test_the_readmes_script_runs(server: tuple[str, int]) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.DOTALL)
    printed: dict[str, dict[str, object]] = {}
    exec(script.replace("http://localhost:8989", server[0]), printed)
    assert printed["effect"]["status"] == "done"


def test_the_server_stays_small(server: tuple[str, int]) -> None:
    """Under 1 GB with the demo's model loaded, all its processes together."""
    children = Path(f"/proc/{server[1]}/task/{server[1]}/children").read_text().split()
    resident = [int(status_of(pid)["VmRSS"].split()[0]) for pid in [str(server[1]), *children]]
    assert sum(resident) < 1_000_000  # kB


def status_of(pid: str) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
