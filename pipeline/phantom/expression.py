"""What a rendered series expresses: an energy field over the reference space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.errors import DataError
from pipeline.model import GRID_200, Float32, Grid, frozen
from pipeline.ontology import Ontology

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
    """Energy on a grid, as served: negative or NaN is no data. Between voxels it is linear.

    Parameters
    ----------
    energy : (P, I, R) float32      darkness per pixel, 0-255
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


Expression = StructureExpression | GridExpression
