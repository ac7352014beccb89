"""Displacement fields: held against SimpleITK, affine maps and their own inverse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from pipeline.atlas_building.displacement import (
    Displacement,
    compose,
    determinants,
    from_affine,
    invert,
    nearest_affine,
    node_shape,
    warp,
)
from pipeline.core.errors import DataError
from pipeline.formats.volumes.nrrd_writer import read_vectors, write_nrrd

SHAPE, UM = (24, 20, 22), 200.0
TURNED = np.array([[1.04, 0.1, 0.0, 120.0], [-0.1, 0.97, 0.05, -60.0], [0.0, 0.02, 1.01, 30.0]])


def wavy(seed: int, um: float = 150.0) -> Displacement:
    draw = np.random.default_rng(seed).normal(size=(*SHAPE, 3)).astype(np.float32)
    smooth = np.stack([ndimage.gaussian_filter(draw[..., k], 3.0) for k in range(3)], axis=-1)
    return Displacement(smooth / smooth.std() * um, UM)


def inner(count: int = 400) -> np.ndarray:
    low, high = np.full(3, 5 * UM), (np.array(SHAPE) - 6) * UM
    return np.random.default_rng(1).uniform(low, high, (count, 3))


def test_an_affine_map_is_exact_everywhere() -> None:
    field, points = from_affine(TURNED, SHAPE, UM), inner()
    assert np.allclose(field.apply(points), points @ TURNED[:, :3].T + TURNED[:, 3], atol=1e-2)
    assert np.allclose(nearest_affine(field), TURNED, atol=1e-3)
    assert determinants(field) == pytest.approx(np.linalg.det(TURNED[:, :3]), abs=1e-4)


def test_beyond_the_box_the_nearest_node_counts() -> None:
    field = wavy(2)
    assert np.allclose(field.apply([[-500.0, 0.0, 0.0]])[0], [-500.0, 0.0, 0.0] + field.vectors[0, 0, 0])
    assert field.holds([[0.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [np.nan, 0.0, 0.0]]).tolist() == [
        True,
        False,
        False,
    ]
    assert field.holds([[23 * UM, 19 * UM, 21 * UM], [23 * UM + 1, 0, 0]]).tolist() == [True, False]


def test_the_inverse_takes_points_back() -> None:
    bent = compose(wavy(3), from_affine(TURNED, SHAPE, UM))
    back = invert(bent, SHAPE, UM)
    points = inner()
    apart = np.linalg.norm(back.apply(bent.apply(points)) - points, axis=1)
    assert np.median(apart) < 5.0
    assert determinants(bent).min() > 0


def test_a_field_in_a_row_is_applied_after_the_first() -> None:
    first, second = wavy(4), from_affine(TURNED, SHAPE, UM)
    nodes = inner() // UM * UM
    assert np.allclose(compose(first, second).apply(nodes), second.apply(first.apply(nodes)), atol=1e-2)


def test_a_fold_is_seen() -> None:
    vectors = np.zeros((*SHAPE, 3), np.float32)
    vectors[10:12, 5:15, 5:15, 0] = np.array([3 * UM, -3 * UM])[:, None, None]
    assert determinants(Displacement(vectors, UM)).min() < 0


def test_a_written_field_warps_in_simpleitk_as_here(tmp_path: Path) -> None:
    field = wavy(5)
    write_nrrd(tmp_path / "target_to_source.nrrd", field.vectors, UM)
    stored, um = read_vectors(tmp_path / "target_to_source.nrrd")
    assert um == UM
    assert np.array_equal(stored, field.vectors)
    image = ndimage.gaussian_filter(np.random.default_rng(6).normal(size=SHAPE).astype(np.float32), 1.5)
    write_nrrd(tmp_path / "image.nrrd", image, UM)
    moving = sitk.ReadImage(str(tmp_path / "image.nrrd"))
    vectors = sitk.Cast(sitk.ReadImage(str(tmp_path / "target_to_source.nrrd")), sitk.sitkVectorFloat64)
    there = sitk.Resample(moving, moving, sitk.DisplacementFieldTransform(vectors), sitk.sitkLinear, 0.0)
    here = warp(image, [UM] * 3, field, (SHAPE, [UM] * 3))
    part = (slice(4, -4),) * 3
    assert np.allclose(sitk.GetArrayFromImage(there).transpose(2, 1, 0)[part], here[part], atol=1e-4)


def test_labels_are_taken_from_the_nearest_voxel() -> None:
    labels = np.random.default_rng(7).integers(0, 9, SHAPE).astype(np.uint32)
    moved = warp(labels, [UM] * 3, from_affine(np.eye(3, 4), SHAPE, UM), (SHAPE, [UM] * 3), order=0)
    assert moved.dtype == np.uint32
    assert np.array_equal(moved, labels)


def test_nodes_cover_the_box() -> None:
    assert node_shape((1000.0, 1000.0, 1001.0), 100.0) == (11, 11, 12)
    with pytest.raises(DataError, match="expected"):
        Displacement(np.zeros((3, 3, 3), np.float32), 1.0)
