"""Whether a series is of one brain: two parts of it that differ by their stain, or by their size.

Sections that lie close together show the same structures. In one series these are stained alike; where the
sections fall into two parts that are each alike and unlike one another, they are of two series. And one
brain stretches a section much as it does the next: where the strains of the sections jump once, far beyond
their scatter, their trend and every other jump, two brains meet.

Measured on rendered series and a real Nissl brain: likeness between the parts over likeness within is
0.94-1.06 in series of one brain, at most 0.5 where the stains differ; the jump is up to 5.7 times its
uncertainty (Nissl: 7.5, but others reach 7.1) in one brain, 5 to 29 times with a brain of another size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.model import Bool, Float32, Float64
from pipeline.registration.joint import Task
from pipeline.registration.scene import State
from pipeline.registration.smoothness import strain_of
from pipeline.registration.solver import LENGTH_UM

_FEWEST, _FEWEST_STRAINS = 8, 14  # sections whose stains, whose strains can be told apart
_LEAST_PART = 4
_REACH, _REACH_UM = 6, 1500.0  # sections so near one another show the same structures
_NEAR = 3  # what is said of two parts is said by pairs no further apart
_LEAST_PIXELS, _LEAST_LABELS, _LEAST_SHARED = 8, 8, 0.3  # of a label; labels; of the smaller section
_CUTS = 3  # ways to cut that are looked at
_LEAST_PAIRS = 4
# Least likeness within a part; and as a share of it, what four fifths of the pairs between two do not exceed.
_ALIKE, _UNLIKE = 0.5, 0.6
_WINDOW = 10
_JUMP, _JUMP_UM, _ABOVE_NEXT = 8.0, 80.0, 1.5
_SCATTER_FLOOR_UM = 3.0
_ROUNDS = 8


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


def parted(task: Task, state: State, own: Sequence[int], looks: Sequence[Look]) -> dict[int, str]:
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
    z_um = state.z_um[list(own)]
    alike = alikeness([looks[k] for k in own], z_um, task.atlas.ids.size)
    strains = np.array([strain_of(state.sections[k], task.nominal[k]) for k in own]) * LENGTH_UM
    found = parts_by_stain(alike) or parts_by_strain(z_um, strains)
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


def parts_by_strain(z_um: Float64, strains: Float64) -> tuple[Bool, str] | None:
    """Return the part behind the one jump of the sections' strains, (n,) bool; None where there is none.

    Parameters
    ----------
    z_um : (n,) float64, um
    strains : (n, 3) float64, um        change of length over 3 mm: along x, along y, by shear
    """
    count = len(z_um)
    if count < _FEWEST_STRAINS:
        return None
    cuts = range(_LEAST_PART, count - _LEAST_PART + 1)
    jumps = np.array([_jump(z_um, strains, cut) for cut in cuts])
    best = int(jumps[:, 1].argmax())
    elsewhere = np.abs(np.arange(len(jumps)) - best) > _WINDOW // 2
    following = float(jumps[elsewhere, 1].max()) if elsewhere.any() else 0.0
    size_um, sure = jumps[best]
    if size_um < _JUMP_UM or sure < max(_JUMP, _ABOVE_NEXT * following):
        return None
    part = np.arange(count) >= cuts[best]
    return part, f"it is stretched otherwise than the others: its size jumps by {size_um / LENGTH_UM:.1%}"


def _jump(z_um: Float64, strains: Float64, cut: int) -> tuple[float, float]:
    """Return the largest jump at a cut, um over 3 mm, and how many times its uncertainty all three are."""
    near = slice(max(0, cut - _WINDOW), min(len(z_um), cut + _WINDOW))
    behind = (np.arange(len(z_um))[near] >= cut).astype(np.float64)
    middle = 0.5 * (z_um[cut - 1] + z_um[cut])
    terms = np.column_stack([np.ones(behind.size), behind, (z_um[near] - middle) / LENGTH_UM])
    sizes, squares = [], []
    for values in strains[near].T:
        size, spread = _robust_step(terms, values)
        sizes.append(abs(size))
        squares.append((size / spread) ** 2)
    return max(sizes), float(np.sqrt(sum(squares)))


def _robust_step(terms: Float64, values: Float64) -> tuple[float, float]:
    """Return the coefficient of the second term of a robust linear fit, and its standard deviation."""
    weight = np.ones(len(values))
    for _ in range(_ROUNDS):
        fit = np.linalg.lstsq(terms * weight[:, None], values * weight, rcond=None)[0]
        left = values - terms @ fit
        scatter = 1.4826 * float(np.median(np.abs(left))) + _SCATTER_FLOOR_UM
        weight = 1.0 / np.sqrt(1.0 + (left / (2.0 * scatter)) ** 2)
    spread = scatter * float(np.sqrt(np.linalg.inv(terms.T @ (terms * weight[:, None] ** 2))[1, 1]))
    return float(fit[1]), spread
