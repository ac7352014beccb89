"""Exhaustive search of poses: tissue areas along the cutting axis, then each section's picture at all angles.

Notes
-----
Shifts are searched all at once by cross-correlation in the Fourier domain. The score is
2 sum(a b) / (sum(a^2) + sum(b^2)), which for masks is the coefficient of Dice (1945).

References
----------
Dice LR (1945). Measures of the amount of ecologic association between species. Ecology 26(3):297-302.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

from pipeline.core.model import Float32, Float64
from pipeline.geometry import affine
from pipeline.geometry.scales import POSSIBLE_SCALES
from pipeline.registration.model.painted_atlas import IN_PLANE_AXES, NORMAL_AXIS, Atlas, area_profile, paint
from pipeline.registration.model.state import TransformState
from pipeline.registration.model.stated_positions import NOTHING_STATED, StatedPositions
from pipeline.system.threads import each

PIXEL_UM = 200.0  # um in a mouse; pixel of the lattice on which poses are searched
_PADDING = 1.5  # FFT size over plane size: what is shifted over one edge must not come in at the other
# Reference um per section um along z: shrinkage, or a wrong section thickness.
_Z_SCALES = np.arange(0.70, 1.4001, 0.025)
_Z_STEP_UM = 50.0  # um in a mouse; grid of the middle of the series along the cutting axis
_SAME_POSITION_UM = 900.0  # um in a mouse; fits closer than this are one position
# Weights of |log| penalties in the misfit: ratio of the scales along z and in the plane; scale along z.
_ANISOTROPY_WEIGHT, _Z_SCALE_WEIGHT = 0.15, 0.1
# Where the middle of a series may lie, as shares of the extent of the reference along the cutting axis. The
# middle lies clear of both ends of the brain. What fits right of the midline fits left of it as well, so a
# sagittal series of both halves is searched on the left, a little over the midline.
_MIDDLE_SHARES = {
    ("coronal", "left"): (0.10, 0.92),
    ("coronal", "right"): (0.10, 0.92),
    ("coronal", "both"): (0.10, 0.92),
    ("sagittal", "left"): (0.08, 0.45),
    ("sagittal", "right"): (0.55, 0.92),
    ("sagittal", "both"): (0.08, 0.53),
}


def middle_span_um(atlas: Atlas, hemisphere: str) -> tuple[float, float]:
    """Return where the middle of a series may lie along the cutting axis.

    Parameters
    ----------
    atlas : Atlas
        Plane and extent of the reference.
    hemisphere : {'left', 'right', 'both'}
        Half that the series shows; only sagittal series depend on it.

    Returns
    -------
    (float, float), um
        Lowest and highest position.
    """
    extent = float(atlas.extent_um[NORMAL_AXIS[atlas.plane]])
    low, high = _MIDDLE_SHARES[atlas.plane, hemisphere]
    return low * extent, high * extent


@dataclass(frozen=True)
class ProfileFit:
    """Position of the series by its area profile: reference axis um = offset + slope x z um.

    Attributes
    ----------
    slope : float
        Stretch of z, negative where section numbers grow against the reference axis.
    offset_um : float, um
        Position of z = 0.
    scale : float
        In-plane scale from volume to reference.
    misfit : float
        Mean absolute difference of areas over mean area, plus penalties for unusual scales.
    """

    slope: float
    offset_um: float
    scale: float
    misfit: float


def fit_profile(
    atlas: Atlas,
    z_um: Float64,
    areas_um2: Float64,
    sign: int,
    span_um: tuple[float, float],
    stated: StatedPositions = NOTHING_STATED,
) -> list[ProfileFit]:
    """Match section areas to the area profile of the reference, by grid search over scale of z and position.

    Parameters
    ----------
    atlas : Atlas
        Labels of the reference.
    z_um : (n,) float64, um
        Positions of the sections in the volume.
    areas_um2 : (n,) float64, um2
        Tissue area of each section.
    sign : int
        +1 where section numbers grow along the reference axis, -1 against it.
    span_um : (float, float), um
        Where along the axis the middle of the series may lie.
    stated : StatedPositions
        Positions along the axis that are known: they leave one middle, and one slope where they show it.

    Returns
    -------
    list of ProfileFit
        Every local optimum, best first: no better one lies within 0.9 mm, since part of a brain may fit at
        several positions.

    Notes
    -----
    The in-plane scale follows in closed form: least squares of the areas, within `POSSIBLE_SCALES`. Unusual
    scales are penalised, see `_ANISOTROPY_WEIGHT`.
    """
    positions, profile = area_profile(atlas)
    usable = areas_um2 > 0
    z, areas = z_um[usable], areas_um2[usable]
    middle = 0.5 * (z.min() + z.max())
    centres = np.arange(span_um[0], span_um[1] + 1.0, _Z_STEP_UM * atlas.size)
    slopes = [sign * stretch for stretch in _Z_SCALES]
    if stated.show_stretch:
        slopes = [s for s in [stated.line()[0]] if s * sign > 0]
    found = []
    for slope in slopes:
        stretch = abs(slope)
        if len(stated):
            centres = np.array([stated.line(slope)[1] + slope * middle])
        # (centres, sections): reference position of each section for each middle of the series.
        at = slope * (z - middle) + centres[:, None]
        planes = np.interp(at, positions, profile, left=0.0, right=0.0)
        norm = np.maximum((planes**2).sum(axis=1), 1e-12)
        # Ratio of areas, section over reference, by least squares: the square of a ratio of lengths.
        scale2 = np.clip(planes @ areas / norm, POSSIBLE_SCALES[0] ** 2, POSSIBLE_SCALES[1] ** 2)
        misfit = np.abs(areas - scale2[:, None] * planes).sum(axis=1) / areas.sum()
        # stretch x sqrt(scale2) is 1 where z and the plane are scaled alike.
        anisotropy = _ANISOTROPY_WEIGHT * np.abs(np.log(stretch * np.sqrt(scale2)))
        misfit += anisotropy + _Z_SCALE_WEIGHT * abs(np.log(stretch))
        found += [
            ProfileFit(slope, float(c - slope * middle), float(1.0 / np.sqrt(s)), float(m))
            for c, s, m in zip(centres, scale2, misfit, strict=True)
        ]
    return _local_optima(found, middle, _SAME_POSITION_UM * atlas.size)


def _local_optima(found: list[ProfileFit], middle: float, apart_um: float) -> list[ProfileFit]:
    """Return the best fit of every neighbourhood, best first (non-maximum suppression)."""
    kept: list[ProfileFit] = []
    for fit in sorted(found, key=lambda f: f.misfit):
        centre = fit.offset_um + fit.slope * middle
        if all(abs(centre - k.offset_um - k.slope * middle) > apart_um for k in kept):
            kept.append(fit)
    return kept


def first_volume(atlas: Atlas, fit: ProfileFit) -> Float64:
    """Return the map of the volume to the reference that a profile fit suggests, axes along the reference's.

    Parameters
    ----------
    atlas : Atlas
        Plane and extent of the reference.
    fit : ProfileFit
        Position and scales.

    Returns
    -------
    (3, 4) float64, um to um
        Scaled in the plane about the middle of the reference.
    """
    x_axis, y_axis = IN_PLANE_AXES[atlas.plane]
    matrix = np.zeros((3, 4))
    for column, axis in enumerate((x_axis, y_axis)):
        middle = 0.5 * atlas.extent_um[axis]
        matrix[axis, column] = fit.scale
        # The middle of the reference stays fixed.
        matrix[axis, 3] = (1.0 - fit.scale) * middle
    normal = NORMAL_AXIS[atlas.plane]
    matrix[normal, 2], matrix[normal, 3] = fit.slope, fit.offset_um
    return matrix


@dataclass(frozen=True, eq=False)
class Landscape:
    """Scores of every section at every angle, each at its best shift.

    Attributes
    ----------
    nominal : (n, 2, 3) float64, px to um
        Nominal poses, before rotation and shift.
    angles_deg : (a,) float64, degrees
        Rotations beyond `nominal`, clockwise as displayed.
    scores : (n, a) float64
        2 x common / (picture^2 + plane^2), at most 1: the Dice coefficient of two masks.
    shifts_um : (n, a, 2) float64, um
        Shifts in the volume, applied after the rotation.
    """

    nominal: Float64
    angles_deg: Float64
    scores: Float64
    shifts_um: Float64

    def poses(
        self, near_deg: Float64 | None = None, reach_deg: Float64 | float = 180.0
    ) -> tuple[Float64, Float64]:
        """Return the best rigid pose of every section.

        Parameters
        ----------
        near_deg : (n,) float64 or None, degrees
            Middle of the admitted angles; None admits all.
        reach_deg : float or (n, 1) float64, degrees
            Half width of the admitted range.

        Returns
        -------
        poses : (n, 2, 3) float64, px to um
            Maps to the volume.
        scores : (n,) float64
            Their scores; -1 where no angle is admitted.
        """
        scores = self.scores
        if near_deg is not None:
            away = (self.angles_deg[None, :] - near_deg[:, None] + 180.0) % 360.0 - 180.0
            # -1 is below every score.
            scores = np.where(np.abs(away) <= reach_deg + 1e-6, scores, -1.0)
        best = scores.argmax(axis=1)
        poses = [
            affine.compose(affine.rigid2d(float(self.angles_deg[a]), tuple(self.shifts_um[k, a])), start)
            for k, (a, start) in enumerate(zip(best, self.nominal, strict=True))
        ]
        return np.array(poses), scores[np.arange(len(best)), best]


@dataclass(frozen=True, eq=False)
class PoseSearch:
    """Exhaustive search for the pose of pictures on planes of the atlas: angle by angle, all shifts at once.

    Attributes
    ----------
    atlas : Atlas
        Labels of the reference.
    tables : sequence of (labels,) float32
        Value of each label, one table for each section.
    threads : int
        Threads that share the sections.
    """

    atlas: Atlas
    tables: Sequence[Float32]
    threads: int

    @property
    def pixel_um(self) -> float:
        """Pixel of the lattice, um."""
        return PIXEL_UM * self.atlas.size

    def landscape(
        self, pictures: Sequence[Float32], nominal: Float64, state: TransformState, angles_deg: Float64
    ) -> Landscape:
        """Score every section at every angle.

        Parameters
        ----------
        pictures : sequence of (h, w) float32
            Masks, or stain over gain; 0 on glass.
        nominal : (n, 2, 3) float64, px to um
            Thumbnail px to um about the image centre, hints applied; rotations come after.
        state : TransformState
            Gives the planes of the sections: positions and the map of the volume.
        angles_deg : (a,) float64, degrees
            Rotations to try.

        Returns
        -------
        Landscape
            Scores and best shifts.
        """

        def one(k: int) -> tuple[Float64, Float64]:
            return _correlated(pictures[k], nominal[k], self.plane(state, k), angles_deg, self.pixel_um)

        found = each(one, range(len(pictures)), self.threads)
        return Landscape(
            nominal, angles_deg, np.array([scores for scores, _ in found]), np.array([s for _, s in found])
        )

    def scores(self, pictures: Sequence[Float32], state: TransformState) -> Float64:
        """Score every section at its current pose.

        Parameters
        ----------
        pictures : sequence of (h, w) float32
            Masks, or stain over gain; 0 on glass.
        state : TransformState
            Current transforms.

        Returns
        -------
        (n,) float64
            Scores as in `Landscape`.
        """

        def one(k: int) -> float:
            plane, origin = self.plane(state, k)
            to_lattice = affine.compose(affine.scaling([1 / self.pixel_um] * 2), _translation(-origin))
            matrix = affine.compose(to_lattice, state.sections[k])
            warped = cv2.warpAffine(_softened(pictures[k], matrix), matrix, plane.shape[::-1])
            return 2.0 * float((warped * plane).sum()) / max(float((warped**2).sum() + (plane**2).sum()), 1.0)

        return np.array(each(one, range(len(pictures)), self.threads))

    def plane(self, state: TransformState, k: int) -> tuple[Float32, Float64]:
        """Render the plane of a section on a lattice of the volume.

        Parameters
        ----------
        state : TransformState
            Gives the position of the plane and the map of the volume.
        k : int
            Index of the section.

        Returns
        -------
        painted : (h, w) float32
            The plane, at `pixel_um`.
        origin : (2,) float64, um
            Corner of the lattice in the volume; the same for all sections.
        """
        plane = self.atlas.plane
        extent = self.atlas.extent_um[list(IN_PLANE_AXES[plane])]
        x_axis, y_axis = IN_PLANE_AXES[plane]
        corners = np.zeros((4, 3))
        corners[:, x_axis] = [0, extent[0], 0, extent[0]]
        corners[:, y_axis] = [0, 0, extent[1], extent[1]]
        # The box of the reference at its middle plane, seen from the volume, bounds the lattice.
        corners[:, NORMAL_AXIS[plane]] = 0.5 * self.atlas.extent_um[NORMAL_AXIS[plane]]
        in_volume = affine.apply(affine.invert(state.volume), corners)[:, :2]
        origin = in_volume.min(axis=0)
        h, w = (int(np.ceil(s)) + 1 for s in (np.ptp(in_volume, axis=0) / self.pixel_um)[::-1])
        lattice = np.array([[self.pixel_um, 0.0, origin[0]], [0.0, self.pixel_um, origin[1]]])
        # Identity as section pose: the lattice itself is in um of the volume.
        sections = np.tile(np.eye(2, 3), (len(state.z_um), 1, 1))
        matrix = state.replaced(sections).plane(k, lattice)
        painted = paint(self.atlas.index, 1.0 / self.atlas.voxel_um, self.tables[k], matrix, (h, w), 2)
        return painted, origin


def _correlated(
    picture: Float32,
    nominal: Float64,
    plane: tuple[Float32, Float64],
    angles_deg: Float64,
    pixel_um: float,
) -> tuple[Float64, Float64]:
    """Return the best score at every angle, (a,), and the shift that reaches it, (a, 2) um."""
    painted, origin = plane
    if not (picture > 0).any():
        return np.zeros(len(angles_deg)), np.zeros((len(angles_deg), 2))
    size = _fft_size(painted.shape)
    warped, centres = _turned(picture, nominal, size, angles_deg, pixel_um)
    half = 0.5 * size
    # Correlation theorem: the inverse transform of conj(F(picture)) F(plane) has the overlap at every shift.
    spectrum = fft.rfft2(painted, s=(size, size))
    common = fft.irfft2(np.conj(fft.rfft2(warped)) * spectrum, s=(size, size))
    peaks = common.reshape(len(angles_deg), -1).argmax(axis=1)
    row, column = np.unravel_index(peaks, (size, size))
    top = common.reshape(len(angles_deg), -1)[np.arange(len(peaks)), peaks]
    # Both norms are constant for a given angle, so that the greatest overlap has the greatest score.
    scores = 2.0 * top / np.maximum((warped**2).sum(axis=(1, 2)) + (painted**2).sum(), 1.0)
    step = np.stack([column, row], axis=1)
    # Shifts beyond half the size are negative ones.
    step = np.where(step > size // 2, step - size, step)
    return scores.astype(np.float64), origin - np.array(centres) + pixel_um * (half + step)


def _fft_size(shape: tuple[int, ...]) -> int:
    """Return the side, px, on which planes are correlated: padded, since the correlation is circular."""
    return int(fft.next_fast_len(int(_PADDING * max(shape)), real=True))


def _turned(
    picture: Float32, nominal: Float64, size: int, angles_deg: Float64, pixel_um: float
) -> tuple[Float32, list[Float64]]:
    """Return the picture at every angle, (a, size, size), and where each has its centroid in the volume, um.

    The tissue's centroid goes to the middle of the lattice at every angle, which leaves room all round.
    """
    rows, columns = np.nonzero(picture > 0)
    middle = np.array([columns.mean(), rows.mean()])
    soft, half = _softened(picture, nominal / pixel_um), 0.5 * size
    warped, centres = np.empty((len(angles_deg), size, size), np.float32), []
    for a, angle in enumerate(angles_deg):
        turned = affine.compose(affine.rigid2d(float(angle), (0.0, 0.0)), nominal)
        centre = affine.apply(turned, middle)
        to_lattice = affine.compose(
            _translation(np.array([half, half])),
            affine.scaling([1 / pixel_um] * 2),
            _translation(-centre),
            turned,
        )
        warped[a] = cv2.warpAffine(soft, to_lattice, (size, size))
        centres.append(centre)
    return warped, centres


@dataclass(frozen=True, eq=False)
class PlaneStack:
    """Planes of the atlas at many positions, ready to be compared with pictures.

    Attributes
    ----------
    size : int
        Side of the square on which they are compared, px.
    pixel_um : float, um
        Pixel of the planes.
    spectra : (m, size, size / 2 + 1) complex64
        Fourier transforms of the planes.
    norms : (m,) float64
        Root of the sum of squares of each plane.
    """

    size: int
    pixel_um: float
    spectra: npt.NDArray[np.complex64]
    norms: Float64

    @staticmethod
    def of(atlas: Atlas, table: Float32, volume: Float64, positions_um: Float64, threads: int) -> PlaneStack:
        """Render the planes at some positions of a volume.

        Parameters
        ----------
        atlas : Atlas
            Labels of the reference.
        table : (labels,) float32
            Value of each label.
        volume : (3, 4) float64, um to um
            Volume to reference.
        positions_um : (m,) float64, um
            Positions along z of the volume.
        threads : int
            Threads that share the planes.

        Returns
        -------
        PlaneStack
            The planes at the pixel of `PoseSearch`.
        """
        count = len(positions_um)
        state = TransformState(np.tile(np.eye(2, 3), (count, 1, 1)), positions_um, volume)
        search = PoseSearch(atlas, [table] * count, threads)
        planes = np.array(each(lambda k: search.plane(state, k)[0], range(count), threads))
        size = _fft_size(planes.shape[1:])
        norms = np.sqrt((planes.astype(np.float64) ** 2).sum(axis=(1, 2)))
        spectra = fft.rfft2(planes, s=(size, size)).astype(np.complex64)
        return PlaneStack(size, search.pixel_um, spectra, norms)

    def cosines(self, picture: Float32, nominal: Float64, angles_deg: Float64) -> Float64:
        """Compare a picture with every plane, whatever its brightness.

        Parameters
        ----------
        picture : (h, w) float32
            Stain of a section; 0 on glass.
        nominal : (2, 3) float64, px to um
            Pose before rotation and shift.
        angles_deg : (a,) float64, degrees
            Rotations to try.

        Returns
        -------
        (m,) float64
            Sum of products over the root of both sums of squares, at the best rotation and shift; 0 where
            the plane or the picture is empty.
        """
        found = np.zeros(len(self.norms))
        if not (picture > 0).any():
            return found
        warped, _ = _turned(picture, nominal, self.size, angles_deg, self.pixel_um)
        norms = np.sqrt((warped**2).sum(axis=(1, 2)))
        spectra = np.conj(fft.rfft2(warped))
        for j in np.flatnonzero(self.norms > 0):
            common = fft.irfft2(spectra * self.spectra[j], s=(self.size, self.size))
            found[j] = (common.max(axis=(1, 2)) / norms).max() / self.norms[j]
        return found


def _softened(picture: Float32, matrix: Float64) -> Float32:
    """Average over the pixels that become one pixel of the lattice under `matrix` (px to lattice px)."""
    width = max(1, round(1.0 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))))
    return np.asarray(cv2.blur(picture, (width, width), borderType=cv2.BORDER_CONSTANT))


def _translation(shift: Float64) -> Float64:
    """Return the (2, 3) map that adds `shift`."""
    return np.column_stack([np.eye(2), np.asarray(shift, dtype=np.float64)])
