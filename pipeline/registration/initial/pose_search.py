"""A first pose from shapes alone: area profile along the cutting axis, then each section by its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import fft

from pipeline.core.model import Float32, Float64
from pipeline.geometry import affine
from pipeline.registration.model.painted_atlas import IN_PLANE_AXES, NORMAL_AXIS, Atlas, paint
from pipeline.registration.model.state import State
from pipeline.system.threads import each

PIXEL_UM = 200.0
_ROOM = 1.5  # lattice over plane: what is shifted over one edge must not come in at the other
_Z_SCALES = np.arange(0.70, 1.4001, 0.025)
_Z_STEP_UM = 50.0
_APART_UM = 900.0
_SCALE_RANGE = (0.6, 1.6)


def middle_span_um(atlas: Atlas, hemisphere: str) -> tuple[float, float]:
    """Return where the middle of a series may lie along the cutting axis."""
    extent = float(atlas.extent_um[NORMAL_AXIS[atlas.plane]])
    if atlas.plane == "coronal":
        return 0.10 * extent, 0.92 * extent
    if hemisphere == "both":  # what fits right of the midline fits left of it as well
        return 0.08 * extent, 0.53 * extent
    return (0.08 * extent, 0.45 * extent) if hemisphere == "left" else (0.55 * extent, 0.92 * extent)


@dataclass(frozen=True)
class ProfileFit:
    """Where the area profile puts the series: reference axis um = offset + slope x z um."""

    slope: float
    offset_um: float
    scale: float
    misfit: float


def area_profile(atlas: Atlas) -> tuple[Float64, Float64]:
    """Return positions (um) along the cutting axis and the tissue area (um2) of each plane."""
    axis = NORMAL_AXIS[atlas.plane]
    others = tuple(a for a in range(3) if a != axis)
    thin = atlas.index[tuple(slice(None) if a == axis else slice(None, None, 2) for a in range(3))]
    areas = (thin > 0).sum(axis=others) * (2.0 * atlas.voxel_um) ** 2
    return np.arange(areas.size) * atlas.voxel_um, areas.astype(np.float64)


def fit_profile(
    atlas: Atlas, z_um: Float64, areas_um2: Float64, sign: int, span_um: tuple[float, float]
) -> list[ProfileFit]:
    """Match section areas to the reference's area profile; every good place, best first.

    Parameters
    ----------
    span_um : (float, float)    where along the axis the middle of the series may lie

    Every scale of z and every offset is tried; misfit = mean absolute difference over mean area. A place
    is good where no better one lies within 0.9 mm: part of a brain may fit at several.
    """
    positions, profile = area_profile(atlas)
    usable = areas_um2 > 0
    z, areas = z_um[usable], areas_um2[usable]
    middle = 0.5 * (z.min() + z.max())
    centres = np.arange(span_um[0], span_um[1] + 1.0, _Z_STEP_UM)
    found = []
    for stretch in _Z_SCALES:
        slope = sign * stretch
        at = slope * (z - middle) + centres[:, None]
        planes = np.interp(at, positions, profile, left=0.0, right=0.0)
        norm = np.maximum((planes**2).sum(axis=1), 1e-12)
        scale2 = np.clip(planes @ areas / norm, _SCALE_RANGE[0] ** 2, _SCALE_RANGE[1] ** 2)
        misfit = np.abs(areas - scale2[:, None] * planes).sum(axis=1) / areas.sum()
        misfit += 0.15 * np.abs(np.log(stretch * np.sqrt(scale2))) + 0.1 * abs(np.log(stretch))
        found += [
            ProfileFit(slope, float(c - slope * middle), float(1.0 / np.sqrt(s)), float(m))
            for c, s, m in zip(centres, scale2, misfit, strict=True)
        ]
    return _apart(found, middle)


def _apart(found: list[ProfileFit], middle: float) -> list[ProfileFit]:
    """Keep the best fit of every neighbourhood, best first."""
    kept: list[ProfileFit] = []
    for fit in sorted(found, key=lambda f: f.misfit):
        centre = fit.offset_um + fit.slope * middle
        if all(abs(centre - k.offset_um - k.slope * middle) > _APART_UM for k in kept):
            kept.append(fit)
    return kept


def first_volume(atlas: Atlas, fit: ProfileFit) -> Float64:
    """Return volume to reference, (3, 4), that a profile fit suggests: axes along the reference's."""
    x_axis, y_axis = IN_PLANE_AXES[atlas.plane]
    matrix = np.zeros((3, 4))
    for column, axis in enumerate((x_axis, y_axis)):
        middle = 0.5 * atlas.extent_um[axis]
        matrix[axis, column] = fit.scale
        matrix[axis, 3] = (1.0 - fit.scale) * middle
    normal = NORMAL_AXIS[atlas.plane]
    matrix[normal, 2], matrix[normal, 3] = fit.slope, fit.offset_um
    return matrix


