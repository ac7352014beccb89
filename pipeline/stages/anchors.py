"""Anchors: rough placements by another program, which tell where along the normal sections about lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.model import SectionDataSet
from pipeline.inputs.hand_corrections import find_file, read_corrections
from pipeline.registration import SectionThumbnail
from pipeline.registration.model.painted_atlas import NORMAL_AXIS

OPTION = "anchors"  # of alignment.configuration
# Standard deviation along the normal, um. DeepSlice's planes lie some 0.1 to 0.3 mm off (Carey et al. 2023).
SPREAD_UM = 250.0


def anchors_path(configuration: Mapping[str, Any], source: Path) -> Path | None:
    """Return the file with anchors.

    Parameters
    ----------
    configuration : mapping of str to Any
        `alignment.configuration`.
    source : Path
        Folder of the series.

    Returns
    -------
    Path or None
        The configured file; None where none is configured.
    """
    configured = configuration.get(OPTION)
    return find_file(configured, source) if configured else None


def anchored(
    thumbnails: Sequence[SectionThumbnail], path: Path | None, data_set: SectionDataSet
) -> list[SectionThumbnail]:
    """Return sections with the positions of their anchors, where the manifest states none.

    Parameters
    ----------
    thumbnails : sequence of SectionThumbnail
        Sections of the series.
    path : Path or None
        A file as of `read_corrections`.
    data_set : SectionDataSet
        The series.

    Returns
    -------
    list of SectionThumbnail
        A section that the file does not place stays as it is.

    Raises
    ------
    ConfigError
        Where there is no such file, or it places no section of the series.
    DataError
        Where the file holds no alignment.
    """
    if path is None:
        return list(thumbnails)
    images = {image.section_number: image for image in data_set.section_images}
    planes = {n: c.to_reference for n, c in read_corrections(path, data_set, option=OPTION).items()}
    axis = NORMAL_AXIS[data_set.plane_of_section]
    placed = []
    for one in thumbnails:
        if one.position_um is None and one.section_number in planes:
            image = images[one.section_number]
            middle = np.array([(image.width_px - 1) / 2, (image.height_px - 1) / 2, 1.0])
            position_um = float((planes[one.section_number] @ middle)[axis])
            one = replace(one, position_um=position_um, position_spread_um=SPREAD_UM)
        placed.append(one)
    return placed
