"""The stain table: how strongly each label is stained in a series, and the gain of each section.

The template's contrast says nothing about the expression of a gene. The series itself does: the mean stain
of every label over all sections, rendered into the annotation, is the reference image of the stain stage.
Labels that are seen in few pixels are shrunk towards the structure above them. Each series of a specimen
has a table, gains and a noise level of its own.

Notes
-----
Means and gains are iteratively reweighted least squares (Holland and Welsch 1977) with the weights of
Geman and McClure (1987), table and gains in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import Float32, Float64, Int64
from pipeline.registration.model.painted_atlas import Atlas, label_plane
from pipeline.registration.model.state import LevelImage, TransformState
from pipeline.sections.medians import MAD_TO_SIGMA
from pipeline.system.threads import each

_BORROW_MM2 = 0.15  # mm2; area at which a label's own mean weighs as much as the structure above it
_ROUNDS = 3  # alternations of table, noise and gains
_ROBUST_SCALE = 3.0  # Geman-McClure scale, in standard deviations of the noise
_GAIN_PRIOR = 0.05  # weight of the first gain, relative to the data of a typical section
_GAIN_RANGE = 2.5  # a gain stays within this factor of the first gain
_LEAST_GAIN = 1e-3  # of the median of the sections: keeps divisions by the gain finite
# Stained pixels of a section are above this share of this percentile of its stain: glass is about 0, a few
# dark folds lie beyond the percentile.
_STAINED_SHARE, _STAINED_PERCENTILE = 0.25, 98
RESIDUAL_STEP = 7  # every seventh residual is enough for a median
LEAST_NOISE = 1e-4  # optical density; keeps weights finite on drawn images without any noise
_TINY = 1e-12  # keeps empty sums from dividing by zero


@dataclass(frozen=True, eq=False)
class StainModel:
    """Stain of every series.

    Attributes
    ----------
    tables : (s, labels) float32
        Stain of each label, in units of the optical density of the section of median gain.
    gains : (n,) float64
        Staining strength of each section, median 1 in its series.
    noises : (s,) float64
        Robust standard deviation of image / gain - table.
    series : (n,) int64
        Row of `tables` that a section uses.
    """

    tables: Float32
    gains: Float64
    noises: Float64
    series: Int64

    def table(self, k: int) -> Float32:
        """Return the label values of a section.

        Parameters
        ----------
        k : int
            Index of the section.

        Returns
        -------
        (labels,) float32
            Stain of each label in the section's series.
        """
        return np.asarray(self.tables[self.series[k]])

    @property
    def noise(self) -> float:
        """The noise to which all series are scaled where they are fitted together: the median of `noises`."""
        return float(np.median(self.noises))

    @property
    def units(self) -> Float64:
        """Divisor of each series that gives all series the same noise, (s,)."""
        return self.noises / self.noise


@kernel
def label_sums(labels, values, weights, gain, table, scale):  # type: ignore[no-untyped-def]
    """Return the robust sums of a section from which the mean stain of each label follows.

    Parameters
    ----------
    labels : (h, w) uint16
        Label of each pixel.
    values : (h, w) float32
        Stain, optical density.
    weights : (h, w) float32, mm2
        Known area of each pixel.
    gain : float
        Staining strength of the section.
    table : (labels,) float32
        Present guess, from which residuals are taken.
    scale : float
        Residual at which a weight is down to a quarter; infinite for plain sums.

    Returns
    -------
    (labels, 2) float64
        Sums of weight x value / gain and of weight.

    Notes
    -----
    The weights are those of Geman and McClure (1987): 1 / (1 + (residual / scale)^2)^2.
    """
    sums = np.zeros((table.size, 2))
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            weight = weights[y, x]
            if weight <= 0.0:
                continue
            label = labels[y, x]
            value = values[y, x] / gain
            weight /= (1.0 + ((value - table[label]) / scale) ** 2) ** 2  # Geman-McClure
            sums[label, 0] += weight * value
            sums[label, 1] += weight
    return sums


@kernel
def gain_sums(labels, values, weights, gain, table, scale):  # type: ignore[no-untyped-def]
    """Return the robust sums of a section from which its gain follows by least squares.

    Parameters
    ----------
    labels : (h, w) uint16
        Label of each pixel.
    values : (h, w) float32
        Stain, optical density.
    weights : (h, w) float32, mm2
        Known area of each pixel.
    gain : float
        Present guess of the gain.
    table : (labels,) float32
        Stain of each label.
    scale : float
        Residual at which a weight is down to a quarter.

    Returns
    -------
    top : float
        Sum of weight x value x table.
    bottom : float
        Sum of weight x table^2; the gain is top / bottom.
    """
    top, bottom = 0.0, 0.0
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            weight = weights[y, x]
            t = table[labels[y, x]]
            if weight <= 0.0 or t == 0.0:
                continue
            weight /= (1.0 + ((values[y, x] / gain - t) / scale) ** 2) ** 2  # Geman-McClure
            top += weight * values[y, x] * t
            bottom += weight * t * t
    return top, bottom


def first_gains(images: Sequence[LevelImage]) -> Float64:
    """Estimate the staining strength of every section from its own pixels.

    Parameters
    ----------
    images : sequence of LevelImage
        Stain of each section.

    Returns
    -------
    (n,) float64
        Median stain of the stained pixels over its median of the sections; 1 where nothing is stained.
    """
    strengths = np.array([_strength(image) for image in images])
    usable = strengths > 0
    middle = float(np.median(strengths[usable])) if usable.any() else 1.0
    return np.where(usable, np.maximum(strengths, _LEAST_GAIN * middle) / middle, 1.0)


def _strength(image: LevelImage) -> float:
    """Return the median stain of the pixels above a quarter of the 98th percentile; 0 where none are."""
    known = image.values[image.weights > 0]
    stained = (
        known[known > _STAINED_SHARE * np.percentile(known, _STAINED_PERCENTILE)] if known.size else known
    )
    return float(np.median(stained)) if stained.size else 0.0


def fit_stain(
    atlas: Atlas, state: TransformState, images: Sequence[LevelImage], model: StainModel | None, threads: int
) -> StainModel:
    """Estimate tables, gains and noises under the current transforms.

    Parameters
    ----------
    atlas : Atlas
        Labels of the reference.
    state : TransformState
        Current transforms.
    images : sequence of LevelImage
        Stain of each section.
    model : StainModel or None
        Earlier estimate to start from; None to start from the images.
    threads : int
        Threads that share the sections.

    Returns
    -------
    StainModel
        The estimate.
    """
    return fit_stain_on(atlas, images, plane_labels(atlas, state, images, threads), model, threads)


def fit_stain_on(
    atlas: Atlas,
    images: Sequence[LevelImage],
    labels: Sequence[npt.NDArray[np.uint16]],
    model: StainModel | None,
    threads: int,
) -> StainModel:
    """Estimate tables, gains and noises where the label of every pixel is known.

    Parameters
    ----------
    atlas : Atlas
        Labels of the reference and their hierarchy.
    images : sequence of LevelImage
        Stain of each section.
    labels : sequence of (h, w) uint16
        Labels under each section, see `plane_labels`.
    model : StainModel or None
        Earlier estimate to start from; None to start from the images.
    threads : int
        Threads that share the sections.

    Returns
    -------
    StainModel
        The estimate; each series is fitted by itself.
    """
    series = np.array([image.series for image in images])
    count = int(series.max()) + 1
    tables, noises = np.zeros((count, atlas.ids.size), np.float32), np.ones(count)
    # Series have stains of their own: nothing is shared between them but the atlas.
    gains = np.ones(len(images))
    for s in np.unique(series):
        own = [int(k) for k in np.flatnonzero(series == s)]
        stain = _SeriesStain(atlas, [images[k] for k in own], [labels[k] for k in own], threads)
        start = None if model is None else (model.gains[own], model.tables[s], float(model.noises[s]))
        gains[own], tables[s], noises[s] = stain.fit(start)
    return StainModel(tables, gains, noises, series)


def plane_labels(
    atlas: Atlas, state: TransformState, images: Sequence[LevelImage], threads: int
) -> list[npt.NDArray[np.uint16]]:
    """Return the label at every pixel of every section.

    Parameters
    ----------
    atlas : Atlas
        Labels of the reference.
    state : TransformState
        Current transforms.
    images : sequence of LevelImage
        Give the pixel grids.
    threads : int
        Threads that share the sections.

    Returns
    -------
    list of (h, w) uint16
        One for each section; 0 outside the brain.
    """

    def one(k: int) -> npt.NDArray[np.uint16]:
        matrix = state.plane(k, images[k].to_thumbnail)
        return np.asarray(label_plane(atlas.index, 1.0 / atlas.voxel_um, matrix, images[k].values.shape))

    return each(one, range(len(images)), threads)


@dataclass(frozen=True, eq=False)
class _SeriesStain:
    """The sections of a series and the labels under them."""

    atlas: Atlas
    images: Sequence[LevelImage]
    labels: Sequence[npt.NDArray[np.uint16]]
    threads: int

    def fit(self, start: tuple[Float64, Float32, float] | None) -> tuple[Float64, Float32, float]:
        """Return gains, table and noise, from those of an earlier fit where there is one."""
        if start is None:
            # Infinite noise: without a table to judge them by, no pixels are outliers.
            start = first_gains(self.images), np.zeros(self.atlas.ids.size, np.float32), float("inf")
        gains, table, noise = start
        for _ in range(_ROUNDS):
            table = self.table(gains, table, noise)
            noise = self.noise(gains, table)
            gains = self.gains(gains, table, noise)
        return gains, table, noise

    def table(self, gains: Float64, table: Float32, noise: float) -> Float32:
        """Return the table, given gains; an infinite `noise` gives plain means."""

        def one(k: int) -> Float64:
            image, scale = self.images[k], _ROBUST_SCALE * noise
            return np.asarray(label_sums(self.labels[k], image.values, image.weights, gains[k], table, scale))

        sums = np.sum(each(one, range(len(self.images)), self.threads), axis=0)
        return regularised(sums, self.atlas.parent)

    def gains(self, gains: Float64, table: Float32, noise: float) -> Float64:
        """Return the gains, given the table, drawn weakly towards `first_gains` and scaled to median 1."""

        def one(k: int) -> tuple[float, float]:
            image, scale = self.images[k], _ROBUST_SCALE * noise
            found = gain_sums(self.labels[k], image.values, image.weights, gains[k], table, scale)
            return float(found[0]), float(found[1])

        sums = np.array(each(one, range(len(self.images)), self.threads))
        anchor = first_gains(self.images)
        # Ridge towards the first gain, so that a section with little tissue keeps it.
        prior = _GAIN_PRIOR * max(float(np.median(sums[:, 1])), _TINY)
        # Least-squares slope of values over table, then bounded, then scaled to the median section.
        fitted = (sums[:, 0] + prior * anchor) / (sums[:, 1] + prior)
        fitted = np.clip(fitted, anchor / _GAIN_RANGE, anchor * _GAIN_RANGE)
        return np.asarray(fitted / np.median(fitted))

    def noise(self, gains: Float64, table: Float32) -> float:
        """Return the robust standard deviation of image / gain - table."""
        residuals = [values - table[labels] for _, (values, labels) in self.inside(gains)]
        pooled = np.concatenate([r[::RESIDUAL_STEP] for r in residuals]) if residuals else np.zeros(0)
        # Median absolute deviation as a standard deviation.
        return max(MAD_TO_SIGMA * float(np.median(np.abs(pooled))), LEAST_NOISE) if pooled.size else 1.0

    def inside(self, gains: Float64) -> Iterator[tuple[int, tuple[Float32, npt.NDArray[np.uint16]]]]:
        """Yield each section's index with value / gain and label of its pixels that lie on annotation."""
        for k, image in enumerate(self.images):
            here = (self.labels[k] > 0) & (image.weights > 0)
            if here.any():
                yield k, ((image.values[here] / gains[k]).astype(np.float32), self.labels[k][here])


