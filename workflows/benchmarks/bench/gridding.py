"""Sums over fine cells: one pass against what most people write, `np.bincount` of a label a pixel."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bench.timing import Row, duel
from pipeline.core.model import SUM_FIELDS, Bool, UInt8
from pipeline.quantification.cells import accumulate, fine_pitch_px

SHAPE, RESOLUTION_UM = (4000, 5000), 1.049  # 20 MP


def rows(rounds: int) -> list[Row]:
    """Sum a section of 20 MP; both on one thread."""
    rng = np.random.default_rng(1)
    dark = rng.integers(0, 256, SHAPE, dtype=np.uint8)
    expression = np.where(rng.random(SHAPE) < 0.03, np.maximum(dark, 1), 0).astype(np.uint8)
    valid = np.ones(SHAPE, bool)
    valid[:100] = False
    pitch = fine_pitch_px(RESOLUTION_UM)
    ours = accumulate(dark, expression, valid, pitch)
    theirs = binned(dark, expression, valid, pitch)
    same = all(np.array_equal(ours.arrays()[name], theirs[name]) for name in SUM_FIELDS)
    fast: Callable[[], object] = lambda: accumulate(dark, expression, valid, pitch)  # noqa: E731
    slow: Callable[[], object] = lambda: binned(dark, expression, valid, pitch)  # noqa: E731
    a, b, ratio = duel(fast, slow, rounds, time.thread_time)
    agreement = "equal to the last integer" if same else "DIFFERENT"
    return [
        Row("gridding", "gridding sums, 20 MP", "np.bincount", a * 1e3, b * 1e3, ratio, ">= 50", agreement)
    ]


def binned(dark: UInt8, expression: UInt8, valid: Bool, pitch: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return the same sums with a label a pixel."""
    height, width = dark.shape
    rows, columns = -(-height // pitch), -(-width // pitch)
    labels = (np.arange(height)[:, None] // pitch) * columns + np.arange(width)[None, :] // pitch
    inside, expressing = valid, valid & (expression > 0)
    counted = {
        "sum_pixels": inside,
        "sum_expressing_pixels": expressing,
        "sum_expressing_pixel_intensity": np.where(expressing, expression, 0),
        "sum_pixel_intensity": np.where(inside, dark, 0),
    }
    flat = labels.ravel()
    return {
        name: np.bincount(flat, values.ravel(), rows * columns).astype(np.int64).reshape(rows, columns)
        for name, values in counted.items()
    }
