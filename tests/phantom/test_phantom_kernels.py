"""The compiled loops against plain arrays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from pipeline.core.model import Float64
from pipeline.phantom import kernels
from pipeline.phantom.mapping import PixelMap, lattice_px
from pipeline.phantom.stain import LUMA, colour_table

HEIGHT, WIDTH, STEP = 61, 83, 7


@pytest.fixture
def volume() -> kernels.Volume:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (20, 18, 22)).astype(np.uint16)
    grid = rng.uniform(0, 20, (7, 6, 7)).astype(np.float32)
    darkness = np.array([15, 40, 60, 80], np.float32)
    energy = np.array([0, 5, 0, 9], np.float32)
    return kernels.Volume(labels, 50.0, darkness, energy, np.array([False, True, True, True]), grid, 200.0)


def place(height: int = HEIGHT, width: int = WIDTH) -> PixelMap:
    rows, columns = (height - 1) // STEP + 2, (width - 1) // STEP + 2
    j, i = np.mgrid[:rows, :columns] * STEP
    warp = np.random.default_rng(1).normal(0, 4, (rows, columns, 3))
    nodes = np.stack([60 + 9 * i + 2 * j, 80 + 9 * j, 100 + 7 * j + 4 * i], axis=-1) + warp
    return PixelMap(STEP, nodes)


def lattice(where: PixelMap) -> kernels.Lattice:
    ones = np.ones(where.nodes.shape[:2])
    return kernels.Lattice(STEP, where.nodes, ones, ones.astype(np.float32))


def positions(where: PixelMap, height: int = HEIGHT, width: int = WIDTH) -> Float64:
    y, x = np.mgrid[:height, :width]
    return where.to_reference(np.column_stack([x.ravel(), y.ravel()]))


def test_distinct_and_compact_equal_unique() -> None:
    annotation = (
        np.random.default_rng(0).choice([0, 3, 997, 614454277, 65536 + 3], (9, 8, 7)).astype(np.uint32)
    )
    for view in (annotation, np.asfortranarray(annotation), annotation[::-1]):
        ids = kernels.distinct(view)
        labels, voxels = kernels.compact(view, ids)
        expected, inverse, counts = np.unique(view, return_inverse=True, return_counts=True)
        assert np.array_equal(ids, expected)
        assert np.array_equal(labels, inverse.reshape(view.shape))
        assert np.array_equal(voxels, counts)


def test_lookup_equals_splines(volume: kernels.Volume) -> None:
    where = place()
    gone = np.zeros((HEIGHT, WIDTH), np.uint8)
    gone[:, :10] = 1
    structures = volume._replace(grid=np.zeros((0, 0, 0), np.float32))
    labels, tissue, energy = kernels.look_up(structures, lattice(where), gone, 1.0)
    at = (positions(where) / volume.spacing_um).T
    assert np.array_equal(labels.ravel(), volume.labels[tuple(np.rint(at).astype(int))])
    for table, found in ((volume.darkness, tissue), (volume.energy, energy)):
        smooth = ndimage.map_coordinates(table[volume.labels].astype(float), at, order=2, prefilter=False)
        shown = (gone == 0) & (labels > 0) if found is energy else gone == 0
        assert np.allclose(found[shown], smooth.reshape(found.shape)[shown], atol=1e-3)
    assert (tissue[:, :10] == volume.darkness[0]).all()
    assert (energy[:, :10] == 0).all()


def test_lookup_of_a_grid_is_linear_and_skips_no_data(volume: kernels.Volume) -> None:
    where, gone = place(), np.zeros((HEIGHT, WIDTH), np.uint8)
    at = (positions(where) / 200.0).T
    labels, _, energy = kernels.look_up(volume, lattice(where), gone, 1.0)
    linear = ndimage.map_coordinates(volume.grid.astype(float), at, order=1).reshape(energy.shape)
    assert np.allclose(energy[labels > 0], linear[labels > 0], atol=1e-4)
    assert (energy[labels == 0] == 0).all()
    half = volume.grid.copy()
    half[::2] = -1
    _, _, partial = kernels.look_up(volume._replace(grid=half), lattice(where), gone, 1.0)
    valid = ndimage.map_coordinates((half >= 0).astype(float), at, order=1).reshape(energy.shape)
    weighted = ndimage.map_coordinates(np.maximum(half, 0).astype(float), at, order=1).reshape(energy.shape)
    shown = (labels > 0) & (valid > 1e-3)
    assert np.allclose(partial[shown], (weighted / np.maximum(valid, 1e-9))[shown], atol=1e-3)


def test_tally_equals_counting() -> None:
    where, rng = place(), np.random.default_rng(2)
    labels = rng.integers(0, 4, (HEIGHT, WIDTH)).astype(np.uint16)
    darkness = rng.uniform(0, 200, (HEIGHT, WIDTH)).astype(np.float32)
    expressing = darkness > 120
    by_label, by_voxel = np.zeros((2, 4, 4)), np.zeros((4, 3, 5, 4))
    where = PixelMap(STEP, where.nodes + np.array([0.0, 0.0, 5200.0]))
    kernels.tally(lattice(where), labels, darkness, expressing, (by_label, by_voxel[:, :, :, :]))
    pir = positions(where)
    values = np.stack(
        [np.ones(darkness.size), expressing.ravel(), (darkness * expressing).ravel(), darkness.ravel()], 1
    )
    expected = np.zeros_like(by_label)
    np.add.at(expected, ((pir[:, 2] >= 5700).astype(int), labels.ravel()), values)
    assert np.allclose(by_label, expected)
    assert by_label[..., 0].sum() == darkness.size
    voxel = np.rint(pir / 200).astype(int)
    inside = (voxel < by_voxel.shape[:3]).all(axis=1)
    expected = np.zeros_like(by_voxel)
    np.add.at(expected, tuple(voxel[inside].T), values[inside])
    assert np.allclose(by_voxel, expected)


def test_developed_luma_is_darkness() -> None:
    darkness = np.linspace(0, 255, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    still = np.zeros((kernels.NOISE_SIDE, kernels.NOISE_SIDE), np.float32)
    pixels = kernels.develop(darkness, lattice(place()), colour_table(), still, (1.0, 1.0))
    luma = pixels @ LUMA
    assert np.abs(255 - luma - darkness).max() < 1.0
    assert abs((255 - luma - darkness).mean()) < 0.05
    middle = pixels[(darkness > 60) & (darkness < 200)].astype(int)
    assert (middle[:, 2] > middle[:, 1]).all(), "stain is bluish purple: green is the darkest channel"


def test_light_and_gamma() -> None:
    darkness = np.full((HEIGHT, WIDTH), 100, np.float32)
    still = np.zeros((kernels.NOISE_SIDE, kernels.NOISE_SIDE), np.float32)
    dim = lattice(place())._replace(light=np.full(place().nodes.shape[:2], 0.9, np.float32))
    luma = kernels.develop(darkness, dim, colour_table(), still, (0.8, 1.2)) @ LUMA
    assert luma.mean() == pytest.approx(255 * (0.8 * 0.9 * 155 / 255) ** 1.2, abs=0.6)


@pytest.mark.parametrize("size", [1, 2, 12, 13, 14, 26, 27])
def test_lattice_covers_every_pixel(size: int) -> None:
    step, points = lattice_px(size, size + 3, 8.0)
    assert step == 12
    assert points[0, 0].tolist() == [0, 0]
    assert points[-1, -1, 0] > size - 1
    assert points[-1, -1, 1] > size + 2
    plane = PixelMap(step, np.concatenate([points, points[..., :1]], axis=-1))
    corner = np.array([[size - 1.0, size + 2.0], [0.0, 0.0], [-5.0, 900.0]])
    assert np.allclose(plane.to_reference(corner)[:, :2], corner)
