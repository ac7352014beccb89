"""Volumes of a reference as MetaImage: in a zip, and displacement fields."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import Float32, UInt8, UInt32
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.metaimage import SERVED
from pipeline.formats.volumes.nrrd_writer import in_order
from pipeline.system.whole_files import replacing

KINDS = {"u1": "MET_UCHAR", "u2": "MET_USHORT", "u4": "MET_UINT", "f4": "MET_FLOAT"}  # by dtype
PACKING = 1  # of zips, which zlib packs
FIELD_HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 0 0 0
CenterOfRotation = 0 0 0
AnatomicalOrientation = RAI
ElementSpacing = {spacing}
DimSize = {size}
ElementNumberOfChannels = 3
ElementType = MET_FLOAT
ElementDataFile = {raw}
"""


def write_zip(path: Path, members: Sequence[str], volume: npt.NDArray[Any], spacing_um: float) -> None:
    """Write a volume as MetaImage in a zip.

    Parameters
    ----------
    path : Path
        Zip file; appears whole or not at all.
    members : sequence of str
        Names of the headers; the values follow in the `.raw` of the same name.
    volume : (P, I, R) uint8, uint16, uint32 or float32
        Values.
    spacing_um : float, um
        Voxel size.
    """
    with replacing(path) as fresh, zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in members:
            raw = Path(name).with_suffix(".raw")
            head = metaimage_header(volume, spacing_um, raw.name)
            archive.writestr(_member(name), head, zipfile.ZIP_DEFLATED, PACKING)
            archive.writestr(_member(str(raw)), memoryview(in_order(volume)), zipfile.ZIP_DEFLATED, PACKING)


def _member(name: str) -> zipfile.ZipInfo:
    """Return a member without the time of writing, so that equal contents give equal files."""
    return zipfile.ZipInfo(name)


def metaimage_header(volume: npt.NDArray[Any], spacing_um: float, raw: str) -> str:
    """Return the MetaImage header of a volume, in the original's form.

    Parameters
    ----------
    volume : (P, I, R) array
        Values.
    spacing_um : float, um
        Voxel size.
    raw : str
        Name of the file with the values.

    Returns
    -------
    str
        Header.
    """
    return SERVED.format(
        uncompressed="" if volume.dtype.kind == "f" else "CompressedData = False\n",
        spacing=" ".join([f"{spacing_um:g}"] * 3),
        size=" ".join(map(str, volume.shape)),
        kind=KINDS[volume.dtype.str[1:]],
        raw=raw,
    )


def write_field(header: Path, field: Float32, spacing_um: float) -> None:
    """Write a displacement field as MetaImage, its values beside it.

    Parameters
    ----------
    header : Path
        `.mhd`; the values go into the `.raw` of the same name.
    field : (P, I, R, 3) float32, um
        Displacements.
    spacing_um : float, um
        Voxel size.
    """
    raw = header.with_suffix(".raw")
    with replacing(raw) as fresh:
        fresh.write_bytes(np.ascontiguousarray(field.transpose(2, 1, 0, 3), "<f4").tobytes())
    text = FIELD_HEADER.format(
        spacing=" ".join([f"{spacing_um:g}"] * 3), size=" ".join(map(str, field.shape[:3])), raw=raw.name
    )
    with replacing(header) as fresh:
        fresh.write_text(text, encoding="ascii")


def as_template(template: Float32) -> npt.NDArray[Any]:
    """Return a template in the smallest type that holds it exactly.

    Parameters
    ----------
    template : (P, I, R) float32
        Grey values.

    Returns
    -------
    (P, I, R) uint8, uint16 or float32
        The same values.
    """
    for kind, most in ((np.uint8, 255), (np.uint16, 65535)):
        if template.min() >= 0 and template.max() <= most:
            whole = template.astype(kind)
            if np.array_equal(whole, template):
                return whole
    return template


def structure_voxels(labels: UInt32, reference: ReferenceSpace, structure_id: int) -> UInt8:
    """Return where an annotation shows a structure or its descendants.

    Parameters
    ----------
    labels : (P, I, R) uint32
        Annotation.
    reference : ReferenceSpace
        Its ontology.
    structure_id : int
        Id of a structure of the ontology.

    Returns
    -------
    (P, I, R) uint8
        1 inside, else 0; P is the fastest axis in memory.
    """
    ids = np.array(sorted(reference.ontology.descendants(structure_id)), np.uint32)
    flat = labels.ravel(order="F")
    return np.asarray(_among(flat, ids).reshape(labels.shape, order="F"), np.uint8)


@kernel
def _among(labels: UInt32, ids: UInt32) -> UInt8:
    """Return which labels are among sorted ids; labels come in runs, so that few have to be looked up."""
    found = np.zeros(len(labels), np.uint8)
    last, inside = labels[0] if len(labels) else np.uint32(0), False
    for n in range(len(labels)):
        if n == 0 or labels[n] != last:
            last = labels[n]
            at = np.searchsorted(ids, last)
            inside = at < len(ids) and ids[at] == last
        found[n] = inside
    return found


def resolutions(there: Iterable[float]) -> str:
    """Return words for the resolutions that exist.

    Parameters
    ----------
    there : iterable of float, um
        Voxel sizes.

    Returns
    -------
    str
        Such as "25, 50 and 100 um".
    """
    names = [f"{um:g}" for um in sorted(set(there))]
    if not names:
        return "none"
    return f"{', '.join(names[:-1])} and {names[-1]} um" if len(names) > 1 else f"{names[0]} um"
