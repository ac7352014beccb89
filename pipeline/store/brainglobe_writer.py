"""Writing BrainGlobe atlases of version 3: manifest, OME-Zarr components, meshes and terminology.csv."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.core.model import LEFT, MIDLINE_UM, RIGHT, Float32, Float64, Int64, UInt8, UInt32
from pipeline.core.ontology import COLOUR, Ontology
from pipeline.formats.volumes.brainglobe import (
    ANNOTATION_3,
    FILL_COLOUR,
    MANIFEST,
    MIDLINE_KEY,
    TEMPLATE_3,
    TERMINOLOGY,
)
from pipeline.formats.volumes.draco import encode_mesh
from pipeline.formats.volumes.reference_folder import present_labels
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    import zarr
else:
    zarr = LazyModule("zarr")

TREE = "brainglobe-atlasapi"  # folder inside `brainglobe_dir` that BrainGlobe's own package adds
HEMISPHERES = "hemispheres.ome.zarr"
MASKS, MASK_IDS = "annotations.ome.zarr", "annotation_values"  # a mask a structure, and whose each is
MESHES = "annotations.precomputed/mesh"
VERSION = "1.0"
LEVELS = 3  # resolutions of every volume, each half of the one before
CHUNK = 128  # voxels along each axis
MASK_CHUNK = 256  # of masks, which are nearly empty
NM_UM = 1000.0  # BrainGlobe's meshes are in nm
_MOST_PARENT = 65535  # brainglobe-atlasapi 3.0 reads the parent's id as 16 bits, and the path for itself
_COLUMNS = (
    "identifier", "parent_identifier", "annotation_value", "name", "abbreviation", "color_hex_triplet",
    "root_identifier_path",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class StructureShape:
    """Where a structure is, its descendants included.

    Attributes
    ----------
    id : int
        Of the structure.
    corner : (int, int, int)
        First voxel of the box around it.
    mask : (p, i, r) uint8
        1 inside, within that box.
    vertices : (n, 3) float64, um
        Of its surface, (P, I, R).
    faces : (m, 3) int64
        Indices of vertices, anticlockwise as seen from outside.
    """

    id: int
    corner: tuple[int, int, int]
    mask: UInt8
    vertices: Float64
    faces: Int64


@dataclass(frozen=True, eq=False)
class WrittenAtlas:
    """An atlas to be written.

    Attributes
    ----------
    name : str
        Name without the resolution: letters, digits and underscores.
    spacing_um : float, um
        Voxel size.
    annotation : (P, I, R) uint32
        Structure ids.
    template : (P, I, R) float32 or None
        Grey image; None: the atlas shows where its annotation is.
    ontology : Ontology
        The structures.
    midline_um : float, um, or None
        R of the midline, where known.
    is_symmetric : bool
        Whether the midline lies in the middle of the box.
    """

    name: str
    spacing_um: float
    annotation: UInt32
    template: Float32 | None
    ontology: Ontology
    midline_um: float | None
    is_symmetric: bool


def write_atlas(folder: Path, atlas: WrittenAtlas, shapes: Iterable[StructureShape] = ()) -> Path:
    """Write an atlas.

    Parameters
    ----------
    folder : Path
        What `brainglobe_dir` of brainglobe-atlasapi names; the tree goes into it.
    atlas : WrittenAtlas
        The atlas.
    shapes : iterable of StructureShape
        Of the structures that have voxels, or whose descendants have: their masks and meshes.

    Returns
    -------
    Path
        Folder of the atlas, with its manifest.
    """
    root, version = folder / TREE, VERSION.replace(".", "_")
    places = {
        kind: f"/{kind}/{atlas.name}-{part}/{version}"
        for kind, part in (
            ("annotation-sets", "annotation"),
            ("templates", "template"),
            ("terminologies", "terminology"),
            ("coordinate-spaces", "space"),
        )
    }
    for place in places.values():
        (root / place[1:]).mkdir(parents=True)
    sets = root / places["annotation-sets"][1:]
    _write_pyramid(sets / ANNOTATION_3, atlas.annotation, atlas.spacing_um)
    if not atlas.is_symmetric:
        _write_pyramid(sets / HEMISPHERES, _sides(atlas), atlas.spacing_um)
    _write_pyramid(root / places["templates"][1:] / TEMPLATE_3, _grey(atlas), atlas.spacing_um)
    _write_shapes(sets, atlas, shapes)
    terms = root / places["terminologies"][1:] / TERMINOLOGY
    terms.write_text(terminology(atlas.ontology, atlas.annotation), encoding="utf-8")
    named = {kind: {"name": p.split("/")[2], "version": VERSION, "location": p} for kind, p in places.items()}
    space = named["coordinate-spaces"] | {"template": named["templates"]}
    space_file = root / places["coordinate-spaces"][1:] / MANIFEST
    space_file.write_text(json.dumps(space, indent=1), encoding="utf-8")
    home = root / "atlases" / f"{atlas.name}_{atlas.spacing_um:g}um" / version
    home.mkdir(parents=True)
    (home / MANIFEST).write_text(json.dumps(_manifest(atlas, home, root, named), indent=1), encoding="utf-8")
    return home


def _manifest(atlas: WrittenAtlas, home: Path, root: Path, named: dict[str, Any]) -> dict[str, Any]:
    annotation_set = named["annotation-sets"] | {
        "template": named["templates"],
        "terminology": named["terminologies"],
    }
    return {
        "name": atlas.name,
        "location": f"/{home.relative_to(root).as_posix()}",
        "citation": "unpublished",
        "atlas_link": "",
        "species": "",
        "symmetric": atlas.is_symmetric,
        "resolution": [atlas.spacing_um] * 3,
        "orientation": "asr",
        "version": VERSION,
        "shape": list(atlas.annotation.shape),
        "additional_references": [],
        "coordinate_space": named["coordinate-spaces"],
        "terminology": named["terminologies"],
        "annotation_set": annotation_set,
        "template": named["templates"],
        MIDLINE_KEY: atlas.midline_um,
    }


def terminology(ontology: Ontology, annotation: UInt32) -> str:
    """Return the structures of an atlas as terminology.csv.

    Parameters
    ----------
    ontology : Ontology
        The structures.
    annotation : uint32 of any shape
        Structure ids in use.

    Returns
    -------
    str
        All structures that have voxels, and their ancestors, in graph order.
    """
    used = _used(ontology, annotation)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for one in sorted(ontology.structures, key=lambda s: s.graph_order):
        if one.id not in used:
            continue
        path = [int(i) for i in ontology.path(one.id)]
        parent = path[-2] if len(path) > 1 and path[-2] <= _MOST_PARENT else ""
        colour = one.color if COLOUR.fullmatch(one.color) else FILL_COLOUR
        table.writerow([one.id, parent, one.id, one.name, one.acronym, f"#{colour}", path])
    return text.getvalue()


def _used(ontology: Ontology, annotation: UInt32) -> set[int]:
    """Return the structures that have voxels, and their ancestors."""
    present = (int(label) for label in present_labels(annotation))
    return {int(one) for label in present if label in ontology.by_id for one in ontology.path(label)}


def _write_shapes(sets: Path, atlas: WrittenAtlas, shapes: Iterable[StructureShape]) -> None:
    """Write a mask and a mesh for every structure of the atlas."""
    ids = sorted(_used(atlas.ontology, atlas.annotation))
    meshes = sets / MESHES
    meshes.mkdir(parents=True)
    group = _multiscale(sets / MASKS, [[1.0, *_scale(atlas.spacing_um, 0)]], ("c", "z", "y", "x"))
    group.create_array(MASK_IDS, data=np.array(ids, np.uint32))
    shape = atlas.annotation.shape
    chunks = (1, *(min(MASK_CHUNK, n) for n in shape))
    masks = group.create_array("0", shape=(len(ids), *shape), chunks=chunks, dtype="u1")
    last_um = (shape[2] - 1) * atlas.spacing_um
    index = {one: k for k, one in enumerate(ids)}
    for one in shapes:
        if one.id not in index:
            continue
        box, inside = _in_chunks(one, shape)
        masks[(index[one.id], *box)] = inside
        p, i, r = one.vertices.T
        turned = np.column_stack([last_um - r, i, p]) * NM_UM  # x, y and z of asr
        (meshes / str(one.id)).write_bytes(encode_mesh(turned, one.faces))


def _in_chunks(one: StructureShape, shape: Sequence[int]) -> tuple[tuple[slice, ...], UInt8]:
    """Return a mask in asr, its box widened to whole chunks, so that none of them is read again."""
    corner = list(one.corner)
    corner[2] = shape[2] - corner[2] - one.mask.shape[2]
    starts = [start // MASK_CHUNK * MASK_CHUNK for start in corner]
    stops = [
        min(most, -(-(start + n) // MASK_CHUNK) * MASK_CHUNK)
        for start, n, most in zip(corner, one.mask.shape, shape, strict=True)
    ]
    whole = np.zeros([b - a for a, b in zip(starts, stops, strict=True)], np.uint8)
    within = (slice(c - a, c - a + n) for c, a, n in zip(corner, starts, one.mask.shape, strict=True))
    whole[tuple(within)] = one.mask[:, :, ::-1]
    return tuple(slice(a, b) for a, b in zip(starts, stops, strict=True)), whole


def _sides(atlas: WrittenAtlas) -> npt.NDArray[np.uint8]:
    midline_um = MIDLINE_UM if atlas.midline_um is None else atlas.midline_um
    left = np.arange(atlas.annotation.shape[2]) * atlas.spacing_um < midline_um
    row = np.where(left, LEFT, RIGHT).astype(np.uint8)
    return np.broadcast_to(row, atlas.annotation.shape)


def _grey(atlas: WrittenAtlas) -> npt.NDArray[np.uint16]:
    """Return the template as the 16 bits that BrainGlobe's templates have."""
    if atlas.template is None:
        return np.asarray(atlas.annotation > 0, np.uint16)
    low, high = float(atlas.template.min()), float(atlas.template.max())
    if low >= 0 and 200 <= high <= 65535:
        return np.asarray(np.rint(atlas.template), np.uint16)
    scaled = (atlas.template - low) * (65535 / max(high - low, 1e-30))
    return np.asarray(np.rint(scaled), np.uint16)


