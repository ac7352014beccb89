"""Gauss-Newton for displacement fields: alternately the whole brain's and each section's own.

Notes
-----
The energy is the robust difference of image and painted atlas (Geman & McClure 1987) plus the bending and
size of B-spline displacements (Rueckert et al. 1999). Within a step the two sets of fields are solved in
turns (block Gauss-Seidel): both together would be one dense system of all control points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg, sparse

from pipeline.core.model import Float32, Float64
from pipeline.geometry import affine
from pipeline.registration.deformable.blocks import (
    Blocks,
    add_normal,
    blocks_of,
    labels_displaced,
    paint_displaced,
    sum_blocks,
)
from pipeline.registration.deformable.displacement import DisplacementFields, Stiffness, displacement_nodes
from pipeline.registration.fit.joint import FitProblem
from pipeline.registration.model.painted_atlas import NORMAL_AXIS, blur, samples_a_pixel
from pipeline.registration.model.stain_table import LEAST_NOISE, RESIDUAL_STEP, StainModel
from pipeline.registration.model.state import LevelImage, TransformState
from pipeline.sections.medians import MAD_TO_SIGMA
from pipeline.system.threads import each

_NODE_UM = 200.0  # um; spacing of the lattice on which the displacement is evaluated for painting
_BLOCK_UM = 300.0  # um; side of the blocks of the data term
_MERGED_BLOCK_UM = 600.0  # um; squares of blocks in the matrix of the whole brain
_LEAST_NORMAL_UM = 60.0  # um; least half distance of the planes that give the derivative along z
_ALTERNATIONS = 4  # alternations between whole brain and sections in a step
_LARGEST_STEP_UM = 250.0  # um; bound of a coefficient's step
_STEP_PERCENTILE = 90  # of the blocks' displacements: the size of a step
_ROBUST_SCALE = 2.5  # residual at which a weight is down to a quarter, in standard deviations of the noise
_TISSUE_SHARE = 0.15  # share of the darkest label below which a painted pixel counts as glass
_LEAST_WEIGHT = np.float32(1e-9)  # mm2; of a blur, where nothing is known


@dataclass(frozen=True)
class Level:
    """How one level of the fit compares atlas and images.

    Attributes
    ----------
    sigma_um : float, um
        Gaussian blur of atlas and images.
    flatten_um : float, um
        Both are compared after their own blur of this sigma is subtracted; infinite compares them as they
        are. Stain that varies slowly inside a structure then has no effect, while borders stay sharp.
    noise : float
        Robust standard deviation of the residuals.
    correlation_um : float, um
        Distance over which residuals are correlated.
    """

    sigma_um: float
    flatten_um: float
    noise: float
    correlation_um: float

    @property
    def information(self) -> float:
        """Weight of the data against priors, 1 / (noise x correlation in mm)^2; see `gauss_newton.Stage`."""
        return 1.0 / (self.noise**2 * (self.correlation_um * 1e-3) ** 2)


@dataclass(frozen=True, eq=False)
class DeformableFit:
    """State of the deformable fit of a series.

    Attributes
    ----------
    problem : FitProblem
        What is fitted.
    state : TransformState
        Affine placement, which stays.
    fields : DisplacementFields
        Present displacement fields.
    in_plane, whole : Stiffness
        Priors of the sections' fields and of the whole brain's.
    moves_whole : bool
        Whether the whole brain is deformed too.
    """

    problem: FitProblem
    state: TransformState
    fields: DisplacementFields
    in_plane: Stiffness
    whole: Stiffness
    moves_whole: bool

    def plane(self, k: int, image: LevelImage, shift_um: float = 0.0) -> Float64:
        """Return the affine plane of a section in the reference.

        Parameters
        ----------
        k : int
            Index of the section.
        image : LevelImage
            Gives the pixels.
        shift_um : float, um
            Shift along z of the volume.

        Returns
        -------
        (3, 3) float64, px -> um
            (x, y, 1) to (P, I, R).
        """
        return self.state.plane(k, image.to_thumbnail, shift_um)

    def to_volume(self, k: int, image: LevelImage) -> Float64:
        """Return the affine map from pixels of a section to the volume.

        Parameters
        ----------
        k : int
            Index of the section.
        image : LevelImage
            Gives the pixels.

        Returns
        -------
        (2, 3) float64, px -> um
            Pixels to (x, y).
        """
        return affine.compose(self.state.sections[k], image.to_thumbnail)

    def displacement(self, k: int, image: LevelImage) -> tuple[Float32, float]:
        """Return the displacement of a section in the reference, on a lattice over its image.

        Parameters
        ----------
        k : int
            Index of the section.
        image : LevelImage
            Gives the pixels.

        Returns
        -------
        nodes : (3, rows, columns) float32, um
            Along P, I, R.
        step : float, px
            Distance between nodes.
        """
        step = max(1.0, float(round(_NODE_UM / image.pixel_um)))
        shape = tuple(int(n // step) + 2 for n in image.values.shape)  # the lattice covers the image
        nodes = displacement_nodes(self.fields, k, self.to_volume(k, image), shape, step)
        # displacement of the volume to that of the reference
        turned = np.tensordot(self.state.volume[:, :3], nodes, axes=1)
        return np.ascontiguousarray(turned, dtype=np.float32), step


SectionDisplacement = tuple[Float32, float]  # nodes and spacing, see `DeformableFit.displacement`


def section_displacements(fit: DeformableFit, images: Sequence[LevelImage]) -> list[SectionDisplacement]:
    """Return the displacement of every section in the reference.

    Parameters
    ----------
    fit : DeformableFit
        Displacement fields and placement.
    images : sequence of LevelImage
        Image of each section.

    Returns
    -------
    list of ((3, rows, columns) float32 um, float px)
        Nodes and their spacing, see `DeformableFit.displacement`.
    """
    return each(lambda k: fit.displacement(k, images[k]), range(len(images)), fit.problem.options.threads)


def section_labels(
    fit: DeformableFit, images: Sequence[LevelImage], displacements: Sequence[SectionDisplacement]
) -> list[np.ndarray]:
    """Read the label at every pixel of every deformed section.

    Parameters
    ----------
    fit : DeformableFit
        Affine placement and atlas.
    images : sequence of LevelImage
        Image of each section.
    displacements : sequence of ((3, rows, columns) float32 um, float px)
        Displacement of each section, see `section_displacements`.

    Returns
    -------
    list of (h, w) uint16
        Label indices.
    """
    atlas = fit.problem.atlas

    def one(k: int) -> np.ndarray:
        image = images[k]
        plane = fit.plane(k, image)
        return np.asarray(
            labels_displaced(atlas.index, 1.0 / atlas.voxel_um, plane, displacements[k], image.values.shape)
        )

    return each(one, range(len(images)), fit.problem.options.threads)


@dataclass(frozen=True, eq=False)
class LevelData:
    """What one step compares: images of a level, displacement of their sections, stain model.

    Attributes
    ----------
    images : sequence of LevelImage
        Image of each section.
    displacements : sequence of ((3, rows, columns) float32 um, float px)
        Displacement of each section, see `section_displacements`.
    model : StainModel
        Stain tables, gains and noise.
    level : Level
        Blur, flattening and noise.
    """

    images: Sequence[LevelImage]
    displacements: Sequence[SectionDisplacement]
    model: StainModel
    level: Level


def section_blocks(fit: DeformableFit, k: int, data: LevelData) -> Blocks:
    """Return the normal equations of the blocks of a section.

    Parameters
    ----------
    fit : DeformableFit
        Placement, atlas, and whether the whole brain moves.
    k : int
        Index of the section.
    data : LevelData
        Images and stain model of the step.

    Returns
    -------
    Blocks
        Blocks in which any pixel counts.
    """
    image, displacement, model, level = data.images[k], data.displacements[k], data.model, data.level
    atlas, shape = fit.problem.atlas, image.values.shape
    unit = np.float32(model.units[model.series[k]])  # brings all series to one noise
    table = model.table(k) / unit
    samples = samples_a_pixel(image.pixel_um, atlas.voxel_um, level.sigma_um)
    normal_um = max(0.5 * level.sigma_um, _LEAST_NORMAL_UM)

    def painted(shift_um: float) -> np.ndarray:
        matrix = fit.plane(k, image, shift_um)
        raw = paint_displaced(atlas.index, 1.0 / atlas.voxel_um, table, matrix, displacement, shape, samples)
        return blur(raw, level.sigma_um / image.pixel_um)

    middle = painted(0.0)
    inside = (middle > _TISSUE_SHARE * table.max()) & (image.weights > 0)
    normal = np.zeros_like(middle)
    if fit.moves_whole:
        normal = (painted(normal_um) - painted(-normal_um)) / np.float32(2.0 * normal_um)  # per um of z
    gain = np.float32(model.gains[k])
    values = image.values / (gain * unit)
    if np.isfinite(level.flatten_um):
        values, middle, normal = (
            _flattened(v, image.weights, level.flatten_um / image.pixel_um) for v in (values, middle, normal)
        )
    # noise of a pale section is larger at gain 1
    pixels = np.stack([values, image.weights * gain**2, middle, normal])
    inverse = np.asarray(np.linalg.inv(fit.to_volume(k, image)[:, :2]))
    known = (fit.plane(k, image)[NORMAL_AXIS[atlas.plane]], *atlas.limits_um)
    size = max(1, round(_BLOCK_UM / image.pixel_um))
    sums = sum_blocks(pixels, inverse, known, _ROBUST_SCALE * level.noise, size)
    return blocks_of(sums, (values - middle)[inside][::RESIDUAL_STEP], size)


def _flattened(image: Float32, weights: Float32, sigma_px: float) -> Float32:
    """Subtract from an image its own blur, taken over the pixels that are known."""
    soft = blur(image * weights, sigma_px) / np.maximum(blur(weights, sigma_px), _LEAST_WEIGHT)
    return np.asarray(image - soft)


def step(fit: DeformableFit, data: LevelData) -> tuple[DeformableFit, float, float]:
    """Take one Gauss-Newton step of all displacement fields.

    Parameters
    ----------
    fit : DeformableFit
        Fields to start from.
    data : LevelData
        Images and stain model.

    Returns
    -------
    fit : DeformableFit
        The fit with the fields after the step.
    noise : float
        Robust standard deviation of the residuals before the step.
    size : float, um
        Displacement of the blocks by the step, see `_STEP_PERCENTILE`.
    """

    def one(k: int) -> _SectionEquations:
        blocks = section_blocks(fit, k, data)
        places = affine.apply(fit.to_volume(k, data.images[k]), blocks.places_px)
        return _SectionEquations(fit, k, blocks, places, data.level)

    sections = each(one, range(len(data.images)), fit.problem.options.threads)
    whole = _BrainEquations(fit, sections, data.level) if fit.moves_whole else None
    for _ in range(_ALTERNATIONS if whole is not None else 1):  # the sections alone are solved at once
        if whole is not None:
            whole.solve(sections)
        for section in sections:
            section.solve()
    own = np.array([section.step for section in sections])
    shape = np.zeros_like(fit.fields.shape) if whole is None else whole.step
    moved = np.concatenate([s.moved for s in sections]) if sections else np.zeros((1, 3))
    left = np.concatenate([s.blocks.residuals for s in sections])
    # median absolute deviation as a standard deviation
    noise = max(MAD_TO_SIGMA * float(np.median(np.abs(left))), LEAST_NOISE) if left.size else data.level.noise
    fields = replace(fit.fields, own=fit.fields.own + own, shape=fit.fields.shape + shape)
    size = float(np.percentile(np.linalg.norm(moved, axis=1), _STEP_PERCENTILE)) if moved.size else 0.0
    return replace(fit, fields=fields), noise, size


class _SectionEquations:
    """Equations of one section's own field, and what the whole brain's step does to its blocks."""

    def __init__(self, fit: DeformableFit, k: int, blocks: Blocks, places: Float64, level: Level) -> None:
        self.blocks, self.places, self.information = blocks, places, level.information
        self.z_um = float(fit.fields.z_um[k])
        index, weight = fit.fields.plane.basis(places)
        self.basis = fit.fields.plane.matrix(places)
        precision = fit.in_plane.precision(fit.fields.plane)  # of one component; x and y share it
        full = sparse.kron(precision, sparse.identity(2)).toarray()
        add_normal(full, index, weight, level.information * blocks.normal[:, :2, :2])
        # reads the upper triangle only
        self.factor = linalg.cho_factor(full, overwrite_a=True, check_finite=False)
        self.pull = precision @ fit.fields.own[k]  # of the prior, towards no displacement
        self.step = np.zeros_like(fit.fields.own[k])
        self.by_whole = np.zeros((len(places), 3))

    def solve(self) -> None:
        """Solve for the section's step, given that of the whole brain."""
        # pull that the whole brain's step leaves
        left = self.blocks.right - np.einsum("nij,nj->ni", self.blocks.normal, self.by_whole)
        right = self.information * (self.basis.T @ left[:, :2]) - self.pull
        found = linalg.cho_solve(self.factor, right.ravel(), check_finite=False).reshape(-1, 2)
        self.step = np.clip(found, -_LARGEST_STEP_UM, _LARGEST_STEP_UM)

    @property
    def moved(self) -> Float64:
        """Displacement of the blocks by the step, (n, 3) um."""
        total = self.by_whole.copy()
        total[:, :2] += self.basis @ self.step
        return total


