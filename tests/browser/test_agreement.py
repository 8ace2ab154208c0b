"""Observed beside predicted, in a real Chromium: figures in the margin, counterparts, shapes, facets, other pages."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from trackserver.agreement.compare import genome_wide, open_pair
from trackserver.catalogue.open_tilesets import TilesetCache
from trackserver.catalogue.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Open = Callable[..., Page]
Server = tuple[str, int]
WINDOW = "chrS3:541189-568030"  # of the demo: a stretch with peaks


def asked(address: str, path: str, **words: Any) -> dict[str, Any]:
    """The server's own answer."""
    query = urllib.parse.urlencode(words, doseq=True)
    with urllib.request.urlopen(f"{address}/api/v1/{path}/?{query}", timeout=60) as answer:
        return dict(json.load(answer))


def pairs(site: Site) -> list[list[str]]:
    return site.settings.rows


def row_of(page: Page, predicted: str) -> Locator:
    return page.locator(f'[data-row="pair-{predicted}"]')


def badge_of(figures: dict[str, Any]) -> str:
    """What the margin should say of figures that are all defined."""
    letters = (("pearson", "r"), ("spearman", "ρ"), ("auprc", "AUPRC"))
    text = "".join(f"{letter}={figures[name]:.2f}".replace("-", "−") for name, letter in letters)
    return f"{text}(n={figures['n_bins']:,} bins, this window)"


def locus(page: Page) -> str:
    return page.get_by_test_id("locus").inner_text().replace(",", "")


def scales(page: Page, predicted: str) -> tuple[float, float]:
    """To where the predicted and the measured track of a row are drawn."""
    page.evaluate("window.trackserver.tilesLoaded()")
    top = """uid => Object.values(window.trackserver.hgApi.getComponent().tiledPlots)[0].trackRenderer
      .getTrackObject(uid).valueScale.domain()[1]"""
    return tuple(page.evaluate(top, f"pair-{predicted}-{kind}") for kind in ("predicted", "observed"))


def test_the_margin_says_how_well_a_pair_agrees_in_view(server: Server, open_page: Open, demo_site: Site) -> None:
    """The figures are those of the API, and follow the view."""
    (predicted, observed), *_ = pairs(demo_site)
    page = open_page(f"{server[0]}/#{WINDOW}")
    badge = row_of(page, predicted).get_by_test_id("agreement")
    words = {"predicted": predicted, "observed": observed}
    for _ in range(2):
        figures = asked(server[0], "agreement", **words, locus=locus(page))["figures"]
        expect(badge).to_contain_text(badge_of(figures))
        before = locus(page)
        page.get_by_label("Zoom in").click()
        page.get_by_label("Move right").click()
        expect(page.get_by_test_id("locus")).not_to_have_text(before)
    assert page.get_by_test_id("agreement").count() == len(pairs(demo_site))
    assert "bins of 32 bp in this window" in (badge.get_attribute("title") or "")


def test_the_genome_wide_figure_is_of_the_test_fold(server: Server, open_page: Open, demo_site: Site) -> None:
    predicted, observed = pairs(demo_site)[1]
    made = genome_wide(demo_site, open_pair(TilesetCache(demo_site), predicted, observed))
    page = open_page(f"{server[0]}/#{WINDOW}")
    badge = row_of(page, predicted).get_by_test_id("agreement")
    expect(badge).to_contain_text(f"genome-wide r={made['folds']['test']['pearson']:.2f}(test fold)")


def test_where_nothing_can_be_compared_it_is_said(server: Server, open_page: Open, demo_site: Site) -> None:
    page = open_page(f"{server[0]}/#chrS3:547189-547210")
    badge = row_of(page, pairs(demo_site)[0][0]).get_by_test_id("agreement")
    expect(badge).to_contain_text("not defined")
    badge.click()
    expect(page.get_by_test_id("notice")).to_contain_text("figures need at least 10")


@pytest.mark.parametrize(("taken", "offer"), [(1, "show measured"), (0, "show predicted")])
def test_a_counterpart_is_offered(taken: int, offer: str, server: Server, open_page: Open, demo_site: Site) -> None:
    """One of a pair is taken away, and comes back into the same row."""
    both = pairs(demo_site)[0]
    page = open_page(f"{server[0]}/#{WINDOW}")
    expect(row_of(page, both[0]).get_by_test_id("agreement")).to_be_visible()
    page.locator(f'[data-uid="{both[taken]}"]').click()
    alone = page.locator(f'[data-row="signal-{both[1 - taken]}"]')
    expect(alone.get_by_test_id("offer")).to_have_text(offer)
    assert "same assay" in (alone.get_by_test_id("offer").get_attribute("title") or "")
    alone.get_by_test_id("offer").click()
    expect(row_of(page, both[0]).get_by_test_id("agreement")).to_be_visible()
    expect(alone).to_have_count(0)
    expect(page.locator(f'[data-uid="{both[taken]}"]')).to_have_attribute("aria-pressed", "true")


