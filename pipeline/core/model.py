"""The nouns of the field: what a section, a series, an alignment, a grid and a structure are.

All are frozen; arrays inside them are made read-only. Conventions (axes, units, orders) stand once,
in the README.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import AlignmentError, DataError

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
UInt32 = npt.NDArray[np.uint32]
Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Polygon = tuple[tuple[float, float], ...]
Plane = Literal["coronal", "sagittal"]

LEFT, RIGHT, BOTH = 1, 2, 3
CORONAL_SPACE, SAGITTAL_SPACE = 9, 10
EXTENT_UM = (13200.0, 8000.0, 11400.0)
MIDLINE_UM = 5700.0


def frozen(array: npt.ArrayLike, dtype: Any = None) -> npt.NDArray[Any]:
    """Return `array` as a read-only array; the caller's own array stays writable."""
    view = np.asarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


class Status(StrEnum):
    """What became of one section."""

    PASS = "pass"
    CHECK = "check"
    FAIL = "fail"
    MISSING = "missing"


@dataclass(frozen=True)
class SectionImage:
    """One scanned section as its manifest declares it.

    Pixels are those of the manifest's frame (`width_px` x `height_px` at `resolution_um`); the file may
    be stored smaller by a power of two. `path` is None where the manifest names a section without image.
    `bits` are those of samples whose file states no range, as the whole series tells; None: as the file does.
    """

    id: int
    section_number: int
    path: Path | None
    width_px: int
    height_px: int
    resolution_um: float
    tissue_box_px: tuple[float, float, float, float] | None = None  # x, y, width, height
    dark_polygons_px: tuple[Polygon, ...] = ()
    failed: bool = False
    rotate_deg: float = 0.0  # clockwise as displayed, about the centre, after `flip`
    flip: Literal["horizontal", "vertical"] | None = None
    bits: int | None = None


@dataclass(frozen=True)
class SectionDataSet:
    """One ISH experiment: a series of sections of one brain, stained for one gene."""

    id: int
    plane_of_section: Plane
    section_thickness_um: float
    section_images: tuple[SectionImage, ...]
    gene: str | None = None
    specimen: str | None = None
    reference_space_id: int = CORONAL_SPACE
    hemisphere: Literal["left", "right", "both"] = "both"
    treatment: str | None = None
    probe_orientation: str | None = None
    age: str | None = None
    section_order: str | None = None
    image_up: Literal["superior", "inferior"] | None = None

    def z_um(self, section_number: int) -> float:
        """Return where a section lies along the cutting axis of the volume."""
        return section_number * self.section_thickness_um

    @property
    def spacing_um(self) -> float:
        """Median gap of all section numbers of the manifest, in um; 200 for a lone section."""
        numbers = sorted(image.section_number for image in self.section_images)
        if len(numbers) < 2:
            return 200.0
        return float(np.median(np.diff(numbers))) * self.section_thickness_um


def _invertible(name: str, matrix: npt.ArrayLike, shape: tuple[int, int]) -> Float64:
    array = frozen(np.array(matrix, dtype=np.float64))
    if array.shape != shape:
        raise AlignmentError(f"{name}: expected a {shape} matrix, got shape {array.shape}")
    if not np.isfinite(array).all() or abs(np.linalg.det(array[:, :-1])) < 1e-9:
        raise AlignmentError(f"{name}: the matrix cannot be inverted: {array.tolist()}")
    return array


@dataclass(frozen=True, eq=False)
class Alignment2d:
    """Section pixels to the volume: a (2, 3) matrix acting on (x, y, 1) columns, px to um.

    `volume_to_section` may be given where a source stores both directions (Allen rounds each to six
    digits); otherwise it is the inverse.
    """

    section_number: int
    section_to_volume: Float64
    volume_to_section: Float64 = field(default=None)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        name = f"Alignment2d of section {self.section_number}"
        forward = _invertible(name, self.section_to_volume, (2, 3))
        object.__setattr__(self, "section_to_volume", forward)
        backward = affine_inverse(forward) if self.volume_to_section is None else self.volume_to_section
        object.__setattr__(self, "volume_to_section", _invertible(name, backward, (2, 3)))


@dataclass(frozen=True, eq=False)
class Alignment3d:
    """The volume to the reference space: a (3, 4) matrix, um to um."""

    reference_space_id: int
    volume_to_reference: Float64
    reference_to_volume: Float64 = field(default=None)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        forward = _invertible("Alignment3d", self.volume_to_reference, (3, 4))
        object.__setattr__(self, "volume_to_reference", forward)
        backward = affine_inverse(forward) if self.reference_to_volume is None else self.reference_to_volume
        object.__setattr__(self, "reference_to_volume", _invertible("Alignment3d", backward, (3, 4)))


def affine_inverse(matrix: Float64) -> Float64:
    """Return the (d, d + 1) inverse; `numpy.linalg.LinAlgError` where there is none."""
    linear = np.linalg.inv(matrix[:, :-1])
    return np.column_stack([linear, -linear @ matrix[:, -1]])


@dataclass(frozen=True, eq=False)
class Deformation:
    """What is added to the volume point of a section's pixel after its Alignment2d.

    Bilinear between nodes; beyond the lattice the value at its edge holds.

    Parameters
    ----------
    displacement_um : (3, rows, columns) float32, um    x, y, z in the volume; z = 0 in the plane
    spacing_px : float, px                              between nodes, in the manifest's frame
    origin_px : (float, float), px                      (x, y) of node (0, 0)
    """

    displacement_um: Float32
    spacing_px: float
    origin_px: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        nodes = frozen(self.displacement_um, np.float32)
        if nodes.ndim != 3 or nodes.shape[0] != 3 or min(nodes.shape[1:]) < 2:
            raise AlignmentError(f"deformation: expected (3, rows, columns) of 2 or more, got {nodes.shape}")
        if not np.isfinite(nodes).all() or not self.spacing_px > 0:
            raise AlignmentError("deformation: expected finite displacements and a spacing above 0 px")
        object.__setattr__(self, "displacement_um", nodes)