class _BrainEquations:
    """Equations of the whole brain's field."""

    def __init__(self, fit: DeformableFit, sections: Sequence[_SectionEquations], level: Level) -> None:
        lattice = fit.fields.whole
        z_um = [np.full(len(s.places), s.z_um) for s in sections]
        points = np.column_stack([np.concatenate([s.places for s in sections]), np.concatenate(z_um)])
        normal = level.information * np.concatenate([s.blocks.normal for s in sections])
        precision = fit.whole.precision(lattice)
        full = sparse.kron(precision, sparse.identity(3)).toarray()
        middles, merged = _merged(points, normal)
        add_normal(full, *lattice.basis(middles), merged)
        self.factor = linalg.cho_factor(full, overwrite_a=True, check_finite=False)
        # of the single blocks, see `_merged`
        self.basis, self.information = lattice.matrix(points), level.information
        self.ends = np.cumsum([len(s.places) for s in sections])[:-1]
        self.pull = precision @ fit.fields.shape
        self.step = np.zeros_like(fit.fields.shape)

    def solve(self, sections: Sequence[_SectionEquations]) -> None:
        """Solve for the whole brain's step, given those of the sections, and pass it on to their blocks."""
        left = [
            s.blocks.right - np.einsum("nij,nj->ni", s.blocks.normal[:, :, :2], s.basis @ s.step)
            for s in sections
        ]
        right = self.information * (self.basis.T @ np.concatenate(left)) - self.pull
        found = linalg.cho_solve(self.factor, right.ravel(), check_finite=False).reshape(-1, 3)
        self.step = np.clip(found, -_LARGEST_STEP_UM, _LARGEST_STEP_UM)
        for section, part in zip(sections, np.split(self.basis @ self.step, self.ends), strict=True):
            section.by_whole = part


def _merged(points: Float64, normal: Float64) -> tuple[Float64, Float64]:
    """Sum the normal matrices of the blocks over squares of their section, to build the matrix faster.

    Control points lie far apart against a square, so the matrix hardly differs. The fixed point of the steps
    does not differ at all: the right side is summed block by block.
    """
    cells = np.column_stack([np.floor(points[:, :2] / _MERGED_BLOCK_UM), points[:, 2]])
    _, inverse = np.unique(cells, axis=0, return_inverse=True)
    inverse = inverse.ravel()
    counts = np.bincount(inverse).astype(np.float64)
    middles = [np.bincount(inverse, weights=column) / counts for column in points.T]
    sums = [np.bincount(inverse, weights=column) for column in normal.reshape(-1, 9).T]
    return np.stack(middles, axis=1), np.stack(sums, axis=1).astype(np.float64).reshape(-1, 3, 3)
