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
    labels_bent,
    paint_bent,
    sum_blocks,
)
from pipeline.registration.deformable.displacement import Bend, Stiffness, nodes_of
from pipeline.registration.fit.joint import Task
from pipeline.registration.model.painted_atlas import NORMAL_AXIS, blur
from pipeline.registration.model.stain_table import StainModel
from pipeline.registration.model.state import LevelImage, State
from pipeline.system.threads import each

_NODE_UM = 200.0  # spacing of the lattice on which the displacement is evaluated for painting, um
_BLOCK_UM = 300.0  # side of the blocks of the data term, um
_MERGED_UM = 600.0  # squares of blocks in the matrix of the whole brain, um
_NORMAL_UM = 60.0  # least half distance of the planes that give the derivative along z, um
_TURNS = 4  # alternations between whole brain and sections in a step
_LARGEST_STEP_UM = 250.0  # bound of a coefficient's step, um
_ROBUST = 2.5  # residual at which a weight is down to a quarter, in standard deviations of the noise
_INSIDE = 0.15  # share of the darkest label below which a painted pixel counts as glass


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
class Fit:
    """State of the deformable fit of a series.

    Attributes
    ----------
    task : Task
        What is fitted.
    state : State
        Affine placement, which stays.
    bend : Bend
        Present displacement fields.
    in_plane, whole : Stiffness
        Priors of the sections' fields and of the whole brain's.
    moves_whole : bool
        Whether the whole brain is deformed too.
    """

    task: Task
    state: State
    bend: Bend
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

    def bent(self, k: int, image: LevelImage) -> tuple[Float32, float]:
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
        nodes = nodes_of(self.bend, k, self.to_volume(k, image), shape, step)
        # displacement of the volume to that of the reference
        turned = np.tensordot(self.state.volume[:, :3], nodes, axes=1)
        return np.ascontiguousarray(turned, dtype=np.float32), step


Bent = tuple[Float32, float]  # nodes and spacing, see `Fit.bent`


def bends(fit: Fit, images: Sequence[LevelImage]) -> list[Bent]:
    """Return the displacement of every section in the reference.

    Parameters
    ----------
    fit : Fit
        Displacement fields and placement.
    images : sequence of LevelImage
        Image of each section.

    Returns
    -------
    list of ((3, rows, columns) float32 um, float px)
        Nodes and their spacing, see `Fit.bent`.
    """
    return each(lambda k: fit.bent(k, images[k]), range(len(images)), fit.task.options.threads)


def labels(fit: Fit, images: Sequence[LevelImage], bent: Sequence[Bent]) -> list[np.ndarray]:
    """Read the label at every pixel of every deformed section.

    Parameters
    ----------
    fit : Fit
        Affine placement and atlas.
    images : sequence of LevelImage
        Image of each section.
    bent : sequence of ((3, rows, columns) float32 um, float px)
        Displacement of each section, see `bends`.

    Returns
    -------
    list of (h, w) uint16
        Label indices.
    """
    atlas = fit.task.atlas

    def one(k: int) -> np.ndarray:
        image = images[k]
        plane = fit.plane(k, image)
        return np.asarray(labels_bent(atlas.index, 1.0 / atlas.voxel_um, plane, bent[k], image.values.shape))

    return each(one, range(len(images)), fit.task.options.threads)


@dataclass(frozen=True, eq=False)
class View:
    """What one step compares: images of a level, displacement of their sections, stain model.

    Attributes
    ----------
    images : sequence of LevelImage
        Image of each section.
    bent : sequence of ((3, rows, columns) float32 um, float px)
        Displacement of each section, see `bends`.
    model : StainModel
        Stain tables, gains and noise.
    level : Level
        Blur, flattening and noise.
    """

    images: Sequence[LevelImage]
    bent: Sequence[Bent]
    model: StainModel
    level: Level


def section_blocks(fit: Fit, k: int, view: View) -> Blocks:
    """Return the normal equations of the blocks of a section.

    Parameters
    ----------
    fit : Fit
        Placement, atlas, and whether the whole brain moves.
    k : int
        Index of the section.
    view : View
        Images and stain model of the step.

    Returns
    -------
    Blocks
        Blocks in which any pixel counts.
    """
    image, bent, model, level = view.images[k], view.bent[k], view.model, view.level
    atlas, shape = fit.task.atlas, image.values.shape
    unit = np.float32(model.units[model.series[k]])  # brings all series to one noise
    table = model.table(k) / unit
    # one sample a pixel where the pixel is hardly larger than a voxel or the blur hides it, else 2 x 2
    smooth = image.pixel_um < 1.6 * atlas.voxel_um or level.sigma_um > 1.8 * image.pixel_um
    normal_um = max(0.5 * level.sigma_um, _NORMAL_UM)

    def painted(shift_um: float) -> np.ndarray:
        matrix = fit.plane(k, image, shift_um)
        raw = paint_bent(atlas.index, 1.0 / atlas.voxel_um, table, matrix, bent, shape, 1 if smooth else 2)
        return blur(raw, level.sigma_um / image.pixel_um)

    middle = painted(0.0)
    inside = (middle > _INSIDE * table.max()) & (image.weights > 0)
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
    sums = sum_blocks(pixels, inverse, known, _ROBUST * level.noise, size)
    return blocks_of(sums, (values - middle)[inside][::7], size)


