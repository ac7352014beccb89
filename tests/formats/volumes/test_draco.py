"""Surfaces in Draco, held against a reader written by the format's specification."""

from __future__ import annotations

import numpy as np
import pytest
from draco_reader import Reader
from hypothesis import given, strategies

from pipeline.formats.volumes.draco import encode_mesh, varints


@pytest.mark.parametrize("points", [3, 255, 256, 65535, 65536, 70000, 2**21])
def test_surfaces_of_every_size_are_read_back(points: int) -> None:
    draw = np.random.default_rng(points)
    vertices = draw.normal(scale=1e6, size=(points, 3)).astype(np.float32)
    faces = draw.integers(0, points, (200, 3))
    faces[0] = points - 1
    found = Reader(encode_mesh(vertices, faces)).mesh()
    assert np.array_equal(found[0], vertices)
    assert np.array_equal(found[1], faces)


@given(strategies.lists(strategies.integers(0, 2**32 - 1), max_size=20))
def test_numbers_are_read_back(numbers: list[int]) -> None:
    reader = Reader(varints(np.array(numbers, np.int64)))
    assert [reader.varint() for _ in numbers] == numbers
    assert reader.at == len(reader.content)
