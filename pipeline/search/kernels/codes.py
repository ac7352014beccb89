"""Storage format of energies in an index: 28 bits per voxel inside the brain, 8 bits outside.

Inside the brain, a code has 6 bits of exponent and 22 bits of mantissa, below a power of two of the
experiment's own. Values are kept within 2^-23 of themselves, down to 2^-62 of the largest. The upper 16 bits
(`codes`) are stored apart from the lower 12 (`fine`). A search scans the codes, each within 2^-11 of its
value, and re-ranks the candidates with both. Outside the brain, the square root is kept in 254 steps,
together with the norm of the rounding errors of the row.

A missing voxel has a code of its own, never a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.kernels import kernel
from pipeline.core.model import Float32, UInt8
from pipeline.search.kernels.order import BLOCK, VoxelOrder

UInt16 = npt.NDArray[np.uint16]

MISSING = 0xFFFF  # code of a brain voxel without data
MISSING_OUTSIDE = 0xFF  # the same for a voxel outside
CODE_ERROR = 2.0**-11  # a code's largest error, relative to its value
# Largest error of the smallest code, in units of the row: it stands for 0 as well.
SMALLEST_CODE = 2.0**-61
LARGEST_ENERGY = 1e12  # squares and their sums stay well inside float32
FINE_BYTES = BLOCK + BLOCK // 2  # a block's bits 4-11, then its bits 0-3, two voxels a byte
_STEPS = 254.0  # largest step of the square root; 255 is MISSING_OUTSIDE
_INFINITE = np.uint32(0x7F800000)  # the bits of float32 infinity; NaN lies above
_TOP = 62  # exponent code of the largest value; 63 with a full mantissa would read as missing
# Codes are read as float32, with the largest value in [1, 2). Half a step is added, so that a code reads
# as the centre of the values that it stands for.
_EXPONENT = 127 - _TOP  # 127 is the exponent field of float32 for [1, 2)
_SHIFT = np.uint32(13)  # bits of a float32 mantissa, 23, below the 10 of a code
_CENTRE = np.uint32((_EXPONENT << 23) + (1 << 12))


@dataclass(frozen=True, eq=False)
class Row:
    """One experiment as an index stores it.

    Attributes
    ----------
    codes : (padded,) uint16
        Upper 16 bits of the brain voxels.
    fine : (padded * 3 / 2,) uint8
        Lower 12 bits of the brain voxels, block by block (see `FINE_BYTES`).
    exponent : int
        How far the exponents of the codes lie below those of float32.
    outside : (padded outside,) uint8
        Steps of the square root of the energies outside the brain.
    outside_scale : float
        Energy of one step outside the brain: energy = steps^2 * outside_scale.
    outside_error : float
        Euclidean norm of the rounding errors outside the brain, in units of energy.
    """

    codes: UInt16
    fine: UInt8
    exponent: int
    outside: UInt8
    outside_scale: float
    outside_error: float

    def holds_brain(self, codes: UInt16, fine: UInt8, exponent: int) -> bool:
        """Return whether the row holds these brain voxels (see `encode_brain`).

        Parameters
        ----------
        codes : (padded,) uint16
            Upper 16 bits.
        fine : (padded * 3 / 2,) uint8
            Lower 12 bits.
        exponent : int
            Exponent of the experiment.

        Returns
        -------
        bool
            True where all three are equal.
        """
        same = self.exponent == exponent and np.array_equal(self.codes, codes)
        return same and np.array_equal(self.fine, fine)

    def same(self, other: Row) -> bool:
        """Return whether two rows hold the same grid.

        Parameters
        ----------
        other : Row
            Row of the same index.

        Returns
        -------
        bool
            True where all voxels, inside and outside the brain, are coded alike.
        """
        scales = self.outside_scale == other.outside_scale
        same = scales and self.holds_brain(other.codes, other.fine, other.exponent)
        return same and np.array_equal(self.outside, other.outside)


def check_grid(grid: npt.NDArray[Any], shape: tuple[int, ...]) -> Float32:
    """Check an energy grid before it is encoded.

    Parameters
    ----------
    grid : (P, I, R) float
        Energies; NaN = no data.
    shape : (P, I, R)
        Shape of the grids in the index, voxels.

    Returns
    -------
    (P, I, R) float32
        The grid, C-contiguous.

    Raises
    ------
    DataError
        Where the shape differs, no voxel has data, or an energy is negative or above `LARGEST_ENERGY`.
    """
    if grid.shape != shape:
        raise DataError(
            f"expected a grid of {shape} voxels, got {grid.shape}; an index holds grids of one shape"
        )
    # Adding 0 turns -0 into 0: with its sign bit it would be coded as missing.
    values = np.ascontiguousarray(grid, np.float32) + np.float32(0)
    low, high = np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)
    if np.isnan(low):
        raise DataError("expected a grid with data, got no voxel that has any")
    if low < 0 or high > LARGEST_ENERGY:
        raise DataError(
            f"expected energies from 0 to {LARGEST_ENERGY:g} and no data elsewhere, got {low:g} to {high:g}"
        )
    return values


def encode(grid: Float32, order: VoxelOrder) -> Row:
    """Encode a checked grid for storage.

    Parameters
    ----------
    grid : (P, I, R) float32
        Energies as `check_grid` returns them; NaN = no data.
    order : VoxelOrder
        Storage order of the voxels.

    Returns
    -------
    Row
        The stored form.
    """
    brain, outside = order.split(grid)
    return Row(*encode_brain(brain), *_encode_outside(outside))


def encode_brain(brain: Float32) -> tuple[UInt16, UInt8, int]:
    """Encode the energies of brain voxels.

    Parameters
    ----------
    brain : (padded,) float32
        Energies in storage order; NaN = no data.

    Returns
    -------
    codes : (padded,) uint16
        Upper 16 bits.
    fine : (padded * 3 / 2,) uint8
        Lower 12 bits.
    exponent : int
        Exponent of the experiment, from its largest value.
    """
    largest = np.fmax.reduce(brain, initial=np.float32(0))
    exponent = max((int(np.float32(largest).view(np.uint32)) >> 23) - _TOP, 0)
    codes, fine = np.empty(brain.size, np.uint16), np.empty(brain.size // BLOCK * FINE_BYTES, np.uint8)
    _encode_brain(brain.view(np.uint32), np.uint32(exponent << 22), codes, fine)
    return codes, fine, exponent


def _encode_outside(values: Float32) -> tuple[UInt8, float, float]:
    """Return the steps, the energy of one step and the norm of the rounding errors, outside the brain."""
    largest = float(np.fmax.reduce(values, initial=np.float32(0)))
    scale = float(np.float32(largest / _STEPS**2)) or 1.0
    steps = np.empty(values.size, np.uint8)
    return steps, scale, math.sqrt(_encode_steps(values, scale, steps))


def decode_outside(row: Row) -> Float32:
    """Decode the energies outside the brain.

    Parameters
    ----------
    row : Row
        One experiment.

    Returns
    -------
    (padded outside,) float32
        Energies, as rounded to 8 bits in the square root; NaN = no data.
    """
    steps = row.outside.astype(np.float32)
    return np.where(
        row.outside == MISSING_OUTSIDE, np.float32(np.nan), steps * steps * np.float32(row.outside_scale)
    )


def decode_brain(row: Row) -> Float32:
    """Decode the energies inside the brain.

    Parameters
    ----------
    row : Row
        One experiment.

    Returns
    -------
    (padded,) float32
        Energies in storage order; NaN = no data.
    """
    out = np.empty(row.codes.size, np.float32)
    decode(row.codes, row.fine, np.uint32(row.exponent << 22), 0, row.codes.size, out)
    return out


@kernel
def _encode_brain(bits, base, codes, fine):  # type: ignore[no-untyped-def]
    """Write the codes of brain voxels, given as bits of float32; `base` is the exponent, shifted by 22."""
    half = BLOCK // 2
    for block in range(bits.size // BLOCK):
        first, byte = block * BLOCK, block * FINE_BYTES
        for v in range(BLOCK):
            code = np.uint32(MISSING << 12)
            if bits[first + v] <= _INFINITE:
                # Bits of positive floats are ordered as their values: rounding off one bit rounds the value.
                rounded = (bits[first + v] + np.uint32(1)) >> np.uint32(1)
                code = np.uint32(rounded - base) if rounded > base else np.uint32(0)
            codes[first + v] = code >> np.uint32(12)
            fine[byte + v] = (code >> np.uint32(4)) & np.uint32(0xFF)
            nibble = code & np.uint32(0xF)
            if v < half:
                fine[byte + BLOCK + v] = nibble
            else:
                fine[byte + BLOCK + v - half] |= nibble << np.uint32(4)


@kernel
def _encode_steps(values, scale, steps):  # type: ignore[no-untyped-def]
    """Write the steps of the square root; return the sum of squared rounding errors."""
    lost = 0.0
    for v in range(values.size):
        value = np.float64(values[v])
        steps[v] = MISSING_OUTSIDE
        if value == value:
            step = min(np.rint(np.sqrt(value / scale)), _STEPS)
            steps[v] = np.uint8(step)
            lost += (step * step * scale - value) ** 2
    return lost


@kernel(inline=True)
def coarse(code):  # type: ignore[no-untyped-def]
    """Read a code as float32, in units of its row (see `unit`): the largest value lies in [1, 2)."""
    return np.uint32((np.uint32(code) << _SHIFT) + _CENTRE).view(np.float32)


@kernel
def decode(codes, fine, base, start, stop, out):  # type: ignore[no-untyped-def]
    """Decode the blocks of one row from `start` to `stop`, inside the brain.

    Parameters
    ----------
    codes : (padded,) uint16
        Upper 16 bits of the row.
    fine : (padded * 3 / 2,) uint8
        Lower 12 bits of the row.
    base : uint32
        Exponent of the experiment, shifted left by 22 bits.
    start, stop : int
        Range of voxels in storage order; multiples of `BLOCK`.
    out : (stop - start,) float32
        Receives the energies; NaN = no data.
    """
    half = BLOCK // 2
    for block in range(start // BLOCK, stop // BLOCK):
        upper = codes[block * BLOCK : (block + 1) * BLOCK]
        middle = fine[block * FINE_BYTES : block * FINE_BYTES + BLOCK]
        lower = fine[block * FINE_BYTES + BLOCK : (block + 1) * FINE_BYTES]
        target = out[block * BLOCK - start : (block + 1) * BLOCK - start]
        for v in range(half):
            target[v] = _join(upper[v], middle[v], lower[v] & np.uint8(0xF), base)
        for v in range(half):
            target[half + v] = _join(upper[half + v], middle[half + v], lower[v] >> np.uint8(4), base)


@kernel(inline=True)
def decode_voxel(codes, fine, base, voxel):  # type: ignore[no-untyped-def]
    """Decode one voxel of a row, as `decode` does; `voxel` is unsigned, which spares checks of its sign."""
    half, whole = np.uint64(BLOCK // 2), np.uint64(BLOCK)
    place, first = voxel % whole, voxel // whole * np.uint64(FINE_BYTES)
    middle, pair = fine[first + place], fine[first + whole + place % half]
    lower = (pair >> np.uint8(4)) if place >= half else (pair & np.uint8(0xF))
    return _join(codes[voxel], middle, lower, base)


@kernel(inline=True)
def _join(upper, middle, lower, base):  # type: ignore[no-untyped-def]
    """Return the energy of the upper 16, middle 8 and lower 4 bits of one voxel."""
    code = (np.uint32(upper) << np.uint32(12)) | (np.uint32(middle) << np.uint32(4)) | np.uint32(lower)
    value = np.uint32((code + base) << np.uint32(1)).view(np.float32)
    value = np.float32(0.0) if code == np.uint32(0) else value
    return np.float32(np.nan) if upper == np.uint16(MISSING) else value


def unit(exponent: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the energy of 1 in units of a row, as `coarse` reads codes.

    Parameters
    ----------
    exponent : (n,) int64
        Exponents of experiments (see `Row`).

    Returns
    -------
    (n,) float64
        Energy of one unit of each row.
    """
    return np.exp2(exponent.astype(np.float64) - _EXPONENT)
