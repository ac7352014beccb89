"""Outlines: where the boundary is, whatever the codes, closed at the rim of the image."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pipeline.report.coarse_atlas import FIRST, OUTSIDE, UNNAMED
from pipeline.report.outlines import mask_path, outlines


def rings(path: str) -> list[np.ndarray]:  # type: ignore[type-arg]
    """Return the corners of an outline's rings in picture coordinates, (n, 2) each."""
    found = []
    for ring in path.split("z")[:-1]:
        steps = np.array([[int(v) for v in step.split()] for step in re.split("[Ml]", ring)[1:]])
        found.append(steps.cumsum(axis=0) / 10)
    return found


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:  # type: ignore[type-arg]
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(x - centre[0], y - centre[1]) < radius


@pytest.mark.parametrize(("radius", "sigma"), [(40.0, 0.7), (12.0, 0.7), (30.0, 2.0)])
def test_the_outline_of_a_disc_is_its_circle(radius: float, sigma: float) -> None:
    (ring,) = rings(mask_path(disc((120, 160), (70.0, 50.0), radius), sigma))
    distance = np.hypot(ring[:, 0] - 70.5, ring[:, 1] - 50.5)
    np.testing.assert_allclose(distance, radius, atol=0.9)


def test_every_code_has_its_outline_and_the_brain_one_of_its_own() -> None:
    codes = np.zeros((100, 100), np.uint8)
    codes[disc((100, 100), (50, 50), 40)] = UNNAMED
    codes[disc((100, 100), (40, 50), 12)] = FIRST
    codes[disc((100, 100), (65, 50), 8)] = FIRST + 3
    found = {o.code: rings(o.path) for o in outlines(codes)}
    assert list(found) == [OUTSIDE, FIRST, FIRST + 3]
    middle = (found[FIRST + 3][0].min(axis=0) + found[FIRST + 3][0].max(axis=0)) / 2
    np.testing.assert_allclose(middle, [65.5, 50.5], atol=0.3)


def test_neighbours_share_their_boundary() -> None:
    codes = np.full((60, 80), FIRST, np.uint8)
    codes[:, 40:] = FIRST + 1
    left, right = (rings(o.path)[0] for o in outlines(codes)[1:])
    assert left[:, 0].max() == pytest.approx(40.0, abs=0.05)
    assert right[:, 0].min() == pytest.approx(40.0, abs=0.05)


def test_what_runs_out_of_the_image_is_closed_at_its_rim() -> None:
    mask = np.zeros((30, 50), bool)
    mask[:10] = True
    (ring,) = rings(mask_path(mask))
    assert ring[:, 0].min() <= 0.2
    assert ring[:, 0].max() >= 49.8
    assert ring[:, 1].max() == pytest.approx(10.0, abs=0.1)


def test_specks_and_nothing_give_nothing() -> None:
    speck = np.zeros((20, 20), bool)
    speck[5, 5] = True
    assert mask_path(speck) == ""
    assert mask_path(np.zeros((20, 20), bool)) == ""
    assert outlines(np.zeros((20, 20), np.uint8)) == ()
