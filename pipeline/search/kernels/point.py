"""Correlation of one voxel's profile over many experiments with that of every other voxel.

A profile is what the experiments measure at one voxel. Profiles lie across the rows of an index: one pass
over the rows, adding up the sums of every voxel side by side, gives Pearson's r of all voxels. It reads
the upper 16 bits of the energies only, which gives r within a proven bound. Voxels that the bound leaves
undecided are computed again from full values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.kernels import kernel
from pipeline.core.model import Bool, Float32, Float64, Int64, UInt32
from pipeline.search.kernels.codes import (
    CODE_ERROR,
    MISSING,
    SMALLEST_CODE,
    UInt16,
    decode_voxel,
)
from pipeline.search.kernels.correlation import Estimate, estimate, pearson
from pipeline.search.kernels.order import BLOCK
from pipeline.search.kernels.sums import Block

TILE = 16384  # voxels whose sums are added up side by side: 384 KB, inside a core's cache
LEAST_EXPERIMENTS = 3  # that must have data at the seed: r over two is always 1 or -1
_LARGEST = 50  # exponent of the largest energy as summed: squares of all codes then stay normal float32
_MOST_PROFILES = 1024  # voxels that are decoded at a time: 16 MB for 4,000 experiments
_EXPONENT_0 = 65  # exponent field of a row whose largest value lies in [1, 2), see `codes.coarse`
_ROWS = 4  # rows that share each load of the sums
_MOST_ROWS = 1024  # rows summed in float32 before float64 takes over, as `estimate` counts on
_YY = 2  # place of the sum of y^2 among x y, y, y^2, 1, x, x^2; x is the seed's profile, y that of a voxel


class TooFewError(DataError):
    """Too few experiments have data at a point, or they do not differ there: nothing can be correlated."""


@dataclass(frozen=True, eq=False)
class Profile:
    """The profile of a seed voxel over the experiments that have data there.

    Attributes
    ----------
    slots : (n,) int64
        Slots of these experiments, ascending.
    exponents : (n,) int64
        Exponents of their codes (see `codes.Row`).
    values : (n,) float64
        Energy of each at the seed.
    weights : (n,) float32
        Energies, centred and scaled to a sum of squares of 1.
    """

    slots: Int64
    exponents: Int64
    values: Float64
    weights: Float32

    @classmethod
    def of(cls, slots: Int64, exponents: Int64, energies: Float32) -> Profile:
        """Prepare the profile of a seed.

        Parameters
        ----------
        slots : (experiments,) int64
            Slots of all experiments, ascending.
        exponents : (experiments,) int64
            Exponents of their codes.
        energies : (experiments,) float32
            Energies at the seed; NaN = no data.

        Returns
        -------
        Profile
            The experiments with data.

        Raises
        ------
        TooFewError
            Where fewer than `LEAST_EXPERIMENTS` have data, or all have the same energy.
        """
        known = ~np.isnan(energies)
        values = energies[known].astype(np.float64)
        if values.size < LEAST_EXPERIMENTS:
            raise TooFewError(
                f"expected at least {LEAST_EXPERIMENTS} coronal experiments with data at the seed, got"
                f" {values.size}; a correlation over fewer says nothing"
            )
        if values.max() == values.min():
            raise TooFewError(
                f"expected experiments that differ at the seed, got {values.max():g} in all {values.size};"
                " choose another point"
            )
        centred = values - values.mean()
        weights = (centred / np.sqrt(np.square(centred).sum())).astype(np.float32)
        return cls(slots[known], exponents[known], values, weights)


def tiles(length: int, cores: int) -> list[slice]:
    """Return the tiles of a row, in storage order; r does not depend on how a row is cut.

    Parameters
    ----------
    length : int
        Length of a row, whole blocks.
    cores : int
        How many tiles are worked on at a time.

    Returns
    -------
    list of slice
        Disjoint ranges of whole blocks, of at most `TILE` voxels.
    """
    width = min(TILE, -(-length // (BLOCK * cores)) * BLOCK)
    return [slice(at, min(at + width, length)) for at in range(0, length, width)]


@dataclass(frozen=True, eq=False)
class Scan:
    """The rows that a seed is compared with, prepared once for all tiles.

    Attributes
    ----------
    complete : list of (codes, rows, bases, weights)
        Rows without missing data, block by block, in groups of four.
    joint : list of (codes, rows, bases, weights, limits)
        All other rows; a limit of 0 marks a row that fills up a group and counts nowhere.
    start : (6, 1) float64
        Sums that the complete rows add to all voxels alike.
    smallest : float
        Squared norm of the errors of the smallest codes.
    """

    complete: list[tuple[UInt16, Int64, UInt32, Float32]]
    joint: list[tuple[UInt16, Int64, UInt32, Float32, UInt16]]
    start: Float64
    smallest: float

    @classmethod
    def of(cls, blocks: Sequence[Block], seed: Profile, complete: Bool) -> Scan:
        """Prepare the rows of a seed.

        Parameters
        ----------
        blocks : sequence of Block
            Rows of the index.
        seed : Profile
            The seed.
        complete : (n,) bool
            Experiments of the seed with data in every voxel that matters: they need half of the sums.

        Returns
        -------
        Scan
            The rows.
        """
        # All rows in one unit: the largest energy of any has exponent `_LARGEST`.
        exponent = seed.exponents - seed.exponents.max() + _LARGEST
        bases = ((np.maximum(exponent + _EXPONENT_0, 1) << 23) + (1 << 12)).astype(np.uint32)
        smallest = float(np.square(SMALLEST_CODE * np.exp2(exponent.astype(np.float64))).sum())
        found = cls([], [], np.zeros((6, 1)), smallest)
        for block in blocks:
            rows, at = block.rows(seed.slots)
            whole, rest = np.flatnonzero(complete[at]), np.flatnonzero(~complete[at])
            groups = len(whole) // _ROWS * _ROWS
            whole, rest = whole[:groups], np.concatenate([rest, whole[groups:]])
            filled = np.concatenate([rest, np.zeros(-len(rest) % _ROWS, np.int64)])
            limits = np.where(np.arange(len(filled)) < len(rest), MISSING, 0).astype(np.uint16)
            for chosen, parts, more in ((whole, found.complete, ()), (filled, found.joint, (limits,))):
                if len(chosen):
                    parts.append(
                        (block.codes, rows[chosen], bases[at][chosen], seed.weights[at][chosen], *more)
                    )
            weights = seed.weights[at][whole].astype(np.float64)
            found.start[3:, 0] += weights.size, weights.sum(), np.square(weights).sum()
        return found


def correlate(scan: Scan, tile: slice) -> Estimate:
    """Estimate r between a seed and each voxel of a tile, from the upper 16 bits of the energies.

    Parameters
    ----------
    scan : Scan
        The rows of the seed.
    tile : slice
        Voxels in storage order, whole blocks.

    Returns
    -------
    Estimate
        r and its bound for every voxel of the tile; NaN where fewer than two experiments have data in both.

    Notes
    -----
    Pearson's product-moment correlation over the experiments with data at both voxels, as the Anatomic Gene
    Expression Atlas has it: Ng et al., Nat. Neurosci. 12:356 (2009), doi 10.1038/nn.2281.
    """
    sums = np.repeat(scan.start, tile.stop - tile.start, axis=1)
    part, rows = np.zeros(sums.shape, np.float32), 0
    for add, pieces in ((_add_complete, scan.complete), (_add_joint, scan.joint)):
        for piece in pieces:
            if rows + len(piece[1]) > _MOST_ROWS:
                sums += part
                part[:], rows = 0, 0
            add(*piece, tile.start, part)
            rows += len(piece[1])
    sums += part
    return estimate(np.vstack([sums, CODE_ERROR**2 * sums[_YY] + scan.smallest]).T)


def profiles(blocks: Sequence[Block], slots: Int64, exponents: Int64, voxels: Int64) -> Float32:
    """Decode what experiments have at some voxels.

    Parameters
    ----------
    blocks : sequence of Block
        Rows of the index.
    slots : (n,) int64
        Slots of the experiments, ascending.
    exponents : (n,) int64
        Exponents of their codes.
    voxels : (m,) int64
        Voxels in storage order.

    Returns
    -------
    (m, n) float32
        Energies; NaN = no data.
    """
    out = np.empty((len(slots), len(voxels)), np.float32)
    bases = (exponents << 22).astype(np.uint32)
    for block in blocks:
        rows, at = block.rows(slots)
        _profiles(block.codes, block.fine, rows, bases[at], voxels, out[at])
    return np.ascontiguousarray(out.T)


def correlate_fully(blocks: Sequence[Block], seed: Profile, voxels: Int64) -> Float64:
    """Compute r between a seed and some voxels from full values, in float64.

    Parameters
    ----------
    blocks : sequence of Block
        Rows of the index.
    seed : Profile
        The seed.
    voxels : (m,) int64
        Voxels in storage order.

    Returns
    -------
    (m,) float64
        r; NaN where fewer than two experiments have data in both, or either is constant there.
    """
    r = np.empty(len(voxels))
    _pearson(seed.values, profiles(blocks, seed.slots, seed.exponents, voxels), r)
    return r


def batches(voxels: Int64) -> Iterator[slice]:
    """Yield the slices of voxels that are decoded at a time.

    Parameters
    ----------
    voxels : (m,) int64
        Voxels.

    Yields
    ------
    slice
        At most `_MOST_PROFILES` of them.
    """
    for at in range(0, len(voxels), _MOST_PROFILES):
        yield slice(at, at + _MOST_PROFILES)


def domain_sums(block: Block, rows: Int64, exponents: Int64, wider: Int64, local: Bool) -> Float64:
    """Sum energies of rows over two domains.

    Parameters
    ----------
    block : Block
        Rows of the index.
    rows : (n,) int64
        Rows of the block.
    exponents : (n,) int64
        Exponents of their codes.
    wider : (m,) int64
        Voxels of the wider domain in storage order, ascending.
    local : (m,) bool
        Which of them lie in the local domain.

    Returns
    -------
    (2, 2, n) float64
        Number of voxels with data and sum of energy, over the wider and the local domain.
    """
    out = np.zeros((2, 2, len(rows)))
    _domain_sums(block.codes, block.fine, rows, (exponents << 22).astype(np.uint32), wider, local, out)
    return out


@kernel
def _add_complete(codes, rows, bases, weights, start, sums):  # type: ignore[no-untyped-def]
    """Add three sums of rows that miss nothing, voxel by voxel, four rows at a time."""
    stop = start + sums.shape[1]
    for i in range(0, rows.size, _ROWS):
        a, b, c, d = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
        lines = codes[a, start:stop], codes[b, start:stop], codes[c, start:stop], codes[d, start:stop]
        _complete_four(*lines, bases[i : i + 4], weights[i : i + 4], sums)


@kernel
def _add_joint(codes, rows, bases, weights, limits, start, sums):  # type: ignore[no-untyped-def]
    """Add six sums of rows, voxel by voxel, four rows at a time."""
    stop = start + sums.shape[1]
    for i in range(0, rows.size, _ROWS):
        a, b, c, d = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
        lines = codes[a, start:stop], codes[b, start:stop], codes[c, start:stop], codes[d, start:stop]
        _joint_four(*lines, bases[i : i + 4], weights[i : i + 4], limits[i : i + 4], sums)


@kernel(inline=True)
def _energy(code, base):  # type: ignore[no-untyped-def]
    """Read a code as float32, in the unit that all rows share."""
    return np.uint32((np.uint32(code) << np.uint32(13)) + base).view(np.float32)


@kernel(inline=True)
def _whole_share(sums, code, base, x):  # type: ignore[no-untyped-def]
    """Return three sums with one more row."""
    xy, y, yy = sums
    value = _energy(code, base)
    return xy + x * value, y + value, yy + value * value


@kernel(inline=True)
def _share(sums, code, base, x, limit):  # type: ignore[no-untyped-def]
    """Return six sums with one more row, which counts where it has data."""
    xy, y, yy, n, sx, sxx = sums
    value = _energy(code, base)
    # Less than a variable: compilers turn this into masked additions, but not a comparison with MISSING.
    there = code < limit
    return (
        xy + x * value if there else xy,
        y + value if there else y,
        yy + value * value if there else yy,
        n + np.float32(1) if there else n,
        sx + x if there else sx,
        sxx + x * x if there else sxx,
    )


@kernel(reorder=True)
def _complete_four(c0, c1, c2, c3, bases, weights, out):  # type: ignore[no-untyped-def]
    """Add three sums of four rows; each sum is loaded and stored once for all four."""
    b0, b1, b2, b3 = bases[0], bases[1], bases[2], bases[3]
    x0, x1, x2, x3 = weights[0], weights[1], weights[2], weights[3]
    for v in range(c0.size):
        sums = (out[0, v], out[1, v], out[2, v])
        sums = _whole_share(sums, c0[v], b0, x0)
        sums = _whole_share(sums, c1[v], b1, x1)
        sums = _whole_share(sums, c2[v], b2, x2)
        sums = _whole_share(sums, c3[v], b3, x3)
        out[0, v], out[1, v], out[2, v] = sums


@kernel(reorder=True)
def _joint_four(c0, c1, c2, c3, bases, weights, limits, out):  # type: ignore[no-untyped-def]
    """Add six sums of four rows; each sum is loaded and stored once for all four."""
    b0, b1, b2, b3 = bases[0], bases[1], bases[2], bases[3]
    x0, x1, x2, x3 = weights[0], weights[1], weights[2], weights[3]
    m0, m1, m2, m3 = limits[0], limits[1], limits[2], limits[3]
    for v in range(c0.size):
        sums = (out[0, v], out[1, v], out[2, v], out[3, v], out[4, v], out[5, v])
        sums = _share(sums, c0[v], b0, x0, m0)
        sums = _share(sums, c1[v], b1, x1, m1)
        sums = _share(sums, c2[v], b2, x2, m2)
        sums = _share(sums, c3[v], b3, x3, m3)
        out[0, v], out[1, v], out[2, v], out[3, v], out[4, v], out[5, v] = sums


@kernel
def _profiles(codes, fine, rows, bases, voxels, out):  # type: ignore[no-untyped-def]
    """Write the energies of some voxels of rows."""
    for i in range(rows.size):
        line, rest = codes[rows[i]], fine[rows[i]]
        for k in range(voxels.size):
            out[i, k] = decode_voxel(line, rest, bases[i], np.uint64(voxels[k]))


@kernel
def _pearson(seed, found, r):  # type: ignore[no-untyped-def]
    """Write r between a seed and each profile."""
    for k in range(r.size):
        r[k] = pearson(seed, found[k])[0]


@kernel(reorder=True)
def _domain_sums(codes, fine, rows, bases, wider, local, out):  # type: ignore[no-untyped-def]
    """Write count and sum of every row over both domains, voxel by voxel: few voxels lie side by side."""
    for i in range(rows.size):
        line, rest = codes[rows[i]], fine[rows[i]]
        count = total = inner_count = inner_total = 0.0
        for k in range(wider.size):
            value = np.float64(decode_voxel(line, rest, bases[i], np.uint64(wider[k])))
            there = value == value
            value = value if there else np.float64(0)
            count += 1.0 if there else 0.0
            total += value
            inner_count += 1.0 if there and local[k] else 0.0
            inner_total += value if local[k] else np.float64(0)
        out[0, 0, i], out[0, 1, i] = count, total
        out[1, 0, i], out[1, 1, i] = inner_count, inner_total
