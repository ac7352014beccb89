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

QUALITIES = (85, 75, 60, 45)
SMALLEST_PX = 64
STOPS = 9
# Intensity 0-255 is darkness: what a detector finds lies between these, from one page to the next.
LOW_INTENSITY, HIGH_INTENSITY = 50, 190
INTENSITY_STEPS = 28


def data_uri(data: bytes, kind: str) -> str:
    """Return bytes as a URI that needs no request; `kind` is jpeg or png."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def jpeg_uri(pixels: UInt8, budget: int) -> str:
    """Encode (H, W[, 3]) uint8 as JPEG in about `budget` bytes: first by quality, then by half the size."""
    while True:
        for quality in QUALITIES:
            data = bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(pixels), level=quality))
            if len(data) <= budget:
                return data_uri(data, "jpeg")
        if max(pixels.shape[:2]) <= SMALLEST_PX:
            return data_uri(data, "jpeg")
        pixels = _half(pixels)


def _half(pixels: UInt8) -> UInt8:
    height, width = pixels.shape[:2]
    size = (max(width // 2, 1), max(height // 2, 1))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def png_uri(pixels: UInt8) -> str:
    """Encode (H, W, 3) or (H, W, 4) uint8 without loss, as a data URI."""
    return data_uri(bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=6)), "png")


def intensity_png(expression: UInt8, *, transparent: bool = True) -> bytes:
    """Encode a mask coloured by intensity: blue low, green, red high; without loss, a byte a pixel.

    Parameters
    ----------
    expression : (H, W) uint8    0 not expressing, else intensity 1-255
    transparent : bool           where nothing expresses; else black
    """
    steps, colors = intensity_steps()
    picture = Image.fromarray(np.asarray(cv2.LUT(expression, steps), np.uint8))
    picture.putpalette(colors.tobytes())
    alpha = {"transparency": bytes([0]) + bytes([255]) * (len(colors) - 1)} if transparent else {}
    target = BytesIO()
    # Masks are runs: looking for nothing else takes less time, and fewer bytes.
    picture.save(target, "PNG", compress_type=zlib.Z_RLE, **alpha)
    return target.getvalue()


def intensity_uri(expression: UInt8, budget: int) -> str:
    """Encode a mask (H, W) as `intensity_png` does, on black; as JPEG where it takes more than `budget`."""
    data = intensity_png(expression, transparent=False)
    return data_uri(data, "png") if len(data) <= budget else jpeg_uri(intensity_table()[expression], budget)


@cache
def intensity_steps() -> tuple[UInt8, UInt8]:
    """Return which step an intensity is of, (256,) uint8, and the colour of each, (n, 3) uint8.

    Steps are few, so that pictures stay small; step 0 is where nothing expresses.
    """
    level = (np.arange(256.0) - LOW_INTENSITY) / (HIGH_INTENSITY - LOW_INTENSITY)
    steps = 1 + np.rint(np.clip(level, 0, 1) * INTENSITY_STEPS).astype(np.uint8)
    steps[0] = 0
    anchors = [0.0, 0.25, 0.5, 0.75, 1.0]
    ramp = np.array([(30, 60, 255), (0, 175, 235), (20, 200, 60), (250, 190, 0), (235, 20, 20)], float)
    at = np.arange(INTENSITY_STEPS + 1) / INTENSITY_STEPS
    colors = np.stack([np.interp(at, anchors, ramp[:, c]) for c in range(3)], axis=-1)
    return steps, np.vstack([np.zeros(3), np.rint(colors)]).astype(np.uint8)


@cache
def intensity_table() -> UInt8:
    """Return the colour of every intensity, (256, 3) uint8."""
    steps, colors = intensity_steps()
    return np.asarray(colors[steps])


@cache
def magma_table() -> UInt8:
    """Return a map of even lightness, dark low to bright high, (256, 3) uint8."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.asarray(cv2.applyColorMap(ramp, cv2.COLORMAP_MAGMA)[:, 0, ::-1])


def magma_rgba(values: Float32, there: Bool, highest: float) -> UInt8:
    """Colour values 0..highest; transparent where nothing is there.

    Parameters
    ----------
    values : (H, W) float32
    there : (H, W) bool

    Returns
    -------
    (H, W, 4) uint8
    """
    level = np.clip(values / (highest or 1.0), 0, 1)
    rgb = magma_table()[np.rint(255 * np.where(there, level, 0)).astype(np.uint8)]
    alpha = np.where(there, 255, 0).astype(np.uint8)
    return np.concatenate([rgb, alpha[..., None]], axis=-1)


def stops(table: UInt8, first: int = 0, last: int = 255) -> list[tuple[int, str]]:
    """Return the stops of a gradient through a colour table: (percent, hex colour)."""
    at = np.rint(np.linspace(first, last, STOPS)).astype(int)
    percent = np.rint(np.linspace(0, 100, STOPS)).astype(int)
    return [(int(p), "".join(f"{v:02x}" for v in table[i, :3])) for p, i in zip(percent, at, strict=True)]
