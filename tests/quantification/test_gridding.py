"""Gridding against brute force; conservation; smoothing; coverage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import DataError
from pipeline.core.model import (
    GRID_200,
    Alignment2d,
    Alignment3d,
    Deformation,
    ExpressionSums,
    Grid,
    SectionAlignment,
)
from pipeline.geometry import affine
from pipeline.quantification import gridding
from pipeline.quantification.cells import (
    SectionCells,
    accumulate,
    cell_width_px,
    fine_pitch_px,
    share_in_cells,
    without,
)


def _image(seed: int, shape: tuple[int, int]):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    darkness = rng.integers(0, 256, shape, dtype=np.uint8)
    expression = np.where(rng.random(shape) < 0.2, np.maximum(darkness, 1), 0).astype(np.uint8)
    return darkness, expression, rng.random(shape) < 0.8


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 40), st.integers(1, 40), st.integers(1, 13))
def test_accumulate_equals_brute_force(seed: int, height: int, width: int, pitch: int) -> None:
    darkness, expression, valid = _image(seed, (height, width))
    sums = accumulate(darkness, expression, valid, pitch)
    for row in range(sums.sum_pixels.shape[0]):
        for column in range(sums.sum_pixels.shape[1]):
            cell = np.s_[row * pitch : (row + 1) * pitch, column * pitch : (column + 1) * pitch]
            level = expression[cell][valid[cell]].astype(int)
            expected = (
                valid[cell].sum(),
                (level > 0).sum(),
                level.sum(),
                darkness[cell][valid[cell]].sum(dtype=int),
            )
            assert tuple(a[row, column] for a in sums.arrays().values()) == expected
    rows = np.broadcast_to(valid[0], valid.shape)
    repeated, written = (accumulate(darkness, expression, v, pitch) for v in (rows, rows.copy()))
    assert all((repeated.arrays()[n] == a).all() for n, a in written.arrays().items())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 90), st.integers(1, 17))
def test_counts_are_conserved_from_pixels_to_cells(seed: int, size: int, pitch: int) -> None:
    darkness, expression, valid = _image(seed, (size, size + 7))
    sums = accumulate(darkness, expression, valid, pitch)
    assert sums.sum_pixels.sum() == valid.sum()
    assert sums.sum_expressing_pixel_intensity.sum() == expression[valid].sum(dtype=int)
    assert sums.sum_pixel_intensity.sum() == darkness[valid].sum(dtype=int)


@pytest.mark.parametrize("pitch", [1, 48, 300, 1100])
def test_accumulate_of_a_wide_image_equals_reduceat(pitch: int) -> None:
    darkness, expression, valid = _image(pitch, (611, 2307))
    darkness[:300, :1200], expression[:300, :1200] = 255, 255
    rows, columns = np.arange(0, 611, pitch), np.arange(0, 2307, pitch)
    inside = valid.astype(np.int64)
    expected = (inside, inside * (expression > 0), inside * expression, inside * darkness)
    sums = accumulate(darkness, expression, valid, pitch)
    for found, values in zip(sums.arrays().values(), expected, strict=True):
        oracle = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
        np.testing.assert_array_equal(found, oracle)


def test_unequal_shapes_are_refused() -> None:
    darkness, expression, valid = _image(0, (8, 8))
    with pytest.raises(DataError, match="expected one shape"):
        accumulate(darkness, expression[:7], valid, 4)


@pytest.mark.parametrize(("width", "sigma"), [(4.0, 0.0), (3.97, 4.0), (1.0, 0.0), (1.0, 2.5), (3.4, 0.7)])
def test_window_is_a_box_convolved_with_a_gaussian(width: float, sigma: float) -> None:
    kernel = gridding.window(width, sigma)
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(kernel, kernel[::-1], atol=1e-12)
    variance = (kernel * offsets**2).sum()
    assert variance == pytest.approx(
        width**2 / 12 + sigma**2 + 1 / 12, abs=0.2 if sigma == 0 else 0.02 * (1 + sigma**2)
    )


def _cells(darkness, expression, valid, resolution_um: float, factor: int = 1) -> SectionCells:  # type: ignore[no-untyped-def]
    pitch = fine_pitch_px(resolution_um * factor)
    sums = accumulate(darkness, expression, valid, pitch)
    height, width = darkness.shape
    return SectionCells(sums, pitch, factor, resolution_um, (0, 0, width, height))


def _identity(space: int = 10) -> Alignment3d:
    return Alignment3d(space, affine.identity(3))


def _placed(cells: SectionCells, z_um: float, smoothing_um: float = 200.0) -> gridding.PlacedSection:
    to_volume = affine.scaling((cells.resolution_um, cells.resolution_um))
    alignment = SectionAlignment(Alignment2d(0, to_volume))
    return gridding.PlacedSection(gridding.smooth(cells, smoothing_um), z_um, alignment)


def test_a_deformed_section_is_gathered_where_its_deformation_puts_it() -> None:
    """A displacement that is the same everywhere does what moving the matrix and the section would."""
    darkness, expression, valid = _image(5, (300, 300))
    cells = _cells(darkness, expression, valid, 16.0)
    shift = np.array([430.0, -170.0, 120.0])
    plain = _placed(cells, 2000.0)
    field = np.broadcast_to(shift[:, None, None], (3, 4, 4))
    deformed = replace(
        plain, alignment=replace(plain.alignment, deformation=Deformation(field.astype(np.float32), 100.0))
    )
    to_volume = affine.scaling((16.0, 16.0))
    to_volume[:, 2] += shift[:2]
    moved = replace(plain, z_um=2120.0, alignment=SectionAlignment(Alignment2d(0, to_volume)))
    found, covered = gridding.assemble([deformed], _identity(), GRID_200, 200.0, 140.0)
    expected, expected_covered = gridding.assemble([moved], _identity(), GRID_200, 200.0, 140.0)
    np.testing.assert_array_equal(covered, expected_covered)
    assert covered.any()
    np.testing.assert_allclose(found.sum_pixel_intensity, expected.sum_pixel_intensity, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("resolution_um", "factor"), [(10.0, 1), (5.0, 2), (16.0, 1), (58.88, 1)])
def test_a_fully_covered_voxel_holds_one_cell(resolution_um: float, factor: int) -> None:
    side = int(6000 / resolution_um / factor)
    darkness = np.full((side, side), 100, np.uint8)
    expression = np.zeros_like(darkness)
    expression[:, ::2] = 100
    cells = _cells(darkness, expression, np.ones(darkness.shape, bool), resolution_um, factor)
    sums, covered = gridding.assemble([_placed(cells, 2000.0)], _identity(), GRID_200, 200.0, 140.0)
    voxel = (15, 15, 10)
    assert covered[voxel]
    assert sums.sum_pixels[voxel] == pytest.approx(cell_width_px(resolution_um) ** 2, rel=1e-9)
    assert sums.density[voxel] == pytest.approx(0.5, abs=0.02)
    assert sums.energy[voxel] == pytest.approx(sums.density[voxel] * sums.intensity[voxel])
    assert not covered[15, 15, 12]
    assert sums.sum_pixels[~covered].max() == 0


def test_sampling_equals_a_brute_force_average() -> None:
    """Without Gaussian smoothing, a voxel is the mean over the 200 um square around it."""
    rng = np.random.default_rng(3)
    darkness = rng.integers(0, 255, (400, 400), dtype=np.uint8)
    expression = np.where(rng.random(darkness.shape) < 0.1, 120, 0).astype(np.uint8)
    cells = _cells(darkness, expression, np.ones(darkness.shape, bool), 10.0)
    sums, _ = gridding.assemble(
        [_placed(cells, 200.0, 0.0)], _identity(), Grid((21, 21, 3), 200.0), 200.0, 0.0
    )
    integral = np.pad(expression.astype(float), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    for p, i in [(5, 5), (10, 7), (16, 12)]:
        x, y = 20 * p, 20 * i
        window = [integral[y + a, x + b] for a, b in [(10, 10), (-10, -10), (-10, 10), (10, -10)]]
        expected = (window[0] + window[1] - window[2] - window[3]) / 400
        # half a pixel between the window's centre and the voxel's: a few cells of random noise
        assert sums.energy[p, i, 1] == pytest.approx(expected, rel=0.12)


def test_z_smoothing_is_normalised_and_creates_no_coverage() -> None:
    darkness = np.full((300, 300), 80, np.uint8)
    bright = np.full_like(darkness, 80)
    cells = [_cells(darkness, e, np.ones(darkness.shape, bool), 10.0) for e in (bright, 0 * bright)]
    sections = [_placed(cells[0], 400.0), _placed(cells[1], 600.0)]
    sums, covered = gridding.assemble(sections, _identity(), Grid((16, 16, 8), 200.0), 200.0, 140.0)
    assert covered[7, 7].tolist() == [False, False, True, True, False, False, False, False]
    weight = np.exp(-(200.0**2) / (2 * 140.0**2))
    assert sums.density[7, 7, 2] == pytest.approx(1 / (1 + weight))
    assert sums.density[7, 7, 3] == pytest.approx(weight / (1 + weight))
    assert sums.sum_pixels[7, 7, 2] == pytest.approx(cell_width_px(10.0) ** 2)


def test_coverage_reaches_half_the_spacing_and_fifty_um_at_least() -> None:
    darkness = np.full((300, 300), 80, np.uint8)
    cells = _cells(darkness, darkness, np.ones(darkness.shape, bool), 10.0)
    fine = Grid((3, 3, 60), 10.0, (1000.0, 1000.0, 300.0))
    for spacing, reach in [(200.0, 100.0), (20.0, 50.0), (400.0, 200.0)]:
        _, covered = gridding.assemble([_placed(cells, 600.0)], _identity(), fine, spacing, 140.0)
        z = fine.points_um().reshape(*fine.shape, 3)[1, 1, :, 2]
        np.testing.assert_array_equal(covered[1, 1], np.abs(z - 600.0) <= reach)


def test_an_asymmetric_landmark_lands_where_it_belongs() -> None:
    """x grows posterior, y inferior, z right: one bright spot tells them apart."""
    darkness = np.zeros((400, 600), np.uint8)
    darkness[98:103, 398:403] = 200
    cells = _cells(darkness, darkness, np.ones(darkness.shape, bool), 10.0)
    sums, _ = gridding.assemble([_placed(cells, 1400.0, 50.0)], _identity(), GRID_200, 200.0, 0.0)
    assert np.unravel_index(np.nanargmax(sums.energy), GRID_200.shape) == (20, 5, 7)


def test_sums_add_and_pass_linear_operators() -> None:
    cells = accumulate(*_image(1, (20, 20)), 5)
    twice = cells + cells
    assert twice.density == pytest.approx(cells.density)
    halved = twice.map(lambda a: a / 2)
    assert isinstance(halved, ExpressionSums)
    np.testing.assert_array_equal(halved.sum_pixels, cells.sum_pixels)


# Missing tissue


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 60), st.integers(1, 60), st.integers(1, 13), st.integers(1, 9))
def test_shares_of_cells_equal_brute_force(seed: int, height: int, width: int, pitch: int, step: int) -> None:
    darkness, expression, valid = _image(seed, (height, width))
    cells = SectionCells(accumulate(darkness, expression, valid, pitch), pitch, 1, 4.0, (0, 0, width, height))
    mask = np.random.default_rng(seed).random((-(-height // step), -(-width // step))) < 0.5
    rows, columns = (n * pitch for n in cells.sums.sum_pixels.shape)
    whole = np.kron(mask, np.ones((step, step)))
    beyond = [(0, max(0, n - have)) for n, have in zip((rows, columns), whole.shape, strict=True)]
    whole = np.pad(whole, beyond, mode="edge")[:rows, :columns]
    expected = whole.reshape(rows // pitch, pitch, columns // pitch, pitch).mean(axis=(1, 3))
    np.testing.assert_allclose(share_in_cells(mask, step, cells), expected, atol=1e-12)


def test_missing_glass_leaves_pixels_and_not_expression() -> None:
    sums = ExpressionSums(*(np.array([[v, v, v]]) for v in (100, 10, 1500, 4000)))
    cells = SectionCells(sums, 10, 1, 4.0, (0, 0, 30, 10))
    left = without(cells, np.array([[0.0, 0.4, 1.0]]), 15.0).sums
    assert left.sum_pixels.tolist() == [[100, 60, 0]]
    assert left.sum_expressing_pixels.tolist() == [[10, 10, 0]]
    assert left.sum_expressing_pixel_intensity.tolist() == [[1500, 1500, 0]]
    assert left.sum_pixel_intensity.tolist() == [[4000, 4000 - 40 * 15, 0]]


def test_a_hole_has_no_data_and_its_surroundings_keep_their_energy() -> None:
    """A section of one energy: with a hole that is known its voxels have the energy of the whole one."""
    shape, pitch, um = (120, 120), 5, 10.0
    dark = np.full((600, 600), 100, np.uint8)
    expression = np.where(np.indices(dark.shape).sum(axis=0) % 4 == 0, 100, 0).astype(np.uint8)
    hole = np.zeros(shape, bool)
    hole[40:80, 40:80] = True
    expression[np.kron(hole, np.ones((5, 5))) > 0] = 0
    sums = accumulate(dark, expression, np.ones(dark.shape, bool), pitch)
    cells = SectionCells(sums, pitch, 1, um, (0, 0, 600, 600))
    share = share_in_cells(hole, 5, cells)
    grid = Grid((1, 31, 31), 200.0)
    placed = SectionAlignment(Alignment2d(0, np.array([[um, 0.0, 0.0], [0.0, um, 0.0]])))
    space = Alignment3d(9, np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]))
    smooth = gridding.smooth(without(cells, share, 100.0), 100.0)
    known = gridding.PlacedSection(smooth, 0.0, placed, share)
    found, covered = gridding.assemble([known], space, grid, 200.0, 140.0)
    inside = (slice(None), slice(11, 20), slice(11, 20))
    assert not covered[inside].any()
    assert covered.sum() == pytest.approx(30 * 30 - 10 * 10, abs=25)
    np.testing.assert_allclose(found.energy[covered], 25.0, atol=0.3)
    unknown = gridding.PlacedSection(gridding.smooth(cells, 100.0), 0.0, placed)
    zeros, all_covered = gridding.assemble([unknown], space, grid, 200.0, 140.0)
    assert all_covered[inside].all()
    assert zeros.energy[0, 15, 15] == 0
