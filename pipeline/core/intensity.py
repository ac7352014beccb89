"""Grey values: darkness, 0-255, larger = darker stain, and optical density.

Darkness is 255 - luma without white balance; luma = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), rounded half
up.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.kernels import kernel
from pipeline.core.model import Bool, Float64, UInt8

# BT.601 luma weights in units of 2**-23. The bias is one half (1 << 22) plus 2500 * 2**-23 = 0.0003, which is
# less than the smallest step of luma (0.001): exact halves round up despite the rounding of the weights.
_RED, _GREEN, _BLUE, _BITS = 2508194, 4924113, 956301, 23
_BIAS = (1 << 22) + 2500
CAMERA_BITS = (8, 10, 12, 14, 16)  # bits per sample of common cameras


def darkness(pixels: npt.NDArray[np.uint8]) -> UInt8:
    """Return the darkness of every pixel.

    Parameters
    ----------
    pixels : (H, W, 3) or (H, W) uint8
        RGB or grey.

    Returns
    -------
    (H, W) uint8
        255 - luma; of grey images, 255 - grey.

    Raises
    ------
    DataError
        Where the pixels are not uint8 or not of one of these shapes.

    Examples
    --------
    >>> darkness(np.array([[[255, 255, 255], [0, 0, 0], [100, 100, 100]]], np.uint8))
    array([[  0, 255, 155]], dtype=uint8)
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise DataError(
            f"image: expected uint8 of shape (H, W) or (H, W, 3), got {pixels.dtype} of shape {pixels.shape};"
            " scale 16-bit grey with to_uint8 and drop alpha first"
        )
    dark = np.empty(pixels.shape[:2], np.uint8)
    put_darkness(dark, 0, 0, pixels)
    return dark


def put_darkness(dark: UInt8, y: int, x: int, pixels: npt.NDArray[np.uint8]) -> None:
    """Write the darkness of a part into the darkness of the whole image.

    Parameters
    ----------
    dark : (H, W) uint8
        Darkness of the whole image, C-contiguous; changed in place.
    y, x : int, px
        Row and column of the part's first pixel.
    pixels : (h, w, 3) or (h, w) uint8
        RGB or grey pixels of the part.
    """
    put = _inverted if pixels.ndim == 2 else _inverted_luma
    rows = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1)
    put(rows, dark.reshape(-1), y * dark.shape[1] + x, dark.shape[1])


@kernel
def _inverted(grey: UInt8, flat: UInt8, start: int, stride: int) -> None:
    """Write 255 - grey; row y goes to index `start` + y x `stride` of the flat image."""
    for y in range(grey.shape[0]):
        line, first = grey[y], start + y * stride
        out = flat[first : first + line.size]
        for x in range(line.size):
            out[x] = np.uint8(~line[x])


