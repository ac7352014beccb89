"""Section images: their properties, their pixels as 8-bit grey or RGB, and writing them.

The format is read from the bytes. A stated orientation (EXIF, TIFF) is applied, so sizes and pixels are those
of the picture as every viewer shows it. Alpha is composited over white, the colour of glass. Samples of more
than 8 bits are scaled by the range that the file states (TIFF SMin/SMaxSampleValue or Min/MaxSampleValue, OME
SignificantBits, PNG sBIT, the bit depth). Where 16-bit files state none, the range is that of the camera
whose bits suffice for the brightest sample of the image or of the whole series.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from pipeline.core.errors import DataError
from pipeline.core.intensity import fitting_bits
from pipeline.core.model import UInt8
from pipeline.formats.images import headers, tiff
from pipeline.formats.images.headers import Buffer, Header
from pipeline.system.files import check_plain
from pipeline.system.whole_files import replacing

HEADERS: dict[str, Callable[[Buffer], Header]] = {
    "JPEG": headers.jpeg_header,
    "PNG": headers.png_header,
    "JPEG 2000": headers.jpeg2000_header,
}
DECODERS: dict[str, Callable[[Buffer], npt.NDArray[Any]]] = {
    "JPEG": imagecodecs.jpeg8_decode,
    "PNG": imagecodecs.png_decode,
    "JPEG 2000": imagecodecs.jpeg2k_decode,
}
SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}
FORMATS = "TIFF, JPEG, PNG or JPEG 2000"


@dataclass(frozen=True)
class ImageInfo:
    """Properties of an image file as `read_image` would return it; `bits` are those of the file."""

    width_px: int
    height_px: int
    channels: int  # 1 grey, 3 RGB
    bits: int
    resolution_um: float | None
    format: str
    range_stated: bool = True
    notes: tuple[str, ...] = ()


def probe(path: Path) -> ImageInfo:
    """Read size, depth and resolution of an image without decoding it.

    Parameters
    ----------
    path : Path
        Image file.

    Returns
    -------
    ImageInfo
        Size after the orientation is applied. The resolution is None where the file states none, or one that
        is not of a microscope: outside 0.1-100 um a pixel, not square, or a printer's default density (72,
        96, 300 dpi ...).

    Raises
    ------
    DataError
        Where the file is missing or is not such an image; the message names the file.
    """
    kind = image_format(path)
    with blaming(path, kind):
        if kind == "TIFF":
            header = tiff.tiff_header(path)
        else:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header = HEADERS[kind](data)
    size = (header.width, header.height)
    width, height = size if header.orientation < 5 else size[::-1]
    return ImageInfo(
        width,
        height,
        header.channels,
        header.bits,
        header.resolution_um,
        kind,
        header.range_stated,
        header.notes,
    )


def read_image(path: Path, bits: int | None = None) -> UInt8:
    """Read the pixels of an image.

    Parameters
    ----------
    path : Path
        Image file.
    bits : int, optional
        Bits of 16-bit samples whose file states no range; default the fewest that hold the brightest sample.

    Returns
    -------
    (H, W) or (H, W, 3) uint8
        Grey or RGB, upright, without alpha.

    Raises
    ------
    DataError
        Where the file is missing, damaged or of another kind.
    """
    kind = image_format(path)
    with blaming(path, kind):
        header, pixels = _stored(path, kind)
        value_range = header.value_range
        if not header.range_stated:
            # Samples above the range of the series are clipped.
            white = 2 ** (bits or fitting_bits(_brightest(pixels))) - 1
            pixels, value_range = np.minimum(pixels, white), (0, white)
        pixels = _over_white(_eight_bits(pixels, value_range), premultiplied=header.premultiplied)
        if pixels.ndim != (3 if header.channels == 3 else 2):
            raise DataError(f"expected {header.channels} channels as its header says, got {pixels.shape}")
        return np.ascontiguousarray(_upright(pixels, header.orientation))


def brightest(path: Path) -> int | None:
    """Return the largest sample of a 16-bit image whose file states no range.

    Parameters
    ----------
    path : Path
        Image file.

    Returns
    -------
    int or None
        0-65535; None where the range is known.

    Raises
    ------
    DataError
        As of `read_image`.
    """
    if probe(path).range_stated:
        return None
    kind = image_format(path)
    with blaming(path, kind):
        return _brightest(_stored(path, kind)[1])


def _brightest(pixels: npt.NDArray[Any]) -> int:
    """Return the largest sample; 65535 for images with alpha, whose range is that of the type."""
    has_alpha = pixels.ndim == 3 and pixels.shape[2] in (2, 4)
    return 65535 if has_alpha else int(pixels.max())


def _stored(path: Path, kind: str) -> tuple[Header, npt.NDArray[Any]]:
    """Return header and samples as stored, (H, W[, S])."""
    header, pixels = tiff.tiff_pixels(path) if kind == "TIFF" else _decode(path.read_bytes(), kind)
    check_decoded(header, pixels)
    return header, pixels


def write_image(path: Path, pixels: UInt8, *, quality: int = 90, resolution_um: float | None = None) -> None:
    """Write grey or RGB pixels in the format of the suffix: .jpg, .png or .tif.

    Parameters
    ----------
    path : Path
        File to write.
    pixels : (H, W) or (H, W, 3) uint8
        Grey or RGB.
    quality : int
        Quality of a JPEG, 1-100.
    resolution_um : float, um, optional
        Pixel size to state in the file; a JPEG rounds it to 1 pixel a cm.

    Raises
    ------
    DataError
        Where the pixels or the suffix are of another kind, or the file cannot be written.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise DataError(f"{path}: expected (H, W) or (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path}: expected a name ending {', '.join(SUFFIXES)}, got {path.suffix!r}")
    pixels = np.ascontiguousarray(pixels)
    with replacing(path) as fresh:
        if kind == "TIFF":
            _write_tiff(fresh, pixels, resolution_um)
        elif kind == "PNG":
            fresh.write_bytes(_png(pixels, resolution_um))
        else:
            fresh.write_bytes(_jpeg(pixels, quality, resolution_um))


