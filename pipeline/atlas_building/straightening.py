"""A volume straightened about its midline, as far as the half-way warp between its halves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.atlas_building.displacement import Displacement, grid_points, node_shape, sampled
from pipeline.atlas_building.halfway import evened, halfway_warp
from pipeline.atlas_building.matching.working import on_grid, working_um
from pipeline.atlas_building.memory import check_fits
from pipeline.atlas_building.midline import (
    MidlinePlane,
    MidlineSurface,
    correlation,
    find_plane,
    find_surface,
)
from pipeline.atlas_building.sources import tissue_mask
from pipeline.core.errors import DataError
from pipeline.core.model import Bool, Float32, Float64
from pipeline.formats.volumes.volume_files import Volume

MARGIN_UM = 250.0  # around the tissue, in the box of the result
LEAST_ALIKE = 0.5  # correlation of the halves about the best plane, below which it is one hemisphere
LEAST_SHARED = 0.5  # share of the tissue whose mirror image is tissue, likewise
LEAST_GAIN = 0.002  # of the correlation, by surface and warp; below it the plane alone is nearer the truth


@dataclass(frozen=True, eq=False)
class SymmetricFrame:
    """The straightened box, and where its points lie in the input.

    Attributes
    ----------
    plane : MidlinePlane
        In the input.
    low_um : (2,) float64, um
        P and I of the box's first voxel in the frame of the plane, whose origin is the plane's point.
    box_um : (3,) float, um
        Size of the box; the midline lies at half of it along R.
    """

    plane: MidlinePlane
    low_um: Float64
    box_um: tuple[float, float, float]

    @property
    def middle_um(self) -> float:
        """R of the midline."""
        return self.box_um[2] / 2

    def to_input(self, points_um: Float64) -> Float64:
        """Return where points of the box lie in the input before it is straightened, (n, 3) um."""
        own = points_um + np.array([*self.low_um, -self.middle_um])
        return np.asarray(own @ self.plane.frame() + self.plane.point_um)


@dataclass(frozen=True, eq=False)
class Midline:
    """All that is known of the midline of a volume, and of the way between its halves.

    Attributes
    ----------
    frame : SymmetricFrame
        The straightened box.
    surface : MidlineSurface
        In the frame of the plane.
    to_source : Displacement
        From the symmetric box to the input.
    alike : mapping of str to float
        Correlation of the volume with its mirror image: as it lies, about the plane, straightened, warped.
    tissue_um : (n, 3) float64, um
        Some points of the input's tissue.
    """

    frame: SymmetricFrame
    surface: MidlineSurface
    to_source: Displacement
    alike: Mapping[str, float]
    tissue_um: Float64


def find_midline(grey: Volume, spacing_um: float) -> Midline:
    """Find the midline of a volume, and the half-way warp between its halves.

    Parameters
    ----------
    grey : Volume
        A brain with both hemispheres.
    spacing_um : float, um
        Voxel size that the result will have.

    Returns
    -------
    Midline
        Plane, surface and displacement.

    Raises
    ------
    DataError
        Where it has no tissue or shows one hemisphere, or the warp folds.
    """
    um = working_um([grey])
    values = on_grid(grey, um)
    coarse = Volume(values, (um, um, um), grey.path)
    mask = tissue_mask(coarse)
    plane = find_plane(values, mask, um)
    frame = _frame(plane, mask, coarse, spacing_um)
    shape = _odd_shape(frame, um)
    middle_um = um * (shape[2] - 1) / 2
    offset = np.array([0.0, 0.0, frame.middle_um - middle_um])  # from this odd grid to the result's box

    def seen(own_um: Float64) -> tuple[Float32, Bool]:
        return _seen(values, mask, frame.to_input(own_um + offset), um, shape)

    points = grid_points(shape, [um] * 3, slice(0, shape[0]))
    straight = seen(points)
    alike = {"as it lies": _alike(values, mask), "about the plane": _alike(*straight)}
    _check_both_halves(grey.path, straight, alike["about the plane"])
    surface = find_surface(evened(*straight, um), straight[1], um, middle_um)
    along = seen(straightened(surface, shape, um).reshape(-1, 3))
    alike["about the surface"] = _alike(*along)
    warped = Displacement(halfway_warp(evened(*along, um)) * np.float32(um), um)
    alike["after the half-way warp"] = _alike(*seen(_bent(surface, warped.apply(points))))
    if alike["after the half-way warp"] < alike["about the plane"] + LEAST_GAIN:
        surface = replace(surface, coefficients=np.zeros_like(surface.coefficients))
        warped = Displacement(np.zeros_like(warped.vectors), um)
        alike["after the half-way warp"] = alike["about the plane"]
    nodes = node_shape(frame.box_um, um)
    targets = grid_points(nodes, [um] * 3, slice(0, nodes[0]))
    there = frame.to_input(_bent(surface, warped.apply(targets - offset)) + offset)
    to_source = Displacement((there - targets).reshape(*nodes, 3).astype(np.float32), um)
    tissue = np.argwhere(mask)[:: max(1, int(mask.sum()) // 20000)].astype(np.float64) * um
    return Midline(frame, surface, to_source, alike, tissue)


def straightened(surface: MidlineSurface, shape: tuple[int, int, int], spacing_um: float) -> Float64:
    """Return where the voxels of a straightened grid lie in the frame of the plane.

    Parameters
    ----------
    surface : MidlineSurface
        In the frame of the plane.
    shape : (3,) int
        Voxels.
    spacing_um : float, um
        Voxel size.

    Returns
    -------
    (P, I, R, 3) float64, um
        Each voxel as far from the surface, along its normal, as it is from the middle plane of the grid.
    """
    p, i = (np.arange(n) * spacing_um for n in shape[:2])
    foot, normal = _feet(surface, p, i)
    across = np.arange(shape[2]) * spacing_um - surface.middle_um
    return np.asarray(foot[:, :, None] + across[None, None, :, None] * normal[:, :, None])


def _feet(surface: MidlineSurface, p: npt.NDArray[Any], i: npt.NDArray[Any]) -> tuple[Float64, Float64]:
    """Return points of the surface and its normals there, (a, b, 3) each."""
    s, s_p, s_i = (surface.across(p, i, along) for along in ((0, 0), (1, 0), (0, 1)))
    normal = np.stack([-s_p, -s_i, np.ones_like(s)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    places = np.meshgrid(p, i, indexing="ij")
    return np.stack([*places, surface.middle_um + s], axis=-1), normal


def _bent(surface: MidlineSurface, points: Float64) -> Float64:
    """Return where points of the straightened box lie in the frame of the plane, (n, 3) um."""
    step = 50.0
    low, high = points.min(axis=0), points.max(axis=0)
    axes = [np.arange(low[k] - step, high[k] + 2 * step, step, dtype=np.float64) for k in range(2)]
    foot, normal = _feet(surface, axes[0], axes[1])
    places = ((points[:, :2] - [axes[0][0], axes[1][0]]) / step).T
    table = np.concatenate([foot, normal], axis=-1)
    at = [ndimage.map_coordinates(table[..., k], places, np.float64, 1, mode="nearest") for k in range(6)]
    across = points[:, 2] - surface.middle_um
    return np.stack([at[k] + across * at[3 + k] for k in range(3)], axis=-1)


def _frame(plane: MidlinePlane, mask: Bool, coarse: Volume, spacing_um: float) -> SymmetricFrame:
    """Return a box about the plane that holds the tissue, and the input's own box where that is larger."""
    um = coarse.spacing_um[0]
    own = (np.argwhere(mask) * um - plane.point_um) @ plane.frame().T
    box = np.array(coarse.box_um)
    low, high = own.min(axis=0) - MARGIN_UM, own.max(axis=0) + MARGIN_UM
    low[:2] = np.minimum(low[:2], -plane.point_um[:2])
    high[:2] = np.maximum(high[:2], (box - plane.point_um)[:2])
    half = max(-low[2], high[2], box[2] / 2)
    counts = [int(np.ceil((high[k] - low[k]) / spacing_um - 1e-6)) for k in range(2)]
    sides = (counts[0] * spacing_um, counts[1] * spacing_um, 2 * np.ceil(half / spacing_um) * spacing_um)
    check_fits("symmetrise", coarse.path, sides, spacing_um)
    return SymmetricFrame(plane, low[:2], (float(sides[0]), float(sides[1]), float(sides[2])))


