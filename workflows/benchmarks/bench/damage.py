"""Shapes of missing tissue: holes, torn parts, and debris on the glass.

Maps are (H, W); `x` and `y` are the places of the pixels, um.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.core.model import Bool, Float32

DEBRIS_PER_MM2, DEBRIS_UM = 0.5, 40.0  # radius


def hole(x: np.ndarray, y: np.ndarray, tissue: Bool, radius_um: float, rng: np.random.Generator) -> Bool:
    """Return a round or an irregular hole, nine tenths of it in tissue where such a place is found."""
    rows, columns = np.nonzero(tissue)
    rough = 0.15 * rng.integers(0, 2)
    waves = [(k, rough * rng.normal() / k, rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5)]
    best, most = np.zeros_like(tissue), -1.0
    for _ in range(40):
        at = rng.integers(len(rows))
        dx, dy = x - x[0, columns[at]], y - y[rows[at], 0]
        angle = np.arctan2(dy, dx)
        radius = radius_um * (1 + sum(a * np.cos(k * angle + p) for k, a, p in waves))
        hole = dx**2 + dy**2 < radius**2
        share = float(tissue[hole].mean())
        if share > most:
            best, most = hole, share
        if share > 0.9:
            break
    return best


def torn(x: np.ndarray, y: np.ndarray, tissue: Bool, kind: str, rng: np.random.Generator) -> Bool:
    """Return a quadrant, a half, or a corner of a seventh of the tissue, torn along wavy lines."""

    def wave(t: np.ndarray) -> np.ndarray:
        return 60.0 * np.sin(2 * np.pi * (t / rng.uniform(500, 1500) + rng.uniform()))

    side, end = rng.choice([-1, 1], 2)
    across = side * (x - float(np.median(x[tissue])) + wave(y))
    along = end * (y - float(np.median(y[tissue])) + wave(x))
    if kind == "half":
        return np.asarray(across > 0)
    if kind == "quadrant":
        return np.asarray((across > 0) & (along > 0))
    slope = across + along
    return np.asarray(slope > np.percentile(slope[tissue], 100 * 6 / 7))


def debris(soft: Float32, um: float, rng: np.random.Generator) -> Float32:
    """Return how much of the tissue is left as debris, 0-1."""
    rows, columns = np.nonzero(soft > 0.9)
    left = np.zeros_like(soft)
    for _ in range(rng.poisson(DEBRIS_PER_MM2 * len(rows) * (um / 1000) ** 2)):
        at = rng.integers(len(rows))
        place = (int(columns[at]), int(rows[at]))
        cv2.circle(left, place, max(1, round(DEBRIS_UM * rng.uniform(0.5, 1.5) / um)), 1.0, -1)
    return left
