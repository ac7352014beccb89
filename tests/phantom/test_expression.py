"""Energy of a grid: what tissue must express for the grid to be served as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pipeline.core.intensity import darkness
from pipeline.core.model import GRID_200, Bool, ExpressionSums, Float32, UInt8
from pipeline.core.reference_space import ReferenceSpace
from pipeline.phantom import (
    GridExpression,
    RenderedSection,
    RenderOptions,
    Scene,
    StructureExpression,
    build_scene,
    coronal_geometry,
    phantom_reference,
    render_section,
    sagittal_geometry,
)
from pipeline.phantom.expression import LEAST_SHARE, tissue_share
from pipeline.phantom.stain import VENTRICLES
from pipeline.quantification import gridding
from pipeline.quantification.cells import SectionCells, accumulate

ENERGY = 20
SMOOTHING_UM, Z_SMOOTHING_UM = 200.0, 140.0


@cache
def block() -> ReferenceSpace:
    """Return a brain that is a block of thalamus in glass, a ventricle 600 um wide inside."""
    whole = phantom_reference(100.0)
    labels = np.zeros(whole.annotation.shape, np.uint32)
    labels[54:79, 20:45, 32:64] = whole.ontology.find("TH").id
    labels[64:70, 28:38, 32:64] = VENTRICLES
    return replace(whole, annotation=labels, template=None)


@cache
def scene(plane: str, expression: GridExpression | None = None) -> Scene:
    cut = sagittal_geometry if plane == "sagittal" else coronal_geometry
    geometry = cut(block(), 8, 8.0, seed=3)
    return build_scene(block(), geometry, expression, RenderOptions(seed=6, noise=0, faint_cells=0))


def gridded(scene: Scene, masks: Callable[[RenderedSection], Bool], level: int | None) -> ExpressionSums:
    """Grid masks of the rendered sections; `level` is their intensity, None what the pictures show."""
    placed = []
    for index, image in enumerate(scene.images):
        shown = render_section(scene, index)
        dark: UInt8 = darkness(shown.pixels) if level is None else np.full_like(shown.pixels[..., 0], level)
        seen = np.where(masks(shown), dark, 0).astype(np.uint8)
        sums = accumulate(dark, seen, np.ones(dark.shape, bool), 6)
        cells = SectionCells(sums, 6, 1, 8.0, (0, 0, dark.shape[1], dark.shape[0]))
        aligned = scene.geometry.alignment.of(image.section_number)
        assert aligned is not None
        z_um = scene.geometry.data_set.z_um(image.section_number)
        placed.append(gridding.PlacedSection(gridding.smooth(cells, SMOOTHING_UM), z_um, aligned))
    volume = scene.geometry.alignment.alignment3d
    sums, covered = gridding.assemble(placed, volume, scene.reference.grid, 200.0, Z_SMOOTHING_UM)
    return sums.map(lambda array: np.where(covered, array, 0.0))


def solid(scene: Scene) -> Callable[[RenderedSection], Bool]:
    """Return the mask of solid tissue in a rendered section, from the block's own borders."""

    def mask(shown: RenderedSection) -> Bool:
        height, width = shown.truth.tissue.shape
        y, x = np.mgrid[:height, :width]
        places = shown.truth.pixel_map.to_reference(np.column_stack([x.ravel(), y.ravel()]))
        p, i, r = np.rint(places / scene.reference.annotation_um).T
        inside = (p >= 54) & (p < 79) & (i >= 20) & (i < 45) & (r >= 32) & (r < 64)
        hollow = (p >= 64) & (p < 70) & (i >= 28) & (i < 38)
        return np.asarray((inside & ~hollow).reshape(height, width))

    return mask


@cache
def even(plane: str) -> ExpressionSums:
    """Return the grid of a gene that all solid tissue expresses alike."""
    quiet = build_scene(block(), scene(plane).geometry, StructureExpression({}), scene(plane).options)
    return gridded(quiet, solid(quiet), ENERGY)


def share_of(scene: Scene, cut_axis: int) -> Float32:
    volume = scene.volume
    return tissue_share(volume.labels, volume.solid, volume.spacing_um, GRID_200, cut_axis)


@pytest.mark.parametrize(("plane", "cut_axis"), [("sagittal", 2), ("coronal", 0)])
def test_share_of_tissue_is_what_gridding_makes_of_the_mask(plane: str, cut_axis: int) -> None:
    sums = even(plane)
    seen = sums.sum_pixels > 0
    off = (share_of(scene(plane), cut_axis) - sums.density)[seen]
    taken = (1 - sums.density[seen]).mean()
    assert taken > 0.5, "glass and ventricle are in the mean"
    assert np.abs(off).mean() < 0.05 * taken
    assert np.abs(off).max() < 0.25, "a face between two sections is seen by one of them"


def test_share_is_one_in_tissue_half_at_its_face_and_fades_faster_across_the_cut() -> None:
    labels = np.zeros((528, 320, 456), np.uint16)[::2, ::2, ::2].copy()
    labels[:132, :, :] = 1  # the face lies between 6550 and 6600 um
    table = np.array([False, True])
    along, across = (tissue_share(labels, table, 50.0, GRID_200, axis)[:, 20, 28] for axis in (1, 0))
    for share in (along, across):
        assert share[20] == pytest.approx(1.0, abs=1e-4)
        assert (share[32] + share[33]) / 2 == pytest.approx(0.57, abs=0.1)
        assert share[45] == pytest.approx(0.0, abs=1e-4)
        assert (np.diff(share[20:46]) <= 1e-6).all()
    assert along[34] > across[34] + 0.05


def test_tissue_expresses_more_where_less_of_a_voxel_is_tissue() -> None:
    energy = np.full(GRID_200.shape, 6.0, np.float32)
    energy[0] = -1
    share = np.ones(GRID_200.shape, np.float32)
    share[:, 0], share[:, 1], share[:, 2] = 0.5, LEAST_SHARE / 2, 0.0
    tissue = GridExpression(energy).of_tissue(share)
    assert (tissue[0] == -1).all(), "no data stays none"
    assert np.allclose(tissue[1:, 0], 12.0)
    assert (tissue[1:, 1:3] == -1).all(), "next to no tissue: nothing is known"
    assert np.array_equal(tissue[1:, 3:], energy[1:, 3:])


@pytest.mark.parametrize(("plane", "cut_axis"), [("sagittal", 2), ("coronal", 0)])
def test_what_is_served_of_even_tissue_is_rendered_again_at_rim_and_ventricle(
    plane: str, cut_axis: int
) -> None:
    sums = even(plane)
    served = np.where(sums.sum_pixels > 0, sums.energy, -1).astype(np.float32)
    made = scene(plane, GridExpression(served))
    again = gridded(made, lambda shown: np.asarray(shown.truth.expressing), None).energy
    share = share_of(made, cut_axis)
    for low, high in ((0.15, 0.6), (0.6, 0.95), (0.95, 1.1)):
        where = (share >= low) & (share < high) & (sums.sum_pixels > 0)
        assert where.sum() > 100
        assert again[where].mean() == pytest.approx(served[where].mean(), rel=0.05), (low, high)


def test_expression_by_structure_does_not_ask_for_shares() -> None:
    made = build_scene(block(), scene("sagittal").geometry, StructureExpression({"TH": 9.0}))
    assert made.volume.grid.size == 0
    assert set(made.volume.energy.tolist()) == {0.0, 9.0}
