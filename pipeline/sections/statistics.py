"""What a detector knows of the whole section when it sees a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from statistics import median

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.model import Float64, Polygon

# Texture over tissue level lies near 0.15 in real ISH. Flat tissue must not make every speck significant,
# and a gene that is expressed everywhere must not pass for texture.
TEXTURE_RANGE = (0.08, 0.16)
# A section may differ from its series by its stain: beyond the one factor its level is expression, below the
# other it shows little but pale structures.
LEVEL_FACTOR, LEAST_FACTOR = 1.5, 0.75
# What a series says of its sections is rounded to steps of a tenth.
POOL_STEP = 1.1
# The fields of a context that only the detector of that section needs.
OUTLINES = ("tissue_outlines_um", "artifacts")


@dataclass(frozen=True)
class Artifact:
    """Something on a section that is not stain: kind, area in um2, outline in um (x, y)."""

    kind: str
    area_um2: float
    outline_um: Polygon


@dataclass(frozen=True)
class SectionContext:
    """Statistics of one section, measured once at a reduced level; numbers only, so it travels as JSON.

    Places are in um from the outer corner of the section's first pixel: pixel (x, y) has its centre at
    (x + 0.5, y + 0.5) x resolution_um. Levels are optical densities over the section's own glass.

    Parameters
    ----------
    resolution_um : float, um              of the image that a detector is given
    extent_um : tuple = (width, height)    of the whole section
    background : 6 float                   log10 of the luma of glass: see `glass_luma`
    tissue_level : float, OD               typical tissue that does not express
    noise : float, OD                      texture of such tissue
    tissue_fraction : float, 0-1           tissue over valid pixels; 0 where no tissue was found
    series_level : float, OD               the tissue level of most sections, after pooling; 0 before
    otsu_level : float, OD                 Otsu's threshold between the pixels of the tissue
    tissue_outlines_um : polygons          outlines of the tissue, holes filled
    origin_px : tuple = (x, y)             where the given image begins inside the section
    """

    resolution_um: float
    extent_um: tuple[float, float]
    background: tuple[float, ...]
    tissue_level: float
    noise: float
    tissue_fraction: float
    series_level: float = 0.0
    otsu_level: float = 0.0
    tissue_outlines_um: tuple[Polygon, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    flags: tuple[str, ...] = ()
    origin_px: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        _freeze(self, "extent_um", tuple(self.extent_um))
        _freeze(self, "background", tuple(self.background))
        _freeze(self, "flags", tuple(self.flags))
        _freeze(self, "origin_px", (int(self.origin_px[0]), int(self.origin_px[1])))
        _freeze(self, "tissue_outlines_um", tuple(_polygon(ring) for ring in self.tissue_outlines_um))
        _freeze(self, "artifacts", tuple(_artifact(entry) for entry in self.artifacts))
        if not (self.resolution_um > 0 and self.tissue_level >= 0 and self.noise >= 0):
            raise DataError(
                "section statistics: expected a resolution > 0 and levels >= 0, got"
                f" {self.resolution_um} um, level {self.tissue_level}, noise {self.noise}"
            )

    def at(self, x_px: int, y_px: int) -> SectionContext:
        """Return the context of a tile whose first pixel is (x_px, y_px) of the section."""
        return replace(self, origin_px=(x_px, y_px))

    def glass_luma(self, x_um: npt.ArrayLike, y_um: npt.ArrayLike) -> Float64:
        """Return the luma of empty glass at places of the section, 0-255."""
        return np.asarray(10.0 ** self.log_glass(x_um, y_um))

    def log_glass(self, x_um: npt.ArrayLike, y_um: npt.ArrayLike) -> Float64:
        """Return log10 of the luma of empty glass at places of the section."""
        u, v = _relative(self.extent_um, x_um, y_um)
        c = self.background
        return np.asarray(c[0] + c[1] * u + c[2] * v + c[3] * u * u + c[4] * u * v + c[5] * v * v)

    def log_glass_grid(self, x_um: npt.ArrayLike, y_um: npt.ArrayLike) -> Float64:
        """Return `log_glass` where columns (w,) and rows (h,) cross, (h, w)."""
        u, v = _relative(self.extent_um, x_um, y_um)
        c = self.background
        along_y = np.stack([c[0] + c[2] * v + c[5] * v * v, c[1] + c[4] * v, np.full_like(v, c[3])], axis=1)
        along_x = np.stack([np.ones_like(u), u, u * u])
        return np.asarray(cv2.gemm(along_y, along_x, 1.0, None, 0.0), np.float64)  # NumPy's starts threads


def _freeze(context: SectionContext, name: str, value: object) -> None:
    object.__setattr__(context, name, value)


def _polygon(points: Sequence[Sequence[float]]) -> Polygon:
    return tuple((float(x), float(y)) for x, y in points)


def _artifact(entry: Artifact | dict[str, object]) -> Artifact:
    found = entry if isinstance(entry, Artifact) else Artifact(**entry)  # type: ignore[arg-type]
    return replace(found, outline_um=_polygon(found.outline_um))


def _relative(
    extent_um: tuple[float, float], x_um: npt.ArrayLike, y_um: npt.ArrayLike
) -> tuple[Float64, Float64]:
    """Return places about the centre of the section, -0.5 to 0.5 along its longer side."""
    scale = max(extent_um)
    u = (np.asarray(x_um, dtype=np.float64) - extent_um[0] / 2) / scale
    v = (np.asarray(y_um, dtype=np.float64) - extent_um[1] / 2) / scale
    return u, v


def field_terms(extent_um: tuple[float, float], x_um: Float64, y_um: Float64) -> Float64:
    """Return (n, 6): 1, u, v, u², uv, v² of places (n,), the terms of `SectionContext.background`."""
    u, v = _relative(extent_um, x_um, y_um)
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1)


def pool_contexts(contexts: Sequence[SectionContext]) -> list[SectionContext]:
    """Settle tissue level and texture of every section with the help of its series.

    A widely expressed gene darkens what counts as background and would hide itself. So texture, as a
    share of the level, is the median of the series inside `TEXTURE_RANGE`; and a section's level keeps
    within `LEAST_FACTOR` and `LEVEL_FACTOR` of the median of the series. Both are ratios of optical
    densities: light, gamma and stain strength of a section cancel. Both are rounded to steps of `POOL_STEP`,
    far below what a threshold feels, so that a section left out or cropped anew seldom moves the others.

    Parameters
    ----------
    contexts : (n,) SectionContext          all sections of one series, in any order

    Returns
    -------
    (n,) SectionContext                     in the same order
    """
    stained = [c for c in contexts if c.tissue_fraction > 0 and c.tissue_level > 0]
    if not stained:
        return list(contexts)
    lowest, highest = TEXTURE_RANGE
    texture = min(max(_rounded(median(c.noise / c.tissue_level for c in stained)), lowest), highest)
    usual = _rounded(median(c.tissue_level for c in stained))
    levels = (min(max(c.tissue_level, LEAST_FACTOR * usual), LEVEL_FACTOR * usual) for c in contexts)
    return [
        replace(c, tissue_level=level, noise=texture * level, series_level=usual)
        for c, level in zip(contexts, levels, strict=True)
    ]


def _rounded(value: float) -> float:
    """Round to the nearest whole power of `POOL_STEP`; zero stays."""
    return POOL_STEP ** round(log(value, POOL_STEP)) if value > 0 else 0.0
