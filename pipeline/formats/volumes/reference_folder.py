"""Reference folders: annotation, template and ontology of one release, as files on disk."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.model import CORONAL_SPACE
from pipeline.core.ontology import Ontology, from_structure_graph
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.brainglobe import is_brainglobe, read_brainglobe
from pipeline.formats.volumes.labels import is_cubic, structure_ids
from pipeline.formats.volumes.metaimage import read_metaimage
from pipeline.formats.volumes.nrrd import nrrd_spacing, read_nrrd
from pipeline.system.files import read_json_value, real_path, shown

ONTOLOGY = "structure_graph_1.json"
# Stems of file names, the preferred first; `_<um>` may follow.
ANNOTATIONS = ("annotation",)
TEMPLATES = ("average_template", "atlasVolume", "ara_nissl")
GRID_ANNOTATION = "gridAnnotation.mhd"
DESCRIPTION = "reference.json"  # of a reference that `ish reference` built
BRAINGLOBE_ATLASES = "brainglobe-atlasapi/atlases/*/*/manifest.json"  # of a brainglobe_dir
NEEDS = f"a reference folder holds annotation_<um>.nrrd (or annotation.mhd) and {ONTOLOGY}"


def read_reference(
    folder: Path, resolution_um: float | None = None, *, template: bool = True
) -> ReferenceSpace:
    """Read a reference folder: Allen's files under either of their names, or a BrainGlobe atlas of TIFFs.

    Parameters
    ----------
    folder : Path
        Reference folder.
    resolution_um : float, um, optional
        Voxel size of the annotation; default the finest in the folder.
    template : bool
        Read the template too: at the resolution of the annotation, else the finest in the folder.

    Returns
    -------
    ReferenceSpace
        The reference; the served gridAnnotation is included where the folder holds it.

    Raises
    ------
    DataError
        Where a file is missing, damaged or of another box; the message names what a reference folder needs.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a reference folder, got none; {NEEDS}")
    if is_brainglobe(folder):
        return read_brainglobe(folder, resolution_um, template=template)
    labels, labels_um = _read_labels(_choose(folder, _volumes(folder, ANNOTATIONS), resolution_um))
    grey, grey_um = _read_template(folder, labels_um) if template else (None, 0.0)
    served = folder / GRID_ANNOTATION
    return ReferenceSpace(
        id=CORONAL_SPACE,
        name=real_path(folder).name,
        annotation=labels,
        annotation_um=labels_um,
        ontology=read_ontology(folder / ONTOLOGY),
        template=grey,
        template_um=grey_um,
        grid_annotation=_read_served(served) if served.is_file() else None,
        stated_midline_um=read_midline_um(folder),
    )


def read_midline_um(folder: Path) -> float | None:
    """Return where the hemispheres of a reference part.

    Parameters
    ----------
    folder : Path
        Reference folder.

    Returns
    -------
    float or None, um
        `midline_um` of its reference.json; None where there is no such file or it states none.

    Raises
    ------
    DataError
        Where the file is damaged or states something else than a number above 0.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    document = read_json_value(path, "the description of a reference")
    stated = document.get("midline_um") if isinstance(document, dict) else None
    if stated is None:
        return None
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not stated > 0:
        raise DataError(f"{path}: expected midline_um in um or null, got {shown(stated)}")
    return float(stated)


def read_finest_template(folder: Path) -> tuple[npt.NDArray[Any], float] | None:
    """Return the finest template of a reference folder of volumes, its values as stored.

    Parameters
    ----------
    folder : Path
        Reference folder, not a BrainGlobe atlas.

    Returns
    -------
    (P, I, R) array and float, um, or None
        Values and voxel size; None where the folder has no template.

    Raises
    ------
    DataError
        Where the file is damaged.
    """
    volumes = _volumes(folder, TEMPLATES)
    return _read_volume(volumes[0][0]) if volumes else None


def read_ontology(path: Path) -> Ontology:
    """Read Allen's structure graph.

    Parameters
    ----------
    path : Path
        structure_graph_1.json.

    Returns
    -------
    Ontology
        All structures of the graph.

    Raises
    ------
    DataError
        Where the file is missing or damaged.
    """
    try:
        document = read_json_value(path, "the ontology")
    except DataError as error:
        raise DataError(f"{error}; {NEEDS}; download it again") from None
    if not isinstance(document, dict):
        raise DataError(f"{path}: expected a structure graph with 'msg', got {type(document).__name__}")
    try:
        return from_structure_graph(document)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def present_labels(labels: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Return the sorted distinct labels of a volume in little more time than one pass takes.

    Parameters
    ----------
    labels : uint32 of any shape
        Structure ids.

    Returns
    -------
    (n,) uint32
        Sorted, without duplicates.

    Notes
    -----
    Labels form long runs along memory, so only the first voxel of each run is sorted.

    Examples
    --------
    >>> present_labels(np.array([[7, 7, 0], [0, 9, 9]], dtype=np.uint32))
    array([0, 7, 9], dtype=uint32)
    """
    flat = labels.ravel(order="K")
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return np.unique(np.append(flat[starts], flat[:1]))


