"""How to align: the options of a series, and what each may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.core.errors import ConfigError
from pipeline.core.model import Plane

SectionOrder = Literal["rostral_to_caudal", "caudal_to_rostral", "lateral_to_medial", "medial_to_lateral"]
Hemisphere = Literal["left", "right", "both"]
ORDERS: dict[str, tuple[str, str]] = {
    "coronal": ("caudal_to_rostral", "rostral_to_caudal"),
    "sagittal": ("lateral_to_medial", "medial_to_lateral"),
}


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
