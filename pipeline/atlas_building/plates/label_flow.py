"""In-plane flow between two neighbouring plates: where each point of one lies in the other.

Structures are coded as random unit vectors of a few channels, so that the squared difference of two blurred
code images stands for the difference of all blurred indicator functions (Johnson and Lindenstrauss, 1984).
The flow is fitted from coarse to fine by symmetric Gauss-Newton steps smoothed by Gaussians, as in demons
registration (Thirion 1998; Vercauteren et al. 2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.core.kernels import kernel
from pipeline.core.model import Float32, Int32

CHANNELS = 12  # of a structure's code
KINSHIP = 0.5  # of the code of a parent, in that of its child
DAMPING = 0.5  # of the squared difference, in the normal equations: bounds a step to about 1 px
LEAST_DAMPING = 1e-4  # where there is neither difference nor gradient
INSIDE = 1.001  # px from the last row or column, so that the next one exists


@dataclass(frozen=True)
class Level:
    """A scale of the fit.

    Attributes
    ----------
    blur_px : float, px
        Sigma of the blur of the codes.
    every : int
        Every n-th row and column of the blurred codes is used.
    step_px, field_px : float
        Sigma of the smoothing of a step and of the whole flow, in pixels of this scale.
    rounds : int
        Steps.
    """

    blur_px: float
    every: int
    step_px: float
    field_px: float
    rounds: int


LEVELS = (
    Level(8.0, 4, 2.0, 1.2, 30),
    Level(4.0, 2, 2.0, 1.0, 25),
    Level(2.0, 1, 2.0, 1.0, 20),
    Level(1.0, 1, 1.5, 0.75, 12),
)


def structure_codes(lineages: Sequence[Sequence[int]], channels: int = CHANNELS) -> Float32:
    """Return a unit vector for every structure, nearer to those of its relatives than to others.

    Parameters
    ----------
    lineages : sequence of sequence of int
        Of every structure its ancestors' ids, the root first, and its own.
    channels : int
        Length of a code.

    Returns
    -------
    (n, channels) float32
        The sum of a random vector of each member of the lineage, halved with each generation, of length 1.
        A structure that takes the place of a relative between two plates so moves the flow less.
    """
    codes = np.zeros((len(lineages), channels))
    for code, lineage in zip(codes, lineages, strict=True):
        for generation, structure in enumerate(reversed(lineage)):
            random = np.random.default_rng(structure).normal(size=channels)
            code += KINSHIP**generation * random
    return np.asarray(codes / np.linalg.norm(codes, axis=1, keepdims=True), np.float32)


def label_flow(first: Int32, second: Int32, codes: Float32, levels: Sequence[Level] = LEVELS) -> Float32:
    """Fit the flow that brings two label images on to each other half way.

    Parameters
    ----------
    first, second : (H, W) integers
        Indices of `codes`.
    codes : (n, channels) float32
        Codes of the structures.
    levels : sequence of Level
        Scales, the coarsest first.

    Returns
    -------
    (H, W, 2) float32, px
        Flow u (rows, columns) of the plane half way: the point x there is x - u / 2 in the first image and
        x + u / 2 in the second.
    """
    shape = first.shape
    flow = np.zeros((*shape, 2), np.float32)
    coded = [np.ascontiguousarray(codes[labels]) for labels in (first, second)]
    for level in levels:
        every = slice(None, None, level.every)
        blurred = [np.ascontiguousarray(_blur(c, level.blur_px)[every, every]) for c in coded]
        small = np.asarray(np.ascontiguousarray(flow[every, every]) / np.float32(level.every), np.float32)
        flow = _enlarged(_fit(blurred[0], blurred[1], small, level), level.every, (shape[0], shape[1]))
    return flow


def _blur(image: Float32, sigma: float) -> Float32:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _enlarged(small: Float32, every: int, shape: tuple[int, int]) -> Float32:
    if every == 1:
        return small
    rows, columns = np.meshgrid(
        *(np.arange(n, dtype=np.float32) / np.float32(every) for n in shape), indexing="ij"
    )
    flow = cv2.remap(small, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(flow * np.float32(every), np.float32)


def _fit(first: Float32, second: Float32, flow: Float32, level: Level) -> Float32:
    moved_first, moved_second, step = np.empty_like(first), np.empty_like(second), np.empty_like(flow)
    for _ in range(level.rounds):
        _warp(first, flow, -0.5, moved_first)
        _warp(second, flow, 0.5, moved_second)
        _newton_step(moved_first, moved_second, DAMPING, step)
        flow = _blur(flow + _blur(step, level.step_px), level.field_px)
    return flow


@kernel(reorder=True)  # type: ignore[untyped-decorator]
def _warp(image: Float32, flow: Float32, share: float, out: Float32) -> None:
    """Sample an image at x + share * flow(x), linearly."""
    height, width, channels = image.shape
    for i in range(height):
        for j in range(width):
            y = min(max(i + share * flow[i, j, 0], 0.0), height - INSIDE)
            x = min(max(j + share * flow[i, j, 1], 0.0), width - INSIDE)
            m, n = int(y), int(x)
            v, w = np.float32(y - m), np.float32(x - n)
            a, b = (1 - v) * (1 - w), (1 - v) * w
            c, d = v * (1 - w), v * w
            for k in range(channels):
                out[i, j, k] = (
                    a * image[m, n, k]
                    + b * image[m, n + 1, k]
                    + c * image[m + 1, n, k]
                    + d * image[m + 1, n + 1, k]
                )


@kernel(reorder=True)  # type: ignore[untyped-decorator]
def _newton_step(first: Float32, second: Float32, damping: float, step: Float32) -> None:
    """Solve the normal equations of every pixel for the change of flow that takes the difference away."""
    height, width, channels = first.shape
    for i in range(height):
        up, down = max(i - 1, 0), min(i + 1, height - 1)
        for j in range(width):
            left, right = max(j - 1, 0), min(j + 1, width - 1)
            yy = xx = yx = ry = rx = rr = np.float32(0)
            for k in range(channels):
                difference = first[i, j, k] - second[i, j, k]
                gy = first[down, j, k] - first[up, j, k] + second[down, j, k] - second[up, j, k]
                gx = first[i, right, k] - first[i, left, k] + second[i, right, k] - second[i, left, k]
                gy, gx = np.float32(0.25) * gy, np.float32(0.25) * gx
                yy += gy * gy
                xx += gx * gx
                yx += gy * gx
                ry += gy * difference
                rx += gx * difference
                rr += difference * difference
            ridge = np.float32(damping) * rr + np.float32(LEAST_DAMPING)
            yy += ridge
            xx += ridge
            det = yy * xx - yx * yx
            step[i, j, 0] = (xx * ry - yx * rx) / det
            step[i, j, 1] = (yy * rx - yx * ry) / det
