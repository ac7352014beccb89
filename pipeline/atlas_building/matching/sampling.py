"""Images sampled at displaced places, and between nodes of a coarser grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.core.kernels import kernel
from pipeline.core.model import Float32


def moved(image: npt.NDArray[Any], field: Float32) -> Float32:
    """Return what an image shows at x + field(x).

    Parameters
    ----------
    image : (P, I, R) or (P, I, R, C) array
        Values, or channels of them.
    field : (p, i, r, 3) float32, voxels
        Displacements on a grid of the same voxel size and origin; its shape may be another.

    Returns
    -------
    (p, i, r) or (p, i, r, C) float32
        Linear between voxels; beyond the faces of the image as on them.
    """
    channels = image if image.ndim == 4 else image[..., None]
    out = np.empty((*field.shape[:3], channels.shape[3]), np.float32)
    look_up(np.ascontiguousarray(channels, np.float32), np.ascontiguousarray(field, np.float32), out)
    return out if image.ndim == 4 else out[..., 0]


@kernel
def look_up(image, field, out):  # type: ignore[no-untyped-def]
    """Fill `out`, (P, I, R, C), with the trilinear values of `image` at x + field(x)."""
    n_p, n_i, n_r, channels = image.shape
    for p in range(field.shape[0]):
        for i in range(field.shape[1]):
            for r in range(field.shape[2]):
                y = min(max(p + field[p, i, r, 0], np.float32(0)), np.float32(n_p - 1))
                x = min(max(i + field[p, i, r, 1], np.float32(0)), np.float32(n_i - 1))
                z = min(max(r + field[p, i, r, 2], np.float32(0)), np.float32(n_r - 1))
                a, b, c = min(int(y), n_p - 2), min(int(x), n_i - 2), min(int(z), n_r - 2)
                u, v, w = y - a, x - b, z - c
                for k in range(channels):
                    near = (image[a, b, c, k] * (1 - w) + image[a, b, c + 1, k] * w) * (1 - v)
                    near += (image[a, b + 1, c, k] * (1 - w) + image[a, b + 1, c + 1, k] * w) * v
                    far = (image[a + 1, b, c, k] * (1 - w) + image[a + 1, b, c + 1, k] * w) * (1 - v)
                    far += (image[a + 1, b + 1, c, k] * (1 - w) + image[a + 1, b + 1, c + 1, k] * w) * v
                    out[p, i, r, k] = near * (1 - u) + far * u


def halved(values: Float32) -> Float32:
    """Return every second voxel of a volume, each the mean of its surroundings.

    Parameters
    ----------
    values : (P, I, R) float32
        Volume whose voxel i lies at i x spacing.

    Returns
    -------
    (ceil(P / 2), ceil(I / 2), ceil(R / 2)) float32
        Weights 1, 2, 1 along each axis, so that voxel i lies at 2 i x spacing.
    """
    for axis in range(3):
        values = ndimage.convolve1d(values, [0.25, 0.5, 0.25], axis=axis, mode="nearest")
    return np.ascontiguousarray(values[::2, ::2, ::2], np.float32)


def expanded(nodes: Float32, shape: Sequence[int], ratio: float) -> Float32:
    """Return vectors on a finer grid of the same origin.

    Parameters
    ----------
    nodes : (a, b, c, 3) float32
        Vectors at nodes.
    shape : (3,) int
        Voxels of the finer grid.
    ratio : float
        Voxels of the finer grid a node.

    Returns
    -------
    (P, I, R, 3) float32
        Linear between nodes, in the unit of `nodes`.
    """
    out = nodes
    for axis in range(3):
        at = np.minimum(np.arange(shape[axis]) / ratio, nodes.shape[axis] - 1)
        low = np.minimum(at.astype(np.intp), max(nodes.shape[axis] - 2, 0))
        part = (at - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(4)])
        high = np.minimum(low + 1, nodes.shape[axis] - 1)
        out = np.take(out, low, axis) * (1 - part) + np.take(out, high, axis) * part
    return np.asarray(out, np.float32)