def regularised(sums: Float64, parent: Int64) -> Float32:
    """Turn sums into means, each label shrunk towards the mean of the structure above it.

    Parameters
    ----------
    sums : (labels, 2) float64
        Sums of weight x value and of weight (mm2).
    parent : (nodes,) int64
        See `Atlas.parent`.

    Returns
    -------
    (labels,) float32
        Mean stain; 0 for label 0, outside.

    Notes
    -----
    The mean of the structure above counts as 0.15 mm2 of pixels. Means are formed from the root downwards, so
    a label without any pixels takes the value of its nearest ancestor with pixels.
    """
    nodes = parent.size
    total = np.zeros((nodes, 2))
    # Label 0 is outside the brain and takes part in no mean.
    total[1 : sums.shape[0]] = sums[1:]
    depth = _depths(parent)
    # From the leaves upwards: a structure has the sums of everything below it.
    for node in np.argsort(-depth, kind="stable"):
        if parent[node] >= 0:
            total[parent[node]] += total[node]
    mean = np.zeros(nodes)
    everything = total[parent < 0].sum(axis=0)
    overall = everything[0] / max(everything[1], _TINY)
    # From the root downwards: every mean is shrunk towards one that is already known.
    for node in np.argsort(depth, kind="stable"):
        above = mean[parent[node]] if parent[node] >= 0 else overall
        mean[node] = (total[node, 0] + _BORROW_MM2 * above) / (total[node, 1] + _BORROW_MM2)
    own = mean[: sums.shape[0]].astype(np.float32)
    own[0] = 0.0
    return own


