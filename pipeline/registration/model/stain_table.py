"""The stain table: how strongly each label is stained in this series, and each section's gain.

The template's contrast says nothing about a gene. The series itself does: the mean stain of every label
over all sections, painted back into the annotation, is the second reference image. Labels seen in few
pixels borrow from the structure above them. Each series of a specimen has table, gains and noise of its
own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from pipeline.core.model import Float32, Float64, Int64
from pipeline.registration.model.painted_atlas import Atlas, label_plane
from pipeline.registration.model.state import LevelImage, State
from pipeline.system.threads import each

_BORROW_MM2 = 0.15
_ROUNDS = 3
_SCALE = 3.0
_GAIN_PRIOR = 0.05
_GAIN_RANGE = 2.5


@dataclass(frozen=True, eq=False)
class StainModel:
    """What the stain of every series is thought to be.

    Parameters
    ----------
    tables : (s, labels) float32    stain of each label, the section of median gain of its series being 1
    gains : (n,) float64            strength of each section
    noises : (s,) float64           robust standard deviation of image - gain x table, at gain 1
    series : (n,) int64             whose table a section has
    """

    tables: Float32
    gains: Float64
    noises: Float64
    series: Int64

    def table(self, k: int) -> Float32:
        """Return the table of section `k`, (labels,)."""
        return np.asarray(self.tables[self.series[k]])

    @property
    def noise(self) -> float:
        """The noise to which all series are scaled where they are fitted together."""
        return float(np.median(self.noises))

    @property
    def units(self) -> Float64:
        """What each series is divided by so that all have the same noise, (s,)."""
        return self.noises / self.noise


@numba.njit(cache=True, nogil=True)
def label_sums(labels, values, weights, gain, table, scale):  # type: ignore[no-untyped-def]
    """Return per label the robust sums of weight x value / gain and of weight, (labels, 2).

    Parameters
    ----------
    labels : (h, w) uint16
    values, weights : (h, w) float32
    table : (labels,) float32       present guess, against which residuals are weighed
    scale : float                   residual at which a weight is down to a quarter
    """
    sums = np.zeros((table.size, 2))
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            weight = weights[y, x]
            if weight <= 0.0:
                continue
            label = labels[y, x]
            value = values[y, x] / gain
            weight /= (1.0 + ((value - table[label]) / scale) ** 2) ** 2
            sums[label, 0] += weight * value
            sums[label, 1] += weight
    return sums


@numba.njit(cache=True, nogil=True)
def gain_sums(labels, values, weights, gain, table, scale):  # type: ignore[no-untyped-def]
    """Return the robust sums of weight x value x table and of weight x table^2; see `label_sums`."""
    top, bottom = 0.0, 0.0
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            weight = weights[y, x]
            t = table[labels[y, x]]
            if weight <= 0.0 or t == 0.0:
                continue
            weight /= (1.0 + ((values[y, x] / gain - t) / scale) ** 2) ** 2
            top += weight * values[y, x] * t
            bottom += weight * t * t
    return top, bottom


def first_gains(images: Sequence[LevelImage]) -> Float64:
    """Return a strength for every section from its own stained pixels, (n,), median 1."""
    strengths = np.array([_strength(image) for image in images])
    usable = strengths > 0
    middle = float(np.median(strengths[usable])) if usable.any() else 1.0
    return np.where(usable, np.maximum(strengths, 1e-3 * middle) / middle, 1.0)


def _strength(image: LevelImage) -> float:
    known = image.values[image.weights > 0]
    stained = known[known > 0.25 * np.percentile(known, 98)] if known.size else known
    return float(np.median(stained)) if stained.size else 0.0


def fit_stain(
    atlas: Atlas, state: State, images: Sequence[LevelImage], model: StainModel | None, threads: int
) -> StainModel:
    """Estimate the table and the gains under the present alignment, in a few alternations."""
    return fit_stain_on(atlas, images, plane_labels(atlas, state, images, threads), model, threads)


def fit_stain_on(
    atlas: Atlas,
    images: Sequence[LevelImage],
    labels: Sequence[npt.NDArray[np.uint16]],
    model: StainModel | None,
    threads: int,
) -> StainModel:
    """Estimate the tables and the gains where the label of every pixel is known; see `fit_stain`."""
    series = np.array([image.series for image in images])
    count = int(series.max()) + 1
    tables, noises = np.zeros((count, atlas.ids.size), np.float32), np.ones(count)
    gains = np.ones(len(images))
    for s in np.unique(series):
        own = [int(k) for k in np.flatnonzero(series == s)]
        seen = _Seen(atlas, [images[k] for k in own], [labels[k] for k in own], threads)
        start = None if model is None else (model.gains[own], model.tables[s], float(model.noises[s]))
        gains[own], tables[s], noises[s] = seen.fitted(start)
    return StainModel(tables, gains, noises, series)


def plane_labels(
    atlas: Atlas, state: State, images: Sequence[LevelImage], threads: int
) -> list[npt.NDArray[np.uint16]]:
    """Return the label index at every pixel of every section, n x (h, w)."""

    def one(k: int) -> npt.NDArray[np.uint16]:
        matrix = state.plane(k, images[k].to_thumbnail)
        return np.asarray(label_plane(atlas.index, 1.0 / atlas.voxel_um, matrix, images[k].values.shape))

    return each(one, range(len(images)), threads)


@dataclass(frozen=True, eq=False)
class _Seen:
    """The sections of a series and the labels under them."""

    atlas: Atlas
    images: Sequence[LevelImage]
    labels: Sequence[npt.NDArray[np.uint16]]
    threads: int

    def fitted(self, start: tuple[Float64, Float32, float] | None) -> tuple[Float64, Float32, float]:
        """Return gains, table and noise, from those of an earlier fit where there is one."""
        if start is None:
            start = first_gains(self.images), np.zeros(self.atlas.ids.size, np.float32), float("inf")
        gains, table, noise = start
        for _ in range(_ROUNDS):
            table = self.table(gains, table, noise)
            noise = self.noise(gains, table)
            gains = self.gains(gains, table, noise)
        return gains, table, noise

    def table(self, gains: Float64, table: Float32, noise: float) -> Float32:
        def one(k: int) -> Float64:
            image, scale = self.images[k], _SCALE * noise
            return np.asarray(label_sums(self.labels[k], image.values, image.weights, gains[k], table, scale))

        sums = np.sum(each(one, range(len(self.images)), self.threads), axis=0)
        return regularised(sums, self.atlas.parent)

    def gains(self, gains: Float64, table: Float32, noise: float) -> Float64:
        def one(k: int) -> tuple[float, float]:
            image, scale = self.images[k], _SCALE * noise
            found = gain_sums(self.labels[k], image.values, image.weights, gains[k], table, scale)
            return float(found[0]), float(found[1])

        sums = np.array(each(one, range(len(self.images)), self.threads))
        anchor = first_gains(self.images)
        prior = _GAIN_PRIOR * max(float(np.median(sums[:, 1])), 1e-12)
        fitted = (sums[:, 0] + prior * anchor) / (sums[:, 1] + prior)
        fitted = np.clip(fitted, anchor / _GAIN_RANGE, anchor * _GAIN_RANGE)
        return np.asarray(fitted / np.median(fitted))

    def noise(self, gains: Float64, table: Float32) -> float:
        residuals = [values - table[labels] for _, (values, labels) in self.inside(gains)]
        pooled = np.concatenate([r[::7] for r in residuals]) if residuals else np.zeros(0)
        return max(1.4826 * float(np.median(np.abs(pooled))), 1e-4) if pooled.size else 1.0

    def inside(self, gains: Float64) -> Iterator[tuple[int, tuple[Float32, npt.NDArray[np.uint16]]]]:
        """Yield each section with values over gain and labels of its pixels that lie on annotation."""
        for k, image in enumerate(self.images):
            here = (self.labels[k] > 0) & (image.weights > 0)
            if here.any():
                yield k, ((image.values[here] / gains[k]).astype(np.float32), self.labels[k][here])


def regularised(sums: Float64, parent: Int64) -> Float32:
    """Turn sums into means, every label drawn towards the mean of the structure above it.

    Parameters
    ----------
    sums : (labels, 2) float64      sums of weight x value and of weight (mm2)
    parent : (nodes,) int64         see `Atlas.parent`

    Returns
    -------
    (labels,) float32               0 for label 0, outside
    """
    nodes = parent.size
    total = np.zeros((nodes, 2))
    total[1 : sums.shape[0]] = sums[1:]
    depth = _depths(parent)
    for node in np.argsort(-depth, kind="stable"):
        if parent[node] >= 0:
            total[parent[node]] += total[node]
    mean = np.zeros(nodes)
    everything = total[parent < 0].sum(axis=0)
    overall = everything[0] / max(everything[1], 1e-12)
    for node in np.argsort(depth, kind="stable"):
        above = mean[parent[node]] if parent[node] >= 0 else overall
        mean[node] = (total[node, 0] + _BORROW_MM2 * above) / (total[node, 1] + _BORROW_MM2)
    own = mean[: sums.shape[0]].astype(np.float32)
    own[0] = 0.0
    return own


def _depths(parent: Int64) -> Int64:
    depth = np.zeros(parent.size, np.int64)
    current = parent.copy()
    while (current >= 0).any():
        depth += current >= 0
        current = np.where(current >= 0, parent[current], -1)
    return depth


def explained(atlas: Atlas, state: State, images: Sequence[LevelImage], threads: int) -> float:
    """Return the share of the stain's variance inside the annotation that labels and gains explain."""
    model = fit_stain(atlas, state, images, None, threads)
    seen = _Seen(atlas, images, plane_labels(atlas, state, images, threads), threads)
    residual, total = 0.0, 0.0
    for k, (values, labels) in seen.inside(model.gains):
        residual += float(((values - model.table(k)[labels]) ** 2).sum())
        total += float(((values - values.mean()) ** 2).sum())
    return 1.0 - residual / max(total, 1e-12)
