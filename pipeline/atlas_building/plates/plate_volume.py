"""The volume that plates span: planes between neighbours, brought on to the grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.atlas_building.plates.plate_series import Plate, PlateStack
from pipeline.core.kernels import kernel
from pipeline.core.model import Float64, UInt32

Indices = npt.NDArray[np.uint16]
# Labels between plates k and k + 1 at shares of the way, (len(shares), H, W).
Between = Callable[[int, Sequence[float]], Indices]
LEVELS_A_VOXEL = 2  # planes a voxel between oblique plates
BEYOND = 0.5  # of the distance of the outermost plates from the next: how far they are continued
ON_PLATE = 1e-3  # of the distance between plates: nearer to a plate it is the plate


def fill_volume(stack: PlateStack, plates: Indices, between: Between, shape: tuple[int, int, int]) -> Indices:
    """Return the labels of a grid.

    Parameters
    ----------
    stack : PlateStack
        Where the plates lie.
    plates : (K, H, W) uint16
        Labels of the plates on the raster.
    between : callable
        Returns labels between two neighbouring plates.
    shape : tuple = (P, I, R)
        Voxels of the grid, whose origin is 0 and whose spacing is that of the raster.

    Returns
    -------
    (P, I, R) uint16
        0 beside the raster and more than half a plate distance beyond the outermost plates.
    """
    if stack.is_upright:
        return _upright(stack, plates, between, shape)
    return _oblique(stack, plates, between, shape)


def _upright(stack: PlateStack, plates: Indices, between: Between, shape: tuple[int, int, int]) -> Indices:
    """Fill planes of the grid one by one: each is parallel to the plates."""
    directions = [int(np.abs(axis).argmax()) for axis in stack.axes]
    signs = [float(stack.axes[k, d]) for k, d in enumerate(directions)]
    volume = np.zeros(shape, np.uint16)
    turned = volume.transpose(directions)  # height, rows, columns
    heights = np.arange(turned.shape[0]) * stack.spacing_um * signs[0]
    rows, in_rows = _raster_index(stack, 1, directions[1], signs[1], turned.shape[1])
    columns, in_columns = _raster_index(stack, 2, directions[2], signs[2], turned.shape[2])
    target, source = np.ix_(in_rows, in_columns), np.ix_(rows, columns)
    for k, planes in _planes_by_pair(heights, stack.heights[:, 0]).items():
        shares = [share for _, share in planes]
        labels = _shown(plates, between, k, shares)
        for (plane, _), image in zip(planes, labels, strict=True):
            turned[plane][target] = image[source]
    return volume


def _raster_index(
    stack: PlateStack, axis: int, direction: int, sign: float, count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return raster indices, and the voxels of an axis of the grid that have one."""
    along = (np.arange(count) * stack.spacing_um - stack.origin[direction]) * sign / stack.spacing_um
    index = np.floor(along + 0.5 + 1e-6).astype(np.int64)
    inside = (index >= 0) & (index < stack.labels.shape[axis])
    return index[inside], np.flatnonzero(inside)


def _planes_by_pair(heights: npt.NDArray[Any], plates: Float64) -> dict[int, list[tuple[int, float]]]:
    """Return planes and their shares of the way by the plate below them, the outermost continued."""
    found: dict[int, list[tuple[int, float]]] = {}
    last = len(plates) - 2
    for plane, height in enumerate(heights):
        k = int(np.clip(np.searchsorted(plates, height, side="right") - 1, 0, last))
        share = float((height - plates[k]) / (plates[k + 1] - plates[k]))
        if -BEYOND <= share <= 1 + BEYOND:
            found.setdefault(k, []).append((plane, share))
    return found


def _shown(plates: Indices, between: Between, k: int, shares: Sequence[float]) -> list[Indices]:
    """Return the planes at shares of the way: plates themselves where they lie, and beyond the outermost."""
    inner = [s for s in shares if ON_PLATE < s < 1 - ON_PLATE]
    drawn = iter(between(k, inner)) if inner else iter(())
    return [
        plates[k] if s <= ON_PLATE else plates[k + 1] if s >= 1 - ON_PLATE else next(drawn) for s in shares
    ]


def _oblique(stack: PlateStack, plates: Indices, between: Between, shape: tuple[int, int, int]) -> Indices:
    """Draw many planes between plates, and give each voxel the nearest."""
    counts = np.ceil(LEVELS_A_VOXEL * np.maximum(stack.gaps_um() / stack.spacing_um, 1)).astype(np.int64)
    starts = np.append(0, np.cumsum(counts))
    slices = np.empty((starts[-1] + 1, *plates.shape[1:]), np.uint16)
    for k, count in enumerate(counts):
        shares = np.arange(count) / count
        for at, image in enumerate(_shown(plates, between, k, shares.tolist())):
            slices[starts[k] + at] = image
    slices[-1] = plates[-1]
    volume = np.zeros(shape, np.uint16)
    to_raster = stack.axes / stack.spacing_um
    _gather(slices, starts, stack.heights / stack.spacing_um, to_raster, to_raster @ stack.origin, volume)
    return volume


