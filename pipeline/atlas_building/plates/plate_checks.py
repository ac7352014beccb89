"""Whether the order of plates agrees with what they show, and how a volume shows its plates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.atlas_building.plates.plate_series import Plate
from pipeline.core.errors import DataError
from pipeline.core.model import Bool, Float64, UInt32

OVERLAP_PX = 96  # longer side that plates are reduced to for their overlap, about
LEAST_GAIN = 0.05  # of overlap, by which plates in exchanged places must fit their neighbours better


@dataclass(frozen=True)
class StructureCheck:
    """How the volume shows a structure of a plate.

    Attributes
    ----------
    file : str
        The plate.
    id : int
        The structure.
    pixels : int
        Pixels of the plate that show it.
    voxels : int
        Pixels whose nearest voxel shows it.
    dice : float
        Agreement of both.
    """

    file: str
    id: int
    pixels: int
    voxels: int
    dice: float


def check_order(plates: Sequence[Plate], labels: npt.NDArray[np.integer]) -> None:
    """Refuse plates that fit their neighbours better in exchanged places.

    Parameters
    ----------
    plates : sequence of Plate
        In order.
    labels : (K, H, W) integers
        The same on a common raster.

    Raises
    ------
    DataError
        Naming the pair that fits best when exchanged, as the plates lie and with their centres brought to one
        place. What one of the two contradicts is no clear evidence, and taken.
    """
    lying, centred = plate_overlaps(labels), plate_overlaps(_centred(labels))
    best, pair = LEAST_GAIN, None
    for i in range(len(plates)):
        for j in range(i + 1, len(plates)):
            gain = min(_gain(lying, i, j), _gain(centred, i, j))
            if gain > best:
                best, pair = gain, (i, j)
    if pair is not None:
        first, second = (plates[k].name for k in pair)
        raise DataError(
            f"{first} and {second}: expected plates in the order of their positions, but they overlap more"
            " with their neighbours in exchanged places; correct plates.csv, or add --trust-positions"
        )


def _centred(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Bring the centres of all plates to one place: a body that leans drifts from plate to plate."""
    moved = np.empty_like(labels)
    for plate, out in zip(labels, moved, strict=True):
        if not plate.any():  # its structures lie between the pixels of the raster
            out[:] = plate
            continue
        centre = [round(float(pixels.mean())) for pixels in np.nonzero(plate)]
        out[:] = np.roll(plate, [n // 2 - at for n, at in zip(plate.shape, centre, strict=True)], (0, 1))
    return moved


def plate_overlaps(labels: npt.NDArray[np.integer]) -> Float64:
    """Return how much any two plates overlap.

    Parameters
    ----------
    labels : (K, H, W) integers
        Plates on a common raster, 0 outside.

    Returns
    -------
    (K, K) float64
        Pixels that show the same structure in both, of the mean number of pixels with structures.
    """
    step = max(1, max(labels.shape[1:]) // OVERLAP_PX)
    small = labels[:, step // 2 :: step, step // 2 :: step].reshape(len(labels), -1)
    inside = small != 0
    sizes = inside.sum(axis=1)
    same = np.array([((small == one) & there).sum(axis=1) for one, there in zip(small, inside, strict=True)])
    return np.asarray(2.0 * same / np.maximum(sizes[:, None] + sizes[None, :], 1))


def _gain(overlaps: Float64, i: int, j: int) -> float:
    """Return by how much the overlaps with neighbours grow when plates i and j change places.

    The least of them must grow too: in a body with a plane of symmetry, plates of both sides look alike, and
    putting them side by side makes some overlaps larger and another one small.
    """
    count = len(overlaps)
    swapped = {i: j, j: i}
    links = {(k, k + 1) for at in (i, j) for k in (at - 1, at) if k >= 0 and k + 1 < count}
    before = [float(overlaps[a, b]) for a, b in links]
    after = [float(overlaps[swapped.get(a, a), swapped.get(b, b)]) for a, b in links]
    return sum(after) - sum(before) if min(after) > min(before) + LEAST_GAIN / 2 else 0.0


def check_plates(volume: UInt32, plates: Sequence[Plate], spacing_um: float) -> Iterator[StructureCheck]:
    """Hold a volume against its plates.

    Parameters
    ----------
    volume : (P, I, R) uint32
        Structure ids.
    plates : sequence of Plate
        What it was made from.
    spacing_um : float, um
        Voxel size.

    Yields
    ------
    StructureCheck
        One a plate and structure.
    """
    for plate in plates:
        seen = seen_on_plate(volume, plate, spacing_um)
        ids, inverse = np.unique(np.stack([plate.labels, seen]), return_inverse=True)
        drawn, there = inverse.reshape(2, -1)
        pixels = np.bincount(drawn, minlength=len(ids))
        voxels = np.bincount(there, minlength=len(ids))
        both = np.bincount(drawn[drawn == there], minlength=len(ids))
        for k, one in enumerate(ids.tolist()):
            if one and pixels[k]:
                dice = 2 * both[k] / (pixels[k] + voxels[k])
                yield StructureCheck(plate.name, one, int(pixels[k]), int(voxels[k]), float(dice))


def seen_on_plate(volume: UInt32, plate: Plate, spacing_um: float) -> UInt32:
    """Return what a volume shows at the pixels of a plate.

    Parameters
    ----------
    volume : (P, I, R) uint32
        Structure ids.
    plate : Plate
        Where the pixels lie.
    spacing_um : float, um
        Voxel size.

    Returns
    -------
    (H, W) uint32
        The nearest voxel of each pixel, 0 outside the volume.
    """
    index = _nearest_voxels(plate, spacing_um)
    inside = inside_volume(volume, plate, spacing_um)
    seen = np.zeros(plate.labels.shape, np.uint32)
    seen[inside] = volume[tuple(index[inside].T)]
    return seen


def inside_volume(volume: UInt32, plate: Plate, spacing_um: float) -> Bool:
    """Tell which pixels of a plate have a voxel.

    Parameters
    ----------
    volume : (P, I, R) uint32
        Structure ids.
    plate : Plate
        Where the pixels lie.
    spacing_um : float, um
        Voxel size.

    Returns
    -------
    (H, W) bool
        True where the nearest voxel lies in the volume.
    """
    index = _nearest_voxels(plate, spacing_um)
    return np.asarray(((index >= 0) & (index < volume.shape)).all(axis=-1))


def _nearest_voxels(plate: Plate, spacing_um: float) -> npt.NDArray[np.int64]:
    y, x = (np.arange(n) for n in plate.labels.shape)
    places = plate.origin + x[:, None] * plate.right + y[:, None, None] * plate.down
    return np.floor(places / spacing_um + 0.5 + 1e-6).astype(np.int64)
