"""Turn the fitted state into a SeriesAlignment: matrices in a canonical form, verdicts, notes."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

import numpy as np

from pipeline.core.model import (
    Alignment2d,
    Alignment3d,
    Bool,
    Float64,
    SectionAlignment,
    SeriesAlignment,
    Status,
)
from pipeline.core.reference_space import reference_space_id
from pipeline.geometry import affine
from pipeline.geometry.scales import USUAL_SCALES, outside, scales_of, unusual_scales
from pipeline.registration.fit.gauss_newton import LENGTH_UM
from pipeline.registration.fit.joint import FitProblem, Solution
from pipeline.registration.fit.neighbour_prior import predicted
from pipeline.registration.model.painted_atlas import IN_PLANE_AXES, Atlas
from pipeline.registration.model.state import TransformState
from pipeline.registration.quality.measures import verdicts
from pipeline.sections.thumbnail import SectionThumbnail


def aligned_sections(
    ordered: Sequence[SectionThumbnail], usable: Sequence[int], problem: FitProblem, solution: Solution
) -> SeriesAlignment:
    """Return all sections in one Alignment3d, the fitted ones and those without usable tissue.

    Parameters
    ----------
    ordered : sequence of SectionThumbnail
        All sections in ascending z.
    usable : sequence of int
        Indices in `ordered` of the sections that were fitted, in the order of `problem`.
    problem : FitProblem
        What was fitted.
    solution : Solution
        State and stain model of the fit.

    Returns
    -------
    SeriesAlignment
        One SectionAlignment for each of `ordered`; a section that was not fitted has status `fail`, no
        measures, and a pose from its neighbours.
    """
    options = problem.options
    state = canonical(solution.state, problem.atlas)
    judged = verdicts(problem, state, solution.model)  # one for each fitted section
    by_index = dict(zip(usable, judged, strict=True))
    matrices = dict(zip(usable, state.sections, strict=True))
    # failed sections do not predict the pose of others
    good = np.array([verdict.status is not Status.FAIL for verdict in judged])
    sections = []
    for k, thumbnail in enumerate(ordered):
        matrix = matrices[k] if k in matrices else _from_neighbours(thumbnail, state, problem, good)
        # manifest px to volume um
        to_volume = affine.compose(matrix, affine.invert(thumbnail.thumbnail_to_section))
        alignment = Alignment2d(thumbnail.section_number, to_volume)
        verdict = by_index.get(k)
        sections.append(
            SectionAlignment(
                alignment,
                Status.FAIL if verdict is None else verdict.status,
                {} if verdict is None else verdict.measures,
                reason="" if verdict is None else verdict.reason,
            )
        )
    space = Alignment3d(reference_space_id(options.plane_of_section), state.volume)
    if outside(scales_of(state.volume), USUAL_SCALES):  # thickness or pixel size are wrong, or the fit is
        sections = [replace(s, status=Status.CHECK) if s.status is Status.PASS else s for s in sections]
    return SeriesAlignment(space, tuple(sections))


def series_part(
    whole: SeriesAlignment, numbers: Set[int], solution: Solution, series: int, notes: tuple[str, ...]
) -> SeriesAlignment:
    """Return the sections of one series, with measures and notes of their own.

    Parameters
    ----------
    whole : SeriesAlignment
        Alignment of all series of the specimen.
    numbers : set of int
        Section numbers of the series.
    solution : Solution
        Gives the noise of the stain.
    series : int
        Number of the series in its specimen.
    notes : tuple of str
        Notes on the orientation; those on the sections follow.

    Returns
    -------
    SeriesAlignment
        The series under the common Alignment3d.
    """
    sections = tuple(s for s in whole.sections if s.alignment2d.section_number in numbers)
    scales = scales_of(whole.alignment3d.volume_to_reference)
    measures = _series_measures(sections, scales)
    if solution.model is not None:
        measures["stain_noise"] = round(float(solution.model.noises[series]), 4)
    return SeriesAlignment(whole.alignment3d, sections, measures, (*notes, *_series_notes(sections, scales)))


def _from_neighbours(
    thumbnail: SectionThumbnail, state: TransformState, problem: FitProblem, good: Bool
) -> Float64:
    """Place a section without usable tissue where the line through its neighbours puts its image centre."""
    x, y, turn = predicted(thumbnail.z_um, state, problem.nominal, good)  # turn: arc at 3 mm, um
    pose = affine.rigid2d(float(np.rad2deg(turn / LENGTH_UM)), (x, y))
    return affine.compose(
        pose, thumbnail.hinted(*problem.turn_and_mirror.get(thumbnail.series, (0.0, False)))
    )


def canonical(state: TransformState, atlas: Atlas) -> TransformState:
    """Return the same placement with the freedom between sections and volume removed.

    Parameters
    ----------
    state : TransformState
        Fitted matrices.
    atlas : Atlas
        Gives the plane of section.

    Returns
    -------
    TransformState
        Sections and volume that map every pixel to the same place as before.

    Notes
    -----
    A shift of the sections in proportion to z, and a common turn of all sections, can be written into the
    sections or into the volume. Here they go into the sections: the volume keeps only rotation of its planes
    out of the plane of section (tilt), strain and scale, as Allen's volumes do. Its z axis stands upright on
    its planes, and its planes are not turned within themselves.
    """
    linear = state.volume[:, :3]
    # part of the z axis that runs within the plane, in x and y per um of z
    lean = np.linalg.lstsq(linear[:, :2], linear[:, 2], rcond=None)[0]
    middle = float(np.mean(state.z_um))  # sections there do not move
    unlean = np.array([[1.0, 0.0, -lean[0], lean[0] * middle], [0.0, 1.0, -lean[1], lean[1] * middle]])
    upright = affine.compose(state.volume, np.vstack([unlean, [0.0, 0.0, 1.0, 0.0]]))
    sections = state.sections.copy()
    sections[:, :, 2] += (state.z_um - middle)[:, None] * lean
    in_plane = upright[np.ix_(IN_PLANE_AXES[atlas.plane], (0, 1))]
    # rotation nearest to the in-plane part (polar decomposition)
    u, _, vt = np.linalg.svd(in_plane)
    turn = affine.rigid2d(float(np.rad2deg(np.arctan2(*(u @ vt)[::-1, 0]))), (0.0, 0.0))
    back = np.eye(3, 4)  # takes the turn out of the volume again
    back[:2, :2] = turn[:, :2].T
    turned = np.array([affine.compose(turn, matrix) for matrix in sections])
    return state.replaced(turned, affine.compose(upright, back))


def _series_measures(sections: Sequence[SectionAlignment], scales: Float64) -> dict[str, float]:
    """Return the figures of a series: counts, median Dice and expected error, scales."""
    dice = [s.measures["dice"] for s in sections if "dice" in s.measures]
    measures = {
        "sections": float(len(sections)),
        "sections_placed": float(sum(s.status is not Status.FAIL for s in sections)),
        "median_dice": float(np.median(dice)) if dice else 0.0,
        "scale_x": float(scales[0]),
        "scale_y": float(scales[1]),
        "scale_z": float(scales[2]),
    }
    errors = [s.measures["estimated_error_um"] for s in sections if "estimated_error_um" in s.measures]
    if errors:
        measures["median_estimated_error_um"] = float(np.median(errors))
    return {name: round(value, 4) for name, value in measures.items()}


def _series_notes(sections: Sequence[SectionAlignment], scales: Float64) -> tuple[str, ...]:
    """Return notes on unusual scales, outlier sections and sections that could not be placed."""
    unusual = unusual_scales(scales)
    notes = [unusual] if unusual else []
    reasons: dict[str, list[int]] = {}  # one reason of many sections is one note
    for s in (s for s in sections if s.reason):
        left_out = " left out" if s.status is Status.FAIL and not s.measures else ""
        reasons.setdefault(f"{left_out}: {s.reason}", []).append(s.alignment2d.section_number)
    notes += [f"section{'s' * (len(n) > 1)} {', '.join(map(str, n))}{why}" for why, n in reasons.items()]
    failed = [s.alignment2d.section_number for s in sections if s.status is Status.FAIL]
    if failed:
        notes.append(
            f"{len(failed)} of {len(sections)} sections could not be placed: {', '.join(map(str, failed))}"
        )
    return tuple(notes)
