"""Correlation of a seed with the rows of a voxel set: estimated from codes, then by full values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.model import Bool, Float32, Float64, Int64
from pipeline.search.build import parallel
from pipeline.search.kernels.codes import decode_outside
from pipeline.search.kernels.correlation import Estimate, Probe, estimate, rerank, scan
from pipeline.search.kernels.sums import Block, Scales, SetSums
from pipeline.search.seeds import CheckedRows


def estimate_all(
    blocks: Sequence[Block], sums: SetSums, scales: Scales, probe: Probe, known: Float64 | None
) -> Estimate:
    """Estimate r of every experiment of a voxel set from its codes.

    Parameters
    ----------
    blocks : sequence of Block
        Rows of the index.
    sums : SetSums
        The voxel set, of n experiments.
    scales : Scales
        Scales of its experiments.
    probe : Probe
        The seed.
    known : (3, n) float64 or None
        Count, sum and sum of squares of every experiment over the voxels of the probe, where they are known.

    Returns
    -------
    Estimate
        r of each, with its bound.
    """
    out = np.empty((len(sums.slots), 7))

    def one(block: Block) -> None:
        rows, at = block.rows(sums.slots)
        out[at] = scan(block, rows, scales.take(at), probe, None if known is None else known[:, at])

    parallel(one, blocks)
    return estimate(out)


def full_values(
    blocks: Sequence[Block], sums: SetSums, scales: Scales, kept: CheckedRows, probe: Probe, picks: Int64
) -> tuple[Float64, Float64, Bool]:
    """Correlate candidates anew by their full values.

    Parameters
    ----------
    blocks : sequence of Block
        Rows of the index.
    sums : SetSums
        The voxel set.
    scales : Scales
        Scales of its experiments.
    kept : CheckedRows
        Rows of the index, each verified when it is read.
    probe : Probe
        The seed.
    picks : (k,) int64
        Candidates, as places in the voxel set.

    Returns
    -------
    (k,) float64, (k,) float64, (k,) bool
        r, the number of shared voxels, and where codes of 8 bits stood for voxels outside the brain.

    Raises
    ------
    DataError
        Where the row of a candidate is damaged.
    """
    out = np.empty((2, len(picks)))
    rough = np.zeros(len(picks), np.bool_)

    def outside(slot: int, at: int) -> Float32:
        if not probe.outside.size:
            return np.empty(0, np.float32)
        own = kept.own_outside(slot)
        rough[at] = own is None
        return decode_outside(kept.of_slot(slot)) if own is None else own

    def one(block: Block) -> None:
        rows, here = block.rows(sums.slots[picks])
        if len(rows):
            slots = sums.slots[picks[here]].tolist()
            for slot in slots:
                kept.of_slot(slot)
            beyond = np.stack([outside(slot, here.start + i) for i, slot in enumerate(slots)])
            out[:, here] = rerank(block, rows, scales.take(picks[here]), probe, beyond)

    parallel(one, blocks)
    return out[0], out[1], rough
