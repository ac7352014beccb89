"""Alignments that people made or mended, from the files of their tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ConfigError, DataError
from pipeline.formats.alignment_json import parse_alignment
from pipeline.formats.allen_xml import read_data_set_xml
from pipeline.formats.quicknii import Slice, is_quicknii, parse_quicknii
from pipeline.model import (
    Alignment3d,
    Float64,
    SectionAlignment,
    SectionDataSet,
    SectionImage,
    SeriesAlignment,
)
from pipeline.opening import placement
from pipeline.registration.corrections import BY_HAND, Correction, markers_of, placed, volume_of

_NO_MARKERS = np.zeros((0, 4))


def find_file(text: str | Path, source: Path) -> Path:
    """Return a file of the configuration: as it stands, else inside the series' folder."""
    path = Path(text)
    inside = source / path
    return inside if not path.exists() and inside.exists() else path


def read_corrections(
    path: Path, data_set: SectionDataSet, chosen: Sequence[int] | None = None
) -> dict[int, Correction]:
    """Read where a person put sections: QuickNII, VisuAlign or DeepSlice JSON, alignment.json, data_set.xml.

    Parameters
    ----------
    chosen : section numbers that count, None for all in the file

    Raises
    ------
    ConfigError
        no such file; a chosen section that it has not; none that the series has.
    """
    if not path.exists():
        raise ConfigError(f"alignment.configuration.corrections: {path}: no such file")
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
            f"alignment.configuration.corrections: {path} places none of the {len(images)} sections of the"
            " series; a slice belongs to the image of its filename, else to the section of its nr"
        )
    return kept


def _read(path: Path, images: dict[int, SectionImage], data_set: SectionDataSet) -> dict[int, Correction]:
    document = {} if path.suffix == ".xml" else _json(path)
    if is_quicknii(document):
        by_name = {i.path.stem.lower(): n for n, i in images.items() if i.path is not None}
        found = {}
        for piece in parse_quicknii(document, str(path)):
            number = by_name.get(Path(piece.filename).stem.lower(), piece.section_number)
            if number not in images:
                continue
            image = images[number]
            scale = np.array([image.width_px / piece.size[0], image.height_px / piece.size[1]])
            plane = piece.to_reference @ np.diag([*(1.0 / scale), 1.0])
            found[number] = _correction(image, plane, piece.markers * np.tile(scale, 2))
        return found
    alignment = read_data_set_xml(path).alignment if path.suffix == ".xml" else parse_alignment(document)
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


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected JSON, got {error}") from None


def read_given(path: Path, data_set: SectionDataSet) -> SeriesAlignment | None:
    """Read a whole alignment from any of these forms; None where a data_set.xml has none."""
    if path.suffix == ".xml":
        return read_data_set_xml(path).alignment
    if not path.exists() or not is_quicknii(_json(path)):
        return placement(path)
    corrections = read_corrections(path, data_set)
    planes = {number: c.to_reference for number, c in corrections.items()}
    z_um = {number: data_set.z_um(number) for number in planes}
    space = volume_of(planes, z_um, data_set.reference_space_id)
    sections = tuple(placed(n, corrections[n], space, z_um[n]) for n in sorted(corrections))
    bent = any(section.deformation is not None for section in sections)
    return SeriesAlignment(space, sections, deformable=BY_HAND if bent else "none")


def quicknii_slice(
    section: SectionAlignment, image: SectionImage, space: Alignment3d, z_um: float, filename: str
) -> Slice:
    """Return a section as QuickNII has it: its plane, and its bend within the plane as markers."""
    plane = plane_of(section, space, z_um)
    size = (float(image.width_px), float(image.height_px))
    markers = markers_of(section, size, image.resolution_um)
    return Slice(image.section_number, size, plane, markers, filename)


def plane_of(section: SectionAlignment, space: Alignment3d, z_um: float) -> Float64:
    """Return (x, y, 1) manifest px to (P, I, R) um, (3, 3), of the affine part of a section."""
    lift = np.vstack([section.alignment2d.section_to_volume, [0.0, 0.0, z_um]])
    plane = space.volume_to_reference[:, :3] @ lift
    plane[:, 2] += space.volume_to_reference[:, 3]
    return np.asarray(plane)
