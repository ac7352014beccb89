"""Correlation search: Pearson's r between a seed and every experiment, over the voxels with data in both.

Every experiment is first scanned by its codes, which gives r within a proven bound: codes lie within a known
distance of their energies, and the triangle inequality says by how much that distance can change r. All
experiments that may belong to the best are then re-ranked from full values in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.kernels import kernel
from pipeline.core.model import Bool, Float32, Float64, Int64
from pipeline.search.kernels.codes import (
    CODE_ERROR,
    MISSING,
    MISSING_OUTSIDE,
    SMALLEST_CODE,
    UInt16,
    coarse,
    decode,
    unit,
)
from pipeline.search.kernels.order import block_runs
from pipeline.search.kernels.sums import Block, Scales

_STRETCH = 4096  # voxels summed in float32 before float64 takes over
_SUM_ERROR = 2.0**-14  # of such a sum: at least 4 lanes, so at most 1024 roundings of 2^-24
_XY, _Y, _YY, _N, _X, _XX = range(6)  # columns of sums: x is the probe's weight, y the row's value


@dataclass(frozen=True, eq=False)
class Probe:
    """The seed of a correlation search, on the voxels of the domain.

    Attributes
    ----------
    values : (padded,) float64
        Energies of the brain voxels; NaN outside the domain and where data is missing.
    weights : (padded,) float32
        Energies, centred and scaled to a sum of squares of 1 over all valid voxels; 0 where not valid.
    valid : (padded,) float32
        1 where the voxel has data and lies in the domain, else 0.
    runs : (runs, 2) int64
        Start and stop of the blocks that hold a valid voxel, cut into stretches of `_STRETCH` voxels at most.
    outside : (outside,) float64
        Energies outside the brain; empty where these voxels take no part.
    outside_weights : (outside,) float32
        As `weights`, outside the brain.
    outside_valid : (outside,) float32
        As `valid`, outside the brain.
    """

    values: Float64
    weights: Float32
    valid: Float32
    runs: Int64
    outside: Float64
    outside_weights: Float32
    outside_valid: Float32

    @classmethod
    def of(cls, brain: Float32, member: Bool, outside: Float32) -> Probe:
        """Prepare a seed grid for a search.

        Parameters
        ----------
        brain : (padded,) float32
            Energies of the brain voxels; NaN = no data.
        member : (padded,) bool
            The domain.
        outside : (outside,) float32
            Energies outside the brain; empty where these voxels take no part.

        Returns
        -------
        Probe
            The seed, centred and scaled.

        Raises
        ------
        DataError
            Where the seed is constant, or has fewer than two voxels with data, within the domain.
        """
        values = np.where(member, brain.astype(np.float64), np.nan)
        outer = outside.astype(np.float64)
        known = np.concatenate([values[~np.isnan(values)], outer[~np.isnan(outer)]])
        if known.size < 2 or known.max() == known.min():
            level = f"{known.max():g} everywhere" if known.size > 1 else f"data in {known.size} voxels"
            raise DataError(f"correlation: expected a seed that varies within the domain, got {level}")
        # Pearson's r does not depend on mean and scale; sums of centred weights lose less in float32.
        mean = known.mean()
        spread = math.sqrt(np.square(known - mean).sum())
        parts = [(np.nan_to_num((v - mean) / spread), ~np.isnan(v)) for v in (values, outer)]
        (weights, valid), (outer_weights, outer_valid) = (
            (w.astype(np.float32), there.astype(np.float32)) for w, there in parts
        )
        runs = _stretches(block_runs(~np.isnan(values)))
        return cls(values, weights, valid, runs, outer, outer_weights, outer_valid)

    @cached_property
    def voxels(self) -> int:
        """Number of voxels of the domain with data in the seed."""
        return int(self.valid.sum(dtype=np.float64) + self.outside_valid.sum(dtype=np.float64))

    @cached_property
    def moments(self) -> tuple[float, float]:
        """Sum and sum of squares of the weights inside the brain: near 0 and 1 where `outside` is empty."""
        weights = self.weights.astype(np.float64)
        return float(weights.sum()), float(np.square(weights).sum())


@dataclass(frozen=True, eq=False)
class Estimate:
    """Pearson's r as computed from the codes; the true r lies within `bound` of it.

    Attributes
    ----------
    r : (n,) float64
        Estimated r; NaN where fewer than two voxels have data in both; 0 where the codes are too coarse.
    bound : (n,) float64
        Largest error of `r`; infinite where the codes are too coarse.
    """

    r: Float64
    bound: Float64


def scan(block: Block, rows: Int64, scales: Scales, probe: Probe, known: Float64 | None = None) -> Float64:
    """Compute the sums behind Pearson's r for rows of a block, from their codes.

    Parameters
    ----------
    block : Block
        Memory-mapped rows.
    rows : (n,) int64
        Rows of the block to scan.
    scales : Scales
        Scales of these rows.
    probe : Probe
        The seed.
    known : (3, n) float64, optional
        Count, sum and sum of squares of each row over the domain. It may be given only where the probe has
        data in the whole domain: rows that have so too then need a single product.

    Returns
    -------
    (n, 7) float64
        Sums over the voxels with data in both, in units of the row: x y, y, y^2, 1, x, x^2, and the squared
        norm of the coding errors of y.
    """
    found = np.empty((len(rows), 7))
    sums, error = found[:, :6], found[:, 6]
    one = unit(scales.exponent)
    complete = np.zeros(len(rows), np.bool_)
    # A row with data wherever the probe has data needs only the product; its other sums are stored.
    if known is not None and not probe.outside.size:
        complete = known[0] == probe.voxels
        sums[complete] = _complete_sums(block, rows[complete], probe, known[:, complete], one[complete])
    joint = rows[~complete]
    sums[~complete] = _in_groups(_scan_joint, 2, block.codes, joint, probe.runs, (probe.weights, probe.valid))
    # Squared norm of the coding errors: relative for every code, absolute for the smallest.
    error[:] = CODE_ERROR**2 * sums[:, _YY] + SMALLEST_CODE**2 * sums[:, _N]
    if probe.outside.size:
        outer = np.zeros((len(rows), 6))
        _scan_outside(block.outside, rows, probe.outside_weights, probe.outside_valid, outer)
        scale = scales.outside_scale / one  # from squared steps to units of the row
        sums += outer * np.stack([scale, scale, scale**2, *np.ones((3, len(rows)))], axis=1)
        error += (scales.outside_error / one) ** 2
    return found


def _complete_sums(block: Block, rows: Int64, probe: Probe, known: Float64, one: Float64) -> Float64:
    """Return the six sums of rows with data in the whole domain: only x y is scanned."""
    sums = np.empty((len(rows), 6))
    products = _in_groups(_scan_products, 4, block.codes, rows, probe.runs, (probe.weights,))
    sums[:, _XY] = products[:, 0]
    sums[:, _N], sums[:, _Y], sums[:, _YY] = known[0], known[1] / one, known[2] / one**2
    sums[:, _X], sums[:, _XX] = probe.moments
    return sums


def _in_groups(
    kernel: Callable[..., None],
    size: int,
    codes: UInt16,
    rows: Int64,
    runs: Int64,
    probe: tuple[Float32, ...],
) -> Float64:
    """Run a kernel that takes rows in groups of `size`; the last row is repeated to fill the last group."""
    if not len(rows):
        return np.empty((0, 6))
    # Groups share each load of the probe; -n % size is what the last group lacks.
    filled = np.append(rows, np.repeat(rows[-1], -len(rows) % size))
    out = np.zeros((len(filled), 6))
    kernel(codes, filled, runs, *probe, out)
    return out[: len(rows)]


def estimate(scanned: Float64) -> Estimate:
    """Estimate Pearson's r, with a bound on its error, from scanned sums.

    Parameters
    ----------
    scanned : (n, 7) float64
        Sums as `scan` returns them.

    Returns
    -------
    Estimate
        r and its bound for every row.

    Notes
    -----
    Let d be the norm of the coding errors of y, and s the spread of y as coded (the root of its centred sum
    of squares). Then r is within 2 d / s: d / s from the product and d / s from the spread. Sums in float32
    add an error of their own, which grows as spreads become small against norms.
    """
    xy, y, yy, n, x, xx, error = scanned.T
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_xy, spread_xx, spread_yy = xy - x * y / n, xx - x**2 / n, yy - y**2 / n
        # Ratio of norm to spread: rounding of the sums is amplified by it in the differences above.
        steep = np.sqrt(xx / spread_xx) + np.sqrt(yy / spread_yy)
        # A spread rests on three sums in float32. With a and b the ratios above, the error is
        # 3 e (a b + a^2 / 2 + b^2 / 2) = 1.5 e (a + b)^2, e being the error of one sum.
        rounding = 1.5 * _SUM_ERROR * steep**2
        r = spread_xy / np.sqrt(spread_xx * spread_yy)
        # 1.01: margin for second-order terms and for rounding of the bound itself.
        bound = 1.01 * (2.0 * np.sqrt(error / spread_yy) + rounding)
    # Beyond 0.05 the first-order bound does not hold any more: such a row is always re-ranked.
    bounded = (spread_xx > 0) & (spread_yy > 0) & (rounding < 0.05)
    enough = n >= 2
    return Estimate(
        np.where(bounded & enough, r, np.where(enough, 0.0, np.nan)), np.where(bounded, bound, np.inf)
    )


def candidates(drawn: Estimate, top: int) -> Int64:
    """Return the experiments that may be among the best, wherever r lies within its bounds.

    Parameters
    ----------
    drawn : Estimate
        r and bounds of all experiments.
    top : int
        How many experiments are wanted.

    Returns
    -------
    (m,) int64
        Ascending indices of the candidates; m may exceed `top`.
    """
    defined = np.flatnonzero(~np.isnan(drawn.r))
    if len(defined) <= top:
        return defined
    low, high = (drawn.r + sign * drawn.bound for sign in (-1, 1))
    # The top-th largest lower bound: an upper bound below it cannot belong to the best.
    bar = np.partition(low[defined], len(defined) - top)[len(defined) - top]
    return np.asarray(defined[high[defined] >= bar])


def rerank(block: Block, rows: Int64, scales: Scales, probe: Probe, outside: Float32) -> Float64:
    """Compute Pearson's r from full values, in float64, for the candidates of a block.

    Parameters
    ----------
    block : Block
        Memory-mapped rows.
    rows : (n,) int64
        Rows of the block.
    scales : Scales
        Scales of these rows.
    probe : Probe
        The seed.
    outside : (n, outside) float32
        Energies outside the brain, NaN = no data; (n, 0) where these voxels take no part.

    Returns
    -------
    (2, n) float64
        r, NaN where fewer than two voxels have data in both or either is constant there; and the number of
        voxels with data in both.
    """
    out = np.empty((len(rows), 2))
    bases = (scales.exponent << 22).astype(np.uint32)
    _rerank(block.codes, block.fine, rows, bases, probe.runs, probe.values, probe.outside, outside, out)
    return out.T


def _stretches(runs: Int64) -> Int64:
    """Cut runs into stretches that are short enough for sums in float32."""
    cut = [
        (start, min(start + _STRETCH, int(stop)))
        for first, stop in runs
        for start in range(int(first), int(stop), _STRETCH)
    ]
    return np.array(cut, np.int64).reshape(-1, 2)


@kernel
def _scan_products(codes, rows, runs, weights, out):  # type: ignore[no-untyped-def]
    """Add the sums of x y of rows, four at a time, to the first column of `out`."""
    for i in range(0, rows.size, 4):
        for run in range(runs.shape[0]):
            a, b = runs[run]
            r0, r1, r2, r3 = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
            s = _products(codes[r0, a:b], codes[r1, a:b], codes[r2, a:b], codes[r3, a:b], weights[a:b])
            for k in range(4):
                out[i + k, 0] += s[k]


@kernel(reorder=True)
def _products(c0, c1, c2, c3, weights):  # type: ignore[no-untyped-def]
    """Return the sums of x y of four rows; each weight is loaded once for all four."""
    s0 = s1 = s2 = s3 = np.float32(0)
    for v in range(c0.size):
        x = weights[v]
        s0 += x * coarse(c0[v])
        s1 += x * coarse(c1[v])
        s2 += x * coarse(c2[v])
        s3 += x * coarse(c3[v])
    return s0, s1, s2, s3


@kernel
def _scan_joint(codes, rows, runs, weights, valid, out):  # type: ignore[no-untyped-def]
    """Add the six sums of rows, two at a time, to `out`."""
    for i in range(0, rows.size, 2):
        for run in range(runs.shape[0]):
            a, b = runs[run]
            _joint(codes[rows[i], a:b], codes[rows[i + 1], a:b], weights[a:b], valid[a:b], out[i : i + 2])


@kernel(inline=True)
def _share(sums, value, there, weight, valid):  # type: ignore[no-untyped-def]
    """Return six sums with one more voxel, which counts where the row and the probe both have data."""
    xy, y, yy, n, x, xx = sums
    weight = weight if there else np.float32(0)
    one = valid if there else np.float32(0)
    part = one * value
    return xy + weight * value, y + part, yy + part * value, n + one, x + weight, xx + weight * weight


@kernel(reorder=True)
def _joint(c, d, weights, valid, out):  # type: ignore[no-untyped-def]
    """Add the six sums of two rows to `out`; the probe is loaded once for both."""
    zero = np.float32(0)
    first = second = (zero, zero, zero, zero, zero, zero)
    for v in range(c.size):
        first = _share(first, coarse(c[v]), c[v] != MISSING, weights[v], valid[v])
        second = _share(second, coarse(d[v]), d[v] != MISSING, weights[v], valid[v])
    for k in range(6):
        out[0, k] += first[k]
        out[1, k] += second[k]


@kernel
def _scan_outside(steps, rows, weights, valid, out):  # type: ignore[no-untyped-def]
    """Add the six sums of rows outside the brain, in squared steps, to `out`."""
    for i in range(rows.size):
        for a in range(0, weights.size, _STRETCH):
            b = min(a + _STRETCH, weights.size)
            _joint_steps(steps[rows[i], a:b], weights[a:b], valid[a:b], out[i])


@kernel(reorder=True)
def _joint_steps(steps, weights, valid, out):  # type: ignore[no-untyped-def]
    """Add the six sums of one row outside the brain to `out`."""
    zero = np.float32(0)
    sums = (zero, zero, zero, zero, zero, zero)
    for v in range(steps.size):
        step = np.float32(steps[v])
        sums = _share(sums, step * step, steps[v] != MISSING_OUTSIDE, weights[v], valid[v])
    for k in range(6):
        out[k] += sums[k]


@kernel
def _rerank(codes, fine, rows, bases, runs, probe, probe_outside, outside, out):  # type: ignore[no-untyped-def]
    """Write r and the number of shared voxels of every row, from decoded values."""
    length = 0
    for run in range(runs.shape[0]):
        length += runs[run, 1] - runs[run, 0]
    x = np.empty(length + probe_outside.size)
    y = np.empty(length + probe_outside.size, np.float32)
    x[length:] = probe_outside
    for i in range(rows.size):
        at = 0
        for run in range(runs.shape[0]):
            start, stop = runs[run]
            decode(codes[rows[i]], fine[rows[i]], bases[i], start, stop, y[at : at + stop - start])
            x[at : at + stop - start] = probe[start:stop]
            at += stop - start
        y[length:] = outside[i]
        out[i, 0], out[i, 1] = pearson(x, y)


@kernel(reorder=True)
def pearson(x, y):  # type: ignore[no-untyped-def]
    """Return Pearson's r over the places where neither is NaN, and the number of these places.

    Parameters
    ----------
    x : (n,) float64
        Values of the seed.
    y : (n,) float32
        Values of an experiment.

    Returns
    -------
    r : float
        Within [-1, 1]; NaN where fewer than two places are shared or either is constant over them.
    n : float
        Number of shared places.

    Notes
    -----
    Pearson's product-moment correlation in two passes, means first. Equal values of float32 add up without
    rounding in float64, so that the spread of a constant is exactly 0.
    """
    n = sx = sy = 0.0
    for v in range(x.size):
        a, b = x[v], np.float64(y[v])
        there = (a == a) & (b == b)
        weight = 1.0 if there else 0.0
        a = a if there else np.float64(0)
        b = b if there else np.float64(0)
        n += weight
        sx += a * weight  # the product keeps this loop in vector registers
        sy += b * weight
    # The second pass sums products of deviations, which does not cancel as sums of raw products do.
    mx, my = sx / max(n, 1.0), sy / max(n, 1.0)
    xy = xx = yy = 0.0
    for v in range(x.size):
        a, b = x[v], np.float64(y[v])
        there = (a == a) & (b == b)
        p = a - mx if there else 0.0
        q = b - my if there else 0.0
        xy += p * q
        xx += p * p
        yy += q * q
    defined = (n >= 2.0) & (xx > 0.0) & (yy > 0.0)
    return (min(max(xy / np.sqrt(xx * yy), -1.0), 1.0) if defined else np.nan), n
