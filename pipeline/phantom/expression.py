"""What a rendered series expresses: an energy field over the reference space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from pipeline.core.errors import DataError
from pipeline.core.model import GRID_200, Bool, Float32, Grid, frozen
from pipeline.core.ontology import Ontology

# The kernel of a voxel in a served grid. In the plane of section it is Allen's 200 um cell convolved with a
# Gaussian; across the sections it is a Gaussian. The widths are the defaults of gridding. Those of the served
# grids are not published; how the grids fade into glass allows at most 270 to 340 um in plane, less across.
CELL_UM = 200.0
SMOOTHING_UM = 200.0
Z_SMOOTHING_UM = 140.0
# Least tissue share of a voxel with usable energy. A voxel 200 um outside a flat border of tissue has a share
# of one sixth in plane, of one thirteenth across the sections. Below the limit next to no tissue lies within
# one voxel, and the energy comes from elsewhere.
LEAST_SHARE = 0.1

PHANTOM_GENE = {  # energy by acronym: darkness of expressing pixels per pixel, grey levels
    "DG-sg": 165.0,
    "CA3": 7.0,
    "CA1": 2.5,
    "TH": 9.0,
    "VPM": 14.0,
    "MD": 5.0,
    "RT": 0.6,
    "Isocortex": 3.0,
    "SSp4": 8.0,
    "VISp4": 7.0,
    "MOp5": 6.5,
    "SSp6b": 5.0,
    "MOB": 6.0,
    "MOBgr": 12.0,
    "PIR": 8.0,
    "CP": 1.2,
    "ACB": 3.0,
    "LSr": 5.0,
    "GPe": 0.3,
    "HY": 1.5,
    "VMH": 10.0,
    "MM": 7.0,
    "MB": 0.8,
    "SCsg": 6.0,
    "ICc": 4.0,
    "SNc": 12.0,
    "PG": 9.0,
    "P": 1.0,
    "MY": 0.7,
    "IO": 11.0,
    "CBX": 0.5,
    "CUL4, 5gr": 16.0,
    "DECgr": 15.0,
    "SIMgr": 15.0,
    "ANcr1gr": 14.0,
    "PFLgr": 12.0,
    "IP": 5.0,
}


@dataclass(frozen=True)
class StructureExpression:
    """Energy per structure: the nearest ancestor that is named decides, 0 where there is none.

    Fibre tracts do not express unless they are named themselves. Ventricles hold no cells, so the renderer
    draws no expression in them.

    Attributes
    ----------
    energy : mapping of str to float
        Darkness of expressing pixels per pixel, grey levels, by acronym or id of a structure.
    """

    energy: Mapping[str, float] = field(default_factory=lambda: dict(PHANTOM_GENE))

    def table(self, ontology: Ontology, ids: npt.NDArray[np.uint32]) -> Float32:
        """Return the energy of each structure.

        Parameters
        ----------
        ontology : Ontology
            Resolves the names in `energy` and the ancestors of the ids.
        ids : (n,) uint32
            Structure ids; those that the ontology lacks have energy 0.

        Returns
        -------
        (n,) float32
            Energy by structure, grey levels.

        Raises
        ------
        DataError
            Where the ontology lacks a structure that `energy` names.
        """
        named = {ontology.find(name).id: value for name, value in self.energy.items()}
        return np.array([_inherited(ontology, named, int(i)) for i in ids], np.float32)


def _inherited(ontology: Ontology, named: Mapping[int, float], structure_id: int) -> float:
    """Return the energy of the nearest ancestor that is named, the structure itself included."""
    if structure_id not in ontology.by_id:
        return 0.0
    return next((named[i] for i in reversed(ontology.path(structure_id)) if i in named), 0.0)


@dataclass(frozen=True, eq=False)
class GridExpression:
    """Energy on a grid, as served; negative or NaN is no data.

    The renderer draws the energy that tissue must have for such a grid to result (`of_tissue`), interpolated
    linearly between voxels.

    Attributes
    ----------
    energy : (P, I, R) float32
        Darkness of expressing pixels per pixel, 0-255, over all pixels, glass and ventricles included.
    grid : Grid
        Shape and spacing of `energy`.
    """

    energy: Float32
    grid: Grid = GRID_200

    def __post_init__(self) -> None:
        values = np.array(self.energy, np.float32)
        if values.shape != self.grid.shape:
            raise DataError(
                f"phantom: expected an energy grid of shape {self.grid.shape}, got {values.shape}"
            )
        values[~np.isfinite(values) | (values < 0)] = -1
        object.__setattr__(self, "energy", frozen(values))

    def of_tissue(self, share: Float32) -> Float32:
        """Return the energy that tissue must have for the grid to be served as it is.

        The energy of a voxel is a mean over all its pixels, including glass and ventricles. Where only a
        share of them is tissue, the tissue must express more by that factor. Energy that is even over the
        tissue is recovered exactly. Voxels with almost no tissue get no data, because division by a small
        share would amplify without bound the energy that a misplaced section left there. The voxels around
        them decide instead.

        Parameters
        ----------
        share : (P, I, R) float32
            Share of tissue in the mean of each voxel, 0-1, from `tissue_share`.

        Returns
        -------
        (P, I, R) float32
            Energy of the tissue, grey levels; -1 is no data.
        """
        known = (self.energy >= 0) & (share >= LEAST_SHARE)
        return np.divide(self.energy, share, out=np.full_like(self.energy, -1), where=known)


Expression = StructureExpression | GridExpression


def tissue_share(
    labels: npt.NDArray[np.uint16], solid: Bool, spacing_um: float, grid: Grid, cut_axis: int
) -> Float32:
    """Return the share of tissue in the mean that each voxel of a served grid holds.

    Parameters
    ----------
    labels : (p, i, r) uint16
        Compact labels at `spacing_um`; glass lies beyond them.
    solid : (n,) bool
        Whether a compact label is tissue, neither glass nor ventricle.
    spacing_um : float, um
        Voxel size of `labels`.
    grid : Grid
        The served grid.
    cut_axis : int
        Axis that the sections are cut across: 0, 1, 2 for P, I, R.

    Returns
    -------
    (P, I, R) float32
        Share of tissue, 0-1.
    """
    # The kernel is separable: one matrix (voxels, samples) per axis.
    along = [_mean_over(n, spacing_um, grid, axis, cut_axis) for axis, n in enumerate(labels.shape)]
    table = solid.astype(np.float32)
    planes = np.stack([along[1] @ table[plane] @ along[2].T for plane in labels])
    return np.asarray(np.tensordot(along[0], planes, 1), np.float32)


def _mean_over(samples: int, spacing_um: float, grid: Grid, axis: int, cut_axis: int) -> Float32:
    """Return the weight of each of `samples` in the mean of each voxel along an axis, (voxels, samples).

    The kernel is a box convolved with a Gaussian. The box is the 200 um cell in plane; across the sections
    it is one sample, which leaves the Gaussian alone.
    """
    place = grid.origin_um[axis] + grid.spacing_um * np.arange(grid.shape[axis])[:, None]
    offset = spacing_um * np.arange(samples) - place
    if axis == cut_axis:
        half, sigma = spacing_um / 2, Z_SMOOTHING_UM
    else:
        half, sigma = CELL_UM / 2, SMOOTHING_UM
    weight = ndtr((offset + half) / sigma) - ndtr((offset - half) / sigma)
    return np.asarray(weight * spacing_um / (2 * half), np.float32)
