"""Sections without an anchor, bent by what neither neighbour shows.

After sections are placed rigidly, each differs from its neighbours by its own deformation on the slide, and
by what the brain changes from section to section. The first is new in every section, the second runs on. So
displacement fields of all sections are sought at once, each independent of the others, and what varies slowly
along the series is taken off again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.reconstruction.comparisons import Nodes
from pipeline.atlas_building.reconstruction.free_fit import pair_evidence
from pipeline.atlas_building.reconstruction.free_sections import NODE_UM, FreeSections, draw_level
from pipeline.atlas_building.reconstruction.joint_field import TINY, Evidence, PlanePrior, solve_fields
from pipeline.core.model import Float64

SPREAD_UM = 25.0  # usual size of a section's own bends, before they are measured
LEAST_SPREAD_UM, MOST_SPREAD_UM = 3.0, 60.0
SHRUNK = 1.5  # by which bends are larger than found: they are drawn to 0, and lack what varies slowly
REACH_UM = 900.0  # distance over which they vary
BLUR_UM = 150.0
STEPS = 3
SLOW_SECTIONS = 2.0  # standard deviation, in sections, of what is not a section's own
UNTOLD = 0.3  # um a um along the series, by which tissue moves of itself from section to section
LONGEST_UM = 150.0  # of a step


def own_bends(sections: FreeSections, poses: Float64) -> tuple[Float64, Nodes, Float64]:
    """Return what each section is bent by, of itself.

    Parameters
    ----------
    sections : FreeSections
        The sections.
    poses : (n, 2, 3) float64, um -> um
        Where they lie.

    Returns
    -------
    bends : (n, node rows, node columns, 2) float64, um
        At nodes `NODE_UM` apart, along rows and columns: the image at x + bend comes to x.
    nodes : Nodes
        Their tents over the common plane.
    first_um : (2,) float64, um
        (x, y) of the first node on the common plane.
    """
    level = draw_level(sections, poses, BLUR_UM)
    nodes = Nodes.over(level.image.shape[1:], level.um, NODE_UM)
    bends = np.zeros((len(poses), *nodes.shape, 2))
    spread = np.full(len(poses), SPREAD_UM)
    for _ in range(STEPS):
        level = draw_level(sections, poses, BLUR_UM, bends)
        evidence, _ = pair_evidence(sections, level, nodes, BLUR_UM)
        gaps_um = np.abs(np.diff(sections.z_um[evidence.pairs], axis=1))[:, 0]
        evidence = softened(evidence, UNTOLD * gaps_um)
        step = solve_fields(evidence, PlanePrior(spread[:, None, None, None], NODE_UM, REACH_UM), bends)
        bends = own_part(bends + np.clip(step, -LONGEST_UM, LONGEST_UM))
        spread = measured_spread(bends, evidence)
    return bends, nodes, -level.centre_um


def measured_spread(bends: Float64, evidence: Evidence) -> Float64:
    """Return how large the bends of each section are, so that whole sections stay as they are.

    Parameters
    ----------
    bends : (n, rows, columns, 2) float64, um
        As found.
    evidence : Evidence
        What they were found by.

    Returns
    -------
    (n,) float64, um
        From the root mean square of a component where images tell it (empirical Bayes), between
        `LEAST_SPREAD_UM` and `MOST_SPREAD_UM`.
    """
    weight = np.zeros(bends.shape[:3])
    told = np.trace(evidence.pair, axis1=-2, axis2=-1)
    for side in (0, 1):
        np.add.at(weight, evidence.pairs[:, side], told)
    there = weight * SPREAD_UM**2 > 1.0
    squares = (0.5 * (bends**2).sum(axis=-1) * there).sum(axis=(1, 2))
    size = SHRUNK * np.sqrt(squares / np.maximum(there.sum(axis=(1, 2)), 1))
    return np.asarray(np.clip(size, LEAST_SPREAD_UM, MOST_SPREAD_UM), np.float64)


def usual_bend(bends: Float64) -> float:
    """Return the median over the sections of the mean length of their bends, um.

    Parameters
    ----------
    bends : (n, rows, columns, 2) float64, um
        As `own_bends` returns them.

    Returns
    -------
    float, um
        0 for no sections.
    """
    return float(np.median(np.linalg.norm(bends, axis=-1).mean(axis=(1, 2)))) if len(bends) else 0.0


def own_part(fields: Float64) -> Float64:
    """Return fields without what varies slowly along the series.

    Parameters
    ----------
    fields : (n, rows, columns, 2) float64, um
        In the order of the series.

    Returns
    -------
    (n, rows, columns, 2) float64, um
        What neighbours do not share.
    """
    return np.asarray(fields - ndimage.gaussian_filter1d(fields, SLOW_SECTIONS, axis=0, mode="nearest"))


def softened(evidence: Evidence, spread_um: Float64) -> Evidence:
    """Return evidence whose pairs have an error that images do not tell.

    Parameters
    ----------
    evidence : Evidence
        As compared.
    spread_um : (m,) float64, um
        Standard deviation of the error of each pair: tissue itself moves from one section to the next.

    Returns
    -------
    Evidence
        Covariances of the pairs with that variance added.
    """
    eye = np.eye(2)
    mean = np.linalg.solve(evidence.pair + TINY * eye, evidence.pair_pull[..., None])
    known = eye + evidence.pair * (spread_um**2)[:, None, None, None, None]
    pair = np.asarray(np.linalg.solve(known, evidence.pair))
    pair = np.asarray(0.5 * (pair + np.swapaxes(pair, -1, -2)), np.float64)
    return replace(evidence, pair=pair, pair_pull=np.einsum("mrcij,mrcj->mrci", pair, mean[..., 0]))
