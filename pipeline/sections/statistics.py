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

# Texture over tissue level: near 0.15 in real ISH. The lower end keeps specks on flat tissue insignificant;
# the upper end keeps a gene that is expressed everywhere from counting as texture.
TEXTURE_RANGE = (0.08, 0.16)
# A section may differ from its series by its stain. Above the first factor its level is expression; below the
# second it shows little but pale structures.
LEVEL_FACTOR, LEAST_FACTOR = 1.5, 0.75
# Pooled values are rounded to steps of 10 %.
POOL_STEP = 1.1
# The fields of a context that only the detector of that section needs.
OUTLINES = ("tissue_outlines_um", "artifacts")


@dataclass(frozen=True)
class Artifact:
    """Something on a section that is not stain.

    Attributes
    ----------
    kind : str
        "dust", "ink", "fold" or "bubble".
    area_um2 : float, um2
        Its area.
    outline_um : polygon, um
        Corners (x, y) from the section's corner.
    """

    kind: str
    area_um2: float
    outline_um: Polygon


@dataclass(frozen=True)
class SectionContext:
    """Statistics of one section, measured once at a reduced level; numbers only, so that it travels as JSON.

    Places are in um from the outer corner of the section's first pixel: pixel (x, y) has its centre at
    (x + 0.5, y + 0.5) x resolution_um. Levels are optical densities over the section's own glass.

    Attributes
    ----------
    resolution_um : float, um
        Pixel size of the image that a detector is given.
    extent_um : (float, float), um
        Width and height of the whole section.
    background : tuple of 6 float
        log10 of the luma of glass: see `glass_luma`.
    tissue_level : float, OD
        Typical tissue that does not express.
    noise : float, OD
        Texture of such tissue.
    tissue_fraction : float, 0-1
        Tissue over valid pixels; 0 where no tissue was found.
    series_level : float, OD
        Median tissue level of the series, after pooling; 0 before.
    otsu_level : float, OD
        Otsu's threshold between the pixels of the tissue.
    tissue_outlines_um : tuple of polygons, um
        Outlines of the tissue, holes filled.
    artifacts : tuple of Artifact
        Artifacts that a detector leaves out.
    flags : tuple of str
        What makes the statistics doubtful.
    origin_px : (int, int), px
        (x, y): where the given image begins inside the section.
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
        """Return the context of a tile.

        Parameters
        ----------
        x_px, y_px : int, px
            Column and row of the section at which the tile begins.

        Returns
        -------
        SectionContext
            The same statistics with that origin.
        """
        return replace(self, origin_px=(x_px, y_px))

    def glass_luma(self, x_um: npt.ArrayLike, y_um: npt.ArrayLike) -> Float64:
        """Return the luma of empty glass at places of the section.

        Parameters
        ----------
        x_um, y_um : array_like, um
            Places, of shapes that broadcast.

        Returns
        -------
        float64
            Luma, 0-255.
        """
        return np.asarray(10.0 ** self.log_glass(x_um, y_um))

    def log_glass(self, x_um: npt.ArrayLike, y_um: npt.ArrayLike) -> Float64:
        """Return log10 of the luma of empty glass at places of the section.

        Parameters
        ----------
        x_um, y_um : array_like, um
            Places, of shapes that broadcast.

        Returns
        -------
        float64
            log10 of luma.
        """
        u, v = _relative(self.extent_um, x_um, y_um)
        c = self.background
        return np.asarray(c[0] + c[1] * u + c[2] * v + c[3] * u * u + c[4] * u * v + c[5] * v * v)

    def log_glass_grid(self, x_um: npt.ArrayLike, y_um: npt.ArrayLike) -> Float64:
        """Return `log_glass` where columns and rows cross.

        Parameters
        ----------
        x_um : (w,) array_like, um
            Columns.
        y_um : (h,) array_like, um
            Rows.

        Returns
        -------
        (h, w) float64
            log10 of luma.
        """
        u, v = _relative(self.extent_um, x_um, y_um)
        c = self.background
        along_y = np.stack([c[0] + c[2] * v + c[5] * v * v, c[1] + c[4] * v, np.full_like(v, c[3])], axis=1)
        along_x = np.stack([np.ones_like(u), u, u * u])
        # A product by NumPy would start threads.
        return np.asarray(cv2.gemm(along_y, along_x, 1.0, None, 0.0), np.float64)


def _freeze(context: SectionContext, name: str, value: object) -> None:
    """Set a field of a frozen dataclass while it is made."""
    object.__setattr__(context, name, value)


def _polygon(points: Sequence[Sequence[float]]) -> Polygon:
    return tuple((float(x), float(y)) for x, y in points)


def _artifact(entry: Artifact | dict[str, object]) -> Artifact:
    found = entry if isinstance(entry, Artifact) else Artifact(**entry)  # type: ignore[arg-type]
    return replace(found, outline_um=_polygon(found.outline_um))


def _relative(
    extent_um: tuple[float, float], x_um: npt.ArrayLike, y_um: npt.ArrayLike
) -> tuple[Float64, Float64]:
    """Return places relative to the centre of the section, -0.5 to 0.5 along its longer side."""
    scale = max(extent_um)
    u = (np.asarray(x_um, dtype=np.float64) - extent_um[0] / 2) / scale
    v = (np.asarray(y_um, dtype=np.float64) - extent_um[1] / 2) / scale
    return u, v


def field_terms(extent_um: tuple[float, float], x_um: Float64, y_um: Float64) -> Float64:
    """Return the terms of `SectionContext.background` at places of the section.

    Parameters
    ----------
    extent_um : (float, float), um
        Width and height of the section.
    x_um, y_um : (n,) float64, um
        Places.

    Returns
    -------
    (n, 6) float64
        1, u, v, u², uv, v², where u and v are relative to the centre and to the longer side.
    """
    u, v = _relative(extent_um, x_um, y_um)
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1)


def pool_contexts(contexts: Sequence[SectionContext]) -> list[SectionContext]:
    """Pool tissue level and texture of the sections of a series.

    Parameters
    ----------
    contexts : (n,) sequence of SectionContext
        All sections of one series, in any order.

    Returns
    -------
    (n,) list of SectionContext
        Pooled, in the same order.

    Notes
    -----
    A widely expressed gene darkens the background and would hide itself. So texture, as a share of the level,
    is the median of the series, kept inside `TEXTURE_RANGE`; and the level of a section stays within
    `LEAST_FACTOR` and `LEVEL_FACTOR` of the median of the series. Both are ratios of optical densities:
    light, gamma and stain strength of a section cancel. Both medians are rounded to powers of `POOL_STEP`, so
    that a section left out or cropped anew seldom changes the others.
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
