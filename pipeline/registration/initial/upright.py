"""Which way up single sections lie: each against its neighbours, all together against the reference.

Turned by 180 degrees, a section has nearly the same outline. Its stain differs, but a stain table does not
tell where many sections lie upside down: it is estimated from them. Neighbouring sections look alike, so they
agree with one another first; then outlines and stain decide on all of them at once.

Notes
-----
The choices x = +1 or -1 minimise the energy of an Ising model: pairs of neighbours that look alike one way
round are coupled, the outline of each is the field.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.core.model import Float32, Float64
from pipeline.geometry import affine
from pipeline.registration.fit.joint import FitProblem, stain_explained
from pipeline.registration.initial.pose_search import PIXEL_UM, Landscape
from pipeline.registration.model.state import TransformState
from pipeline.sections.thumbnail_tissue import TissueImage

_OPPOSITE_REACH_DEG = 30.0  # degrees; by which the other way round may differ from half a turn
_SECTIONS_APART, _MOST_UM_APART = 3, 1200.0  # compared sections: this close in rank, and in um in a mouse
_FIELD_WEIGHT = 3.0  # of a difference in outline score, against one in correlation
_SIDE_UM = 16000.0  # um in a mouse; the square, about the middle of the sections, on which they are compared
_ROUNDS = 20  # of single flips, at most; each lowers the energy


def turned_together(
    problem: FitProblem, state: TransformState, found: Landscape, near_deg: Float64 | None, reach_deg: Float64
) -> Float64:
    """Return the poses of all sections, the same way up.

    Parameters
    ----------
    problem : FitProblem
        The sections.
    state : TransformState
        Gives positions and the map of the volume.
    found : Landscape
        Outline scores of every section at all angles.
    near_deg : (n,) float64 or None, degrees
        Middle of the expected angles; None admits all.
    reach_deg : (n, 1) float64, degrees
        Half width of their range. Only for sections whose range is the whole circle the outlines and the
        stain decide on the two ways that all of them may lie.

    Returns
    -------
    (n, 2, 3) float64, px to um
        For every section its best pose by outline, or the best of those half a turn away.
    """
    poses, scores = found.poses(near_deg, reach_deg)
    turns = _turns(poses, found.nominal)
    opposite, against = found.poses(turns + 180.0, np.full((len(turns), 1), _OPPOSITE_REACH_DEG))
    both = np.array([poses, opposite])
    couplings = _couplings(problem.tissues, both, state.z_um, problem.atlas.size)
    side = settle(couplings, _FIELD_WEIGHT * (scores - against))
    if (reach_deg >= 180.0).all():
        # mean outline score and share of the stain explained, as coarse fits are ranked
        def quality(x: Float64) -> float:
            now = np.where(x[:, None, None] > 0, poses, opposite)
            outline = float(np.where(x > 0, scores, against).mean())
            return outline + stain_explained(problem, state.replaced(now))

        side = max(side, -side, key=quality)
    return np.where(side[:, None, None] > 0, poses, opposite)


def _turns(poses: Float64, nominal: Float64) -> Float64:
    """Return the rotation of every pose beyond its nominal one, (n,) degrees."""
    found = []
    for pose, start in zip(poses, nominal, strict=True):
        m = affine.compose(pose, affine.invert(start))
        found.append(np.rad2deg(np.arctan2(m[1, 0] - m[0, 1], m[0, 0] + m[1, 1])))
    return np.array(found)


def _couplings(tissues: Sequence[TissueImage], both: Float64, z_um: Float64, scale: float) -> Float64:
    """Return how much better neighbours correlate one way round than the other, (n, n), 0 for distant pairs.

    Positive where they look alike as they lie in `both[0]`, negative where one must be turned.
    """
    count = len(tissues)
    middle = np.median([affine.apply(p, _centroid(t)) for p, t in zip(both[0], tissues, strict=True)], axis=0)
    pictures = np.array(
        [
            [_rendered(t, pose, middle, scale) for t, pose in zip(tissues, poses, strict=True)]
            for poses in both
        ]
    )
    found = np.zeros((count, count))
    for k in range(count):
        for other in range(k + 1, min(count, k + 1 + _SECTIONS_APART)):
            if abs(z_um[other] - z_um[k]) <= _MOST_UM_APART * scale:
                products = np.tensordot(pictures[:, k], pictures[:, other], axes=([1, 2], [1, 2]))
                along, across = products[0, 0] + products[1, 1], products[0, 1] + products[1, 0]
                found[k, other] = found[other, k] = 0.25 * float(along - across)
    return found


def _centroid(tissue: TissueImage) -> Float64:
    """Return the centroid of the tissue, (x, y) px."""
    return np.asarray(np.argwhere(tissue.mask).mean(axis=0)[::-1])


def _rendered(tissue: TissueImage, pose: Float64, middle: Float64, scale: float) -> Float32:
    """Return the stain of a section in the volume, mean 0 inside the tissue, sum of squares 1."""
    side, pixel = _SIDE_UM * scale, PIXEL_UM * scale
    size = round(side / pixel)
    to_square = np.column_stack([np.eye(2), 0.5 * side - middle])
    matrix = affine.compose(affine.scaling([1.0 / pixel] * 2), affine.compose(to_square, pose))
    mean = float(tissue.stain[tissue.mask].mean())
    centred = np.where(tissue.mask, tissue.stain - np.float32(mean), np.float32(0.0))
    width = max(1, round(pixel / tissue.pixel_um))
    warped = cv2.warpAffine(cv2.blur(centred, (width, width)), matrix, (size, size))
    return np.asarray(warped / max(float(np.linalg.norm(warped)), 1e-9), dtype=np.float32)


def settle(couplings: Float64, field: Float64) -> Float64:
    """Return the choices of least energy: +1 or -1 for each section.

    Parameters
    ----------
    couplings : (n, n) float64
        Symmetric; positive where two sections agree as they are.
    field : (n,) float64
        Positive where a section by itself is better as it is.

    Returns
    -------
    (n,) float64
        A minimum of -(x couplings x) / 2 - x field: no flip of one section, nor of all behind one, lowers it.
    """
    count = len(field)
    moves = [np.where(np.arange(count) == k, -1.0, 1.0) for k in range(count)]
    moves += [np.where(np.arange(count) >= k, -1.0, 1.0) for k in range(1, count)]

    def value(x: Float64) -> float:
        return float(0.5 * x @ couplings @ x + x @ field)

    x = np.ones(count)
    for _ in range(_ROUNDS * count):
        best = max(moves, key=lambda move: value(x * move))
        if value(x * best) <= value(x) + 1e-12:
            break
        x = x * best
    return x
