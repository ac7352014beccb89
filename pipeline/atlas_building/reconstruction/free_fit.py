"""Sections without an anchor: rigid, all at once, by their neighbours and their own symmetry.

Every section is compared with its next neighbours on either side, and with its own mirror image where the
plane is coronal and both hemispheres are shown. All comparisons are solved in one system, coarse to fine.
What neighbours do not tell, a slow bend and shear, is assumed away. The midline is straight by symmetry. Up
and down, sections stay where the slides had them on average, if all slides have frames of one size; if not,
the line through the middles of tissue runs straight along the series.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from pipeline.atlas_building.reconstruction.comparisons import (
    Nodes,
    blurred,
    gradient,
    normal_form,
    robust_weights,
    spread_of,
)
from pipeline.atlas_building.reconstruction.free_sections import (
    NODE_UM,
    TISSUE,
    FreeSections,
    Level,
    draw_level,
)
from pipeline.atlas_building.reconstruction.joint_field import Evidence, rigid_basis, rigid_forms
from pipeline.core.model import Float64
from pipeline.geometry import affine
from pipeline.sections.medians import MAD_TO_SIGMA
from pipeline.sections.thumbnail_tissue import TissueImage
from pipeline.system.threads import each

ARM_UM = 3000.0  # distance at which a turn is measured as an arc
BLURS_UM = (600.0, 300.0, 150.0)
STEPS = 3  # at each blur
APART = (1, 2, 3)  # sections that are compared
MOST_APART_UM = 500.0  # along the series
LOOSE_UM = 5000.0  # standard deviation of the middles of tissue, which only fix the whole
FRAME_SPREAD_UM = 30.0  # least standard deviation of the slides' shifts
SYMMETRY_SHARE = 0.2  # weight of the own mirror image: its residuals are alike in some five neighbours
TURNS_DEG, TURN_STEP_DEG = 24.0, 3.0
TURN_PIXEL_UM = 150.0
THREADS = 2
CONVERGED_UM = 2.0  # 90th percentile of the steps that ends a blur
# um a um along the series, by which tissue moves on average from section to section: where frames hold the
# course of the sections, and where neighbours alone do, whose errors add up slowly
UNTOLD, UNTOLD_ALONE = 0.4, 0.05


def fit_free(sections: FreeSections) -> tuple[Float64, dict[str, float]]:
    """Return the rigid pose of every section.

    Parameters
    ----------
    sections : FreeSections
        At least two.

    Returns
    -------
    poses : (n, 2, 3) float64, um -> um
        From um about the image's centre to the common plane, whose origin is the midline's middle.
    measures : dict of str to float
        What the last step left.
    """
    poses = initial_poses(sections)
    measures: dict[str, float] = {}
    for sigma in BLURS_UM:
        for _ in range(STEPS):
            level = draw_level(sections, poses, sigma)
            step, measures = rigid_step(sections, poses, level, sigma)
            poses = np.stack([affine.compose(_pose(s), p) for s, p in zip(step, poses, strict=True)])
            if float(np.percentile(np.abs(step), 90)) < CONVERGED_UM:
                break
    return (poses if sections.one_frame else upright(sections, poses)), measures


def upright(sections: FreeSections, poses: Float64) -> Float64:
    """Return poses whose stack does not lean: the line through the middles of tissue runs along the series.

    Parameters
    ----------
    sections : FreeSections
        The sections.
    poses : (n, 2, 3) float64, um -> um
        Poses that neighbours agree on, up to a lean.

    Returns
    -------
    (n, 2, 3) float64, um -> um
        Shifted in proportion to z; across the midline of symmetric sections nothing moves.
    """
    middles = np.stack([_tissue_middle(sections, poses, k) for k in range(len(poses))])
    areas = np.array([tissue.area_um2 for tissue in sections.tissues])
    z = sections.z_um - np.average(sections.z_um, weights=areas)
    away = middles - np.average(middles, axis=0, weights=areas)
    lean = (areas * z) @ away / max(float((areas * z**2).sum()), 1e-9)
    if sections.is_symmetric:
        lean[0] = 0.0
    result = poses.copy()
    result[:, :, 2] -= z[:, None] * lean
    return np.asarray(result)


def initial_poses(sections: FreeSections) -> Float64:
    """Return poses from outlines alone: tissue centred, and turned so that it mirrors itself.

    Parameters
    ----------
    sections : FreeSections
        The sections.

    Returns
    -------
    (n, 2, 3) float64, um -> um
        Poses.
    """

    def one(k: int) -> Float64:
        tissue, nominal = sections.tissues[k], sections.nominal[k]
        rows, columns = np.nonzero(tissue.mask)
        points = affine.apply(nominal, np.stack([columns, rows], axis=1))
        centre = points.mean(axis=0)
        start = np.column_stack([np.eye(2), -centre])
        return mirrored_pose(tissue, nominal, start) if sections.is_symmetric else start

    return np.stack(each(one, range(len(sections.tissues)), THREADS))


def mirrored_pose(tissue: TissueImage, nominal: Float64, start: Float64) -> Float64:
    """Return the pose near a start in which a section is most like its mirror image left to right.

    Parameters
    ----------
    tissue : TissueImage
        The section.
    nominal : (2, 3) float64, px -> um
        Thumbnail to um about the image's centre.
    start : (2, 3) float64, um -> um
        Pose to start from.

    Returns
    -------
    (2, 3) float64, um -> um
        Its mirror axis is x = 0.
    """
    um = TURN_PIXEL_UM
    side = int(np.ceil(np.hypot(*tissue.mask.shape) * tissue.pixel_um / um)) | 1
    middle = side // 2
    to_cells = np.array([[1 / um, 0.0, middle], [0.0, 1 / um, middle]])
    image, _ = blurred(tissue.stain, tissue.valid, max(um / tissue.pixel_um / 2, 0.5))
    best, found = -np.inf, start
    for turn in np.arange(-TURNS_DEG, TURNS_DEG + 0.1, TURN_STEP_DEG):
        pose = affine.compose(affine.rigid2d(float(turn), (0.0, 0.0)), start)
        matrix = affine.compose(to_cells, pose, nominal)
        drawn = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)
        spectrum = np.fft.rfft(drawn, 2 * side, axis=1)
        alike = np.fft.irfft((spectrum**2).sum(axis=0), 2 * side)  # of the image with itself, mirrored
        at = int(alike.argmax())
        score = float(alike[at]) / max(float((drawn**2).sum()), 1e-9)
        if score > best:
            best = score
            axis = at / 2.0 - middle  # column about which it mirrors itself
            found = affine.compose(np.array([[1.0, 0.0, -axis * um], [0.0, 1.0, 0.0]]), pose)
    return found


def rigid_step(
    sections: FreeSections, poses: Float64, level: Level, sigma_um: float
) -> tuple[Float64, dict[str, float]]:
    """Return the step of every section.

    Parameters
    ----------
    sections : FreeSections
        The sections.
    poses : (n, 2, 3) float64, um -> um
        Where they lie.
    level : Level
        The sections drawn there.
    sigma_um : float, um
        Blur of the level.

    Returns
    -------
    step : (n, 3) float64, um
        Shifts along rows and columns, and arc of the turn: the image at x + step comes to x.
    measures : dict of str to float
        Median difference of neighbours, over the mean stain, and the mean step.
    """
    nodes = Nodes.over(level.image.shape[1:], level.um, NODE_UM)
    places = nodes.places_um() - level.centre_um[::-1]
    evidence, spread = pair_evidence(sections, level, nodes, sigma_um)
    forms = rigid_forms(evidence, rigid_basis(places, ARM_UM))
    gaps_um = sections.z_um[forms.pairs[:, 1]] - sections.z_um[forms.pairs[:, 0]]
    forms = forms.softened((UNTOLD if sections.one_frame else UNTOLD_ALONE) * gaps_um)
    own, pull = _held(sections, poses)
    if sections.is_symmetric:
        mirrored, mirrored_pull = _symmetry(level, sigma_um)
        own, pull = own + mirrored, pull + mirrored_pull
    step = replace(forms, own=forms.own + own, own_pull=forms.own_pull + pull).solve()
    limit = max(2.0 * sigma_um, 200.0)
    return np.clip(step, -limit, limit), {
        "difference of neighbours over mean stain": spread,
        "last step, um": float(np.abs(step).mean()),
    }


def pair_evidence(
    sections: FreeSections, level: Level, nodes: Nodes, sigma_um: float
) -> tuple[Evidence, float]:
    """Return what neighbours say of each other.

    Parameters
    ----------
    sections : FreeSections
        The sections.
    level : Level
        The sections drawn on the common plane.
    nodes : Nodes
        Over its raster.
    sigma_um : float, um
        Its blur.

    Returns
    -------
    evidence : Evidence
        Of sections up to three apart, and no more than 500 um if they are no neighbours.
    spread : float
        Median difference of neighbours, over the mean stain.
    """
    count, image = len(level.image), level.image
    pairs = [
        (i, i + d)
        for d in APART
        for i in range(count - d)
        if d == 1 or sections.z_um[i + d] - sections.z_um[i] <= MOST_APART_UM
    ]
    tissue = image > TISSUE

    def compare(pair: tuple[int, int]) -> tuple[Float64, Float64, float]:
        i, j = pair
        where = level.known[i] & level.known[j]
        down, across = gradient(0.5 * (image[i] + image[j]))
        residual = image[j] - image[i]
        spread = max(spread_of(residual, where & (tissue[i] | tissue[j])), 0.01)
        scale = (level.um / (2.0 * sigma_um)) ** 2 / spread**2 / (j - i)
        weights = robust_weights(residual, where * np.float32(scale), spread)
        form, pull = normal_form(nodes, (down / level.um, across / level.um), residual, weights)
        return form, pull, spread

    found = each(compare, pairs, THREADS)
    shape = (count, *nodes.shape, 2)
    evidence = Evidence(
        own=np.zeros((*shape, 2)),
        own_pull=np.zeros(shape),
        pairs=np.array(pairs, np.int64),
        pair=np.stack([f[0] for f in found]),
        pair_pull=np.stack([f[1] for f in found]),
    )
    return evidence, float(np.median([f[2] for f in found]))


def _symmetry(level: Level, sigma_um: float) -> tuple[Float64, Float64]:
    """Return what the mirror image of each section says of its own pose: (n, 3, 3) and (n, 3)."""
    rows, columns = level.image.shape[1:]
    r = (np.arange(rows) - rows // 2)[:, None] * np.float32(level.um / ARM_UM)
    c = (np.arange(columns) - columns // 2)[None, :] * np.float32(level.um / ARM_UM)

    def one(k: int) -> tuple[Float64, Float64]:
        image, known = level.image[k], level.known[k] & level.known[k][:, ::-1]
        down, across = (part / level.um for part in gradient(image))
        slopes = np.stack([down, across, across * r - down * c])
        slopes = slopes - slopes[:, :, ::-1]
        residual = image - image[:, ::-1]
        spread = max(spread_of(residual, known & (image > TISSUE)), 0.01)
        scale = SYMMETRY_SHARE * 0.5 * (level.um / (2.0 * sigma_um)) ** 2 / spread**2
        weights = robust_weights(residual, known * np.float32(scale), spread)
        form = np.einsum("pij,ij,qij->pq", slopes, weights, slopes, optimize=True)
        return form.astype(np.float64), -np.einsum("pij,ij,ij->p", slopes, weights, residual).astype(
            np.float64
        )

    found = each(one, range(len(level.image)), THREADS)
    return np.stack([f[0] for f in found]), np.stack([f[1] for f in found])


def _held(sections: FreeSections, poses: Float64) -> tuple[Float64, Float64]:
    """Return what holds the sections as a whole: the frames of the slides, or hardly anything.

    Steps move the image at x + step to x: a section that should come down by d has the step -d.
    """
    count = len(poses)
    if sections.one_frame:
        where = np.stack([pose[:, 2] for pose in poses])  # the image's centre on the common plane
    else:
        where = np.stack([_tissue_middle(sections, poses, k) for k in range(count)])
    turn = np.arctan2(poses[:, 1, 0], poses[:, 0, 0]) * ARM_UM
    values = np.column_stack([where[:, 1], where[:, 0], turn])
    blocks, pull = np.zeros((count, 3, 3)), np.zeros((count, 3))
    for p in range(3):
        own = values[:, p]
        scatter = MAD_TO_SIGMA * float(np.median(np.abs(np.diff(own)))) / np.sqrt(2) if count > 2 else 0.0
        spread = max(scatter, FRAME_SPREAD_UM)
        if p > 0 and sections.is_symmetric:
            spread *= 30.0  # the own symmetry decides
        elif not sections.one_frame:
            spread = LOOSE_UM
        away = own - np.median(own)
        weight = 1.0 / spread**2 / (1.0 + (away / (3 * spread)) ** 2)
        blocks[:, p, p] = weight
        pull[:, p] = (weight if p < 2 else -weight) * away  # a pose takes off shifts, and adds turns
    return blocks, pull


def _tissue_middle(sections: FreeSections, poses: Float64, k: int) -> Float64:
    """Return the centre of a section's tissue on the common plane, (x, y) um."""
    rows, columns = np.nonzero(sections.tissues[k].mask[::2, ::2])
    points = 2.0 * np.stack([columns, rows], axis=1)
    return np.asarray(affine.apply(affine.compose(poses[k], sections.nominal[k]), points).mean(axis=0))


def _pose(step: Float64) -> Float64:
    """Return the change of a pose by a step (rows, columns, arc): the image at x + step comes to x."""
    down, across, arc = (float(v) for v in step)
    turn = arc / ARM_UM
    # x' = x - step(x), and step = (across + turn * row, down - turn * column) by the basis of the nodes
    cos, sin = np.cos(turn), np.sin(turn)
    return np.array([[cos, -sin, -across], [sin, cos, -down]])
