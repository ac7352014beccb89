"""Plates as files in a folder, with a table of where each lies."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import ConfigError
from pipeline.core.reference_space import ReferenceSpace
from pipeline.service.plates.atlases import AXES, AtlasImage, plate_labels, plates_of
from pipeline.service.plates.cracks import Rings, cut
from pipeline.service.plates.drawing import Sheet, drawn_labels, svg
from pipeline.service.plates.pictures import coloured, png, view_of
from pipeline.service.plates.smooth import smooth
from pipeline.store.publishing import publishing

INDEX = "index.csv"
COLUMNS = ("file", "plane", "position_um", "section_number", "resolution_um", "x_um", "y_um")
PICTURE_ZOOM = 4  # pixels of a picture per voxel, at most

Form = Literal["svg", "png", "both"]
FORMS: tuple[Form, ...] = ("svg", "png", "both")


def write_plates(
    reference: ReferenceSpace, folder: Path, plane: str, every_um: float, form: str = "both"
) -> list[str]:
    """Write the plates of a reference as drawings, pictures or both, and a table of them.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference.
    folder : Path
        Folder of the user; nothing that others wrote there is replaced.
    plane : str
        "coronal", "sagittal" or "horizontal".
    every_um : float, um
        Distance between plates, rounded to whole planes of the annotation.
    form : str
        "svg", "png" or "both".

    Returns
    -------
    list of str
        Names of the files, the table last. Its columns are `COLUMNS`: `resolution_um` is um per user unit or
        pixel, `x_um, y_um` is where the centre of pixel (0, 0) lies on the plane.

    Raises
    ------
    ConfigError
        Where an option has another value, or a file in the folder is not ours.
    DataError
        Where the folder cannot be written.
    """
    if plane not in AXES:
        raise ConfigError(f"--plane: expected {', '.join(AXES)}, got {plane!r}")
    if form not in FORMS:
        raise ConfigError(f"--format: expected {', '.join(FORMS)}, got {form!r}")
    if not 0.0 < every_um < 1e6:
        raise ConfigError(f"--every-um: expected a distance above 0 um, got {every_um:g}")
    endings = ("svg", "png") if form == "both" else (form,)
    rows: list[dict[str, Any]] = []
    with publishing(folder) as fresh:
        for image in plates_of(reference, plane, every_um):
            rings = smooth(cut(drawn_labels(plate_labels(reference, image), reference.ontology)))
            rows += [_write(reference, image, rings, fresh, ending) for ending in endings]
        with (fresh / INDEX).open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
    return [*(row["file"] for row in rows), INDEX]


def _write(
    reference: ReferenceSpace, image: AtlasImage, rings: Rings, folder: Path, ending: str
) -> dict[str, Any]:
    """Write one file of a plate and return its row."""
    name = f"{image.plane}_{image.section_number:04d}.{ending}"
    downsample = 0
    if ending == "svg":
        content = svg(rings, reference.ontology, Sheet(image.width, image.height, image.zoom))
    else:
        while image.zoom >> downsample > PICTURE_ZOOM:
            downsample += 1
        view = view_of((image.width, image.height), downsample)
        content = png(coloured(rings, reference.ontology, image.zoom, view))
    (folder / name).write_bytes(content)
    resolution = image.resolution_um * 2**downsample
    corner = (resolution - image.thickness_um) / 2
    values = (image.position_um, image.section_number, resolution, corner, corner)
    return dict(zip(COLUMNS, (name, image.plane, *(f"{v:g}" for v in values)), strict=True))
