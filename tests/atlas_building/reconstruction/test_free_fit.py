"""Free sections: turns by symmetry, leans taken out, bad sections told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from pipeline.atlas_building.reconstruction.free_fit import (
    ARM_UM,
    _pose,
    fit_free,
    initial_poses,
    rigid_step,
    upright,
)
from pipeline.atlas_building.reconstruction.free_sections import FreeSections, draw_level
from pipeline.atlas_building.reconstruction.neighbour_matches import neighbour_matches, without_outliers
from pipeline.geometry import affine
from pipeline.sections.thumbnail_tissue import TissueImage

UM, SIZE, COUNT = 100.0, 90, 12


def picture(turn_deg: float, shift_px: tuple[float, float], k: int) -> np.ndarray:
    """Return a section that mirrors itself, turned clockwise and shifted."""
    y, x = np.meshgrid(*(np.arange(SIZE) - SIZE / 2 for _ in "yx"), indexing="ij")
    a = np.deg2rad(turn_deg)
    dy, dx = y - shift_px[1], x - shift_px[0]
    i, r = np.cos(a) * dy - np.sin(a) * dx, np.sin(a) * dy + np.cos(a) * dx
    tissue = (i / 20) ** 2 + (r / 28) ** 2 + 0.2 * i / 20 < 1
    texture = 1 + 0.3 * np.cos(np.abs(r) / 4) * np.sin(i / 5 + 0.1 * k)
    return ndimage.gaussian_filter(np.where(tissue, 0.3 * texture, 0.0), 0.8).astype(np.float32)


def series(
    *, turns: np.ndarray, shifts: np.ndarray, one_frame: bool = True, is_symmetric: bool = True
) -> FreeSections:
    tissues = []
    for k in range(COUNT):
        stain = picture(turns[k], tuple(shifts[k]), k)
        tissues.append(TissueImage(stain, stain > 0.1, np.ones(stain.shape, bool), UM))
    nominal = np.array([[UM, 0, -UM * SIZE / 2], [0, UM, -UM * SIZE / 2]])
    return FreeSections(
        tuple(tissues), np.stack([nominal] * COUNT), 100.0 * np.arange(COUNT), is_symmetric, one_frame
    )


def placed(sections: FreeSections, poses: np.ndarray, turns: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return where the middle and a point right of it come to lie, (n, 2, 2) um."""
    found = []
    for k in range(COUNT):
        a = np.deg2rad(turns[k])
        middle = np.array(shifts[k]) + SIZE / 2
        right = middle + 20 * np.array([np.cos(a), np.sin(a)])
        found.append(affine.apply(affine.compose(poses[k], sections.nominal[k]), [middle, right]))
    return np.stack(found)


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.uniform(-8, 8, COUNT), rng.uniform(-3, 3, (COUNT, 2))


def test_first_poses_stand_upright_by_symmetry(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    sections = series(turns=drawn[0], shifts=drawn[1])
    at = placed(sections, initial_poses(sections), *drawn)
    assert np.abs(at[:, 0, 0]).max() < 200.0  # the midline
    tilt = np.rad2deg(np.arctan2(at[:, 1, 1] - at[:, 0, 1], at[:, 1, 0] - at[:, 0, 0]))
    assert np.abs(tilt).max() < 3.5  # the turns are tried every 3 degrees


@pytest.mark.parametrize("one_frame", [True, False])
def test_sections_are_placed(drawn: tuple[np.ndarray, np.ndarray], one_frame: bool) -> None:
    sections = series(turns=drawn[0], shifts=drawn[1], one_frame=one_frame)
    poses, measures = fit_free(sections)
    at = placed(sections, poses, *drawn)
    assert np.abs(at[:, 0, 0]).max() < 25.0
    assert np.abs(at[:, 1, 1] - at[:, 0, 1]).max() < 40.0  # of 2000 um: a degree
    assert np.ptp(at[:, 0, 1]) < (250.0 if one_frame else 150.0)
    assert np.abs(np.diff(at[:, 0, 1])).max() < 60.0
    assert measures["last step, um"] < 5.0
    matches = neighbour_matches(sections, poses)
    assert matches.min() > 0.9
    assert without_outliers(matches).all()


def test_a_section_of_something_else_is_told(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    sections = series(turns=drawn[0] * 0, shifts=drawn[1] * 0)
    odd = np.random.default_rng(2).uniform(0, 0.6, (SIZE, SIZE)).astype(np.float32)
    tissues = list(sections.tissues)
    tissues[5] = TissueImage(ndimage.gaussian_filter(odd, 3) * 2, odd > 0, odd >= 0, UM)
    wrong = FreeSections(tuple(tissues), sections.nominal, sections.z_um, True, True)
    poses = np.stack([np.eye(2, 3)] * COUNT)
    good = without_outliers(neighbour_matches(wrong, poses))
    assert not good[5]
    assert good.sum() == COUNT - 1


def test_a_pose_is_changed_as_its_step_says() -> None:
    """The image at x + step comes to x, also for a turn: the solver's step is the one that is applied."""
    turns, shifts = np.zeros(COUNT), np.zeros((COUNT, 2))
    sections = series(turns=turns, shifts=shifts)
    off = np.array([60.0, -80.0, np.deg2rad(2.0) * ARM_UM])
    poses = np.stack(
        [affine.compose(_pose(off if k == 6 else np.zeros(3)), np.eye(2, 3)) for k in range(COUNT)]
    )
    step, _ = rigid_step(sections, poses, draw_level(sections, poses, 300.0), 300.0)
    assert step[6] - (step[4] + step[8]) / 2 == pytest.approx(-off, abs=35.0)


def test_a_lean_is_taken_out(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    sections = series(turns=drawn[0] * 0, shifts=drawn[1] * 0, one_frame=False)
    poses = np.stack([np.eye(2, 3)] * COUNT)
    poses[:, 0, 2] = 0.1 * sections.z_um
    poses[:, 1, 2] = -0.2 * sections.z_um
    found = upright(sections, poses)
    assert np.ptp(found[:, 1, 2]) < 1.0
    assert np.array_equal(found[:, 0, 2], poses[:, 0, 2])  # across the midline symmetry decides
    lopsided = FreeSections(sections.tissues, sections.nominal, sections.z_um, False, False)
    assert np.ptp(upright(lopsided, poses)[:, 0, 2]) < 1.0
