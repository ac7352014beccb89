"""From ratio grids, as Allen serves them, back to the sums that a structure table is made of.

The grid service sends energy, density and intensity, not the sums. A fully covered voxel holds one 200 um
cell of pixels, so the ratios times the pixels of a cell give the sums again. Where the number of pixels is
unknown it cancels out of every ratio: then all voxels weigh alike, and the sums are left out of the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.model import Bool, ExpressionSums, Float32, Float64, UInt8
from pipeline.quantification.unionize import LabelIndex, unionize_columns

DARKEST = 255.0  # largest intensity, and so largest energy
_ROUNDING = 1e-4  # relative error of a ratio that is stored as float32
# relative difference, or share of inconsistent voxels, above which grids are not of one experiment
_DISAGREE = 0.05
_TELLING = 0.01  # share of the highest energy; weaker voxels are not compared
# columns that need the number of pixels of a voxel
_SUMS = ("sum_pixels", "sum_expressing_pixels", "sum_pixel_intensity", "sum_expressing_pixel_intensity")
# columns that need the density
_OF_DENSITY = ("sum_expressing_pixels", "expression_density", "expression_intensity")


@dataclass(frozen=True, eq=False)
class RatioGrids:
    """Energy and, where it is known, density of every voxel.

    Attributes
    ----------
    energy : (P, I, R) float64
        0-255; NaN = no data.
    density : (P, I, R) float64 or None
        0-1; NaN where energy is.
    """

    energy: Float64
    density: Float64 | None

    @property
    def covered(self) -> Bool:
        """Which voxels have data, (P, I, R) bool."""
        return np.isfinite(self.energy)

    @classmethod
    def of(cls, grids: dict[str, Float32]) -> RatioGrids:
        """Take energy, density and intensity as far as they are there; two of the three give the third.

        Parameters
        ----------
        grids : dict of str to (P, I, R) float32
            Grids by name; NaN = no data.

        Returns
        -------
        RatioGrids
            Energy, and density where it is given or follows.

        Raises
        ------
        DataError
            Where grids cannot be what their names say, or are not of one experiment.
        """
        for name, grid in grids.items():
            _check_range(name, grid)
        known = {name: grid.astype(np.float64) for name, grid in grids.items()}
        energy, density, intensity = (known.get(name) for name in ("energy", "density", "intensity"))
        if density is not None and intensity is not None:
            product = _product(density, intensity)
            if energy is None:
                return cls(product, density)
            _check_density(energy, density)
            _check_product(energy, product)
        if energy is None:
            got = " and ".join(sorted(grids)) or "nothing"
            raise DataError(f"expected energy, or density and intensity, got {got}")
        if density is None and intensity is not None:
            density = _quotient(energy, intensity)
        if density is not None:
            _check_density(energy, density)
        return cls(energy, density)


def grid_table(
    section_data_set_id: int,
    grids: RatioGrids,
    pixels: Float64 | float | None,
    darkness: Float64 | None,
    index: LabelIndex,
    hemisphere: UInt8,
) -> dict[str, npt.NDArray[Any]]:
    """Sum ratio grids over the structure hierarchy; columns that they do not determine are NaN.

    Parameters
    ----------
    section_data_set_id : int
        Number of the series, for the table.
    grids : RatioGrids
        Energy and density.
    pixels : (P, I, R) float64 or float or None
        Pixels of every voxel, or of each alike; None where unknown.
    darkness : (P, I, R) float64 or None
        `sum_pixel_intensity` of every voxel, where known.
    index : LabelIndex
        Labels of the same grid, as `unionize` takes them.
    hemisphere : (R,) uint8
        1 left, 2 right, along R.

    Returns
    -------
    dict of str to (rows,) array
        The columns of StructureUnionize, rows as `unionize` returns them.

    Raises
    ------
    DataError
        Where the grids and the labels differ in shape.
    """
    covered, shape = grids.covered, grids.energy.shape
    # unknown pixels: any constant gives the same ratios
    weights = np.where(covered, 1.0 if pixels is None else pixels, 0.0)
    density = np.zeros(shape) if grids.density is None else grids.density
    products = (density * weights, grids.energy * weights, np.zeros(shape) if darkness is None else darkness)
    sums = ExpressionSums(weights, *(np.where(covered, values, 0.0) for values in products))
    columns = unionize_columns(section_data_set_id, sums, covered, index, hemisphere)
    for name in unknown_columns(grids, pixels, darkness):
        columns[name] = np.full(len(columns[name]), np.nan)
    return columns


def unknown_columns(
    grids: RatioGrids, pixels: Float64 | float | None, darkness: Float64 | None
) -> tuple[str, ...]:
    """Return the columns of a table that grids do not determine.

    Parameters
    ----------
    grids : RatioGrids
        Energy and density.
    pixels : (P, I, R) float64 or float or None
        As in `grid_table`.
    darkness : (P, I, R) float64 or None
        As in `grid_table`.

    Returns
    -------
    tuple of str
        Column names in the order of the table.
    """
    unknown = set(_SUMS) if pixels is None else set()
    unknown |= set(_OF_DENSITY) if grids.density is None else set()
    unknown |= {"sum_pixel_intensity"} if darkness is None else set()
    return tuple(name for name in (*_SUMS, *_OF_DENSITY[1:]) if name in unknown)


def _check_range(name: str, grid: Float32) -> None:
    """Raise DataError where values are below 0, or above what this quantity can reach."""
    most = 1.0 if name == "density" else DARKEST
    low = float(np.fmin.reduce(grid, axis=None, initial=np.float32(0)))
    high = float(np.fmax.reduce(grid, axis=None, initial=np.float32(0)))
    if low < 0 or high > most * (1 + _ROUNDING):
        got = low if low < 0 else high
        raise DataError(f"{name}: expected values from 0 to {most:g} and -1 for no data, got {got:g}")


def _product(density: Float64, intensity: Float64) -> Float64:
    """Return density x intensity; where nothing expresses there is neither intensity nor energy."""
    silent = density == 0
    if np.any(np.isfinite(density) & ~silent & ~np.isfinite(intensity)):
        raise DataError("intensity: expected a value wherever the density is above 0, got no data")
    return np.where(silent, 0.0, density * intensity)


def _quotient(energy: Float64, intensity: Float64) -> Float64:
    """Return energy / intensity; without energy nothing expresses."""
    silent = energy == 0
    lacking = np.isfinite(energy) & ~silent & ~(intensity > 0)
    if lacking.any():
        raise DataError("intensity: expected a value above 0 wherever there is energy, got none")
    found = np.full(energy.shape, np.nan)
    np.divide(energy, intensity, out=found, where=np.isfinite(energy) & ~silent)
    return np.where(silent, 0.0, found)


def _check_product(energy: Float64, product: Float64) -> None:
    """Raise DataError where energies are not the product of density and intensity."""
    strong = np.fmax(energy, product) > _TELLING * np.nanmax(energy, initial=0.0)
    if strong.any():
        apart = float(np.median(np.abs(energy - product)[strong] / np.fmax(energy, product)[strong]))
        if not apart <= _DISAGREE:
            raise DataError(
                f"energy: expected density x intensity, got values {apart:.0%} apart; one grid is another's"
            )


def _check_density(energy: Float64, density: Float64) -> None:
    """Raise DataError where energy and density cover different voxels, or imply an impossible intensity."""
    apart = int(np.count_nonzero(np.isfinite(energy) != np.isfinite(density)))
    if apart:
        raise DataError(f"density: expected data where the energy has data, got other in {apart} voxels")
    if density.max(initial=0.0, where=np.isfinite(density)) > 1 + _ROUNDING:
        raise DataError("density: expected at most 1, got more from energy / intensity; one is another's")
    strong = energy > _TELLING * np.nanmax(energy, initial=0.0)
    implied = energy[strong] / np.maximum(density[strong], 1e-30)  # intensity: an expressing pixel has 1-255
    odd = (implied <= 1 + _ROUNDING) | (implied > DARKEST * (1 + _ROUNDING))
    if strong.any() and odd.mean() > _DISAGREE:
        raise DataError(
            f"energy: expected 1 to 255 times the density, got {np.median(implied[odd]):.3g} times; one is"
            " misnamed, or another experiment's"
        )
