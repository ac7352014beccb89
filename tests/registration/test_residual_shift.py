"""Residual displacement of a fitted section, and the error that its measures let expect."""

import numpy as np
import pytest

from pipeline.core.model import Status
from pipeline.geometry import affine
from pipeline.registration.fit.gauss_newton import (
    AFFINE,
    LENGTH_UM,
    RIGID,
    VOLUME_CENTRE_UM,
    Painting,
    Stage,
    painted_plane,
)
from pipeline.registration.model.painted_atlas import Atlas
from pipeline.registration.model.state import LevelImage, TransformState
from pipeline.registration.quality.error_model import (
    PASS_UM,
    STAINED,
    TERMS,
    estimated_error_um,
    status_of,
    terms,
)
from pipeline.registration.quality.residual_shift import (
    ResidualDisplacement,
    block_displacements,
    block_sums,
    plane_steps,
)

GOOD = {
    "dice": 0.98,
    "boundary_um": 30.0,
    "pose_deviation_um": 80.0,
    "pose_deviation_usual_um": 90.0,
    "local_shift_um": 40.0,
    "uncertainty_um": 60.0,
    "plane_shift_um": 10.0,
    "stain_residual": 1.0,
}


def test_block_sums_are_the_normal_equations_of_every_block() -> None:
    rng = np.random.default_rng(0)
    values, weights, painted = rng.random((3, 17, 23), dtype=np.float32)
    found = block_sums(values, weights, painted, 0.5, 8)
    expected = np.zeros((3, 3, 6))
    for y in range(1, 16):
        for x in range(1, 22):
            g = 0.5 * np.array([painted[y, x + 1] - painted[y, x - 1], painted[y + 1, x] - painted[y - 1, x]])
            r = float(values[y, x] - painted[y, x])
            w = weights[y, x] / (1 + (r / 0.5) ** 2) ** 2
            own = [g[0] * g[0], g[0] * g[1], g[1] * g[1], g[0] * r, g[1] * r]
            expected[y // 8, x // 8] += [*(w * np.array(own)), weights[y, x]]
    assert found == pytest.approx(expected, rel=1e-4)


def _atlas() -> Atlas:
    """A blob of stripes that lean forward and back by turns: no move in the plane mimics another plane."""
    p, i, r = np.meshgrid(np.arange(60), np.arange(50), np.arange(55), indexing="ij")
    inside = ((p - 30) / 25) ** 2 + ((i - 24) / 18) ** 2 + ((r - 27) / 22) ** 2 < 1
    lean = np.where((r // 8) % 2 == 0, 1, -1)
    pattern = ((i + lean * p + r) // 5 % 2).astype(np.uint16)
    index = (inside * (1 + pattern)).astype(np.uint16)
    return Atlas(index, 100.0, np.array([0, 5, 9]), np.array([-1, -1, 1]), "coronal", (-np.inf, np.inf))


POSE = affine.compose(affine.rigid2d(3.0, (700.0, 300.0)), affine.scaling((60.0, 60.0)))
VOLUME = np.array([[0.05, 0.02, -0.98, 5900.0], [0.0, 1.0, 0.03, 0.0], [1.0, 0.0, 0.06, 100.0]])
ASSUMED = TransformState(POSE[None], np.array([2800.0]), VOLUME)
PAINTING = Painting(_atlas(), np.array([[0.0, 0.6, 1.2]], np.float32), np.ones(1))


def _drawn(state: TransformState, stage: Stage) -> LevelImage:
    """Return the picture of a section that lies where `state` has it."""
    empty = LevelImage(
        np.zeros((90, 95), np.float32), np.full((90, 95), 0.0036, np.float32), np.eye(2, 3), 60.0
    )
    return LevelImage(painted_plane(PAINTING, state, 0, empty, stage), empty.weights, np.eye(2, 3), 60.0)


def _displacement(shift_um: tuple[float, float], along_um: float = 0.0) -> ResidualDisplacement:
    """Return the residual displacement of a section that was drawn elsewhere than it is thought to be."""
    stage = Stage(150.0, 100.0, 5.0, RIGID, move_volume=True, noise=0.02)
    moved = affine.compose(affine.rigid2d(0.0, shift_um), POSE)
    image = _drawn(TransformState(moved[None], np.array([2800.0 + along_um]), VOLUME), stage)
    return block_displacements(PAINTING, ASSUMED, [image], stage, 1)[0]


def test_residual_displacement_measures_a_shift_in_the_plane_and_along_the_normal() -> None:
    still, shifted, lifted = (
        _displacement((0.0, 0.0)),
        _displacement((60.0, -30.0)),
        _displacement((0.0, 0.0), 100.0),
    )
    assert still.local_um == pytest.approx(0.0, abs=0.5)
    assert still.plane_um == pytest.approx(0.0, abs=0.5)
    assert shifted.local_um == pytest.approx(np.hypot(60.0, 30.0), rel=0.35)
    assert lifted.plane_um == pytest.approx(100.0, rel=0.4)
    assert 0.0 < still.uncertainty_um < 300.0


def test_a_single_section_shows_how_it_is_stretched_and_its_plane_tilted() -> None:
    stage = Stage(150.0, 100.0, 5.0, AFFINE, move_volume=True, noise=0.02)
    strains, tilts = np.array([0.02, -0.01, 0.01]), np.array([0.03, -0.02])
    stretch = np.array([[1.0 + strains[0], strains[2]], [strains[2], 1.0 + strains[1]]])
    middle = affine.apply(POSE, np.array([47.0, 44.5]))
    stretched = affine.compose(np.column_stack([stretch, middle - stretch @ middle]), POSE)
    step, spread = plane_steps(PAINTING, ASSUMED, 0, _drawn(ASSUMED.replaced(stretched[None]), stage), stage)
    assert step[:3] == pytest.approx(strains * LENGTH_UM, abs=25.0)
    assert step[3:] == pytest.approx(0.0, abs=25.0)
    assert ((spread > 0.0) & (spread < 100.0)).all()
    tilt = np.column_stack([np.eye(3), np.zeros(3)])
    tilt[2] = [*tilts, 1.0, -tilts @ np.array(VOLUME_CENTRE_UM)]
    tilted = ASSUMED.replaced(volume=affine.compose(VOLUME, tilt))
    step, _ = plane_steps(PAINTING, ASSUMED, 0, _drawn(tilted, stage), stage)
    assert step[:3] == pytest.approx(0.0, abs=25.0)
    assert step[3:] == pytest.approx(tilts * LENGTH_UM, abs=25.0)


@pytest.mark.parametrize(
    ("name", "worse"),
    [("local_shift_um", 300.0), ("uncertainty_um", 250.0), ("plane_shift_um", 300.0), ("boundary_um", 400.0),
     ("dice", 0.6), ("stain_residual", 3.0), ("pose_deviation_um", 3000.0)],
)  # fmt: skip
def test_no_measure_that_worsens_lets_a_smaller_error_be_expected(name: str, worse: float) -> None:
    assert len(terms(GOOD)) == len(TERMS) == len(STAINED)
    assert estimated_error_um({**GOOD, name: worse}) >= estimated_error_um(GOOD)


def test_verdicts_are_cautious() -> None:
    good = {**GOOD, "estimated_error_um": estimated_error_um(GOOD)}
    assert status_of(good, 0.6) is Status.PASS
    assert status_of({**good, "estimated_error_um": PASS_UM + 1.0}, 0.6) is Status.CHECK
    assert status_of({**good, "dice": 0.5}, 0.6) is Status.FAIL
    outline = {k: v for k, v in GOOD.items() if k != "stain_residual"}
    bad = {**outline, "dice": 0.7, "boundary_um": 500.0, "local_shift_um": 250.0, "uncertainty_um": 290.0}
    assert estimated_error_um(bad) > 2.0 * estimated_error_um(outline)
