"""Means of square blocks of pixels: how every image of the pipeline is reduced."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.kernels import kernel
from pipeline.core.model import Bool, Float32, UInt8

LARGEST_OF_16_BITS = 257  # a column of 257 pixels of 255 still fits 16 bits


def block_mean(pixels: UInt8, factor: int) -> UInt8:
    """Reduce an image by the mean of every block, rounded half up; blocks at the far edges may be partial.

    Parameters
    ----------
    pixels : (h, w) or (h, w, c) uint8
        The image.
    factor : int, px
        Side of a block.

    Returns
    -------
    (ceil(h / factor), ceil(w / factor)[, c]) uint8
        The mean of each block, over the pixels that it has.

    Raises
    ------
    DataError
        For a factor below 1.
    """
    if factor < 1:
        raise DataError(f"expected a factor of at least 1, got {factor}")
    if factor == 1:
        return pixels
    height, width = pixels.shape[:2]
    if factor == 2 and height % 2 == 0 and width % 2 == 0 and pixels.size:
        # Of four pixels OpenCV adds half before dividing, too, and it fills registers.
        half = (width // 2, height // 2)
        halved = cv2.resize(pixels, half, interpolation=cv2.INTER_AREA)  # drops a single channel
        return np.asarray(halved, np.uint8).reshape(half[1], half[0], *pixels.shape[2:])
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    flat = np.ascontiguousarray(pixels).reshape(height, width * channels)
    means = _wide_means if factor > LARGEST_OF_16_BITS else _means
    out: UInt8 = means(flat, channels, factor)
    return out[..., 0] if pixels.ndim == 2 else out


def whole_block_mean(pixels: UInt8, factor: int) -> UInt8:
    """Reduce an image as `block_mean`, but leave out the partial blocks at the far edges.

    Parameters
    ----------
    pixels : (h, w) or (h, w, c) uint8
        The image.
    factor : int, px
        Side of a block.

    Returns
    -------
    (h // factor, w // factor[, c]) uint8
        The mean of each block.
    """
    height, width = (n // factor * factor for n in pixels.shape[:2])
    return block_mean(pixels[:height, :width], factor)


def block_majority(mask: Bool, factor: int) -> Bool:
    """Reduce a mask: True where at least half of a block is.

    Parameters
    ----------
    mask : (h, w) bool
        The mask.
    factor : int, px
        Side of a block.

    Returns
    -------
    (ceil(h / factor), ceil(w / factor)) bool
        The reduced mask.
    """
    return np.asarray(block_mean(np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255), factor) > 127)


def block_mean_float(image: Float32, factor: int) -> Float32:
    """Reduce a plane of numbers by the mean of every block; beyond the far edges its last value goes on.

    Parameters
    ----------
    image : (h, w) float32
        The plane.
    factor : int, px
        Side of a block.

    Returns
    -------
    (ceil(h / factor), ceil(w / factor)) float32
        The mean of each block.
    """
    if factor == 1:
        return image
    h, w = (-(-n // factor) * factor for n in image.shape)
    full = np.pad(image, ((0, h - image.shape[0]), (0, w - image.shape[1])), mode="edge")
    return np.asarray(full.reshape(h // factor, factor, w // factor, factor).mean(axis=(1, 3)))


@kernel
def _means(flat: UInt8, channels: int, factor: int) -> UInt8:
    """Add up the rows of a block in 16 bits, many columns a register; then its columns."""
    height, width = flat.shape[0], flat.shape[1] // channels
    rows, columns, whole = -(-height // factor), -(-width // factor), width // factor
    out = np.empty((rows, columns, channels), np.uint8)
    line = np.empty(flat.shape[1], np.uint16)
    for i in range(rows):
        bottom = min((i + 1) * factor, height)
        line.fill(0)  # an assignment of arrays takes numba seconds to compile
        for y in range(i * factor, bottom):
            row = flat[y]
            for x in range(line.size):
                line[x] = np.uint16(line[x] + np.uint16(row[x]))
        area = np.uint32((bottom - i * factor) * factor)
        for j in range(whole):
            for c in range(channels):
                total = np.uint32(area // np.uint32(2))
                start = j * factor * channels + c
                for k in range(factor):
                    total = np.uint32(total + np.uint32(line[start + k * channels]))
                out[i, j, c] = total // area
        if whole < columns:  # the partial block at the right
            count = np.uint32((bottom - i * factor) * (width - whole * factor))
            for c in range(channels):
                total = np.uint32(count // np.uint32(2))
                for x in range(whole * factor, width):
                    total = np.uint32(total + np.uint32(line[x * channels + c]))
                out[i, whole, c] = total // count
    return out


def _wide_means(flat: UInt8, channels: int, factor: int) -> UInt8:
    """Add up blocks that are too high for 16 bits."""
    height, width = flat.shape[0], flat.shape[1] // channels
    rows, columns = (np.arange(0, n, factor) for n in (height, width))
    image = flat.reshape(height, width, channels)
    sums = np.add.reduceat(np.add.reduceat(image, rows, axis=0, dtype=np.int64), columns, axis=1)
    sizes = [np.diff(np.append(starts, n)) for starts, n in ((rows, height), (columns, width))]
    count = (sizes[0][:, None] * sizes[1])[..., None]
    return np.asarray((2 * sums + count) // (2 * count), np.uint8)
