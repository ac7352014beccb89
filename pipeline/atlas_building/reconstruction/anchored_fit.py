"""Sections that were aligned to an anchor, refined against it and against each other, jointly.

The anchor's labels are painted with what the series shows in them. What is left, the residual, is alike in
neighbouring sections: the anchor does not show the individual, the stain varies within structures. So the
residuals are an autoregression along the series, whose correlation is measured. Its precision weighs the
anchor little and the differences of neighbours much, exactly as far as they are alike. Neighbours tell how a
section lies against them, not where they all lie: what varies slowly along the series stays as the alignment
to the anchor left it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.reconstruction.comparisons import (
    Nodes,
    blurred,
    gradient,
    normal_form,
    robust_weights,
    spread_of,
)
from pipeline.atlas_building.reconstruction.evening import lost_tissue
from pipeline.atlas_building.reconstruction.joint_field import (
    Evidence,
    PlanePrior,
    autoregressive_weights,
    solve_fields,
)
from pipeline.atlas_building.reconstruction.placed import PlacedSection, moved, used
from pipeline.atlas_building.reconstruction.surfaces import Raster, drawn_on, surface
from pipeline.core.model import Bool, Float32, Float64, Int32, Plane
from pipeline.core.reference_space import ReferenceSpace
from pipeline.sections.thumbnail_tissue import TissueImage
from pipeline.system.threads import each

RASTER_UM = 50.0
NODE_UM = 500.0
PRIOR = PlanePrior(spread_um=25.0, node_um=NODE_UM, reach_um=900.0)
LEVELS_UM = (100.0,)  # blurs, coarse to fine
STEPS = 2  # at each blur
CORRELATED = 4.0  # times the blur over which residuals are alike in a plane
LEAST_KNOWN = 0.5  # share of a blur's weight that must be known
THREADS = 2
TISSUE_SHARE = 0.3  # of the usual stain: what is above is tissue, also beyond the anchor
LEAST_SPREAD = 1e-4  # OD
GAIN_ROUNDS, LEAST_GAIN = 3, 0.05  # estimates of the gains of sections, in turns with the table
MOST_CORRELATION = 0.98  # of neighbouring residuals
LONGEST_UM = 300.0  # of a step
SLOW_SECTIONS = 2.0  # standard deviation, in sections, of what the anchor decides alone


@dataclass(frozen=True, eq=False)
class Drawn:
    """Sections drawn over the planes of the anchor.

    Attributes
    ----------
    stain : (n, rows, columns) float32
        Stain, gains taken out.
    known : (n, rows, columns) bool
        Where the section shows what it is.
    labels : (n, rows, columns) int32
        Index of the anchor's label there.
    z_um : (n,) float64, um
        Mean height of each, along the series.
    """

    stain: Float32
    known: Bool
    labels: Int32
    z_um: Float64


def refine_on_anchor(
    sections: Sequence[PlacedSection], tissues: Sequence[TissueImage], anchor: ReferenceSpace, plane: Plane
) -> tuple[list[PlacedSection], dict[str, float]]:
    """Refine aligned sections by the anchor and their neighbours.

    Parameters
    ----------
    sections : sequence of PlacedSection
        As the run's alignment left them, in ascending z.
    tissues : sequence of TissueImage
        Stain and tissue of each.
    anchor : ReferenceSpace
        Labels that are painted.
    plane : {"coronal", "sagittal"}
        Plane of section.

    Returns
    -------
    sections : list of PlacedSection
        Displaced within their planes.
    measures : dict of str to float
        Correlation of neighbouring residuals, and the sizes of the steps.
    """
    raster = Raster.over(plane, anchor.extent_um, RASTER_UM)
    nodes = Nodes.over(raster.shape, RASTER_UM, NODE_UM)
    _, inverse = np.unique(anchor.annotation, return_inverse=True)
    index: Int32 = inverse.reshape(anchor.annotation.shape).astype(np.int32)
    result, chosen = list(sections), used(sections)
    total = np.zeros((len(chosen), *nodes.shape, 2))
    measures: dict[str, float] = {}
    for sigma in LEVELS_UM:
        for _ in range(STEPS):
            drawn = _drawn([result[k] for k in chosen], [tissues[k] for k in chosen], index, anchor, raster)
            step, measures = _step(drawn, nodes, sigma, total)
            step = step - ndimage.gaussian_filter1d(step, SLOW_SECTIONS, axis=0, mode="nearest")
            total += step
            for k, own in zip(chosen, step, strict=True):
                result[k] = moved(result[k], own, nodes, plane)
    return result, measures


def _drawn(
    sections: Sequence[PlacedSection],
    tissues: Sequence[TissueImage],
    index: Int32,
    anchor: ReferenceSpace,
    raster: Raster,
) -> Drawn:
    def one(k: int) -> tuple[Float32, Bool, Int32, float]:
        placed, tissue = sections[k], tissues[k]
        on = surface(placed.section, placed.space, placed.thumbnail.z_um, raster)
        image = np.where(tissue.valid, tissue.stain, np.nan).astype(np.float32)
        stain = drawn_on(image, placed.thumbnail.thumbnail_to_section, on)
        at = np.rint(raster.places(on.height_um) / anchor.annotation_um).astype(int)
        inside = ((at >= 0) & (at < index.shape)).all(axis=-1)
        at[~inside] = 0
        labels = np.where(inside, index[at[..., 0], at[..., 1], at[..., 2]], 0).astype(np.int32)
        known = np.isfinite(stain)
        return np.where(known, stain, np.float32(0)), known, labels, float(on.height_um.mean())

    parts = each(one, range(len(sections)), THREADS)
    stain, known, labels = (np.stack([part[k] for part in parts]) for k in range(3))
    heights = np.array([part[3] for part in parts])
    stain, _ = evened(stain, known, labels)
    lost = lost_tissue([np.where(k, s, np.nan) for s, k in zip(stain, known, strict=True)], RASTER_UM)
    known &= ~np.stack(lost)
    return Drawn(stain, known, labels, heights)


def evened(stain: Float32, known: Bool, labels: Int32) -> tuple[Float32, Float64]:
    """Return stain with the gains of its sections taken out, and the gains.

    Parameters
    ----------
    stain : (n, rows, columns) float32
        Stain.
    known : (n, rows, columns) bool
        Where it counts.
    labels : (n, rows, columns) int32
        Index of the anchor's label.

    Returns
    -------
    stain : (n, rows, columns) float32
        Stain over gain.
    gains : (n,) float64
        Least-squares factors on the painted labels; their geometric mean is 1.
    """
    gains = np.ones(len(stain))
    even = stain
    for _ in range(GAIN_ROUNDS):
        table = painted_table(even, known, labels)
        for k in range(len(stain)):
            where = known[k] & (labels[k] > 0)
            paint = table[labels[k][where]]
            if paint.size:
                gain = float((paint * stain[k][where]).sum() / max(float((paint**2).sum()), 1e-9))
                gains[k] = max(gain, LEAST_GAIN)
        gains /= np.exp(np.log(gains).mean())
        even = np.asarray(stain / gains[:, None, None].astype(np.float32), np.float32)
    return even, gains


def painted_table(stain: Float32, known: Bool, labels: Int32) -> Float32:
    """Return the mean stain of every label.

    Parameters
    ----------
    stain : (n, rows, columns) float32
        Stain.
    known : (n, rows, columns) bool
        Where it counts.
    labels : (n, rows, columns) int32
        Index of the anchor's label; 0 is outside.

    Returns
    -------
    (labels,) float32
        0 outside, and for labels that no section shows.
    """
    size = int(labels.max()) + 1
    flat = labels[known]
    sums = np.bincount(flat, stain[known], size)
    counts = np.bincount(flat, minlength=size)
    table = (sums / np.maximum(counts, 1)).astype(np.float32)
    table[0] = 0
    return table


@dataclass(frozen=True, eq=False)
class _Soft:
    """Blurred sections of one level, what the painted anchor leaves of them, and how alike neighbours are."""

    image: Float32
    residual: Float32
    tissue: Bool
    spread: float
    apart: float
    correlation: float


def _step(drawn: Drawn, nodes: Nodes, sigma_um: float, present: Float64) -> tuple[Float64, dict[str, float]]:
    """Return the steps of all sections at one blur, and what was measured before them."""
    soft = _softened(drawn, sigma_um)
    step_um = float(np.median(np.abs(np.diff(drawn.z_um))))
    z_um = np.abs(drawn.z_um - drawn.z_um[0])
    own_weights, pair_weights = autoregressive_weights(z_um, soft.correlation, step_um)
    area = (RASTER_UM / (CORRELATED * sigma_um)) ** 2  # independent values a cell
    scale = area / max(soft.spread, LEAST_SPREAD) ** 2

    def own(k: int) -> tuple[Float64, Float64]:
        known = soft.tissue[k] * np.float32(scale * own_weights[k])
        weights = robust_weights(soft.residual[k], known, soft.spread)
        return normal_form(nodes, _slopes(soft.image[k]), soft.residual[k], weights)

    def pair(k: int) -> tuple[Float64, Float64]:
        difference = soft.residual[k + 1] - soft.residual[k]
        known = (soft.tissue[k] & soft.tissue[k + 1]) * np.float32(scale * pair_weights[k])
        weights = robust_weights(difference, known, soft.apart)
        return normal_form(nodes, _slopes(0.5 * (soft.image[k] + soft.image[k + 1])), difference, weights)

    count = len(drawn.stain)
    owns, pairs = each(own, range(count), THREADS), each(pair, range(count - 1), THREADS)
    evidence = Evidence(
        own=np.stack([o[0] for o in owns]),
        own_pull=np.stack([o[1] for o in owns]),
        pairs=np.stack([np.arange(count - 1), np.arange(1, count)], axis=1),
        pair=np.stack([p[0] for p in pairs]),
        pair_pull=np.stack([p[1] for p in pairs]),
    )
    step = np.clip(solve_fields(evidence, PRIOR, present), -LONGEST_UM, LONGEST_UM)
    return step, {
        "correlation of neighbouring residuals": soft.correlation,
        "residual of the painted anchor": soft.spread,
        "difference of neighbouring residuals": soft.apart,
    }


def _softened(drawn: Drawn, sigma_um: float) -> _Soft:
    table = painted_table(drawn.stain, drawn.known, drawn.labels)
    sigma = sigma_um / RASTER_UM

    def one(k: int) -> tuple[Float32, Float32, Float32]:
        image, weight = blurred(drawn.stain[k], drawn.known[k], sigma)
        paint, _ = blurred(table[drawn.labels[k]], drawn.known[k], sigma)
        return image, weight, image - paint

    parts = each(one, range(len(drawn.stain)), THREADS)
    image, weight, residual = (np.stack([part[k] for part in parts]) for k in range(3))
    brain = drawn.labels > 0
    usual = float(np.median(image[brain])) if brain.any() else 0.0
    tissue = (weight > LEAST_KNOWN) & (brain | (image > TISSUE_SHARE * usual))
    spread = spread_of(residual, tissue)
    apart = spread_of(residual[1:] - residual[:-1], tissue[1:] & tissue[:-1])
    correlation = float(np.clip(1 - 0.5 * (apart / max(spread, LEAST_SPREAD)) ** 2, 0.0, MOST_CORRELATION))
    return _Soft(image, residual, tissue, spread, apart, correlation)


def _slopes(image: Float32) -> tuple[Float32, Float32]:
    down, across = gradient(image)
    return down / np.float32(RASTER_UM), across / np.float32(RASTER_UM)
