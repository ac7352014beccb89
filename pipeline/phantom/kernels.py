"""The compiled loops over the pixels of a section."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import MIDLINE_UM, Bool, Float32, Float64, Int64, UInt8, UInt32
from pipeline.phantom.stain import COLOUR_STEPS

VOXEL_UM = 200.0  # of the grid of sums
NOISE_SIDE = 1024  # side of the noise tile that repeats over the image, px


class Volume(NamedTuple):
    """The brain that is cut: compact labels and their tables.

    Attributes
    ----------
    labels : (P, I, R) uint16
        Index into the tables, 0 outside.
    spacing_um : float, um
        Voxel size of `labels`.
    darkness : (n,) float32
        Darkness of the tissue by compact label, grey levels.
    energy : (n,) float32
        Wanted energy by compact label, grey levels.
    solid : (n,) bool
        Whether a compact label can hold cells: not glass, not a ventricle.
    grid : (P, I, R) float32
        Wanted energy at `grid_um`, below 0 where there is no data; (0, 0, 0) where `energy` decides.
    grid_um : float, um
        Voxel size of `grid`.
    """

    labels: npt.NDArray[np.uint16]
    spacing_um: float
    darkness: Float32
    energy: Float32
    solid: Bool
    grid: Float32
    grid_um: float


class Lattice(NamedTuple):
    """Node values over an image, bilinear between them.

    Attributes
    ----------
    step_px : int, px
        Spacing of the nodes.
    nodes : (rows, columns, 3) float64, um
        Reference positions (P, I, R).
    texture : (rows, columns) float64
        Factor on the stain.
    light : (rows, columns) float32
        Factor on the light.
    """

    step_px: int
    nodes: Float64
    texture: Float64
    light: Float32


def distinct(annotation: UInt32) -> UInt32:
    """Return the structure ids of an annotation.

    Parameters
    ----------
    annotation : (P, I, R) uint32
        Structure ids.

    Returns
    -------
    (n,) uint32
        Sorted ids without repeats, 0 among them.
    """
    return np.unique(np.array(_met(annotation), np.uint32))


@kernel
def _met(annotation: UInt32) -> list[np.uint32]:
    """Return 0 and every label, some of them more than once."""
    # A direct-mapped cache by the low 16 bits: labels that share them are listed again on each change,
    # which costs less than a set lookup for every voxel.
    seen = np.zeros(65536, np.uint32)
    found = [np.uint32(0)]
    last = np.uint32(0)
    for p in range(annotation.shape[0]):
        for i in range(annotation.shape[1]):
            for r in range(annotation.shape[2]):
                label = annotation[p, i, r]
                if label != last:
                    last = label
                    if seen[label & 65535] != label:
                        seen[label & 65535] = label
                        found.append(label)
    return found


@kernel
def _position(ids: UInt32, label: int) -> int:
    """Return the index of a label in sorted ids, by bisection."""
    low, high = 0, ids.size - 1
    while low < high:
        middle = (low + high) // 2
        if ids[middle] < label:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def compact(annotation: UInt32, ids: UInt32) -> tuple[npt.NDArray[np.uint16], Int64]:
    """Replace structure ids by their index in the sorted `ids`.

    Parameters
    ----------
    annotation : (P, I, R) uint32
        Structure ids.
    ids : (n,) uint32
        All ids that occur, sorted.

    Returns
    -------
    labels : (P, I, R) uint16
        Compact labels.
    voxels : (n,) int64
        Number of voxels of each id.
    """
    out = np.empty(annotation.shape, np.uint16)
    voxels = np.zeros(ids.size, np.int64)
    last, index = ids[0], 0  # neighbours mostly share a label, so the last answer is kept
    for p in range(annotation.shape[0]):
        for i in range(annotation.shape[1]):
            for r in range(annotation.shape[2]):
                if annotation[p, i, r] != last:
                    last = annotation[p, i, r]
                    index = _position(ids, last)
                out[p, i, r] = index
                voxels[index] += 1
    return out, voxels


@kernel
def _between(values: Float64, i: int, j: int, fx: float, fy: float) -> float:
    """Return the bilinear value at fraction (fx, fy) of the cell whose first node is (row j, column i)."""
    top = values[j, i] * (1 - fx) + values[j, i + 1] * fx
    return float(top * (1 - fy) + (values[j + 1, i] * (1 - fx) + values[j + 1, i + 1] * fx) * fy)


@kernel
def _inside(shape: tuple[int, int, int], a: int, b: int, c: int, margin: int) -> bool:
    """Return whether a voxel and `margin` more on every side lie in an array."""
    near = a >= margin and b >= margin and c >= margin
    return near and a + margin < shape[0] and b + margin < shape[1] and c + margin < shape[2]


@kernel
def _nearest(labels: npt.NDArray[np.uint16], p: float, i: float, r: float) -> int:
    """Return the compact label of the nearest voxel, 0 outside; positions in voxels."""
    a, b, c = int(np.rint(p)), int(np.rint(i)), int(np.rint(r))
    return int(labels[a, b, c]) if _inside(labels.shape, a, b, c, 0) else 0


@kernel
def _weight(offset: float, step: int) -> float:
    """Return the quadratic B-spline weight of the voxel `step` (0, 1, 2 = before, nearest, after)."""
    if step == 0:
        return 0.5 * (0.5 - offset) ** 2
    if step == 1:
        return 0.75 - offset * offset
    return 0.5 * (0.5 + offset) ** 2


@kernel
def _soft(volume: Volume, p: float, i: float, r: float) -> tuple[float, float]:
    """Return darkness and energy smoothed by a quadratic B-spline, so that borders do not show voxels."""
    labels = volume.labels
    a, b, c = int(np.rint(p)), int(np.rint(i)), int(np.rint(r))
    if not _inside(labels.shape, a, b, c, 1):
        return float(volume.darkness[0]), 0.0
    w0, w1, w2 = _weight(r - c, 0), _weight(r - c, 1), _weight(r - c, 2)
    darkness = energy = 0.0
    for da in range(-1, 2):
        wa = _weight(p - a, da + 1)
        for db in range(-1, 2):
            w = wa * _weight(i - b, db + 1)
            row = labels[a + da, b + db]
            x, y, z = row[c - 1], row[c], row[c + 1]
            darkness += w * (w0 * volume.darkness[x] + w1 * volume.darkness[y] + w2 * volume.darkness[z])
            energy += w * (w0 * volume.energy[x] + w1 * volume.energy[y] + w2 * volume.energy[z])
    return darkness, energy


@kernel
def _grid_value(grid: Float32, p: float, i: float, r: float) -> float:
    """Return a grid at a point, trilinear over the voxels that have data; 0 where none has."""
    a, b, c = int(np.floor(p)), int(np.floor(i)), int(np.floor(r))
    total = weight = 0.0
    for da in range(2):
        for db in range(2):
            wab = (p - a if da else 1 - p + a) * (i - b if db else 1 - i + b)
            for dc in range(2):
                if _inside(grid.shape, a + da, b + db, c + dc, 0) and grid[a + da, b + db, c + dc] >= 0:
                    w = wab * (r - c if dc else 1 - r + c)
                    total += w * grid[a + da, b + db, c + dc]
                    weight += w
    return total / weight if weight > 1e-6 else 0.0


@kernel
def look_up(
    volume: Volume, lattice: Lattice, gone: UInt8, gain: float
) -> tuple[npt.NDArray[np.uint16], Float32, Float32]:
    """Look up every pixel in the brain.

    Parameters
    ----------
    volume : Volume
        The brain.
    lattice : Lattice
        Reference positions and stain texture over the image.
    gone : (h, w) uint8
        1 where tissue is missing.
    gain : float
        Factor on the darkness of the tissue over glass, for the whole section.

    Returns
    -------
    labels : (h, w) uint16
        Compact label at the true place of the pixel, nearest voxel, also where tissue is missing.
    tissue : (h, w) float32
        Darkness without cells, grey levels.
    energy : (h, w) float32
        Wanted energy, grey levels.
    """
    height, width = gone.shape
    labels = np.zeros((height, width), np.uint16)
    tissue, energy = np.empty((height, width), np.float32), np.zeros((height, width), np.float32)
    glass, scale = volume.darkness[0], 1 / volume.spacing_um
    for y in range(height):
        j = y // lattice.step_px
        fy = (y - j * lattice.step_px) / lattice.step_px
        for x in range(width):
            i = x // lattice.step_px
            fx = (x - i * lattice.step_px) / lattice.step_px
            p = _between(lattice.nodes[:, :, 0], i, j, fx, fy)
            q = _between(lattice.nodes[:, :, 1], i, j, fx, fy)
            r = _between(lattice.nodes[:, :, 2], i, j, fx, fy)
            label = _nearest(volume.labels, p * scale, q * scale, r * scale)
            labels[y, x] = label
            tissue[y, x] = glass
            if gone[y, x]:
                continue
            stain, wanted = _soft(volume, p * scale, q * scale, r * scale)
            factor = gain * _between(lattice.texture, i, j, fx, fy)
            tissue[y, x] = glass + (stain - glass) * factor
            if not volume.solid[label]:
                continue
            if volume.grid.size > 0:
                g = 1 / volume.grid_um
                wanted = _grid_value(volume.grid, p * g, q * g, r * g)
            energy[y, x] = wanted
    return labels, tissue, energy


@kernel
def tally(
    lattice: Lattice,
    labels: npt.NDArray[np.uint16],
    darkness: Float32,
    expressing: npt.NDArray[Any],
    sums: tuple[Float64, Float64],
) -> None:
    """Add a section to the true sums.

    Parameters
    ----------
    lattice : Lattice
        Reference positions over the image.
    labels : (h, w) uint16
        Compact label of every pixel.
    darkness : (h, w) float32
        Darkness with cells, grey levels.
    expressing : (h, w) bool
        Which pixels express.
    sums : (2, n, 4) float64 and (P, I, R, 4) float64
        Sums by hemisphere (left, right) and compact label, and by 200 um voxel; changed in place. The four
        are pixels, expressing pixels, darkness of expressing pixels and darkness of all pixels.
    """
    by_label, by_voxel = sums
    height, width = labels.shape
    for y in range(height):
        j = y // lattice.step_px
        fy = (y - j * lattice.step_px) / lattice.step_px
        for x in range(width):
            i = x // lattice.step_px
            fx = (x - i * lattice.step_px) / lattice.step_px
            p = _between(lattice.nodes[:, :, 0], i, j, fx, fy)
            q = _between(lattice.nodes[:, :, 1], i, j, fx, fy)
            r = _between(lattice.nodes[:, :, 2], i, j, fx, fy)
            value = darkness[y, x]
            cells = by_label[0 if r < MIDLINE_UM else 1, labels[y, x]]
            _add(cells, value, expressing[y, x])
            a, b, c = int(np.rint(p / VOXEL_UM)), int(np.rint(q / VOXEL_UM)), int(np.rint(r / VOXEL_UM))
            if _inside(by_voxel.shape[:3], a, b, c, 0):
                _add(by_voxel[a, b, c], value, expressing[y, x])


@kernel
def _add(cells: Float64, value: float, expressing: bool) -> None:
    """Add one pixel to the four sums of a cell."""
    cells[0] += 1
    cells[3] += value
    if expressing:
        cells[1] += 1
        cells[2] += value


@kernel
def develop(
    darkness: Float32, lattice: Lattice, colour: Float32, noise: Float32, tone: tuple[float, float]
) -> UInt8:
    """Turn darkness into an RGB picture under the given light.

    Under even light, without gain, gamma and noise, luma is 255 - darkness.

    Parameters
    ----------
    darkness : (h, w) float32
        Darkness of every pixel, 0-255.
    lattice : Lattice
        Light over the image.
    colour : (n, 3) float32
        Red, green and blue minus grey by darkness, COLOUR_STEPS rows per grey level: `stain.colour_table`.
    noise : (1024, 1024) float32
        Tile of sensor noise, grey levels.
    tone : (float, float)
        Gain and gamma: luma becomes 255 (gain x luma / 255) ** gamma.

    Returns
    -------
    (h, w, 3) uint8
        The picture.
    """
    height, width = darkness.shape
    out = np.empty((height, width, 3), np.uint8)
    gain, gamma = tone
    top = (colour.shape[0] - 1) / COLOUR_STEPS
    for y in range(height):
        j = y // lattice.step_px
        fy = (y - j * lattice.step_px) / lattice.step_px
        for x in range(width):
            i = x // lattice.step_px
            fx = (x - i * lattice.step_px) / lattice.step_px
            luma = (255 - darkness[y, x]) * gain * _between(lattice.light, i, j, fx, fy)
            if gamma != 1.0:
                luma = 255 * (max(luma, 0.0) / 255) ** gamma
            luma = min(max(luma + noise[y % NOISE_SIDE, x % NOISE_SIDE], 0.0), 255.0)
            row = int(min(255 - luma, top) * COLOUR_STEPS)
            for k in range(3):
                out[y, x, k] = np.uint8(min(max(luma + colour[row, k] + 0.5, 0.0), 255.0))
    return out
