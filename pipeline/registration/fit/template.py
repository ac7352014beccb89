"""Baseline aligner: SimpleITK, the reference's template, mutual information.

A 3-D affine registers the stack of sections to the template. A 2-D rigid transform then registers every
section to the template, resliced at the section's plane. The two alternate.

Notes
-----
Mutual information is that of Mattes et al. (2003), as implemented in ITK; its optimiser is regular-step
gradient descent.

References
----------
Mattes D, Haynor DR, Vesselle H, Lewellen TK, Eubank W (2003). PET-CT image registration in the chest using
free-form deformations. IEEE Transactions on Medical Imaging 22(1):120-128.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.errors import ConfigError
from pipeline.core.model import Float64
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry import affine
from pipeline.registration.fit.joint import FitProblem, Solution
from pipeline.registration.model.state import TransformState
from pipeline.registration.reconstruction import SpecimenVolume, stack
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    import SimpleITK
else:
    SimpleITK = LazyModule("SimpleITK")

_SPACING_UM = 100.0  # um; pixel of the stack within its planes
_ALTERNATIONS = 2  # of the 3-D affine and the sections' poses
_BINS = 32  # of the joint histogram of mutual information, for each image
# First steps of the 3-D affine and of a section, in parameters scaled to the physical shift that they cause.
_AFFINE_STEP, _SECTION_STEP = 0.05, 20.0
# Least step, iterations, and relaxation of the step at every turn of the gradient.
_LEAST_STEP, _ITERATIONS, _RELAXATION = 1e-4, 60, 0.6
_SHRINK, _BLUR_PX = [2, 1], [2.0, 1.0]  # two levels: half resolution with 2 px of blur, full with 1 px


def fit_template(problem: FitProblem, state: TransformState, reference: ReferenceSpace) -> Solution:
    """Alternate between the 3-D affine of the stack and the 2-D rigid poses of its sections.

    Parameters
    ----------
    problem : FitProblem
        The sections.
    state : TransformState
        Transforms after the outline stage.
    reference : ReferenceSpace
        Reference with a template.

    Returns
    -------
    Solution
        The fit, without a stain model and with cost 0.

    Raises
    ------
    ConfigError
        Where the reference has no template.
    """
    if reference.template is None:
        raise ConfigError(f"aligner template: reference {reference.name} has no template; use aligner joint")
    # SimpleITK takes arrays as (z, y, x); P, I, R become its x, y, z.
    grey = SimpleITK.GetImageFromArray(np.ascontiguousarray(reference.template.transpose(2, 1, 0)))
    grey.SetSpacing((reference.template_um,) * 3)
    for _ in range(_ALTERNATIONS):
        specimen = _stack(problem, state)
        state = state.replaced(volume=_affine(specimen, grey, state.volume))
        poses = [_registered_pose(specimen, grey, problem, state, k) for k in range(len(problem.tissues))]
        state = state.replaced(sections=np.array(poses))
    return Solution(state, None, 0.0)


def _stack(problem: FitProblem, state: TransformState) -> SpecimenVolume:
    """Return the sections' stain stacked under the current poses."""
    return stack([t.stain for t in problem.tissues], list(state.sections), list(state.z_um), _SPACING_UM)


def _affine(specimen: SpecimenVolume, grey: SimpleITK.Image, start: Float64) -> Float64:
    """Return volume to reference, (3, 4) um to um, of the stack registered to the template."""
    fixed = SimpleITK.GetImageFromArray(np.nan_to_num(specimen.stain))
    fixed.SetSpacing(specimen.spacing_um)
    fixed.SetOrigin(specimen.origin_um)
    transform = SimpleITK.AffineTransform(3)
    transform.SetMatrix(start[:, :3].ravel().tolist())
    transform.SetTranslation(start[:, 3].tolist())
    middle = [
        o + 0.5 * s * n
        for o, s, n in zip(fixed.GetOrigin(), fixed.GetSpacing(), fixed.GetSize(), strict=True)
    ]
    # Rotations and strains about the middle of the stack disturb its translation least.
    transform = _about(transform, middle)
    # Planes without a section are missing data, and take no part in the metric.
    present = np.isfinite(specimen.stain).any(axis=(1, 2), keepdims=True)
    mask = SimpleITK.GetImageFromArray(np.broadcast_to(present, specimen.stain.shape).astype(np.uint8))
    mask.CopyInformation(fixed)
    method = _method(_AFFINE_STEP)
    method.SetMetricFixedMask(mask)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, SimpleITK.Cast(grey, SimpleITK.sitkFloat32))
    # ITK's matrix acts about a centre; the image of the origin is the translation about zero.
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    return np.column_stack([linear, np.array(transform.TransformPoint((0.0, 0.0, 0.0)))])