@dataclass(frozen=True, eq=False)
class Landscape:
    """How well every section fits its plane at every angle, at the best shift of each.

    Parameters
    ----------
    angles_deg : (a,) float64       clockwise as displayed, beside `nominal`
    scores : (n, a) float64         2 x common / (picture^2 + plane^2): the Dice of two masks
    shifts_um : (n, a, 2) float64   put after the turn
    """

    nominal: Float64
    angles_deg: Float64
    scores: Float64
    shifts_um: Float64

    def poses(
        self, near_deg: Float64 | None = None, reach_deg: Float64 | float = 180.0
    ) -> tuple[Float64, Float64]:
        """Return the best rigid pose of every section, (n, 2, 3), and its score, (n,).

        Parameters
        ----------
        near_deg : (n,) float64     middle of the angles that are admitted, `reach_deg` either way
        """
        scores = self.scores
        if near_deg is not None:
            away = (self.angles_deg[None, :] - near_deg[:, None] + 180.0) % 360.0 - 180.0
            scores = np.where(np.abs(away) <= reach_deg + 1e-6, scores, -1.0)
        best = scores.argmax(axis=1)
        poses = [
            affine.compose(affine.rigid2d(float(self.angles_deg[a]), tuple(self.shifts_um[k, a])), start)
            for k, (a, start) in enumerate(zip(best, self.nominal, strict=True))
        ]
        return np.array(poses), scores[np.arange(len(best)), best]


@dataclass(frozen=True, eq=False)
class PoseSearch:
    """Finds where pictures lie on planes of the atlas: all shifts at once, angle by angle.

    Parameters
    ----------
    tables : n x (labels,) float32      what the atlas is painted with for each section
    """

    atlas: Atlas
    tables: Sequence[Float32]
    threads: int

    def landscape(
        self, pictures: Sequence[Float32], nominal: Float64, state: State, angles_deg: Float64
    ) -> Landscape:
        """Try every angle.

        Parameters
        ----------
        pictures : n x (h, w) float32   masks, or stain over gain, 0 on glass
        nominal : (n, 2, 3) float64     px to um about the image centre, hints applied; turns come after
        """

        def one(k: int) -> tuple[Float64, Float64]:
            plane, origin = self._plane(state, k)
            return _correlated(pictures[k], nominal[k], (plane, origin), angles_deg)

        found = each(one, range(len(pictures)), self.threads)
        return Landscape(
            nominal, angles_deg, np.array([scores for scores, _ in found]), np.array([s for _, s in found])
        )

    def scores(self, pictures: Sequence[Float32], state: State) -> Float64:
        """Return how well every section fits where it is, (n,), in the measure of a landscape."""

        def one(k: int) -> float:
            plane, origin = self._plane(state, k)
            to_lattice = affine.compose(affine.scaling([1 / PIXEL_UM] * 2), _translation(-origin))
            matrix = affine.compose(to_lattice, state.sections[k])
            warped = cv2.warpAffine(_softened(pictures[k], matrix), matrix, plane.shape[::-1])
            return 2.0 * float((warped * plane).sum()) / max(float((warped**2).sum() + (plane**2).sum()), 1.0)

        return np.array(each(one, range(len(pictures)), self.threads))

    def _plane(self, state: State, k: int) -> tuple[Float32, Float64]:
        """Paint the plane of section `k` on a lattice of the volume; its pixels and where its corner lies."""
        plane = self.atlas.plane
        extent = self.atlas.extent_um[list(IN_PLANE_AXES[plane])]
        x_axis, y_axis = IN_PLANE_AXES[plane]
        corners = np.zeros((4, 3))
        corners[:, x_axis] = [0, extent[0], 0, extent[0]]
        corners[:, y_axis] = [0, 0, extent[1], extent[1]]
        corners[:, NORMAL_AXIS[plane]] = 0.5 * self.atlas.extent_um[NORMAL_AXIS[plane]]
        in_volume = affine.apply(affine.invert(state.volume), corners)[:, :2]
        origin = in_volume.min(axis=0)
        h, w = (int(np.ceil(s)) + 1 for s in (np.ptp(in_volume, axis=0) / PIXEL_UM)[::-1])
        lattice = np.array([[PIXEL_UM, 0.0, origin[0]], [0.0, PIXEL_UM, origin[1]]])
        sections = np.tile(np.eye(2, 3), (len(state.z_um), 1, 1))
        matrix = state.replaced(sections).plane(k, lattice)
        painted = paint(self.atlas.index, 1.0 / self.atlas.voxel_um, self.tables[k], matrix, (h, w), 2)
        return painted, origin


