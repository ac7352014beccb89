"""Several experiments on one anatomical point in a real browser; paste, pins and touch."""

from __future__ import annotations

import numpy as np
import pytest
from page_cases import CORONAL, DAMAGED, SAGITTAL, Look, Served, point_of

from pipeline.core.model import MIDLINE_UM
from pipeline.geometry import affine
from pipeline.geometry.sync import image_to_reference
from pipeline.inputs.alignments import open_alignment

pytestmark = pytest.mark.pages
PANES = """() => [...ishPanes.values()].filter(pane => pane.stage && pane.id).map(pane => {
  const view = pane.stage.view();
  const [w, h] = [view.width / 2, view.height / 2];
  return {
    id: pane.id, section: pane.section.section_number, mirrored: pane.place.value.mirrored,
    upp: pane.stage.upp(), flipped: view.flipped, degrees: view.degrees,
    pixels: [[w, h], [w + 60, h], [w, h + 60]].map(place => view.toImage(place)),
  };
})"""
MARKS = """() => [...ishPanes.values()].filter(pane => pane.id).map(
  pane => [pane.id, pane.section.id, pane.stage.marks.map(mark => mark.label)])"""


def places(look: Look, served: Served) -> dict[int, dict[str, object]]:
    """Return what each pane shows, with the points of the brain at its middle, right of it and below it.

    The points are those of the run's own placement in space 9, not what the page says of them.
    """
    found = {}
    for pane in look.js(PANES):
        points = image_to_reference(open_alignment(served.runs[pane["id"]]), pane["section"], pane["pixels"])
        if pane["id"] == SAGITTAL:  # space 10, whose R runs the other way
            points[:, 2] = 2 * MIDLINE_UM - points[:, 2]
        if pane["mirrored"]:
            points[:, 2] = 2 * MIDLINE_UM - points[:, 2]
        found[pane["id"]] = pane | {"points": points}
    return found


def open_three(look: Look, served: Served, *others: str) -> None:
    ids = (CORONAL, SAGITTAL, DAMAGED)
    (p, _, _), *_ = image_to_reference(open_alignment(served.runs[CORONAL]), 18, [[300, 200]])
    look.open(f"/sync?ids={','.join(map(str, ids))}&at={p:.1f},3600,6200{''.join(others)}")
    look.until(
        "() => globalThis.ishPanes?.size >= 3 && [...ishPanes.values()].every(pane => pane.stage?.image)"
    )
    look.settled()


def agreed(look: Look, served: Served, count: int) -> None:
    """All panes name the same place, and their own placements agree with them."""
    texts = look.page.locator(".pane footer .point").all_inner_texts()
    points = np.array([point_of(text) for text in texts])
    assert points.shape == (count, 3)
    assert np.linalg.norm(points - points[0], axis=1).max() < 200, texts
    own = np.array([pane["points"][0] for pane in places(look, served).values()])
    assert np.linalg.norm(own - points[0], axis=1).max() < 200, (own, texts)


def drag(look: Look, dx: float, dy: float) -> None:
    x, y = look.at(0.5, 0.5)
    look.page.mouse.move(x, y)
    look.page.mouse.down()
    look.page.mouse.move(x + dx, y + dy, steps=8)
    look.page.mouse.up()
    look.settled()


def leader_point(look: Look) -> np.ndarray:
    return point_of(look.page.locator("#leader-point").inner_text())


def test_three_experiments_show_the_same_place(look: Look, served: Served) -> None:
    open_three(look, served, "&atlas=horizontal")
    look.until("() => document.querySelectorAll('.pane footer .point').length === 4")
    look.settled()
    agreed(look, served, 4)
    look.shot("synchronised")
    first = leader_point(look)
    drag(look, 30, -40)
    agreed(look, served, 4)
    assert 200 < np.abs(leader_point(look) - first).max() < 2000
    scales = [pane["upp"] for pane in places(look, served).values()]
    assert np.ptp(scales) < 0.01 * scales[0]


def test_followers_are_turned_and_mirrored_like_the_leader(look: Look, served: Served) -> None:
    """One coronal series was scanned mirrored and a quarter turned: right and down still mean the same."""
    open_three(look, served)
    found = places(look, served)
    leader, follower = found[CORONAL], found[DAMAGED]
    assert leader["flipped"] != follower["flipped"]
    assert abs(abs(follower["degrees"]) % 180 - 90) < 15
    for k in (1, 2):
        steps = [pane["points"][k] - pane["points"][0] for pane in (leader, follower)]
        lengths = [np.linalg.norm(step) for step in steps]
        assert steps[0] @ steps[1] > 0.97 * lengths[0] * lengths[1], steps
        assert lengths[1] == pytest.approx(lengths[0], rel=0.1)
    look.shot("turned")


def test_copied_coordinates_are_pasted(look: Look, served: Served) -> None:
    look.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=served.url)
    open_three(look, served)
    there = leader_point(look)
    look.press("c")
    look.page.wait_for_selector(".message:has-text('Copied')")
    drag(look, 40, 30)
    assert np.abs(leader_point(look) - there).max() > 100
    look.press("Control+v")
    look.until(f"() => document.getElementById('leader-point').textContent.startsWith('P {there[0]:.0f} ')")
    look.settled()
    assert np.abs(leader_point(look) - there).max() <= 200  # the nearest section
    agreed(look, served, 3)
    spaces = set()
    for experiment in (CORONAL, SAGITTAL):  # the view speaks of space 9, a page of its experiment's own
        look.open(f"/experiment/{experiment}")
        look.shown()
        look.page.locator(".goto input").focus()
        look.press("Control+v", "Enter")
        look.until("() => location.search.includes('at=')")
        look.shown()
        pixel = look.js("() => ishStage.view().centre")
        number = int(look.js("() => new URLSearchParams(location.search).get('s')"))
        alignment = open_alignment(served.runs[experiment])
        spaces.add(alignment.alignment3d.reference_space_id)
        (found,) = affine.apply(
            affine.between_spaces(alignment.alignment3d.reference_space_id, 9),
            image_to_reference(alignment, number, [pixel]),
        )
        assert np.linalg.norm(found - there) < 200
    assert 10 in spaces


