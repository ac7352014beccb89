"""A first pose from shapes alone: area profile along the cutting axis, then each section by its mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline import affine
from pipeline.model import Float32, Float64
from pipeline.registration.atlas import IN_PLANE_AXES, NORMAL_AXIS, Atlas, paint
from pipeline.registration.inputs import ORDERS, AlignmentOptions
from pipeline.registration.scene import State, each
from pipeline.registration.tissue import TissueImage

_PIXEL_UM = 160.0
_Z_SCALES = np.arange(0.70, 1.4001, 0.025)
_Z_STEP_UM = 50.0
_SCALE_RANGE = (0.6, 1.6)


@dataclass(frozen=True)
class Hypothesis:
    """A way the series may lie.

    Parameters
    ----------
    sign : +1 where section numbers grow along the reference axis, -1 against it
    turn_deg : 0 or 180, how all sections are turned from their hints
    """

    sign: int
    turn_deg: float

    def words(self, options: AlignmentOptions) -> str:
        """Say it in the words of the manifest's hints."""
        order = ORDERS[options.plane_of_section][0 if self.sign == _sign_of_allen(options) else 1]
        return f"{order}, image_up {'inferior' if self.turn_deg else 'superior'}"


def _sign_of_allen(options: AlignmentOptions) -> int:
    """Which way Allen's own numbering runs: towards rostral, or from the side to the midline."""
    if options.plane_of_section == "coronal":
        return -1
    return -1 if options.hemisphere == "right" else 1


def hypotheses(options: AlignmentOptions) -> tuple[Hypothesis, ...]:
    """Return the ways the hints leave open, Allen's own first."""
    allen = _sign_of_allen(options)
    orders = ORDERS[options.plane_of_section]
    signs = [allen, -allen]
    if options.section_order is not None:
        signs = [signs[orders.index(options.section_order)]]
    turns = {"superior": [0.0], "inferior": [180.0], None: [0.0, 180.0]}[options.image_up]
    return tuple(Hypothesis(sign, turn) for turn in turns for sign in signs)


