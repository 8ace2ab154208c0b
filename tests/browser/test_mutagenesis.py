"""What each base near a variant does, on the page: a logo over a map, from a button, and again from a link."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_page import picture, rows, settled

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Open = Callable[..., Page]


def bases_of(page: Page) -> tuple[str, str]:
    """The rows of the logo and of the map."""
    logo, heat_map = (row for row in rows(page) if row.startswith("ism-"))
    return logo, heat_map


def coloured(page: Page, row: str) -> int:
    """How many pixels of a row are neither grey nor background."""
    image = picture(page, row)
    return int((image.max(axis=2) - image.min(axis=2) > 60).sum())


def show_bases(page: Page) -> None:
    page.get_by_role("button", name="Show what each base does").click()
    expect(page.get_by_test_id("mutagenesis")).to_contain_text("does most")
    settled(page)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_button_shows_the_sites_the_signal_rests_on(
    server: tuple[str, int], open_page: Open, width: int, scheme: str
) -> None:
    page = open_page(f"{server[0]}/", width, 844, scheme)
    settled(page)
    show_bases(page)
    logo, heat_map = bases_of(page)
    assert (logo.split("-")[-1], heat_map.split("-")[-1]) == ("logo", "map")
    shown = rows(page)
    assert shown[shown.index("sequence") - 1] == heat_map
    assert page.locator(f'[data-row="{heat_map}"] .bases').inner_text().split() == list("ACGT")
    assert coloured(page, logo) > 200 and coloured(page, heat_map) > 1000
    box = page.locator(f'[data-row="{logo}"]').bounding_box()
    assert box and box["y"] >= 0 and box["y"] + box["height"] <= 844
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_link_shows_them_again_and_another_variant_takes_their_place(
    server: tuple[str, int], open_page: Open
) -> None:
    page = open_page(f"{server[0]}/")
    settled(page)
    show_bases(page)
    page.locator("#share").click()
    again = open_page(page.get_by_test_id("share-link").input_value())
    settled(again)
    assert rows(again) == rows(page)
    for row in bases_of(again):
        assert coloured(again, row) > 200
    text = again.get_by_test_id("headline").inner_text()
    chrom, position, ref = text.replace(",", "").replace(" ", ":").split(">")[0].split(":")
    other = next(alt for alt in "ACGT" if alt not in (ref, text[-1]))
    again.locator("#q").fill(f"{chrom}:{position}:{ref}:{other}")
    again.locator("#q").press("Enter")
    expect(again.get_by_test_id("headline")).to_contain_text(f">{other}")
    expect(again.locator('[data-row^="ism-"]')).to_have_count(0)


def test_what_cannot_be_computed_is_said(server: tuple[str, int], open_page: Open) -> None:
    page = open_page(f"{server[0]}/")
    settled(page)
    page.route("**/api/v1/mutagenesis/", lambda route: route.fulfill(
        status=503, json={"error": "2 questions are waiting already; try again in a minute.", "code": "queue_full"},
    ))  # fmt: skip
    page.get_by_role("button", name="Show what each base does").click()
    expect(page.locator("#notice")).to_contain_text("try again in a minute")
    expect(page.get_by_role("button", name="Show what each base does")).to_be_enabled()