@kernel
def _inverted_luma(rgb: UInt8, flat: UInt8, start: int, stride: int) -> None:
    """Write 255 - luma of RGB rows; row y goes to index `start` + y x `stride` of the flat image."""
    for y in range(rgb.shape[0]):
        line, first = rgb[y], start + y * stride
        out = flat[first : first + line.size // 3]
        for i in range(out.size):
            luma = (
                np.uint32(_RED) * np.uint32(line[3 * i])
                + np.uint32(_GREEN) * np.uint32(line[3 * i + 1])
                + np.uint32(_BLUE) * np.uint32(line[3 * i + 2])
                + np.uint32(_BIAS)
            )
            out[i] = np.uint8(255 - (luma >> np.uint32(_BITS)))


def expression(dark: UInt8, mask: Bool, valid: Bool) -> UInt8:
    """Turn a mask of expressing pixels into their intensity, in the memory of the mask.

    Parameters
    ----------
    dark : (H, W) uint8
        Darkness.
    mask : (H, W) bool
        Pixels that the detector marked; overwritten.
    valid : (H, W) bool
        Pixels of the section that count.

    Returns
    -------
    (H, W) uint8
        0 where not both marked and valid, else darkness, at least 1.
    """
    out = mask.view(np.uint8)
    _expression(dark, alike(valid).view(np.uint8), out)
    return out


def alike(rows: Bool) -> Bool:
    """Reduce an array that repeats one row by a stride of 0 to that row.

    Parameters
    ----------
    rows : (H, W) bool
        Any array, or one row broadcast to H rows.

    Returns
    -------
    (1, W) or (H, W) bool
        Contiguous.
    """
    return np.ascontiguousarray(rows[:1] if rows.strides[0] == 0 else rows)


@kernel
def _expression(dark: UInt8, valid: UInt8, out: UInt8) -> None:
    for y in range(dark.shape[0]):
        counts, level, line = valid[min(y, valid.shape[0] - 1)], dark[y], out[y]
        for x in range(line.size):  # uint8 throughout and without a branch: -1 is the mask 0xFF
            least = np.uint8(level[x] | np.uint8(level[x] == 0))
            line[x] = np.uint8(least & np.uint8(-np.uint8(line[x] & counts[x])))


def to_uint8(pixels: npt.NDArray[np.uint16], stated_range: tuple[int, int]) -> UInt8:
    """Scale 16-bit grey or RGB to 8 bits by a range; halves are rounded up.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 3) uint16
        Samples as stored.
    stated_range : (int, int)
        Black and white: samples that become 0 and 255. Samples beyond them are clipped.

    Returns
    -------
    uint8 of the same shape
        Scaled samples.

    Raises
    ------
    DataError
        Where the samples are not uint16, or the range is not 0 <= black < white <= 65535.

    Examples
    --------
    >>> to_uint8(np.array([[0, 2048, 4095]], np.uint16), (0, 4095))
    array([[  0, 128, 255]], dtype=uint8)
    """
    black, white = stated_range
    if pixels.dtype != np.uint16 or pixels.ndim not in (2, 3):
        raise DataError(f"image: expected (H, W[, 3]) uint16, got {pixels.dtype} of shape {pixels.shape}")
    if not 0 <= black < white <= 65535:
        raise DataError(
            f"image: expected a range 0 <= black < white <= 65535, got {stated_range}; state the range of"
            " the scan, for 12 bits (0, 4095)"
        )
    table = (np.arange(65536) - black) * (255.0 / (white - black))
    return np.floor(table.clip(0, 255) + 0.5).astype(np.uint8)[pixels]


def fitting_bits(brightest: int) -> int:
    """Return the bit depth of the camera with the smallest range that holds a sample.

    Parameters
    ----------
    brightest : int
        Largest sample of an image or series, 0-65535.

    Returns
    -------
    int
        8, 10, 12, 14 or 16.

    Notes
    -----
    On a bright field the glass is the brightest, near the top of the range. A brightest sample far below the
    top of a range was therefore not taken with that many bits.

    Examples
    --------
    >>> fitting_bits(4011), fitting_bits(4096)
    (12, 14)
    """
    return next(bits for bits in CAMERA_BITS if brightest < 2**bits)


LOG_GREY = np.log10(np.maximum(np.arange(256.0), 1.0))  # by luma or colour channel; 0 counts as 1
LOG_LUMA = LOG_GREY[::-1].copy()  # log10 of luma, indexed by darkness


def optical_density(glass_luma: npt.ArrayLike, pixel_darkness: npt.ArrayLike) -> Float64:
    """Return the optical density of the stain, log10(glass / luma), independent of the illumination.

    Parameters
    ----------
    glass_luma : array_like, 0-255
        Luma of empty glass at the same place.
    pixel_darkness : array_like, 0-255
        255 - luma; a darkness of 255 counts as luma 1.

    Returns
    -------
    float64
        Optical density, decadic.

    Notes
    -----
    Beer-Lambert law: the optical density is proportional to the amount of absorbing stain.
    """
    luma = np.maximum(255.0 - np.asarray(pixel_darkness, dtype=np.float64), 1.0)
    return np.log10(np.asarray(glass_luma, dtype=np.float64) / luma)
