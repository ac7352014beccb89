"""What pages show where something is missing, and that tests of pages notice what goes wrong in them."""

from __future__ import annotations

import numpy as np
import pytest
from page_cases import BROKEN, CORONAL, DAMAGED, FAILED, GRIDLESS, LOST, Look, Served

pytestmark = pytest.mark.pages
NO_WEBGL = """
  const get = HTMLCanvasElement.prototype.getContext;
  HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
    return kind.startsWith('webgl') ? null : get.call(this, kind, ...rest);
  };
"""


def test_a_damaged_series_says_what_is_missing(look: Look) -> None:
    for number, words in ((BROKEN, "could not be read"), (LOST, "no image of this section")):
        look.open(f"/experiment/{DAMAGED}?s={number}")
        look.page.wait_for_selector(f".stage-note:has-text('{words}')")
        look.page.wait_for_selector(".bar-row")
    look.settled()
    look.shot("damaged")
    look.page.keyboard.press("ArrowLeft")
    look.until(f"() => !location.search.includes('s={LOST}')")


def test_images_that_moved_are_replaced_by_those_of_the_run(look: Look, served: Served) -> None:
    series = served.series[CORONAL]
    away = series.with_name("moved")
    series.rename(away)
    try:
        look.open(f"/experiment/{CORONAL}?s=18&l=p")
        look.page.wait_for_selector(".stage-note:has-text('has moved')")
        look.settled()
        pixels = look.stage()
        assert pixels.std() > 15  # the reduced image is there
        look.shot("moved")
    finally:
        away.rename(series)


def test_without_webgl_the_rest_is_shown(look: Look) -> None:
    look.page.add_init_script(NO_WEBGL)
    look.open(f"/experiment/{CORONAL}")
    look.page.wait_for_selector(".grid .notice:has-text('WebGL 2')")
    look.shown()
    look.page.get_by_role("tab", name="Projections").click()
    look.page.wait_for_selector(".projections img")
    look.until("() => [...document.querySelectorAll('.projections img')].every(i => i.naturalWidth > 0)")


def test_a_run_without_a_grid_shows_its_sections(look: Look) -> None:
    look.open(f"/experiment/{GRIDLESS}?s=18")
    look.page.wait_for_selector(".grid .notice:has-text('grid')")
    look.page.wait_for_selector("aside .notice:has-text('unionize')")
    look.shown()
    assert look.stage().std() > 15
    look.page.get_by_role("tab", name="Projections").click()
    look.page.wait_for_selector(".grid .notice:has-text('grid')")
    look.settled()
    look.shot("without-grid")
    look.forgive_unfinished()


def test_a_table_that_is_not_there_is_not_asked_for(look: Look) -> None:
    asked: list[str] = []
    look.page.on("request", lambda request: asked.append(request.url))
    look.open("/")
    card = look.page.locator(".card", has_text=str(GRIDLESS))
    card.scroll_into_view_if_needed()
    card.get_by_text("no table").wait_for()
    look.open(f"/experiment/{GRIDLESS}")
    look.page.wait_for_selector("aside .notice:has-text('unionize')")
    look.settled()
    assert not [url for url in asked if f"/{GRIDLESS}/unionize" in url]
    look.forgive_unfinished()


def test_a_run_that_failed_says_why(look: Look) -> None:
    look.open("/")
    card = look.page.locator(".card", has_text=str(FAILED))
    card.locator(".quality", has_text="6 fail").wait_for()
    look.open(f"/experiment/{FAILED}")
    look.page.wait_for_selector(".stage-note:has-text('could not be read')")
    look.page.wait_for_selector(".grid .notice")
    look.settled()
    assert look.page.locator(".frame.fail").count() == 6
    look.shot("failed-run")
    look.forgive_unfinished()


def test_an_unknown_experiment_says_so(look: Look) -> None:
    look.open("/experiment/5")
    look.page.wait_for_selector("[role=alert]:has-text('not served here')")
    look.forgive("/experiments/5")


def test_what_goes_wrong_in_a_page_is_noticed(look: Look) -> None:
    """The sieve of all other tests: another host, an error on the console, an exception, a failed answer."""
    look.open("/")
    look.settled()
    look.forgive_unfinished()
    assert look.wrong == []
    frame = (
        "document.body.append(Object.assign(document.createElement('iframe'), { src: 'http://a.invalid/' }))"
    )
    for doing, word in (
        (f"() => {{ {frame}; }}", "console"),  # which the page's own policy blocks
        ("() => { fetch('/no/such/page'); }", "404"),
        ("() => { setTimeout(() => { throw new Error('thrown'); }); }", "thrown"),
    ):
        look.js(doing)
        wait_until(look, word)
    look.page.goto("about:blank")
    look.js("() => { fetch('http://a.invalid/', { mode: 'no-cors' }).catch(() => null); }")
    wait_until(look, "left the host: http://a.invalid/")
    wait_until(look, "ERR_NAME_NOT_RESOLVED")
    look.wrong.clear()


def wait_until(look: Look, word: str) -> None:
    for _ in range(200):
        if any(word in line for line in look.wrong):
            return
        look.page.wait_for_timeout(50)
    raise AssertionError(f"{word}: {look.wrong}")


def test_a_page_that_has_more_to_draw_is_not_idle(look: Look) -> None:
    """The state that all other tests wait for."""
    look.open(f"/experiment/{CORONAL}?s=18")
    look.shown()
    still = look.stage()
    busy = look.js(
        "async () => { ishStage.zoomBy(2); await new Promise(requestAnimationFrame); return !ishIdle(); }"
    )
    assert busy
    look.settled()
    assert look.js("() => ishIdle()")
    assert np.abs(look.stage() - still).max() > 50
    drawn = look.stage()
    look.settled()
    assert (look.stage() == drawn).all()
