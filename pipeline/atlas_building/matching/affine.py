"""The affine map between two brains by their outlines, whatever their contrast, and how far they are turned.

Mutual information is no guide between stains whose greys have nothing to do with each other: it left 226 to
281 um of brains whose outlines left 135 to 191 (`workflows/benchmarks/benchmark_carry.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.matching.working import WorkingBrain
from pipeline.core.model import Bool, Float32, Float64
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    import SimpleITK
else:
    SimpleITK = LazyModule("SimpleITK")

_SHRINK = (4, 2)  # working voxels a voxel, of the levels of the fit
_ITERATIONS, _STEP, _LEAST_STEP, _RELAXATION = 100, 1.0, 1e-3, 0.6  # of the descent
_CLEARLY = 0.03  # of the overlap, by which another start must be better than the one as it lies
_COARSE = 4  # working voxels a voxel, where starts are compared


def fit_affine(target: WorkingBrain, source: WorkingBrain, turns: Sequence[Float64] | None = None) -> Float64:
    """Return the affine map between the tissues of two brains.

    Parameters
    ----------
    target, source : WorkingBrain
        On grids of one voxel size.
    turns : sequence of (3, 3) float64, optional
        Linear maps that may be; default the 24 right-angled rotations.

    Returns
    -------
    (3, 4) float64, um to um
        Target to source, from the start whose outlines overlap most; never a reflection by default.
    """
    start = best_start(target, source, turns)
    um = target.spacing_um
    fixed, moving = (
        _image(ndimage.gaussian_filter(b.mask.astype(np.float32), 1.0), um) for b in (target, source)
    )
    centre = np.argwhere(target.mask).mean(axis=0) * um
    transform = SimpleITK.AffineTransform(3)
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(start[:, :3].ravel().tolist())
    transform.SetTranslation((start[:, :3] @ centre + start[:, 3] - centre).tolist())
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(_STEP, _LEAST_STEP, _ITERATIONS, _RELAXATION)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(_SHRINK)
    method.SetSmoothingSigmasPerLevel([s / 2 for s in _SHRINK])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(False)
    method.SetNumberOfThreads(1)  # sums have one order, so that results repeat
    method.SetInitialTransform(transform, inPlace=True)
    with suppress(RuntimeError):  # nothing overlaps: the start is as good as anything, and is refused
        method.Execute(fixed, moving)
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    return np.column_stack([linear, np.array(transform.TransformPoint((0.0, 0.0, 0.0)))])


def best_start(target: WorkingBrain, source: WorkingBrain, turns: Sequence[Float64] | None = None) -> Float64:
    """Return the rotation and shift of which the outlines overlap most.

    Parameters
    ----------
    target, source : WorkingBrain
        On grids of one voxel size.
    turns : sequence of (3, 3) float64, optional
        Linear maps that may be; default the 24 right-angled rotations.

    Returns
    -------
    (3, 4) float64, um to um
        As they lie, with the middles together, unless another of the 24 right-angled rotations is clearly
        better.
    """
    found = as_it_lies(target, source)
    best = overlap_after(target.mask, source.mask, found, target.spacing_um, _COARSE) + _CLEARLY
    rotations = (turn for turn in right_angled() if np.linalg.det(turn) > 0)
    for turn in rotations if turns is None else turns:
        start = _about_middles(target, source, turn)
        value = overlap_after(target.mask, source.mask, start, target.spacing_um, _COARSE)
        if value > best:
            found, best = start, value
    return found


def as_it_lies(target: WorkingBrain, source: WorkingBrain) -> Float64:
    """Return the shift that brings the middles of two tissues together, (3, 4)."""
    return _about_middles(target, source, np.eye(3))


def right_angled() -> Iterator[Float64]:
    """Yield the 48 signed permutations of the axes: 24 rotations and 24 reflections."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            yield np.eye(3)[list(order)] * np.array(signs)[:, None]


def overlap_after(target: Bool, source: Bool, affine: Float64, um: float, step: int = 1) -> float:
    """Return the Dice overlap of two tissues.

    Parameters
    ----------
    target, source : (P, I, R) bool
        Tissues.
    affine : (3, 4) float64, um to um
        Target to source.
    um : float, um
        Voxel size.
    step : int
        Voxels of which one is looked at, along each axis.

    Returns
    -------
    float
        0 to 1; tissue of the source beyond the target's box counts too.
    """
    coarse = target[::step, ::step, ::step]
    linear, shift = affine[:, :3] * step, affine[:, 3] / um
    seen = ndimage.affine_transform(source.astype(np.float32), linear, shift, coarse.shape, order=1) > 0.5
    volume = abs(float(np.linalg.det(affine[:, :3])))
    whole = source.sum() / volume / step**3
    return 2.0 * float((seen & coarse).sum()) / max(float(coarse.sum() + whole), 1.0)


def rotation_deg(affine: Float64) -> float:
    """Return the angle of the rotation in an affine map, degrees (polar decomposition)."""
    u, _, v = np.linalg.svd(affine[:, :3])
    turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))]) @ v
    return float(np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1.0) / 2.0, -1.0, 1.0))))


def _about_middles(target: WorkingBrain, source: WorkingBrain, linear: Float64) -> Float64:
    middles = [np.argwhere(b.mask).mean(axis=0) * b.spacing_um for b in (target, source)]
    return np.column_stack([linear, middles[1] - linear @ middles[0]])


def _image(values: Float32, um: float) -> SimpleITK.Image:
    found = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    found.SetSpacing((um, um, um))
    return found
