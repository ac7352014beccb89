"""Pixels as JPEG and PNG bytes."""

from __future__ import annotations

import struct
import zlib

import imagecodecs
import numpy as np

from pipeline.core.model import UInt8

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE = 0, 2, 3  # colour types of PNG
NO_FILTER, UP = 0, 2  # row filters of PNG
# A 512 px mask tile takes zlib-ng 0.3 ms at level 2, zlib 0.8 ms and libdeflate 1.1 ms at level 1.
LEVEL = 2
QUALITY = 90  # of a JPEG tile
FINE_PX = 2**20  # pixels of an answer up to which colour is kept at full resolution: a fifth more bytes


def as_jpeg(pixels: UInt8, quality: int = QUALITY, *, fine: bool = False) -> bytes:
    """Encode pixels as a baseline JPEG.

    Parameters
    ----------
    pixels : (h, w) or (h, w, 3) uint8
        Grey or RGB.
    quality : int
        0 to 100, the scale of libjpeg.
    fine : bool
        Keep colour at full resolution, where objects are a few pixels wide: in masks and overviews.

    Returns
    -------
    bytes
        The file.
    """
    pixels = np.ascontiguousarray(pixels)
    sampling = None if pixels.ndim == 2 else "444" if fine else "420"
    return bytes(imagecodecs.jpeg8_encode(pixels, level=quality, subsampling=sampling))


def as_png(pixels: UInt8, palette: UInt8 | None = None) -> bytes:
    """Encode pixels as a PNG (W3C PNG, third edition), with or without a palette.

    Parameters
    ----------
    pixels : (h, w) or (h, w, 3) uint8
        Grey, RGB, or indices into the palette.
    palette : (256, 3) uint8, optional
        RGB of every index; index 0 is then transparent, so that the image can lie over another.

    Returns
    -------
    bytes
        The file.
    """
    height, width = pixels.shape[:2]
    kind = PALETTE if palette is not None else RGB if pixels.ndim == 3 else GREY
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = [_chunk(b"IHDR", head)]
    if palette is not None:
        chunks += [_chunk(b"PLTE", palette.tobytes()), _chunk(b"tRNS", b"\0")]
    packed = bytes(imagecodecs.zlibng_encode(_filtered(pixels, kind), level=LEVEL))
    return SIGNATURE + b"".join([*chunks, _chunk(b"IDAT", packed), _chunk(b"IEND", b"")])


def _filtered(pixels: UInt8, kind: int) -> bytes:
    """Return the rows with their filter byte; photographs compress better as differences to the row above."""
    flat = pixels.reshape(pixels.shape[0], -1)
    rows = np.empty((flat.shape[0], flat.shape[1] + 1), np.uint8)
    if kind == PALETTE or flat.shape[0] == 1:
        rows[:, 0] = NO_FILTER
        rows[:, 1:] = flat
        return rows.tobytes()
    rows[:, 0] = UP
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    return rows.tobytes()


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