def _write_pyramid(place: Path, volume: npt.NDArray[Any], spacing_um: float) -> None:
    """Write a (P, I, R) volume and coarser ones as OME-Zarr 0.5 in the orientation asr.

    The coarser ones take every second voxel: so voxel i lies at i x spacing in all of them.
    """
    levels = _levels(volume)
    group = _multiscale(place, [_scale(spacing_um, number) for number in range(len(levels))], ("z", "y", "x"))
    for number, level in enumerate(levels):
        chunks = tuple(min(CHUNK, n) for n in level.shape)
        stored = np.ascontiguousarray(level[:, :, ::-1])
        group.create_array(str(number), data=stored, chunks=chunks, dimension_names=["z", "y", "x"])


def _multiscale(place: Path, scales: Sequence[Sequence[float]], axes: Sequence[str]) -> zarr.Group:
    """Return a new group whose arrays "0", "1" … have these scales, mm along space."""
    group = zarr.create_group(place, zarr_format=3)
    datasets = [
        {"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": list(scale)}]}
        for number, scale in enumerate(scales)
    ]
    kinds = [{"type": "channel"} if name == "c" else {"type": "space", "unit": "millimeter"} for name in axes]
    named = [{"name": name, **kind} for name, kind in zip(axes, kinds, strict=True)]
    image = {"name": "/", "axes": named, "datasets": datasets}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return group


def _scale(spacing_um: float, level: int) -> list[float]:
    return [spacing_um * 2**level / 1000.0] * 3


def _levels(volume: npt.NDArray[Any]) -> Sequence[npt.NDArray[Any]]:
    found = [volume]
    while len(found) < LEVELS and min(found[-1].shape) >= 16:
        found.append(found[-1][::2, ::2, ::2])
    return found
