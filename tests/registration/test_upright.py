"""Sections that lie upside down among others are turned back, however many they are."""

from dataclasses import replace

import numpy as np
import pytest
from registration.test_align import places, rendered

from pipeline.core.model import Status
from pipeline.core.reference_space import ReferenceSpace
from pipeline.phantom import Scene, phantom_reference, true_alignment
from pipeline.registration import AlignmentOptions, SectionThumbnail, align_series
from pipeline.registration.initial.upright import settle


@pytest.fixture(scope="module")
def reference() -> ReferenceSpace:
    return phantom_reference(100.0)


@pytest.fixture(scope="module")
def coronal(reference: ReferenceSpace) -> tuple[Scene, list[SectionThumbnail]]:
    return rendered(reference, "coronal", 12)


def test_neighbours_settle_what_a_section_alone_gets_wrong() -> None:
    right = np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    chain = np.diag(0.4 * right[1:] * right[:-1], 1)
    field = 0.3 * right
    field[3] = -0.1  # looks better the wrong way round
    assert settle(chain + chain.T, field).tolist() == right.tolist()
    assert settle(chain + chain.T, -field).tolist() == (-right).tolist()
    assert settle(np.zeros((3, 3)), np.array([0.1, -0.1, 0.1])).tolist() == [1.0, -1.0, 1.0]


@pytest.mark.parametrize("every", [2, 4])
def test_sections_turned_in_turn_are_placed(
    every: int, reference: ReferenceSpace, coronal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    """Every other section upside down, or each by another right angle."""
    scene, drawn = coronal
    quarters = [(k % every) * 4 // every for k in range(len(drawn))]
    turned = [
        replace(t, pixels=np.ascontiguousarray(np.rot90(t.pixels, -q)))
        for t, q in zip(drawn, quarters, strict=True)
    ]
    found = align_series(turned, reference, AlignmentOptions())
    truth, away = true_alignment(scene), []
    for t, q in zip(drawn, quarters, strict=True):
        h, w = t.pixels.shape[:2]
        points = np.array([[0.3 * w, 0.4 * h], [0.6 * w, 0.6 * h]])
        x, y = points.T
        there = [(x, y), (h - 1 - y, x), (w - 1 - x, h - 1 - y), (y, w - 1 - x)][q]
        ours = places(found, t.section_number, t.z_um, np.column_stack(there))
        away.append(np.linalg.norm(ours - places(truth, t.section_number, t.z_um, points), axis=1))
    assert np.max(away) < 300.0
    assert sum(s.status is not Status.FAIL for s in found.sections) >= 10