def available(folder: Path) -> list[tuple[str, float]]:
    """List the volumes of a reference folder.

    Parameters
    ----------
    folder : Path
        Reference folder.

    Returns
    -------
    list of (str, float)
        File name and voxel size in um; 0 where the name does not state the size.
    """
    return [(path.name, um or 0.0) for path, um in _volumes(folder, (*ANNOTATIONS, *TEMPLATES))]


def _volumes(folder: Path, stems: Iterable[str]) -> list[tuple[Path, float | None]]:
    """Find volumes by the start of their names, in order of preference: stem first, then finest."""
    found = []
    for order, stem in enumerate(stems):
        pattern = re.compile(rf"{stem}(?:_(\d+(?:\.\d+)?))?\.(?:nrrd|mhd)")
        for path in folder.iterdir():
            named = pattern.fullmatch(path.name)
            if named:
                um = float(named[1]) if named[1] else None
                found.append((order, um or 0.0, path, um))
    return [(path, um) for _, _, path, um in sorted(found, key=lambda f: (f[0], f[1], f[2].name))]


def _choose(folder: Path, volumes: list[tuple[Path, float | None]], resolution_um: float | None) -> Path:
    if not volumes:
        atlases = sorted(folder.glob(BRAINGLOBE_ATLASES))
        also = f"; name the atlas in it, {atlases[0].parent}" if atlases else f"; {NEEDS}"
        raise DataError(f"{folder}: expected an annotation, got none{also}")
    if resolution_um is None:
        return volumes[0][0]
    for path, um in volumes:
        if (_header_um(path) if um is None else um) == resolution_um:
            return path
    there = ", ".join(path.name for path, _ in volumes)
    raise DataError(
        f"{folder}: expected an annotation at {resolution_um:g} um, got {there}; choose one of these"
    )


def _read_labels(path: Path) -> tuple[npt.NDArray[np.uint32], float]:
    volume, um = _read_volume(path)
    return structure_ids(volume, path), um


def _read_template(folder: Path, labels_um: float) -> tuple[npt.NDArray[np.float32] | None, float]:
    volumes = _volumes(folder, TEMPLATES)
    if not volumes:
        return None, 0.0
    same = [path for path, um in volumes if um == labels_um]
    volume, um = _read_volume((same or [volumes[0][0]])[0])
    return volume.astype(np.float32), um


def _read_served(path: Path) -> npt.NDArray[np.uint32]:
    labels, spacing, _ = read_metaimage(path)
    if set(spacing) != {200.0}:
        raise DataError(f"{path}: expected a 200 um grid, got spacing {spacing}; leave the file out")
    return structure_ids(labels, path)


def _read_volume(path: Path) -> tuple[npt.NDArray[Any], float]:
    """Read a (P, I, R) volume and its voxel size in um, checked against its name.

    The axes are a view on the file's own order (P fastest): copying 300 MB to reorder them has no benefit.
    """
    if path.suffix == ".mhd":
        volume, spacing, _ = read_metaimage(path)
        return volume, _resolution_um(path, spacing)
    values, sizes = read_nrrd(path)
    return values, _resolution_um(path, sizes)


def _header_um(path: Path) -> float:
    return _resolution_um(path, read_metaimage(path)[1] if path.suffix == ".mhd" else nrrd_spacing(path))


def _resolution_um(path: Path, spacing: tuple[float, ...]) -> float:
    """Return the voxel size in um; below 1 the header is in mm, else in um. The name must agree."""
    if not is_cubic(spacing):
        raise DataError(f"{path}: expected one spacing along all axes, got {spacing}")
    um = spacing[0] if spacing[0] >= 1.0 else 1000.0 * spacing[0]
    named = re.search(r"_(\d+(?:\.\d+)?)\.\w+$", path.name)
    stated = float(named[1]) if named else None
    if stated is not None and spacing[0] == 1.0:  # 1 is the default of a header that states no spacing
        return stated
    if stated is not None and abs(um - stated) > 1e-3 * stated:
        raise DataError(
            f"{path}: expected {stated:g} um as its name says, got spacing {spacing[0]:g} in its header"
        )
    return round(um, 6)
