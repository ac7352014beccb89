"""Beyond affine: splines and kernels against plain sums; warped phantoms are straightened, others stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import BSpline

from pipeline.core.errors import ConfigError
from pipeline.core.model import SeriesAlignment
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry.deformation import least_jacobian
from pipeline.geometry.sync import pixel_to_reference
from pipeline.phantom import (
    RenderOptions,
    Scene,
    StructureExpression,
    build_scene,
    phantom_reference,
    render_section,
    sagittal_geometry,
)
from pipeline.registration import AlignmentOptions, SectionThumbnail, align_series
from pipeline.registration.deformable.blocks import add_normal, labels_displaced, paint_displaced, sum_blocks
from pipeline.registration.deformable.bsplines import bending, lattice_over
from pipeline.registration.deformable.displacement import DisplacementFields, Stiffness, zero_fields
from pipeline.registration.model.painted_atlas import paint

PIXEL_UM = 50.0
SAGITTAL = AlignmentOptions(
    plane_of_section="sagittal", hemisphere="left", section_order="lateral_to_medial", image_up="superior"
)
RNG = np.random.default_rng(0)


def test_basis_is_that_of_cubic_splines() -> None:
    lattice = lattice_over(np.array([100.0, -50.0]), np.array([1100.0, 750.0]), [250.0, 200.0])
    assert lattice.shape == (7, 7)
    points = RNG.uniform([100.0, -50.0], [1100.0, 750.0], (50, 2))
    coefficients = RNG.standard_normal(lattice.size)
    grid = coefficients.reshape(7, 7)
    expected = np.empty(50)
    for n, point in enumerate(points):
        at = (point - lattice.origin_um) / lattice.spacing_um
        along = [BSpline.design_matrix([a], np.arange(-3.0, 8.0), 3).toarray()[0] for a in at]
        expected[n] = along[0] @ grid @ along[1]
    np.testing.assert_allclose(lattice.matrix(points) @ coefficients, expected, atol=1e-12)
    assert lattice.matrix(np.zeros((0, 2))).shape == (0, 49)


def test_bending_energy_of_a_slope_is_zero() -> None:
    lattice = lattice_over(np.zeros(3), np.array([900.0, 600.0, 900.0]), [300.0] * 3)
    i, j, k = np.meshgrid(*(np.arange(n) for n in lattice.shape), indexing="ij")
    form = bending(lattice)
    slope = (2.0 * i - j + 0.5 * k + 3.0).ravel()
    assert slope @ (form @ slope) == pytest.approx(0.0, abs=1e-9)
    twist = (1.0 * i * j).ravel()
    pairs = (lattice.shape[0] - 1) * (lattice.shape[1] - 1) * lattice.shape[2]
    assert twist @ (form @ twist) == pytest.approx(2.0 * pairs)


def test_normal_equations_equal_the_dense_product() -> None:
    lattice = lattice_over(np.zeros(2), np.array([500.0, 400.0]), [250.0, 200.0])
    points = RNG.uniform(0, 400, (20, 2))
    halves = RNG.standard_normal((20, 3, 3))
    normal = halves @ halves.transpose(0, 2, 1)
    full = np.zeros((3 * lattice.size,) * 2)
    add_normal(full, *lattice.basis(points), normal)
    dense = lattice.matrix(points).toarray()
    expected = np.einsum("na,nb,ncd->acbd", dense, dense, normal).reshape(full.shape)
    np.testing.assert_allclose(np.triu(full), np.triu(expected), atol=1e-12)


@pytest.fixture(scope="module")
def reference() -> ReferenceSpace:
    return phantom_reference(100.0)


def test_a_plane_displaced_by_a_constant_is_a_plane() -> None:
    index = RNG.integers(0, 5, (40, 30, 20)).astype(np.uint16)
    table = RNG.random(5).astype(np.float32)
    plane = np.array([[100.0, 3.0, 200.0], [5.0, 90.0, 300.0], [2.0, -4.0, 900.0]])
    shift = np.array([131.3, -71.7, 243.9])
    nodes = np.broadcast_to(shift[:, None, None], (3, 4, 5)).astype(np.float32)
    moved = plane.copy()
    moved[:, 2] += shift
    for samples in (1, 2):
        painted = paint_displaced(index, 0.01, table, plane, (nodes, 7.0), (25, 30), samples)
        np.testing.assert_allclose(painted, paint(index, 0.01, table, moved, (25, 30), samples), atol=1e-6)
    labels = labels_displaced(index, 0.01, plane, (nodes, 7.0), (25, 30))
    np.testing.assert_array_equal(table[labels], paint(index, 0.01, table, moved, (25, 30), 1))


def test_blocks_sum_what_a_plain_loop_sums() -> None:
    pixels = RNG.random((4, 21, 17)).astype(np.float32)
    inverse = np.array([[0.02, 0.001], [-0.001, 0.02]])
    known = (np.zeros(3), -1.0, 1.0)
    sums = sum_blocks(pixels, inverse, known, 1e9, 6)
    values, weights, painted, normal = pixels.astype(np.float64)
    gy, gx = np.gradient(painted)
    g = np.stack([inverse[0, 0] * gx + inverse[1, 0] * gy, inverse[0, 1] * gx + inverse[1, 1] * gy, normal])
    inner = np.zeros_like(values)
    inner[1:-1, 1:-1] = weights[1:-1, 1:-1]
    expected = (inner * g[0] * (values - painted))[6:12, 12:17].sum()
    assert sums[1, 2, 6] == pytest.approx(expected, rel=1e-4)
    assert sums[1, 2, 4] == pytest.approx((inner * g[1] * g[2])[6:12, 12:17].sum(), rel=1e-4)


def test_a_displacement_that_folds_is_scaled_back() -> None:
    z = np.array([0.0, 1000.0, 2000.0])
    stiffness = Stiffness(1000.0, 100.0, 0.1)
    start = zero_fields(z, (np.zeros(2), np.array([4000.0, 3000.0])), stiffness, stiffness)
    assert start.least_stretch() == 1.0
    wild = DisplacementFields(
        z, start.plane, start.own, start.whole, RNG.normal(0, 1500.0, start.shape.shape)
    )
    assert wild.least_stretch() < 0
    assert wild.unfolded().least_stretch() >= 0.2


def drawn(reference: ReferenceSpace, warp_um: float) -> tuple[Scene, list[SectionThumbnail]]:
    options = RenderOptions(
        seed=5, texture=0.2, stain_gain=0.3, extra_rotation_deg=3.0, extra_shift_um=100.0, warp_um=warp_um
    )
    geometry = sagittal_geometry(reference, 9, PIXEL_UM)
    scene = build_scene(reference, geometry, StructureExpression({}), options)
    return scene, [
        SectionThumbnail(
            image.section_number,
            geometry.data_set.z_um(image.section_number),
            render_section(scene, k).pixels,
            PIXEL_UM,
            np.eye(2, 3),
        )
        for k, image in enumerate(scene.images)
    ]


def errors_um(scene: Scene, found: SeriesAlignment) -> tuple[np.ndarray, np.ndarray]:
    """Distance of tissue pixels from their true places, and the least that an affine a section allows."""
    away, floor = [], []
    for k, image in enumerate(scene.images):
        truth = render_section(scene, k).truth
        rows, columns = (4 * n for n in np.nonzero(truth.tissue[::4, ::4]))
        points = np.stack([columns, rows], axis=1).astype(np.float64)
        places = truth.pixel_map.to_reference(points)
        section = found.of(image.section_number)
        assert section is not None
        z_um = scene.geometry.data_set.z_um(image.section_number)
        ours = pixel_to_reference(points, section, found.alignment3d, z_um)
        away.append(np.linalg.norm(ours - places, axis=1))
        terms = np.column_stack([points, np.ones(len(points))])
        floor.append(np.linalg.norm(terms @ np.linalg.lstsq(terms, places, rcond=None)[0] - places, axis=1))
    return np.concatenate(away), np.concatenate(floor)


def test_a_warped_series_comes_straighter_than_any_affine_could_make_it(reference: ReferenceSpace) -> None:
    scene, thumbnails = drawn(reference, 100.0)
    affine_only, deformed = (
        align_series(thumbnails, reference, replace(SAGITTAL, deformable=d)) for d in ("none", "in_plane")
    )
    away, floor = errors_um(scene, deformed)
    assert np.median(away) < 0.8 * np.median(floor)
    assert np.median(errors_um(scene, affine_only)[0]) > np.median(floor)
    for before, after in zip(affine_only.sections, deformed.sections, strict=True):
        matrices = [s.alignment2d.section_to_volume for s in (before, after)]
        assert np.array_equal(*matrices)
        assert after.deformation is not None
        assert not after.deformation.displacement_um[2].any()
        assert least_jacobian(after.alignment2d, after.deformation) > 0.1
    again = align_series(thumbnails, reference, replace(SAGITTAL, deformable="in_plane", threads=1))
    for one, other in zip(deformed.sections, again.sections, strict=True):
        assert np.array_equal(one.deformation.displacement_um, other.deformation.displacement_um)  # type: ignore[union-attr]


def test_a_series_that_is_not_warped_is_left_in_peace(reference: ReferenceSpace) -> None:
    scene, thumbnails = drawn(reference, 0.0)
    deformed = align_series(thumbnails, reference, replace(SAGITTAL, deformable="volume"))
    assert np.median(errors_um(scene, deformed)[0]) < 40.0
    assert deformed.deformable == "volume"


def test_unknown_deformations_are_refused() -> None:
    with pytest.raises(ConfigError, match="deformable: expected none, in_plane or volume, got 'wild'"):
        AlignmentOptions(deformable="wild")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="node_um"):
        AlignmentOptions(node_um=10.0)