def test_shapes_are_compared_each_on_its_own_scale(server: Server, open_page: Open, demo_site: Site) -> None:
    """Said in the margin, kept by a link and an embed, and undone."""
    predicted = pairs(demo_site)[0][0]
    page = open_page(f"{server[0]}/#{WINDOW}")
    one, other = scales(page, predicted)
    assert one == other
    page.locator("#shapes").click()
    text = row_of(page, predicted).locator(".shapes")
    expect(text).to_contain_text("each to its own 99th percentile")
    own = scales(page, predicted)
    assert own[0] != own[1]
    assert max(own) < one
    expect(text).to_contain_text(f"{own[0]:.2f} and {own[1]:.2f}")

    page.locator("#share").click()
    link = page.get_by_test_id("share-link").input_value()
    for address in (link, link.replace("/v/", "/embed/")):
        again = open_page(address)
        expect(row_of(again, predicted).locator(".shapes")).to_contain_text("99th percentile")
        assert scales(again, predicted) == pytest.approx(own, rel=0.2)  # of what lies in view there, on another width
    page.keyboard.press("Escape")
    page.locator("#shapes").click()
    expect(text).to_have_count(0)
    page.evaluate("window.trackserver.tilesLoaded()")
    assert scales(page, predicted) == pytest.approx((one, one))


def test_scales_of_shapes_follow_the_view(server: Server, open_page: Open, demo_site: Site) -> None:
    predicted = pairs(demo_site)[0][0]
    page = open_page(f"{server[0]}/#{WINDOW}")
    page.locator("#shapes").click()
    text = row_of(page, predicted).locator(".shapes")
    expect(text).to_be_visible()
    before = text.inner_text()
    page.evaluate("window.location.hash = 'chrS3:543600-546400'")
    expect(text).not_to_have_text(before)


def test_facets_filter_the_list(server: Server, open_page: Open, demo_site: Site) -> None:
    """The server counts and filters; the page asks for a page of the list at a time."""
    limits: list[str] = []
    page = open_page(f"{server[0]}/#{WINDOW}")
    page.on("request", lambda request: limits.extend(re.findall(r"[?&]limit=(\d+)", request.url)))
    facets, entries = page.get_by_test_id("facets"), page.get_by_test_id("tilesets").locator("[data-uid]")
    counted = asked(server[0], "facets", dt="vector", assembly="synthetic")
    expect(entries).to_have_count(counted["count"])
    for key in ("assay", "biosample", "kind"):
        for value in counted["facets"][key]:
            button = facets.locator(f'[data-value="{key}:{value["value"]}"]')
            expect(button.locator(".count")).to_have_text(str(value["count"]))
    facets.locator('[data-value="assay:DNASE"]').click()
    expect(entries).to_have_count(4)
    expect(page.get_by_test_id("count")).to_have_text("4 of 12")
    expect(facets.locator('[data-value="kind:predicted"] .count')).to_have_text("2")
    expect(facets.locator('[data-value="assay:CHIP"] .count')).to_have_text("8")
    page.get_by_test_id("filter").fill("lymphoid measured-by-nobody")
    expect(entries).to_have_count(0)
    expect(page.get_by_test_id("tilesets")).to_contain_text("No track fits")
    page.get_by_test_id("filter").fill("LYMPHOID")
    expect(entries).to_have_count(2)
    facets.locator('[data-value="assay:DNASE"]').click()
    expect(entries).to_have_count(4)
    assert limits
    assert max(map(int, limits)) <= 100


def test_the_tracks_on_screen_open_elsewhere(server: Server, open_page: Open, demo_site: Site) -> None:
    page = open_page(f"{server[0]}/#{WINDOW}")
    page.locator("#open-in").click()
    links = page.get_by_test_id("elsewhere").locator("a")
    shown = [uid for row in pairs(demo_site) for uid in row]
    given = asked(server[0], "open", d=shown, locus=locus(page), assembly="synthetic")
    expected = {name: given[name] for name in ("ucsc", "igv", "jbrowse", "washu") if given[name]}
    assert expected
    expect(links).to_have_count(len(expected))
    result = {link.get_attribute("data-browser"): link.get_attribute("href") for link in links.all()}
    assert result == expected
    expect(page.locator("#open-dialog")).to_contain_text(given["note"])
    page.keyboard.press("Escape")
    expect(links.first).not_to_be_visible()


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_the_margin_stays_in_its_place(width: int, server: Server, open_page: Open, demo_site: Site) -> None:
    """Whatever is said there, it is not cut, and the page does not grow wider."""
    page = open_page(f"{server[0]}/#{WINDOW}", width)
    page.locator("#shapes").click()
    expect(page.locator(".shapes").first).to_be_visible()
    expect(page.get_by_test_id("agreement")).to_have_count(len(pairs(demo_site)))
    page.evaluate("window.trackserver.tilesLoaded()")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.evaluate(BOXES)
    assert len(boxes) == 2 * len(pairs(demo_site))
    for left, right, inside in boxes:
        assert 0 <= left < right <= width
        assert inside


BOXES = """() => [...document.querySelectorAll('.agreement, .shapes')].map(element => {
  const { left, right } = element.getBoundingClientRect();
  const inline = getComputedStyle(element).display === 'inline';
  return [left, right, inline || element.scrollWidth <= element.clientWidth + 1];
})"""
