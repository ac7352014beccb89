from __future__ import annotations

import json
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
from detection_scenes import Scene, colour, draw, recall, throw_discs
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import ConfigError, DataError
from pipeline.core.intensity import darkness
from pipeline.detection import DETECTORS, SectionContext, make_detector
from pipeline.detection.lattice import Lattice

NAMES = sorted(DETECTORS.keys() - {"given"})  # `given` takes masks, not photographs


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw(coverage=0.03, seed=1)


@pytest.fixture(scope="module")
def context(scene: Scene) -> SectionContext:
    return scene.context()


# Every detector


@pytest.mark.parametrize("name", NAMES)
def test_mask_is_boolean_of_the_images_shape_for_rgb_and_grey(
    name: str, scene: Scene, context: SectionContext
) -> None:
    detector = make_detector(name, {})
    assert detector.name == name
    before = scene.pixels.copy()
    grey = cv2.cvtColor(scene.pixels, cv2.COLOR_RGB2GRAY)
    for pixels in (scene.pixels, grey):
        mask = detector(pixels, context)
        assert mask.dtype == np.bool_
        assert mask.shape == scene.expressing.shape
        assert mask.any()
    assert (scene.pixels == before).all()
    assert (detector(scene.pixels, context) == detector(scene.pixels, context)).all()


@pytest.mark.parametrize("name", NAMES)
def test_darkness_is_as_good_as_colour_to_who_reads_none(
    name: str, scene: Scene, context: SectionContext
) -> None:
    detector = make_detector(name, {})
    dark = darkness(scene.pixels)
    before = dark.copy()
    mask = detector.of_darkness(dark, context)
    np.testing.assert_array_equal(mask, detector(255 - dark, context))
    if not detector.reads_colour:
        np.testing.assert_array_equal(mask, detector(scene.pixels, context))
    assert (dark == before).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9, 3), (7, 2, 3), (40, 33, 3)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_small_and_empty_images_give_empty_masks(name: str, shape: tuple[int, ...], value: int) -> None:
    pixels = np.full(shape, value, np.uint8)
    empty = Scene(pixels, np.zeros(shape[:2], np.bool_), np.zeros(shape[:2], np.bool_), 4.0)
    context = empty.context()
    assert context.flags == ("no tissue",)
    assert context.tissue_fraction == 0
    assert not make_detector(name, {})(pixels, context).any()


@pytest.mark.parametrize("name", NAMES)
def test_small_images_of_a_stained_section(name: str, context: SectionContext) -> None:
    pixels = np.full((5, 3, 3), 120, np.uint8)
    assert make_detector(name, {})(pixels, context.at(370, 250)).shape == (5, 3)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_tile_with_its_halo_agrees_with_the_whole(
    name: str, data: st.DataObject, scene: Scene, context: SectionContext
) -> None:
    detector = make_detector(name, {})
    height, width = scene.expressing.shape
    y, x = data.draw(st.integers(0, height - 2)), data.draw(st.integers(0, width - 2))
    bottom, right = data.draw(st.integers(y + 1, height)), data.draw(st.integers(x + 1, width))
    halo = int(np.ceil(detector.halo_um / scene.um))
    top, left = max(0, y - halo), max(0, x - halo)
    tile = scene.pixels[top : bottom + halo, left : right + halo]
    mask = detector(tile, context.at(left, top))[y - top : bottom - top, x - left : right - left]
    assert (mask == detector(scene.pixels, context)[y:bottom, x:right]).all()


@pytest.mark.parametrize("name", NAMES)
def test_tiles_that_begin_at_the_rim_of_the_tissue(name: str, scene: Scene, context: SectionContext) -> None:
    detector = make_detector(name, {})
    whole = detector(scene.pixels, context)
    for left in range(scene.expressing.shape[1] - 120, scene.expressing.shape[1] - 2, 3):
        mask = detector(scene.pixels[:, left:], context.at(left, 0))
        assert mask.shape == whole[:, left:].shape
        halo = int(np.ceil(detector.halo_um / scene.um))
        assert (mask[:, halo:] == whole[:, left + halo :]).all()