def middle_span_um(atlas: Atlas, hemisphere: str) -> tuple[float, float]:
    """Return where the middle of a series may lie along the cutting axis."""
    extent = float(atlas.extent_um[NORMAL_AXIS[atlas.plane]])
    if atlas.plane == "coronal" or hemisphere == "both":
        return 0.15 * extent, 0.85 * extent
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
) -> ProfileFit:
    """Match section areas to the reference's area profile.

    Parameters
    ----------
    span_um : (float, float)    where along the axis the middle of the series may lie

    Every scale of z and every offset is tried; misfit = mean absolute difference over mean area.
    """
    positions, profile = area_profile(atlas)
    usable = areas_um2 > 0
    z, areas = z_um[usable], areas_um2[usable]
    best = ProfileFit(float(sign), 0.0, 1.0, np.inf)
    middle = 0.5 * (z.min() + z.max())
    for stretch in _Z_SCALES:
        slope = sign * stretch
        for centre in np.arange(span_um[0], span_um[1] + 1.0, _Z_STEP_UM):
            planes = np.interp(slope * (z - middle) + centre, positions, profile, left=0.0, right=0.0)
            norm = float(planes @ planes)
            if norm <= 0.0:
                continue
            scale2 = float(np.clip(areas @ planes / norm, _SCALE_RANGE[0] ** 2, _SCALE_RANGE[1] ** 2))
            misfit = float(np.abs(areas - scale2 * planes).sum() / areas.sum())
            misfit += 0.15 * abs(np.log(stretch * np.sqrt(scale2))) + 0.1 * abs(np.log(stretch))
            if misfit < best.misfit:
                best = ProfileFit(slope, centre - slope * middle, float(1.0 / np.sqrt(scale2)), misfit)
    return best


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
class PoseSearch:
    """Finds where a mask lies on a plane of the atlas: all shifts at once, angle by angle."""

    atlas: Atlas
    angles_deg: tuple[float, ...]
    threads: int

    def poses(
        self, tissues: Sequence[TissueImage], nominal: Float64, state: State
    ) -> tuple[Float64, Float64]:
        """Return the best rigid pose of every section, (n, 2, 3), and its Dice, (n,).

        Parameters
        ----------
        nominal : (n, 2, 3) float64     thumbnail px to um about the image centre, hints applied
        """

        def one(k: int) -> tuple[Float64, float]:
            return self._pose(tissues[k], nominal[k], state.volume, float(state.z_um[k]))

        found = each(one, range(len(tissues)), self.threads)
        return np.array([pose for pose, _ in found]), np.array([dice for _, dice in found])

    def _pose(
        self, tissue: TissueImage, nominal: Float64, volume: Float64, z_um: float
    ) -> tuple[Float64, float]:
        size, plane, origin = self._plane(volume, z_um)
        spectrum = np.conj(np.fft.rfft2(plane, s=(size, size)))
        best, best_dice = nominal, -1.0
        for angle in self.angles_deg:
            turned = affine.compose(affine.rigid2d(angle, (0.0, 0.0)), nominal)
            mask, corner = _placed(tissue, turned, size)
            if mask is None:
                continue
            overlap = np.fft.irfft2(np.fft.rfft2(mask) * spectrum, s=(size, size))
            peak = int(np.argmax(overlap))
            dice = 2.0 * float(overlap.flat[peak]) / max(float(mask.sum() + plane.sum()), 1.0)
            if dice > best_dice:
                row, column = (_signed(int(i), size) for i in np.unravel_index(peak, overlap.shape))
                shift = origin - corner - _PIXEL_UM * np.array([column, row])
                best, best_dice = affine.compose(_translation(shift), turned), dice
        return best, best_dice

    def _plane(self, volume: Float64, z_um: float) -> tuple[int, Float32, Float64]:
        """Paint the outline of the plane at z on a square lattice of the volume."""
        extent = self.atlas.extent_um[list(IN_PLANE_AXES[self.atlas.plane])]
        to_volume = affine.invert(volume)
        x_axis, y_axis = IN_PLANE_AXES[self.atlas.plane]
        corners = np.zeros((4, 3))
        corners[:, x_axis] = [0, extent[0], 0, extent[0]]
        corners[:, y_axis] = [0, 0, extent[1], extent[1]]
        corners[:, NORMAL_AXIS[self.atlas.plane]] = 0.5 * self.atlas.extent_um[NORMAL_AXIS[self.atlas.plane]]
        in_volume = affine.apply(to_volume, corners)[:, :2]
        origin = in_volume.min(axis=0)
        h, w = (int(np.ceil(s)) + 1 for s in (np.ptp(in_volume, axis=0) / _PIXEL_UM)[::-1])
        lift = np.zeros((4, 3))
        lift[0] = (_PIXEL_UM, 0.0, origin[0])
        lift[1] = (0.0, _PIXEL_UM, origin[1])
        lift[2, 2], lift[3, 2] = z_um, 1.0
        plane = paint(
            self.atlas.index, 1.0 / self.atlas.voxel_um, self.atlas.outline_table(), volume @ lift, (h, w), 2
        )
        size = int(2 ** np.ceil(np.log2(1.8 * max(h, w))))
        return size, plane, origin


def _placed(tissue: TissueImage, to_um: Float64, size: int) -> tuple[Float32 | None, Float64]:
    """Warp a mask to the search lattice; None where it has no tissue."""
    rows, columns = np.nonzero(tissue.mask)
    if rows.size == 0:
        return None, np.zeros(2)
    points = affine.apply(to_um, np.stack([columns, rows], axis=1))
    corner = points.min(axis=0)
    to_lattice = affine.compose(affine.scaling([1 / _PIXEL_UM] * 2), _translation(-corner), to_um)
    soft = cv2.blur(tissue.mask.astype(np.float32), (max(1, round(_PIXEL_UM / tissue.pixel_um)),) * 2)
    return np.asarray(cv2.warpAffine(soft, to_lattice, (size, size))), corner


def _translation(shift: Float64) -> Float64:
    return np.column_stack([np.eye(2), np.asarray(shift, dtype=np.float64)])


def _signed(index: int, size: int) -> int:
    return index - size if index > size // 2 else index