def _depths(parent: Int64) -> Int64:
    """Return the number of ancestors of each node."""
    depth = np.zeros(parent.size, np.int64)
    current = parent.copy()
    while (current >= 0).any():
        depth += current >= 0
        current = np.where(current >= 0, parent[current], -1)
    return depth


def explained(atlas: Atlas, state: TransformState, images: Sequence[LevelImage], threads: int) -> float:
    """Return the share of the stain's variance inside the annotation that labels and gains explain.

    Parameters
    ----------
    atlas : Atlas
        Labels of the reference.
    state : TransformState
        Current transforms.
    images : sequence of LevelImage
        Stain of each section.
    threads : int
        Threads that share the sections.

    Returns
    -------
    float
        1 - residual variance / variance about each section's mean; at most 1, below 0 for a bad fit.

    Notes
    -----
    This is the correlation ratio (Roche et al. 1998) of the stain given the label, with robust, regularised
    means that all sections share.

    References
    ----------
    Roche A, Malandain G, Pennec X, Ayache N (1998). The correlation ratio as a new similarity measure for
    multimodal image registration. MICCAI 1998, LNCS 1496:1115-1124.
    """
    model = fit_stain(atlas, state, images, None, threads)
    stain = _SeriesStain(atlas, images, plane_labels(atlas, state, images, threads), threads)
    residual, total = 0.0, 0.0
    for k, (values, labels) in stain.inside(model.gains):
        # Both sums are in units of value / gain, so that strong sections count no more than pale ones.
        residual += float(((values - model.table(k)[labels]) ** 2).sum())
        total += float(((values - values.mean()) ** 2).sum())
    return 1.0 - residual / max(total, _TINY)
