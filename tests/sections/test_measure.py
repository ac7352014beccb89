from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from detection_scenes import Scene, draw

from pipeline.core.errors import DataError
from pipeline.core.intensity import darkness
from pipeline.detection import (
    SectionContext,
    make_detector,
    measure_section,
    pool_contexts,
    scan_rectangle,
    valid_region,
)
from pipeline.detection.lattice import least_pixels
from pipeline.sections.glass import fit_glass


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw(coverage=0.02, seed=21)


def measured(pixels: np.ndarray, um: float = 4.0) -> SectionContext:
    return measure_section(pixels, np.ones(pixels.shape[:2], np.bool_), um)


# Which pixels count


def test_scan_rectangle_strips_white_padding_on_all_sides() -> None:
    pixels = np.full((40, 60, 3), 255, np.uint8)
    pixels[3:35, 10:58] = 230
    pixels[10, 20] = 255
    assert scan_rectangle(pixels) == (10, 3, 58, 35)
    assert scan_rectangle(pixels[..., 0]) == (10, 3, 58, 35)


def test_scan_rectangle_takes_white_glass_for_glass() -> None:
    pixels = np.full((40, 60), 255, np.uint8)
    pixels[10:30, 15:45] = 180
    pixels[12:20, 16:25] = 255
    assert scan_rectangle(pixels) == (0, 0, 60, 40)
    assert scan_rectangle(np.full((4, 5), 255, np.uint8)) == (0, 0, 5, 4)
    assert scan_rectangle(np.full((4, 5, 3), 240, np.uint8)) == (0, 0, 5, 4)


def test_valid_region_is_scan_and_box_without_polygons() -> None:
    square = ((4.0, 4.0), (8.0, 4.0), (8.0, 8.0), (4.0, 8.0))
    valid = valid_region((20, 30), (2.0, 3.0, 20.0, 10.0), [square, ((1.0, 1.0), (2.0, 2.0))], (5, 0, 30, 20))
    expected = np.zeros((20, 30), bool)
    expected[3:13, 5:22] = True
    expected[4:9, 4:9] = False
    assert (valid == expected).all()
    assert valid_region((3, 4), None, (), None).all()
    full_height = valid_region((20, 30), (2.0, -1.0, 20.0, 30.0), (), (5, 0, 30, 20))
    assert full_height.strides[0] == 0, "rows that are alike take no memory"
    assert (full_height == valid_region((20, 30), (2.0, 0.0, 20.0, 19.0), (), (5, 0, 30, 20))[10]).all()
    assert not valid_region((3, 4), (10.0, 10.0, 5.0, 5.0), (), None).any()


def test_valid_region_counts_pixels_whose_centre_lies_in_a_polygon() -> None:
    triangle = ((3.3, 2.2), (25.6, 5.1), (10.4, 17.7))
    dark = ~valid_region((20, 30), None, [triangle], None)
    y, x = np.mgrid[0:20, 0:30]
    inside = np.ones(dark.shape, bool)
    for (x0, y0), (x1, y1) in zip(triangle, triangle[1:] + triangle[:1], strict=True):
        inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0
    assert dark[inside].all()
    assert (dark & ~cv2.dilate(inside.astype(np.uint8), np.ones((5, 5))).astype(bool)).sum() == 0


# Glass


@pytest.mark.parametrize("shape", ["even", "slope", "dome", "bowl"])
def test_glass_under_tissue_is_recovered(shape: str) -> None:
    height, width = 200, 300
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = {"even": 0 * x, "slope": x, "dome": 1 - x * x - y * y, "bowl": x * x + y * y - 1}[shape]
    glass = np.log10(230 * (1 + 0.08 * light))
    rng = np.random.default_rng(0)
    tissue = x**2 / 0.7 + y**2 / 0.7 < 1
    image = glass - np.where(tissue, 0.03 + 0.08 * rng.random(x.shape), 0) + rng.normal(0, 0.003, x.shape)
    extent = (width * 8.0, height * 8.0)
    dark = np.rint(255 - 10**image).astype(np.uint8)
    fit = fit_glass(dark, np.ones(image.shape, bool), extent)
    context = SectionContext(8.0, extent, fit, 0.0, 0.0, 0.0)
    places = ((np.arange(width) + 0.5) * 8)[None, :], ((np.arange(height) + 0.5) * 8)[:, None]
    assert np.abs(np.log10(context.glass_luma(*places)) - glass).max() < 0.012


def fitted_in_the_middle(luma: np.ndarray) -> float:
    """Return how dense glass is taken to be in the middle of a section, OD over luma 245."""
    dark, extent = np.rint(255 - luma).astype(np.uint8), (luma.shape[1] * 8.0, luma.shape[0] * 8.0)
    context = SectionContext(8.0, extent, fit_glass(dark, np.ones(dark.shape, bool), extent), 0.0, 0.0, 0.0)
    return float(np.log10(245) - context.log_glass(extent[0] / 2, extent[1] / 2))


