"""What the images say: the atlas painted on a bent section, and how each small block wants to move."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from pipeline.core.model import Float32, Float64


@dataclass(frozen=True, eq=False)
class Blocks:
    """Normal equations of the blocks of a section, as if each moved by itself.

    Parameters
    ----------
    places_px : (n, 2) float64          middle of each block
    normal : (n, 3, 3) float64          sum of w g g', g the gradient of the atlas along x, y, z, 1/um
    right : (n, 3) float64              sum of w g r, r what the image has more than the atlas
    residuals : (m,) float32            a sample of what is left inside the brain
    """

    places_px: Float64
    normal: Float64
    right: Float64
    residuals: Float32


@numba.njit(cache=True, nogil=True, inline="always")
def bilinear(nodes, at_x, at_y, c):  # type: ignore[no-untyped-def]
    x = min(max(at_x, 0.0), nodes.shape[2] - 1.0)
    y = min(max(at_y, 0.0), nodes.shape[1] - 1.0)
    i, j = min(int(x), nodes.shape[2] - 2), min(int(y), nodes.shape[1] - 2)
    fx, fy = x - i, y - j
    top = nodes[c, j, i] * (1.0 - fx) + nodes[c, j, i + 1] * fx
    bottom = nodes[c, j + 1, i] * (1.0 - fx) + nodes[c, j + 1, i + 1] * fx
    return top * (1.0 - fy) + bottom * fy


@numba.njit(cache=True, nogil=True)
def paint_bent(index, scale, table, plane, bend, shape, samples):  # type: ignore[no-untyped-def]
    """Paint a bent plane of the atlas.

    Parameters
    ----------
    index : (P, I, R) uint16
    scale : float, 1/um             1 / voxel size
    table : (n,) float32            value of each label
    plane : (3, 3) float64          (x, y, 1) px to (P, I, R) um
    bend : (nodes (3, rows, columns) float32 um of (P, I, R), step float px)    added to the plane
    shape : (int, int)              rows, columns of the result
    samples : int                   labels are read at samples x samples places of a pixel and averaged

    Returns
    -------
    (h, w) float32
    """
    nodes, step = bend
    h, w = shape
    out = np.zeros((h, w), np.float32)
    m = plane * scale
    for y in range(h):
        for x in range(w):
            p = m[0, 0] * x + m[0, 1] * y + m[0, 2] + 0.5 + scale * bilinear(nodes, x / step, y / step, 0)
            i = m[1, 0] * x + m[1, 1] * y + m[1, 2] + 0.5 + scale * bilinear(nodes, x / step, y / step, 1)
            r = m[2, 0] * x + m[2, 1] * y + m[2, 2] + 0.5 + scale * bilinear(nodes, x / step, y / step, 2)
            total = np.float32(0.0)
            for a in range(samples):
                dy = (a + 0.5) / samples - 0.5
                for b in range(samples):
                    dx = (b + 0.5) / samples - 0.5
                    ps = p + m[0, 0] * dx + m[0, 1] * dy
                    is_ = i + m[1, 0] * dx + m[1, 1] * dy
                    rs = r + m[2, 0] * dx + m[2, 1] * dy
                    inside = ps >= 0.0 and is_ >= 0.0 and rs >= 0.0
                    if inside and ps < index.shape[0] and is_ < index.shape[1] and rs < index.shape[2]:
                        total += table[index[int(ps), int(is_), int(rs)]]
                    else:
                        total += table[0]
            out[y, x] = total / np.float32(samples * samples)
    return out


@numba.njit(cache=True, nogil=True)
def labels_bent(index, scale, plane, bend, shape):  # type: ignore[no-untyped-def]
    """Return the label index at every pixel of a bent plane, (h, w) uint16; see `paint_bent`."""
    nodes, step = bend
    out = np.zeros(shape, np.uint16)
    m = plane * scale
    for y in range(shape[0]):
        for x in range(shape[1]):
            p = m[0, 0] * x + m[0, 1] * y + m[0, 2] + scale * bilinear(nodes, x / step, y / step, 0)
            i = m[1, 0] * x + m[1, 1] * y + m[1, 2] + scale * bilinear(nodes, x / step, y / step, 1)
            r = m[2, 0] * x + m[2, 1] * y + m[2, 2] + scale * bilinear(nodes, x / step, y / step, 2)
            p, i, r = int(np.floor(p + 0.5)), int(np.floor(i + 0.5)), int(np.floor(r + 0.5))
            if 0 <= p < index.shape[0] and 0 <= i < index.shape[1] and 0 <= r < index.shape[2]:
                out[y, x] = index[p, i, r]
    return out


@numba.njit(cache=True, nogil=True)
def sum_blocks(pixels, inverse, known, scale, size):  # type: ignore[no-untyped-def]
    """Sum the normal equations of every block of `size` pixels.

    Parameters
    ----------
    pixels : (4, h, w) float32      image, weights, atlas on the section, its derivative along z, 1/um
    inverse : (2, 2) float64        volume um to px, linear part
    known : (along (3,), low, high) (x, y, 1) px to the cutting axis, and what is known of it, um
    scale : float                   residual at which the weight is down to a quarter

    Returns
    -------
    (rows, columns, 10) float64     w g g' as xx, xy, xz, yy, yz, zz; w g r; the number of pixels that count
    """
    values, weights, painted, normal = pixels[0], pixels[1], pixels[2], pixels[3]
    along, low, high = known
    h, w = values.shape
    sums = np.zeros((-(-h // size), -(-w // size), 10))
    for y in range(1, h - 1):
        for x in range(1, w - 1):
            weight = weights[y, x]
            position = along[0] * x + along[1] * y + along[2]
            if weight <= 0.0 or position < low or position > high:
                continue
            residual = values[y, x] - painted[y, x]
            robust = 1.0 / (1.0 + (residual / scale) ** 2)
            fx = 0.5 * (painted[y, x + 1] - painted[y, x - 1])
            fy = 0.5 * (painted[y + 1, x] - painted[y - 1, x])
            gz = normal[y, x]
            if fx == 0.0 and fy == 0.0 and gz == 0.0:
                continue
            gx = inverse[0, 0] * fx + inverse[1, 0] * fy
            gy = inverse[0, 1] * fx + inverse[1, 1] * fy
            weight *= robust * robust
            cell = sums[y // size, x // size]
            cell[0] += weight * gx * gx
            cell[1] += weight * gx * gy
            cell[2] += weight * gx * gz
            cell[3] += weight * gy * gy
            cell[4] += weight * gy * gz
            cell[5] += weight * gz * gz
            cell[6] += weight * gx * residual
            cell[7] += weight * gy * residual
            cell[8] += weight * gz * residual
            cell[9] += 1.0
    return sums


def blocks_of(sums: Float64, residuals: Float32, size: int) -> Blocks:
    """Return the blocks in which anything counts."""
    rows, columns = np.nonzero(sums[..., 9])
    found = sums[rows, columns]
    places = np.stack([columns, rows], axis=1).astype(np.float64) * size + 0.5 * (size - 1)
    normal = found[:, [[0, 1, 2], [1, 3, 4], [2, 4, 5]]]
    return Blocks(places, normal, found[:, 6:9], residuals)


@numba.njit(cache=True, nogil=True)
def add_normal(full, index, weight, normal):  # type: ignore[no-untyped-def]
    """Add sum over blocks of (b b') x N to `full`, upper triangle; b are spline weights, N is (c, c).

    Parameters
    ----------
    full : (c * m, c * m) float64       component by component of a control point
    index, weight : (n, t)              which of m control points act on a block, and how strongly
    normal : (n, c, c) float64
    """
    components = normal.shape[1]
    for n in range(index.shape[0]):
        for a in range(index.shape[1]):
            row = index[n, a] * components
            for b in range(a, index.shape[1]):
                column = index[n, b] * components
                share = weight[n, a] * weight[n, b]
                for c in range(components):
                    for d in range(components):
                        full[row + c, column + d] += share * normal[n, c, d]
