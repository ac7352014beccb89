"""What tissue looks like: its darkness by structure, drawn at random, and the colour of a darkness."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.core.model import Float32, Float64
from pipeline.core.ontology import Ontology

MEAN_DARKNESS = 46.0
RANGE = (26.0, 95.0)
SPREAD_FAMILY, SPREAD_OWN = 4.5, 8.0
FLUID_OVER_GLASS = 4.0
VENTRICLES, ISOCORTEX = 73, 315
# Colour against grey of the same luma, by darkness: NBT/BCIP on pale tissue. Green follows from luma.
ANCHORS = np.array([0.0, 20.0, 40.0, 60.0, 100.0, 150.0, 200.0, 255.0])
RED = np.array([0.0, 5.0, 9.5, 11.5, 11.7, 10.3, 6.5, 0.0])
BLUE = np.array([0.0, 0.0, 2.0, 6.5, 11.5, 15.5, 15.5, 0.0])
LUMA = np.array([0.299, 0.587, 0.114])
COLOUR_STEPS = 8


def draw_stain(
    ontology: Ontology, ids: npt.NDArray[np.uint32], voxels: npt.NDArray[np.int64], rng: np.random.Generator
) -> Float32:
    """Draw the darkness of every structure, glass (id 0) included.

    Families share a part of their draw, and a cortical layer looks alike across areas; nothing depends on
    the template. Tissue is 46 on average over its volume, 49 with its cells.

    Parameters
    ----------
    ids : (n,) uint32       the structures of a reference, 0 among them
    voxels : (n,) int64     how large each is

    Returns
    -------
    (n,) float32            darkness, 0-255
    """
    glass = rng.uniform(10.0, 22.0)
    draws: dict[str, float] = {}
    values = np.array([_darkness(ontology, int(i), draws, rng) for i in ids])
    fluid = np.array([i in ontology.by_id and VENTRICLES in ontology.path(int(i)) for i in ids])
    tissue = (ids > 0) & ~fluid
    for _ in range(4):
        mean = np.average(values[tissue], weights=np.maximum(voxels[tissue], 1))
        values = np.clip(values + MEAN_DARKNESS - mean, max(RANGE[0], glass + 8), RANGE[1])
    values[fluid] = glass + FLUID_OVER_GLASS
    values[ids == 0] = glass
    return values.astype(np.float32)


def _darkness(
    ontology: Ontology, structure_id: int, draws: dict[str, float], rng: np.random.Generator
) -> float:
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
    """Return red, green and blue minus grey for darkness 0, 1/8, .. 255; luma stays what it is.

    Returns
    -------
    (2041, 3) float32
    """
    darkness = np.arange(255 * COLOUR_STEPS + 1) / COLOUR_STEPS
    red, blue = np.interp(darkness, ANCHORS, RED), np.interp(darkness, ANCHORS, BLUE)
    green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]
    return np.stack([red, green, blue], axis=1).astype(np.float32)


def texture(rng: np.random.Generator, shape: tuple[int, int], step_um: float, fraction: float) -> Float64:
    """Draw a factor about 1 that varies smoothly over 100 to 300 um.

    Parameters
    ----------
    shape : (rows, columns)     of the lattice, one node every `step_um`
    fraction : float            standard deviation of the factor
    """
    if fraction <= 0:
        return np.ones(shape)
    noise = np.zeros(shape)
    for size_um in (100.0, 300.0):
        white = np.fft.rfft2(rng.standard_normal(shape))
        fy, fx = np.fft.fftfreq(shape[0], step_um), np.fft.rfftfreq(shape[1], step_um)
        sigma = size_um / 2.355
        band = np.exp(-2 * (np.pi * sigma) ** 2 * (fy[:, None] ** 2 + fx[None, :] ** 2))
        part = np.fft.irfft2(white * band, shape)
        noise += part / part.std()
    between = ndimage.zoom(noise, 4, order=1)
    return np.asarray(np.maximum(1 + fraction * noise / between.std(), 0.1))