def test_glass_follows_the_stain_also_where_it_is_hazy() -> None:
    y, x = np.mgrid[-1:1:400j, -1:1:600j]
    away = np.sqrt((x / 0.7) ** 2 + (y / 0.75) ** 2)
    grain = np.random.default_rng(0).normal(0, 0.002, x.shape)
    stain = np.where(away < 1, 0.07, 0.012 * np.exp(-(away - 1) / 0.15)) + 0.004 * x * y + grain
    under = [fitted_in_the_middle(245 * 10 ** -(k * stain)) for k in (0.7, 1.0, 1.4)]
    assert under[0] / 0.7 == pytest.approx(under[1], abs=1e-4)
    assert under[2] / 1.4 == pytest.approx(under[1], abs=1e-4)


def test_glass_of_nothing_is_white() -> None:
    fit = fit_glass(np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool), (32.0, 32.0))
    assert 10 ** fit[0] == pytest.approx(255)


# Statistics


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (17, 23)])
def test_glass_of_a_grid_is_that_of_its_places(shape: tuple[int, int]) -> None:
    context = SectionContext(4.0, (900.0, 700.0), (2.3, 0.1, -0.2, 0.05, 0.03, -0.07), 0.0, 0.0, 0.0)
    y, x = (np.linspace(3.0, 650.0, n) for n in shape)
    expected = context.log_glass(x[None, :], y[:, None])
    np.testing.assert_allclose(context.log_glass_grid(x, y), expected, rtol=1e-14)


def test_tissue_is_found_where_it_is(scene: Scene) -> None:
    context = measured(scene.pixels)
    canvas = np.zeros(scene.tissue.shape, np.uint8)
    for ring in context.tissue_outlines_um:
        cv2.fillPoly(canvas, [np.rint(np.array(ring) / 4.0 - 0.5).astype(np.int32)], 1)
    overlap = 2 * (canvas.astype(bool) & scene.tissue).sum() / (canvas.sum() + scene.tissue.sum())
    assert overlap > 0.98
    assert context.tissue_fraction == pytest.approx(scene.tissue.mean(), rel=0.03)
    assert context.flags == ()


def test_levels_scale_with_the_stain_and_not_with_the_light(scene: Scene) -> None:
    base, p = measured(scene.pixels), scene.pixels.astype(np.float64)
    dim = measured(np.rint(p * 0.8).astype(np.uint8))
    strong = measured(np.rint(243 * (p.clip(1, 243) / 243) ** 1.4).astype(np.uint8))
    assert dim.tissue_level == pytest.approx(base.tissue_level, rel=0.03)
    assert strong.tissue_level == pytest.approx(1.4 * base.tissue_level, rel=0.03)
    assert strong.noise == pytest.approx(1.4 * base.noise, rel=0.1)


def test_padding_and_polygons_do_not_count(scene: Scene) -> None:
    padded = np.pad(scene.pixels, ((80, 0), (0, 60), (0, 0)), constant_values=255)
    rectangle = scan_rectangle(padded)
    context = measure_section(padded, valid_region(padded.shape[:2], None, (), rectangle), 4.0)
    assert context.tissue_level == pytest.approx(measured(scene.pixels).tissue_level, rel=0.02)
    assert context.tissue_fraction == pytest.approx(measured(scene.pixels).tissue_fraction, rel=0.02)


