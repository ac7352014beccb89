"""Ways through the pages that begin wrong, small screens, contrast, and the frame of the spheres."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from page_cases import CORONAL, DAMAGED, LOST, SAGITTAL, SIZE, Look, Served

from pipeline.geometry.sync import image_to_reference
from pipeline.inputs.alignments import open_alignment

pytestmark = pytest.mark.pages

# Text whose contrast with what lies behind it is less than WCAG AA asks. Text on pictures is left out: the
# elements that carry it have grounds of their own, which are taken as opaque.
TOO_FAINT = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.backgroundImage !== 'none') return null;
      const [r, g, b, a = 1] = parse(style.backgroundColor);
      if (a > 0.6) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const shown = element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    if (!walker.currentNode.data.trim() || !shown || element.closest('option, :disabled, .letters')) continue;
    const style = getComputedStyle(element);
    const behind = ground(element);
    if (!behind) continue;
    const [a, b] = [light(parse(style.color)), light(behind)].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= (style.fontWeight >= 700 ? 18.66 : 24);
    const ratio = (a + 0.05) / (b + 0.05);
    const said = `${ratio.toFixed(2)} ${element.className} ${walker.currentNode.data}`;
    if (ratio < (large ? 3 : 4.5)) found.push(said);
  }
  return [...new Set(found)];
}"""


@pytest.mark.parametrize(
    "path",
    [
        "/",
        f"/experiment/{CORONAL}?st=TH",
        f"/experiment/{DAMAGED}?g=projections&s={LOST}",
        f"/sync?ids={CORONAL},{SAGITTAL}&atlas=coronal",
        "/sync?ids=",
        "/atlas?st=CTX",
    ],
)
def test_text_is_readable(look: Look, path: str) -> None:
    look.open(path)
    look.page.wait_for_selector("main h1", state="attached")
    look.settled()
    assert look.js(TOO_FAINT) == []
    look.page.keyboard.press("?")
    look.page.wait_for_selector("dialog[open]")
    assert look.js(TOO_FAINT) == []
    look.forgive_unfinished()


def test_letters_of_the_spheres_are_those_of_the_axes(look: Look) -> None:
    look.open(f"/experiment/{SAGITTAL}")
    look.until("() => globalThis.ishSpheres?.hull.count > 0 && ishSpheres.count > 0")

    def places(view: str) -> dict[str, Any]:
        look.page.get_by_role("button", name=view, exact=True).click()
        look.settled()
        boxes = {b.inner_text(): b.bounding_box() for b in look.page.locator(".letters b").all()}
        return {letter: (box["x"], box["y"]) for letter, box in boxes.items()}

    left = places("left")
    assert left["A"][0] < left["P"][0]  # of an animal that is seen from its left
    assert left["D"][1] < left["V"][1]
    front = places("front")
    assert front["R"][0] < front["L"][0]  # of one that looks at us
    top = places("top")
    assert top["A"][1] < top["P"][1]
    assert top["L"][0] < top["R"][0]
    assert set(top) >= {"A", "P", "L", "R"}
    assert not {"D", "V"} & set(top)  # their axis points at us: they would lie on each other
    expected = look.js("() => [0, 11400].map(r => ishSpheres.project([6600, 4000, r]).x)")
    assert expected[0] < expected[1]  # R runs from left to right
    hemisphere = look.js("() => ishSpheres.strongest().point[2]")
    assert hemisphere < 5700  # a series of the left hemisphere lies beside the L


def test_spheres_stand_in_the_box_of_their_grid(look: Look) -> None:
    """References of one's own have other boxes than the original's."""

    def answer(route: Any) -> None:
        found = route.fetch()
        route.fulfill(response=found, headers=found.headers | {"x-grid-shape": "81,51,61"})

    look.page.route("**/spheres*", answer)
    look.open(f"/experiment/{CORONAL}")
    look.until("() => globalThis.ishSpheres?.count > 0")
    assert look.js("() => ishSpheres.box") == [16000, 10000, 12000]
    assert look.page.get_by_label("cut to, µm").get_attribute("max") == "16000"
    middle = look.js("() => ishSpheres.project([8000, 5000, 6000])")
    size = look.js("() => [ishSpheres.canvas.clientWidth, ishSpheres.canvas.clientHeight]")
    assert [middle["x"], middle["y"]] == pytest.approx([side / 2 for side in size])


