"""Small sections with known expression, drawn from discs: nothing of the package is used to draw them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.detection import SectionContext, measure_section, pool_contexts

GLASS, TISSUE = 12.0, 48.0


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture (h, w, 3) uint8, which of its pixels express and which are tissue."""

    pixels: npt.NDArray[np.uint8]
    expressing: npt.NDArray[np.bool_]
    tissue: npt.NDArray[np.bool_]
    um: float

    def context(self, pixels: npt.NDArray[np.uint8] | None = None) -> SectionContext:
        """Measure the picture, or another one of the same section, at its own pixel size."""
        image = self.pixels if pixels is None else pixels
        whole = np.ones(image.shape[:2], np.bool_)
        return pool_contexts([measure_section(image, whole, self.um)])[0]


def colour(darkness: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Paint darkness in the colour of NBT/BCIP; luma is 255 - darkness."""
    share = np.array([0.06, -0.05, 0.1])
    rgb = (255.0 - darkness)[..., None] + share * np.minimum(darkness, 150.0)[..., None]
    return np.floor(rgb.clip(0, 255) + 0.5).astype(np.uint8)


def throw_discs(
    where: npt.NDArray[np.bool_], um: float, coverage: float, added: tuple[float, float], seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Throw discs of 8 to 15 um on a region until they cover a share of it; darkness added, and the mask."""
    rng = np.random.default_rng(seed)
    height, width = where.shape
    over, share = np.zeros(where.shape), np.zeros(where.shape)
    rows, columns = np.nonzero(where)
    reach = int(np.ceil(7.5 / um)) + 1
    offsets = np.arange(-reach, reach + 1)
    while (share[where] >= 0.5).mean() < coverage:
        for index in rng.integers(0, rows.size, 100):
            y, x = rows[index], columns[index]
            if not (reach <= y < height - reach and reach <= x < width - reach):
                continue
            dy, dx = rng.uniform(-0.5, 0.5, 2)
            radius = rng.uniform(4.0, 7.5) / um
            away = np.hypot(offsets[:, None] - dy, offsets[None, :] - dx)
            part = np.s_[y - reach : y + reach + 1, x - reach : x + reach + 1]
            cover = np.clip(radius + 0.5 - away, 0.0, 1.0)
            over[part] += cover * (rng.uniform(*added) - over[part])
            share[part] = np.maximum(share[part], cover)
    return over, share >= 0.5


def draw(
    um: float = 4.0,
    *,
    coverage: float = 0.0,
    added: tuple[float, float] = (55.0, 150.0),
    band_um: float = 0.0,
    rim: float = 0.0,
    seed: int = 0,
    size_um: tuple[float, float] = (2000.0, 3000.0),
) -> Scene:
    """Draw an oval of tissue with faint cells everywhere, and on it what is asked for.

    Parameters
    ----------
    coverage : float            share of the tissue covered by expressing cells
    band_um : float             width of a curved band that expresses fully
    rim : float                 darkness that the edge of the tissue adds, 12 um wide
    """
    height, width = (int(length / um) for length in size_um)
    y, x = np.mgrid[0:height, 0:width]
    away = np.hypot((y - height / 2) / (0.4 * height), (x - width / 2) / (0.4 * width))
    tissue = away < 1
    faint, _ = throw_discs(tissue, um, 0.1, (3.0, 25.0), seed + 1)
    level = TISSUE + 8.0 * np.sin(x * um / 300.0)
    dark = np.where(tissue, level + faint, GLASS)
    inner = cv2.distanceTransform(tissue.astype(np.uint8), cv2.DIST_L2, 5) * um
    dark[tissue & (inner < 12.0)] += rim
    expressing = np.zeros(tissue.shape, np.bool_)
    if coverage:
        over, expressing = throw_discs(inner > 60.0, um, coverage, added, seed + 2)
        dark += over
    if band_um:
        line = height / 2 * um - 150.0 * np.sin((x - width / 2) * um / 400.0)
        band = (np.abs(y * um - line) < band_um / 2) & (np.abs(x - width / 2) * um < 0.25 * width * um)
        dark[band] = 150.0 + faint[band]
        expressing |= band
    noise = np.random.default_rng(seed).normal(0.0, 1.5, dark.shape)
    return Scene(colour(np.clip(dark + noise, 0, 252)), expressing, tissue, um)


def recall(mask: npt.NDArray[np.bool_], scene: Scene) -> float:
    """Return the share of expressing pixels that are found."""
    return float(mask[scene.expressing].mean())
