"""Further forms of a built reference: NIfTI, and a BrainGlobe atlas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.atlas_building.meshes import FOLDER as MESHES
from pipeline.atlas_building.meshes import read_obj, structure_masks
from pipeline.atlas_building.result import BuiltReference
from pipeline.core.errors import DataError
from pipeline.core.model import UInt32
from pipeline.core.ontology import Ontology
from pipeline.formats.volumes.meshes import surface
from pipeline.formats.volumes.nifti import check_ids, write_nifti
from pipeline.store.brainglobe_writer import StructureShape, WrittenAtlas, write_atlas

FORMATS = ("brainglobe", "nifti")
BRAINGLOBE = "brainglobe"


def check_forms(formats: Sequence[str], annotation: UInt32 | None) -> None:
    """Refuse forms that a result cannot have, before it is computed.

    Parameters
    ----------
    formats : sequence of str
        Of `FORMATS`.
    annotation : (P, I, R) uint32 or None
        Structure ids that the result will have.

    Raises
    ------
    DataError
        Where a BrainGlobe atlas is asked for without an annotation, or NIfTI does not hold the ids.
    """
    if "brainglobe" in formats and annotation is None:
        raise DataError("--format brainglobe: expected an annotation, got none; add --annotation or leave it")
    if "nifti" in formats and annotation is not None:
        check_ids(annotation)


def write_forms(result: BuiltReference, folder: Path, formats: Sequence[str]) -> None:
    """Write the further forms of a result.

    Parameters
    ----------
    result : BuiltReference
        What the verb made.
    folder : Path
        Where its volumes and meshes are already.
    formats : sequence of str
        Of `FORMATS`.
    """
    if "nifti" in formats:
        for name, volume in result.all_volumes().items():
            write_nifti(folder / f"{name}_{result.spacing_um:g}.nii.gz", volume, result.spacing_um)
    if "brainglobe" in formats and result.annotation is not None and result.ontology is not None:
        ontology = result.ontology.ontology
        atlas = WrittenAtlas(
            name=f"ish_{result.verb}",
            spacing_um=result.spacing_um,
            annotation=result.annotation,
            template=result.template,
            ontology=ontology,
            midline_um=result.midline_um,
            is_symmetric=result.frame.kind == "symmetric",
        )
        shapes = _shapes(result.annotation, result.spacing_um, ontology, folder / MESHES)
        write_atlas(folder / BRAINGLOBE, atlas, shapes)


def _shapes(
    annotation: UInt32, spacing_um: float, ontology: Ontology, meshes: Path
) -> Iterator[StructureShape]:
    """Yield masks of structures with the meshes of a folder; where one lacks, it is made of its mask."""
    for one, corner, mask in structure_masks(annotation, ontology):
        path = meshes / f"{one}.obj"
        if path.is_file():
            vertices, faces = read_obj(path)
        else:
            made = surface(mask, spacing_um)
            vertices, faces = made.vertices + np.array(corner) * spacing_um, made.faces
        yield StructureShape(one, corner, mask, vertices, faces)