def test_a_section_is_turned_as_the_atlas_has_it(look: Look, served: Served) -> None:
    """This series was scanned mirrored and a quarter turned."""
    look.open(f"/experiment/{DAMAGED}?s=18")
    look.shown()
    assert look.js("() => [ishStage.view().degrees, ishStage.view().flipped]") == [0, False]
    look.press("t")
    for _ in range(2):  # a deep link has it, too
        assert "t=1" in look.page.url
        corners = "() => [[0, 0], [60, 0], [0, 60]].map(p => ishStage.view().toImage(p))"
        points = image_to_reference(open_alignment(served.runs[DAMAGED]), 18, look.js(corners))
        for step, axis in ((points[1] - points[0], 2), (points[2] - points[0], 1)):
            assert step[axis] > 0.95 * np.linalg.norm(step), (axis, step)
        look.shot("as-the-atlas")
        look.page.goto(look.page.url)
        look.shown()
    look.page.get_by_role("button", name="As in the atlas").click()
    look.settled()
    assert look.js("() => [ishStage.view().degrees, ishStage.view().flipped]") == [0, False]
    look.forgive_unfinished()


def test_a_chosen_structure_is_drawn_alone(look: Look) -> None:
    look.open(f"/experiment/{CORONAL}?st=TH")
    look.until("() => globalThis.ishSpheres?.count > 0 && ishSpheres.states?.some(Boolean)")
    drawn, all_ = look.js("() => [ishSpheres.states.filter(state => !state).length, ishSpheres.count]")
    assert 0 < drawn < all_
    look.page.wait_for_selector(".picked:has-text('TH only')")
    look.shot("structure-alone")


def test_shares_that_sections_cover_stand_beside_the_numbers(look: Look) -> None:
    look.open(f"/experiment/{CORONAL}")
    row = look.page.locator(".bar-row", has_text="root").first
    row.wait_for()
    asked = f"/ish/v1/experiments/{CORONAL}/unionize?structure=root&hemisphere_id=3"
    table = look.page.request.get(look.url + asked)
    (share,) = table.json()["msg"]["coverage"]
    assert row.locator(".value").nth(1).inner_text() == f"{round(100 * share)} %"
    assert look.page.locator(".trust").inner_text().endswith("error not estimated")


def test_an_address_that_does_not_exist_is_a_page(look: Look) -> None:
    look.open("/experiment/xyz")
    look.page.wait_for_selector("main:has-text('there is no page of this name')")
    look.page.get_by_role("link", name="All experiments").click()
    look.page.wait_for_selector(".card")
    look.forgive("404")


def test_wrong_and_too_many_panes_are_named(look: Look) -> None:
    look.open("/sync?ids=abc,900003")
    look.page.wait_for_selector(".message.error:has-text('abc')")
    look.open(f"/sync?ids={CORONAL},{SAGITTAL},{DAMAGED},1,2,3,4")
    look.page.wait_for_selector(".message.error:has-text('4 left out')")
    look.page.wait_for_selector(".pane >> text=SectionDataSet 1: not served here")
    assert look.page.locator(".pane").count() == 6
    look.forgive("404")


def test_a_view_beside_the_section_is_brought_back(look: Look) -> None:
    look.open(f"/experiment/{CORONAL}?x=1e9&y=-1e9&upp=0")
    look.settled()
    x, y = look.js("() => ishStage.view().centre")
    width, height = look.js("() => [ishStage.image.width, ishStage.image.height]")
    assert -0.5 * width < x < 1.5 * width
    assert -0.5 * height < y < 1.5 * height


def test_a_search_waits_for_its_index(look: Look) -> None:
    asked = []

    def busy(route: Any) -> None:
        asked.append(route.request.url)
        if len(asked) > 1:
            return route.continue_()
        body = '{"success": false, "msg": "search: the index is being built; ask again"}'
        return route.fulfill(status=503, headers={"Retry-After": "1"}, body=body)

    look.page.route("**/ish/v1/search/differential**", busy)
    look.open("/?search=differential&target=CTX&contrast=root")
    look.page.wait_for_selector("text=the index is being built …")
    look.page.wait_for_selector(".results tbody tr")
    assert look.page.locator(".notice[role=alert]").count() == 0
    look.forgive("503")


def test_without_webgl_the_projections_are_shown(look: Look) -> None:
    look.page.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        " return kind === 'webgl2' ? null : get.call(this, kind, ...rest); };"
    )
    look.open(f"/experiment/{CORONAL}")
    look.page.wait_for_selector(".notice:has-text('WebGL')")
    drawn = "[...document.querySelectorAll('.projections img')].filter(i => i.naturalWidth > 0).length"
    look.until(f"() => {drawn} === 3")


OUTSIDE = """() => [...document.querySelectorAll('button, select, input, output')]
  .filter(element => element.checkVisibility() && !element.closest('.frames, .list'))
  .filter(element => element.getBoundingClientRect().right > innerWidth + 1)
  .map(element => element.outerHTML.slice(0, 90))"""


