"""Options of an alignment and their admitted ranges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pipeline.core.errors import ConfigError
from pipeline.core.model import Plane

# direction in which section numbers rise
SectionOrder = Literal["rostral_to_caudal", "caudal_to_rostral", "lateral_to_medial", "medial_to_lateral"]
Hemisphere = Literal["left", "right", "both"]
# options that the manifest, or the name of the aligner, gives: they are no keys of a configuration
OF_MANIFEST = ("plane_of_section", "hemisphere", "section_order", "image_up", "aligner")
TRUSTED = ("plane", "order", "up")  # statements of the manifest that may be trusted against the images
# section orders of each plane: the one that Allen's numbering follows, then its reverse
ORDERS: dict[str, tuple[str, str]] = {
    "coronal": ("caudal_to_rostral", "rostral_to_caudal"),
    "sagittal": ("lateral_to_medial", "medial_to_lateral"),
}


@dataclass(frozen=True)
class Range:
    """Admitted range of an option.

    Attributes
    ----------
    low, high : float
        Least and largest value.
    whole : bool
        Whether only integers are admitted.
    several : bool
        Whether the option is a tuple of numbers.
    """

    low: float
    high: float
    whole: bool = False
    several: bool = False


RANGES = {  # admitted range of each option
    "minimum_sections": Range(2, 1e6, whole=True),  # a line through z needs two
    "rotation_range_deg": Range(0.0, 180.0),  # 180 admits every angle
    "strain": Range(1e-6, 1.0),  # of length; 0.02 = 2 %
    "stain_pixel_um": Range(1.0, 1000.0),  # um a pixel
    "outline_sigma_um": Range(1.0, 5000.0, several=True),  # Gaussian sigma, um
    "stain_sigma_um": Range(1.0, 5000.0, several=True),
    "minimum_dice": Range(0.0, 1.0),  # Dice coefficient
    "node_um": Range(300.0, 1e5),  # um; the equations are dense in the control points
    "shape_node_um": Range(300.0, 1e5),
    "warp_um": Range(1e-3, 1e4),  # standard deviation, um
    "shape_um": Range(1e-3, 1e4),
    "bending": Range(1e-9, 1e6),  # weight, without unit
    "threads": Range(1, 1024, whole=True),
}


@dataclass(frozen=True)
class AlignmentOptions:
    """How to align. A hint of None means: infer it from the images.

    Attributes
    ----------
    plane_of_section : {"coronal", "sagittal"}
        Plane that the sections were cut in.
    hemisphere : {"left", "right", "both"}
        Half of the brain that the sections show.
    section_order : str or None
        Hint: direction in which the section numbers rise, one of `ORDERS` of the plane.
    image_up : {"superior", "inferior"} or None
        Hint: what lies at the upper edge of the images; `inferior` is a rotation by 180 degrees.
    minimum_sections : int
        A series with fewer sections that show tissue is refused.
    rotation_range_deg : float, degree
        How far a section may be turned from its hint.
    strain : float
        Expected spread of a section's own scale and shear about those of the series.
    stain_pixel_um : float, um
        Finest pixel of the fit.
    outline_sigma_um : tuple of float, um
        Gaussian blurs of the fit of outlines, coarse to fine.
    stain_sigma_um : tuple of float, um
        Gaussian blurs of the fit of the stain, coarse to fine.
    minimum_dice : float
        Dice coefficient of tissue and annotation below which a section fails.
    deformable : {"none", "in_plane", "volume"}
        What is deformed beyond the matrices: nothing, each section in its plane, or the whole brain too.
    node_um : float, um
        Spacing of the control points of a section's displacement field.
    shape_node_um : float, um
        Spacing of the control points of the whole brain's displacement field.
    warp_um : float, um
        Expected size of the displacement of a section.
    shape_um : float, um
        Expected size of the displacement of the whole brain.
    bending : float
        Weight of the bending energy against the size of a displacement.
    trust : tuple of str
        Statements of the manifest that no image overrules: `plane` for `plane_of_section`, `order` for
        `section_order`, `up` for `image_up`. What disagrees with them is not tried.
    threads : int
        Threads that share the sections; the result does not depend on it.
    aligner : str
        Name in `pipeline.registration.ALIGNERS`.
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
    trust: tuple[str, ...] = ()
    threads: int = 2
    aligner: str = "joint"

    @property
    def hinted(self) -> bool:
        """Whether the manifest gives both hints of the orientation, `section_order` and `image_up`."""
        return self.section_order is not None and self.image_up is not None

    @property
    def trusted_order(self) -> bool:
        """Whether `section_order` is given and trusted."""
        return self.section_order is not None and "order" in self.trust

    @property
    def trusted_up(self) -> bool:
        """Whether `image_up` is given and trusted."""
        return self.image_up is not None and "up" in self.trust

    @property
    def trusted_in_vain(self) -> tuple[str, ...]:
        """A note for each trusted hint that the manifest does not give."""
        hints = {"order": ("section_order", self.section_order), "up": ("image_up", self.image_up)}
        return tuple(
            f"trust names {word}, but the manifest gives no {name}"
            for word, (name, value) in hints.items()
            if word in self.trust and value is None
        )

    def scaled(self, size: float) -> AlignmentOptions:
        """Return the options for a brain of another size: default lengths are those for a mouse's.

        Parameters
        ----------
        size : float
            Length of the brain over that of a mouse, see `Atlas.size`.

        Returns
        -------
        AlignmentOptions
            The same for size 1; lengths that are set to another value than the default stay.
        """
        defaults = AlignmentOptions()
        if size == 1.0:
            return self
        larger = {
            "stain_pixel_um": self.stain_pixel_um * size,
            "outline_sigma_um": tuple(s * size for s in self.outline_sigma_um),
            "stain_sigma_um": tuple(s * size for s in self.stain_sigma_um),
        }
        unset = {k: v for k, v in larger.items() if getattr(self, k) == getattr(defaults, k)}
        return replace(self, **unset)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        if self.plane_of_section not in ORDERS:
            raise ConfigError(
                f"alignment: plane_of_section: expected coronal or sagittal, got {self.plane_of_section!r}"
            )
        known = ORDERS[self.plane_of_section]
        if self.section_order is not None and self.section_order not in known:
            raise ConfigError(
                f"alignment: section_order {self.section_order!r} does not fit the {self.plane_of_section}"
                f" plane; expected one of {', '.join(known)}"
            )
        if self.deformable not in ("none", "in_plane", "volume"):
            raise ConfigError(
                "alignment.configuration.deformable: expected none, in_plane or volume, got"
                f" {self.deformable!r}"
            )
        if not set(self.trust) <= set(TRUSTED):
            raise ConfigError(
                f"alignment.configuration.trust: expected some of {', '.join(TRUSTED)}, got"
                f" {', '.join(map(str, self.trust))}"
            )
        for name, allowed in RANGES.items():
            _check_range(name, getattr(self, name), allowed)


def _check_range(name: str, value: object, allowed: Range) -> None:
    """Raise ConfigError where an option, or one of several values, is not a number in its range."""
    values = (value,)
    if allowed.several:
        values = value if isinstance(value, tuple) else ()
    right = all(
        isinstance(v, int if allowed.whole else int | float)
        and not isinstance(v, bool)  # `true` in a configuration is no number
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
