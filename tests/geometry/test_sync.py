"""Recorded answers of the image-sync service, and the geometry's own properties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import DataError
from pipeline.core.model import Alignment2d, Alignment3d
from pipeline.geometry import affine, sync


def test_recorded_image_to_reference(ish_data: Path) -> None:
    files = sorted((ish_data / "image_sync" / "xy_to_pir").glob("*.json"))
    assert len(files) == 40
    for file in files:
        answer = json.loads(file.read_text())
        number = answer["section_number"]
        series = _series(
            answer["affine_2d"], answer["affine_3d"], number, answer.get("section_thickness", 25.0)
        )
        found = sync.image_to_reference(series, number, [[answer["x"], answer["y"]]])
        np.testing.assert_allclose(found[0], [answer["p"], answer["i"], answer["r"]], rtol=0, atol=1e-9)


def test_recorded_reference_to_image(ish_data: Path) -> None:
    files = sorted((ish_data / "image_sync" / "pir_to_xy").glob("*.json"))
    assert len(files) == 20
    for file in files:
        answer = json.loads(file.read_text())
        backward2d, backward3d = np.array(answer["affine_2d"]), np.array(answer["affine_3d"])
        series = sync.SyncGeometry(
            0,
            25.0,
            Alignment3d(9, affine.invert(backward3d), backward3d),
            (Alignment2d(answer["section_number"], affine.invert(backward2d), backward2d),),
        )
        number, points = sync.reference_to_image(series, [[answer["p"], answer["i"], answer["r"]]])
        assert number[0] == answer["section_number"]
        np.testing.assert_allclose(points[0], [answer["x"], answer["y"]], rtol=0, atol=1e-9)


def _series(tsv, tvr, number: int, thickness: float, space: int = 9) -> sync.SyncGeometry:  # type: ignore[no-untyped-def]
    numbers = [number - 8, number, number + 8]
    alignments = tuple(Alignment2d(n, np.array(tsv)) for n in numbers)
    return sync.SyncGeometry(0, thickness, Alignment3d(space, np.array(tvr)), alignments)


def _example(space: int = 9) -> sync.SyncGeometry:
    tsv = affine.compose(affine.scaling((1.05, 1.05)), affine.rigid2d(7.0, (-300.0, 120.0)))
    tvr = [[0.02, 0.03, -0.99, 13400.0], [0.02, 1.2, 0.03, -2600.0], [1.06, -0.02, 0.016, -1000.0]]
    return _series(tsv, tvr, 70, 25.0, space)


@given(st.floats(-1e4, 2e4), st.floats(-1e4, 2e4))
def test_round_trip_through_the_reference(x: float, y: float) -> None:
    series = _example()
    number, points = sync.reference_to_image(series, sync.image_to_reference(series, 70, [[x, y]]))
    assert number[0] == 70
    np.testing.assert_allclose(points[0], [x, y], atol=1e-6)


def test_outside_the_series_the_last_section_answers() -> None:
    series = _example()
    ends = affine.apply(series.alignment3d.volume_to_reference, [[0.0, 0.0, -9e4], [0.0, 0.0, 9e4]])
    assert sync.reference_to_image(series, ends)[0].tolist() == [62, 78]


def test_spaces_are_joined_by_the_flip() -> None:
    same = sync.image_to_image(_example(9), _example(9), 70, [[100.0, 200.0]])
    np.testing.assert_allclose(same[1], [[100.0, 200.0]], atol=1e-6)
    flipped = sync.image_to_reference(_example(9), 70, [[100.0, 200.0]]) * [1, 1, -1] + [0, 0, 11400]
    expected = sync.reference_to_image(_example(10), flipped)
    found = sync.image_to_image(_example(9), _example(10), 70, [[100.0, 200.0]])
    np.testing.assert_allclose(found[1], expected[1])


def test_unknown_section_names_its_neighbours() -> None:
    with pytest.raises(DataError, match="section 71 has no alignment; nearest: 62, 70, 78"):
        sync.image_to_reference(_example(), 71, [[0.0, 0.0]])
