"""One step of an elastic match: a stiff displacement field that explains what two images differ by.

The residual r between two images with slope g is explained by a displacement u where r = g . u (Lucas and
Kanade 1981). Of all fields that is sought whose squared errors, weighted, and bending energy together are
least (Horn and Schunck 1981, with second derivatives), on nodes coarser than the voxels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from pipeline.core.kernels import kernel
from pipeline.core.model import Float32

NODE = 2  # voxels a node
_ROUNDS = 12  # of conjugate gradients; what they leave, the next step finds
_CLOSE = 0.02  # of the first residual, at which they end
# Factor on what varies along the normal of a stack, of displacements within its planes: sections lie there
# each by itself, while a brain bends along it as smoothly as within planes. By MIND, .03 and a stiffness of
# 3000 left 57 um of a brain, .1 left 59, and one stiffness of 300 in all directions left 66.
LOOSE = 0.03


@dataclass(frozen=True, eq=False)
class Normals:
    """Normal equations of the displacement at the nodes.

    Attributes
    ----------
    squares : (a, b, c, 6) float32
        Weighted products of slopes: pp, pi, pr, ii, ir, rr.
    pulls : (a, b, c, 3) float32
        Weighted products of slope and residual.
    """

    squares: Float32
    pulls: Float32


def node_counts(shape: Sequence[int]) -> tuple[int, ...]:
    """Return how many nodes cover a grid.

    Parameters
    ----------
    shape : (3,) int
        Voxels.

    Returns
    -------
    (3,) int
        Nodes, `NODE` voxels apart, the last one at the last voxel or beyond.
    """
    return tuple(-(-(n - 1) // NODE) + 1 for n in shape)


def normal_equations(facts: Sequence[tuple[Float32, Float32, Float32]]) -> Normals:
    """Gather the normal equations of all voxels at the nodes.

    Parameters
    ----------
    facts : sequence of (residual, slope, weight)
        (P, I, R), (P, I, R, 3) and (P, I, R) float32 of each cue: what the images differ by, their slope a
        voxel, both over the noise, and the weight of the voxels.

    Returns
    -------
    Normals
        On nodes `NODE` voxels apart.
    """
    shape = node_counts(facts[0][0].shape)
    squares, pulls = np.zeros((*shape, 6), np.float32), np.zeros((*shape, 3), np.float32)
    for residual, slope, weight in facts:
        _gather(residual, slope, weight, squares, pulls, NODE)
    return Normals(squares, pulls)


@kernel
def _gather(residual, slope, weight, squares, pulls, node):  # type: ignore[no-untyped-def]
    """Add what each voxel says to the eight nodes around it, by its nearness."""
    part = np.empty(9, np.float32)
    for p in range(residual.shape[0]):
        for i in range(residual.shape[1]):
            for r in range(residual.shape[2]):
                w, e = weight[p, i, r], residual[p, i, r]
                if w == 0:
                    continue
                x, y, z = slope[p, i, r]
                part[0], part[1], part[2] = x * x, x * y, x * z
                part[3], part[4], part[5] = y * y, y * z, z * z
                part[6], part[7], part[8] = x * e, y * e, z * e
                a, b, c = p // node, i // node, r // node
                u, v, t = (p % node) / node, (i % node) / node, (r % node) / node
                for corner in range(8):
                    f, g, h = corner & 1, (corner >> 1) & 1, corner >> 2
                    near = w * abs(1 - f - u) * abs(1 - g - v) * abs(1 - h - t)
                    if near == 0:  # also beyond the last node
                        continue
                    for k in range(6):
                        squares[a + f, b + g, c + h, k] += near * part[k]
                    for k in range(3):
                        pulls[a + f, b + g, c + h, k] += near * part[6 + k]


def solve(normals: Normals, present: Float32, stiffness: float, normal: int | None = None) -> Float32:
    """Return the step that lowers errors and bending energy most.

    Parameters
    ----------
    normals : Normals
        Of all voxels.
    present : (a, b, c, 3) float32, voxels
        The field as it is at the nodes; the bending energy is that of field and step together.
    stiffness : float
        Weight of the bending energy.
    normal : int, optional
        Axis along which sections are stacked: displacements within their planes may vary faster along it.

    Returns
    -------
    (a, b, c, 3) float32, voxels
        By conjugate gradients, preconditioned by the mean square of the slopes and the bending energy, which
        the cosine transform makes diagonal.
    """
    shape = present.shape[:3]
    energy = np.stack([bending(shape, stiffness, None if k == normal else normal) for k in range(3)], axis=-1)
    level = float(normals.squares[..., [0, 3, 5]].mean())
    inverse = 1.0 / (energy + max(level, 1e-12))

    def apply(u: Float32) -> Float32:
        return _product(normals.squares, u) + _filtered(u, energy)

    left = normals.pulls - _filtered(present, energy)
    step = np.zeros_like(left)
    towards = _filtered(left, inverse)
    search, strength = towards, float((left * towards).sum(dtype=np.float64))
    first = strength
    for _ in range(_ROUNDS):
        if strength <= _CLOSE**2 * first or strength <= 0:
            break
        product = apply(search)
        length = strength / float((search * product).sum(dtype=np.float64))
        step = step + np.float32(length) * search
        left = left - np.float32(length) * product
        towards = _filtered(left, inverse)
        strength, before = float((left * towards).sum(dtype=np.float64)), strength
        search = towards + np.float32(strength / before) * search
    return step


def bending(shape: tuple[int, ...], stiffness: float, normal: int | None = None) -> Float32:
    """Return the weight of the bending energy of each cosine, (a, b, c); along `normal` it is `LOOSE`."""
    axes = [2.0 - 2.0 * np.cos(math.pi * np.arange(n) / n) for n in shape]
    if normal is not None:
        axes[normal] = LOOSE * axes[normal]
    total = axes[0][:, None, None] + axes[1][:, None] + axes[2]
    return np.asarray(stiffness * total**2, np.float32)


def _product(squares: Float32, u: Float32) -> Float32:
    pp, pi, pr, ii, ir, rr = np.moveaxis(squares, -1, 0)
    p, i, r = np.moveaxis(u, -1, 0)
    return np.stack([pp * p + pi * i + pr * r, pi * p + ii * i + ir * r, pr * p + ir * i + rr * r], axis=-1)


def _filtered(values: Float32, weights: Float32) -> Float32:
    """Return the vectors whose cosines are those of `values`, weighted."""
    cosines = fft.dctn(values, axes=(0, 1, 2), norm="ortho")
    return np.asarray(fft.idctn(cosines * weights, axes=(0, 1, 2), norm="ortho"), np.float32)
