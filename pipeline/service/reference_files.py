"""Files of the reference under the original's paths: volumes, masks, meshes, zips and well known files.

A file that the reference folder holds under its own name is sent as it is. Whatever else is asked for is made
once from the reference and kept in the cache, under a digest of the reference. No path is taken from a
request: names are matched against patterns, and ids are looked up in a table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from pipeline.core.model import CORONAL_SPACE, SAGITTAL_SPACE
from pipeline.service.content.catalogue import Catalogue
from pipeline.service.http.answers import RequestError
from pipeline.service.http.parameters import asked_id
from pipeline.service.plates.files import ARCHIVES, ReferenceFiles
from pipeline.service.served import Serving

RELEASE = "/informatics-archive/current-release"
CCF = f"{RELEASE}/mouse_ccf"
VERSION = "ccf_2017"  # under which the original files its present annotation
_VOLUME = re.compile(r"(annotation|average_template)_(\d{1,4})\.nrrd")
_MASKS = re.compile(r"structure_masks_(\d{1,4})")
_MASK = re.compile(r"structure_(\d{1,10})\.nrrd")
_MESH = re.compile(r"(\d{1,10})\.obj")
_ARCHIVE = re.compile(rf"P56_(?:Mouse_)?({'|'.join(ARCHIVES)})\.zip")
TYPES = {
    2_130_000_001: "GridAnnotation",
    2_130_000_002: "Annotation",
    2_130_000_003: "AtlasVolume",
    2_130_000_004: "DeformationFieldHeader",
    2_130_000_005: "DeformationFieldVoxels",
}
LARGEST_ID = 2**63 - 1
FIRST_FIELD = 3_000_000_000  # + 2 x experiment: its header; one more: its voxels


@dataclass(frozen=True)
class WellKnownFile:
    """A zip that belongs to a reference space.

    Attributes
    ----------
    id : int
        113567585 and 197642854 are the original's; the others are ours.
    reference_space_id : int
        9 or 10.
    type_id : int
        Key of `TYPES`.
    archive : str
        Key of `plates.files.ARCHIVES`.
    """

    id: int
    reference_space_id: int
    type_id: int
    archive: str


WELL_KNOWN = {
    file.id: file
    for file in (
        WellKnownFile(2_131_000_001, CORONAL_SPACE, 2_130_000_001, "gridAnnotation"),
        WellKnownFile(197642854, CORONAL_SPACE, 2_130_000_002, "annotation"),
        WellKnownFile(113567585, CORONAL_SPACE, 2_130_000_003, "atlasVolume"),
        WellKnownFile(2_131_000_002, SAGITTAL_SPACE, 2_130_000_001, "gridAnnotation"),
        WellKnownFile(2_131_000_003, SAGITTAL_SPACE, 2_130_000_002, "annotation"),
        WellKnownFile(2_131_000_004, SAGITTAL_SPACE, 2_130_000_003, "atlasVolume"),
    )
}


def well_known_file_rows() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of the reference's well known files, and of all their types.

    Returns
    -------
    dict of str to list of dict
        Rows by model: WellKnownFileType and WellKnownFile.
    """
    files = [
        _row(f.id, "ReferenceSpace", f.reference_space_id, f.type_id, f"P56/{f.archive}/{f.archive}.zip")
        for f in WELL_KNOWN.values()
    ]
    types = [{"id": id_, "name": name} for id_, name in TYPES.items()]
    return {"WellKnownFileType": types, "WellKnownFile": files}


def field_file_rows(experiment_id: int) -> list[dict[str, Any]]:
    """Return the rows of the deformation field of an experiment.

    Parameters
    ----------
    experiment_id : int
        A deformed experiment.

    Returns
    -------
    list of dict
        Rows of WellKnownFile: header and voxels; none where the id of the experiment leaves none for them.
    """
    first = FIRST_FIELD + 2 * experiment_id
    if first >= LARGEST_ID:
        return []
    ends = ((2_130_000_004, "mhd"), (2_130_000_005, "raw"))
    return [
        _row(first + n, "DataSet", experiment_id, type_id, f"{experiment_id}/dfmfld.{end}")
        for n, (type_id, end) in enumerate(ends)
    ]


