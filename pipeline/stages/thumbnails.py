"""Reduced images of a run, as registration takes them."""

from __future__ import annotations

import numpy as np

from pipeline.core.model import SectionDataSet, SectionImage
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.store.run import RunFolder


def section_thumbnail(run: RunFolder, data_set: SectionDataSet, section: SectionImage) -> SectionThumbnail:
    """Read the reduced image of a section.

    Parameters
    ----------
    run : RunFolder
        Run folder of the series.
    data_set : SectionDataSet
        Its manifest.
    section : SectionImage
        A section that was measured.

    Returns
    -------
    SectionThumbnail
        The image with its place in the manifest's frame.
    """
    pixels, valid, attributes = run.read_thumbnail(section.section_number)
    reduce, factor = attributes["reduce"], attributes["factor"]
    # Pixel centres lie at integer coordinates. A reduced pixel is the mean of a block of reduce x reduce
    # stored pixels: the centre of block 0 is (reduce - 1) / 2. Manifest pixel = factor x stored pixel,
    # without such a shift.
    to_section = np.array([[reduce, 0.0, (reduce - 1) / 2], [0.0, reduce, (reduce - 1) / 2]]) * factor
    return SectionThumbnail(
        section_number=section.section_number,
        z_um=data_set.z_um(section.section_number),
        pixels=pixels,
        resolution_um=section.resolution_um,
        thumbnail_to_section=to_section,
        valid=valid,
        rotate_deg=section.rotate_deg,
        flip=section.flip,
        position_um=section.position_um,
    )
