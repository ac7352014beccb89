"""Cells: drawn by area, thrown so that the energy asked for comes out."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.model import Float32
from pipeline.phantom.cells import (
    ADDED_DARKNESS,
    MEAN_AREA_UM2,
    RADIUS_UM,
    Cells,
    calibrate,
    draw_cells,
    throw_cells,
    throw_faint,
)


def discs(*rows: tuple[float, float, float, float]) -> Cells:
    return Cells(*np.array(rows, np.float32).T.copy())


def painted(cells: Cells, height: int, width: int, fine: int = 40) -> tuple[Float32, Float32]:
    """Draw discs on a raster `fine` times finer: what is later covers what is before."""
    y, x = np.mgrid[: height * fine, : width * fine]
    y, x = (y + 0.5) / fine - 0.5, (x + 0.5) / fine - 0.5
    added = np.zeros(y.shape)
    for cx, cy, radius, dark in zip(*cells, strict=True):
        added[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = dark
    blocks = added.reshape(height, fine, width, fine)
    return (blocks > 0).mean(axis=(1, 3)), blocks.mean(axis=(1, 3))


def test_apart_discs_equal_a_fine_raster() -> None:
    cells = discs((4.3, 5.1, 2.7, 100), (12.6, 4.2, 0.4, 80), (11.5, 11.5, 3.5, 60), (0.0, 11.0, 1.5, 90))
    share, added = draw_cells(cells, 16, 17)
    true_share, true_added = painted(cells, 16, 17)
    assert np.abs(share - true_share).max() < 0.04
    assert np.abs(added - true_added).max() < 4.0


def test_later_discs_cover_earlier_ones() -> None:
    share, added = draw_cells(discs((8, 8, 5, 60), (8, 8, 3, 140)), 17, 17)
    assert added[8, 8] == 140
    assert added[8, 12] == 60
    assert share.max() == 1


def test_area_is_kept_even_where_cells_are_smaller_than_pixels() -> None:
    rng = np.random.default_rng(0)
    count, radius = 4000, 0.35
    x, y = rng.uniform(5, 995, (2, count))
    cells = discs(*((a, b, radius, 100.0) for a, b in zip(x, y, strict=True)))
    share, _ = draw_cells(cells, 1000, 1000)
    assert share.sum() == pytest.approx(count * np.pi * radius**2, rel=0.02)


def test_mean_area_is_that_of_the_radii() -> None:
    radius = np.linspace(*RADIUS_UM, 100001)
    assert pytest.approx((np.pi * radius**2).mean(), rel=1e-4) == MEAN_AREA_UM2


@pytest.mark.parametrize("resolution_um", [4.0, 8.0])
def test_calibration_rises_and_saturates(resolution_um: float) -> None:
    found = calibrate(resolution_um)
    assert found.mu[0] == found.density[0] == found.weight[0] == 0
    assert (np.diff(found.density) >= 0).all()
    assert (found.weight <= found.density + 1e-9).all()
    assert found.density[-1] > 0.99


@pytest.mark.parametrize("energy", [1.0, 20.0, 110.0])
@pytest.mark.parametrize("resolution_um", [3.0, 8.0])
def test_thrown_cells_yield_the_energy(energy: float, resolution_um: float) -> None:
    shape = (700, 900)
    tissue = np.full(shape, 50.0, np.float32)
    cells = throw_cells(
        np.random.default_rng(3),
        np.full(shape, energy, np.float32),
        tissue,
        calibrate(resolution_um),
        resolution_um,
    )
    share, added = draw_cells(cells, *shape)
    expressing = share >= 0.5
    found = (tissue + added)[expressing].sum() / tissue.size
    cells_counted = len(cells.x)
    assert found == pytest.approx(energy, rel=0.02 + 3 / np.sqrt(cells_counted))
    assert ((cells.added >= ADDED_DARKNESS[0]) & (cells.added <= ADDED_DARKNESS[1])).all()
    assert (cells.radius * resolution_um >= RADIUS_UM[0] - 1e-4).all()


def test_no_energy_no_cell() -> None:
    nothing = np.zeros((50, 50), np.float32)
    cells = throw_cells(np.random.default_rng(0), nothing, nothing, calibrate(8.0), 8.0)
    assert len(cells.x) == 0


def test_faint_cells_keep_to_their_structures() -> None:
    labels = np.zeros((400, 400), np.uint16)
    labels[:, 200:] = 1
    cells = throw_faint(np.random.default_rng(0), labels, np.array([0.0, 1000.0], np.float32), 5.0)
    assert len(cells.x) == pytest.approx(1000 * 2.0, rel=0.1)
    assert cells.x.min() > 199
