"""Files made of a reference: each is made once and kept in the cache, under a digest of the reference."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.model import UInt32
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.meshes import surface, write_obj
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.formats.volumes.reference_folder import available
from pipeline.inputs.references import read_reference
from pipeline.service.content.catalogue import ServedExperiment
from pipeline.service.http.answers import RequestError
from pipeline.service.plates.fields import displacement_field, field_grid
from pipeline.service.plates.volumes import (
    as_template,
    resolutions,
    structure_voxels,
    write_field,
    write_zip,
)
from pipeline.service.served import Serving

OFFERED_UM = (10.0, 20.0, 25.0, 50.0, 100.0, 200.0)  # resolutions that are derived where they can be
FORM = 1  # of files in the cache; counts up whenever they are made otherwise
# Headers in a zip: AllenSDK reads them from its top, scripts of the original from a folder.
ARCHIVES = {
    kind: (f"{kind}/{kind}.mhd", f"{kind}.mhd") for kind in ("annotation", "gridAnnotation", "atlasVolume")
}


class ReferenceFiles:
    """Files of a reference, each made at most once.

    Parameters
    ----------
    serving : Serving
        What is served.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._lock = Lock()
        self._digest = ""

    def annotation(self, um: int) -> Path:
        """Return the annotation at a resolution.

        Parameters
        ----------
        um : int, um
            Voxel size.

        Returns
        -------
        Path
            NRRD.

        Raises
        ------
        RequestError
            With 404 where there is none at this resolution; the message names those that there are.
        """
        name = f"annotation_{um}.nrrd"
        held = self._held(name)
        return held or self._made(name, lambda path: write_nrrd(path, self._labels(um), um))

    def template(self, um: int) -> Path:
        """Return the template at a resolution.

        Parameters
        ----------
        um : int, um
            Voxel size.

        Returns
        -------
        Path
            NRRD.

        Raises
        ------
        RequestError
            With 404 where there is none at this resolution; the message names those that there are.
        """
        name = f"average_template_{um}.nrrd"
        held = self._held(name)
        return held or self._made(name, lambda path: write_nrrd(path, self._grey(um), um))

    def mask(self, structure_id: int, um: int) -> Path:
        """Return the voxels of a structure, descendants included.

        Parameters
        ----------
        structure_id : int
            Id of a structure.
        um : int, um
            Voxel size.

        Returns
        -------
        Path
            NRRD of uint8.

        Raises
        ------
        RequestError
            With 404 where the structure is not known or has no voxel, or for an unknown resolution.
        """
        self._check_structure(structure_id)

        def make(path: Path) -> None:
            write_nrrd(path, self._voxels(structure_id, self._labels(um)), um)

        return self._made(f"structure_masks_{um}/structure_{structure_id}.nrrd", make)

    def mesh(self, structure_id: int) -> Path:
        """Return the surface of a structure, descendants included.

        Parameters
        ----------
        structure_id : int
            Id of a structure.

        Returns
        -------
        Path
            Wavefront OBJ, um.

        Raises
        ------
        RequestError
            With 404 where the structure is not known or has no voxel.
        """
        self._check_structure(structure_id)
        reference = self._serving.reference

        def make(path: Path) -> None:
            mask = self._voxels(structure_id, reference.annotation)
            write_obj(path, surface(mask, reference.annotation_um))

        return self._made(f"structure_meshes/{structure_id}.obj", make)

    def archive(self, kind: str) -> Path:
        """Return a volume as MetaImage in a zip.

        Parameters
        ----------
        kind : str
            Key of `ARCHIVES`.

        Returns
        -------
        Path
            Zip.

        Raises
        ------
        RequestError
            With 404 where the reference has no template.
        """
        reference = self._serving.reference
        members = ARCHIVES[kind]
        if kind == "annotation":
            make = partial(
                write_zip, members=members, volume=reference.annotation, spacing_um=reference.annotation_um
            )
        elif kind == "gridAnnotation":
            labels = reference.grid_labels(served=reference.grid_annotation is not None)
            make = partial(write_zip, members=members, volume=labels, spacing_um=reference.grid.spacing_um)
        else:
            volume = as_template(_template(reference))
            make = partial(write_zip, members=members, volume=volume, spacing_um=reference.template_um)
        return self._made(f"{kind}.zip", make)

    def field(self, experiment: ServedExperiment) -> Path:
        """Return the deformation field of an experiment.

        Parameters
        ----------
        experiment : ServedExperiment
            The experiment.

        Returns
        -------
        Path
            Header; the voxels lie in the `.raw` beside it.

        Raises
        ------
        RequestError
            With 404 where the experiment has no deformation.
        """
        geometry = experiment.geometry
        if geometry is None or not geometry.deformations:
            raise RequestError(
                f"SectionDataSet {experiment.id}: has no deformation field, its alignment is affine",
                status=404,
            )
        grid = field_grid(self._serving.reference)
        stamp = hashlib.sha256(f"{experiment.id} {experiment.stamp}".encode()).hexdigest()[:16]
        return self._made(
            f"fields/{experiment.id}-{stamp}/dfmfld.mhd",
            lambda path: write_field(path, displacement_field(geometry, grid), grid.spacing_um),
        )

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        path = self._folder() / name
        if not path.is_file():
            with self._lock:
                if not path.is_file():
                    make(path)
        return path

    def _folder(self) -> Path:
        self._digest = self._digest or reference_digest(self._serving.reference)
        return self._serving.cache / "reference" / self._digest

    def _held(self, name: str) -> Path | None:
        """Return a file of the reference folder."""
        directory = self._serving.reference_directory
        path = directory / name if directory is not None else None
        return path if path is not None and path.is_file() else None

    def _labels(self, um: float) -> UInt32:
        """Return the annotation at a resolution: of the folder, else every n-th voxel of the finest."""
        reference, directory = self._serving.reference, self._serving.reference_directory
        if um != reference.annotation_um and directory is not None and self._stored("annotation", um):
            return read_reference(directory, um, template=False).annotation
        step = _step(reference.annotation_um, um)
        if step is None:
            there = [
                v for v in OFFERED_UM if _step(reference.annotation_um, v) or self._stored("annotation", v)
            ]
            raise RequestError(
                f"annotation at {um:g} um: not here; there are"
                f" {resolutions([reference.annotation_um, *there])}",
                status=404,
            )
        return reference.annotation[::step, ::step, ::step]

    def _grey(self, um: float) -> npt.NDArray[Any]:
        """Return the template at a resolution: every n-th voxel of the one that was read."""
        reference = self._serving.reference
        template = _template(reference)
        step = _step(reference.template_um, um)
        if step is None:
            there = [v for v in OFFERED_UM if _step(reference.template_um, v)]
            raise RequestError(
                f"template at {um:g} um: not here; there are {resolutions([reference.template_um, *there])}",
                status=404,
            )
        return as_template(template[::step, ::step, ::step])

    def _stored(self, stem: str, um: float) -> bool:
        directory = self._serving.reference_directory
        if directory is None or not directory.is_dir():
            return False
        return any(name.startswith(stem) and there == um for name, there in available(directory))

    def _check_structure(self, structure_id: int) -> None:
        ontology = self._serving.reference.ontology
        if structure_id not in ontology.by_id:
            some = ", ".join(f"{s.id} ({s.acronym})" for s in ontology.structures[:3])
            raise RequestError(
                f"Structure {structure_id}: not of this ontology, which has {len(ontology.structures)}"
                f" structures, such as {some}",
                status=404,
            )

    def _voxels(self, structure_id: int, labels: UInt32) -> npt.NDArray[np.uint8]:
        reference = self._serving.reference
        mask = structure_voxels(labels, reference, structure_id)
        if not mask.any():
            acronym = reference.ontology.by_id[structure_id].acronym
            raise RequestError(
                f"Structure {structure_id} ({acronym}): has no voxel in the annotation", status=404
            )
        return mask


