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

# What a voxel of a served grid is a mean of: Allen's 200 um cell and a Gaussian in the plane of section, a
# Gaussian across it. The widths are those that gridding takes by default; as served they are not published,
# and how grids fade into glass allows at most 270 to 340 um in plane and less across.
CELL_UM = 200.0
SMOOTHING_UM = 200.0
Z_SMOOTHING_UM = 140.0
# A voxel 200 um outside of flat tissue sees a sixth of it in plane, a thirteenth across the sections. With
# less, next to no tissue lies within a voxel of it, and its energy comes from elsewhere.
LEAST_SHARE = 0.1

PHANTOM_GENE = {
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
    """Energy per structure: the nearest named ancestor decides, 0 where there is none.

    Ventricles and fibre tracts stay silent unless named themselves.
    """

    energy: Mapping[str, float] = field(default_factory=lambda: dict(PHANTOM_GENE))

    def table(self, ontology: Ontology, ids: npt.NDArray[np.uint32]) -> Float32:
        """Return the energy of each structure id; ids that the ontology lacks are silent."""
        named = {ontology.find(name).id: value for name, value in self.energy.items()}
        return np.array([_inherited(ontology, named, int(i)) for i in ids], np.float32)


def _inherited(ontology: Ontology, named: Mapping[int, float], structure_id: int) -> float:
    if structure_id not in ontology.by_id:
        return 0.0
    return next((named[i] for i in reversed(ontology.path(structure_id)) if i in named), 0.0)


@dataclass(frozen=True, eq=False)
class GridExpression:
    """Energy on a grid, as served: negative or NaN is no data.

    What is drawn is the energy of tissue that such a grid implies (`of_tissue`), linear between voxels.

    Parameters
    ----------
    energy : (P, I, R) float32      darkness per pixel of all pixels, glass and ventricles included; 0-255
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
        """Return the energy that tissue must have for the grid to be served as it is; -1 is no data.

        The energy of a voxel is a mean over all its pixels, glass and ventricles among them, so where only a
        share of it is tissue, the tissue expresses more by that much. Energy that is even over the tissue
        comes back exactly. Voxels that see almost no tissue have no data, as a small share would raise what
        a misplaced section left there without bound: the voxels around them decide.

        Parameters
        ----------
        share : (P, I, R) float32       of tissue in the mean of each voxel, 0-1: `tissue_share`
        """
        known = (self.energy >= 0) & (share >= LEAST_SHARE)
        return np.divide(self.energy, share, out=np.full_like(self.energy, -1), where=known)


Expression = StructureExpression | GridExpression


def tissue_share(
    labels: npt.NDArray[np.uint16], solid: Bool, spacing_um: float, grid: Grid, cut_axis: int
) -> Float32:
    """Return how much of what each voxel of a served grid is a mean of is tissue.

    Parameters
    ----------
    labels : (p, i, r) uint16       compact labels at `spacing_um`; beyond them lies glass
    solid : (n,) bool               by compact label: neither glass nor ventricle
    cut_axis : int                  0, 1, 2 (P, I, R): the axis that the sections are cut across

    Returns
    -------
    (P, I, R) float32, 0-1
    """
    along = [_mean_over(n, spacing_um, grid, axis, cut_axis) for axis, n in enumerate(labels.shape)]
    table = solid.astype(np.float32)
    planes = np.stack([along[1] @ table[plane] @ along[2].T for plane in labels])
    return np.asarray(np.tensordot(along[0], planes, 1), np.float32)


def _mean_over(samples: int, spacing_um: float, grid: Grid, axis: int, cut_axis: int) -> Float32:
    """Return what each of `samples` counts in the mean of each voxel along an axis, (voxels, samples)."""
    place = grid.origin_um[axis] + grid.spacing_um * np.arange(grid.shape[axis])[:, None]
    offset = spacing_um * np.arange(samples) - place
    if axis == cut_axis:
        half, sigma = spacing_um / 2, Z_SMOOTHING_UM
    else:
        half, sigma = CELL_UM / 2, SMOOTHING_UM
    weight = ndtr((offset + half) / sigma) - ndtr((offset - half) / sigma)
    return np.asarray(weight * spacing_um / (2 * half), np.float32)
