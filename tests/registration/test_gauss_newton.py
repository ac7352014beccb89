"""Painting, normal equations, the arrow-shaped solution and the steps, against plain versions."""

import numpy as np
import pytest

from pipeline.geometry import affine
from pipeline.registration.fit import gauss_newton as solver
from pipeline.registration.fit.gauss_newton import (
    Painting,
    Prior,
    Stage,
    System,
    VolumePrior,
    moved,
    section_system,
    solve,
)
from pipeline.registration.model.painted_atlas import Atlas, label_plane, paint
from pipeline.registration.model.state import LevelImage, TransformState

VOXEL_UM = 100.0


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    """A smooth blob of two labels."""
    p, i, r = np.meshgrid(np.arange(60), np.arange(50), np.arange(55), indexing="ij")
    inside = ((p - 30) / 25) ** 2 + ((i - 24) / 18) ** 2 + ((r - 27) / 22) ** 2
    index = (inside < 1).astype(np.uint16) + (inside < 0.3).astype(np.uint16)
    ids, parent = np.array([0, 5, 9]), np.array([-1, -1, 1])
    return Atlas(index, VOXEL_UM, ids, parent, "coronal", (-np.inf, np.inf))


@pytest.fixture
def state() -> TransformState:
    pose = affine.compose(affine.rigid2d(3.0, (700.0, 300.0)), affine.scaling((60.0, 60.0)))
    volume = np.array([[0.05, 0.02, -0.98, 5900.0], [0.0, 1.1, 0.03, -200.0], [1.05, 0.0, 0.06, 100.0]])
    return TransformState(np.array([pose]), np.array([2800.0]), volume)


def test_paint_reads_the_nearest_labels_of_every_sample(atlas: Atlas, state: TransformState) -> None:
    table = np.array([0.0, 1.0, 3.0], np.float32)
    matrix = state.plane(0, np.eye(2, 3))
    painted = paint(atlas.index, 1 / VOXEL_UM, table, matrix, (20, 90), 2)
    for y, x in [(0, 0), (7, 31), (19, 60), (12, 89), (3, 44)]:
        values = []
        for dy in (-0.25, 0.25):
            for dx in (-0.25, 0.25):
                voxel = np.floor(matrix @ [x + dx, y + dy, 1.0] / VOXEL_UM + 0.5).astype(int)
                inside = (voxel >= 0).all() and (voxel < atlas.index.shape).all()
                values.append(table[atlas.index[tuple(voxel)] if inside else 0])
        assert painted[y, x] == pytest.approx(np.mean(values))
    one = paint(atlas.index, 1 / VOXEL_UM, table, matrix, (20, 90), 1)
    labels = label_plane(atlas.index, 1 / VOXEL_UM, matrix, (20, 90))
    assert np.array_equal(one, table[labels])


def stage(freedom: int) -> Stage:
    return Stage(sigma_um=200.0, normal_um=100.0, scale=0.7, freedom=freedom, move_volume=True)


def painting(atlas: Atlas, table: np.ndarray, gain: float = 1.0) -> Painting:
    return Painting(atlas, table[None], np.array([gain]))


def level(atlas: Atlas, state: TransformState, table: np.ndarray) -> LevelImage:
    """An image that the atlas painted under a slightly other state."""
    rng = np.random.default_rng(0)
    image = LevelImage(np.zeros((70, 80), np.float32), np.ones((70, 80), np.float32), np.eye(2, 3), 60.0)
    nudged = moved(state, [image], np.array([[90.0, -60.0, 40.0]]), np.zeros(7))
    values = solver.painted_plane(painting(atlas, table), nudged, 0, image, stage(3))
    weights = rng.uniform(0, 1, values.shape).astype(np.float32)
    return LevelImage(values, weights, np.eye(2, 3), 60.0)


