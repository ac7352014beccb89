"""Surfaces of structures as Wavefront OBJ, in um along P, I and R."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage import measure

from pipeline.core.model import Float32, Float64, Int64, UInt8
from pipeline.system.whole_files import replacing

COARSEST_UM = 100.0  # a structure is never reduced beyond this
MOST_VOXELS = 1_500_000  # of the box around a structure; larger ones are reduced
SIGMA = 0.8  # voxels; rounds off the steps of voxels before the surface is found
LEAST_KEPT = 0.5  # of the voxels inside, that the blur must leave inside
RIM = 3  # empty voxels around a structure, so that its surface closes


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface.

    Attributes
    ----------
    vertices : (n, 3) float64, um
        (P, I, R).
    normals : (n, 3) float64
        Unit vectors that point outwards.
    faces : (m, 3) int64
        Indices of vertices, anticlockwise as seen from outside.
    """

    vertices: Float64
    normals: Float64
    faces: Int64


def surface(mask: UInt8, spacing_um: float, most_voxels: int = MOST_VOXELS) -> Mesh:
    """Return the surface of a mask.

    Parameters
    ----------
    mask : (P, I, R) uint8
        1 inside, else 0; not empty.
    spacing_um : float, um
        Voxel size; voxel i lies at i x spacing.
    most_voxels : int
        Of the box around the structure; a larger one is reduced, to voxels of `COARSEST_UM` at most.

    Returns
    -------
    Mesh
        Marching cubes (Lewiner et al. 2003) at one half of the blurred mask. A mask so small or thin that the
        blur takes most of it below one half is not blurred.
    """
    box = _box(mask)
    part = mask[box].astype(np.float32)
    step = 1
    while part.size / step**3 > most_voxels and (step + 1) * spacing_um <= COARSEST_UM:
        step += 1
    while step > 1 and _means(part, step).max() <= 0.5:  # a thin sheet or thread
        step -= 1
    shares = np.pad(_means(part, step), RIM)
    blurred = ndimage.gaussian_filter(shares, SIGMA)
    drawn = blurred if (blurred > 0.5).sum() >= LEAST_KEPT * (shares > 0.5).sum() else shares
    vertices, faces, normals, _ = measure.marching_cubes(drawn, 0.5, gradient_direction="descent")
    corner = np.array([side.start for side in box])
    voxels = (vertices - RIM) * step + (step - 1) / 2 + corner
    outwards = faces[:, ::-1].astype(np.int64)  # (P, I, R) is right-handed; the faces come clockwise
    return Mesh(voxels.astype(np.float64) * spacing_um, normals.astype(np.float64), outwards)


def write_obj(path: Path, mesh: Mesh, *, normals: bool = True) -> None:
    """Write a surface.

    Parameters
    ----------
    path : Path
        `.obj`; appears whole or not at all.
    mesh : Mesh
        The surface.
    normals : bool
        Write normals too, which double the file; programs make them of the faces where there are none.
    """
    lines = [f"v {p:.1f} {i:.1f} {r:.1f}" for p, i, r in mesh.vertices.tolist()]
    if normals:
        lines += [f"vn {p:.4f} {i:.4f} {r:.4f}" for p, i, r in mesh.normals.tolist()]
    form = "f {0}//{0} {1}//{1} {2}//{2}" if normals else "f {0} {1} {2}"
    lines += [form.format(a, b, c) for a, b, c in (mesh.faces + 1).tolist()]
    with replacing(path) as fresh:
        fresh.write_text("\n".join(lines) + "\n", encoding="ascii")


def _box(mask: UInt8) -> tuple[slice, slice, slice]:
    """Return the smallest box that holds a mask."""
    p, i, r = (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    return slice(p[0], p[-1] + 1), slice(i[0], i[-1] + 1), slice(r[0], r[-1] + 1)


def _means(part: Float32, step: int) -> Float32:
    """Return the means of blocks of voxels, the last ones filled up with zeros."""
    if step == 1:
        return part
    padded = np.pad(part, [(0, -n % step) for n in part.shape])
    p, i, r = (n // step for n in padded.shape)
    return np.asarray(padded.reshape(p, step, i, step, r, step).mean(axis=(1, 3, 5)), np.float32)