def test_doubtful_sections_are_flagged(scene: Scene) -> None:
    crop = scene.pixels[100:400, 150:600]
    assert measured(crop).flags == ("hardly any glass at the border",)
    coarse = cv2.resize(scene.pixels, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    assert measured(coarse, 16.0).flags == ("cells are not resolved at 16 um per pixel",)
    assert measured(np.full((100, 100), 244, np.uint8)).flags == ("no tissue",)


def test_nothing_valid_is_no_tissue(scene: Scene) -> None:
    context = measure_section(scene.pixels, np.zeros(scene.tissue.shape, bool), 4.0)
    assert context.flags == ("no tissue",)


def test_valid_of_another_shape_is_refused(scene: Scene) -> None:
    with pytest.raises(DataError, match="expected valid of"):
        measure_section(scene.pixels, np.ones((3, 3), bool), 4.0)


def test_resolution_of_the_statistics_may_differ_from_that_of_detection(scene: Scene) -> None:
    fine = cv2.resize(scene.pixels, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    context = replace(scene.context(), resolution_um=2.0)
    mask = make_detector("adaptive", {})(fine, context)
    twice = np.repeat(np.repeat(scene.expressing, 2, axis=0), 2, axis=1)
    assert 2 * (mask & twice).sum() / (mask.sum() + twice.sum()) > 0.85


# Pooling


def test_pooling_keeps_order_and_stain_strength_and_shares_texture(scene: Scene) -> None:
    base = measured(scene.pixels)
    contexts = [
        replace(base, tissue_level=v, noise=n) for v, n in ((0.06, 0.006), (0.08, 0.01), (0.05, 0.005))
    ]
    pooled = pool_contexts(contexts)
    assert [c.tissue_level for c in pooled] == [0.06, 0.08, 0.05]
    texture = [c.noise / c.tissue_level for c in pooled]
    assert texture == pytest.approx([0.1, 0.1, 0.1], rel=0.05)
    assert max(texture) == pytest.approx(min(texture))


def test_pooling_does_not_feel_a_slightly_different_series(scene: Scene) -> None:
    base = measured(scene.pixels)
    drawn = np.random.default_rng(5).uniform(0.101, 0.107, 21)
    contexts = [replace(base, tissue_level=0.06, noise=0.06 * float(share)) for share in drawn]
    whole = pool_contexts(contexts)
    for left_out in range(len(contexts)):
        rest = contexts[:left_out] + contexts[left_out + 1 :]
        assert pool_contexts(rest) == whole[:left_out] + whole[left_out + 1 :]


def test_pooling_caps_the_level_of_a_section_and_the_texture_of_a_series(scene: Scene) -> None:
    base = measured(scene.pixels)
    wide = [replace(base, tissue_level=v, noise=0.4 * v) for v in (0.06, 0.06, 0.2)]
    pooled = pool_contexts(wide)
    assert [c.tissue_level for c in pooled] == pytest.approx([0.06, 0.06, 0.09], rel=0.05)
    assert all(c.noise == pytest.approx(0.16 * c.tissue_level) for c in pooled)


def test_pooling_lifts_the_level_of_a_section_of_pale_structures(scene: Scene) -> None:
    base = measured(scene.pixels)
    pooled = pool_contexts([replace(base, tissue_level=v, noise=0.1 * v) for v in (0.06, 0.06, 0.06, 0.02)])
    assert pooled[3].tissue_level == pytest.approx(0.75 * 0.06, rel=0.05)
    assert [c.series_level for c in pooled] == pytest.approx([0.06] * 4, rel=0.05)


def test_pooling_passes_sections_without_tissue(scene: Scene) -> None:
    blank = measured(np.full((50, 50), 244, np.uint8))
    assert pool_contexts([blank]) == [blank]
    pooled = pool_contexts([blank, measured(scene.pixels)])
    assert pooled[0].tissue_fraction == 0
    assert pooled[1].noise > 0
    assert pool_contexts([]) == []


def test_least_pixels_follow_the_pixel_size() -> None:
    assert [least_pixels(22.0, um) for um in (0.5, 1.0, 2.0, 4.0, 5.0, 5.3, 17.0)] == [88, 22, 6, 3, 3, 1, 1]
    assert least_pixels(0.0, 1.0) == 1


# Real data


def test_prox1_density_solid_band_and_agreement_of_resolutions(ish_data: Path) -> None:
    folder = ish_data / "ish" / "prox1_69289763"
    quarter = cv2.imread(str(folder / "prox1_s0070.jpg"))[..., ::-1]
    context = pool_contexts([measured(np.ascontiguousarray(quarter), 4.196)])[0]
    assert {found.kind for found in context.artifacts} <= {"dust"}, "nothing of it is folded"
    detector = make_detector("adaptive", {})
    mask = detector(quarter, context)
    assert 0.0038 < mask.mean() < 0.006
    granule_layer = cv2.blur(darkness(np.ascontiguousarray(quarter)), (5, 5))[560:760, 1380:1760] > 170
    assert granule_layer.sum() > 4000
    assert mask[560:760, 1380:1760][granule_layer].mean() > 0.99
    crop = cv2.imread(str(folder / "crop" / "section_70_full_resolution_crop.jpg"))[..., ::-1]
    fine = detector(crop, replace(context, resolution_um=1.049, origin_px=(5400, 2004)))[:1428, :2380]
    same = mask[501 : 501 + 357, 1350 : 1350 + 595]
    coarse_areas = same.reshape(3, 119, 5, 119).mean(axis=(1, 3))
    fine_areas = fine.reshape(3, 476, 5, 476).mean(axis=(1, 3))
    weak = (coarse_areas > 0.002) & (coarse_areas < 0.05)
    assert weak.sum() >= 5
    assert fine_areas[weak].mean() == pytest.approx(coarse_areas[weak].mean(), rel=0.15)


@pytest.mark.parametrize("stain", [0.7, 0.85, 1.2, 1.4])
def test_prox1_density_does_not_feel_the_strength_of_the_stain(stain: float, ish_data: Path) -> None:
    quarter = cv2.imread(str(ish_data / "ish" / "prox1_69289763" / "prox1_s0070.jpg"))[..., ::-1]
    other = np.floor(248.0 * (quarter / 248.0) ** stain + 0.5).clip(0, 255).astype(np.uint8)
    found = []
    for pixels in (np.ascontiguousarray(quarter), other):
        context = pool_contexts([measured(pixels, 4.196)])[0]
        mask = make_detector("adaptive", {})(pixels, context)[: 7 * 238, : 12 * 238]
        found.append(mask.reshape(7, 238, 12, 238).mean(axis=(1, 3)))
    plain, seen = (areas[found[0] > 0.002] for areas in found)
    moved = np.abs(seen / plain - 1)
    assert np.median(moved) < 0.065  # measured: 0.060 at 0.7, 0.008 to 0.044 at the others
    assert np.percentile(moved, 90) < 0.15
