"""Whether a series is of one brain: two parts of it that differ by their stain, or by their planes and size.

Sections that lie close together show the same structures. In one series these are stained alike; where the
sections fall into two parts that are each alike and unlike one another, they are of two series. And where
the stain is the same, two brains meet in one jump of the sections' planes and sizes, see `jumps`.

Measured on rendered series and a real Nissl brain: likeness between the parts over likeness within is
0.94-1.06 in series of one brain, at most 0.5 where the stains differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.model import Bool, Float32, Float64
from pipeline.registration.fit.joint import Solution, Task
from pipeline.registration.quality.change_point import parts_by_jump

_FEWEST = 8  # sections whose stains can be told apart
_LEAST_PART = 4
_REACH, _REACH_UM = 6, 1500.0  # sections so near one another show the same structures
_NEAR = 3  # what is said of two parts is said by pairs no further apart
_LEAST_PIXELS, _LEAST_LABELS, _LEAST_SHARED = 8, 8, 0.3  # of a label; labels; of the smaller section
_CUTS = 3  # ways to cut that are looked at
_LEAST_PAIRS = 4
# Least likeness within a part; and as a share of it, what four fifths of the pairs between two do not exceed.
_ALIKE, _UNLIKE = 0.5, 0.6


@dataclass(frozen=True, eq=False)
class Look:
    """The pixels of a section inside the annotation and its tissue.

    Parameters
    ----------
    labels : (p,) uint16
    values : (p,) float32       stain at gain 1
    """

    labels: npt.NDArray[np.uint16]
    values: Float32


def parted(task: Task, solution: Solution, own: Sequence[int], looks: Sequence[Look]) -> dict[int, str]:
    """Return the places of the smaller of two parts of a series, with the reason in words.

    Parameters
    ----------
    own : places of the sections of a series, in order of z
    looks : what is seen of every section of `task`

    Returns
    -------
    empty where the series is one, or too short to tell
    """
    if len(own) < _FEWEST:
        return {}
    z_um = solution.state.z_um[list(own)]
    alike = alikeness([looks[k] for k in own], z_um, task.atlas.ids.size)
    found = parts_by_stain(alike) or parts_by_jump(task, solution, own)
    if found is None:
        return {}
    part, why = found
    smaller = part if 2 * part.sum() <= part.size else ~part
    return {k: why for k, inside in zip(own, smaller, strict=True) if inside}


def alikeness(looks: Sequence[Look], z_um: Float64, labels: int) -> Float64:
    """Return how the stain of near sections goes together over the labels that both show.

    Returns
    -------
    (n, n) float64      correlation, labels weighted by the pixels they share; nan where too little is shared
    """
    count = len(looks)
    pixels = np.array([np.bincount(one.labels, minlength=labels) for one in looks], np.float64)
    sums = np.array([np.bincount(one.labels, one.values, labels) for one in looks])
    means = sums / np.maximum(pixels, 1.0)
    found = np.full((count, count), np.nan)
    for j in range(count):
        for k in range(j + 1, min(count, j + 1 + _REACH)):
            if abs(z_um[k] - z_um[j]) <= _REACH_UM:
                shared = np.minimum(pixels[j], pixels[k])
                if shared.sum() >= _LEAST_SHARED * min(pixels[j].sum(), pixels[k].sum()):
                    found[j, k] = found[k, j] = _correlation(means[j], means[k], shared)
    return found


def _correlation(a: Float64, b: Float64, shared: Float64) -> float:
    both = shared >= _LEAST_PIXELS
    if both.sum() < _LEAST_LABELS:
        return float("nan")
    weight = shared[both] / shared[both].sum()
    a, b = a[both] - weight @ a[both], b[both] - weight @ b[both]
    size = float(np.sqrt((weight @ (a * a)) * (weight @ (b * b))))
    return float(weight @ (a * b)) / size if size > 0.0 else float("nan")


def parts_by_stain(alike: Float64) -> tuple[Bool, str] | None:
    """Return one of two parts, (n,) bool, each of one stain, but not of the same; or None."""
    index = np.arange(len(alike))
    near = np.isfinite(alike) & (np.abs(index[:, None] - index) <= _NEAR)
    for part in _halves(alike):
        across = alike[near & (part[:, None] & ~part)]
        within = [alike[near & side[:, None] & side] for side in (part, ~part)]
        pairs = min(len(r) for r in (across, *within))
        if min(part.sum(), (~part).sum()) < _LEAST_PART or pairs < _LEAST_PAIRS:
            continue
        first, second = (float(np.median(r)) for r in within)
        if min(first, second) >= _ALIKE and np.percentile(across, 80) <= _UNLIKE * min(first, second):
            words = f"r {np.median(across):.2f} between the two parts, {first:.2f} and {second:.2f} within"
            return part, f"its stain is not that of the others: {words}"
    return None


def _halves(alike: Float64) -> list[Bool]:
    """Cut the graph of the sections where likeness is little, by its first vectors; each (n,) bool."""
    weight = np.nan_to_num(np.maximum(alike, 0.0)) ** 2 + 1e-6
    np.fill_diagonal(weight, 0.0)
    scale = 1.0 / np.sqrt(weight.sum(axis=1))
    _, vectors = np.linalg.eigh(scale[:, None] * weight * scale)
    return [np.asarray(vectors[:, -k] > 0.0) for k in range(2, 2 + _CUTS)]
