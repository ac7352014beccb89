"""Bends of free sections: what is a section's own is found, what runs on along the series is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from pipeline.atlas_building.reconstruction.comparisons import Nodes
from pipeline.atlas_building.reconstruction.free_sections import FreeSections, draw_level
from pipeline.atlas_building.reconstruction.joint_field import Evidence
from pipeline.atlas_building.reconstruction.own_bends import BLUR_UM, own_bends, own_part, softened
from pipeline.sections.thumbnail_tissue import TissueImage

UM, SIZE, COUNT, BENT = 50.0, 120, 14, 7
WAVE_UM, WAVES = 60.0, 2 * np.pi / SIZE
NOMINAL = np.array([[UM, 0, -UM * SIZE / 2], [0, UM, -UM * SIZE / 2]])
POSES = np.stack([np.eye(2, 3)] * COUNT)


def series(*, bent_um: float, drift_um: float = 0.0) -> FreeSections:
    """Return sections of a textured cylinder: one bent downwards by a wave, all sliding along rows."""
    draw = np.random.default_rng(4).normal(size=(COUNT, SIZE, SIZE))
    texture = ndimage.gaussian_filter(draw, (2.0, 4.0, 4.0))
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    inside = np.hypot(y - SIZE / 2, x - SIZE / 2) < 0.42 * SIZE
    volume = ndimage.gaussian_filter(inside * (0.3 + 0.08 * texture / texture.std()), (0, 1, 1))
    tissues = []
    for k in range(COUNT):
        down = bent_um * np.sin(WAVES * x) * (k == BENT) + drift_um * k
        at = np.stack([np.full(x.shape, float(k)), y - down / UM, x])
        stain = ndimage.map_coordinates(volume, at, order=1, mode="nearest").astype(np.float32)
        tissues.append(TissueImage(stain, stain > 0.1, np.ones(stain.shape, bool), UM))
    return FreeSections(tuple(tissues), np.stack([NOMINAL] * COUNT), 50.0 * np.arange(COUNT), False, True)


def inner(bends: np.ndarray, nodes: Nodes, first_um: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return bends along rows at the nodes in tissue, (n, nodes), and the column of each, px."""
    place = nodes.places_um() + first_um[::-1]
    there = np.hypot(*np.moveaxis(place, -1, 0)) < 0.36 * SIZE * UM
    return bends[:, there, 0], place[there][:, 1] / UM + SIZE / 2


def test_a_bend_of_one_section_is_found() -> None:
    found, columns = inner(*own_bends(series(bent_um=WAVE_UM), POSES))
    wanted = WAVE_UM * np.sin(WAVES * columns)
    assert np.abs(found[BENT] - wanted).mean() < 0.55 * np.abs(wanted).mean()  # a fifth counts as slow
    assert np.corrcoef(found[BENT], wanted)[0, 1] > 0.9
    others = np.delete(found, BENT, axis=0)
    assert np.abs(others).mean() < 0.1 * np.abs(found[BENT]).mean()


def test_whole_sections_and_what_runs_on_stay() -> None:
    """Tissue that slides by 8 um from section to section, 104 um in all, is the brain's shape."""
    for drift_um in (0.0, 8.0):
        found, _ = inner(*own_bends(series(bent_um=0.0, drift_um=drift_um), POSES))
        assert np.abs(found[3:-3]).mean() < 1.0, drift_um


def test_a_bend_makes_the_section_like_its_neighbours() -> None:
    sections = series(bent_um=WAVE_UM)
    bends, _, _ = own_bends(sections, POSES)
    before, after = (draw_level(sections, POSES, BLUR_UM, b).image for b in (None, bends))
    apart = [np.abs(v[BENT] - 0.5 * (v[BENT - 1] + v[BENT + 1])).mean() for v in (before, after)]
    assert apart[1] < 0.6 * apart[0]


def test_the_own_part_has_no_slow_one() -> None:
    slow = np.sin(np.arange(60) / 20.0)[:, None, None, None] * np.ones((1, 2, 2, 2))
    assert np.abs(own_part(slow)[8:-8]).max() < 0.02
    single = np.zeros((60, 2, 2, 2))
    single[30] = 1.0
    assert own_part(single)[30].min() > 0.75


def test_softened_evidence_is_the_inverse_of_both_covariances() -> None:
    draw = np.random.default_rng(6)
    root = draw.normal(size=(3, 2, 2, 2, 2))
    weight = root @ np.swapaxes(root, -1, -2) + 0.1 * np.eye(2)
    seen = draw.normal(size=(3, 2, 2, 2))
    pull = np.einsum("mrcij,mrcj->mrci", weight, seen)
    none, pairs = np.zeros((4, 2, 2, 2, 2)), np.array([[0, 1], [1, 2], [2, 3]])
    spread = np.array([0.0, 1.0, 3.0])
    found = softened(Evidence(none, none[..., 0], pairs, weight, pull), spread)
    wanted = np.linalg.inv(np.linalg.inv(weight) + (spread**2)[:, None, None, None, None] * np.eye(2))
    assert found.pair == pytest.approx(wanted)
    assert found.pair_pull == pytest.approx(np.einsum("mrcij,mrcj->mrci", wanted, seen))
    nothing = softened(Evidence(none, none[..., 0], pairs, 0 * weight, 0 * pull), spread)
    assert np.isfinite(nothing.pair_pull).all()
    assert not nothing.pair.any()
