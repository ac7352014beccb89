"""How an index writes energies down: 28 bits a voxel inside the brain, 8 bits outside.

Inside, 6 bits of exponent and 22 of mantissa below a power of two of the experiment's own: within
2^-23 of the value down to 2^-62 of the largest. The upper 16 bits (`codes`) stand apart from the lower
12 (`fine`): a search scans the codes, each within 2^-11 of its value, and settles the order with both.
Outside, the square root is kept in 254 steps; by how much a row is off, as a norm, is kept beside it.

A missing voxel is a code of its own, never a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.core.errors import DataError
from pipeline.core.model import Float32, UInt8
from pipeline.search.kernels.order import BLOCK, VoxelOrder

UInt16 = npt.NDArray[np.uint16]

MISSING = 0xFFFF
MISSING_OUTSIDE = 0xFF
CODE_ERROR = 2.0**-11  # a code's largest error, relative to its value
SMALLEST_CODE = 2.0**-61  # and in units of its row, where that is more: the smallest code stands for 0 too
LARGEST_ENERGY = 1e12  # squares and their sums stay well inside float32
FINE_BYTES = BLOCK + BLOCK // 2  # a block's bits 4-11, then its bits 0-3, two voxels a byte
_STEPS = 254.0
_INFINITE = np.uint32(0x7F800000)  # the bits of float32 infinity; NaN lies above
_TOP = 62  # exponent code of the largest value; 63 with a full mantissa would read as missing
# Codes are read as float32 with the largest value in [1, 2); half a step is added to centre them.
_EXPONENT = 127 - _TOP
_SHIFT = np.uint32(13)
_CENTRE = np.uint32((_EXPONENT << 23) + (1 << 12))


@dataclass(frozen=True, eq=False)
class Row:
    """One experiment as it is kept.

    Parameters
    ----------
    codes : (padded,) uint16           upper bits of brain voxels
    fine : (padded * 3 / 2,) uint8     lower bits
    exponent : int                     how far exponent codes lie below those of float32
    outside : (padded outside,) uint8  steps of the square root
    outside_scale : float              energy = steps^2 * outside_scale
    outside_error : float              norm of what is lost outside
    """

    codes: UInt16
    fine: UInt8
    exponent: int
    outside: UInt8
    outside_scale: float
    outside_error: float

    def holds_brain(self, codes: UInt16, fine: UInt8, exponent: int) -> bool:
        """Whether the row holds these brain voxels (see `encode_brain`)."""
        same = self.exponent == exponent and np.array_equal(self.codes, codes)
        return same and np.array_equal(self.fine, fine)

    def same(self, other: Row) -> bool:
        """Whether two rows hold the same grid."""
        scales = self.outside_scale == other.outside_scale
        same = scales and self.holds_brain(other.codes, other.fine, other.exponent)
        return same and np.array_equal(self.outside, other.outside)


def check_grid(grid: npt.NDArray[Any], shape: tuple[int, ...]) -> Float32:
    """Return an energy grid as float32; DataError where it is not one of this shape.

    Parameters
    ----------
    grid : (P, I, R) float             NaN = no data
    """
    if grid.shape != shape:
        raise DataError(
            f"expected a grid of {shape} voxels, got {grid.shape}; an index holds grids of one shape"
        )
    values = np.ascontiguousarray(grid, np.float32) + np.float32(0)  # -0 becomes 0
    low, high = np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)
    if np.isnan(low):
        raise DataError("expected a grid with data, got no voxel that has any")
    if low < 0 or high > LARGEST_ENERGY:
        raise DataError(
            f"expected energies from 0 to {LARGEST_ENERGY:g} and no data elsewhere, got {low:g} to {high:g}"
        )
    return values


def encode(grid: Float32, order: VoxelOrder) -> Row:
    """Return a checked grid as it is kept.

    Parameters
    ----------
    grid : (P, I, R) float32           NaN = no data
    """
    brain, outside = order.split(grid)
    return Row(*encode_brain(brain), *_encode_outside(outside))


def encode_brain(brain: Float32) -> tuple[UInt16, UInt8, int]:
    """Return codes, fine and exponent of brain voxels, (padded,) float32 with NaN = no data."""
    largest = np.fmax.reduce(brain, initial=np.float32(0))
    exponent = max((int(np.float32(largest).view(np.uint32)) >> 23) - _TOP, 0)
    codes, fine = np.empty(brain.size, np.uint16), np.empty(brain.size // BLOCK * FINE_BYTES, np.uint8)
    _encode_brain(brain.view(np.uint32), np.uint32(exponent << 22), codes, fine)
    return codes, fine, exponent


def _encode_outside(values: Float32) -> tuple[UInt8, float, float]:
    largest = float(np.fmax.reduce(values, initial=np.float32(0)))
    scale = float(np.float32(largest / _STEPS**2)) or 1.0
    steps = np.empty(values.size, np.uint8)
    return steps, scale, math.sqrt(_encode_steps(values, scale, steps))


def decode_outside(row: Row) -> Float32:
    """Return the energies outside as they are kept, (padded outside,) float32, NaN = no data."""
    steps = row.outside.astype(np.float32)
    return np.where(
        row.outside == MISSING_OUTSIDE, np.float32(np.nan), steps * steps * np.float32(row.outside_scale)
    )


def decode_brain(row: Row) -> Float32:
    """Return the energies of a row's brain voxels, (padded,) float32, NaN = no data."""
    out = np.empty(row.codes.size, np.float32)
    decode(row.codes, row.fine, np.uint32(row.exponent << 22), 0, row.codes.size, out)
    return out


