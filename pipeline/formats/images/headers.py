"""Headers of image files, read before a pixel is decoded: JPEG, PNG and JPEG 2000.

The format follows from the first bytes, never from the name. TIFF has a module of its own.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.core.errors import DataError
from pipeline.system.limits import check_size

Buffer = bytes | mmap.mmap

MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
}
# Formats that are not read here, by their first bytes: named in the error.
UNSUPPORTED = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP",
    b"ZISRAWFILE": "Zeiss CZI",
    b"%PDF": "PDF",
    b"PK\x03\x04": "ZIP",
    b"\x1f\x8b": "gzip",
    b"<": "HTML or XML: a download that failed?",
}
PLAUSIBLE_UM = (0.1, 100.0)  # um: a pixel of a microscope or a slide scanner
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers before the size of an image
PRINT_DPI = (72.0, 75.0, 96.0, 100.0, 150.0, 300.0)  # defaults of software, not measured
INCH_UM = 25400.0  # um to an inch
# Names that converters give to channels without a dye; any other name denotes fluorescence.
PLAIN_CHANNEL = re.compile(r"(r|g|b|red|green|blue|(c|ch|channel)?[ :_-]*\d+(:\d+)*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Header:
    """Size and meaning of the stored samples, before the orientation is applied.

    Attributes
    ----------
    format : str
        Name of the format.
    width, height : int, px
        Size of the stored image.
    channels : int
        1 or 3: palettes resolved, alpha left out.
    bits : int
        Bits of a sample.
    resolution_um : float or None, um
        Pixel size; None where it is not stated or not plausible.
    orientation : int
        As EXIF and TIFF number it: 1 upright ... 8.
    value_range : (int, int) or None
        Samples that become black and white in 8 bits; None leaves the decoded samples as they are. Where the
        file does not state it, it is that of the type.
    premultiplied : bool
        Whether colours are multiplied by alpha.
    range_stated : bool
        Whether the file states the range of values.
    notes : tuple of str
        What a person should know of how the file is read.

    Raises
    ------
    DataError
        Where the image is larger than the limit.
    """

    format: str
    width: int
    height: int
    channels: int  # 1 or 3: what is left with palettes resolved and without alpha
    bits: int
    resolution_um: float | None = None
    orientation: int = 1  # EXIF and TIFF: 1 upright ... 8
    value_range: tuple[int, int] | None = None
    premultiplied: bool = False
    range_stated: bool = True
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_size(self.width, self.height)


def sniff(start: bytes) -> str | None:
    r"""Return the format of a file.

    Parameters
    ----------
    start : bytes
        The first 16 bytes of the file.

    Returns
    -------
    str or None
        JPEG, PNG, TIFF or JPEG 2000; None for anything else.

    Examples
    --------
    >>> sniff(b"II*\x00"), sniff(b"GIF89a")
    ('TIFF', None)
    """
    return next((name for magic, name in MAGIC.items() if start.startswith(magic)), None)


def describe(start: bytes) -> str:
    """Return what a file looks like, for an error message.

    Parameters
    ----------
    start : bytes
        The first bytes of the file.

    Returns
    -------
    str
        The name of a format that is not read here, or the bytes themselves.
    """
    known = next((name for magic, name in UNSUPPORTED.items() if start.startswith(magic)), None)
    return known or f"bytes {start[:8].hex(' ')}"


def plausible_um(pixel_um: float) -> float | None:
    """Return a pixel size that is plausible: 0.1 to 100 um and not the default density of a printer.

    Parameters
    ----------
    pixel_um : float, um
        Stated pixel size.

    Returns
    -------
    float or None, um
        The pixel size to 9 digits; None where it is not plausible.

    Examples
    --------
    >>> plausible_um(25400 / 300) is None, plausible_um(1.049)
    (True, 1.049)
    """
    if not PLAUSIBLE_UM[0] <= pixel_um <= PLAUSIBLE_UM[1]:
        return None
    is_print = any(abs(INCH_UM / pixel_um - dpi) < 0.02 * dpi**0.5 for dpi in PRINT_DPI)
    return None if is_print else float(f"{pixel_um:.9g}")


def square_um(per_unit_x: float, per_unit_y: float, unit_um: float) -> float | None:
    """Return the pixel size that follows from a density.

    Parameters
    ----------
    per_unit_x, per_unit_y : float
        Pixels to a unit of length.
    unit_um : float, um
        The unit; 0 where it is unknown.

    Returns
    -------
    float or None, um
        The pixel size; None where it is unknown, not plausible or not square within 1 %.
    """
    if per_unit_x <= 0 or per_unit_y <= 0 or abs(per_unit_x / per_unit_y - 1.0) > 0.01:
        return None
    return plausible_um(unit_um / per_unit_x)


def are_plain(names: Iterable[str]) -> bool:
    """Check that no name of a channel denotes a dye.

    Parameters
    ----------
    names : iterable of str
        Names as a file states them.

    Returns
    -------
    bool
        True where all are colours, numbers or empty, as converters name channels.

    Examples
    --------
    >>> are_plain(["Red", "g", "Channel:0:2", ""]), are_plain(["DAPI"])
    (True, False)
    """
    return all(PLAIN_CHANNEL.fullmatch(name.strip()) for name in names)


def exif_orientation(block: bytes) -> int:
    """Return the orientation that an EXIF block states.

    Parameters
    ----------
    block : bytes
        The block: a small TIFF.

    Returns
    -------
    int
        1 to 8; 1 where none is stated.
    """
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 10:
        return 1
    (directory,) = struct.unpack_from(order + "I", block, 4)
    if directory + 2 > len(block):
        return 1
    (count,) = struct.unpack_from(order + "H", block, directory)
    for at in range(directory + 2, min(directory + 2 + 12 * count, len(block) - 11), 12):
        tag, _, _, value = struct.unpack_from(order + "HHIH", block, at)
        if tag == 274 and 1 <= value <= 8:
            return int(value)
    return 1


def jpeg_segments(data: Buffer) -> Iterator[tuple[int, int, int]]:
    """Yield the segments of a JPEG up to the first scan.

    Parameters
    ----------
    data : bytes or mmap
        The file.

    Yields
    ------
    tuple of 3 int
        Marker, start and end of the payload.

    Raises
    ------
    DataError
        Where a marker is missing, or the file ends inside its header.
    """
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise DataError(
                "expected a JPEG marker where the one before it says, got other bytes; copy it again"
            )
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        yield marker, at + 4, at + 2 + length
        if marker == 0xDA:
            return
        at += 2 + length
    raise DataError(f"expected a whole JPEG, got {len(data)} bytes that end inside its header; copy it again")


def jpeg_header(data: Buffer) -> Header:
    """Read size, density and orientation of a JPEG.

    Parameters
    ----------
    data : bytes or mmap
        The file.

    Returns
    -------
    Header
        Of 8-bit grey or RGB.

    Raises
    ------
    DataError
        For a damaged header, and for other samples such as CMYK.
    """
    resolution, orientation, frame = None, 1, None
    for marker, start, end in jpeg_segments(data):
        if marker == 0xE0 and data[start : start + 5] == b"JFIF\x00":
            unit, x, y = struct.unpack_from(">BHH", data, start + 7)
            resolution = square_um(x, y, {1: INCH_UM, 2: 10_000.0}.get(unit, 0.0))
        elif marker == 0xE1 and data[start : start + 6] == b"Exif\x00\x00":
            orientation = exif_orientation(data[start + 6 : end])
        elif marker in JPEG_FRAMES:
            frame = struct.unpack_from(">BHHB", data, start)
    if frame is None:
        raise DataError("expected a size in the JPEG header, got none; copy it again")
    bits, height, width, channels = frame
    _check_packed(width * height, len(data), 512)
    if bits != 8 or channels not in (1, 3):
        raise DataError(
            f"expected an 8-bit grey or RGB JPEG, got {channels} components of {bits} bits"
            f"{' (CMYK inks have no defined darkness)' if channels == 4 else ''}; save it as RGB"
        )
    return Header("JPEG", width, height, channels, bits, resolution, orientation)


def _check_packed(needed: float, size: int, most: int) -> None:
    """Refuse a header that declares more values than its file can hold, `most` from each byte."""
    if needed > most * size:
        raise DataError(
            f"expected {needed:.0f} values as its header says, got {size} bytes, too few for them;"
            " copy it again"
        )


def png_chunks(data: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """Yield the chunks of a PNG.

    Parameters
    ----------
    data : bytes or mmap
        The file.

    Yields
    ------
    tuple of bytes, int, int
        Name, start and end of the payload.
    """
    at = 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, at + 8, at + 8 + length
        if name == b"IEND":
            return
        at += 12 + length


def png_header(data: Buffer) -> Header:
    """Read size, density, significant bits and orientation of a PNG.

    Parameters
    ----------
    data : bytes or mmap
        The file.

    Returns
    -------
    Header
        Of grey or RGB, up to 16 bits; a palette counts as RGB.

    Raises
    ------
    DataError
        Where the size is missing, or is more than the file can hold.
    """
    found = {name: data[start:end] for name, start, end in png_chunks(data) if name not in (b"IDAT", b"IEND")}
    if len(found.get(b"IHDR", b"")) != 13:
        raise DataError("expected a size in the PNG header, got none; copy it again")
    width, height, bits, colour = struct.unpack_from(">IIBB", found[b"IHDR"])
    resolution = None
    if len(found.get(b"pHYs", b"")) == 9:
        x, y, unit = struct.unpack(">IIB", found[b"pHYs"])
        resolution = square_um(x, y, 1e6) if unit == 1 else None
    samples = {2: 3, 4: 2, 6: 4}.get(colour, 1)
    _check_packed(
        width * height * bits * samples / 8, len(data), 1032
    )  # the most that deflate makes of a byte
    stated = next(iter(found.get(b"sBIT", b"")), bits)
    significant = stated if bits == 16 and 0 < stated < bits else bits
    return Header(
        "PNG",
        width,
        height,
        channels=3 if colour in (2, 3, 6) else 1,
        bits=bits,
        resolution_um=resolution,
        orientation=exif_orientation(found.get(b"eXIf", b"")),
        value_range=(0, 2**significant - 1) if bits == 16 else None,
        range_stated=significant < 16,
    )


def jp2_boxes(data: Buffer, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes of a JPEG 2000 file, those inside `jp2h` and `res ` too.

    Parameters
    ----------
    data : bytes or mmap
        The file.
    start, end : int, bytes
        Part of the file to read.

    Yields
    ------
    tuple of bytes, int, int
        Name, start and end of the payload.
    """
    at = start
    while at + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= end:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        stop = end if length == 0 else at + length
        yield name, at + head, stop
        if name in (b"jp2h", b"res "):
            yield from jp2_boxes(data, at + head, min(stop, end))
        at = stop if stop > at else end


