"""Sums under redrawn placements, against cells and grids that are really moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from pipeline.core.model import Alignment2d, Alignment3d, ExpressionSums, Grid, SectionAlignment
from pipeline.core.reference_space import ReferenceSpace
from pipeline.phantom import phantom_reference
from pipeline.quantification.cells import SectionCells
from pipeline.quantification.label_volume import LabelVolume
from pipeline.quantification.section_sums import PlacedCells
from pipeline.quantification.uncertainty.displacements import Displacements, scale_um
from pipeline.quantification.uncertainty.redrawn import redraw_grid, redraw_sections

IDENTITY = Alignment3d(9, np.hstack([np.eye(3), np.zeros((3, 1))]))


@dataclass(frozen=True, eq=False)
class Shifted(Displacements):
    """One draw that moves everything by the same way, and its opposite."""

    way_um: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def common(self, axes_um):  # type: ignore[no-untyped-def]
        shape = tuple(len(axis) for axis in axes_um)
        one = np.broadcast_to(np.array(self.way_um)[:, None, None, None], (3, *shape))
        # in units of the error along each axis, as the real one
        return np.stack([one, -one]).astype(np.float32) / self._scale[:, None, None, None]

    def own(self, section, axes_um):  # type: ignore[no-untyped-def]
        return np.zeros((2, 3, *(len(axis) for axis in axes_um)), np.float32)

    @property
    def _scale(self) -> np.ndarray:
        return scale_um(self.error_um)[:, 0]


@pytest.fixture(scope="module")
def space() -> ReferenceSpace:
    return phantom_reference(100.0)


def section(space: ReferenceSpace, z_um: float, seed: int = 0) -> PlacedCells:
    """A sagittal section of 50 um cells over the whole brain: P along x, I along y."""
    rng = np.random.default_rng(seed)
    shape = 160, 264
    pixels = np.full(shape, 100.0)
    marked = rng.integers(0, 60, shape).astype(float)
    sums = ExpressionSums(pixels, marked, 100 * marked, 9000 * np.ones(shape))
    cells = SectionCells(sums, 5, 1, 10.0, (0, 0, 5 * shape[1], 5 * shape[0]))
    matrix = np.array([[10.0, 0.0, 0.0], [0.0, 10.0, 0.0]])
    return PlacedCells(cells, z_um, SectionAlignment(Alignment2d(round(z_um / 25), matrix)))


def by_hand(one: PlacedCells, volume: LabelVolume, way: np.ndarray) -> np.ndarray:
    """Sum the cells of a section by code at their moved centres, one after the other."""
    out = np.zeros((2 * len(volume.index.label_ids), 3))
    rows, columns = one.cells.sums.sum_pixels.shape
    for y in range(rows):
        for x in range(columns):
            at = np.array([((x + 0.5) * 5 - 0.5) * 10.0, ((y + 0.5) * 5 - 0.5) * 10.0, one.z_um]) + way
            index = np.rint(at / volume.spacing_um).astype(int)
            if (index < 0).any() or (index >= volume.numbers.shape).any():
                continue
            number = int(volume.numbers[tuple(index)])
            if number:
                sums = one.cells.sums
                values = sums.sum_pixels, sums.sum_expressing_pixels, sums.sum_expressing_pixel_intensity
                out[(number - 1) * 2 + (at[2] >= 5700.0)] += [v[y, x] for v in values]
    return out


def test_moved_cells_count_where_they_come_to_lie(space: ReferenceSpace) -> None:
    one, volume = section(space, 4240.0), LabelVolume.of(space)
    way = (73.0, -41.0, 33.0)  # no cell comes to lie on the border of a voxel
    moves = Shifted(2, 0, np.array([4240.0]), np.array([30.0]), way)
    placed, moved, by_density = redraw_sections([one], np.array([2.0]), volume, IDENTITY, moves)
    area = 2.0 * one.pixel_um2  # thickness of the slab x area of a pixel
    assert placed[0] == pytest.approx(area * by_hand(one, volume, np.zeros(3)))
    for draw, sign in enumerate((1, -1)):
        assert moved[draw] == pytest.approx(area * by_hand(one, volume, sign * np.array(way)))
    assert by_density.sum(axis=1) == pytest.approx(placed[0, :, 2])


def test_without_displacement_nothing_changes(space: ReferenceSpace) -> None:
    sections = [section(space, z, k) for k, z in enumerate((3000.0, 3200.0))]
    moves = Shifted(2, 0, np.array([3000.0, 3200.0]), np.array([30.0, 30.0]))
    placed, moved, _ = redraw_sections(sections, np.ones(2), LabelVolume.of(space), IDENTITY, moves)
    assert moved[0] == pytest.approx(placed.sum(axis=0))
    assert moved[1] == pytest.approx(placed.sum(axis=0))


def test_a_moved_grid_is_the_grid_at_moved_voxels() -> None:
    grid = Grid((20, 18, 16), 200.0)
    p, i, r = np.meshgrid(*(np.arange(n, dtype=float) for n in grid.shape), indexing="ij")
    energy = 5 + 0.3 * p - 0.2 * i + 0.1 * r  # linear: interpolation is exact
    pixels = np.full(grid.shape, 50.0)
    sums = ExpressionSums(pixels, pixels / 2, pixels * energy, pixels)
    codes = np.full(grid.shape, -1)
    codes[5:12, 5:12, 5:10] = 0
    codes[12:14, 5:12, 5:10] = 1
    moves = Shifted(2, 0, np.arange(0.0, 3200.0, 200.0), np.full(16, 30.0), (100.0, 40.0, -60.0))
    found = redraw_grid(sums, codes, 2, grid, IDENTITY, moves, 140.0)
    change = 0.3 * 0.5 - 0.2 * 0.2 - 0.1 * 0.3
    for code in (0, 1):
        mean = energy[codes == code].mean()
        assert found[0, code, 2] / found[0, code, 0] == pytest.approx(mean + change)
        assert found[1, code, 2] / found[1, code, 0] == pytest.approx(mean - change)


@pytest.mark.parametrize("which", ["grid", "sections"])
def test_larger_errors_move_values_more(which: str, space: ReferenceSpace) -> None:
    spreads = []
    for error_um in (20.0, 80.0):
        z_um = np.array([3000.0, 3200.0])
        moves = Displacements.of(z_um.tolist(), [error_um, error_um])
        if which == "sections":
            volume = LabelVolume.of(space)
            sections = [section(space, z, k) for k, z in enumerate(z_um)]
            _, moved, _ = redraw_sections(sections, np.ones(2), volume, IDENTITY, moves)
        else:
            rng = np.random.default_rng(2)
            pixels = np.full(space.grid.shape, 10.0)
            bright = pixels * rng.uniform(0, 5, space.grid.shape)
            codes = np.where(space.grid_labels() > 0, 0, -1)
            sums = ExpressionSums(pixels, pixels, bright, bright)
            moved = redraw_grid(sums, codes, 1, space.grid, IDENTITY, moves, 140.0)
        spreads.append(float(moved[..., 2].std(axis=0).sum()))
    assert spreads[1] > 1.5 * spreads[0]
