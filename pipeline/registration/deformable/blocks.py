"""Data term of the deformable fit: the atlas painted on a deformed section, the pull on each block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.kernels import kernel
from pipeline.core.model import Float32, Float64


@dataclass(frozen=True, eq=False)
class Blocks:
    """Normal equations of the blocks of a section, as if each block moved on its own.

    Attributes
    ----------
    places_px : (n, 2) float64, px
        Middle of each block, (x, y).
    normal : (n, 3, 3) float64
        Sum of w g g', with g the gradient of the atlas along x, y, z of the volume, 1/um.
    right : (n, 3) float64
        Sum of w g r, with r the image minus the atlas.
    residuals : (m,) float32
        A sample of the residuals inside the brain.
    """

    places_px: Float64
    normal: Float64
    right: Float64
    residuals: Float32


@kernel(inline=True)
def bilinear(nodes, at_x, at_y, c):  # type: ignore[no-untyped-def]
    """Interpolate one component of a displacement field.

    Parameters
    ----------
    nodes : (3, rows, columns) float32, um
        Displacement at the nodes.
    at_x, at_y : float
        Place in units of the node spacing.
    c : int
        Component.

    Returns
    -------
    float, um
        The displacement; beyond the lattice the value at its edge holds.
    """
    x = min(max(at_x, 0.0), nodes.shape[2] - 1.0)
    y = min(max(at_y, 0.0), nodes.shape[1] - 1.0)
    # the last node belongs to the cell before it
    i, j = min(int(x), nodes.shape[2] - 2), min(int(y), nodes.shape[1] - 2)
    fx, fy = x - i, y - j
    top = nodes[c, j, i] * (1.0 - fx) + nodes[c, j, i + 1] * fx
    bottom = nodes[c, j + 1, i] * (1.0 - fx) + nodes[c, j + 1, i + 1] * fx
    return top * (1.0 - fy) + bottom * fy


@kernel
def paint_displaced(index, scale, table, plane, field, shape, samples):  # type: ignore[no-untyped-def]
    """Paint a deformed plane of the atlas.

    Parameters
    ----------
    index : (P, I, R) uint16
        Label index of each voxel.
    scale : float, 1/um
        1 / voxel size.
    table : (n,) float32
        Value of each label.
    plane : (3, 3) float64, px -> um
        (x, y, 1) to (P, I, R).
    field : ((3, rows, columns) float32 um, float px)
        Displacement of (P, I, R) on a lattice, and its spacing; added to the plane.
    shape : (int, int)
        Rows and columns of the result.
    samples : int
        Labels are read at samples x samples places of a pixel and averaged.

    Returns
    -------
    (h, w) float32
        The values of the labels; places outside the atlas take that of label 0.
    """
    nodes, step = field
    h, w = shape
    out = np.zeros((h, w), np.float32)
    m = plane * scale  # px to voxels
    for y in range(h):
        for x in range(w):
            # 0.5: truncation then finds the nearest voxel, whose centre lies on the integer
            p = m[0, 0] * x + m[0, 1] * y + m[0, 2] + 0.5 + scale * bilinear(nodes, x / step, y / step, 0)
            i = m[1, 0] * x + m[1, 1] * y + m[1, 2] + 0.5 + scale * bilinear(nodes, x / step, y / step, 1)
            r = m[2, 0] * x + m[2, 1] * y + m[2, 2] + 0.5 + scale * bilinear(nodes, x / step, y / step, 2)
            total = np.float32(0.0)
            for a in range(samples):
                dy = (a + 0.5) / samples - 0.5  # samples of a pixel share its displacement
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


@kernel
def labels_displaced(index, scale, plane, field, shape):  # type: ignore[no-untyped-def]
    """Read the label at every pixel of a deformed plane of the atlas.

    Parameters
    ----------
    index : (P, I, R) uint16
        Label index of each voxel.
    scale : float, 1/um
        1 / voxel size.
    plane : (3, 3) float64, px -> um
        (x, y, 1) to (P, I, R).
    field : ((3, rows, columns) float32 um, float px)
        Displacement as in `paint_displaced`.
    shape : (int, int)
        Rows and columns of the result.

    Returns
    -------
    (h, w) uint16
        Label index of the nearest voxel; 0 outside the atlas.
    """
    nodes, step = field
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


@kernel
def sum_blocks(pixels, inverse, known, scale, size):  # type: ignore[no-untyped-def]
    """Sum the normal equations of every block, with robust weights.

    Parameters
    ----------
    pixels : (4, h, w) float32
        Image; weights; atlas painted on the section; derivative of the atlas along z, 1/um.
    inverse : (2, 2) float64, um -> px
        Linear part of the map from the volume to pixels.
    known : ((3,) float64, float, float)
        (x, y, 1) px to the cutting axis, and the lower and upper end of what is known of it, um.
    scale : float
        Residual at which a weight is down to a quarter (Geman & McClure 1987).
    size : int, px
        Side of a block.

    Returns
    -------
    (rows, columns, 10) float64
        Sums of w g g' as xx, xy, xz, yy, yz, zz; of w g r; the number of pixels that count.
    """
    values, weights, painted, normal = pixels[0], pixels[1], pixels[2], pixels[3]
    along, low, high = known
    h, w = values.shape
    sums = np.zeros((-(-h // size), -(-w // size), 10))
    for y in range(1, h - 1):
        for x in range(1, w - 1):
            weight = weights[y, x]
            position = along[0] * x + along[1] * y + along[2]
            # beyond the end of the atlas neither tissue nor glass is known
            if weight <= 0.0 or position < low or position > high:
                continue
            residual = values[y, x] - painted[y, x]
            robust = 1.0 / (1.0 + (residual / scale) ** 2)
            fx = 0.5 * (painted[y, x + 1] - painted[y, x - 1])  # central differences, per px
            fy = 0.5 * (painted[y + 1, x] - painted[y - 1, x])
            gz = normal[y, x]
            if fx == 0.0 and fy == 0.0 and gz == 0.0:  # flat atlas: no pull
                continue
            gx = inverse[0, 0] * fx + inverse[1, 0] * fy  # chain rule, per px to per um of the volume
            gy = inverse[0, 1] * fx + inverse[1, 1] * fy
            weight *= robust * robust  # Geman-McClure weight
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
    """Return the blocks in which any pixel counts.

    Parameters
    ----------
    sums : (rows, columns, 10) float64
        Sums of `sum_blocks`.
    residuals : (m,) float32
        A sample of the residuals inside the brain.
    size : int, px
        Side of a block.

    Returns
    -------
    Blocks
        Their middles and normal equations.
    """
    rows, columns = np.nonzero(sums[..., 9])
    found = sums[rows, columns]
    places = np.stack([columns, rows], axis=1).astype(np.float64) * size + 0.5 * (size - 1)
    normal = found[:, [[0, 1, 2], [1, 3, 4], [2, 4, 5]]]  # the six sums make a symmetric (3, 3)
    return Blocks(places, normal, found[:, 6:9], residuals)


@kernel
def add_normal(full, index, weight, normal):  # type: ignore[no-untyped-def]
    """Add the normal equations of all blocks to those of the control points, in place.

    Adds the sum over blocks of (b b') x N, with b the spline weights of a block and x the Kronecker product.

    Parameters
    ----------
    full : (c * m, c * m) float64
        Matrix to add to, upper triangle only; the c components of a control point are adjacent.
    index : (n, t) int64
        Which of the m control points act on each block.
    weight : (n, t) float64
        Their spline weights.
    normal : (n, c, c) float64
        N of each block.
    """
    components = normal.shape[1]
    for n in range(index.shape[0]):
        for a in range(index.shape[1]):
            row = index[n, a] * components
            for b in range(a, index.shape[1]):  # upper triangle: the indices of a block ascend
                column = index[n, b] * components
                share = weight[n, a] * weight[n, b]
                for c in range(components):
                    for d in range(components):
                        full[row + c, column + d] += share * normal[n, c, d]