def reference_digest(reference: ReferenceSpace) -> str:
    """Return a digest of what files of a reference are made of.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference.

    Returns
    -------
    str
        16 hexadecimal digits: of the shapes, voxel sizes and ontology, and of a sample of the voxels.
    """
    digest = hashlib.sha256(f"{FORM} {reference.annotation.shape} {reference.annotation_um}".encode())
    digest.update(np.ascontiguousarray(reference.annotation[::5, ::5, ::5]).tobytes())
    if reference.template is not None:
        digest.update(f"{reference.template.shape} {reference.template_um}".encode())
        digest.update(np.ascontiguousarray(reference.template[::5, ::5, ::5]).tobytes())
    if reference.grid_annotation is not None:
        digest.update(np.ascontiguousarray(reference.grid_annotation).tobytes())
    tree = [(s.id, s.parent_id) for s in reference.ontology.structures]
    digest.update(repr(tree).encode())
    return digest.hexdigest()[:16]


def _template(reference: ReferenceSpace) -> npt.NDArray[np.float32]:
    if reference.template is None:
        raise RequestError(f"reference {reference.name}: has no template", status=404)
    return reference.template


def _step(finest_um: float, um: float) -> int | None:
    """Return how many voxels of the finest volume lie between those of a coarser one; None: not whole."""
    step = round(um / finest_um)
    return step if step >= 1 and abs(step * finest_um - um) < 1e-6 else None
