"""Rounded outlines: no gaps, no overlaps, junctions where they were, pixel centres in their labels."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from service.plates.filling import fill

from pipeline.core.reference_space import ReferenceSpace
from pipeline.service.plates.atlases import plate_labels, plates_of
from pipeline.service.plates.cracks import Rings, cut
from pipeline.service.plates.smooth import MOST_PX, smooth

Image = np.ndarray[Any, Any]
IMAGES = arrays.arrays(np.uint32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3))
FULL = arrays.arrays(np.uint32, st.tuples(st.integers(3, 8), st.integers(3, 8)), elements=st.integers(1, 3))


def disc(radius: float, size: int = 60) -> Image:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return (x**2 + y**2 <= radius**2).astype(np.uint32)


def area(rings: Rings) -> float:
    areas = []
    for number in range(len(rings.labels)):
        x, y = rings.ring(number).T
        areas.append(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    return float(sum(areas)) / 2


def junctions(labels: Image) -> dict[tuple[int, int], set[int]]:
    """Return the corners at which other than two sides of pixels are boundaries, and the labels there."""
    framed = np.pad(labels, 1)
    found = {}
    for y in range(labels.shape[0] + 1):
        for x in range(labels.shape[1] + 1):
            a, b, c, d = framed[y, x], framed[y, x + 1], framed[y + 1, x + 1], framed[y + 1, x]
            sides = sum(int(one != other) for one, other in pairwise((a, b, c, d, a)))
            if sides > 2:
                found[x, y] = {int(v) for v in (a, b, c, d)} - {0}
    return found


@given(IMAGES)
@settings(deadline=None, max_examples=200)
def test_every_pixel_centre_stays_in_its_label(labels: Image) -> None:
    assert np.array_equal(fill(smooth(cut(labels)), labels.shape), labels)


@given(FULL)
@settings(deadline=None, max_examples=100)
def test_no_gap_and_no_overlap(labels: Image) -> None:
    """Five times finer, every point off the rim lies in one part only: `fill` refuses two."""
    finer = fill(smooth(cut(labels)).moved(5.0), (5 * labels.shape[0], 5 * labels.shape[1]))
    assert (finer[5:-5, 5:-5] > 0).all()


@given(IMAGES)
@settings(deadline=None)
def test_junctions_stay(labels: Image) -> None:
    rings = smooth(cut(labels))
    for (x, y), meeting in junctions(labels).items():
        for label in meeting:
            own = [rings.ring(n) for n in np.flatnonzero(rings.labels == label)]
            assert any((points == (x, y)).all(axis=1).any() for points in own)


@given(IMAGES)
@settings(deadline=None)
def test_neighbours_share_their_boundary(labels: Image) -> None:
    rings, edges = smooth(cut(labels)), Counter[tuple[float, ...]]()
    for number in range(len(rings.labels)):
        points = rings.ring(number)
        assert len(points) >= 3
        edges.update(tuple(edge) for edge in np.hstack([points, np.roll(points, -1, axis=0)]).tolist())
    assert all(count == 1 for count in edges.values())

    height, width = labels.shape
    inner = [
        e
        for e in edges
        if min(e) > MOST_PX and max(e[0], e[2]) < width - MOST_PX and max(e[1], e[3]) < height - MOST_PX
    ]
    assert (0 in labels) or all((e[2], e[3], e[0], e[1]) in edges for e in inner)


def test_a_disc_becomes_round_and_keeps_its_area() -> None:
    for radius in (4.0, 9.5, 22.0):
        labels = disc(radius)
        rings = smooth(cut(labels))
        distance = np.linalg.norm(rings.ring(0) - 30.0, axis=1)
        stairs = np.linalg.norm(cut(labels).corners().ring(0) - 30.0, axis=1)
        assert distance.std() < 0.5 * stairs.std()
        assert area(rings) == pytest.approx(np.pi * radius**2, rel=0.04)


def test_a_slope_becomes_straight() -> None:
    labels = np.tril(np.ones((40, 40), np.uint32), -1)[:, ::-1] + 1
    points = smooth(cut(labels.astype(np.uint32))).points
    inner = points[(points > 3).all(axis=1) & (points < 37).all(axis=1)]
    assert 0 < len(np.unique(inner, axis=0)) <= 4
    assert inner.sum(axis=1) == pytest.approx(40.5, abs=0.05)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_small_islands_stay_visible(rows: int) -> None:
    labels = np.zeros((9, 9), np.uint32)
    labels[2 : 2 + rows, 4] = 6
    assert area(smooth(cut(labels))) >= 0.45 * rows


def test_planes_of_the_phantom(phantom: ReferenceSpace) -> None:
    images = plates_of(phantom, "sagittal", 800.0)
    assert len(images) >= 10
    for image in images:
        labels = plate_labels(phantom, image)
        rings = smooth(cut(labels))
        assert np.array_equal(fill(rings, labels.shape), labels)
        assert len(rings.points) < 0.8 * len(cut(labels).steps)


def test_planes_of_the_annotation(real: ReferenceSpace) -> None:
    for labels in (real.annotation[264], real.annotation[:, :, 180].T):
        image = np.ascontiguousarray(labels)
        assert np.array_equal(fill(smooth(cut(image)), image.shape), image)


def test_nothing_to_smooth() -> None:
    assert len(smooth(cut(np.zeros((3, 3), np.uint32))).labels) == 0
