"""Expression per brain structure: direct sums by label, then every ancestor, then ratios.

A structure is its own voxels and all that is inside it; many labels are themselves parents. Voxels
without data count in no denominator. Sums come from grid sums, so that a structure's density is that
of its pixels, not the mean of its voxels' densities.

Source: Allen's StructureUnionize model and the identities that its served rows obey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import DataError
from pipeline.model import (
    BOTH,
    LEFT,
    RIGHT,
    SUM_FIELDS,
    Bool,
    ExpressionSums,
    Float64,
    Int64,
    StructureUnionize,
    UInt8,
    UInt32,
    ratio,
)
from pipeline.ontology import Ontology

_ENERGY, _ENERGY_SQUARED, _COVERED, _VOXELS = range(len(SUM_FIELDS), len(SUM_FIELDS) + 4)
_QUANTITIES = len(SUM_FIELDS) + 4


@dataclass(frozen=True, eq=False)
class LabelIndex:
    """Which structures every label counts for, ready for any number of grids over the same labels.

    Parameters
    ----------
    inverse : (voxels,) int64     position of each voxel's label in `label_ids`
    ancestors : per label         positions in `structure_ids` of the label's structure and its ancestors
    """

    label_ids: UInt32
    inverse: Int64
    structure_ids: tuple[int, ...]
    ancestors: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, labels: UInt32, ontology: Ontology) -> LabelIndex:
        """Index a label grid; labels that the ontology lacks count for its root, 0 for nothing."""
        label_ids, inverse = np.unique(labels, return_inverse=True)
        ordered = sorted(ontology.structures, key=lambda s: s.graph_order)
        position = {s.id: i for i, s in enumerate(ordered)}
        root = (ontology.roots[0].id,)

        def path(label: int) -> tuple[int, ...]:
            if label == 0:
                return ()
            return ontology.path(label) if label in position else root

        ancestors = tuple(tuple(position[s] for s in path(int(label))) for label in label_ids)
        return cls(label_ids, inverse.reshape(-1).astype(np.int64), tuple(position), ancestors)


def unionize(
    section_data_set_id: int, sums: ExpressionSums, covered: Bool, index: LabelIndex, hemisphere: UInt8
) -> list[StructureUnionize]:
    """Sum a grid over the structure hierarchy, per hemisphere and for both.

    Parameters
    ----------
    sums : ExpressionSums of (P, I, R)
    covered : (P, I, R) bool           where voxels have data
    index : LabelIndex                 of the labels of the same grid
    hemisphere : (R,) uint8            1 left, 2 right, along R

    Returns
    -------
    rows in graph order, hemispheres 1, 2, 3 within a structure; structures without a pixel are left out
    """
    if covered.size != index.inverse.size:
        raise DataError(f"unionize: the grid has {covered.size} voxels, the labels {index.inverse.size}")
    side = np.broadcast_to(hemisphere, covered.shape).reshape(-1)
    quantities = _voxel_quantities(sums, covered)
    per_label = {h: _label_sums(quantities, index, side == h) for h in (LEFT, RIGHT)}
    totals = {h: _propagate(direct, index) for h, direct in per_label.items()}
    totals[BOTH] = totals[LEFT] + totals[RIGHT]
    rows = []
    for position, structure_id in enumerate(index.structure_ids):
        for hemisphere_id in (LEFT, RIGHT, BOTH):
            total = totals[hemisphere_id][:, position]
            if total[0] > 0:
                rows.append(_row((section_data_set_id, structure_id, hemisphere_id), total))
    return rows


def _voxel_quantities(sums: ExpressionSums, covered: Bool) -> list[Float64]:
    inside = covered.reshape(-1)
    energy = np.where(inside, np.nan_to_num(sums.energy.reshape(-1), nan=0.0), 0.0)
    measured = inside & (np.asarray(sums.sum_pixels).reshape(-1) > 0)
    columns = [np.where(inside, np.asarray(a, np.float64).reshape(-1), 0.0) for a in sums.arrays().values()]
    counts = [measured.astype(np.float64), np.ones(inside.size)]
    return [*columns, energy, energy**2, *counts]


def _label_sums(quantities: Sequence[Float64], index: LabelIndex, chosen: Bool) -> Float64:
    """Return (quantities, labels): direct sums over the chosen voxels."""
    labels = len(index.label_ids)
    inverse = index.inverse[chosen]
    return np.stack([np.bincount(inverse, weights=q[chosen], minlength=labels) for q in quantities])


def _propagate(direct: Float64, index: LabelIndex) -> Float64:
    """Return (quantities, structures): each label's sums added to its structure and every ancestor."""
    totals = np.zeros((_QUANTITIES, len(index.structure_ids)))
    for label, ancestors in enumerate(index.ancestors):
        totals[:, list(ancestors)] += direct[:, label, None]
    return totals


def _row(key: tuple[int, int, int], total: Float64) -> StructureUnionize:
    sums = ExpressionSums(*total[: len(SUM_FIELDS)])
    covered = total[_COVERED]
    mean = total[_ENERGY] / covered
    variance = max(0.0, total[_ENERGY_SQUARED] / covered - mean**2)
    section_data_set_id, structure_id, hemisphere_id = key
    return StructureUnionize(
        section_data_set_id=section_data_set_id,
        structure_id=structure_id,
        hemisphere_id=hemisphere_id,
        sum_pixels=float(sums.sum_pixels),
        sum_expressing_pixels=float(sums.sum_expressing_pixels),
        sum_pixel_intensity=float(sums.sum_pixel_intensity),
        sum_expressing_pixel_intensity=float(sums.sum_expressing_pixel_intensity),
        expression_density=float(sums.density),
        expression_intensity=float(sums.intensity),
        expression_energy=float(sums.energy),
        voxel_energy_mean=float(mean),
        voxel_energy_cv=float(ratio(np.sqrt(variance), mean)),
        coverage=float(covered / total[_VOXELS]),
    )
