from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sections.objects_labelled import connected_objects


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.sampled_from([4, 8]))
def test_objects_against_opencv(height: int, width: int, share: float, connectivity: int) -> None:
    mask = (np.random.default_rng(height * 41 + width).random((height, width)) < share).astype(np.uint8)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=connectivity)
    got_labels, got_boxes = connected_objects(mask, connectivity)
    np.testing.assert_array_equal(got_labels, labels)
    np.testing.assert_array_equal(got_boxes[1:], boxes[1:])
    assert (got_boxes[0] == 0).all()