@pytest.mark.parametrize("um", [1.0, 17.0, 60.0])
@pytest.mark.parametrize("name", NAMES)
def test_tiles_agree_at_other_resolutions(name: str, um: float) -> None:
    scene = draw(um, coverage=0.03, size_um=(700.0, 800.0) if um == 1.0 else (4000.0, 6000.0))
    context, detector = scene.context(), make_detector(name, {})
    whole = detector(scene.pixels, context)
    halo = int(np.ceil(detector.halo_um / um))
    middle = whole.shape[1] // 2 + 3
    left = detector(scene.pixels[:, : middle + halo], context)[:, :middle]
    start = max(0, middle - halo)
    right = detector(scene.pixels[:, start:], context.at(start, 0))[:, middle - start :]
    assert (np.hstack([left, right]) == whole).all()


@pytest.mark.parametrize("um", [0.25, 0.5, 1.049, 1.2, 1.4, 1.5, 2.0, 2.8, 3.2, 4.2])
def test_surroundings_are_seen_at_about_8_um(um: float, context: SectionContext) -> None:
    lattice = Lattice.of(replace(context, resolution_um=um), np.zeros((300, 300), np.uint8))
    assert lattice.reduced_um == pytest.approx(8.0, rel=0.2)
    assert lattice.spacing * um == pytest.approx(32.0, rel=0.5)
    assert lattice.spacing <= 64


# What the default detector finds


def test_scattered_cells_are_found_and_end_where_they_end(scene: Scene, context: SectionContext) -> None:
    mask = make_detector("adaptive", {})(scene.pixels, context)
    assert recall(mask, scene) > 0.9
    assert mask[~scene.expressing].mean() < 0.003
    assert 2 * (mask & scene.expressing).sum() / (mask.sum() + scene.expressing.sum()) > 0.93


def test_weak_cells_are_found() -> None:
    scene = draw(coverage=0.02, added=(60.0, 80.0), seed=4)
    assert recall(make_detector("adaptive", {})(scene.pixels, scene.context()), scene) > 0.8


def spotted(
    between: float, peaks: tuple[float, ...], level: float, noise: float
) -> tuple[np.ndarray, SectionContext]:
    """Draw soft spots of 16 um with given peaks, OD, at 2 um on tissue of an OD `between` them."""
    width = 40 * (len(peaks) + 1)
    y, x = np.mgrid[:80, :width]
    density = np.full(x.shape, between)
    for k, peak in enumerate(peaks):
        away = np.hypot(y - 40, x - 40 * (k + 1)) / 4.0
        density += (peak - between) * np.where(away < 2, np.cos(np.minimum(away, 2) * np.pi / 4) ** 2, 0)
    width_um, height_um = 2.0 * width, 160.0
    ring = ((-99.0, -99.0), (width_um + 99, -99.0), (width_um + 99, height_um + 99), (-99.0, height_um + 99))
    glass = (float(np.log10(243.0)), 0.0, 0.0, 0.0, 0.0, 0.0)
    context = SectionContext(
        2.0, (width_um, height_um), glass, level, noise, 1.0, level, tissue_outlines_um=(ring,)
    )
    return np.rint(243.0 * 10.0**-density).astype(np.uint8), context


@pytest.mark.parametrize("name", ["adaptive", "plain"])
def test_a_cell_counts_by_its_darkest_pixel_and_then_to_its_foot(name: str) -> None:
    level = 0.08
    detector = make_detector(name, {})
    pixels, context = spotted(level, (level + 0.135, level + 0.2), level, 0.08 * level)
    pixel, peak = detector.thresholds_above(context)  # type: ignore[attr-defined]
    assert pixel < 0.135 < peak < 0.2
    mask = detector(pixels, context)
    assert not mask[:, :60].any()
    lowest = np.log10(243.0 / pixels[mask].max()) - level
    assert pixel < lowest < peak