@pytest.mark.parametrize("freedom", [3, 6])
def test_gradient_of_the_cost_is_that_of_finite_steps(
    atlas: Atlas, state: TransformState, freedom: int
) -> None:
    """J'Wr is minus half the slope of the robust cost along every parameter."""
    table = np.array([0.0, 1.0, 2.0], np.float32)
    image = level(atlas, state, table)
    system = section_system(painting(atlas, table, 1.1), state, 0, image, stage(freedom))
    right = np.concatenate([system.own_right, system.volume_right])

    def cost(step: np.ndarray) -> float:
        there = moved(state, [image], step[None, :freedom], step[freedom:])
        return section_system(painting(atlas, table, 1.1), there, 0, image, stage(freedom)).cost

    for k in range(freedom + 7):
        step = np.zeros(freedom + 7)
        step[k] = 100.0
        slope = (cost(step) - cost(-step)) / 200.0
        assert right[k] == pytest.approx(-0.5 * slope, rel=0.1, abs=0.08 * np.abs(right).max())


def test_pixels_beyond_the_ends_of_the_reference_do_not_count(atlas: Atlas, state: TransformState) -> None:
    table = np.array([0.0, 1.0, 2.0], np.float32)
    image = level(atlas, state, table)
    whole = section_system(painting(atlas, table, 1.0), state, 0, image, stage(3))
    cut = Atlas(atlas.index, VOXEL_UM, atlas.ids, atlas.parent, "coronal", (3250.0, np.inf))
    part = section_system(painting(cut, table, 1.0), state, 0, image, stage(3))
    along = state.plane(0, image.to_thumbnail)[0]
    y, x = np.mgrid[1:69, 1:79]
    kept = along[0] * x + along[1] * y + along[2] >= 3250.0
    assert part.weight == pytest.approx(image.weights[1:-1, 1:-1][kept].sum(), rel=1e-5)
    assert part.weight < whole.weight


def test_arrow_solution_equals_the_dense_one() -> None:
    rng = np.random.default_rng(1)
    chosen = Stage(100.0, 50.0, 1.0, 3, move_volume=True, noise=1.0, correlation_um=1000.0)
    systems = []
    for _ in range(4):
        j, r = rng.normal(size=(40, 10)), rng.normal(size=40)
        h, b = j.T @ j, j.T @ r
        systems.append(System(h[:3, :3], h[:3, 3:], h[3:, 3:], b[:3], b[3:], 0.0, 1.0))
    prior = Prior(rng.normal(size=(4, 3)), rng.uniform(0.5, 2, (4, 3)))
    whole = VolumePrior(rng.normal(size=7), np.r_[rng.uniform(0.5, 2, 6), np.inf])
    sections, volume = solve(systems, prior, whole, chosen, np.zeros(4))
    dense, right = np.zeros((19, 19)), np.zeros(19)
    dense[12:, 12:] += np.eye(7) / 2000.0**2 + np.diag(1 / whole.spread**2)
    right[12:] += whole.target / whole.spread**2
    for k, s in enumerate(systems):
        own = slice(3 * k, 3 * k + 3)
        dense[own, own] += s.own + np.diag(1 / prior.spread[k] ** 2)
        dense[own, 12:] += s.cross
        dense[12:, own] += s.cross.T
        dense[12:, 12:] += s.volume
        right[own] += s.own_right + prior.target[k] / prior.spread[k] ** 2
        right[12:] += s.volume_right
    expected = np.linalg.solve(dense, right)
    assert sections.ravel() == pytest.approx(expected[:12])
    assert volume == pytest.approx(expected[12:])


def test_steps_move_as_their_names_say(state: TransformState) -> None:
    image = LevelImage(np.zeros((70, 80), np.float32), np.ones((70, 80), np.float32), np.eye(2, 3), 60.0)
    centre = np.array(solver.centre_um(state, 0, image))
    turned = moved(state, [image], np.array([[10.0, 20.0, 30.0]]), np.zeros(7))
    back = affine.invert(state.sections[0])
    there = affine.apply(turned.sections[0], affine.apply(back, centre))
    assert there == pytest.approx(centre + np.array([10.0, 20.0]))
    linear = turned.sections[0][:, :2] @ np.linalg.inv(state.sections[0][:, :2])
    assert linear.T @ linear == pytest.approx(np.eye(2))
    shifted = moved(state, [image], np.zeros((1, 3)), np.array([0, 0, 0, 50.0, 0, 0, 0]))
    assert shifted.volume[:, 3] - state.volume[:, 3] == pytest.approx(50.0 * state.volume[:, 2])