@dataclass(frozen=True)
class SectionAlignment:
    """An Alignment2d, with a deformation on top where one was asked for, and what is thought of it."""

    alignment2d: Alignment2d
    status: Status = Status.PASS
    measures: dict[str, float] = field(default_factory=dict)
    deformation: Deformation | None = None
    reason: str = ""  # why it was left out of the fit, in words


@dataclass(frozen=True)
class SeriesAlignment:
    """Everything that places a series in the reference space."""

    alignment3d: Alignment3d
    sections: tuple[SectionAlignment, ...]
    measures: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    deformable: str = "none"  # how sections were deformed beyond their matrices: none, in_plane, volume

    def of(self, section_number: int) -> SectionAlignment | None:
        """Return the alignment of one section, None where it has none."""
        found = (s for s in self.sections if s.alignment2d.section_number == section_number)
        return next(found, None)


@dataclass(frozen=True)
class Grid:
    """A regular lattice in the reference space: voxel (i, j, k) lies at origin + (i, j, k) x spacing."""

    shape: tuple[int, int, int]
    spacing_um: float
    origin_um: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def points_um(self) -> Float64:
        """Return all voxel positions, (n, 3) um, in C order."""
        axes = [o + self.spacing_um * np.arange(n) for o, n in zip(self.origin_um, self.shape, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


GRID_200 = Grid(shape=(67, 41, 58), spacing_um=200.0)


@dataclass(frozen=True)
class Structure:
    """One node of the ontology; `color` is a hex triplet without '#'."""

    id: int
    acronym: str
    name: str
    parent_id: int | None
    graph_order: int
    color: str


@dataclass(frozen=True, eq=False)
class ExpressionSums:
    """The one currency from gridding to unionize: four sums over the same cells.

    Sums add and pass through any linear operator (`map`); density, intensity and energy are ratios and
    come last. Smoothing the ratios instead would break energy = density x intensity.
    Pixels are counted at the manifest's resolution; intensity is darkness, 0-255.
    """

    sum_pixels: npt.NDArray[Any]
    sum_expressing_pixels: npt.NDArray[Any]
    sum_expressing_pixel_intensity: npt.NDArray[Any]
    sum_pixel_intensity: npt.NDArray[Any]

    def __post_init__(self) -> None:
        shapes = {getattr(self, name).shape for name in SUM_FIELDS}
        if len(shapes) != 1:
            raise DataError(f"ExpressionSums: expected four arrays of one shape, got {sorted(shapes)}")
        for name in SUM_FIELDS:
            object.__setattr__(self, name, frozen(getattr(self, name)))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the four sums by name."""
        return {name: getattr(self, name) for name in SUM_FIELDS}

    def map(self, operator: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> ExpressionSums:
        """Return the sums after one linear operator was applied to each."""
        return ExpressionSums(*(operator(array) for array in self.arrays().values()))

    def __add__(self, other: ExpressionSums) -> ExpressionSums:
        return ExpressionSums(*(getattr(self, n) + getattr(other, n) for n in SUM_FIELDS))

    @property
    def density(self) -> Float64:
        """Expressing pixels over pixels; NaN where there is no pixel."""
        return ratio(self.sum_expressing_pixels, self.sum_pixels)

    @property
    def intensity(self) -> Float64:
        """Mean darkness of expressing pixels; 0 where pixels are but none expresses, else NaN."""
        mean = ratio(self.sum_expressing_pixel_intensity, self.sum_expressing_pixels)
        silent = (np.asarray(self.sum_expressing_pixels) == 0) & (np.asarray(self.sum_pixels) > 0)
        return np.where(silent, 0.0, mean)

    @property
    def energy(self) -> Float64:
        """Density x intensity = summed darkness of expressing pixels over pixels."""
        return ratio(self.sum_expressing_pixel_intensity, self.sum_pixels)


SUM_FIELDS = (
    "sum_pixels",
    "sum_expressing_pixels",
    "sum_expressing_pixel_intensity",
    "sum_pixel_intensity",
)


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Float64:
    """Return numerator / denominator in float64, NaN where the denominator is not positive."""
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    out = np.full(np.broadcast_shapes(top.shape, bottom.shape), np.nan)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return out


@dataclass(frozen=True)
class StructureUnionize:
    """Expression of one structure in one hemisphere, with Allen's field names.

    `hemisphere_id` 1 left, 2 right, 3 both; `coverage` is the share of the structure's voxels with data.
    """

    section_data_set_id: int
    structure_id: int
    hemisphere_id: int
    sum_pixels: float
    sum_expressing_pixels: float
    sum_pixel_intensity: float
    sum_expressing_pixel_intensity: float
    expression_density: float
    expression_intensity: float
    expression_energy: float
    voxel_energy_mean: float
    voxel_energy_cv: float
    coverage: float


def numbered(numbers: Sequence[int]) -> str:
    """Return section numbers as a message names them.

    >>> numbered([3]), numbered([3, 7, 11]), numbered(range(0, 40, 2))
    ('section 3', 'sections 3, 7 and 11', 'sections 0, 2, 4, 6, 8, 10, 12, 14 and 12 more')
    """
    if len(numbers) == 1:
        return f"section {numbers[0]}"
    shown, more = (numbers, 0) if len(numbers) <= 10 else (numbers[:8], len(numbers) - 8)
    names = [*map(str, shown), *([f"{more} more"] if more else [])]
    return f"sections {', '.join(names[:-1])} and {names[-1]}"
