"""Domain types: section, data set, alignment, grid, expression sums and structure.

All are frozen; arrays inside them are made read-only. docs/concepts/spaces.md states the conventions (axes,
units, orders).
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
Polygon = tuple[tuple[float, float], ...]  # (x, y) px in the manifest's frame
Plane = Literal["coronal", "sagittal"]

LEFT, RIGHT, BOTH = 1, 2, 3  # Allen's hemisphere ids
CORONAL_SPACE, SAGITTAL_SPACE = 9, 10  # Allen's reference space ids of the adult mouse (P56)
PLANE_SPACES = {"coronal": CORONAL_SPACE, "sagittal": SAGITTAL_SPACE}
EXTENT_UM = (13200.0, 8000.0, 11400.0)  # box of Allen's CCFv3 along P, I, R
MIDLINE_UM = 5700.0  # R of the midsagittal plane
LEAST_COVERAGE = 0.5  # share of a structure's voxels with data, below which its number says little
WIDE_INTERVAL = 5.0  # upper over lower end of an interval, above which a number says little


def frozen(array: npt.ArrayLike, dtype: Any = None) -> npt.NDArray[Any]:
    """Return a read-only view or copy of an array; the caller's own array stays writable.

    Parameters
    ----------
    array : array_like
        Values of any shape.
    dtype : dtype, optional
        Type of the result; default that of `array`.

    Returns
    -------
    array of the same shape
        Read-only; shares memory with `array` where the type is the same.
    """
    view = np.asarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


class Status(StrEnum):
    """Outcome of one section."""

    PASS = "pass"
    CHECK = "check"
    FAIL = "fail"
    MISSING = "missing"


@dataclass(frozen=True)
class SectionImage:
    """One scanned section as its manifest declares it.

    Pixels are those of the manifest's frame (`width_px` x `height_px` at `resolution_um`); the file may be
    stored smaller by a power of two.

    Attributes
    ----------
    id : int
        Id of the image in its source.
    section_number : int
        Position in the series, in units of the section thickness.
    path : Path or None
        Image file; None where the manifest names a section without an image.
    width_px, height_px : int, px
        Size of the manifest's frame; 0 where it is not known.
    resolution_um : float, um
        Pixel size in the manifest's frame; 0 where it is not known.
    tissue_box_px : (4,) float or None, px
        x, y, width and height of the box around the tissue.
    dark_polygons_px : tuple of polygons, px
        Dark artifacts that the manifest marks.
    missing_polygons_px : tuple of polygons, px
        Missing tissue that the manifest marks.
    failed : bool
        The source marks the section as failed.
    rotate_deg : float, degrees
        Clockwise as displayed, about the centre, applied after `flip`.
    flip : str or None
        "horizontal" or "vertical".
    position_um : float, um, or None
        Position along the normal in the reference (P of coronal sections, R of sagittal ones), where stated.
    bits : int or None
        Bits of samples whose file states no range, estimated from the whole series; None: as the file states.
    is_mask : bool
        The image is an expression mask: 0 does not express, other values are intensities. It is read
        inverted, so that its values are darkness.
    """

    id: int
    section_number: int
    path: Path | None
    width_px: int
    height_px: int
    resolution_um: float
    tissue_box_px: tuple[float, float, float, float] | None = None
    dark_polygons_px: tuple[Polygon, ...] = ()
    missing_polygons_px: tuple[Polygon, ...] = ()
    failed: bool = False
    rotate_deg: float = 0.0
    flip: Literal["horizontal", "vertical"] | None = None
    position_um: float | None = None
    bits: int | None = None
    is_mask: bool = False


@dataclass(frozen=True)
class SectionDataSet:
    """One ISH experiment: a series of sections of one brain, stained for one gene.

    Attributes
    ----------
    id : int
        Id of the experiment.
    plane_of_section : str
        "coronal" or "sagittal".
    section_thickness_um : float, um
        Distance between consecutive section numbers.
    section_images : tuple of SectionImage
        The sections that the manifest names.
    gene, specimen, treatment, probe_orientation, age : str or None
        Descriptions as the manifest gives them.
    reference_space_id : int
        Allen's reference space: 9 coronal, 10 sagittal.
    hemisphere : str
        Which part of the brain the sections show: "left", "right" or "both".
    section_order : str or None
        Anatomical direction of increasing section numbers, such as "rostral_to_caudal".
    image_up : str or None
        What lies at the upper edge of the images: "superior" or "inferior".
    """

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
        """Return the position of a section along the cutting axis of the volume.

        Parameters
        ----------
        section_number : int
            Number of the section.

        Returns
        -------
        float, um
            Section number x section thickness.
        """
        return section_number * self.section_thickness_um

    @property
    def spacing_um(self) -> float:
        """Median distance between consecutive sections of the manifest, um; 200 for a lone section."""
        numbers = [image.section_number for image in self.section_images]
        return series_spacing_um(numbers, self.section_thickness_um)


def series_spacing_um(section_numbers: Sequence[int], thickness_um: float) -> float:
    """Return the spacing of a series.

    Parameters
    ----------
    section_numbers : sequence of int
        Numbers of all sections of the manifest.
    thickness_um : float, um
        Distance between consecutive section numbers.

    Returns
    -------
    float, um
        Median distance between consecutive sections; 200 for a lone one.
    """
    numbers = sorted(section_numbers)
    return float(np.median(np.diff(numbers))) * thickness_um if len(numbers) > 1 else 200.0


def _invertible(name: str, matrix: npt.ArrayLike, shape: tuple[int, int]) -> Float64:
    array = frozen(np.array(matrix, dtype=np.float64))
    if array.shape != shape:
        raise AlignmentError(f"{name}: expected a {shape} matrix, got shape {array.shape}")
    if not np.isfinite(array).all() or abs(np.linalg.det(array[:, :-1])) < 1e-9:
        raise AlignmentError(f"{name}: the matrix cannot be inverted: {array.tolist()}")
    return array


@dataclass(frozen=True, eq=False)
class Alignment2d:
    """Affine map of section pixels to the volume: a (2, 3) matrix acting on (x, y, 1) columns, px to um.

    Attributes
    ----------
    section_number : int
        Section that the matrix places.
    section_to_volume : (2, 3) float64
        px to um.
    volume_to_section : (2, 3) float64
        um to px. Given where a source stores both directions (Allen rounds each to six digits), otherwise the
        inverse.
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
    """Affine map of the volume to the reference space, um to um.

    Attributes
    ----------
    reference_space_id : int
        Allen's reference space: 9 coronal, 10 sagittal.
    volume_to_reference : (3, 4) float64
        Acts on (x, y, z, 1) columns, um; yields (P, I, R) um.
    reference_to_volume : (3, 4) float64
        Given where a source stores both directions, otherwise the inverse.
    """

    reference_space_id: int
    volume_to_reference: Float64
    reference_to_volume: Float64 = field(default=None)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        forward = _invertible("Alignment3d", self.volume_to_reference, (3, 4))
        object.__setattr__(self, "volume_to_reference", forward)
        backward = affine_inverse(forward) if self.reference_to_volume is None else self.reference_to_volume
        object.__setattr__(self, "reference_to_volume", _invertible("Alignment3d", backward, (3, 4)))


