"""The labels of a plane between two plates: signed distances blended along the flow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.atlas_building.plates.label_distances import NONE, REACH_PX, NearLabels
from pipeline.core.kernels import kernel
from pipeline.core.model import Float32, Float64, Int32

MOST = 40  # structures that a pixel chooses from
ROUNDS = 5  # of the fixed point that finds the trajectory through a pixel
INSIDE = 1.001  # px from the last row or column, so that the next one exists


LASTING = 0.7  # px that what ends still reaches in the plate that lacks it, so that it lasts longer
SMOOTHING = -0.3  # share of the approximating spline; below 0 bends between plates are followed


def plate_weights(share: float) -> Float64:
    """Return how much the plate before, the two next to a plane and the plate after count.

    Parameters
    ----------
    share : float
        Of the way from the first to the second of the two.

    Returns
    -------
    (4,) float64
        Of sum 1: between linear weights and those of the uniform cubic B-spline, which averages out that a
        border is drawn on whole pixels.
    """
    t = share
    linear = np.array([0, 1 - t, t, 0])
    spline = (
        np.array([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (1 - t) ** 3 - 6 * (1 - t) ** 2 + 4, t**3]) / 6
    )
    return np.asarray((1 - SMOOTHING) * linear + SMOOTHING * spline)


def labels_between(
    plates: Sequence[NearLabels],
    flows: Sequence[Float32],
    share: float,
    offset: Float64,
) -> Int32:
    """Return the labels of a plane between two plates.

    Parameters
    ----------
    plates : sequence of NearLabels = (before, first, second, after)
        The plate before, the two next to the plane, and the plate after; at the ends of a series the nearest
        one again.
    flows : sequence of (H, W, 2) float32, px
        Three, between these plates, as of `label_flow`; at the ends of a series the nearest one again.
    share : float
        Of the way from the first to the second of the two.
    offset : (2,) float64, px
        How far odd rows and columns lie beyond their place, as of `sampling_offset`.

    Returns
    -------
    (H, W) int32
        Indices of structures.

    Notes
    -----
    Points move along cubic Hermite curves whose velocity at a plate is the mean of the flows on both sides of
    it (Catmull and Rom, 1974). Along them signed distances are blended (shape-based interpolation, Raya and
    Udupa 1990), and the structure with the largest one is chosen. What has no partner in another plate
    tapers: there its distance is -`REACH_PX`. A structure that only one of the two plates has goes on as it
    moved before that plate, not with what takes its place.
    """
    before, flow, after = flows
    out = np.zeros(flow.shape[:2], np.int32)
    near = np.stack([plate.labels for plate in plates])
    distances = np.stack([plate.distances for plate in plates])
    alone = _alone(near)
    _blend(near, distances, flow, before, after, share, plate_weights(share), offset, alone, out)
    return out


def _alone(near: Int32) -> Int32:
    """Return which of the middle plates alone has each label: 1 the first, 2 the second, 0 both or none."""
    first, second = (np.isin(np.arange(near.max() + 1), plate[..., 0]) for plate in near[1:3])
    return np.where(first & ~second, 1, np.where(second & ~first, 2, 0)).astype(np.int32)


@kernel
def _at(field: Float32, y: float, x: float, out: Float64) -> None:
    """Sample a field of two components, linearly."""
    y = min(max(y, 0.0), field.shape[0] - INSIDE)
    x = min(max(x, 0.0), field.shape[1] - INSIDE)
    m, n = int(y), int(x)
    v, w = y - m, x - n
    for k in range(2):
        upper = (1 - w) * field[m, n, k] + w * field[m, n + 1, k]
        lower = (1 - w) * field[m + 1, n, k] + w * field[m + 1, n + 1, k]
        out[k] = (1 - v) * upper + v * lower


@kernel
def _collect(
    near: Int32,
    distances: Float32,
    place: Float64,
    weight: float,
    alone: Int32,
    kind: int,
    names: Int32,
    sums: Float64,
    count: int,
) -> int:
    """Add the distances of a kind of labels, times a weight, to the list of candidates; return its length."""
    y = min(max(place[0], 0.0), near.shape[0] - INSIDE)
    x = min(max(place[1], 0.0), near.shape[1] - INSIDE)
    m, n = int(y), int(x)
    v, w = y - m, x - n
    for corner in range(4):
        i, j = m + corner // 2, n + corner % 2
        part = weight * (v if corner // 2 else 1 - v) * (w if corner % 2 else 1 - w)
        if abs(part) < 1e-6:
            continue
        for k in range(near.shape[2]):
            label = near[i, j, k]
            if label == NONE:
                break
            if alone[label] != kind:
                continue
            c = 0
            while c < count and names[c] != label:
                c += 1
            if c == MOST:
                break
            if c == count:
                names[c], sums[c] = label, 0.0
                count += 1
            sums[c] += part * (distances[i, j, k] + REACH_PX)
    return count


@kernel
def _follow(
    flow: Float32, before: Float32, after: Float32, t: float, here: Float64, places: Float64, ends: Float64
) -> None:
    """Write where the trajectory through a point meets the four plates.

    And to `ends` where, through this point, what the second plate lacks lay in the first if it goes on as it
    came, and where what the first lacks lies in the second.
    """
    h01 = t * t * (3 - 2 * t)
    h10, h11 = t * (1 - t) * (1 - t), t * t * (t - 1)
    u, b, a, middle = np.zeros(2), np.zeros(2), np.zeros(2), here.copy()
    for _ in range(ROUNDS):
        _at(flow, middle[0], middle[1], u)
        for k in range(2):
            places[1, k], places[2, k] = middle[k] - 0.5 * u[k], middle[k] + 0.5 * u[k]
        _at(before, places[1, 0] - 0.5 * b[0], places[1, 1] - 0.5 * b[1], b)
        _at(after, places[2, 0] + 0.5 * a[0], places[2, 1] + 0.5 * a[1], a)
        for k in range(2):
            places[0, k], places[3, k] = places[1, k] - b[k], places[2, k] + a[k]
            curve = places[1, k] + h01 * u[k] + 0.5 * (h10 * (u[k] + b[k]) + h11 * (u[k] + a[k]))
            middle[k] += here[k] - curve
    for k in range(2):
        ends[0, k], ends[1, k] = here[k] - t * b[k], here[k] + (1 - t) * a[k]


@kernel
def _blend(
    near: Int32,
    distances: Float32,
    flow: Float32,
    before: Float32,
    after: Float32,
    t: float,
    weights: Float64,
    offset: Float64,
    alone: Int32,
    out: Int32,
) -> None:
    here, places, ends = np.zeros(2), np.zeros((4, 2)), np.zeros((2, 2))
    names, sums = np.zeros(MOST, np.int32), np.zeros(MOST)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            here[0] = i + (offset[0] if i % 2 else -offset[0])
            here[1] = j + (offset[1] if j % 2 else -offset[1])
            _follow(flow, before, after, t, here, places, ends)
            count = 0
            for k in range(4):
                if weights[k] != 0:
                    count = _collect(
                        near[k], distances[k], places[k], weights[k], alone, 0, names, sums, count
                    )
            for k in range(2):
                share, known = (1 - t if k == 0 else t), count
                plate, kind = near[1 + k], 1 + k
                count = _collect(plate, distances[1 + k], ends[k], share, alone, kind, names, sums, count)
                sums[known:count] += LASTING * (1 - share)
            best = 0
            for c in range(1, count):
                if sums[c] > sums[best]:
                    best = c
            out[i, j] = names[best]
