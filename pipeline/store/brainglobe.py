"""BrainGlobe atlases of version 3, whose volumes are OME-Zarr shared by atlases of several resolutions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError, PipelineError
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.brainglobe import (
    MANIFEST,
    MOST_VOXELS,
    atlas_space,
    read_manifest,
    structures_file,
    to_pir,
)
from pipeline.formats.volumes.labels import structure_ids
from pipeline.store.chunk_bounds import check_chunks, chunk_files, chunks_of
from pipeline.system.files import check_plain, read_json_value, shown
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    import zarr
else:
    zarr = LazyModule("zarr")

ORIENTATION = "asr"  # of every atlas of version 3
DOCUMENT = "zarr.json"
CHUNKS = "c"  # folder of the chunks of an array
MM_UM = 1000.0  # scales are in mm


def read_atlas(folder: Path, resolution_um: float | None = None, *, template: bool = True) -> ReferenceSpace:
    """Read an atlas of version 3, its axes reordered to (P, I, R).

    Parameters
    ----------
    folder : Path
        Atlas folder, atlases/NAME/VERSION of BrainGlobe's tree.
    resolution_um : float, um, optional
        Voxel size that the atlas must have; default any.
    template : bool
        Read the grey image too.

    Returns
    -------
    ReferenceSpace
        The atlas; annotation and template have the same voxels.

    Raises
    ------
    DataError
        Where a part is missing, damaged or not downloaded, or is not of the requested voxel size.
    """
    spacing_um = read_manifest(folder, resolution_um).spacing_um
    parts = _levels(folder)
    labels = structure_ids(_volume(folder, parts["annotation"]), parts["annotation"])
    grey = to_pir(_volume(folder, parts["template"]), ORIENTATION) if template else None
    return atlas_space(folder, spacing_um, to_pir(labels, ORIENTATION), grey)


def lacking_volumes(folder: Path) -> dict[str, Path]:
    """Return the volumes of an atlas whose voxels are not there.

    Parameters
    ----------
    folder : Path
        Atlas folder of version 3.

    Returns
    -------
    dict of str to Path
        Folder of the chunks by "annotation" and "template"; empty where both are there. BrainGlobe downloads
        them when they are first used.

    Raises
    ------
    DataError
        Where a document is missing or damaged.
    """
    return {name: level / CHUNKS for name, level in _levels(folder).items() if not _is_there(level)}


def atlas_files(folder: Path) -> list[Path]:
    """Return the files that an atlas of version 3 is read from.

    Parameters
    ----------
    folder : Path
        Atlas folder.

    Returns
    -------
    list of Path
        Those that are there of manifest and terminology, then documents and chunks of the volumes at the
        resolution of the atlas.

    Raises
    ------
    DataError
        Where a document is missing or damaged.
    """
    files = [folder / MANIFEST, structures_file(folder)]
    for level in _levels(folder).values():
        chunks = sorted(chunk_files(level)) if level.is_dir() else []
        files += [level.parent / DOCUMENT, level / DOCUMENT, *chunks]
    return [path for path in files if path.is_file()]


def _levels(folder: Path) -> dict[str, Path]:
    """Return the arrays of annotation and template at the resolution of an atlas."""
    manifest = read_manifest(folder)
    parts = {"annotation": manifest.annotation, "template": manifest.template}
    return {name: _level(place, manifest.spacing_um) for name, place in parts.items()}


def _level(place: Path, spacing_um: float) -> Path:
    """Return the array of an OME-Zarr that has a voxel size; DataError where there is none."""
    document = read_json_value(place / DOCUMENT, "a volume of a BrainGlobe atlas")
    try:
        datasets = document["attributes"]["ome"]["multiscales"][0]["datasets"]
        scales = {str(node["path"]): _scale_um(node) for node in datasets}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"{place / DOCUMENT}: expected levels with their scale, got {error!r}; download it again"
        ) from None
    fits = [name for name, um in scales.items() if all(math.isclose(v, spacing_um, rel_tol=1e-5) for v in um)]
    if not fits:
        there = ", ".join(f"{um[0]:g}" for um in scales.values())
        raise DataError(f"{place}: expected a level of {spacing_um:g} um, got levels of {there[:80]} um")
    if PurePosixPath(fits[0]).is_absolute() or ".." in PurePosixPath(fits[0]).parts:
        raise DataError(f"{place}: expected levels inside it, got {shown(fits[0])}")
    return place / fits[0]


def _scale_um(node: Mapping[str, Any]) -> tuple[float, float, float]:
    scales = [t["scale"] for t in node["coordinateTransformations"] if "scale" in t]
    z, y, x = (MM_UM * float(v) for v in scales[0][-3:])
    return z, y, x


def _is_there(level: Path) -> bool:
    return (level / CHUNKS).is_dir() and any(chunk_files(level / CHUNKS))


def _volume(folder: Path, level: Path) -> npt.NDArray[Any]:
    """Read the voxels of a level."""
    check_plain(level / DOCUMENT, "a volume of a BrainGlobe atlas")
    if not _is_there(level):
        raise DataError(
            f"{level}: expected voxels, got none: BrainGlobe downloads them when they are used;"
            f" `ish reference fetch brainglobe:{folder.absolute().parent.name}` does"
        )
    with _blaming(level):
        array = zarr.open_array(level, mode="r")
        shape, dtype = array.shape, np.dtype(array.dtype)
        if len(shape) != 3 or dtype.kind not in "uif" or math.prod(shape) > MOST_VOXELS:
            raise DataError(
                f"{level}: expected up to {MOST_VOXELS} voxels along three axes, got {dtype} {shape}"
            )
        # A chunk that is not there holds zeros.
        check_chunks(chunk_files(level), chunks_of(level, shape, array.chunks, dtype.itemsize))
        return np.asarray(array[...]).astype(dtype.newbyteorder("="), copy=False)


@contextmanager
def _blaming(level: Path) -> Iterator[None]:
    """Turn every error of zarr and its decoders into a DataError of one line."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:  # decoders raise errors of many types on damaged bytes
        what = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{level}: expected a whole volume, got {what}; download it again") from error
