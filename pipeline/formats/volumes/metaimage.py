"""MetaImage volumes (.mhd with .raw beside it) in the form that Allen serves: little-endian, P fastest."""

from __future__ import annotations

import math
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.model import Float32, UInt32
from pipeline.formats.volumes.zips import is_zip, open_zip, read_member
from pipeline.system.files import check_plain, read_content, real_path, shown
from pipeline.system.whole_files import replacing

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
NO_DATA = -1.0  # Allen's value of grid voxels without data
MOST_HEADER = 1 << 20  # bytes of a header
MOST_BYTES = 1 << 34  # default limit of a volume; a 10 um reference has 5 GB
_INFLATED = 1040  # upper bound of zlib's compression ratio
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
    path: Path, member: str | None = None, most: int = MOST_BYTES
) -> tuple[npt.NDArray[Any], tuple[float, float, float], tuple[float, float, float]]:
    """Read a volume.

    Parameters
    ----------
    path : Path
        A `.mhd` with its data beside it, or a zip as the grid service sends it.
    member : str, optional
        `.mhd` to read of a zip (e.g. `density.mhd`); default the only one, or `energy.mhd`.
    most : int, bytes
        Largest volume; a header that states more is refused.

    Returns
    -------
    volume : (P, I, R) array
        Values as stored, in native byte order; Allen's grids use -1 for no data.
    spacing : (3,) float
        Voxel size as stored; Allen's grids use um.
    origin : (3,) float
        Position of voxel (0, 0, 0) as stored.

    Raises
    ------
    DataError
        Where a file is missing, damaged, too large or of another kind.
    """
    check_plain(path, "a MetaImage file")
    where, fields, data = _from_zip(path, member, most) if is_zip(path) else _from_folder(path, most)
    shape, dtype = _layout(fields, where)
    if len(data) != (expected := math.prod(shape) * dtype.itemsize):
        raise _wrong_size(where, fields, expected, len(data))
    volume = np.frombuffer(data, dtype).reshape(shape[::-1]).transpose(2, 1, 0)
    native = np.ascontiguousarray(volume).astype(dtype.newbyteorder("="), copy=False)
    return native, _triple(fields, "ElementSpacing", where), _triple(fields, "Offset", where)


def states_spacing(path: Path) -> bool:
    """Check whether the header of a volume states a voxel size.

    Parameters
    ----------
    path : Path
        A `.mhd` that `read_metaimage` reads.

    Returns
    -------
    bool
        False where `read_metaimage` returns 1 along every axis for want of a better number.
    """
    return "ElementSpacing" in _fields(
        _text(read_content(path, "a MetaImage header", MOST_HEADER), str(path))
    )


def read_grid(path: Path, member: str | None = None) -> Float32:
    """Read an expression grid.

    Parameters
    ----------
    path : Path
        A `.mhd` or a zip, as of `read_metaimage`.
    member : str, optional
        `.mhd` to read of a zip.

    Returns
    -------
    (P, I, R) float32
        NaN where the file has -1 (no data).
    """
    volume = read_metaimage(path, member)[0].astype(np.float32)
    volume[volume == NO_DATA] = np.nan
    return volume


def write_grid(path: Path, grid: Float32, spacing_um: float) -> None:
    """Write an expression grid as Allen serves it, byte for byte.

    Parameters
    ----------
    path : Path
        `.mhd`; the data go into the `.raw` of the same name beside it.
    grid : (P, I, R) float32
        NaN = no data, written as -1.
    spacing_um : float, um
        Voxel size.

    Raises
    ------
    DataError
        Where the name does not end in `.mhd` or the grid does not have three dimensions.
    """
    _write(path, np.where(np.isnan(grid), np.float32(NO_DATA), grid).astype("<f4"), spacing_um)


def write_labels(path: Path, labels: UInt32, spacing_um: float) -> None:
    """Write structure ids as Allen serves gridAnnotation.

    Parameters
    ----------
    path : Path
        `.mhd`; the data go into the `.raw` of the same name beside it.
    labels : (P, I, R) uint32
        Structure ids.
    spacing_um : float, um
        Voxel size.

    Raises
    ------
    DataError
        Where the name does not end in `.mhd` or the labels do not have three dimensions.
    """
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


def _from_folder(path: Path, most: int) -> tuple[str, dict[str, str], bytes]:
    where = str(path)
    fields = _fields(_text(read_content(path, "a MetaImage header", MOST_HEADER), where))
    name = fields.get("ElementDataFile", "")
    if name == "LOCAL":
        raise DataError(
            f"{where}: expected the data in a file of its own, got them inside; write .mhd + .raw"
        )
    raw = _inside(path, name)
    expected, packed = _bytes_of(fields, where, most), _is_packed(fields)
    size = check_plain(raw, f"the data of {path.name}")
    if not packed and size != expected:
        raise _wrong_size(where, fields, expected, size)
    data = read_content(raw, f"the data of {path.name}", _most_packed(expected) if packed else expected)
    return where, fields, _inflate(data, where, expected) if packed else data