def _flattened(image: Float32, weights: Float32, sigma_px: float) -> Float32:
    """Subtract from an image its own blur, taken over the pixels that are known."""
    soft = blur(image * weights, sigma_px) / np.maximum(blur(weights, sigma_px), np.float32(1e-9))
    return np.asarray(image - soft)


def step(fit: Fit, view: View) -> tuple[Fit, float, float]:
    """Take one Gauss-Newton step of all displacement fields.

    Parameters
    ----------
    fit : Fit
        Fields to start from.
    view : View
        Images and stain model.

    Returns
    -------
    fit : Fit
        The fit with the fields after the step.
    noise : float
        Robust standard deviation of the residuals before the step.
    size : float, um
        90th percentile of the displacement of the blocks by the step.
    """

    def one(k: int) -> _Section:
        blocks = section_blocks(fit, k, view)
        places = affine.apply(fit.to_volume(k, view.images[k]), blocks.places_px)
        return _Section(fit, k, blocks, places, view.level)

    sections = each(one, range(len(view.images)), fit.task.options.threads)
    whole = _Whole(fit, sections, view.level) if fit.moves_whole else None
    for _ in range(_TURNS if whole is not None else 1):  # the sections alone are solved at once
        if whole is not None:
            whole.turn(sections)
        for section in sections:
            section.turn()
    own = np.array([section.step for section in sections])
    shape = np.zeros_like(fit.bend.shape) if whole is None else whole.step
    moved = np.concatenate([s.moved for s in sections]) if sections else np.zeros((1, 3))
    left = np.concatenate([s.blocks.residuals for s in sections])
    # 1.4826: median absolute deviation to standard deviation
    noise = max(1.4826 * float(np.median(np.abs(left))), 1e-4) if left.size else view.level.noise
    bend = replace(fit.bend, own=fit.bend.own + own, shape=fit.bend.shape + shape)
    size = float(np.percentile(np.linalg.norm(moved, axis=1), 90)) if moved.size else 0.0
    return replace(fit, bend=bend), noise, size


class _Section:
    """Equations of one section's own field, and what the whole brain's step does to its blocks."""

    def __init__(self, fit: Fit, k: int, blocks: Blocks, places: Float64, level: Level) -> None:
        self.blocks, self.places, self.information = blocks, places, level.information
        self.z_um = float(fit.bend.z_um[k])
        index, weight = fit.bend.plane.basis(places)
        self.basis = fit.bend.plane.assembled(index, weight)
        precision = fit.in_plane.precision(fit.bend.plane)  # of one component; x and y share it
        full = sparse.kron(precision, sparse.identity(2)).toarray()
        add_normal(full, index, weight, level.information * blocks.normal[:, :2, :2])
        # reads the upper triangle only
        self.factor = linalg.cho_factor(full, overwrite_a=True, check_finite=False)
        self.pull = precision @ fit.bend.own[k]  # of the prior, towards no displacement
        self.step = np.zeros_like(fit.bend.own[k])
        self.by_whole = np.zeros((len(places), 3))

    def turn(self) -> None:
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


class _Whole:
    """Equations of the whole brain's field."""

    def __init__(self, fit: Fit, sections: Sequence[_Section], level: Level) -> None:
        lattice = fit.bend.whole
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
        self.pull = precision @ fit.bend.shape
        self.step = np.zeros_like(fit.bend.shape)

    def turn(self, sections: Sequence[_Section]) -> None:
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
    cells = np.column_stack([np.floor(points[:, :2] / _MERGED_UM), points[:, 2]])
    _, inverse = np.unique(cells, axis=0, return_inverse=True)
    inverse = inverse.ravel()
    counts = np.bincount(inverse).astype(np.float64)
    middles = [np.bincount(inverse, weights=column) / counts for column in points.T]
    sums = [np.bincount(inverse, weights=column) for column in normal.reshape(-1, 9).T]
    return np.stack(middles, axis=1), np.stack(sums, axis=1).astype(np.float64).reshape(-1, 3, 3)