def _odd_shape(frame: SymmetricFrame, um: float) -> tuple[int, int, int]:
    p, i = (int(np.ceil(side / um)) + 1 for side in frame.box_um[:2])
    return p, i, 2 * int(np.ceil(frame.middle_um / um)) + 1


def _seen(
    values: Float32, mask: Bool, places_um: Float64, um: float, shape: tuple[int, int, int]
) -> tuple[Float32, Bool]:
    """Return a volume and its tissue at places of the input."""
    around = np.float32(np.median(values[~mask])) if (~mask).any() else np.float32(0)
    places = places_um / um
    grey = around + sampled(values - around, places)
    tissue = sampled(mask.astype(np.float32), places) > 0.5
    return grey.reshape(shape).astype(np.float32), tissue.reshape(shape)


def _alike(values: Float32, mask: Bool) -> float:
    """Return the correlation of a volume with its mirror image about the middle plane of R, in tissue."""
    both = mask | mask[:, :, ::-1]
    return correlation(values[both], values[:, :, ::-1][both])


def _check_both_halves(path: Path, straight: tuple[Float32, Bool], alike: float) -> None:
    mask = straight[1]
    shared = (mask & mask[:, :, ::-1]).sum() / max(1, mask.sum())
    if alike < LEAST_ALIKE or shared < LEAST_SHARED:
        raise DataError(
            f"{path}: expected two hemispheres that match, got halves with correlation {alike:.2f} about the"
            f" best plane; one hemisphere cannot be made symmetric"
        )
