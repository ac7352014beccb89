"""NRRD volumes, raw or gzip, attached or detached; the header is checked against the size of its file."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import IO, Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.system.files import check_plain

TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
CODES = {name: code for code, names in TYPES.items() for name in names}
LONGEST_LINE, MOST_LINES = 2000, 1000  # characters and lines of a header
DEFLATE_MOST = 1032  # bytes that one byte of deflate can unpack to (largest ratio, 1032 : 1)


def read_nrrd(path: Path) -> tuple[npt.NDArray[Any], tuple[float, ...]]:
    """Read a volume of three dimensions.

    Parameters
    ----------
    path : Path
        NRRD file, or the header of a detached one.

    Returns
    -------
    volume : (P, I, R) array
        In native byte order; the first axis is the fastest in the file.
    spacing : (3,) float
        Voxel size along each axis, in the unit of the file.

    Raises
    ------
    DataError
        Where the file cannot be read, is damaged or is not such a volume.
    """
    check_plain(path, "an NRRD volume")
    try:
        return _read(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; download it again") from error
    except (zlib.error, EOFError, ValueError, OverflowError) as error:
        what = " ".join(str(error).split())[:160]
        raise DataError(
            f"{path}: {what}" if isinstance(error, DataError) else _damaged(path, what)
        ) from error


def nrrd_spacing(path: Path) -> tuple[float, ...]:
    """Return the voxel size of a volume from its header alone.

    Parameters
    ----------
    path : Path
        NRRD file.

    Returns
    -------
    (3,) float
        Voxel size along each axis, in the unit of the file.

    Raises
    ------
    DataError
        Where the header cannot be read or states no valid spacing.
    """
    check_plain(path, "an NRRD volume")
    try:
        with path.open("rb") as file:
            return _spacing(_fields(file))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; download it again") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def states_spacing(path: Path) -> bool:
    """Check whether the header of a volume states a voxel size.

    Parameters
    ----------
    path : Path
        NRRD file that `read_nrrd` reads.

    Returns
    -------
    bool
        False where `read_nrrd` returns 1 along every axis for want of a better number.
    """
    with path.open("rb") as file:
        return not {"space directions", "spacings"}.isdisjoint(_fields(file))


def _damaged(path: Path, what: str) -> str:
    return f"{path}: expected a whole volume, got {what}; download it again"


def _read(path: Path) -> tuple[npt.NDArray[Any], tuple[float, ...]]:
    with path.open("rb") as file:
        fields = _fields(file)
        shape, dtype, spacing = _shape(fields), _dtype(fields), _spacing(fields)
        named = fields.get("data file") or fields.get("datafile")
        if named is None:
            return _volume(file, path, fields, (shape, dtype)), spacing
    beside = _beside(path, named)
    check_plain(beside, "the voxels")
    with beside.open("rb") as file:
        return _volume(file, beside, fields, (shape, dtype)), spacing


def _beside(path: Path, named: str) -> Path:
    """Return the data file of a detached header: a single file in the same folder."""
    if not named or named.startswith("LIST") or "%" in named or Path(named).name != named:
        raise DataError(f"expected one data file beside the header, got {named[:60]!r}")
    return path.parent / named


def _fields(file: IO[bytes]) -> dict[str, str]:
    """Read the header up to its empty line."""
    if not re.match(rb"NRRD000\d\r?\n", file.readline(16)):
        raise DataError(
            "expected a whole volume in NRRD, got a file that begins otherwise; download it again"
        )
    fields: dict[str, str] = {}
    for number in range(2, MOST_LINES):
        line = file.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise DataError(f"header line {number}: expected up to {LONGEST_LINE} characters, got more")
        text = line.decode("latin-1").rstrip("\r\n")
        if not text:
            return fields
        key, colon, value = text.partition(":")
        if colon and not text.startswith("#") and not value.startswith("="):
            fields[key.strip().lower()] = value.strip()
    raise DataError(f"expected a NRRD header of up to {MOST_LINES} lines, got more")


def _shape(fields: dict[str, str]) -> tuple[int, ...]:
    sizes = fields.get("sizes", "").split()
    if fields.get("dimension") != "3" or len(sizes) != 3:
        raise DataError(
            f"expected one volume of three dimensions, got dimension {fields.get('dimension', 'none')[:20]},"
            f" sizes {fields.get('sizes', 'none')[:60]}"
        )
    if not all(re.fullmatch(r"0*[1-9]\d{0,8}", size) for size in sizes):
        raise DataError(f"expected three sizes above 0, got {fields['sizes'][:60]}")
    return tuple(int(size) for size in sizes)


def _dtype(fields: dict[str, str]) -> np.dtype[Any]:
    code = CODES.get(fields.get("type", "").lower())
    if code is None:
        raise DataError(f"expected a type such as uint32 or float, got {fields.get('type', 'none')[:40]!r}")
    endian = fields.get("endian", "little" if code[1] == "1" else "").lower()
    if endian not in ("little", "big"):
        raise DataError(f"expected endian little or big, got {endian[:40] or 'none'!r}")
    return np.dtype(("<" if endian == "little" else ">") + code)


def _spacing(fields: dict[str, str]) -> tuple[float, ...]:
    directions = fields.get("space directions")
    if directions is not None:
        vectors = re.findall(r"\(([^()]*)\)", directions)
        spacing = tuple(math.hypot(*_numbers(vector.split(","), directions)) for vector in vectors)
    else:
        spacing = _numbers(fields.get("spacings", "1 1 1").split(), fields.get("spacings", ""))
    if len(spacing) != 3 or not all(math.isfinite(s) and s > 0 for s in spacing):
        raise DataError(
            f"expected three spacings above 0, got {(directions or fields.get('spacings', ''))[:60]!r};"
            " correct its header"
        )
    return spacing


def _numbers(words: list[str], whole: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in words)
    except ValueError:
        raise DataError(f"expected numbers in the spacing, got {whole[:60]!r}") from None


def _volume(
    file: IO[bytes], path: Path, fields: dict[str, str], layout: tuple[tuple[int, ...], np.dtype[Any]]
) -> npt.NDArray[Any]:
    """Read voxels from the current position of a file; the result has native byte order."""
    shape, dtype = layout
    size = math.prod(shape) * dtype.itemsize
    encoding = fields.get("encoding", "").lower()
    skips = {fields.get(name, "0") for name in ("line skip", "lineskip", "byte skip", "byteskip")}
    if skips != {"0"} or encoding not in ("raw", "gzip", "gz"):
        raise DataError(f"expected encoding raw or gzip without skips, got {encoding[:40]!r}")
    there = path.stat().st_size - file.tell()
    most = there if encoding == "raw" else DEFLATE_MOST * there
    if size > most:
        voxels = " x ".join(map(str, shape))
        raise DataError(
            f"expected {size} bytes for {voxels} voxels, got {there} in {path.name}; it is cut off"
        )
    volume = np.empty(shape, dtype, order="F")
    start = file.tell()
    if encoding == "raw" or not _inflated(file.read(), volume):
        file.seek(start)
        _fill(file if encoding == "raw" else gzip.GzipFile(fileobj=file), volume)  # type: ignore[arg-type]
    return volume.astype(volume.dtype.newbyteorder("="), copy=False)


def _bytes(volume: npt.NDArray[Any]) -> Any:
    """Return the memory of a volume in the order of the file."""
    return memoryview(volume.reshape(-1, order="F").view(np.uint8))  # type: ignore[arg-type]


def _inflated(data: bytes, volume: npt.NDArray[Any]) -> bool:
    """Inflate a gzip stream of one member, no further than the volume; tell whether it filled the volume."""
    try:
        return len(imagecodecs.gzip_decode(data, out=_bytes(volume))) == volume.nbytes
    except (imagecodecs.GzipError, ValueError):
        return False


def _fill(stream: IO[bytes], volume: npt.NDArray[Any]) -> None:
    buffer = _bytes(volume)
    at = 0
    while at < len(buffer):
        count = stream.readinto(buffer[at:])  # type: ignore[attr-defined]
        if not count:
            raise DataError(f"expected {len(buffer)} bytes of voxels, got {at}; the file is cut off")
        at += count
