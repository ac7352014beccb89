"""Pictures inside the page: colour maps, and encodings that keep to a budget of bytes."""

from __future__ import annotations

import base64
import zlib
from functools import cache
from io import BytesIO

import cv2
import imagecodecs
import numpy as np
from PIL import Image

from pipeline.core.model import Bool, Float32, UInt8

QUALITIES = (85, 75, 60, 45)  # of a JPEG, tried in this order
SMALLEST_PX = 64  # an image is not halved further once its longer side is this or less
STOPS = 9  # of a gradient in a legend
# Ends of the colour scale, grey levels of darkness (0-255): expressing pixels mostly lie between them. They
# are fixed, so that pages can be compared.
LOW_INTENSITY, HIGH_INTENSITY = 50, 190
INTENSITY_STEPS = 28  # steps of the colour scale beyond the first; few, so that pictures stay small


def data_uri(data: bytes, kind: str) -> str:
    """Return an encoded picture as a data URI, which needs no request.

    Parameters
    ----------
    data : bytes
        The encoded picture.
    kind : str
        "jpeg" or "png".

    Returns
    -------
    str
        The data URI.
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def jpeg_uri(pixels: UInt8, budget: int) -> str:
    """Encode an image as JPEG in about `budget` bytes: first by lower quality, then by half the size.

    Parameters
    ----------
    pixels : (H, W[, 3]) uint8
        The image.
    budget : int, bytes
        Wanted size before base64; exceeded only by an image that cannot be halved further.

    Returns
    -------
    str
        The data URI.
    """
    while True:
        for quality in QUALITIES:
            data = bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(pixels), level=quality))
            if len(data) <= budget:
                return data_uri(data, "jpeg")
        if max(pixels.shape[:2]) <= SMALLEST_PX:
            return data_uri(data, "jpeg")
        pixels = _half(pixels)


def _half(pixels: UInt8) -> UInt8:
    """Return an image of half the size, by area averaging."""
    height, width = pixels.shape[:2]
    size = (max(width // 2, 1), max(height // 2, 1))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def png_uri(pixels: UInt8) -> str:
    """Encode an image without loss.

    Parameters
    ----------
    pixels : (H, W, 3) or (H, W, 4) uint8
        The image.

    Returns
    -------
    str
        The data URI.
    """
    return data_uri(bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=6)), "png")


def intensity_png(expression: UInt8, *, transparent: bool = True) -> bytes:
    """Encode a mask coloured by intensity (blue low, green, red high), without loss, one byte per pixel.

    Parameters
    ----------
    expression : (H, W) uint8
        0 not expressing, otherwise intensity 1-255.
    transparent : bool
        Show pixels that do not express as transparent, otherwise as black.

    Returns
    -------
    bytes
        A PNG file with a palette.
    """
    steps, colours = intensity_steps()
    picture = Image.fromarray(np.asarray(cv2.LUT(expression, steps), np.uint8))
    picture.putpalette(colours.tobytes())
    alpha = {"transparency": bytes([0]) + bytes([255]) * (len(colours) - 1)} if transparent else {}
    target = BytesIO()
    # Masks consist of runs of equal bytes: run-length matching alone is faster, and the files are smaller.
    picture.save(target, "PNG", compress_type=zlib.Z_RLE, **alpha)
    return target.getvalue()


def intensity_uri(expression: UInt8, budget: int) -> str:
    """Encode a mask as `intensity_png` does, on black; as JPEG where that takes more than the budget.

    Parameters
    ----------
    expression : (H, W) uint8
        0 not expressing, otherwise intensity 1-255.
    budget : int, bytes
        Wanted size before base64.

    Returns
    -------
    str
        The data URI.
    """
    data = intensity_png(expression, transparent=False)
    return data_uri(data, "png") if len(data) <= budget else jpeg_uri(intensity_table()[expression], budget)


@cache
def intensity_steps() -> tuple[UInt8, UInt8]:
    """Return the step of the colour scale for each intensity, and the colour of each step.

    Returns
    -------
    steps : (256,) uint8
        Step of each intensity; 0 is where nothing expresses.
    colours : (n, 3) uint8
        RGB of each step.
    """
    level = (np.arange(256.0) - LOW_INTENSITY) / (HIGH_INTENSITY - LOW_INTENSITY)
    steps = 1 + np.rint(np.clip(level, 0, 1) * INTENSITY_STEPS).astype(np.uint8)
    steps[0] = 0
    anchors = [0.0, 0.25, 0.5, 0.75, 1.0]
    ramp = np.array([(30, 60, 255), (0, 175, 235), (20, 200, 60), (250, 190, 0), (235, 20, 20)], float)
    at = np.arange(INTENSITY_STEPS + 1) / INTENSITY_STEPS
    colours = np.stack([np.interp(at, anchors, ramp[:, c]) for c in range(3)], axis=-1)
    return steps, np.vstack([np.zeros(3), np.rint(colours)]).astype(np.uint8)


@cache
def intensity_table() -> UInt8:
    """Return the colour of every intensity.

    Returns
    -------
    (256, 3) uint8
        RGB of each intensity.
    """
    steps, colours = intensity_steps()
    return np.asarray(colours[steps])


@cache
def magma_table() -> UInt8:
    """Return the magma colour map, whose lightness rises evenly.

    Returns
    -------
    (256, 3) uint8
        RGB from dark (low) to bright (high).
    """
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.asarray(cv2.applyColorMap(ramp, cv2.COLORMAP_MAGMA)[:, 0, ::-1])


def magma_rgba(values: Float32, there: Bool, highest: float) -> UInt8:
    """Colour values from 0 to `highest`; pixels without data are transparent.

    Parameters
    ----------
    values : (H, W) float32
        The values.
    there : (H, W) bool
        Where there are data.
    highest : float
        Value of the brightest colour; 0 counts as 1.

    Returns
    -------
    (H, W, 4) uint8
        RGB and opacity.
    """
    level = np.clip(values / (highest or 1.0), 0, 1)
    rgb = magma_table()[np.rint(255 * np.where(there, level, 0)).astype(np.uint8)]
    alpha = np.where(there, 255, 0).astype(np.uint8)
    return np.concatenate([rgb, alpha[..., None]], axis=-1)


def stops(table: UInt8, first: int = 0, last: int = 255) -> list[tuple[int, str]]:
    """Return the stops of a gradient through a colour table.

    Parameters
    ----------
    table : (256, 3) uint8
        RGB of each level.
    first : int
        First level.
    last : int
        Last level.

    Returns
    -------
    list of (int, str)
        Percent along the gradient and colour as six hex digits.
    """
    at = np.rint(np.linspace(first, last, STOPS)).astype(int)
    percent = np.rint(np.linspace(0, 100, STOPS)).astype(int)
    return [(int(p), "".join(f"{v:02x}" for v in table[i, :3])) for p, i in zip(percent, at, strict=True)]