@pytest.mark.parametrize("name", ["adaptive", "plain"])
def test_pale_surroundings_lower_no_threshold_in_textured_tissue(name: str) -> None:
    level = 0.06
    for noise, floor, found in ((0.15, 28.5, False), (0.15, 0.0, True), (0.08, 28.5, True)):
        pixels, context = spotted(0.6 * level, (5 * level,), level, noise * level)
        assert make_detector(name, {"floor": floor})(pixels, context).any() == found


@pytest.mark.parametrize("um", [1.0, 2.0, 4.0])
def test_a_wide_band_stays_solid(um: float) -> None:
    fine = draw(um, band_um=150.0, size_um=(1200.0, 2000.0))
    step = round(4.0 / um)
    shape = (fine.expressing.shape[1] // step, fine.expressing.shape[0] // step)
    reduced = cv2.resize(fine.pixels, shape, interpolation=cv2.INTER_AREA)
    context = Scene(reduced, fine.expressing, fine.tissue, um * step).context()
    mask = make_detector("adaptive", {})(fine.pixels, replace(context, resolution_um=um))
    assert recall(mask, fine) > 0.97
    assert mask[~fine.expressing].mean() < 0.002


@pytest.mark.parametrize("added", [75.0, 85.0, 100.0])
def test_a_moderate_band_stays_solid(added: float) -> None:
    plain, banded = draw(seed=3), draw(band_um=150.0, seed=3)
    where = banded.expressing
    pixels = np.where(where[..., None], np.clip(plain.pixels - added, 0, 255), plain.pixels).astype(np.uint8)
    mask = make_detector("adaptive", {})(pixels, plain.context(pixels))
    assert mask[where].mean() > 0.97
    assert mask[~where].mean() < 0.002


def test_a_dark_structure_with_faint_cells_is_not_solid_expression() -> None:
    scene = draw(seed=15)
    part = np.zeros(scene.tissue.shape, np.bool_)
    part[150:350, 250:450] = scene.tissue[150:350, 250:450]
    pixels = np.where(part[..., None], scene.pixels - np.minimum(scene.pixels, 45), scene.pixels)
    mask = make_detector("adaptive", {})(pixels, scene.context(pixels))
    assert mask.mean() < 2e-4


def test_a_structure_of_a_pale_section_is_not_solid_expression() -> None:
    scene = draw(seed=15)
    part = np.zeros(scene.tissue.shape, np.bool_)
    part[150:350, 250:450] = scene.tissue[150:350, 250:450]
    soft = cv2.blur(part.astype(np.float32), (9, 9))[..., None] * np.array([0.98, 1.06, 0.72])
    pixels = np.rint(243.0 * (scene.pixels / 243.0) ** 0.35 * 10.0 ** (-0.08 * soft)).astype(np.uint8)
    context = scene.context(pixels)
    assert context.tissue_level < 0.03, "four times as dense as most tissue, and yet pale"
    mask = make_detector("adaptive", {})(pixels, context)
    assert mask[part].mean() < 0.01


def test_a_section_without_expression_gives_nothing() -> None:
    scene = draw(coverage=0.0, seed=6)
    assert make_detector("adaptive", {})(scene.pixels, scene.context()).mean() < 2e-4


def test_a_dark_edge_of_the_tissue_is_not_marked() -> None:
    scene = draw(rim=90.0, seed=7)
    assert make_detector("adaptive", {})(scene.pixels, scene.context()).mean() < 2e-4
    assert make_detector("adaptive", {"edge_um": 0})(scene.pixels, scene.context()).mean() > 2e-3


def test_density_agrees_between_resolutions() -> None:
    fine = draw(1.0, coverage=0.03, size_um=(1200.0, 1600.0), seed=8)
    densities = []
    for step in (1, 2, 4):
        shape = (fine.expressing.shape[1] // step, fine.expressing.shape[0] // step)
        pixels = cv2.resize(fine.pixels, shape, interpolation=cv2.INTER_AREA)
        if step == 1:
            reduced = cv2.resize(fine.pixels, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
            context = Scene(reduced, fine.expressing, fine.tissue, 4.0).context()
        mask = make_detector("adaptive", {})(pixels, replace(context, resolution_um=float(step)))
        densities.append(mask.mean())
    assert densities == pytest.approx([fine.expressing.mean()] * 3, rel=0.15)


@pytest.mark.parametrize(("coverage", "least"), [(0.1, 0.945), (0.2, 0.9), (0.4, 0.75)])
def test_a_widely_expressed_gene_does_not_suppress_itself(coverage: float, least: float) -> None:
    scene = draw(coverage=coverage, seed=9, size_um=(1600.0, 2200.0))
    mask = make_detector("adaptive", {})(scene.pixels, scene.context())
    assert recall(mask, scene) > least
    assert mask[~scene.expressing].mean() < 0.05


def field(shape: tuple[int, ...]) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return 1.0 + 0.08 * (0.7 * x - 0.3 * y * y)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: p * 0.7, id="light 0.7"),
        pytest.param(lambda p: p * 0.85, id="light 0.85"),
        pytest.param(lambda p: 255 * (p / 255) ** 0.8, id="gamma 0.8"),
        pytest.param(lambda p: 255 * (p / 255) ** 1.25, id="gamma 1.25"),
        pytest.param(lambda p: 243 * (p / 243) ** 0.7, id="stain 0.7"),
        pytest.param(lambda p: 243 * (p / 243) ** 1.4, id="stain 1.4"),
        pytest.param(lambda p: p * 0.9 * field(p.shape)[..., None], id="uneven light"),
    ],
)
def test_light_and_stain_strength_cancel(change: object, scene: Scene, context: SectionContext) -> None:
    pixels = np.floor(change(scene.pixels.astype(np.float64)).clip(0, 255) + 0.5).astype(np.uint8)  # type: ignore[operator]
    detector = make_detector("adaptive", {})
    before = detector(scene.pixels, context).mean()
    assert detector(pixels, scene.context(pixels)).mean() == pytest.approx(before, rel=0.05)