@njit(cache=True, nogil=True)
def _encode_brain(bits, base, codes, fine):  # type: ignore[no-untyped-def]
    half = BLOCK // 2
    for block in range(bits.size // BLOCK):
        first, byte = block * BLOCK, block * FINE_BYTES
        for v in range(BLOCK):
            code = np.uint32(MISSING << 12)
            if bits[first + v] <= _INFINITE:
                rounded = (bits[first + v] + np.uint32(1)) >> np.uint32(1)
                code = np.uint32(rounded - base) if rounded > base else np.uint32(0)
            codes[first + v] = code >> np.uint32(12)
            fine[byte + v] = (code >> np.uint32(4)) & np.uint32(0xFF)
            nibble = code & np.uint32(0xF)
            if v < half:
                fine[byte + BLOCK + v] = nibble
            else:
                fine[byte + BLOCK + v - half] |= nibble << np.uint32(4)


@njit(cache=True, nogil=True)
def _encode_steps(values, scale, steps):  # type: ignore[no-untyped-def]
    """Write the steps of the square root; return the sum of squares of what is lost."""
    lost = 0.0
    for v in range(values.size):
        value = np.float64(values[v])
        steps[v] = MISSING_OUTSIDE
        if value == value:
            step = min(np.rint(np.sqrt(value / scale)), _STEPS)
            steps[v] = np.uint8(step)
            lost += (step * step * scale - value) ** 2
    return lost


@njit(inline="always")
def coarse(code):  # type: ignore[no-untyped-def]
    """Read a code as float32, in units of its row: the largest value lies in [1, 2)."""
    return np.uint32((np.uint32(code) << _SHIFT) + _CENTRE).view(np.float32)


@njit(cache=True, nogil=True)
def decode(codes, fine, base, start, stop, out):  # type: ignore[no-untyped-def]
    """Write energies of the blocks from `start` to `stop` to `out` (stop - start,) float32, NaN = no data."""
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


@njit(inline="always")
def _join(upper, middle, lower, base):  # type: ignore[no-untyped-def]
    code = (np.uint32(upper) << np.uint32(12)) | (np.uint32(middle) << np.uint32(4)) | np.uint32(lower)
    value = np.uint32((code + base) << np.uint32(1)).view(np.float32)
    value = np.float32(0.0) if code == np.uint32(0) else value
    return np.float32(np.nan) if upper == np.uint16(MISSING) else value


def unit(exponent: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the energy that 1 stands for when codes are read by `coarse`."""
    return np.exp2(exponent.astype(np.float64) - _EXPONENT)
