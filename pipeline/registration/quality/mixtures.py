"""Mixtures of specimens: whether a series falls into two parts that differ in stain, or in planes and size.

Sections that lie close together show the same structures. In one series these are stained alike. Where the
sections fall into two parts, each consistent within itself but unlike the other, they belong to two series.
Where the stain is the same, two brains show as a change point of the sections' planes and sizes, see
`change_point`.

Measured on rendered series and a real Nissl brain: the correlation between the parts over that within is
0.94-1.06 in series of one brain, at most 0.5 where the stains differ.

Notes
-----
The similarity of two sections is the Pearson correlation of their mean stain per structure. The sections are
split by normalised cuts of the graph of similarities (Shi & Malik 2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.model import Bool, Float32, Float64
from pipeline.registration.fit.joint import FitProblem, Solution
from pipeline.registration.quality.change_point import split_by_change_point

_LEAST_SECTIONS = 8  # sections needed to separate two stains
_LEAST_PART = 4  # sections in the smaller part
# Sections, and um of z, within which two sections show the same structures.
_MOST_SECTIONS_APART, _MOST_UM_APART = 6, 1500.0
_DECISIVE_SECTIONS_APART = 3  # only pairs this close along the series decide on a split
_LEAST_PIXELS = 8  # of a label in both sections
_LEAST_LABELS = 8  # in common
_LEAST_SHARED = 0.3  # pixels that are shared, over those of the smaller section
_EIGENVECTORS = 3  # eigenvectors that are tried as a split
_LEAST_PAIRS = 4  # pairs across the split, and within either part
_LEAST_EDGE = 1e-6  # weight of every edge of the graph: keeps it connected, so that no degree is 0
# Least median correlation within a part, and the share of it that four fifths of the pairs across stay below.
# In series of one brain the share is 0.94 or more, where stains differ at most 0.5.
_LEAST_WITHIN, _MOST_ACROSS_SHARE, _ACROSS_PERCENTILE = 0.5, 0.6, 80


@dataclass(frozen=True, eq=False)
class StainSample:
    """The pixels of a section inside both annotation and tissue.

    Attributes
    ----------
    labels : (p,) uint16
        Label index of each pixel.
    values : (p,) float32
        Stain at gain 1.
    """

    labels: npt.NDArray[np.uint16]
    values: Float32


def mixed_sections(
    problem: FitProblem, solution: Solution, own: Sequence[int], samples: Sequence[StainSample]
) -> dict[int, str]:
    """Return the smaller part of a series that is a mixture of two.

    Parameters
    ----------
    problem : FitProblem
        What was fitted.
    solution : Solution
        State and stain model of the fit.
    own : sequence of int
        Indices of the sections of one series, in ascending z.
    samples : sequence of StainSample
        Stain and labels of every section of `problem`.

    Returns
    -------
    dict of int to str
        Indices of the smaller part, each with the reason; empty where the series is one, or too short to
        tell.
    """
    if len(own) < _LEAST_SECTIONS:
        return {}
    z_um = solution.state.z_um[list(own)]
    alike = stain_similarity([samples[k] for k in own], z_um, problem.atlas.ids.size)
    # a difference in stain is the clearer sign
    found = split_by_stain(alike) or split_by_change_point(problem, solution, own)
    if found is None:
        return {}
    part, why = found
    smaller = part if 2 * part.sum() <= part.size else ~part
    return {k: why for k, inside in zip(own, smaller, strict=True) if inside}


def stain_similarity(samples: Sequence[StainSample], z_um: Float64, labels: int) -> Float64:
    """Return the correlation of stain between nearby sections, over the labels that both show.

    Parameters
    ----------
    samples : sequence of StainSample
        Stain and labels of n sections, in ascending z.
    z_um : (n,) float64, um
        Position of each.
    labels : int
        Number of labels of the atlas.

    Returns
    -------
    (n, n) float64
        Pearson correlation of mean stain per label, labels weighted by the pixels they share; NaN where two
        sections are far apart or share too little.
    """
    count = len(samples)
    pixels = np.array([np.bincount(one.labels, minlength=labels) for one in samples], np.float64)
    sums = np.array([np.bincount(one.labels, one.values, labels) for one in samples])
    means = sums / np.maximum(pixels, 1.0)
    found = np.full((count, count), np.nan)
    for j in range(count):
        for k in range(j + 1, min(count, j + 1 + _MOST_SECTIONS_APART)):
            if abs(z_um[k] - z_um[j]) <= _MOST_UM_APART:
                shared = np.minimum(pixels[j], pixels[k])  # pixels of each label in both
                if shared.sum() >= _LEAST_SHARED * min(pixels[j].sum(), pixels[k].sum()):
                    found[j, k] = found[k, j] = _correlation(means[j], means[k], shared)
    return found


def _correlation(a: Float64, b: Float64, shared: Float64) -> float:
    """Return the weighted Pearson correlation over labels that both sections show; NaN for too few labels."""
    both = shared >= _LEAST_PIXELS
    if both.sum() < _LEAST_LABELS:
        return float("nan")
    weight = shared[both] / shared[both].sum()  # large structures count more
    a, b = a[both] - weight @ a[both], b[both] - weight @ b[both]
    size = float(np.sqrt((weight @ (a * a)) * (weight @ (b * b))))
    return float(weight @ (a * b)) / size if size > 0.0 else float("nan")


def split_by_stain(alike: Float64) -> tuple[Bool, str] | None:
    """Return a split of the sections into two parts of different stain.

    Parameters
    ----------
    alike : (n, n) float64
        Correlations of `stain_similarity`.

    Returns
    -------
    part : (n,) bool
        One of the two parts; None in place of the pair where the series is one.
    reason : str
        The correlations across and within, for the reader.
    """
    index = np.arange(len(alike))
    near = np.isfinite(alike) & (
        np.abs(index[:, None] - index) <= _DECISIVE_SECTIONS_APART
    )  # farther pairs differ by anatomy
    for part in _spectral_splits(alike):
        across = alike[near & (part[:, None] & ~part)]
        within = [alike[near & side[:, None] & side] for side in (part, ~part)]
        pairs = min(len(r) for r in (across, *within))
        if min(part.sum(), (~part).sum()) < _LEAST_PART or pairs < _LEAST_PAIRS:
            continue
        first, second = (float(np.median(r)) for r in within)
        # each part must be consistent in itself, else noise alone would split a faint series
        if min(first, second) >= _LEAST_WITHIN and np.percentile(
            across, _ACROSS_PERCENTILE
        ) <= _MOST_ACROSS_SHARE * min(first, second):
            r = f"r {np.median(across):.2f} between the two groups, {first:.2f} and {second:.2f} within"
            return part, f"its stain differs from that of the others: {r}"
    return None


def _spectral_splits(alike: Float64) -> list[Bool]:
    """Split the graph of sections where similarity is low, by signs of eigenvectors; each (n,) bool."""
    weight = np.nan_to_num(np.maximum(alike, 0.0)) ** 2 + _LEAST_EDGE
    np.fill_diagonal(weight, 0.0)
    scale = 1.0 / np.sqrt(weight.sum(axis=1))  # normalises by the degrees of the nodes
    _, vectors = np.linalg.eigh(scale[:, None] * weight * scale)
    # the last vector is constant in sign
    return [np.asarray(vectors[:, -k] > 0.0) for k in range(2, 2 + _EIGENVECTORS)]
