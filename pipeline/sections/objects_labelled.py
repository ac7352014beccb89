"""Connected objects of a mask: their numbers, boxes and areas."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.core.kernels import kernel
from pipeline.core.model import Int32, UInt8

LEFT, TOP, WIDTH, HEIGHT, AREA = range(5)  # columns of the boxes, px


def connected_objects(mask: UInt8, connectivity: int) -> tuple[Int32, Int32]:
    """Number the connected objects of a mask.

    Parameters
    ----------
    mask : (h, w) uint8
        0 is background.
    connectivity : int
        4 or 8 neighbours.

    Returns
    -------
    labels : (h, w) int32
        0, or the number of the object.
    boxes : (n, 5) int32, px
        Left, top, width, height and area by number; row 0 is empty.

    Notes
    -----
    OpenCV's own statistics include centroids, of the background too, which takes five times as long.
    """
    count, labels = cv2.connectedComponents(mask, connectivity=connectivity)
    boxes = np.zeros((count, 5), np.int32)
    boxes[:, LEFT], boxes[:, TOP] = labels.shape[::-1]
    _add_boxes(labels, boxes)
    boxes[0] = 0
    boxes[:, (WIDTH, HEIGHT)] -= boxes[:, (LEFT, TOP)]
    return np.asarray(labels, np.int32), boxes


@kernel
def _add_boxes(labels: Int32, ends: Int32) -> None:
    """Go from run to run of equal labels: most pixels have the number of the one before.

    Right and bottom are entered as sizes.
    """
    height, width = labels.shape
    for y in range(height):
        x = 0
        while x < width:
            label, start = labels[y, x], x
            while x < width and labels[y, x] == label:
                x += 1
            if label:
                box = ends[label]
                box[LEFT], box[WIDTH] = min(box[LEFT], start), max(box[WIDTH], x)
                box[TOP], box[HEIGHT] = min(box[TOP], y), y + 1
                box[AREA] += x - start


def box_part(box: Int32, margin: int = 0) -> tuple[slice, slice]:
    """Return the part of an image in a box and a margin around it.

    Parameters
    ----------
    box : (5,) int32, px
        Left, top, width, height, area.
    margin : int, px
        Width of the margin.

    Returns
    -------
    tuple of 2 slice
        Rows and columns; they may end beyond the image.
    """
    left, top, width, height = (int(n) for n in box[:AREA])
    return (
        slice(max(0, top - margin), top + height + margin),
        slice(max(0, left - margin), left + width + margin),
    )
