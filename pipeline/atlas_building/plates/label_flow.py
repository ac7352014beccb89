"""In-plane flow between two neighbouring plates: where each point of one lies in the other.

Structures are coded as random unit vectors of a few channels, so that the squared difference of two blurred
code images stands for the difference of all blurred indicator functions (Johnson and Lindenstrauss, 1984).
The flow is fitted from coarse to fine: it explains that difference, robustly, and bends least (Horn and
Schunck 1981; Black and Anandan 1996; Brox et al. 2004).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.core.kernels import kernel
from pipeline.core.model import Float32, Int32

CHANNELS = 16  # of a structure's code
KINSHIP = 0.5  # of the code of a parent, in that of its child
STIFFNESS = 0.1  # of the squared slope of the flow, against squared differences of codes
USUAL = 0.5  # squared difference of codes: what is far above is taken for a structure without a partner
LEAST = 1e-6  # of a pixel alone, without differences or neighbours
SWEEPS, RELAXATION = 12, 1.7  # of successive over-relaxation, for each step
LONGEST_PX = 2.0  # of a step
INSIDE = 1.001  # px from the last row or column, so that the next one exists


class Level(NamedTuple):
    """A scale of the fit.

    Attributes
    ----------
    blur_px : float, px
        Sigma of the blur of the codes.
    every : int
        Every n-th row and column of the blurred codes is used.
    """

    blur_px: float
    every: int


LEVELS = (Level(8.0, 4), Level(4.0, 2), Level(2.0, 1), Level(1.0, 1))
ROUNDS = 6  # steps of a level


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
        flow = _enlarged(_fit(blurred[0], blurred[1], small), level.every, (shape[0], shape[1]))
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


def _fit(first: Float32, second: Float32, flow: Float32) -> Float32:
    moved_first, moved_second = np.empty_like(first), np.empty_like(second)
    form = np.empty((*flow.shape[:2], 5), np.float32)
    for _ in range(ROUNDS):
        _warp(first, flow, -0.5, moved_first)
        _warp(second, flow, 0.5, moved_second)
        _normal_form(moved_first, moved_second, np.float32(USUAL), form)
        before = flow.copy()
        _relax(form, before, np.float32(STIFFNESS), SWEEPS, np.float32(RELAXATION), flow)
        flow = np.clip(flow, before - np.float32(LONGEST_PX), before + np.float32(LONGEST_PX))
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
def _normal_form(first: Float32, second: Float32, usual: Float32, form: Float32) -> None:
    """Write the quadratic form of a change of flow at every pixel: yy, xx, yx, and the pulls along y and x.

    A pixel whose codes differ by much more than usual counts less (weight of Charbonnier's loss).
    """
    height, width, channels = first.shape
    quarter, one = np.float32(0.25), np.float32(1)
    for i in range(height):
        up, down = max(i - 1, 0), min(i + 1, height - 1)
        for j in range(width):
            left, right = max(j - 1, 0), min(j + 1, width - 1)
            yy = xx = yx = ry = rx = rr = np.float32(0)
            for k in range(channels):
                difference = first[i, j, k] - second[i, j, k]
                gy = first[down, j, k] - first[up, j, k] + second[down, j, k] - second[up, j, k]
                gx = first[i, right, k] - first[i, left, k] + second[i, right, k] - second[i, left, k]
                gy, gx = quarter * gy, quarter * gx
                yy += gy * gy
                xx += gx * gx
                yx += gy * gx
                ry += gy * difference
                rx += gx * difference
                rr += difference * difference
            weight = one / np.sqrt(one + rr / usual)
            form[i, j, 0], form[i, j, 1], form[i, j, 2] = weight * yy, weight * xx, weight * yx
            form[i, j, 3], form[i, j, 4] = weight * ry, weight * rx


@kernel(reorder=True)  # type: ignore[untyped-decorator]
def _relax(
    form: Float32, before: Float32, stiffness: Float32, sweeps: int, relaxation: Float32, flow: Float32
) -> None:
    """Take the flow towards the least sum of the forms and of the stiffness times its squared slopes."""
    height, width = flow.shape[:2]
    for _ in range(sweeps):
        for i in range(height):
            for j in range(width):
                y = x = np.float32(0)
                count = np.float32(LEAST)
                for k in range(4):
                    m, n = i + (k == 0) - (k == 1), j + (k == 2) - (k == 3)
                    if 0 <= m < height and 0 <= n < width:
                        y += flow[m, n, 0]
                        x += flow[m, n, 1]
                        count += np.float32(1)
                yy, xx = form[i, j, 0] + stiffness * count, form[i, j, 1] + stiffness * count
                yx = form[i, j, 2]
                u, v = before[i, j, 0], before[i, j, 1]
                y = form[i, j, 3] + form[i, j, 0] * u + yx * v + stiffness * y
                x = form[i, j, 4] + yx * u + form[i, j, 1] * v + stiffness * x
                det = yy * xx - yx * yx
                flow[i, j, 0] += relaxation * ((xx * y - yx * x) / det - flow[i, j, 0])
                flow[i, j, 1] += relaxation * ((yy * x - yx * y) / det - flow[i, j, 1])