# Artifacts


def test_the_rim_of_a_bubble_is_rejected_and_reported() -> None:
    scene = draw(seed=10)
    pixels = scene.pixels.copy()
    cv2.ellipse(pixels, (360, 260), (60, 50), 20, 0, 360, (90, 70, 95), 4)
    context = scene.context(pixels)
    assert [found.kind for found in context.artifacts] == ["bubble"]
    rim = (pixels != scene.pixels).any(axis=2)
    assert make_detector("adaptive", {})(pixels, context)[rim].mean() < 0.05
    bare = make_detector("adaptive", {})(pixels, replace(context, artifacts=()))
    assert bare[rim].mean() > 0.5


@pytest.mark.parametrize("ink", [(30, 60, 200), (20, 140, 60), (200, 30, 40), (25, 25, 25)])
def test_pen_across_tissue_and_glass_is_rejected(ink: tuple[int, int, int]) -> None:
    scene = draw(coverage=0.02, seed=11)
    pixels, stroke = scene.pixels.copy(), np.zeros(scene.tissue.shape, np.uint8)
    cv2.line(stroke, (20, 30), (400, 250), 1, 50)
    pixels[stroke > 0] = ink
    context = scene.context(pixels)
    assert "ink" in {found.kind for found in context.artifacts}
    mask = make_detector("adaptive", {})(pixels, context)
    assert mask[stroke > 0].mean() < 0.05
    clear = scene.expressing & (cv2.dilate(stroke, np.ones((25, 25))) == 0)
    assert mask[clear].mean() > 0.85


