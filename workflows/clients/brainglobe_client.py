"""brainglobe-atlasapi on references of one's own, written by `ish reference … --format brainglobe`."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
from brainglobe_atlasapi import BrainGlobeAtlas
from brainglobe_atlasapi.atlas_generation import validate_atlases
from checking import Case, near, run, same

# Its own checks of an atlas that is to be published; the others ask its server, or for its list of names.
VALIDATORS = (
    "catch_missing_mesh_files",
    "catch_missing_structures",
    "validate_additional_references",
    "validate_annotation_symmetry",
    "validate_atlas_files",
    "validate_atlas_name",
    "validate_image_dimensions",
    "validate_mesh_matches_image_extents",
    "validate_metadata",
    "validate_template_image_pixels",
    "validate_unique_acronyms",
)
LEFT, RIGHT = 1, 2
ASR_UM = 0.2  # by which a mesh may move: places are written to a tenth of a um


def _atlases(case: Case) -> list[tuple[str, dict[str, Any], Any]]:
    """Return verb, facts and opened atlas of each."""
    return [
        (verb, facts, BrainGlobeAtlas(facts["name"], brainglobe_dir=facts["folder"], check_latest=False))
        for verb, facts in case.facts["atlases"].items()
    ]


def _expected(case: Case, verb: str, name: str) -> np.ndarray:
    """Return a volume of the folder in the orientation asr: [P, I, R] with R reversed."""
    return np.asarray(case.arrays[f"atlas/{verb}/{name}"])[:, :, ::-1]


def volumes(case: Case) -> None:
    """annotation, template, shape, resolution and orientation are those of the folder."""
    for verb, facts, atlas in _atlases(case):
        annotation, template = (_expected(case, verb, name) for name in ("annotation", "template"))
        same(atlas.orientation, "asr", f"{verb}: orientation")
        same(tuple(atlas.resolution), (facts["spacing_um"],) * 3, f"{verb}: resolution")
        same(tuple(atlas.shape), annotation.shape, f"{verb}: shape")
        assert np.array_equal(atlas.annotation, annotation), f"{verb}: other labels"
        same(atlas.template.dtype, np.uint16, f"{verb}: type of the template")
        like = np.corrcoef(atlas.template.ravel(), template.ravel())[0, 1]
        assert like > 0.9999, f"{verb}: the template correlates by {like:.4f}"


def hemispheres(case: Case) -> None:
    """hemispheres part at the midline; what lies on it is right."""
    for verb, facts, atlas in _atlases(case):
        shape = atlas.shape
        r_um = (shape[2] - 1 - np.arange(shape[2])) * facts["spacing_um"]
        expected = np.where(r_um < facts["midline_um"], LEFT, RIGHT)
        assert (atlas.hemispheres == expected).all(), f"{verb}: other hemispheres"
        middle = [n * facts["spacing_um"] / 2 for n in shape]
        same(atlas.hemisphere_from_coords([*middle[:2], 0.0], microns=True, as_string=True), "right", verb)
        last = (shape[2] - 1) * facts["spacing_um"]
        same(atlas.hemisphere_from_coords([*middle[:2], last], microns=True, as_string=True), "left", verb)


def structures(case: Case) -> None:
    """the structures, their colours and their tree are those of the ontology."""
    for verb, facts, atlas in _atlases(case):
        expected = facts["structures"]
        same(sorted(atlas.structures), sorted(map(int, expected)), f"{verb}: ids")
        for key, one in expected.items():
            found = atlas.structures[int(key)]
            same([found["acronym"], found["name"]], [one["acronym"], one["name"]], f"{verb}: {key}")
            same(bytes(found["rgb_triplet"]).hex().upper(), one["color"].upper(), f"{verb}: colour of {key}")
            same(list(found["structure_id_path"]), one["path"], f"{verb}: path of {key}")
            below = {one_["acronym"] for k, one_ in expected.items() if int(k) in one["descendants"]}
            below -= {one["acronym"]}
            same(set(atlas.get_structure_descendants(one["acronym"])), below, f"{verb}: below {key}")
        same(atlas.hierarchy.root, 997, f"{verb}: root of the tree")


def places(case: Case) -> None:
    """structure_from_coords names the structure of the folder at voxels and at um."""
    draw = np.random.default_rng(1)
    for verb, facts, atlas in _atlases(case):
        annotation = _expected(case, verb, "annotation")
        inside = np.argwhere(annotation)
        for voxel in inside[draw.choice(len(inside), 200, replace=False)]:
            label = int(annotation[tuple(voxel)])
            same(int(atlas.structure_from_coords(voxel)), label, f"{verb}: at {voxel}")
            um = (voxel + 0.5) * facts["spacing_um"]
            named = atlas.structure_from_coords(um, microns=True, as_acronym=True)
            same(named, facts["structures"][str(label)]["acronym"], f"{verb}: at {um} um")


def meshes(case: Case) -> None:
    """mesh_from_structure returns every mesh, in um, closed and seen from outside."""
    for verb, facts, atlas in _atlases(case):
        last_um = (atlas.shape[2] - 1) * facts["spacing_um"]
        for key in facts["structures"]:
            mesh = atlas.mesh_from_structure(int(key))
            low, high = (np.array(corner) for corner in facts["meshes"][key])
            low[2], high[2] = last_um - high[2], last_um - low[2]
            near(mesh.points.min(axis=0), low, ASR_UM, f"{verb}: lowest corner of {key}")
            near(mesh.points.max(axis=0), high, ASR_UM, f"{verb}: highest corner of {key}")
            a, b, c = (mesh.points[mesh.cells[0].data[:, k]] for k in range(3))
            volume = float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)
            assert volume > 0, f"{verb}: the mesh of {key} is turned inside out"


def masks(case: Case) -> None:
    """get_structure_mask holds a structure and all below it."""
    for verb, facts, atlas in _atlases(case):
        annotation = _expected(case, verb, "annotation")
        for key, one in facts["structures"].items():
            expected = np.isin(annotation, [int(key), *one["descendants"]])
            assert np.array_equal(atlas.get_structure_mask(int(key)), expected), f"{verb}: mask of {key}"


def validators(case: Case) -> None:
    """its own validators of new atlases find nothing."""
    for _, _, atlas in _atlases(case):
        for name in VALIDATORS:
            assert getattr(validate_atlases, name)(atlas), name


def offline(*_: object, **__: object) -> None:
    """Refuse every connection: an atlas of one's own needs none."""
    raise OSError("a connection was asked for")


def no_network(base: str) -> None:
    """Have this process refuse connections."""
    socket.socket.connect = offline  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    run({"phantom": (volumes, hemispheres, structures, places, meshes, masks, validators)}, no_network)
