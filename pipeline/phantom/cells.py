"""Cells: where they are, how dark, and how they add up to the energy asked for.

Cells are discs of 8 to 15 um thrown at random (a Boolean model). What is drawn later covers what is below,
so every visible point shows a cell of independent darkness. How a mean number of discs over a point, `mu`,
turns into expressing pixels depends on the pixel size; `calibrate` measures it once a resolution.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from pipeline.core.model import Float32, Float64
from pipeline.system.lazy import Later

if TYPE_CHECKING:
    from scipy import interpolate
else:
    interpolate = Later("scipy.interpolate")

RADIUS_UM = (4.0, 7.5)
MEAN_AREA_UM2 = float(np.pi * (RADIUS_UM[1] ** 3 - RADIUS_UM[0] ** 3) / 3 / (RADIUS_UM[1] - RADIUS_UM[0]))
ADDED_DARKNESS = (55.0, 150.0)
DARK_FROM_ENERGY, DARK_GAIN = 80.0, 75.0  # strong expression is also dark: the palest cells darken
FAINT_DARKNESS = (3.0, 25.0)
LARGEST_MU = 6.0
COARSEST_CALIBRATED_UM = 8.5
CALIBRATION_PX, CALIBRATION_SEED = 512, 77
SAMPLES = 8


class Calibration(NamedTuple):
    """What a mean number of discs over a point yields.

    Parameters
    ----------
    mu : (n,) float64           discs over a point, rising from 0
    density : (n,) float64      expressing pixels over pixels
    weight : (n,) float64       mean share of a cell's darkness in a pixel, over all pixels, if expressing
    """

    mu: Float64
    density: Float64
    weight: Float64


class Cells(NamedTuple):
    """Discs in drawing order: centre, radius, px; added darkness."""

    x: Float32
    y: Float32
    radius: Float32
    added: Float32


@cache
def calibrate(resolution_um: float) -> Calibration:
    """Measure how `mu` turns into expressing pixels at a resolution.

    Beyond 8.5 um a pixel is larger than most cells and expression cannot be seen; the cells then stay those
    of 8.5 um, and fewer pixels express than asked for.
    """
    pixel = min(resolution_um, COARSEST_CALIBRATED_UM)
    rng = np.random.default_rng(CALIBRATION_SEED)
    side = CALIBRATION_PX
    mu = np.concatenate([[0.0], np.geomspace(0.04, LARGEST_MU, 10)])
    density, weight = np.zeros(mu.size), np.zeros(mu.size)
    for k in range(1, mu.size):
        count = round(mu[k] * (side * pixel) ** 2 / MEAN_AREA_UM2)
        place = rng.uniform(-0.5, side - 0.5, (2, count)).astype(np.float32)
        radius = rng.permutation(np.linspace(*RADIUS_UM, count)) / pixel
        discs = Cells(place[0], place[1], radius.astype(np.float32), np.ones(count, np.float32))
        share, _ = draw_cells(discs, side, side)
        mask = share >= 0.5
        density[k], weight[k] = mask.mean(), share[mask].sum() / mask.size
    fine = np.concatenate([[0.0], np.geomspace(0.01, LARGEST_MU, 80)])
    return Calibration(
        fine,
        interpolate.PchipInterpolator(mu, density)(fine),
        interpolate.PchipInterpolator(mu, weight)(fine),
    )


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def discs_over_point(energy: float, tissue: float, calibration: Calibration) -> float:
    """Return the mean number of discs over a point that yields an energy on tissue of some darkness."""
    palest = ADDED_DARKNESS[0] + DARK_GAIN * min(energy / DARK_FROM_ENERGY, 1.0)
    added = 0.5 * (palest + ADDED_DARKNESS[1])
    low, high = 0, calibration.mu.size - 1
    if energy >= calibration.density[high] * tissue + calibration.weight[high] * added:
        return float(calibration.mu[high])
    while high - low > 1:
        k = (low + high) // 2
        if calibration.density[k] * tissue + calibration.weight[k] * added <= energy:
            low = k
        else:
            high = k
    below = calibration.density[low] * tissue + calibration.weight[low] * added
    above = calibration.density[high] * tissue + calibration.weight[high] * added
    part = (energy - below) / max(above - below, 1e-12)
    return float(calibration.mu[low] + part * (calibration.mu[high] - calibration.mu[low]))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _mean_discs(energy: Float32, tissue: Float32, calibration: Calibration) -> Float32:
    """Return the mean number of discs over every pixel, (h, w) float32."""
    mean = np.zeros(energy.shape, np.float32)
    for y in range(energy.shape[0]):
        for x in range(energy.shape[1]):
            if energy[y, x] > 0:
                mean[y, x] = discs_over_point(energy[y, x], tissue[y, x], calibration)
    return mean


def throw_cells(
    rng: np.random.Generator, energy: Float32, tissue: Float32, calibration: Calibration, resolution_um: float
) -> Cells:
    """Throw expressing cells so that the expected energy of every place is the one asked for.

    Parameters
    ----------
    energy : (h, w) float32         wanted darkness of expressing pixels per pixel
    tissue : (h, w) float32         darkness without expression
    """
    mean = _mean_discs(energy, tissue, calibration).ravel()
    here = np.flatnonzero(mean)
    centres = rng.poisson(mean[here] * (resolution_um**2 / MEAN_AREA_UM2))
    pixel = rng.permutation(np.repeat(here, centres))
    dx, dy, size, dark = rng.random((4, pixel.size), dtype=np.float32)
    y, x = np.divmod(pixel, energy.shape[1])
    palest = ADDED_DARKNESS[0] + DARK_GAIN * np.minimum(energy.ravel()[pixel] / DARK_FROM_ENERGY, 1)
    half = np.float32(0.5)
    return Cells(
        (x + dx - half).astype(np.float32),
        (y + dy - half).astype(np.float32),
        _radius_px(size, resolution_um),
        (palest + (ADDED_DARKNESS[1] - palest) * dark).astype(np.float32),
    )


def _radius_px(size: Float32, resolution_um: float) -> Float32:
    """Return radii for numbers from 0 to 1."""
    radius = (RADIUS_UM[0] + (RADIUS_UM[1] - RADIUS_UM[0]) * size) / resolution_um
    return np.asarray(radius, np.float32)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _coverage(dx: float, dy: float, radius: float) -> float:
    """Return the share of a unit pixel at (dx, dy) from the centre of a disc that the disc covers."""
    distance = np.sqrt(dx * dx + dy * dy)
    if distance + 0.7072 <= radius:
        return 1.0
    if distance - 0.7072 >= radius:
        return 0.0
    hits = 0
    for j in range(SAMPLES):
        sy = dy + (j + 0.5) / SAMPLES - 0.5
        for i in range(SAMPLES):
            sx = dx + (i + 0.5) / SAMPLES - 0.5
            if sx * sx + sy * sy < radius * radius:
                hits += 1
    return hits / (SAMPLES * SAMPLES)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def draw_cells(cells: Cells, height: int, width: int) -> tuple[Float32, Float32]:
    """Draw discs over one another.

    Returns
    -------
    share : (h, w) float32      of each pixel covered by cells
    added : (h, w) float32      darkness that they add
    """
    share = np.zeros((height, width), np.float32)
    added = np.zeros((height, width), np.float32)
    for k in range(cells.x.size):
        cx, cy, radius = cells.x[k], cells.y[k], cells.radius[k]
        for y in range(max(int(cy - radius), 0), min(int(cy + radius + 1.5), height - 1) + 1):
            for x in range(max(int(cx - radius), 0), min(int(cx + radius + 1.5), width - 1) + 1):
                c = _coverage(x - cx, y - cy, radius)
                if c > 0:
                    share[y, x] += (1 - share[y, x]) * c
                    added[y, x] += (cells.added[k] - added[y, x]) * c
    return share, added


def throw_faint(
    rng: np.random.Generator, labels: npt.NDArray[np.uint16], per_mm2: Float32, resolution_um: float
) -> Cells:
    """Throw cells that do not express.

    Parameters
    ----------
    labels : (h, w) uint16          compact labels
    per_mm2 : (n,) float32          cells per mm2 of each
    """
    height, width = labels.shape
    most = float(per_mm2.max())
    count = rng.poisson(most * labels.size * resolution_um**2 * 1e-6)
    x, y, luck, size, dark = rng.random((5, count), dtype=np.float32)
    column, row = (x * width).astype(np.int32), (y * height).astype(np.int32)
    kept = luck * most < per_mm2[labels[np.minimum(row, height - 1), np.minimum(column, width - 1)]]
    radius = _radius_px(size[kept], resolution_um)
    added = FAINT_DARKNESS[0] + (FAINT_DARKNESS[1] - FAINT_DARKNESS[0]) * dark[kept]
    half = np.float32(0.5)
    return Cells(
        x[kept] * width - half, y[kept] * height - half, radius.astype(np.float32), added.astype(np.float32)
    )
