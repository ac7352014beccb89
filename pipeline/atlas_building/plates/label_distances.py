"""Signed distances to the structures that are nearest to each pixel of a plate."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import Bool, Float32, Int32

NEAREST = 6  # structures kept for a pixel
REACH_PX = 3.0  # distances are cut there: deeper inside, a structure that ends lasts to half way
SMOOTH_PX = 0.7  # sigma that takes the steps of pixels out of borders
BORDER_PX = 1.0  # from a border, where smoothing must not move it on average
LEAST_LEAD_PX = (
    0.05  # by which a pixel's own structure is kept ahead of the others when thin ones are smoothed
)
NONE = -1  # in place of a structure


class NearLabels(NamedTuple):
    """The structures nearest to each pixel, the nearest first.

    Attributes
    ----------
    labels : (H, W, n) int32
        Indices of structures, -1 for none.
    distances : (H, W, n) float32, px
        Signed distance to their border, positive inside, between -`REACH_PX` and `REACH_PX`.
    """

    labels: Int32
    distances: Float32


def near_labels(labels: Int32) -> NearLabels:
    """Return the structures nearest to each pixel and their smoothed signed distances.

    Parameters
    ----------
    labels : (H, W) int32
        Indices of structures, from 0.

    Returns
    -------
    NearLabels
        At most `NEAREST` a pixel. The first is that of the pixel itself: smoothing takes no thin line away.
    """
    shape = (*labels.shape, NEAREST)
    near = NearLabels(np.full(shape, NONE, np.int32), np.full(shape, -REACH_PX, np.float32))
    margin = int(np.ceil(REACH_PX + 3 * SMOOTH_PX)) + 1
    for label, (top, bottom, left, right) in enumerate(_boxes(labels, int(labels.max()) + 1)):
        if bottom == 0:
            continue
        rows = slice(max(top - margin, 0), bottom + margin)
        columns = slice(max(left - margin, 0), right + margin)
        signed = _signed_distance(labels[rows, columns] == label)
        _insert(near.labels[rows, columns], near.distances[rows, columns], label, signed)
    _keep_own(labels, near.labels, near.distances)
    return near


def _signed_distance(inside: Bool) -> Float32:
    """Return the distance to the border, cut at the reach and smoothed; beyond the edge nothing changes."""
    signed = np.full(inside.shape, REACH_PX, np.float32)
    if not inside.all():
        flags = inside.astype(np.uint8)
        outward, inward = (
            cv2.distanceTransform(f, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for f in (1 - flags, flags)
        )
        signed = np.where(inside, inward - np.float32(0.5), np.float32(0.5) - outward)
        signed = np.clip(signed, -REACH_PX, REACH_PX)
    smooth = cv2.GaussianBlur(signed, (0, 0), SMOOTH_PX, borderType=cv2.BORDER_REPLICATE)
    at_border = np.abs(signed) < BORDER_PX
    if at_border.any():  # smoothing moves curved borders inwards; on average they stay
        smooth += np.mean(signed[at_border] - smooth[at_border])
    return np.asarray(smooth, np.float32)


@kernel
def _boxes(labels: Int32, count: int) -> npt.NDArray[np.int64]:
    """Return top, bottom, left and right of every label; bottom 0 where there is none of it."""
    boxes = np.zeros((count, 4), np.int64)
    height, width = labels.shape
    for i in range(height):
        for j in range(width):
            box = boxes[labels[i, j]]
            if box[1] == 0:
                box[0], box[1], box[2], box[3] = i, i + 1, j, j + 1
            else:
                box[1] = i + 1
                box[2] = min(box[2], j)
                box[3] = max(box[3], j + 1)
    return boxes


@kernel
def _insert(near: Int32, distances: Float32, label: int, signed: Float32) -> None:
    """Put a label into the ordered list of every pixel that it is near to."""
    height, width, keep = near.shape
    for i in range(height):
        for j in range(width):
            d = signed[i, j]
            if d <= distances[i, j, keep - 1]:
                continue
            k = keep - 1
            while k > 0 and distances[i, j, k - 1] < d:
                distances[i, j, k] = distances[i, j, k - 1]
                near[i, j, k] = near[i, j, k - 1]
                k -= 1
            distances[i, j, k] = d
            near[i, j, k] = label


@kernel
def _keep_own(labels: Int32, near: Int32, distances: Float32) -> None:
    """Let the structure of a pixel lead the others there, where smoothing put another ahead."""
    height, width, keep = near.shape
    for i in range(height):
        for j in range(width):
            if near[i, j, 0] == labels[i, j]:
                continue
            at = 1
            while at < keep - 1 and near[i, j, at] != labels[i, j]:
                at += 1
            lead = distances[i, j, 0] + np.float32(LEAST_LEAD_PX)
            for k in range(at, 0, -1):
                near[i, j, k] = near[i, j, k - 1]
                distances[i, j, k] = distances[i, j, k - 1]
            near[i, j, 0] = labels[i, j]
            distances[i, j, 0] = lead
