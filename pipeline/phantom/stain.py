"""The appearance of tissue: random darkness by structure, texture, and the colour of a darkness."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.core.model import Float32, Float64
from pipeline.core.ontology import Ontology

# Darkness is 0-255 grey levels.
MEAN_DARKNESS = 46.0  # of tissue without cells, averaged over its volume
RANGE = (26.0, 95.0)  # of the darkness of a structure
SPREAD_FAMILY, SPREAD_OWN = 4.5, 8.0  # standard deviations: of each ancestor's draw, of the structure's own
FLUID_OVER_GLASS = 4.0  # darkness of ventricles above that of glass
VENTRICLES, ISOCORTEX = 73, 315  # structure ids
# Red and blue minus the grey of the same luma, by darkness: NBT/BCIP on pale tissue. Green follows from luma.
ANCHORS = np.array([0.0, 20.0, 40.0, 60.0, 100.0, 150.0, 200.0, 255.0])
RED = np.array([0.0, 5.0, 9.5, 11.5, 11.7, 10.3, 6.5, 0.0])
BLUE = np.array([0.0, 0.0, 2.0, 6.5, 11.5, 15.5, 15.5, 0.0])
LUMA = np.array([0.299, 0.587, 0.114])  # weights of R, G, B (ITU-R BT.601)
WANDER_UM = 3000.0  # knot spacing of the factor on expression within a section
RMS_OF_SPLINE = 151 / 315  # r.m.s. of a cubic B-spline in 2-D, of white coefficients of variance 1
COLOUR_STEPS = 8  # rows of the colour table per grey level


def draw_stain(
    ontology: Ontology, ids: npt.NDArray[np.uint32], voxels: npt.NDArray[np.int64], rng: np.random.Generator
) -> Float32:
    """Draw the darkness of every structure, glass (id 0) included.

    Structures of a family share a part of their draw, and a cortical layer looks alike across areas. Nothing
    depends on the template. Tissue has a darkness of 46 on average over its volume, 49 with its cells.

    Parameters
    ----------
    ontology : Ontology
        Gives the ancestors of each structure.
    ids : (n,) uint32
        Structures of a reference, 0 among them.
    voxels : (n,) int64
        Number of voxels of each.
    rng : Generator
        Source of all draws.

    Returns
    -------
    (n,) float32
        Darkness, 0-255.
    """
    glass = rng.uniform(10.0, 22.0)
    draws: dict[str, float] = {}
    values = np.array([_darkness(ontology, int(i), draws, rng) for i in ids])
    fluid = np.array([i in ontology.by_id and VENTRICLES in ontology.path(int(i)) for i in ids])
    tissue = (ids > 0) & ~fluid
    for _ in range(4):  # clipping moves the mean, so shift and clip are repeated
        mean = np.average(values[tissue], weights=np.maximum(voxels[tissue], 1))
        values = np.clip(values + MEAN_DARKNESS - mean, max(RANGE[0], glass + 8), RANGE[1])
    values[fluid] = glass + FLUID_OVER_GLASS
    values[ids == 0] = glass
    return values.astype(np.float32)


def _darkness(
    ontology: Ontology, structure_id: int, draws: dict[str, float], rng: np.random.Generator
) -> float:
    """Return the darkness of a structure: the mean, plus a draw for each ancestor and one of its own.

    `draws` keeps the draws by structure, so that relatives share them.
    """
    path = ontology.path(structure_id) if structure_id in ontology.by_id else (structure_id,)
    keys = [str(i) for i in path]
    if ISOCORTEX in path and structure_id != ISOCORTEX:
        keys[-1] = "layer " + ontology.by_id[structure_id].name.rsplit("ayer", 1)[-1].strip()
    total = MEAN_DARKNESS
    for depth, key in enumerate(keys):
        if key not in draws:
            draws[key] = rng.standard_normal()
        total += draws[key] * (SPREAD_OWN if depth == len(keys) - 1 else SPREAD_FAMILY)
    return float(total)


def colour_table() -> Float32:
    """Return red, green and blue minus grey for darkness 0, 1/8, .. 255; luma is unchanged.

    Returns
    -------
    (2041, 3) float32
        Offsets from grey, grey levels.
    """
    darkness = np.arange(255 * COLOUR_STEPS + 1) / COLOUR_STEPS
    red, blue = np.interp(darkness, ANCHORS, RED), np.interp(darkness, ANCHORS, BLUE)
    green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]
    return np.stack([red, green, blue], axis=1).astype(np.float32)


def texture(rng: np.random.Generator, shape: tuple[int, int], step_um: float, fraction: float) -> Float64:
    """Draw a factor about 1 that varies smoothly over 100 to 300 um.

    Parameters
    ----------
    rng : Generator
        Source of the noise.
    shape : (int, int)
        Rows and columns of the lattice.
    step_um : float, um
        Spacing of its nodes.
    fraction : float
        Standard deviation of the factor.

    Returns
    -------
    (rows, columns) float64
        The factor at the nodes, at least 0.1.

    Notes
    -----
    White noise is filtered in Fourier space by Gaussians of 100 and 300 um full width at half maximum.
    """
    if fraction <= 0:
        return np.ones(shape)
    noise = np.zeros(shape)
    for size_um in (100.0, 300.0):
        white = np.fft.rfft2(rng.standard_normal(shape))
        fy, fx = np.fft.fftfreq(shape[0], step_um), np.fft.rfftfreq(shape[1], step_um)
        sigma = size_um / 2.355  # full width at half maximum to standard deviation
        band = np.exp(-2 * (np.pi * sigma) ** 2 * (fy[:, None] ** 2 + fx[None, :] ** 2))
        part = np.fft.irfft2(white * band, shape)
        noise += part / part.std()
    # Pixels are interpolated between nodes, which lowers the variance: it is measured as pixels see it.
    between = ndimage.zoom(noise, 4, order=1)
    return np.asarray(np.maximum(1 + fraction * noise / between.std(), 0.1))


def wander(rng: np.random.Generator, shape: tuple[int, ...], resolution_um: float, spread: float) -> Float32:
    """Draw a factor on the expression of a section that wanders within it.

    Parameters
    ----------
    rng : Generator
        Source of the draws.
    shape : (int, int), px
        Rows and columns of the image.
    resolution_um : float, um
        Size of a pixel.
    spread : float
        Standard deviation of the logarithm.

    Returns
    -------
    (rows, columns) float32
        The factor, with a mean of 1.
    """
    knots = [int(np.ceil(n * resolution_um / WANDER_UM)) + 4 for n in shape]
    drawn = rng.standard_normal(knots)
    at = [np.arange(n, dtype=np.float64) * (resolution_um / WANDER_UM) + 1.5 for n in shape]
    # A separable cubic spline: two small products instead of one evaluation a pixel.
    rows, columns = (_cubic(places, count) for places, count in zip(at, knots, strict=True))
    field = rows @ drawn @ columns.T
    return np.exp(spread * field / RMS_OF_SPLINE - spread**2 / 2).astype(np.float32)


def _cubic(places: Float64, knots: int) -> Float64:
    """Return the weights of cubic B-splines at places in units of knots, (places, knots)."""
    away = np.abs(places[:, None] - np.arange(knots))
    near = (4 - 6 * away**2 + 3 * away**3) / 6
    return np.where(away < 1, near, np.where(away < 2, np.clip(2 - away, 0, None) ** 3 / 6, 0.0))
