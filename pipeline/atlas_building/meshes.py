"""Surfaces of structures, `meshes/<id>.obj`: made of the labels of a result, or moved from its source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.displacement import Displacement
from pipeline.core.errors import DataError
from pipeline.core.model import Float64, Int64, UInt8, UInt32
from pipeline.core.ontology import Ontology
from pipeline.formats.volumes.meshes import Mesh, surface, write_obj
from pipeline.formats.volumes.reference_folder import present_labels
from pipeline.system.files import read_text

FOLDER = "meshes"
# Of the box around a structure, above which it is reduced: the surfaces of a mouse brain at 25 um took 660 MB
# without.
MOST_VOXELS = 100_000


def write_meshes(folder: Path, annotation: UInt32, spacing_um: float, ontology: Ontology) -> int:
    """Write the surface of every structure that has voxels, those of its descendants included.

    Parameters
    ----------
    folder : Path
        Where they are written to as `<id>.obj`; made where it is not there.
    annotation : (P, I, R) uint32
        Structure ids, 0 outside.
    spacing_um : float, um
        Voxel size.
    ontology : Ontology
        The structures.

    Returns
    -------
    int
        Structures written.
    """
    count = 0
    for one, corner, mask in structure_masks(annotation, ontology):
        mesh = surface(mask, spacing_um, MOST_VOXELS)
        moved = mesh.vertices + np.array(corner) * spacing_um
        folder.mkdir(exist_ok=True)
        write_obj(folder / f"{one}.obj", Mesh(moved, mesh.normals, mesh.faces), normals=False)
        count += 1
    return count


def structure_masks(
    annotation: UInt32, ontology: Ontology
) -> Iterator[tuple[int, tuple[int, int, int], UInt8]]:
    """Yield the structures of an annotation.

    Parameters
    ----------
    annotation : (P, I, R) uint32
        Structure ids, 0 outside.
    ontology : Ontology
        The structures.

    Yields
    ------
    id : int
        Of a structure that has voxels, or whose descendants have.
    corner : (int, int, int)
        First voxel of the box around it.
    mask : (p, i, r) uint8
        1 inside, within that box.
    """
    ids = present_labels(annotation)
    index = np.empty(annotation.shape, np.int32)  # 1 and above, as find_objects takes them
    for plane, own in zip(annotation, index, strict=True):
        own[:] = np.searchsorted(ids, plane) + 1
    boxes = dict(zip(ids.tolist(), ndimage.find_objects(index, len(ids)), strict=True))
    for one in ontology.structures:
        held = [label for label in (one.id, *descendants(ontology, one.id)) if label in boxes and label]
        if not held:
            continue
        starts, stops = (
            [fold(getattr(boxes[label][axis], side) for label in held) for axis in range(3)]
            for side, fold in (("start", min), ("stop", max))
        )
        box = tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))
        inside = np.zeros(len(ids) + 1, np.uint8)
        inside[np.searchsorted(ids, held) + 1] = 1
        yield one.id, (starts[0], starts[1], starts[2]), inside[index[box]]


def descendants(ontology: Ontology, structure_id: int) -> Iterator[int]:
    """Yield the ids of all structures below one.

    Parameters
    ----------
    ontology : Ontology
        The structures.
    structure_id : int
        Id of the upper one.

    Yields
    ------
    int
        Parents before children.
    """
    for child in ontology.children.get(structure_id, ()):
        yield child
        yield from descendants(ontology, child)


def move_meshes(source: Path, to_target: Displacement, folder: Path) -> int:
    """Move the meshes of a reference folder.

    Parameters
    ----------
    source : Path
        Reference folder; its `meshes/<id>.obj` are in um along P, I and R.
    to_target : Displacement
        From its space to another one.
    folder : Path
        Where they are written to under the same names; made where there are any.

    Returns
    -------
    int
        Meshes moved.

    Raises
    ------
    DataError
        Where one of them is damaged.
    """
    paths = sorted(path for path in (source / FOLDER).glob("*.obj") if path.stem.isdigit())
    for path in paths:
        vertices, faces = read_obj(path)
        moved = to_target.apply(vertices)
        folder.mkdir(exist_ok=True)
        write_obj(folder / path.name, Mesh(moved, np.empty((0, 3)), faces), normals=False)
    return len(paths)


def read_obj(path: Path) -> tuple[Float64, Int64]:
    """Read the surface of a Wavefront OBJ.

    Parameters
    ----------
    path : Path
        `.obj`.

    Returns
    -------
    vertices : (n, 3) float64
        In the unit of the file.
    faces : (m, 3) int64
        Indices of vertices; polygons are cut into triangles.

    Raises
    ------
    DataError
        Where the file is missing, damaged or has no vertex.
    """
    vertices: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    for number, line in enumerate(read_text(path, "a mesh").splitlines(), start=1):
        kind, *words = line.split() or [""]
        try:
            if kind == "v":
                vertices.append([float(word) for word in words[:3]])
            elif kind == "f":
                at = [int(word.partition("/")[0]) for word in words]
                at = [k - 1 if k > 0 else len(vertices) + k for k in at]
                faces += [(at[0], at[k], at[k + 1]) for k in range(1, len(at) - 1)]
        except ValueError:
            raise DataError(
                f"{path}: line {number}: expected numbers of a Wavefront OBJ, got {line[:40]!r}"
            ) from None
    found = np.array(faces, np.int64).reshape(-1, 3)
    if not vertices or {len(v) for v in vertices} != {3} or not _are_indices(found, len(vertices)):
        raise DataError(f"{path}: expected a surface with vertices of three numbers and faces between them")
    return np.array(vertices, np.float64), found


def _are_indices(faces: Int64, count: int) -> bool:
    return not faces.size or bool(faces.min() >= 0 and faces.max() < count)
