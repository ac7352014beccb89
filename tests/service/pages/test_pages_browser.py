"""The pages of experiments and of the atlas in a real browser, over runs of the phantom."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import ID
from page_cases import CORONAL, DAMAGED, SAGITTAL, Look, Served, point_of
from PIL import Image

from pipeline.geometry.sync import image_to_reference
from pipeline.inputs.alignments import open_alignment
from pipeline.inputs.references import open_reference
from pipeline.service.pages.files import read_files
from pipeline.service.plates.sections import structures_at
from pipeline.store.run import RunFolder

pytestmark = pytest.mark.pages


def test_search_by_text_opens_what_it_finds(look: Look, served: Served) -> None:
    look.open("/")
    page = look.page
    page.wait_for_selector(".card")
    assert page.locator(".card").count() == len(served.runs)
    look.until("() => [...document.querySelectorAll('.card img')].every(picture => picture.complete)")
    look.settled()
    look.shot("experiments")
    page.keyboard.press("/")
    page.keyboard.type(f"coronal {CORONAL}")
    look.until("() => document.querySelectorAll('.card').length === 1")
    look.settled()
    assert f"q=coronal%20{CORONAL}" in page.url
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/experiment/{CORONAL}**")
    look.shown()
    look.shot("experiment")
    assert page.title().startswith("Phantom")
    look.forgive_unfinished()


def test_quality_and_errors_are_shown_in_words(look: Look) -> None:
    look.open("/")
    card = look.page.locator(".card", has_text=str(DAMAGED))
    card.locator(".quality", has_text="1 fail").wait_for()
    assert "1 missing" in card.inner_text()
    assert "error not estimated" in card.inner_text()
    look.settled()
    look.forgive_unfinished()


@pytest.mark.parametrize(
    ("query", "most"),
    [
        ("search=differential&target=CTX&contrast=root", 3),
        (f"search=correlation&seed={ID}", 3),
        ("search=point", 2),
    ],
)
def test_searches_list_experiments_that_open(look: Look, served: Served, query: str, most: int) -> None:
    if query == "search=point":
        energy = RunFolder(served.runs[CORONAL]).read_grid()["energy"]
        p, i, r = 200 * np.array(np.unravel_index(np.argmax(energy), energy.shape))
        query += f"&p={p}&i={i}&r={r}"
    look.open(f"/?{query}")
    if query.startswith("search=point"):  # two coronal experiments are too few for it
        look.page.wait_for_selector(".notice[role=alert]:has-text('coronal')")
        look.forgive("404")
        return
    rows = look.page.locator(".results tbody tr")
    rows.first.wait_for()
    assert 1 <= rows.count() <= most
    look.page.wait_for_selector(".results .small-bars")
    look.settled()
    look.shot(query.split("&")[0].replace("=", "-"))
    rows.first.locator("a").click()
    look.page.wait_for_url("**/experiment/**")
    look.settled()


def test_ranks_that_may_change_within_error_are_said(look: Look) -> None:
    query = "search/differential?target=CTX&contrast=root"
    answer = look.page.request.get(f"{look.url}/ish/v1/{query}", timeout=120_000).json()
    rows = answer["msg"]["rows"] if isinstance(answer["msg"], dict) else answer["msg"]
    rows[0] |= {"rank_first": 1, "rank_last": 2}
    rows[1:] = [{**row, "rank_first": None, "rank_last": None} for row in rows[1:]]
    look.page.route(f"**/{query.split('?')[0]}*", lambda route: route.fulfill(json=answer))
    look.open("/?search=differential&target=CTX&contrast=root")
    ranks = look.page.locator(".results td.rank")
    ranks.first.wait_for()
    assert ranks.first.inner_text() == "1 1–2"
    assert ranks.first.get_attribute("title") == "may rank 1 to 2 within the typical error of its experiment"
    assert ranks.nth(1).inner_text() == "2"
    look.settled()


def test_mask_changes_pixels_of_the_mask_only(look: Look) -> None:
    look.open(f"/experiment/{CORONAL}?s=18&l=pm&op=1&upp=4")
    look.shown()
    shown = look.stage()
    look.press("m")
    changed = np.abs(look.stage() - shown).max(axis=2) > 12
    mask = mask_of(look) > 0
    x, y = look.pixels(shown)
    rows, columns = np.rint(y).astype(int), np.rint(x).astype(int)
    at = np.clip(rows, 0, mask.shape[0] - 1), np.clip(columns, 0, mask.shape[1] - 1)
    middle = (np.abs(x - columns) < 0.3) & (np.abs(y - rows) < 0.3)
    bar, box = (look.page.locator(name).first.bounding_box() for name in (".scale-bar", ".stage"))
    free = np.ones(changed.shape, bool)
    free[int(bar["y"] - box["y"]) - 4 :, int(bar["x"] - box["x"]) - 4 :] = False
    near, sure = dilated(mask, 1)[at], mask[at] & middle
    assert (sure & free).sum() > 500
    assert not (changed & free & ~near).any()
    assert (changed & sure & free).sum() > 0.98 * (sure & free).sum()


def mask_of(look: Look) -> np.ndarray:
    """Return the mask of the shown section as the service serves it."""
    number = look.js("() => ishStage.image.id")
    answer = look.page.request.get(f"{look.url}/iiif/3/{number}:mask/full/max/0/gray.png")
    return np.asarray(Image.open(BytesIO(answer.body())))


def dilated(mask: np.ndarray, by: int) -> np.ndarray:
    found = np.zeros_like(mask)
    padded = np.pad(mask, by)
    for dy in range(2 * by + 1):
        for dx in range(2 * by + 1):
            found |= padded[dy : dy + mask.shape[0], dx : dx + mask.shape[1]]
    return found


def test_threshold_and_colours_change_without_a_request(look: Look) -> None:
    look.open(f"/experiment/{CORONAL}?s=18&l=m&op=1&upp=8")
    look.shown()
    first = look.stage()
    before = len(look.answers)
    look.page.get_by_label("intensity threshold").fill("140")
    look.settled()
    higher = look.stage()
    look.page.get_by_label("Colours of the mask").select_option("safe")
    look.settled()
    safe = look.stage()
    lit = lambda pixels: int((pixels.max(axis=2) - pixels.min(axis=2) > 60).sum())  # noqa: E731
    assert 0 < lit(higher) < lit(first)
    assert (safe != higher).any(axis=2).sum() > 100
    assert [url for url in look.answers[before:] if ":mask" in url] == []
    assert "th=140" in look.page.url
    assert "map=safe" in look.page.url


@pytest.mark.parametrize("experiment", [CORONAL, SAGITTAL])
def test_outlines_agree_with_the_annotation(look: Look, served: Served, experiment: int) -> None:
    look.open(f"/experiment/{experiment}")
    look.shown()
    number = int(look.js("() => new URLSearchParams(location.search).get('s')"))
    width, height = look.js("() => [ishStage.image.width, ishStage.image.height]")
    series, reference = open_alignment(served.runs[experiment]), open_reference(None, None)
    rng, step = np.random.default_rng(7), reference.annotation_um / 16.0
    points = rng.uniform([0.1 * width, 0.1 * height], [0.9 * width, 0.9 * height], (4000, 2))
    around = [points + step * np.array([dx, dy]) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    labels = np.stack([structures_at(reference, series, number, some) for some in around])
    inside = np.flatnonzero((labels == labels[4]).all(axis=0) & (labels[4] > 0))
    chosen = inside[np.unique(labels[4][inside], return_index=True)[1]][:20]
    chosen = np.concatenate([chosen, inside[: 20 - len(chosen)]])
    assert len(chosen) == 20
    found = look.js("points => points.map(p => ishStage.outlines.at(p))", points[chosen].tolist())
    assert found == labels[4][chosen].tolist()


def test_readout_is_the_place_and_structure_under_the_cursor(look: Look, served: Served) -> None:
    look.open(f"/experiment/{CORONAL}?s=18")
    look.shown()
    box = look.box()
    look.page.mouse.move(*look.at(0.45, 0.4))
    look.page.wait_for_selector("#readout .values:has-text('darkness')")
    pixel = look.js("([x, y]) => ishStage.pixelAt({ x, y })", [0.45 * box["width"], 0.4 * box["height"]])
    series = open_alignment(served.runs[CORONAL])
    (point,) = image_to_reference(series, 18, [pixel])
    assert np.abs(point_of(look.page.locator("#readout .point").inner_text()) - point).max() < 10
    expected = structures_at(open_reference(None, None), series, 18, [pixel])
    assert look.page.locator("#readout .structure").get_attribute("data-id") == str(expected[0])


def test_spheres_are_drawn_and_the_largest_is_that_of_the_grid(look: Look, served: Served) -> None:
    look.open(f"/experiment/{SAGITTAL}")
    look.until("() => globalThis.ishSpheres?.count > 0")
    look.shown()
    grid = RunFolder(served.runs[SAGITTAL]).read_grid()["energy"]
    place = np.array(np.unravel_index(np.argmax(grid), grid.shape)) * 200.0
    found = look.js("() => ishSpheres.strongest()")
    assert found["point"] == place.tolist()
    assert found["energy"] == pytest.approx(float(grid.max()))
    assert look.js("() => ishSpheres.count") == int((grid > 0).sum())
    low, high = (place - 100).tolist(), (place + 100).tolist()
    alone = "ishSpheres.cut = { low, high }; ishSpheres.plane = null; ishSpheres.point = null"
    look.js(f"([low, high]) => {{ {alone}; ishSpheres.draw(); }}", [low, high])
    look.settled()
    at = look.js("p => ishSpheres.project(p)", place.tolist())
    canvas = look.page.locator(".spheres canvas")
    pixels = np.asarray(Image.open(BytesIO(canvas.screenshot())).convert("RGB")).astype(int)
    colourful = (pixels.max(axis=2) - pixels.min(axis=2)) > 60
    rows, columns = np.nonzero(colourful)
    assert len(rows) > 3
    assert np.hypot(rows.mean() - at["y"], columns.mean() - at["x"]) < 3
    canvas.click(position={"x": at["x"], "y": at["y"]})
    look.page.wait_for_selector(".picked button:has-text('Go there')")


def test_a_deep_link_shows_the_same_picture(look: Look) -> None:
    look.open(f"/experiment/{CORONAL}?s=26")
    look.shown()
    page = look.page
    look.press("ArrowRight")
    look.shown()
    look.press("+", "+", "Shift+ArrowRight", "e", "]", "]")
    page.get_by_role("treeitem").nth(2).click()
    page.mouse.move(5, 5)  # whatever the mouse rests on is emphasised
    look.settled()
    link, first = page.url, look.stage()
    assert "s=34" in link
    look.shot("deep")
    page.goto("about:blank")
    page.goto(link)
    look.shown()
    again = look.stage()
    assert (np.abs(again - first).max(axis=2) > 40).mean() < 0.002
    assert page.url == link


def test_everything_is_reached_with_the_keyboard(look: Look) -> None:
    look.open("/")
    page = look.page
    page.wait_for_selector(".card")
    page.keyboard.press("/")
    page.keyboard.type(str(SAGITTAL))
    look.until("() => document.querySelectorAll('.card').length === 1")
    page.keyboard.press("Enter")
    page.wait_for_url("**/experiment/**")
    look.shown()
    number = look.js("() => new URLSearchParams(location.search).get('s')")
    page.keyboard.press("ArrowRight")
    look.until(f"() => new URLSearchParams(location.search).get('s') !== '{number}'")
    look.shown()
    for key, letter in (("m", "m"), ("o", "o"), ("p", "p")):
        page.keyboard.press(key)
        look.until(f"() => !(new URLSearchParams(location.search).get('l') ?? 'pmo').includes('{letter}')")
    look.settled()
    upp = float(look.js("() => ishStage.upp()"))
    page.keyboard.press("+")
    look.until(f"() => ishStage.upp() < {0.8 * upp}")
    page.keyboard.press("r")
    page.wait_for_selector("#readout .point")
    page.keyboard.press("s")
    page.keyboard.type("CTX")
    page.keyboard.press("Enter")
    look.until("() => location.search.includes('st=CTX')")
    look.press("Escape", "3")
    look.until("() => ishSpheres.count > 0")
    yaw = look.js("() => ishSpheres.turn.yaw")
    page.keyboard.press("ArrowRight")
    assert look.js("() => ishSpheres.turn.yaw") != yaw
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    look.shot("keys")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    look.forgive_unfinished()


def test_planes_of_three_axes_and_their_structures(look: Look) -> None:
    look.open("/atlas")
    page = look.page
    look.shown()
    look.shot("atlas")
    seen = set()
    for key, plane in (("1", "coronal"), ("2", "sagittal"), ("3", "horizontal")):
        page.keyboard.press(key)
        look.until(f"() => location.search.includes('{plane}')")
        look.shown()
        page.keyboard.press("r")
        page.wait_for_selector("#readout .point")
        seen.add(look.stage().tobytes())
    assert len(seen) == 3
    page.keyboard.press("s")
    page.keyboard.type("cerebellum")
    page.keyboard.press("Enter")
    look.until("() => location.search.includes('st=CB')")
    with page.expect_download() as download:
        page.get_by_role("link", name="SVG").click()
    assert Path(download.value.path()).read_text().startswith("<svg")


def test_the_code_of_a_page_is_small(look: Look, served: Served) -> None:
    files = read_files()
    for path in ("/", f"/experiment/{CORONAL}", f"/sync?ids={CORONAL},{SAGITTAL}", "/atlas"):
        look.answers.clear()
        look.open(path)
        look.settled()
        names = {url.split("/", 5)[5] for url in look.answers if "/pages/" in url}
        assert {"js/main.js", "style.css"} <= names
        assert sum(len(files[name].packed) for name in names) <= 150_000
    look.forgive_unfinished()
