"""The stain table: how strongly each label is stained in this series, and each section's gain.

The template's contrast says nothing about a gene. The series itself does: the mean stain of every label
over all sections, painted back into the annotation, is the second reference image. Labels seen in few
pixels borrow from the structure above them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from pipeline.model import Float32, Float64, Int64
from pipeline.registration.atlas import Atlas, label_plane
from pipeline.registration.scene import LevelImage, State, each

_BORROW_MM2 = 0.15
_ROUNDS = 3
_SCALE = 3.0
_GAIN_PRIOR = 0.05
_GAIN_RANGE = 2.5


@dataclass(frozen=True, eq=False)
class StainModel:
    """What the series' stain is thought to be.

    Parameters
    ----------
    table : (labels,) float32       stain of each label, the section of median gain being 1
    gains : (n,) float64            strength of each section
    noise : float                   robust standard deviation of image - gain x table, at gain 1
    """

    table: Float32
    gains: Float64
    noise: float


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
    """Estimate the table and the gains where the label of every pixel is known; see `fit_stain`."""
    seen = _Seen(atlas, images, labels, threads)
    gains = first_gains(images) if model is None else model.gains
    table = np.zeros(atlas.ids.size, np.float32) if model is None else model.table
    noise = np.inf if model is None else model.noise
    for _ in range(_ROUNDS):
        table = seen.table(gains, table, noise)
        noise = seen.noise(gains, table)
        gains = seen.gains(gains, table, noise)
    return StainModel(table, gains, noise)


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
    """The sections and the labels under them."""

    atlas: Atlas
    images: Sequence[LevelImage]
    labels: Sequence[npt.NDArray[np.uint16]]
    threads: int

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
        residuals = [values - table[labels] for values, labels in self.inside(gains)]
        pooled = np.concatenate([r[::7] for r in residuals]) if residuals else np.zeros(0)
        return max(1.4826 * float(np.median(np.abs(pooled))), 1e-4) if pooled.size else 1.0

    def inside(self, gains: Float64) -> Iterator[tuple[Float32, npt.NDArray[np.uint16]]]:
        """Yield values over gain and labels of the pixels of each section that lie on annotation."""
        for k, image in enumerate(self.images):
            here = (self.labels[k] > 0) & (image.weights > 0)
            if here.any():
                yield (image.values[here] / gains[k]).astype(np.float32), self.labels[k][here]


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
    for values, labels in seen.inside(model.gains):
        residual += float(((values - model.table[labels]) ** 2).sum())
        total += float(((values - values.mean()) ** 2).sum())
    return 1.0 - residual / max(total, 1e-12)
