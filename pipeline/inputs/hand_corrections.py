"""Alignments that people made or corrected, from the files of their tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import (
    Alignment3d,
    Float64,
    SectionAlignment,
    SectionDataSet,
    SectionImage,
    SeriesAlignment,
)
from pipeline.formats.alignments.alignment_json import parse_alignment_at
from pipeline.formats.alignments.quicknii import Slice, is_quicknii, parse_quicknii, read_quicknii_xml
from pipeline.formats.manifests.allen_xml import read_data_set_xml
from pipeline.geometry.hand_placement import BY_HAND, Correction, markers_of, placed, volume_of
from pipeline.inputs.alignments import placement
from pipeline.system.files import read_json_value

WHAT = "an alignment of QuickNII, VisuAlign, DeepSlice, WebAlign or WebWarp, or an alignment.json"
_NO_MARKERS = np.zeros((0, 4))


def find_file(text: str | Path, source: Path) -> Path:
    """Return a file named in the configuration: as given, else inside the series' folder.

    Parameters
    ----------
    text : str or Path
        Path as configured.
    source : Path
        Folder of the series.

    Returns
    -------
    Path
        The file; it may be missing.
    """
    path = Path(text)
    inside = source / path
    return inside if not path.exists() and inside.exists() else path


def read_corrections(
    path: Path,
    data_set: SectionDataSet,
    chosen: Sequence[int] | None = None,
    option: str = "corrections",
) -> dict[int, Correction]:
    """Read the planes and markers of sections that a person placed.

    Parameters
    ----------
    path : Path
        A file of QuickNII, VisuAlign, DeepSlice, WebAlign or WebWarp, an alignment.json, or a data_set.xml.
    data_set : SectionDataSet
        The series.
    chosen : sequence of int, optional
        Section numbers to take; default all in the file.
    option : str
        Option of `alignment.configuration` that names the file, for messages.

    Returns
    -------
    dict of int to Correction
        Corrections by section number.

    Raises
    ------
    ConfigError
        Where there is no such file, it lacks a chosen section, or it places no section of the series.
    DataError
        Where the file holds no alignment.
    """
    if not path.exists():
        raise ConfigError(f"alignment.configuration.{option}: {path}: no such file")
    images = {image.section_number: image for image in data_set.section_images}
    found = _read(path, images, data_set)
    absent = sorted(set(chosen or ()) - found.keys())
    if absent:
        raise ConfigError(
            f"alignment.configuration.corrected_sections: {path} does not place section {absent[0]}"
        )
    kept = {n: c for n, c in found.items() if chosen is None or n in chosen}
    if not kept:
        raise ConfigError(
            f"alignment.configuration.{option}: {path} places none of the {len(images)} sections of the"
            " series; a slice belongs to the image of its filename, else to the section of its nr"
        )
    return kept


def _read(path: Path, images: dict[int, SectionImage], data_set: SectionDataSet) -> dict[int, Correction]:
    """Return the corrections of all sections of the series that a file places."""
    document = _document(path)
    if document is not None and is_quicknii(document):
        by_name = {i.path.stem.lower(): n for n, i in images.items() if i.path is not None}
        found = {}
        for piece in parse_quicknii(document, str(path)):
            number = by_name.get(Path(piece.filename).stem.lower(), piece.section_number)
            if number not in images:
                continue
            image = images[number]
            # From pixels of the picture in the file to pixels of the manifest.
            scale = np.array([image.width_px / piece.size[0], image.height_px / piece.size[1]])
            plane = piece.to_reference @ np.diag([*(1.0 / scale), 1.0])
            found[number] = _correction(image, plane, piece.markers * np.tile(scale, 2))
        return found
    alignment = read_data_set_xml(path).alignment if document is None else parse_alignment_at(path, document)
    if alignment is None:
        raise DataError(f"{path}: expected an alignment, got a data set without one")
    found = {}
    for section in alignment.sections:
        number = section.alignment2d.section_number
        if number in images:
            plane = plane_of(section, alignment.alignment3d, data_set.z_um(number))
            found[number] = _correction(images[number], plane, _NO_MARKERS)
    return found


def _correction(image: SectionImage, plane: Float64, markers: Float64) -> Correction:
    return Correction(plane, (image.width_px, image.height_px), image.resolution_um, markers)


def _document(path: Path) -> Any:
    """Return the content of a JSON file, or QuickNII's XML in the form of its JSON; None for other XML."""
    return read_quicknii_xml(path) if path.suffix.lower() == ".xml" else read_json_value(path, WHAT)


def read_given(path: Path, data_set: SectionDataSet) -> SeriesAlignment | None:
    """Read the alignment of a whole series from any of these files.

    Parameters
    ----------
    path : Path
        A file as of `read_corrections`.
    data_set : SectionDataSet
        The series.

    Returns
    -------
    SeriesAlignment or None
        The alignment; None where a data_set.xml has none. An Alignment3d is fitted to planes of QuickNII.

    Raises
    ------
    ConfigError
        Where a file of QuickNII places no section of the series.
    AlignmentError
        Where it places fewer than two.
    """
    document = _document(path)
    if document is None:
        return read_data_set_xml(path).alignment
    if not is_quicknii(document):
        return placement(path)
    corrections = read_corrections(path, data_set)
    planes = {number: c.to_reference for number, c in corrections.items()}
    z_um = {number: data_set.z_um(number) for number in planes}
    space = volume_of(planes, z_um, data_set.reference_space_id)
    sections = tuple(placed(n, corrections[n], space, z_um[n]) for n in sorted(corrections))
    deformed = any(section.deformation is not None for section in sections)
    return SeriesAlignment(space, sections, deformable=BY_HAND if deformed else "none")


def quicknii_slice(
    section: SectionAlignment, image: SectionImage, space: Alignment3d, z_um: float, filename: str
) -> Slice:
    """Return a section as QuickNII describes it: its plane, and its in-plane deformation as markers.

    Parameters
    ----------
    section : SectionAlignment
        Alignment of the section.
    image : SectionImage
        Its image, as the manifest declares it.
    space : Alignment3d
        Alignment of the volume.
    z_um : float
        Position of the section along the cutting axis of the volume, um.
    filename : str
        Name of the picture.

    Returns
    -------
    Slice
        Plane and markers, in manifest px.
    """
    plane = plane_of(section, space, z_um)
    size = (float(image.width_px), float(image.height_px))
    markers = markers_of(section, size, image.resolution_um)
    return Slice(image.section_number, size, plane, markers, filename)


def plane_of(section: SectionAlignment, space: Alignment3d, z_um: float) -> Float64:
    """Return the affine part of a section's alignment as one matrix.

    Parameters
    ----------
    section : SectionAlignment
        Alignment of the section; its deformation is ignored.
    space : Alignment3d
        Alignment of the volume.
    z_um : float
        Position of the section along the cutting axis of the volume, um.

    Returns
    -------
    (3, 3) float64
        Maps (x, y, 1), manifest px, to (P, I, R), um.
    """
    lift = np.vstack([section.alignment2d.section_to_volume, [0.0, 0.0, z_um]])
    plane = space.volume_to_reference[:, :3] @ lift
    plane[:, 2] += space.volume_to_reference[:, 3]
    return np.asarray(plane)