@kernel
def _gather(
    slices: Indices,
    starts: npt.NDArray[np.int64],
    heights: Float64,
    axes: Float64,
    origin: Float64,
    volume: Indices,
) -> None:
    """Give each voxel the nearest pixel of the nearest slice; lengths in voxels."""
    rows, columns = slices.shape[1], slices.shape[2]
    spacing = 1.0 / np.sqrt((axes[0] ** 2).sum())
    last = len(heights) - 1
    for p in range(volume.shape[0]):
        for q in range(volume.shape[1]):
            k = 0
            for r in range(volume.shape[2]):
                y, x = 0.0, 0.0
                up = spacing * (axes[0, 0] * p + axes[0, 1] * q + axes[0, 2] * r) - origin[0]
                y = spacing * (axes[1, 0] * p + axes[1, 1] * q + axes[1, 2] * r) - origin[1]
                x = spacing * (axes[2, 0] * p + axes[2, 1] * q + axes[2, 2] * r) - origin[2]
                i, j = int(np.floor(y + 0.5 + 1e-6)), int(np.floor(x + 0.5 + 1e-6))
                if i < 0 or i >= rows or j < 0 or j >= columns:
                    continue
                k = min(k, last - 1)
                while (
                    k < last - 1 and up >= heights[k + 1, 0] + heights[k + 1, 1] * y + heights[k + 1, 2] * x
                ):
                    k += 1
                while k > 0 and up < heights[k, 0] + heights[k, 1] * y + heights[k, 2] * x:
                    k -= 1
                below = heights[k, 0] + heights[k, 1] * y + heights[k, 2] * x
                above = heights[k + 1, 0] + heights[k + 1, 1] * y + heights[k + 1, 2] * x
                share = (up - below) / (above - below)
                if share < -BEYOND or share > 1 + BEYOND:
                    continue
                share = min(max(share, 0.0), 1.0)
                at = starts[k] + int(np.floor(share * (starts[k + 1] - starts[k]) + 0.5 + 1e-6))
                volume[p, q, r] = slices[at, i, j]


def restore_lost(volume: UInt32, plates: Sequence[Plate], spacing_um: float) -> list[int]:
    """Draw structures of the plates that no voxel shows, where the plates have them.

    Parameters
    ----------
    volume : (P, I, R) uint32
        Structure ids, changed in place.
    plates : sequence of Plate
        The plates as given.
    spacing_um : float, um
        Voxel size.

    Returns
    -------
    list of int
        Ids that were lost, between planes of the grid or between its voxels. Those outside the grid stay
        so, as do those whose voxels are each the last one of another structure.
    """
    ids, counts = np.unique(volume, return_counts=True)
    voxels = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    shown = {plate.name: np.setdiff1d(plate.labels, [0, *ids]).tolist() for plate in plates}
    lost = sorted({one for missing in shown.values() for one in missing})
    places = {
        one: _voxels(one, [p for p in plates if one in shown[p.name]], volume, spacing_um) for one in lost
    }
    for one in sorted(lost, key=lambda one: len(places[one])):
        for place in map(tuple, places[one].tolist()):
            holder = int(volume[place])
            if holder and voxels[holder] == 1:
                continue  # the last voxel of another structure
            voxels[holder] = voxels.get(holder, 0) - 1
            voxels[one] = voxels.get(one, 0) + 1
            volume[place] = one
    return lost


def _voxels(one: int, plates: Sequence[Plate], volume: UInt32, spacing_um: float) -> npt.NDArray[np.int64]:
    """Return the voxels of a structure's pixels on plates, those of the most pixels first."""
    found = [np.empty((0, 3), np.int64)]
    for plate in plates:
        y, x = np.nonzero(plate.labels == one)
        places = plate.origin + x[:, None] * plate.right + y[:, None] * plate.down
        index = np.floor(places / spacing_um + 0.5 + 1e-6).astype(np.int64)
        found.append(index[((index >= 0) & (index < volume.shape)).all(axis=1)])
    voxels, pixels = np.unique(np.concatenate(found), axis=0, return_counts=True)
    return np.asarray(voxels[np.argsort(-pixels, kind="stable")])


def share_beyond(plates: Sequence[Plate], box_um: Sequence[float], spacing_um: Sequence[float]) -> float:
    """Return the share of the pixels with structures that a volume does not reach.

    Parameters
    ----------
    plates : sequence of Plate
        The plates.
    box_um : (3,) float, um
        Sides of the volume along (P, I, R); its first voxel lies at 0.
    spacing_um : (3,) float, um
        Its voxel size.

    Returns
    -------
    float
        Between 0 and 1.
    """
    half = np.asarray(spacing_um) / 2
    beyond = every = 0
    for plate in plates:
        y, x = np.nonzero(plate.labels)
        places = plate.origin + x[:, None] * plate.right + y[:, None] * plate.down
        beyond += int(((places < -half) | (places > np.asarray(box_um) - half)).any(axis=1).sum())
        every += len(places)
    return beyond / every