def test_pins_are_kept_in_the_address_and_lead_back(look: Look, served: Served) -> None:
    open_three(look, served)
    there = leader_point(look)
    look.press("x")
    drag(look, 60, 40)
    look.press("x")
    look.until("() => location.search.includes('pins=')")
    look.settled()
    assert look.page.locator(".pin").count() == 2
    shown = look.js(MARKS)
    assert all("B" in labels for _, _, labels in shown), shown
    look.page.goto(look.page.url)
    look.until(
        "() => globalThis.ishPanes?.size >= 3 && [...ishPanes.values()].every(pane => pane.stage?.image)"
    )
    look.settled()
    assert look.js(MARKS) == shown
    look.page.locator(".pin button", has_text="A").first.click()
    look.settled()
    assert np.abs(leader_point(look) - there).max() <= 1
    agreed(look, served, 3)
    look.page.get_by_label("Remove pin A").click()
    look.settled()
    assert look.page.locator(".pin").count() == 1
    assert not any("A" in labels for _, _, labels in look.js(MARKS))


def touch(
    look: Look, *fingers: tuple[tuple[float, float], tuple[float, float]], steps: int = 6, rest_ms: float = 0
) -> None:
    """Lay fingers down, move each from its first place to its last, rest there, and lift them.

    Fingers that do not rest push what they touch; how far depends on how fast this machine sent the moves.
    """
    session = look.page.context.new_cdp_session(look.page)
    for step in range(steps + 1):
        points = [
            {"x": a[0] + (b[0] - a[0]) * step / steps, "y": a[1] + (b[1] - a[1]) * step / steps, "id": n}
            for n, (a, b) in enumerate(fingers)
        ]
        kind = "touchStart" if step == 0 else "touchMove"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    look.page.wait_for_timeout(rest_ms)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    look.settled()


def test_fingers_move_zoom_and_read(tablet: Look, served: Served) -> None:
    tablet.open(f"/experiment/{CORONAL}?s=18")
    tablet.shown()
    before = tablet.js("() => ({ at: ishStage.view().centre, upp: ishStage.upp() })")
    x, y = tablet.at(0.5, 0.5)
    touch(tablet, ((x, y), (x - 80, y - 40)))
    moved = tablet.js("() => ({ at: ishStage.view().centre, upp: ishStage.upp() })")
    um = tablet.js("() => ishStage.image.um")
    step = (np.array(moved["at"]) - before["at"]) * um / before["upp"]
    assert step[0] > 70  # a quick finger gives it a push, too
    assert step[1] == pytest.approx(step[0] / 2, rel=0.1)
    touch(tablet, ((x - 40, y), (x - 120, y)), ((x + 40, y), (x + 120, y)))
    assert tablet.js("() => ishStage.upp()") < 0.5 * moved["upp"]
    tablet.page.touchscreen.tap(x, y)
    tablet.page.wait_for_selector("#readout .point")
    tablet.settled()
    pixel = tablet.js(
        "place => ishStage.pixelAt(place)", {"x": tablet.box()["width"] / 2, "y": tablet.box()["height"] / 2}
    )
    (point,) = image_to_reference(open_alignment(served.runs[CORONAL]), 18, [pixel])
    assert np.abs(point_of(tablet.page.locator("#readout .point").inner_text()) - point).max() < 20
    tablet.shot("tablet")


def test_two_fingers_zoom_the_spheres(tablet: Look) -> None:
    tablet.open(f"/experiment/{CORONAL}")
    tablet.until("() => globalThis.ishSpheres?.count > 0")
    tablet.page.locator(".spheres canvas").scroll_into_view_if_needed()
    tablet.settled()
    before = tablet.js("() => ({ ...ishSpheres.turn })")
    x, y = tablet.at(0.5, 0.5, ".spheres canvas")
    touch(tablet, ((x - 20, y), (x - 60, y)), ((x + 20, y), (x + 60, y)))
    after = tablet.js("() => ({ ...ishSpheres.turn })")
    assert after["zoom"] == pytest.approx(3 * before["zoom"], rel=0.1)
    assert [after["yaw"], after["pitch"]] == [before["yaw"], before["pitch"]]
    touch(tablet, ((x, y), (x + 40, y)))
    assert tablet.js("() => ishSpheres.turn.yaw") == pytest.approx(before["yaw"] - 20, abs=4)


def test_fingers_move_synchronised_panes(tablet: Look, served: Served) -> None:
    open_three(tablet, served)
    before = leader_point(tablet)
    x, y = tablet.at(0.5, 0.5)
    touch(tablet, ((x, y), (x + 10, y - 40)), rest_ms=600)
    there = leader_point(tablet)
    assert there - before == pytest.approx([0, 480, -120], abs=60)  # 12 µm a pixel of the screen
    agreed(tablet, served, 3)