def _inside(path: Path, name: str) -> Path:
    """Return the data file that a header names; DataError where it lies outside the folder of the header."""
    if not name or "\0" in name:
        raise DataError(f"{path}: expected a file name in ElementDataFile, got {shown(name)}")
    raw = path.parent / name
    real, homes = real_path(raw), {real_path(path.parent), real_path(path).parent}
    if Path(name).is_absolute() or ".." in Path(name).parts or not any(map(real.is_relative_to, homes)):
        raise DataError(
            f"{path}: expected ElementDataFile in the folder of the header, got {shown(name)}, which leads"
            " out of it; put the data beside it"
        )
    return raw


def _from_zip(path: Path, member: str | None, most: int) -> tuple[str, dict[str, str], bytes]:
    with open_zip(path) as archive:
        listed = archive.namelist()
        names = [n for n in listed if n.endswith(".mhd")]
        chosen = member or ("energy.mhd" if "energy.mhd" in names else (names or [""])[0])
        if chosen not in names or (member is None and len(names) > 1 and chosen != "energy.mhd"):
            raise DataError(f"{path}: expected one grid {chosen or '.mhd'}, got {shown(names)}")
        where = f"{path}:{chosen}"
        fields = _fields(_text(read_member(path, archive, chosen, MOST_HEADER), where))
        beside = str(PurePosixPath(chosen).parent / fields.get("ElementDataFile", ""))
        if beside not in listed:
            raise DataError(f"{where}: expected its data file {shown(beside)} in the zip, got none")
        expected, packed = _bytes_of(fields, where, most), _is_packed(fields)
        if not packed and (size := archive.getinfo(beside).file_size) != expected:
            raise _wrong_size(where, fields, expected, size)
        data = read_member(path, archive, beside, _most_packed(expected) if packed else expected)
    return where, fields, _inflate(data, where, expected) if packed else data


def _bytes_of(fields: dict[str, str], where: str, most: int) -> int:
    """Return the number of bytes that a header states; DataError where a volume may not have so many."""
    shape, dtype = _layout(fields, where)
    expected = math.prod(shape) * dtype.itemsize
    if expected > most:
        raise DataError(
            f"{where}: expected a volume of at most {most} bytes, got DimSize {shown(fields['DimSize'])}"
        )
    return expected


def _most_packed(expected: int) -> int:
    """Return the largest size of a zlib stream that unpacks to `expected` bytes."""
    return expected + expected // 1000 + 1024


def _is_packed(fields: dict[str, str]) -> bool:
    return fields.get("CompressedData", "False").lower() == "true"


def _wrong_size(where: str, fields: dict[str, str], expected: int, got: int) -> DataError:
    return DataError(
        f"{where}: expected {expected} bytes for {' x '.join(fields['DimSize'].split())} voxels, got {got};"
        " the data file is cut off or of another grid"
    )


def _text(head: bytes, where: str) -> str:
    if b"ElementDataFile" not in head or b"DimSize" not in head:
        raise DataError(f"{where}: expected a MetaImage header with DimSize and ElementDataFile, got neither")
    return head.decode("utf-8", errors="replace")


def _fields(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _layout(fields: dict[str, str], where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        shape = tuple(int(n) for n in fields["DimSize"].split())
        code = TYPES[fields["ElementType"]]
        channels = int(fields.get("ElementNumberOfChannels", "1"))
    except (KeyError, ValueError) as error:
        what = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{where}: expected DimSize and a known ElementType, got {what[:100]}") from error
    if len(shape) != 3 or min(shape) < 1 or channels != 1:
        raise DataError(
            f"{where}: expected one volume of three dimensions, got DimSize {shown(fields['DimSize'])}"
        )
    order = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    return shape, np.dtype((">" if order.lower() == "true" else "<") + code)


def _triple(fields: dict[str, str], key: str, where: str) -> tuple[float, float, float]:
    default = "0 0 0" if key == "Offset" else "1 1 1"
    try:
        a, b, c = (float(v) for v in fields.get(key, default).split())
        if not math.isfinite(a + b + c):
            raise ValueError
    except ValueError as error:
        raise DataError(f"{where}: expected three numbers in {key}, got {shown(fields.get(key))}") from error
    return a, b, c


def _inflate(data: bytes, where: str, expected: int) -> bytes:
    """Unpack a zlib stream; stop one byte beyond the expected size to detect longer ones."""
    if expected > _INFLATED * len(data):
        raise DataError(
            f"{where}: expected compressed data of {expected} bytes, {len(data)} cannot hold them"
        )
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(data, expected + 1)
    except zlib.error as error:
        raise DataError(
            f"{where}: expected whole compressed data, got damaged ones ({error}); download it again"
        ) from error
    if len(found) > expected:
        raise DataError(
            f"{where}: expected compressed data of {expected} bytes, got more; damaged, or of another grid"
        )
    if not unpacker.eof:
        raise DataError(f"{where}: expected whole compressed data, got damaged ones; download it again")
    return found
