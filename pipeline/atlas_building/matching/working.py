"""Volumes on the grid that brains are matched on: cubic voxels, so many that it takes a minute."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from pipeline.atlas_building.displacement import grid_points, sampled, slabs
from pipeline.atlas_building.sources import tissue_mask
from pipeline.core.model import Bool, Float32, Int32, UInt32
from pipeline.formats.volumes.reference_folder import present_labels
from pipeline.formats.volumes.volume_files import Volume

WORKING_VOXELS = 1_500_000  # a mouse brain at 100 um has 1.2 M
FINEST_WORKING_UM = 40.0


@dataclass(frozen=True, eq=False)
class WorkingBrain:
    """A brain on the working grid.

    Attributes
    ----------
    values : (P, I, R) float32
        Grey.
    mask : (P, I, R) bool
        Tissue.
    spacing_um : float, um
        Voxel size.
    """

    values: Float32
    mask: Bool
    spacing_um: float


def working_um(volumes: Sequence[Volume]) -> float:
    """Return the voxel size at which volumes are matched.

    Parameters
    ----------
    volumes : sequence of Volume
        All that are matched with each other.

    Returns
    -------
    float, um
        A multiple of 10: the coarsest that one of them needs.
    """
    sizes = [float(np.prod(volume.box_um)) for volume in volumes]
    least = max((size / WORKING_VOXELS) ** (1 / 3) for size in sizes)
    finest = max(FINEST_WORKING_UM, least, *(min(volume.spacing_um) for volume in volumes))
    return float(10.0 * np.ceil(finest / 10.0 - 1e-6))


def on_grid(volume: Volume, um: float) -> Float32:
    """Return a volume on a cubic grid, blurred as its coarser voxels need.

    Parameters
    ----------
    volume : Volume
        Any voxel size.
    um : float, um
        Voxel size of the result.

    Returns
    -------
    (P, I, R) float32
        Over the same box, at least 8 voxels along each axis.
    """
    shape = [max(8, int(np.ceil(side / um - 1e-6))) for side in volume.box_um]
    factors = [max(1, int(um / own / 2)) for own in volume.spacing_um]
    values = block_means(volume.values, factors)
    spacing = np.array(volume.spacing_um) * factors
    offset = np.array(volume.spacing_um) * (np.array(factors) - 1) / 2
    blur = [0.4 * max(0.0, um / own - 1.0) for own in spacing]
    smooth = ndimage.gaussian_filter(values, blur, mode="nearest") if any(blur) else values
    last = np.array(values.shape) - 1
    out = np.empty(shape, np.float32)
    for planes in slabs(shape):
        places = (grid_points(shape, [um] * 3, planes) - offset) / spacing
        out[planes] = sampled(smooth, np.clip(places, 0, last)).reshape(-1, *shape[1:])
    return out


def block_means(values: npt.NDArray[np.generic], factors: Sequence[int]) -> Float32:
    """Return the means of blocks of voxels.

    Parameters
    ----------
    values : (P, I, R) array
        Volume.
    factors : (3,) int
        Voxels of a block along each axis; what is left over at the far ends is dropped.

    Returns
    -------
    (P // f, I // f, R // f) float32
        Made plane by plane, so that a large volume is not copied.
    """
    p, i, r = (n // f for n, f in zip(values.shape, factors, strict=True))
    f, g, h = factors
    out = np.empty((p, i, r), np.float32)
    for k in range(p):
        part = values[k * f : (k + 1) * f, : i * g, : r * h].reshape(f, i, g, r, h)
        out[k] = part.mean(axis=(0, 2, 4), dtype=np.float32)
    return out


def working_brain(volume: Volume, um: float) -> WorkingBrain:
    """Return a brain on the working grid, and its tissue.

    Parameters
    ----------
    volume : Volume
        A brain of any contrast.
    um : float, um
        Working voxel.

    Returns
    -------
    WorkingBrain
        On a cubic grid over the same box.

    Raises
    ------
    DataError
        Where it shows no tissue.
    """
    values = on_grid(volume, um)
    mask = tissue_mask(Volume(values, (um,) * 3, volume.path))
    return WorkingBrain(values, mask, um)


@dataclass(frozen=True, eq=False)
class Structures:
    """The structures of a working grid, numbered.

    Attributes
    ----------
    index : (P, I, R) int32
        0 outside, else 1 and above: the structure at the middle of each voxel.
    shares : (P x I x R, n) sparse float32
        Share of each structure in each voxel.
    """

    index: Int32
    shares: sparse.csr_array


def structures_of(labels: UInt32, spacing_um: Sequence[float], um: float, shape: Sequence[int]) -> Structures:
    """Return the structures of a working grid.

    Parameters
    ----------
    labels : (P, I, R) uint32
        Structure ids, 0 outside.
    spacing_um : (3,) float, um
        Their voxel size.
    um : float, um
        Working voxel.
    shape : (3,) int
        Working voxels.

    Returns
    -------
    Structures
        Shares by the labels nearest to eight places in each voxel.
    """
    ids = np.union1d(present_labels(labels), np.zeros(1, np.uint32))

    def seen(offset: Sequence[float]) -> Int32:
        at = [
            np.clip(np.rint((np.arange(n) + part) * um / own).astype(np.intp), 0, count - 1)
            for n, own, count, part in zip(shape, spacing_um, labels.shape, offset, strict=True)
        ]
        return np.searchsorted(ids, labels[np.ix_(*at)]).astype(np.int32)

    places = itertools.product((-0.25, 0.25), repeat=3)
    columns = np.stack([seen(offset).ravel() for offset in places], axis=1)
    ends = np.arange(0, columns.size + 1, 8, dtype=np.int32)
    eighths = np.full(columns.size, 0.125, np.float32)
    shares = sparse.csr_array((eighths, columns.ravel(), ends), shape=(len(columns), len(ids)))
    shares.sum_duplicates()
    return Structures(seen((0.0, 0.0, 0.0)), shares)