def _row(id_: int, of: str, of_id: int, type_id: int, path: str) -> dict[str, Any]:
    return {
        "id": id_,
        "path": path,
        "attachable_id": of_id,
        "attachable_type": of,
        "well_known_file_type_id": type_id,
        "download_link": f"/api/v2/well_known_file_download/{id_}",
    }


def routes(serving: Serving) -> list[Route]:
    """Return the endpoints of the reference's files.

    Parameters
    ----------
    serving : Serving
        What is served.

    Returns
    -------
    list of Route
        `/informatics-archive/current-release/…` and `/api/v2/well_known_file_download/{id}`.
    """
    files = ReferenceFiles(serving)

    async def volume(request: Request) -> FileResponse:
        stem, um = _parsed(request, _VOLUME, "annotation_25.nrrd or average_template_25.nrrd")
        find = files.annotation if stem == "annotation" else files.template
        return FileResponse(await serving.pool.run(find, int(um)))

    async def mask(request: Request) -> FileResponse:
        (um,) = _parsed(request, _MASKS, "structure_masks_25", "folder")
        (structure_id,) = _parsed(request, _MASK, "structure_315.nrrd")
        return FileResponse(await serving.pool.run(files.mask, int(structure_id), int(um)))

    async def mesh(request: Request) -> FileResponse:
        (structure_id,) = _parsed(request, _MESH, "315.obj")
        path = await serving.pool.run(files.mesh, int(structure_id))
        return FileResponse(path, media_type="text/plain")

    async def archive(request: Request) -> FileResponse:
        (kind,) = _parsed(request, _ARCHIVE, " or ".join(f"P56_Mouse_{kind}.zip" for kind in ARCHIVES))
        path = await serving.pool.run(files.archive, kind)
        return FileResponse(path, media_type="application/zip", filename=request.path_params["name"])

    async def well_known(request: Request) -> FileResponse:
        file_id = asked_id(request)[0]
        path = await serving.pool.run(_well_known, files, serving.catalogue, file_id)
        return FileResponse(path, filename=path.name)

    return [
        Route(f"{CCF}/annotation/{VERSION}/{{name}}", volume),
        Route(f"{CCF}/average_template/{{name}}", volume),
        Route(f"{CCF}/annotation/{VERSION}/structure_masks/{{folder}}/{{name}}", mask),
        Route(f"{CCF}/annotation/{VERSION}/structure_meshes/{{name}}", mesh),
        Route(f"{RELEASE}/mouse_annotation/{{name}}", archive),
        Route("/api/v2/well_known_file_download/{id}", well_known),
    ]


def _well_known(files: ReferenceFiles, catalogue: Catalogue, file_id: int) -> Path:
    """Return a well known file by its id."""
    if file_id in WELL_KNOWN:
        return files.archive(WELL_KNOWN[file_id].archive)
    experiment_id, n = divmod(file_id - FIRST_FIELD, 2)
    if experiment_id in catalogue.experiments:
        header = files.field(catalogue.experiment(experiment_id))
        return header.with_suffix(".raw") if n else header
    some = ", ".join(f"{f.id} ({f.archive}.zip)" for f in list(WELL_KNOWN.values())[:3])
    raise RequestError(
        f"WellKnownFile {file_id}: not served here; served are {some}; model::WellKnownFile lists all",
        status=404,
    )


def _parsed(
    request: Request, pattern: re.Pattern[str], such_as: str, parameter: str = "name"
) -> tuple[str, ...]:
    """Return the groups of a name in the path of a request."""
    name = request.path_params[parameter]
    found = pattern.fullmatch(name)
    if found is None:
        raise RequestError(f"{name[:60]!r}: not served here; expected a name such as {such_as}", status=404)
    return found.groups()
