"""MetaImage volumes (.mhd with .raw beside it), in Allen's served form: little-endian, P fastest."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.atomic import replacing
from pipeline.errors import DataError
from pipeline.model import Float32, UInt32

TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
NO_DATA = -1.0
SERVED = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
{uncompressed}TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 0 0 0
CenterOfRotation = 0 0 0
AnatomicalOrientation = RAI
ElementSpacing = {spacing}
DimSize = {size}
ElementType = {kind}
ElementDataFile = {raw}
"""


def read_metaimage(
    path: Path, member: str | None = None
) -> tuple[npt.NDArray[Any], tuple[float, float, float], tuple[float, float, float]]:
    """Read a volume.

    Parameters
    ----------
    path : Path              a `.mhd` with its data beside it, or a zip as the grid service sends it
    member : str             inside a zip: which `.mhd` (e.g. `density.mhd`); default the only one, or energy

    Returns
    -------
    (P, I, R) array, spacing (3), origin (3)    numbers as stored: Allen's grids are um, -1 = no data
    """
    if zipfile.is_zipfile(path):
        text, data, where = _from_zip(path, member)
    else:
        text, data, where = _from_folder(path)
    fields = _fields(text, where)
    shape, dtype = _layout(fields, where)
    if fields.get("CompressedData", "False").lower() == "true":
        data = _inflate(data, where)
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise DataError(
            f"{where}: expected {expected} bytes for {' x '.join(map(str, shape))} voxels of"
            f" {dtype.itemsize} bytes, got {len(data)}; the data file is cut off or of another grid"
        )
    volume = np.frombuffer(data, dtype).reshape(shape[::-1]).transpose(2, 1, 0)
    native = np.ascontiguousarray(volume).astype(dtype.newbyteorder("="), copy=False)
    return native, _triple(fields, "ElementSpacing", where), _triple(fields, "Offset", where)


def read_grid(path: Path, member: str | None = None) -> Float32:
    """Read an expression grid; (P, I, R) float32, NaN where the file says -1 (no data)."""
    volume = read_metaimage(path, member)[0].astype(np.float32)
    volume[volume == NO_DATA] = np.nan
    return volume


def write_grid(path: Path, grid: Float32, spacing_um: float) -> None:
    """Write an expression grid as Allen serves it, byte for byte: `path` (.mhd) and the .raw beside it.

    Parameters
    ----------
    grid : (P, I, R) float32     NaN = no data, written as -1
    """
    _write(path, np.where(np.isnan(grid), np.float32(NO_DATA), grid).astype("<f4"), spacing_um)


def write_labels(path: Path, labels: UInt32, spacing_um: float) -> None:
    """Write structure ids, (P, I, R) uint32, as Allen serves gridAnnotation: `path` (.mhd) and its .raw."""
    _write(path, labels.astype("<u4"), spacing_um)


def _write(path: Path, values: npt.NDArray[Any], spacing_um: float) -> None:
    if values.ndim != 3 or path.suffix != ".mhd":
        raise DataError(f"{path}: expected a .mhd name and a (P, I, R) grid, got shape {values.shape}")
    raw, floats = path.with_suffix(".raw"), values.dtype.kind == "f"
    header = SERVED.format(
        uncompressed="" if floats else "CompressedData = False\n",
        spacing=" ".join([f"{spacing_um:g}"] * 3),
        size=" ".join(map(str, values.shape)),
        kind="MET_FLOAT" if floats else "MET_UINT",
        raw=raw.name,
    )
    with replacing(raw) as fresh:
        fresh.write_bytes(values.tobytes(order="F"))
    with replacing(path) as fresh:
        fresh.write_bytes(header.encode("ascii"))


def _from_folder(path: Path) -> tuple[str, bytes, str]:
    where = str(path)
    head = _bytes(path)
    name = _fields(_text(head, where), where).get("ElementDataFile", "")
    if name == "LOCAL":
        raise DataError(
            f"{where}: expected the data in a file of its own, got them inside; write .mhd + .raw"
        )
    return _text(head, where), _bytes(path.parent / name), where


def _from_zip(path: Path, member: str | None) -> tuple[str, bytes, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith(".mhd")]
            chosen = member or ("energy.mhd" if "energy.mhd" in names else (names or [""])[0])
            if chosen not in names or (member is None and len(names) > 1 and chosen != "energy.mhd"):
                raise DataError(f"{path}: expected one grid {chosen or '.mhd'}, got {names}")
            where = f"{path}:{chosen}"
            text = _text(archive.read(chosen), where)
            raw = _fields(text, where).get("ElementDataFile", "")
            beside = str(PurePosixPath(chosen).parent / raw)
            if beside not in archive.namelist():
                raise DataError(f"{where}: expected its data file {beside} in the zip, got none")
            return text, archive.read(beside), where
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{path}: expected a whole zip, got a damaged one ({error!r}); download it again"
        ) from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: expected a MetaImage file, got {error.strerror or error}") from error


def _text(head: bytes, where: str) -> str:
    if b"ElementDataFile" not in head or b"DimSize" not in head:
        raise DataError(f"{where}: expected a MetaImage header with DimSize and ElementDataFile, got neither")
    return head.decode("utf-8", errors="replace")


def _fields(text: str, where: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _layout(fields: dict[str, str], where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        shape = tuple(int(n) for n in fields["DimSize"].split())
        code = TYPES[fields["ElementType"]]
    except (KeyError, ValueError) as error:
        raise DataError(f"{where}: expected DimSize and a known ElementType, got {error}") from error
    if len(shape) != 3 or min(shape) < 1 or int(fields.get("ElementNumberOfChannels", "1")) != 1:
        raise DataError(f"{where}: expected one volume of three dimensions, got DimSize {fields['DimSize']}")
    order = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    return shape, np.dtype((">" if order.lower() == "true" else "<") + code)


def _triple(fields: dict[str, str], key: str, where: str) -> tuple[float, float, float]:
    default = "0 0 0" if key == "Offset" else "1 1 1"
    try:
        a, b, c = (float(v) for v in fields.get(key, default).split())
    except ValueError as error:
        raise DataError(f"{where}: expected three numbers in {key}, got {fields.get(key)!r}") from error
    return a, b, c


def _inflate(data: bytes, where: str) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error as error:
        raise DataError(
            f"{where}: expected whole compressed data, got damaged ones ({error}); download it again"
        ) from error