def affine_inverse(matrix: Float64) -> Float64:
    """Return the inverse of an affine map.

    Parameters
    ----------
    matrix : (d, d + 1) float64
        Acts on columns with a 1 appended.

    Returns
    -------
    (d, d + 1) float64
        The inverse; `numpy.linalg.LinAlgError` where there is none.
    """
    linear = np.linalg.inv(matrix[:, :-1])
    return np.column_stack([linear, -linear @ matrix[:, -1]])


@dataclass(frozen=True, eq=False)
class Deformation:
    """Displacement field of one section, added to the volume point of a pixel after its Alignment2d.

    Bilinear between nodes; beyond the lattice the value at its edge holds.

    Attributes
    ----------
    displacement_um : (3, rows, columns) float32, um
        x, y, z in the volume; z = 0 for a deformation in the plane.
    spacing_px : float, px
        Distance between nodes, in the manifest's frame.
    origin_px : (float, float), px
        (x, y) of node (0, 0).
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
    """Alignment of one section: an Alignment2d, an optional deformation on top of it, and its quality.

    Attributes
    ----------
    alignment2d : Alignment2d
        Affine placement in the volume.
    status : Status
        Verdict on the placement.
    measures : dict of float
        Quality measures by name.
    deformation : Deformation or None
        Displacement field beyond the matrix, where one was requested.
    reason : str
        Why the section was left out of the fit, or what about its place is in doubt; empty for neither.
    """

    alignment2d: Alignment2d
    status: Status = Status.PASS
    measures: dict[str, float] = field(default_factory=dict)
    deformation: Deformation | None = None
    reason: str = ""  # why it was left out of the fit, or is in doubt, in words


@dataclass(frozen=True)
class SeriesAlignment:
    """Alignment of a series to the reference space.

    Attributes
    ----------
    alignment3d : Alignment3d
        Volume to reference space.
    sections : tuple of SectionAlignment
        One for every placed section.
    measures : dict of float
        Quality measures of the series by name.
    notes : tuple of str
        Remarks for the reader, one line each.
    deformable : str
        Deformation beyond the matrices: "none", "in_plane", "volume" or "by_hand".
    """

    alignment3d: Alignment3d
    sections: tuple[SectionAlignment, ...]
    measures: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    deformable: str = "none"  # deformation beyond the matrices: none, in_plane, volume or by_hand

    def of(self, section_number: int) -> SectionAlignment | None:
        """Return the alignment of one section.

        Parameters
        ----------
        section_number : int
            Number of the section.

        Returns
        -------
        SectionAlignment or None
            None where the section has no alignment.
        """
        found = (s for s in self.sections if s.alignment2d.section_number == section_number)
        return next(found, None)


@dataclass(frozen=True)
class Grid:
    """A regular lattice in the reference space: voxel (i, j, k) lies at origin + (i, j, k) x spacing.

    Attributes
    ----------
    shape : (int, int, int)
        Voxels along P, I, R.
    spacing_um : float, um
        Distance between neighbouring voxels along every axis.
    origin_um : (float, float, float), um
        (P, I, R) of voxel (0, 0, 0).
    """

    shape: tuple[int, int, int]
    spacing_um: float
    origin_um: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def axes_um(self) -> list[Float64]:
        """Return the voxel positions along P, I and R, um."""
        return [
            o + self.spacing_um * np.arange(n, dtype=np.float64)
            for o, n in zip(self.origin_um, self.shape, strict=True)
        ]

    def points_um(self) -> Float64:
        """Return all voxel positions, (n, 3) um, in C order."""
        return np.stack(np.meshgrid(*self.axes_um(), indexing="ij"), axis=-1).reshape(-1, 3)


GRID_200 = Grid(shape=(67, 41, 58), spacing_um=200.0)  # Allen's expression grid (Ng et al. 2009)


@dataclass(frozen=True)
class Structure:
    """One node of the ontology.

    Attributes
    ----------
    id : int
        Label of the structure in annotations.
    acronym, name : str
        Short and full name.
    parent_id : int or None
        Enclosing structure; None for the root.
    graph_order : int
        Rank in the order in which the ontology lists its structures, parents before children.
    color : str
        Hex triplet without '#'.
    """

    id: int
    acronym: str
    name: str
    parent_id: int | None
    graph_order: int
    color: str


@dataclass(frozen=True, eq=False)
class ExpressionSums:
    """Four sums over the same cells: the representation of expression from gridding to unionization.

    Sums add up and pass through any linear operator (`map`). Density, intensity and energy (Lein et al. 2007;
    Ng et al. 2009) are ratios of sums and are therefore taken last: smoothing the ratios instead would break
    energy = density x intensity. Pixels are counted at the manifest's resolution; intensity is darkness,
    0-255.

    Attributes
    ----------
    sum_pixels : array
        Valid pixels of each cell.
    sum_expressing_pixels : array of the same shape
        Expressing pixels among them.
    sum_expressing_pixel_intensity : array of the same shape
        Summed darkness of the expressing pixels.
    sum_pixel_intensity : array of the same shape
        Summed darkness of all valid pixels.
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
        """Apply a linear operator to each of the sums.

        Parameters
        ----------
        operator : callable
            Takes one array of sums and returns another; the same shape for each of the four.

        Returns
        -------
        ExpressionSums
            The mapped sums.
        """
        return ExpressionSums(*(operator(array) for array in self.arrays().values()))

    def __add__(self, other: ExpressionSums) -> ExpressionSums:
        return ExpressionSums(*(getattr(self, n) + getattr(other, n) for n in SUM_FIELDS))

    @property
    def density(self) -> Float64:
        """Expressing pixels over pixels; NaN where there is no pixel."""
        return ratio(self.sum_expressing_pixels, self.sum_pixels)

    @property
    def intensity(self) -> Float64:
        """Mean darkness of expressing pixels; 0 where there are pixels but none expresses, else NaN."""
        mean = ratio(self.sum_expressing_pixel_intensity, self.sum_expressing_pixels)
        silent = (np.asarray(self.sum_expressing_pixels) == 0) & (np.asarray(self.sum_pixels) > 0)
        return np.where(silent, 0.0, mean)

    @property
    def energy(self) -> Float64:
        """Density x intensity: summed darkness of expressing pixels over all pixels."""
        return ratio(self.sum_expressing_pixel_intensity, self.sum_pixels)


