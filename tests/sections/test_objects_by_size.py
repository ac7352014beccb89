"""Small objects and holes, against labelling."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skimage.measure import label

from pipeline.sections.objects_by_size import RUN_STRIDE, drop_small


def without_small(mask: np.ndarray, value: int, least: int) -> np.ndarray:  # type: ignore[type-arg]
    labels = label(mask == value, connectivity=2 if value else 1)
    small = np.bincount(labels.ravel()) < least
    small[0] = False
    return np.where(small[labels], 1 - value, mask)


@settings(max_examples=120, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 40) | st.integers(RUN_STRIDE - 2, 2 * RUN_STRIDE + 3),
    st.floats(0, 1),
    st.integers(0, 12),
    st.integers(0, 12),
    st.integers(0, 2**31),
)
@example(1, 1, 1.0, 2, 2, 0)
@example(3, 3, 0.0, 4, 10, 0)
@example(20, 2 * RUN_STRIDE + 1, 0.02, 2, 5, 0)
@example(40, 40, 0.55, 5, 7, 0)
def test_small_objects_go_then_small_holes_are_filled(
    height: int, width: int, share: float, least_object: int, least_hole: int, seed: int
) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    expected = without_small(without_small(mask, 1, least_object), 0, least_hole)
    drop_small(mask, least_object, least_hole)
    np.testing.assert_array_equal(mask, expected)
