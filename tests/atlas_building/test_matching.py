"""Pieces of the matching of two brains, each against an oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies
from matched_brains import SHAPE, UM, bent, greys
from scipy import ndimage

from pipeline.atlas_building.displacement import from_affine
from pipeline.atlas_building.matching.affine import best_start, overlap_after, right_angled, rotation_deg
from pipeline.atlas_building.matching.cues import GreyCue, evidence, inside
from pipeline.atlas_building.matching.elastic import (
    LOOSE,
    NODE,
    Normals,
    bending,
    node_counts,
    normal_equations,
    solve,
)
from pipeline.atlas_building.matching.match import affine_step
from pipeline.atlas_building.matching.painting import Paintable, painted, regress
from pipeline.atlas_building.matching.sampling import expanded, halved, moved
from pipeline.atlas_building.matching.working import (
    WorkingBrain,
    block_means,
    on_grid,
    structures_of,
    working_brain,
    working_um,
)
from pipeline.core.errors import DataError
from pipeline.formats.volumes.volume_files import Volume

SMALL = (6, 5, 7)


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def shift(length: int, axis: int, voxels: float) -> np.ndarray:
    vectors = np.zeros((length, length, length, 3), np.float32)
    vectors[..., axis] = voxels
    return vectors


def test_normal_equations_are_those_of_linear_nodes() -> None:
    residual, slope, weight = draw(1, *SMALL), draw(2, *SMALL, 3), np.abs(draw(3, *SMALL))
    normals = normal_equations([(residual, slope, weight)])
    squares = np.zeros((*node_counts(SMALL), 6))
    pulls = np.zeros((*node_counts(SMALL), 3))
    for node in np.ndindex(*node_counts(SMALL)):
        for at in np.ndindex(*SMALL):
            near = np.prod([max(0.0, 1 - abs(x / NODE - n)) for x, n in zip(at, node, strict=True)])
            g = slope[at]
            squares[node] += near * weight[at] * np.outer(g, g)[np.triu_indices(3)]
            pulls[node] += near * weight[at] * residual[at] * g
    assert np.allclose(normals.squares, squares, atol=1e-4)
    assert np.allclose(normals.pulls, pulls, atol=1e-4)


def test_two_cues_add_up() -> None:
    facts = [(draw(k, *SMALL), draw(k + 1, *SMALL, 3), np.abs(draw(k + 2, *SMALL))) for k in (1, 5)]
    both, each = normal_equations(facts), [normal_equations([fact]) for fact in facts]
    assert np.allclose(both.squares, each[0].squares + each[1].squares, atol=1e-5)
    assert np.allclose(both.pulls, each[0].pulls + each[1].pulls, atol=1e-5)


@pytest.mark.parametrize("normal", [None, 2])
def test_a_step_is_the_least_of_errors_and_bending(normal: int | None) -> None:
    """The step against a dense solution with the Laplacian of mirrored borders."""
    shape = (4, 3, 4)
    half = draw(4, *shape, 3, 3)
    full = np.einsum("...ij,...kj->...ik", half, half) + 0.5 * np.eye(3)
    squares = full[..., np.triu_indices(3)[0], np.triu_indices(3)[1]].astype(np.float32)
    present, pulls = draw(6, *shape, 3), draw(7, *shape, 3)
    found = solve(Normals(squares, pulls), present, 0.7, normal)
    count = int(np.prod(shape))
    laplace = np.zeros((3, count, count))
    for k in range(count):
        one = np.zeros(count)
        one[k] = 1
        volume = np.pad(one.reshape(shape), 1, mode="edge")
        for a in range(3):
            inner = tuple(slice(None) if b == a else slice(1, -1) for b in range(3))
            laplace[a, :, k] = np.diff(volume, 2, axis=a)[inner].ravel()
    energy = np.zeros((3 * count, 3 * count))
    for component in range(3):
        is_loose = normal is not None and component != normal
        whole = sum(laplace[a] * (LOOSE if is_loose and a == normal else 1) for a in range(3))
        energy[component::3, component::3] = 0.7 * whole.T @ whole
    matrix = energy.copy()
    for k, block in enumerate(full.reshape(count, 3, 3)):
        matrix[3 * k : 3 * k + 3, 3 * k : 3 * k + 3] += block
    wanted = np.linalg.solve(matrix, pulls.ravel() - energy @ present.ravel())
    assert np.abs(found.ravel() - wanted).max() < 0.05 * np.abs(wanted).max()


def test_bending_is_nothing_for_a_shift() -> None:
    energy = bending((4, 5, 6), 3.0)
    assert energy[0, 0, 0] == 0
    assert energy.ravel()[1:].min() > 0


@given(strategies.integers(0, 2**16))
def test_painting_finds_the_greys_that_were_painted(seed: int) -> None:
    structures = structures_of(
        np.random.default_rng(seed).integers(0, 5, SHAPE).astype(np.uint32), [UM] * 3, UM, SHAPE
    )
    source = Paintable.of(draw(seed, *SHAPE), structures)
    levels = np.random.default_rng(seed).uniform(10, 200, structures.shares.shape[1])
    target = levels[structures.index].astype(np.float32) + 7 * source.grey
    found = regress(source, target, np.ones(SHAPE, np.float32), np.zeros((*SHAPE, 3), np.float32), 1)
    assert np.allclose(found[:, 0], levels, atol=0.2)
    assert np.allclose(found[:, 4], 7, atol=0.05)
    assert np.allclose(found[:, 1:4], 0, atol=0.3)
    assert np.abs(painted(source, found) - target).max() < 1.5


def test_painting_finds_a_slow_trend_and_reads_displaced_places() -> None:
    labels = np.full(SHAPE, 9, np.uint32)
    source = Paintable.of(draw(2, *SHAPE), structures_of(labels, [UM] * 3, UM, SHAPE))
    target = np.broadcast_to(100 + 3 * np.arange(SHAPE[0], dtype=np.float32)[:, None, None], SHAPE).copy()
    field = np.zeros((*SHAPE, 3), np.float32)
    field[..., 0] = 2.0
    seen = painted(source, regress(source, target, np.ones(SHAPE, np.float32), field, 1))
    inner = (slice(6, -6), slice(6, -6), slice(6, -6))
    assert np.abs(moved(seen, field) - target)[inner].max() < 3.0


def test_structures_have_shares_by_finer_labels() -> None:
    labels = np.zeros((8, 8, 8), np.uint32)
    labels[3:] = 4  # by voxels of 50 um: the voxel of 100 um at 100 um covers planes 1 to 3
    found = structures_of(labels, [50.0] * 3, 100.0, (4, 4, 4))
    shares = found.shares.toarray().reshape(4, 4, 4, 2)
    assert np.allclose(shares.sum(axis=-1), 1)
    assert shares[0, 0, 0].tolist() == [1, 0]
    assert shares[3, 0, 0].tolist() == [0, 1]
    assert found.index[:, 0, 0].tolist() == [0, 0, 1, 1]


def test_moved_images_are_linear_between_voxels_and_end_as_on_their_faces() -> None:
    image = draw(1, 7, 7, 7)
    field = draw(2, 5, 6, 8, 3)
    at = np.stack(np.meshgrid(*map(np.arange, (5, 6, 8)), indexing="ij")) + np.moveaxis(field, -1, 0)
    wanted = ndimage.map_coordinates(image, at, order=1, mode="nearest")
    assert np.allclose(moved(image, field), wanted, atol=1e-5)
    assert np.allclose(moved(np.stack([image, 2 * image], axis=-1), field)[..., 1], 2 * wanted, atol=1e-5)


@given(strategies.integers(1, 9), strategies.integers(2, 4))
def test_expanded_keeps_what_is_linear(nodes: int, ratio: int) -> None:
    values = np.zeros((nodes, nodes, nodes, 3), np.float32)
    values[..., 1] = np.arange(nodes)[:, None, None] * ratio
    count = (nodes - 1) * ratio + 1
    out = expanded(values, (count, count, count), ratio)
    assert np.allclose(out[..., 1], np.arange(count)[:, None, None], atol=1e-5)
    assert np.array_equal(out[::ratio, ::ratio, ::ratio], values)


def test_halved_voxels_lie_at_every_second_one() -> None:
    ramp = np.broadcast_to(np.arange(9, dtype=np.float32)[:, None, None], (9, 8, 7)).copy()
    out = halved(ramp)
    assert out.shape == (5, 4, 4)
    assert out[1:4, 0, 0].tolist() == [2, 4, 6]


def test_an_affine_step_finds_a_small_linear_map() -> None:
    blob = ndimage.gaussian_filter(draw(5, *SHAPE), 3.0)
    blob /= blob.std()
    true = np.column_stack(
        [np.eye(3) + 0.01 * np.random.default_rng(1).uniform(-1, 1, (3, 3)), [30.0, -40.0, 20.0]]
    )
    target = moved(blob, from_affine(true, SHAPE, UM).vectors / np.float32(UM))
    found = np.eye(3, 4)
    for _ in range(6):
        field = from_affine(found, SHAPE, UM).vectors / np.float32(UM)
        weight = inside(field, SHAPE, 1.0).astype(np.float32)
        found = affine_step(found, [evidence((target, moved(blob, field)), weight, 6.0)], UM)
    corners = np.array([[0, 0, 0, 1], [4000, 3000, 3500, 1], [4000, 0, 3500, 1]])
    assert np.abs(corners @ (found - true).T).max() < 10.0


def test_an_affine_map_stays_where_nothing_that_varies_is_seen() -> None:
    flat, matrix = np.zeros((8, 8, 8), np.float32), np.eye(3, 4) + 0.1
    fact = evidence((flat, flat), np.ones((8, 8, 8), np.float32), 2.0)
    assert np.array_equal(affine_step(matrix, [fact], UM), matrix)


def test_evidence_counts_residuals_in_units_of_their_noise() -> None:
    target, source = draw(1, 20, 20, 20), np.zeros((20, 20, 20), np.float32)
    weight = np.ones((20, 20, 20), np.float32)
    found, louder = (evidence((k * target, source), weight, 4.0) for k in (1, 50))
    assert np.allclose(found.residual, louder.residual, atol=1e-4)
    assert 0.8 < found.residual.std() < 1.1
    assert np.abs(found.residual).max() <= 3.0


def test_a_displacement_leaves_the_box_where_it_does() -> None:
    found = inside(shift(6, 2, 1.5), (6, 6, 6), 0.0)
    assert found[0, 0].tolist() == [True, True, True, True, False, False]
    assert not inside(shift(6, 2, 1.5), (6, 6, 6), 2.0)[:, :, 0].any()


def test_there_are_24_rotations_and_24_reflections() -> None:
    turns = list(right_angled())
    assert len({turn.tobytes() for turn in turns}) == 48
    assert sum(np.linalg.det(turn) > 0 for turn in turns) == 24


@given(strategies.floats(1, 170), strategies.integers(0, 99))
def test_the_angle_of_a_scaled_rotation(angle: float, seed: int) -> None:
    axis = np.random.default_rng(seed).normal(size=3)
    axis /= np.linalg.norm(axis)
    skew = np.cross(np.eye(3), axis)
    turn = np.eye(3) - np.sin(np.deg2rad(angle)) * skew + (1 - np.cos(np.deg2rad(angle))) * skew @ skew
    assert abs(rotation_deg(np.column_stack([1.3 * turn, np.zeros(3)])) - angle) < 1e-3


def test_the_best_start_is_the_turn_that_was_made_and_none_where_it_lies_well() -> None:
    grey, _ = bent(None, greys(1))
    own = working_brain(Volume(grey, (UM,) * 3, Path("a")), UM)
    assert np.array_equal(best_start(own, own)[:, :3], np.eye(3))
    turned = np.ascontiguousarray(grey[::-1, :, ::-1])
    other = working_brain(Volume(turned, (UM,) * 3, Path("b")), UM)
    start = best_start(own, other)
    assert np.array_equal(start[:, :3], np.diag([-1.0, 1.0, -1.0]))
    assert overlap_after(own.mask, other.mask, start, UM) > 0.95


def test_overlap_counts_tissue_beyond_the_box() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[5:15, 5:15, 5:15] = True
    assert overlap_after(mask, mask, np.eye(3, 4), UM) == pytest.approx(1.0)
    beside = np.column_stack([np.eye(3), [500.0, 0.0, 0.0]])
    assert overlap_after(mask, mask, beside, UM) == pytest.approx(0.5)
    assert overlap_after(mask, mask, np.column_stack([np.eye(3), [1e5, 0, 0]]), UM) == 0


@pytest.mark.parametrize("spacing", [(25.0, 25.0, 25.0), (50.0, 30.0, 100.0), (120.0, 100.0, 90.0)])
def test_working_voxels_lie_where_they_lay(spacing: tuple[float, float, float]) -> None:
    shape = tuple(int(4000 / um) for um in spacing)
    axes = [np.arange(n) * um for n, um in zip(shape, spacing, strict=True)]
    ramp = axes[0][:, None, None] + 2 * axes[1][:, None] + 3 * axes[2]
    found = on_grid(Volume(ramp.astype(np.float32), spacing, Path("a")), 100.0)
    assert found.shape == (40, 40, 40)
    at = np.arange(40) * 100.0
    wanted = at[:, None, None] + 2 * at[:, None] + 3 * at
    assert np.abs(found - wanted)[3:-3, 3:-3, 3:-3].max() < 2.0


def test_block_means_are_means() -> None:
    values = draw(1, 7, 6, 9)
    wanted = values[:6, :6, :9].reshape(3, 2, 2, 3, 3, 3).mean(axis=(1, 3, 5))
    assert np.allclose(block_means(values, (2, 3, 3)), wanted, atol=1e-5)


def test_the_working_voxel_is_that_of_the_largest_brain() -> None:
    mouse, rat = (Volume(np.zeros((2, 2, 2)), (um,) * 3, Path("a")) for um in (5500.0, 9000.0))
    fine = Volume(np.zeros((8, 8, 8)), (20.0,) * 3, Path("a"))
    assert working_um([fine]) == 40.0
    small = [Volume(np.zeros((1320, 800, 1140), np.uint8), (10.0,) * 3, Path("a"))]
    assert working_um(small) == 100.0
    assert working_um([mouse, rat]) == 9000.0


def test_a_brain_without_tissue_is_refused() -> None:
    with pytest.raises(DataError, match="expected tissue that differs from its surroundings"):
        working_brain(Volume(np.ones((20, 20, 20), np.float32), (UM,) * 3, Path("a")), UM)


def test_a_grey_cue_shows_the_source_where_it_is_moved_to() -> None:
    image = ndimage.gaussian_filter(draw(3, 20, 20, 20), 2.0)
    target, source = GreyCue(image, image).at(2, 0.6).seen(shift(10, 1, 0.0))
    assert target.shape == (10, 10, 10)
    assert np.allclose(target, source, atol=1e-5)
    assert WorkingBrain(image, image > 0, UM).spacing_um == UM