SUM_FIELDS = (
    "sum_pixels",
    "sum_expressing_pixels",
    "sum_expressing_pixel_intensity",
    "sum_pixel_intensity",
)


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Float64:
    """Divide sums by sums.

    Parameters
    ----------
    numerator, denominator : array_like
        Arrays that broadcast together.

    Returns
    -------
    float64 of the broadcast shape
        NaN where the denominator is not positive.
    """
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    out = np.full(np.broadcast_shapes(top.shape, bottom.shape), np.nan)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return out


@dataclass(frozen=True)
class StructureUnionize:
    """Expression of one structure in one hemisphere, with Allen's field names.

    `hemisphere_id` is 1 left, 2 right, 3 both; `coverage` is the share of the structure's voxels with data.
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
    """List section numbers as a message names them.

    Parameters
    ----------
    numbers : sequence of int
        At least one section number; of more than ten, eight are listed.

    Returns
    -------
    str
        Text such as "sections 3, 7 and 11".

    Examples
    --------
    >>> numbered([3]), numbered([3, 7, 11]), numbered(range(0, 40, 2))
    ('section 3', 'sections 3, 7 and 11', 'sections 0, 2, 4, 6, 8, 10, 12, 14 and 12 more')
    """
    if len(numbers) == 1:
        return f"section {numbers[0]}"
    shown, more = (numbers, 0) if len(numbers) <= 10 else (numbers[:8], len(numbers) - 8)
    names = [*map(str, shown), *([f"{more} more"] if more else [])]
    return f"sections {', '.join(names[:-1])} and {names[-1]}"