def image_format(path: Path) -> str:
    """Determine the format of an image from the first bytes of its file.

    Parameters
    ----------
    path : Path
        Image file.

    Returns
    -------
    str
        "TIFF", "JPEG", "PNG" or "JPEG 2000".

    Raises
    ------
    DataError
        Where the file is missing, cannot be read or is not such an image.

    Examples
    --------
    >>> image_format(Path("/nowhere/a.jpg"))
    Traceback (most recent call last):
    pipeline.core.errors.DataError: /nowhere/a.jpg: expected an image, got no such file
    """
    if path.is_dir():
        raise DataError(f"{path}: expected an image file, got a folder; OME-Zarr is read through the store")
    check_plain(path, "an image")
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    kind = headers.sniff(start)
    if kind is None:
        got = headers.describe(start) if start else "an empty file"
        raise DataError(f"{path}: expected {FORMATS}, got {got}; convert or copy it again")
    return kind


@contextmanager
def blaming(path: Path, kind: str) -> Iterator[None]:
    """Turn every error of a decoder into a one-line DataError that names the file.

    Parameters
    ----------
    path : Path
        Image file.
    kind : str
        Its format.

    Yields
    ------
    None
        While the block decodes.

    Raises
    ------
    DataError
        Where the block raises anything.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # decoders raise errors of many types on damaged bytes
        what = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(
            f"{path}: expected a whole {kind} image, got one that cannot be read ({what}); copy it again"
        ) from error


def check_decoded(header: Header, pixels: npt.NDArray[Any]) -> None:
    """Refuse pixels whose size is not that of their header.

    Parameters
    ----------
    header : Header
        What the file states.
    pixels : (H, W[, S]) array
        Decoded samples.

    Raises
    ------
    DataError
        Where the sizes differ.
    """
    if pixels.shape[:2] != (header.height, header.width):
        raise DataError(
            f"expected {header.width} x {header.height} pixels as its header says, got"
            f" {pixels.shape[1]} x {pixels.shape[0]}"
        )


def _decode(data: bytes, kind: str) -> tuple[Header, npt.NDArray[Any]]:
    header, decode = HEADERS[kind](data), DECODERS[kind]
    return header, whole_jpeg(data, decode) if kind == "JPEG" else np.asarray(decode(data))


def whole_jpeg(data: bytes, decode: Callable[[bytes], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Decode a JPEG that must be complete.

    Parameters
    ----------
    data : bytes
        The whole file or stream.
    decode : callable
        Takes JPEG bytes and returns pixels.

    Returns
    -------
    array
        Pixels as `decode` returns them.

    Raises
    ------
    DataError
        Where the data end before the last pixels.
    """
    _check_jpeg_end(data)
    pixels = np.asarray(decode(data))
    if _starved(data, pixels, decode):
        raise DataError("expected a whole JPEG, got one that ends before its last pixels; copy it again")
    return pixels


