"""The stain table: sums against a plain loop, borrowing through the ontology, gains."""

import numpy as np
import pytest

from pipeline.registration.model.painted_atlas import Atlas
from pipeline.registration.model.stain_table import (
    explained,
    first_gains,
    fit_stain,
    gain_sums,
    label_sums,
    regularised,
)
from pipeline.registration.model.state import LevelImage, TransformState


def test_label_sums_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (9, 11)).astype(np.uint16)
    values, weights = (rng.uniform(0, 1, (9, 11)).astype(np.float32) for _ in range(2))
    weights[weights < 0.2] = 0
    table = np.array([0.0, 0.3, 0.6, 0.9], np.float32)
    sums = label_sums(labels, values, weights, 1.3, table, 0.25)
    expected = np.zeros((4, 2))
    top = bottom = 0.0
    for y in range(9):
        for x in range(11):
            label, value = labels[y, x], values[y, x] / 1.3
            weight = weights[y, x] / (1 + ((value - table[label]) / 0.25) ** 2) ** 2
            expected[label] += weight * value, weight
            top += weight * values[y, x] * table[label]
            bottom += weight * table[label] ** 2
    assert sums == pytest.approx(expected, rel=1e-5)
    assert gain_sums(labels, values, weights, 1.3, table, 0.25) == pytest.approx((top, bottom), rel=1e-5)


def test_a_label_of_few_pixels_borrows_from_the_structure_above() -> None:
    parent = np.array([-1, 3, 3, -1])  # outside, two labels, their parent without voxels
    sums = np.array([[9.0, 50.0], [40.0, 50.0], [0.002, 0.001]])
    table = regularised(sums, parent)
    assert table[0] == 0.0
    assert table[1] == pytest.approx(0.8, abs=0.01)
    assert table[2] == pytest.approx(0.8, abs=0.02)  # its own two pixels say 2.0
    assert regularised(np.zeros((3, 2)), parent).tolist() == [0.0, 0.0, 0.0]


@pytest.fixture
def stripes() -> tuple[Atlas, TransformState]:
    index = np.zeros((10, 40, 40), np.uint16)
    index[:, 5:35, 5:35] = 1
    index[:, 5:35, 20:35] = 2
    atlas = Atlas(index, 50.0, np.array([0, 7, 8]), np.array([-1, -1, -1]), "coronal", (-np.inf, np.inf))
    volume = np.array([[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    sections = np.repeat(np.array([[[50.0, 0, 0], [0, 50.0, 0]]]), 3, axis=0)
    return atlas, TransformState(sections, np.array([100.0, 200.0, 300.0]), volume)


def test_table_and_gains_of_sections_stained_unlike(stripes: tuple[Atlas, TransformState]) -> None:
    atlas, state = stripes
    truth = np.array([0.0, 0.2, 0.5], np.float32)
    weights = np.full((40, 40), 0.0025, np.float32)
    images = [
        LevelImage((g * truth[atlas.index[2]]).astype(np.float32), weights, np.eye(2, 3), 50.0)
        for g in (0.5, 1.0, 1.6)
    ]
    assert first_gains(images) == pytest.approx([0.5, 1.0, 1.6], rel=0.02)
    model = fit_stain(atlas, state, images, None, 1)
    assert model.gains == pytest.approx([0.5, 1.0, 1.6], rel=0.02)
    assert model.table(0) == pytest.approx(truth, abs=0.03)
    assert explained(atlas, state, images, 1) > 0.95
    wrong = state.replaced(state.sections[:, ::-1])  # turned: the stripes lie across
    assert explained(atlas, wrong, images, 1) < 0.5
