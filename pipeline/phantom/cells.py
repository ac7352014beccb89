"""Cells: their positions, their darkness, and how many are needed for a wanted energy.

Cells are discs of 8 to 15 um diameter at random positions; their union is a Boolean model (Matheron 1975).
A disc that is drawn later covers those below it, so every visible point shows a cell of independent
darkness. How the mean number of discs over a point, `mu`, turns into expressing pixels depends on the pixel
size; `calibrate` measures that relation once per resolution.

References
----------
Matheron G. (1975) Random Sets and Integral Geometry. Wiley, New York.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import Float32, Float64
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    from scipy import interpolate
else:
    interpolate = LazyModule("scipy.interpolate")

RADIUS_UM = (4.0, 7.5)  # radii are uniform in this range
# Mean of pi r^2 over the uniform radii.
MEAN_AREA_UM2 = float(np.pi * (RADIUS_UM[1] ** 3 - RADIUS_UM[0] ** 3) / 3 / (RADIUS_UM[1] - RADIUS_UM[0]))
ADDED_DARKNESS = (55.0, 150.0)  # of an expressing cell over its tissue, grey levels, uniform
# Strong expression is also dark: the lower bound of the added darkness rises linearly with energy, by 75
# grey levels at an energy of 80 and above.
DARK_FROM_ENERGY, DARK_GAIN = 80.0, 75.0
FAINT_DARKNESS = (3.0, 25.0)  # of a cell that does not express, over its tissue, grey levels, uniform
LARGEST_MU = 6.0  # discs over a point; they cover 1 - exp(-6) = 99.8 % of the area
COARSEST_CALIBRATED_UM = 8.5  # beyond, a pixel is larger than most cells
CALIBRATION_PX, CALIBRATION_SEED = 512, 77  # side of the square test image, px
SAMPLES = 8  # sub-pixel samples along each axis at the rim of a disc


class Calibration(NamedTuple):
    """Expression that a mean number of discs over a point yields.

    Attributes
    ----------
    mu : (n,) float64
        Mean number of discs over a point, rising from 0.
    density : (n,) float64
        Expressing pixels over all pixels.
    weight : (n,) float64
        Share of a pixel that cells cover, summed over expressing pixels and divided by all pixels.
    """

    mu: Float64
    density: Float64
    weight: Float64


class Cells(NamedTuple):
    """Discs in drawing order.

    Attributes
    ----------
    x : (n,) float32, px
        Column of the centre; pixel centres are integers.
    y : (n,) float32, px
        Row of the centre.
    radius : (n,) float32, px
        Radius.
    added : (n,) float32
        Darkness that the cell adds to its tissue, grey levels.
    """

    x: Float32
    y: Float32
    radius: Float32
    added: Float32


@cache
def calibrate(resolution_um: float) -> Calibration:
    """Measure how `mu` turns into expressing pixels at a resolution.

    Beyond 8.5 um a pixel is larger than most cells and expression cannot be resolved. The relation measured
    at 8.5 um is then used, and fewer pixels express than asked for.

    Parameters
    ----------
    resolution_um : float, um
        Size of a drawn pixel.

    Returns
    -------
    Calibration
        The relation at 81 values of `mu` from 0 to 6.

    Notes
    -----
    Discs are drawn at 11 values of `mu`. Between them a monotone piecewise cubic is used, which does not
    overshoot (PCHIP, Fritsch and Butland 1984).
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
        # `mask` has the definition of `SectionTruth.expressing`: half a pixel or more is covered.
        density[k], weight[k] = mask.mean(), share[mask].sum() / mask.size
    fine = np.concatenate([[0.0], np.geomspace(0.01, LARGEST_MU, 80)])
    return Calibration(
        fine,
        interpolate.PchipInterpolator(mu, density)(fine),
        interpolate.PchipInterpolator(mu, weight)(fine),
    )


@kernel
def discs_over_point(energy: float, tissue: float, calibration: Calibration) -> float:
    """Return the mean number of discs over a point that yields a wanted energy.

    The expected energy, density x tissue + weight x added darkness, rises with `mu`. It is inverted by
    bisection over the table and linear interpolation.

    Parameters
    ----------
    energy : float
        Wanted darkness of expressing pixels per pixel, grey levels.
    tissue : float
        Darkness of the tissue without expression, grey levels.
    calibration : Calibration
        The relation at the resolution of the image.

    Returns
    -------
    float
        `mu`, at most the largest that was calibrated.
    """
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


@kernel
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
    """Place expressing cells so that the expected energy at every place is the one asked for.

    Parameters
    ----------
    rng : Generator
        Source of positions, radii, darkness and drawing order.
    energy : (h, w) float32
        Wanted darkness of expressing pixels per pixel, grey levels.
    tissue : (h, w) float32
        Darkness without expression, grey levels.
    calibration : Calibration
        The relation at this resolution.
    resolution_um : float, um
        Size of a drawn pixel.

    Returns
    -------
    Cells
        Discs in random order, Poisson distributed over the pixels.
    """
    mean = _mean_discs(energy, tissue, calibration).ravel()
    here = np.flatnonzero(mean)
    centres = rng.poisson(mean[here] * (resolution_um**2 / MEAN_AREA_UM2))
    # Shuffled: drawing order decides which cell is on top, and must not follow the raster.
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
    """Map uniform numbers from 0 to 1 to radii, px."""
    radius = (RADIUS_UM[0] + (RADIUS_UM[1] - RADIUS_UM[0]) * size) / resolution_um
    return np.asarray(radius, np.float32)


@kernel
def _coverage(dx: float, dy: float, radius: float) -> float:
    """Return the share of a unit pixel at (dx, dy) from the centre of a disc that the disc covers."""
    distance = np.sqrt(dx * dx + dy * dy)
    if distance + 0.7072 <= radius:  # half the diagonal of a pixel, rounded up
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


@kernel
def draw_cells(cells: Cells, height: int, width: int) -> tuple[Float32, Float32]:
    """Draw discs over one another, with anti-aliased rims.

    Parameters
    ----------
    cells : Cells
        Discs in drawing order.
    height : int, px
        Height of the image.
    width : int, px
        Width of the image.

    Returns
    -------
    share : (h, w) float32
        Share of each pixel that cells cover, 0-1.
    added : (h, w) float32
        Darkness that they add, grey levels.

    Notes
    -----
    A disc that covers the fraction c of a pixel replaces that fraction of what lies below it: the "over"
    operator (Porter and Duff 1984).
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
    """Place faint cells, which do not express.

    Parameters
    ----------
    rng : Generator
        Source of all draws.
    labels : (h, w) uint16
        Compact labels.
    per_mm2 : (n,) float32, 1/mm2
        Mean number of faint cells by compact label.
    resolution_um : float, um
        Size of a drawn pixel.

    Returns
    -------
    Cells
        Discs in random order.

    Notes
    -----
    Positions are a Poisson process at the largest of the densities, thinned to the density of each label
    (Lewis and Shedler 1979).
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