def jpeg2000_header(data: Buffer) -> Header:
    """Read size, bit depth and density of a JPEG 2000 file or bare code stream.

    Parameters
    ----------
    data : bytes or mmap
        The file.

    Returns
    -------
    Header
        Of grey or RGB, up to 16 bits.

    Raises
    ------
    DataError
        Where there is no code stream, for other samples, and where the size is more than the file can hold.
    """
    stream, resolution = 0, None
    boxes: dict[bytes, int] = {}
    if data[4:6] == b"jP":
        boxes = {name: start for name, start, _ in jp2_boxes(data, 0, len(data))}
        stream = boxes.get(b"jp2c", len(data))
        _check_jp2_colour(data, boxes)
        density = boxes.get(b"resc", boxes.get(b"resd"))
        resolution = None if density is None else _jp2_density_um(data, density)
    if data[stream : stream + 4] != b"\xff\x4f\xff\x51":
        raise DataError("expected a JPEG 2000 code stream, got none; copy it again")
    x1, y1, x0, y0 = struct.unpack_from(">IIII", data, stream + 8)
    (components,) = struct.unpack_from(">H", data, stream + 40)
    depth = data[stream + 42]
    bits = (depth & 0x7F) + 1
    if depth & 0x80 or components > 4 or bits > 16:
        raise DataError(
            f"expected grey or RGB of up to 16 bits without sign, got {components} components of {bits} bits"
        )
    _check_packed((x1 - x0) * (y1 - y0), len(data), 50_000)
    channels = 3 if components >= 3 or b"pclr" in boxes else 1
    scale = None if bits == 8 else (0, 2**bits - 1)
    return Header(
        "JPEG 2000",
        x1 - x0,
        y1 - y0,
        channels,
        bits,
        resolution,
        value_range=scale,
        range_stated=bits < 16,
    )


def _check_jp2_colour(data: Buffer, boxes: dict[bytes, int]) -> None:
    """Refuse a colour space other than grey and sRGB."""
    start = boxes.get(b"colr")
    if start is None or data[start] != 1:
        return
    (space,) = struct.unpack_from(">I", data, start + 3)
    if space not in (16, 17):
        raise DataError(f"expected a grey or RGB JPEG 2000, got colour space {space}; save it as RGB")


def _jp2_density_um(data: Buffer, start: int) -> float | None:
    """Return the pixel size of a resolution box, um; None where it is absent or not plausible."""
    vn, vd, hn, hd, ve, he = struct.unpack_from(">HHHHbb", data, start)
    if not vd or not hd:
        return None
    return square_um(hn / hd * 10.0**he, vn / vd * 10.0**ve, 1e6)