def test_grey_dust_is_rejected_but_not_where_the_stain_is_grey() -> None:
    scene = draw(coverage=0.02, seed=12)
    pixels, dust = scene.pixels.copy(), np.zeros(scene.tissue.shape, np.uint8)
    for centre in ((300, 200), (400, 300), (350, 240)):
        cv2.circle(dust, centre, 4, 1, -1)
    pixels[dust > 0] = 70
    assert make_detector("adaptive", {})(pixels, scene.context(pixels))[dust > 0].mean() < 0.05
    over, cells = throw_discs(scene.tissue, 4.0, 0.05, (90.0, 140.0), 3)
    grey = np.clip(scene.pixels - over[..., None], 0, 255).astype(np.uint8)
    assert make_detector("adaptive", {})(grey, scene.context(grey))[cells].mean() > 0.8


def folded(scene: Scene, layers: int) -> tuple[np.ndarray, np.ndarray]:
    """Lay tissue over itself along a line from its edge: every colour passes all layers."""
    where = np.zeros(scene.tissue.shape, np.uint8)
    cv2.line(where, (300, 40), (390, 260), 1, 20)
    through = (scene.pixels / 243.0) ** layers * 243.0
    inside = (where > 0) & scene.tissue
    return np.where(inside[..., None], through, scene.pixels).astype(np.uint8), inside


def tinted(scene: Scene) -> Scene:
    """Take some blue out of all tissue, as real tissue does between its cells."""
    dark = 255.0 - scene.pixels.astype(np.float64)
    pale = scene.pixels - scene.tissue[..., None] * np.array([-6.0, 3.0, 6.0]) * (dark < 90)
    return replace(scene, pixels=pale.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("layers", [3, 4])
def test_a_fold_keeps_the_colour_of_tissue_and_is_rejected(layers: int) -> None:
    scene = tinted(draw(coverage=0.03, seed=16))
    pixels, where = folded(scene, layers)
    context = scene.context(pixels)
    assert "fold" in {found.kind for found in context.artifacts}
    mask = make_detector("adaptive", {})(pixels, context)
    assert mask[where].mean() < 0.05
    clear = scene.expressing & (cv2.dilate(where.astype(np.uint8), np.ones((15, 15))) == 0)
    assert mask[clear].mean() > 0.9


def test_nothing_is_taken_for_a_fold_where_stain_has_the_colour_of_tissue() -> None:
    scene = draw(band_um=150.0, seed=17)
    grey = np.repeat(cv2.cvtColor(scene.pixels, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    for pixels in (grey, np.clip(grey * np.array([0.95, 0.9, 0.97]), 0, 255).astype(np.uint8)):
        assert scene.context(pixels).artifacts == ()


def test_a_tear_and_its_edges_are_not_marked() -> None:
    scene = draw(seed=13)
    pixels = scene.pixels.copy()
    cv2.line(pixels, (375, 50), (420, 300), (243, 243, 243), 25)
    assert make_detector("adaptive", {})(pixels, scene.context(pixels)).mean() < 2e-4


# Context and configuration


def test_context_travels_as_json(context: SectionContext) -> None:
    assert SectionContext(**json.loads(json.dumps(asdict(context)))) == context


def test_context_refuses_nonsense(context: SectionContext) -> None:
    with pytest.raises(DataError, match="expected a resolution > 0"):
        replace(context, resolution_um=0.0)


def test_make_detector_passes_parameters() -> None:
    assert make_detector("adaptive", {"window_um": 80}).window_um == 80  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "configuration", "message"),
    [
        ("adaptiv", {}, "detection.name.*'adaptiv'; did you mean adaptive"),
        ("adaptive", {"windw_um": 80}, "'windw_um'; did you mean window_um"),
        ("adaptive", {"window_um": 3}, "window_um: expected a number from 20 to 200, got 3"),
        ("adaptive", {"contrast": "high"}, "contrast: expected a number from 1 to 100, got 'high'"),
        ("global", {"threshold": float("nan")}, "threshold: expected a number"),
        ("otsu", {"edge_um": True}, "edge_um: expected a number"),
    ],
)
def test_make_detector_names_what_is_wrong(name: str, configuration: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_detector(name, configuration)


def test_colour_of_the_scenes_keeps_luma() -> None:
    darkness = np.linspace(0, 200, 50)[None, :]
    luma = colour(darkness) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(255 - luma - darkness).max() < 1.1
