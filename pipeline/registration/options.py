"""What an alignment is given: section thumbnails and options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import Bool, Float64, Plane, UInt8, frozen
from pipeline.geometry import affine

SectionOrder = Literal["rostral_to_caudal", "caudal_to_rostral", "lateral_to_medial", "medial_to_lateral"]
Hemisphere = Literal["left", "right", "both"]
ORDERS: dict[str, tuple[str, str]] = {
    "coronal": ("caudal_to_rostral", "rostral_to_caudal"),
    "sagittal": ("lateral_to_medial", "medial_to_lateral"),
}


@dataclass(frozen=True, eq=False)
class SectionThumbnail:
    """One section, reduced by block means to some 25-60 um a pixel.

    Parameters
    ----------
    z_um : float, um                    section_number x section thickness
    pixels : (h, w[, 3]) uint8          as the file shows them: hints are given beside, not applied
    resolution_um : float, um           size of a manifest pixel
    thumbnail_to_section : (2, 3) float64, px -> px     thumbnail to manifest pixels
    valid : (h, w) bool                 False where a pixel says nothing (padding, dark polygon), or None
    rotate_deg : float, degree          clockwise as displayed, about the centre, after `flip`
    series : int                        its series among those of a specimen: each has a stain of its own
    """

    section_number: int
    z_um: float
    pixels: UInt8
    resolution_um: float
    thumbnail_to_section: Float64
    valid: Bool | None = None
    rotate_deg: float = 0.0
    flip: Literal["horizontal", "vertical"] | None = None
    failed: bool = False
    series: int = 0

    def __post_init__(self) -> None:
        where = f"thumbnail of section {self.section_number}"
        pixels = np.asarray(self.pixels)
        if (
            pixels.dtype != np.uint8
            or pixels.ndim not in (2, 3)
            or (pixels.ndim == 3 and pixels.shape[2] != 3)
        ):
            raise DataError(f"{where}: expected (h, w) or (h, w, 3) uint8, got {pixels.shape} {pixels.dtype}")
        if self.valid is not None and self.valid.shape != pixels.shape[:2]:
            raise DataError(f"{where}: valid has shape {self.valid.shape}, pixels {pixels.shape[:2]}")
        matrix = np.asarray(self.thumbnail_to_section, dtype=np.float64)
        if matrix.shape != (2, 3) or not np.linalg.det(matrix[:, :2]) > 0 or not self.resolution_um > 0:
            raise DataError(f"{where}: expected a (2, 3) map of positive size and a resolution above 0")
        object.__setattr__(self, "pixels", frozen(pixels))
        object.__setattr__(self, "thumbnail_to_section", frozen(matrix))

    @property
    def pixel_um(self) -> float:
        """Size of a thumbnail pixel, in um."""
        return float(self.resolution_um * np.sqrt(np.linalg.det(self.thumbnail_to_section[:, :2])))

    def hinted(self, turn_deg: float = 0.0, mirrored: bool = False) -> Float64:
        """Return thumbnail px -> um about the image centre, (2, 3): flip, mirror, `rotate_deg`, turn."""
        h, w = self.pixels.shape[:2]
        centre = (0.5 * (w - 1), 0.5 * (h - 1))
        mirror = {"horizontal": (-1.0, 1.0), "vertical": (1.0, -1.0), None: (1.0, 1.0)}[self.flip]
        side = -1.0 if mirrored else 1.0
        to_um = affine.compose(
            affine.scaling([side * mirror[0] * self.pixel_um, mirror[1] * self.pixel_um]), _shift(centre)
        )
        return affine.compose(affine.rigid2d(self.rotate_deg + turn_deg, (0.0, 0.0)), to_um)


def reduced(thumbnail: SectionThumbnail, pixel_um: float) -> SectionThumbnail:
    """Return the thumbnail with whole blocks averaged, as coarse as it gets within `pixel_um`."""
    factor = int(pixel_um // thumbnail.pixel_um)
    h, w = (n // max(factor, 1) for n in thumbnail.pixels.shape[:2])
    if factor < 2 or min(h, w) == 0:
        return thumbnail
    shift = 0.5 * (factor - 1)
    block = np.array([[factor, 0.0, shift], [0.0, factor, shift]])
    blocks = thumbnail.pixels[: h * factor, : w * factor].reshape(h, factor, w, factor, -1)
    pixels = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    valid = thumbnail.valid
    if valid is not None:
        valid = valid[: h * factor, : w * factor].reshape(h, factor, w, factor).mean(axis=(1, 3)) > 0.5
    return replace(
        thumbnail,
        pixels=pixels if thumbnail.pixels.ndim == 3 else pixels[..., 0],
        valid=valid,
        thumbnail_to_section=affine.compose(thumbnail.thumbnail_to_section, block),
    )


def _shift(centre: tuple[float, float]) -> Float64:
    return np.array([[1.0, 0.0, -centre[0]], [0.0, 1.0, -centre[1]]])


@dataclass(frozen=True)
class _Range:
    """What an option may be: `low` to `high`; `several` numbers, or one."""

    low: float
    high: float
    whole: bool = False
    several: bool = False


_RANGES = {
    "minimum_sections": _Range(2, 1e6, whole=True),
    "rotation_range_deg": _Range(0.0, 180.0),
    "strain": _Range(1e-6, 1.0),
    "stain_pixel_um": _Range(1.0, 1000.0),
    "outline_sigma_um": _Range(1.0, 5000.0, several=True),
    "stain_sigma_um": _Range(1.0, 5000.0, several=True),
    "minimum_dice": _Range(0.0, 1.0),
    "node_um": _Range(300.0, 1e5),
    "shape_node_um": _Range(300.0, 1e5),
    "warp_um": _Range(1e-3, 1e4),
    "shape_um": _Range(1e-3, 1e4),
    "bending": _Range(1e-9, 1e6),
    "threads": _Range(1, 1024, whole=True),
}


@dataclass(frozen=True)
class AlignmentOptions:
    """How to align; lengths in um. None for a hint means: find out from the images.

    Parameters
    ----------
    image_up : what lies at the upper edge of the images; `inferior` is a rotation by 180 degrees
    rotation_range_deg : float          how far a section may be turned from its hint
    strain : float                      expected spread of a section's own scale and shear about the series
    stain_pixel_um : float, um          finest pixel of the fit
    outline_sigma_um, stain_sigma_um    blurs of the outline and stain stages, coarse to fine
    minimum_sections : int              fewer that show tissue are refused
    minimum_dice : float                overlap below which a section fails
    deformable : what bends beyond the matrices: `in_plane` each section, `volume` the whole brain too
    node_um, shape_node_um : float, um  between control points of a section's bend and of the whole brain's
    warp_um, shape_um : float, um       how far a section and the whole brain are expected to be bent
    bending : float                     how much stiffer than free control points a bend is
    threads : int                       threads that share the sections; the result does not depend on it
    """

    plane_of_section: Plane = "coronal"
    hemisphere: Hemisphere = "both"
    section_order: SectionOrder | None = None
    image_up: Literal["superior", "inferior"] | None = None
    minimum_sections: int = 6
    rotation_range_deg: float = 24.0
    strain: float = 0.02
    stain_pixel_um: float = 50.0
    outline_sigma_um: tuple[float, ...] = (250.0, 150.0, 100.0)
    stain_sigma_um: tuple[float, ...] = (150.0, 100.0, 60.0)
    minimum_dice: float = 0.6
    deformable: Literal["none", "in_plane", "volume"] = "none"
    node_um: float = 1000.0
    shape_node_um: float = 1500.0
    warp_um: float = 60.0
    shape_um: float = 120.0
    bending: float = 0.1
    threads: int = 2
    aligner: str = "joint"

    @property
    def hinted(self) -> bool:
        """Whether the manifest says which way the series lies."""
        return self.section_order is not None and self.image_up is not None

    def __post_init__(self) -> None:
        if self.plane_of_section not in ORDERS:
            raise ConfigError(f"alignment: expected plane coronal or sagittal, got {self.plane_of_section!r}")
        known = ORDERS[self.plane_of_section]
        if self.section_order is not None and self.section_order not in known:
            raise ConfigError(
                f"alignment: section_order {self.section_order!r} does not fit the {self.plane_of_section}"
                f" plane; expected one of {', '.join(known)}"
            )
        if self.deformable not in ("none", "in_plane", "volume"):
            raise ConfigError(
                f"alignment: expected deformable none, in_plane or volume, got {self.deformable!r}"
            )
        for name, allowed in _RANGES.items():
            _check_range(name, getattr(self, name), allowed)


def _check_range(name: str, value: object, allowed: _Range) -> None:
    """Raise ConfigError where an option, or one of several, is no number of its range."""
    values = (value,)
    if allowed.several:
        values = value if isinstance(value, tuple) else ()
    right = all(
        isinstance(v, int if allowed.whole else int | float)
        and not isinstance(v, bool)
        and allowed.low <= v <= allowed.high
        for v in values
    )
    if not (right and values):
        kind = "whole number" if allowed.whole else "number"
        what = f"a list of {kind}s" if allowed.several else f"a {kind}"
        raise ConfigError(
            f"alignment.configuration.{name}: expected {what} from {allowed.low:g} to {allowed.high:g},"
            f" got {list(value) if isinstance(value, tuple) else value!r}"
        )
