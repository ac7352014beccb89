"""The annotation ready for many look-ups: compact labels, and the hemisphere of a place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.kernels import kernel
from pipeline.core.model import Float64, Grid
from pipeline.core.reference_space import ReferenceSpace, hemispheres
from pipeline.quantification.unionize import LabelIndex

MOST_LABELS = 2**16 - 2


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """Labels of the reference at their own voxel size.

    Attributes
    ----------
    numbers : (P, I, R) uint16
        Position in `index.label_ids` + 1; 0 outside.
    spacing_um : float, um
        Voxel i lies at i x spacing.
    index : LabelIndex
        Which structures each label counts for; without runs.
    volumes_um3 : (labels, 2) float64, um3
        Volume of each label, left and right.
    midline_um : float, um
        R at which the hemispheres part.
    """

    numbers: npt.NDArray[np.uint16]
    spacing_um: float
    index: LabelIndex
    volumes_um3: Float64
    midline_um: float

    @classmethod
    def of(cls, reference: ReferenceSpace) -> LabelVolume:
        """Take the annotation of a reference.

        Parameters
        ----------
        reference : ReferenceSpace
            At the voxel size that structures are looked up in.

        Returns
        -------
        LabelVolume
            Its labels.

        Raises
        ------
        DataError
            Where there are more labels than 16 bits number.
        """
        um, shape = reference.annotation_um, reference.annotation.shape
        index = LabelIndex.of(reference.annotation, reference.ontology)
        labels = len(index.label_ids)
        if labels > MOST_LABELS:
            raise DataError(
                f"reference {reference.name}: expected {MOST_LABELS} labels at most, got {labels}"
            )
        midline_um = reference.midline_um
        side, step = index.sides(hemispheres(Grid((shape[0], shape[1], shape[2]), um), midline_um))
        flat, voxels = np.zeros(reference.annotation.size, np.uint16), np.zeros((labels, 2), np.int64)
        _fill(index.runs, side, step, flat, voxels)
        numbers = flat.reshape([shape[axis] for axis in index.axes]).transpose(np.argsort(index.axes))
        return cls(
            numbers,
            um,
            replace(index, runs=np.empty((0, 3), np.int32)),
            np.asarray(voxels * um**3, np.float64),
            midline_um,
        )


@kernel
def _fill(runs, side, step, numbers, voxels):  # type: ignore[no-untyped-def]
    """Write the number of every labelled voxel in memory order, and count them by side."""
    for run in range(runs.shape[0]):
        start, stop, label = runs[run]
        numbers[start:stop] = label + 1
        for v in range(start, stop):
            voxels[label, side[(v // step) % side.size]] += 1


@kernel(inline=True)
def number_at(numbers, spacing_um, p, i, r):  # type: ignore[no-untyped-def]
    """Return the number of the voxel nearest to a place, um; 0 outside the volume."""
    a, b, c = int(np.rint(p / spacing_um)), int(np.rint(i / spacing_um)), int(np.rint(r / spacing_um))
    inside = a >= 0 and b >= 0 and c >= 0
    inside = inside and a < numbers.shape[0] and b < numbers.shape[1] and c < numbers.shape[2]
    return np.int64(numbers[a, b, c]) if inside else np.int64(0)