@pytest.mark.parametrize("size", [(1024, 768), (768, 1024)])
def test_tools_take_one_row_and_nothing_runs_out_of_the_window(look: Look, size: tuple[int, int]) -> None:
    look.page.set_viewport_size(dict(zip(SIZE, size, strict=True)))
    for path in (f"/experiment/{CORONAL}", f"/sync?ids={CORONAL},{SAGITTAL},{DAMAGED}", "/atlas", "/"):
        look.open(path)
        look.page.wait_for_selector(".card" if path == "/" else ".layers")
        look.settled()
        if path != "/":
            assert look.box(".layers")["height"] <= 48
        assert look.js("() => document.documentElement.scrollWidth") <= size[0]
        assert look.js(OUTSIDE) == []
    look.forgive_unfinished()


# Of each bar on the page, in px from the midline: its own end, those of its whisker, and its section mark.
ENDS_OF_BARS = """() => [...document.querySelectorAll('.bar-row')].flatMap(row =>
  ['left', 'right'].flatMap(side => {
    const bar = row.querySelector(`.bar.${side}:not(.none)`);
    if (!bar) return [];
    const box = bar.getBoundingClientRect();
    const middle = side === 'left' ? box.left + bar.clientWidth : box.left;
    const ends = one => {
      const { left, right } = one.getBoundingClientRect();
      return side === 'left' ? [middle - right, middle - left] : [left - middle, right - middle];
    };
    const [fill, whisker, mark] = ['i', '.whisker', '.section'].map(part => bar.querySelector(part));
    return [{
      acronym: row.querySelector('.acronym').textContent, side, full: bar.clientWidth, bar: ends(fill)[1],
      pale: fill.className === 'thin', whisker: whisker && ends(whisker),
      mark: mark && ends(mark).reduce((sum, one) => sum + one / 2, 0),
    }];
  }))"""


@pytest.mark.parametrize("widened", [1.0, 9.0])
def test_whiskers_and_marks_lie_where_the_table_has_them(look: Look, widened: float) -> None:
    table: dict[str, list[Any]] = {}

    def answer(route: Any) -> None:
        document = route.fetch().json()
        columns = document["msg"]
        columns["expression_energy_upper"] = [
            None if high is None else widened * high for high in columns["expression_energy_upper"]
        ]
        table.update(columns)
        route.fulfill(body=json.dumps(document), content_type="application/json")

    look.page.route("**/unionize*", answer)
    look.open(f"/experiment/{CORONAL}")
    look.page.wait_for_selector(".bar-row")
    look.settled()
    ids = {
        one["acronym"]: one["id"] for one in look.js("fetch('/ish/v1/structures').then(r => r.json())")["msg"]
    }
    at = {key: n for n, key in enumerate(zip(table["structure_id"], table["hemisphere_id"], strict=True))}
    bars = look.js(ENDS_OF_BARS)
    rows = [
        {
            name: column[at[ids[bar["acronym"]], 1 + (bar["side"] == "right")]]
            for name, column in table.items()
        }
        for bar in bars
    ]
    highest = max(max(row["expression_energy"], row["section_energy"]) for row in rows)
    top = max(highest, *(min(row["expression_energy_upper"], 2 * highest) for row in rows))
    for bar, row in zip(bars, rows, strict=True):
        low, high = row["expression_energy_lower"], row["expression_energy_upper"]
        px = bar["full"] / top
        wanted = [px * min(end, top) for end in (low, high)]
        assert bar["whisker"] == pytest.approx(wanted, abs=1.1)  # a line has a width
        assert bar["mark"] == pytest.approx(px * row["section_energy"], abs=1.1)
        assert bar["bar"] == pytest.approx(max(px * row["expression_energy"], 0.01 * bar["full"]), abs=0.1)
        assert bar["pale"] == (row["coverage"] < 0.5 or high > 5 * low)
    assert len(bars) > 5
    assert max(bar["bar"] for bar in bars) > 0.45 * bars[0]["full"]  # whiskers do not squeeze the bars
    title = look.page.locator(".bar-row").first.get_attribute("title")
    assert "(90 %: " in title
    both = table["uncertainty_note"][at[ids[bars[0]["acronym"]], 3]]
    assert both
    assert title.endswith(both)


def test_a_run_without_intervals_has_bars_as_before(look: Look) -> None:
    def answer(route: Any) -> None:
        document = route.fetch().json()
        later = ("_lower", "_upper", "_note")
        document["msg"] = {
            name: column
            for name, column in document["msg"].items()
            if not name.endswith(later) and not name.startswith("section_")
        }
        route.fulfill(body=json.dumps(document), content_type="application/json")

    look.page.route("**/unionize*", answer)
    look.open(f"/experiment/{CORONAL}")
    look.page.wait_for_selector(".bar-row")
    look.settled()
    bars = look.js(ENDS_OF_BARS)
    assert {(bar["whisker"], bar["mark"]) for bar in bars} == {(None, None)}
    assert max(bar["bar"] / bar["full"] for bar in bars) == pytest.approx(1)
    assert look.page.locator(".whisker-key, .section-key").count() == 0
