"""Cutting label images: filled again, the rings give every pixel its label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from service.plates.filling import fill

from pipeline.core.errors import DataError
from pipeline.core.reference_space import ReferenceSpace
from pipeline.service.plates.atlases import plate_labels, plates_of
from pipeline.service.plates.cracks import Rings, cut

IMAGES = arrays.arrays(
    np.uint32,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.sampled_from([0, 1, 2, 4_000_000_000]),
)


def area(ring: np.ndarray[Any, Any]) -> float:
    x, y = ring.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


@given(IMAGES)
@settings(deadline=None, max_examples=200)
def test_rings_give_every_pixel_back(labels: np.ndarray[Any, Any]) -> None:
    rings = cut(labels).corners()
    assert np.array_equal(fill(rings, labels.shape), labels)


@given(IMAGES)
@settings(deadline=None)
def test_parts_are_connected_by_sides(labels: np.ndarray[Any, Any]) -> None:
    rings = cut(labels).corners()
    areas = [area(rings.ring(n)) for n in range(len(rings.labels))]
    for label in np.unique(labels[labels > 0]):
        own = np.flatnonzero(rings.labels == label)
        assert len(np.unique(rings.parts[own])) == ndimage.label(labels == label)[1]
    for part in np.unique(rings.parts):
        first, *holes = np.flatnonzero(rings.parts == part)
        assert areas[first] > 0
        assert all(areas[hole] < 0 for hole in holes)
    assert sum(areas) == np.count_nonzero(labels)


@given(IMAGES)
@settings(deadline=None)
def test_no_vertex_lies_on_a_straight_run(labels: np.ndarray[Any, Any]) -> None:
    rings = cut(labels).corners()
    for number in range(len(rings.labels)):
        step = np.diff(rings.ring(number), axis=0, append=rings.ring(number)[:1])
        turned = step[:, 0] * np.roll(step[:, 1], 1) - step[:, 1] * np.roll(step[:, 0], 1)
        assert (turned != 0).all()


def test_touching_corners_stay_apart() -> None:
    rings = cut(np.array([[5, 0], [0, 5]], np.uint32)).corners()
    assert rings.ring(0).tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert rings.ring(1).tolist() == [[1, 1], [2, 1], [2, 2], [1, 2]]


def test_a_hole_follows_its_part() -> None:
    labels = np.full((3, 7), 8, np.uint32)
    labels[1, 1], labels[1, 5] = 0, 9
    rings = cut(labels).corners()
    assert rings.labels.tolist() == [8, 8, 8, 9]
    assert rings.parts.tolist() == [0, 0, 0, 1]
    assert np.array_equal(fill(rings, labels.shape), labels)


@pytest.mark.parametrize("plane", ["coronal", "sagittal", "horizontal"])
def test_every_plane_of_the_phantom(phantom: ReferenceSpace, plane: str, filled: Callable[..., Any]) -> None:
    planes = [plate_labels(phantom, image) for image in plates_of(phantom, plane, 0.0)]
    assert len(planes) > 60
    for labels in planes:
        assert np.array_equal(filled(cut(labels).corners(), labels.shape), labels)


def test_planes_of_the_annotation(real: ReferenceSpace, filled: Callable[..., Any]) -> None:
    for number in range(24, 528, 56):
        labels = np.ascontiguousarray(real.annotation[number])
        assert labels.any()
        assert np.array_equal(filled(cut(labels).corners(), labels.shape), labels)


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (3, 3)])
def test_nothing_to_cut(shape: tuple[int, int]) -> None:
    rings = cut(np.zeros(shape, np.uint32)).corners()
    assert (len(rings.points), len(rings.labels), rings.starts.tolist()) == (0, 0, [0])


def test_only_images_are_cut() -> None:
    with pytest.raises(DataError, match=r"expected an image \(H, W\).*\(2, 2, 2\)"):
        cut(np.zeros((2, 2, 2), np.uint32))


def test_moved() -> None:
    rings = cut(np.array([[3]], np.uint32)).corners()
    moved = rings.moved(2.0, (5.0, -1.0))
    assert isinstance(moved, Rings)
    assert moved.points.tolist() == [[5, -1], [7, -1], [7, 1], [5, 1]]