def _about(transform: SimpleITK.AffineTransform, centre: list[float]) -> SimpleITK.AffineTransform:
    """Return the same map with its linear part acting about `centre`."""
    image = np.array(transform.TransformPoint(centre))
    moved = SimpleITK.AffineTransform(3)
    moved.SetMatrix(transform.GetMatrix())
    moved.SetCenter(centre)
    moved.SetTranslation((image - np.array(centre)).tolist())
    return moved


def _method(step: float) -> SimpleITK.ImageRegistrationMethod:
    """Return the registration method; `step` is the length of the first step, in scaled parameters."""
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(step, _LEAST_STEP, _ITERATIONS, _RELAXATION)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(_SHRINK)
    method.SetSmoothingSigmasPerLevel(_BLUR_PX)
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(False)
    method.SetNumberOfThreads(1)  # sums have one order, so that results repeat
    return method


@dataclass(frozen=True)
class _Plane:
    """A section and the template on its plane, both on the lattice of the stack."""

    fixed: SimpleITK.Image
    moving: SimpleITK.Image


def _registered_pose(
    specimen: SpecimenVolume, grey: SimpleITK.Image, problem: FitProblem, state: TransformState, k: int
) -> Float64:
    """Return the pose of section `k` after a 2-D rigid registration to the resliced template."""
    plane = _plane(specimen, grey, state, k)
    transform = SimpleITK.Euler2DTransform()
    height, width = plane.fixed.GetSize()[::-1]
    transform.SetCenter(plane.fixed.TransformContinuousIndexToPhysicalPoint((0.5 * width, 0.5 * height)))
    method = _method(_SECTION_STEP)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(plane.fixed, plane.moving)
    except RuntimeError:  # a sliver without overlap keeps its pose from the outline
        return np.asarray(state.sections[k])
    linear = np.array(transform.GetMatrix()).reshape(2, 2)
    step = np.column_stack([linear, np.array(transform.TransformPoint((0.0, 0.0)))])
    return affine.compose(step, state.sections[k])


def _plane(specimen: SpecimenVolume, grey: SimpleITK.Image, state: TransformState, k: int) -> _Plane:
    """Return the plane of the stack that holds section `k`, and the template resliced there."""
    z = int(np.rint((state.z_um[k] - specimen.origin_um[2]) / specimen.spacing_um[2]))
    image = np.nan_to_num(specimen.stain[z])
    x, y, _ = specimen.origin_um
    lattice = SimpleITK.Image(image.shape[1], image.shape[0], 1, SimpleITK.sitkFloat32)
    lattice.SetSpacing(specimen.spacing_um)
    lattice.SetOrigin((x, y, float(state.z_um[k])))
    # The lattice is one plane of the volume; the resampler takes its points to the reference.
    to_reference = SimpleITK.AffineTransform(3)
    to_reference.SetMatrix(state.volume[:, :3].ravel().tolist())
    to_reference.SetTranslation(state.volume[:, 3].tolist())
    resliced = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(grey, lattice, to_reference, SimpleITK.sitkLinear, 0.0)
    )[0]
    pair = [SimpleITK.GetImageFromArray(a.astype(np.float32)) for a in (image, resliced)]
    for one in pair:
        one.SetSpacing(specimen.spacing_um[:2])
        one.SetOrigin((x, y))
    return _Plane(pair[0], pair[1])
