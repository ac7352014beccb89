"""Planes between plates: what ends between two of them, and uneven rasters."""

from __future__ import annotations

import numpy as np

from pipeline.atlas_building.plates.between import LabelStack
from pipeline.atlas_building.plates.label_blend import labels_between
from pipeline.atlas_building.plates.label_distances import near_labels

LINEAGES = [(0,), (997, 8), (997, 7)]
EVERY = 4


def leaning_cone(p: float) -> np.ndarray:
    """A cone of 2 inside a slab of 1: it leans by a pixel a plane and ends at plane 10."""
    i, j = np.indices((60, 80)).astype(float)
    cone = (i - 30) ** 2 + (j - 30 - p) ** 2 < max(0.0, 1.2 * (10.3 - p)) ** 2
    return np.where(cone, 2, np.where(np.abs(i - 30) < 24, 1, 0)).astype(np.uint16)


def middle(plane: np.ndarray) -> np.ndarray:
    return np.array(np.nonzero(plane == 2)).mean(axis=1)


def test_what_ends_goes_on_as_it_came():
    stack = LabelStack(np.stack([leaning_cone(p) for p in range(0, 17, EVERY)]), LINEAGES)
    plane = stack.between(2, [1 / EVERY])[0]
    assert (plane == 2).any()
    np.testing.assert_allclose(middle(plane), middle(leaning_cone(9)), atol=0.75)


def test_what_starts_comes_as_it_goes_on():
    stack = LabelStack(np.stack([leaning_cone(p) for p in range(0, 17, EVERY)][::-1]), LINEAGES)
    plane = stack.between(1, [1 - 1 / EVERY])[0]
    assert (plane == 2).any()
    np.testing.assert_allclose(middle(plane), middle(leaning_cone(9)), atol=0.75)


def test_a_border_on_an_uneven_raster_is_drawn_where_its_pixels_lie():
    """A border half way between two columns: the even one lies before it, the odd one beyond."""
    plates = []
    for column in (20, 21, 22, 23):
        plate = np.ones((24, 48), np.int32)
        plate[:, column:] = 2
        plates.append(near_labels(plate))
    flows = [np.zeros((24, 48, 2), np.float32)] * 3
    for flow in flows:
        flow[..., 1] = 1
    even = labels_between(plates, flows, 0.5, np.zeros(2))
    share = [(labels_between(plates, flows, t, np.array([0.0, 0.2])) == 2)[12].sum() for t in (0.4, 0.6)]
    assert (even == 2)[12].sum() in (26, 27)
    assert share[0] >= share[1]
