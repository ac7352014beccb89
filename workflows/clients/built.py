"""References of one's own, made from the phantom and written as BrainGlobe atlases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from facts import Arrays, Facts

from pipeline import ReferenceSpace
from pipeline.atlas_building import Publication, interpolate, symmetrise
from pipeline.atlas_building.forms import BRAINGLOBE
from pipeline.atlas_building.meshes import FOLDER as MESHES
from pipeline.atlas_building.meshes import read_obj
from pipeline.atlas_building.result import GivenOntology
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.inputs.references import open_reference, read_reference

UM = 200.0
EVERY = 3  # voxels between two plates
GRAPH = "structure_graph_1.json"
AS_ATLAS = Publication(formats=("brainglobe",), command="workflows/clients/check.py")


def built_atlases(work: Path) -> tuple[Facts, Arrays]:
    """Make two references of the phantom, and tell what their BrainGlobe atlases have to show.

    Parameters
    ----------
    work : Path
        Folder for them.

    Returns
    -------
    facts : dict of str to Any
        By verb: `folder` for brainglobe_dir, `name`, and what the project's own reader found.
    arrays : dict of str to array
        `atlas/<verb>/annotation` and `template`, [P, I, R].

    Raises
    ------
    RuntimeError
        Where the project's own reader finds another annotation in the atlas than in the folder.
    """
    source = _write_reference(work / "phantom-reference")
    _write_plates(work / "plates", read_reference(source))
    made = {
        "symmetrise": symmetrise(source, work / "own-symmetrise", publication=AS_ATLAS),
        "interpolate": interpolate(
            work / "plates",
            work / "own-interpolate",
            ontology=source / GRAPH,
            like=source,
            template=source,
            publication=AS_ATLAS,
        ),
    }
    facts, arrays = {}, {}
    for verb, folder in made.items():
        space = read_reference(folder)
        (home,) = (folder / BRAINGLOBE).glob("*/atlases/*/*/")
        if not np.array_equal(read_reference(home).annotation, space.annotation):
            raise RuntimeError(f"{home}: the atlas is not read back as {folder}")
        facts[verb] = _facts(folder, home, space)
        arrays |= {f"atlas/{verb}/annotation": space.annotation, f"atlas/{verb}/template": space.template}
    return facts, arrays


def _write_reference(folder: Path) -> Path:
    """Write the phantom as a reference folder."""
    space = open_reference(None, UM)
    folder.mkdir(parents=True, exist_ok=True)
    write_nrrd(folder / f"annotation_{UM:g}.nrrd", space.annotation, UM)
    write_nrrd(folder / f"average_template_{UM:g}.nrrd", np.asarray(space.template, np.float32), UM)
    (folder / GRAPH).write_bytes(GivenOntology.of(space.ontology).document)
    return folder


def _write_plates(folder: Path, space: ReferenceSpace) -> None:
    """Write every third coronal plane of the phantom as a plate."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file,position_um,plane,resolution_um"]
    for at in range(0, len(space.annotation), EVERY):
        if space.annotation[at].any():
            tifffile.imwrite(folder / f"{at:03d}.tif", space.annotation[at])
            rows.append(f"{at:03d}.tif,{at * UM:g},coronal,{UM:g}")
    (folder / "plates.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _facts(folder: Path, home: Path, space: ReferenceSpace) -> Facts:
    ontology = space.ontology
    held = {int(one) for label in np.unique(space.annotation) if label for one in ontology.path(int(label))}
    return {
        "folder": str(folder / BRAINGLOBE),
        "name": home.parent.name,
        "spacing_um": space.annotation_um,
        "midline_um": space.midline_um,
        "symmetric": folder.name.endswith("symmetrise"),
        "structures": {
            str(one): {
                "acronym": ontology.by_id[one].acronym,
                "name": ontology.by_id[one].name,
                "color": ontology.by_id[one].color,
                "path": [int(i) for i in ontology.path(one)],
                "descendants": sorted(int(i) for i in ontology.descendants(one)),
            }
            for one in sorted(held)
        },
        "meshes": {path.stem: _extent(path) for path in sorted((folder / MESHES).glob("*.obj"))},
    }


def _extent(path: Path) -> list[list[float]]:
    """Return the lowest and the highest corner of a mesh, um along P, I and R."""
    vertices, _ = read_obj(path)
    return [vertices.min(axis=0).tolist(), vertices.max(axis=0).tolist()]