def _last_scan_end(data: bytes) -> int:
    first_scan = next(start for marker, start, _ in headers.jpeg_segments(data) if marker == 0xDA)
    return data.rfind(b"\xff\xd9", first_scan)


def _check_jpeg_end(data: bytes) -> None:
    """Refuse a JPEG that ends before its end marker."""
    if _last_scan_end(data) < 0:
        raise DataError(f"expected a whole JPEG, got {len(data)} bytes without an end marker; copy it again")


def _starved(data: bytes, pixels: npt.NDArray[Any], decode: Callable[[bytes], npt.NDArray[Any]]) -> bool:
    """Check whether a JPEG decoder ran out of data: it then fills the rest with mid-grey without an error.

    A lower right corner that is truly mid-grey does not change when more data follow; a filled one does.
    """
    corner = pixels[-8:, -8:]  # in the blocks that are decoded last
    if not (corner == 128).all():
        return False
    end = _last_scan_end(data)
    fed = np.asarray(decode(data[:end] + b"\x55\xaa" * 4096 + data[end:]))
    return not np.array_equal(fed, pixels)


def _eight_bits(pixels: npt.NDArray[Any], value_range: tuple[int, int] | None) -> UInt8:
    if value_range is None:
        return pixels.astype(np.uint8, copy=False)
    low, high = value_range
    lowest, highest = int(pixels.min()), int(pixels.max())
    if lowest < low or highest > high:
        raise DataError(
            f"expected samples from {low} to {high} as the file states, got {lowest} to {highest};"
            " correct the stated range"
        )
    levels = (np.arange(high + 1, dtype=np.float64) - low) * (255.0 / (high - low))
    table = np.rint(np.clip(levels, 0.0, 255.0)).astype(np.uint8)
    return table[pixels.astype(np.uint16, copy=False)]


def _over_white(pixels: UInt8, *, premultiplied: bool) -> UInt8:
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels
    if pixels.shape[2] == 1:
        return pixels[..., 0]
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    if (alpha == 255).all():
        opaque = colour
    else:
        cover = alpha.astype(np.float32) / 255.0
        ink = colour.astype(np.float32) * (1.0 if premultiplied else cover)
        opaque = np.rint(np.clip(ink + 255.0 * (1.0 - cover), 0, 255)).astype(np.uint8)
    return opaque[..., 0] if opaque.shape[2] == 1 else opaque


def _upright(pixels: UInt8, orientation: int) -> UInt8:
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _write_tiff(path: Path, pixels: UInt8, resolution_um: float | None) -> None:
    density = {} if resolution_um is None else {"resolution": (1e4 / resolution_um,) * 2}
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb" if pixels.ndim == 3 else "minisblack",
        compression="zlib",
        predictor=True,
        tile=(256, 256) if min(pixels.shape[:2]) > 256 else None,
        resolutionunit="CENTIMETER" if density else "NONE",
        metadata=None,
        software="ish-pipeline",
        **density,
    )


def _png(pixels: UInt8, resolution_um: float | None) -> bytes:
    data = bytes(imagecodecs.png_encode(pixels))
    if resolution_um is None:
        return data
    per_metre = round(1e6 / resolution_um)
    body = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    chunk = struct.pack(">I", 9) + body + struct.pack(">I", zlib.crc32(body))
    after_header = 8 + 25  # bytes of the signature and of the IHDR chunk
    return data[:after_header] + chunk + data[after_header:]


def _jpeg(pixels: UInt8, quality: int, resolution_um: float | None) -> bytes:
    data = bytearray(imagecodecs.jpeg8_encode(pixels, level=quality))
    if resolution_um is not None and 1e4 / resolution_um < 65535.5:
        per_cm = round(1e4 / resolution_um)
        struct.pack_into(">BHH", data, 13, 2, per_cm, per_cm)  # JFIF header: unit 2 is 1/cm
    return bytes(data)