def _correlated(
    picture: Float32, nominal: Float64, plane: tuple[Float32, Float64], angles_deg: Float64
) -> tuple[Float64, Float64]:
    """Return the best score at every angle, (a,), and the shift that reaches it, (a, 2) um."""
    painted, origin = plane
    rows, columns = np.nonzero(picture > 0)
    if rows.size == 0:
        return np.zeros(len(angles_deg)), np.zeros((len(angles_deg), 2))
    size = fft.next_fast_len(int(_ROOM * max(painted.shape)), real=True)
    middle = np.array([columns.mean(), rows.mean()])
    soft, half = _softened(picture, nominal / PIXEL_UM), 0.5 * size
    warped, centres = np.empty((len(angles_deg), size, size), np.float32), []
    for a, angle in enumerate(angles_deg):
        turned = affine.compose(affine.rigid2d(float(angle), (0.0, 0.0)), nominal)
        centre = affine.apply(turned, middle)
        to_lattice = affine.compose(
            _translation(np.array([half, half])),
            affine.scaling([1 / PIXEL_UM] * 2),
            _translation(-centre),
            turned,
        )
        warped[a] = cv2.warpAffine(soft, to_lattice, (size, size))
        centres.append(centre)
    spectrum = fft.rfft2(painted, s=(size, size))
    common = fft.irfft2(np.conj(fft.rfft2(warped)) * spectrum, s=(size, size))
    peaks = common.reshape(len(angles_deg), -1).argmax(axis=1)
    row, column = np.unravel_index(peaks, (size, size))
    top = common.reshape(len(angles_deg), -1)[np.arange(len(peaks)), peaks]
    scores = 2.0 * top / np.maximum((warped**2).sum(axis=(1, 2)) + (painted**2).sum(), 1.0)
    step = np.stack([column, row], axis=1)
    step = np.where(step > size // 2, step - size, step)
    return scores.astype(np.float64), origin - np.array(centres) + PIXEL_UM * (half + step)


def _softened(picture: Float32, matrix: Float64) -> Float32:
    """Average over what becomes one pixel of the lattice under `matrix` (px to lattice px)."""
    width = max(1, round(1.0 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))))
    return np.asarray(cv2.blur(picture, (width, width), borderType=cv2.BORDER_CONSTANT))


def _translation(shift: Float64) -> Float64:
    return np.column_stack([np.eye(2), np.asarray(shift, dtype=np.float64)])
