"""The detect stage: expressing pixels of a section, and sums over fine cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.core import intensity
from pipeline.core.intensity import darkness
from pipeline.core.model import Bool, SectionImage, UInt8
from pipeline.detection import Detector, make_detector
from pipeline.inputs.pixels import load_dark, load_pixels, valid_pixels
from pipeline.quantification.cells import SectionCells, accumulate, fine_pitch_px
from pipeline.sections.scan import Rectangle, scan_rectangle
from pipeline.sections.statistics import SectionContext
from pipeline.store.run import RunFolder


def detect(
    section: SectionImage,
    run: RunFolder,
    detector: str,
    configuration: Mapping[str, Any],
    factor: int,
    context: Mapping[str, Any],
    digest: str,
) -> dict[str, int]:
    """Find expressing pixels, write them with their intensity, and sum the section over fine cells.

    Parameters
    ----------
    section : SectionImage
        The section.
    run : RunFolder
        Run folder to write to.
    detector : str
        Name of the detector.
    configuration : mapping of str to Any
        Parameters of the detector.
    factor : int
        Manifest pixels per stored pixel, along one axis.
    context : mapping of str to Any
        Pooled statistics of the section, as fields of `SectionContext` without its outlines.
    digest : str
        Digest of everything that decides the outcome, stored with the outputs.

    Returns
    -------
    dict of str to int
        Facts: the four sums over the whole section, in stored pixels and darkness 0-255.
    """
    stored_um = section.resolution_um * factor
    outlines = run.read_outlines(section.section_number)
    known = replace(SectionContext(**context), resolution_um=stored_um, **outlines)
    dark, rectangle, mask = _marked(section, make_detector(detector, configuration), known)
    valid = valid_pixels(section, dark.shape, factor, rectangle)
    expression = intensity.expression(dark, mask, valid)
    run.write_expression(section.section_number, expression, stored_um, digest)
    pitch = fine_pitch_px(stored_um)
    sums = accumulate(dark, expression, valid, pitch)
    cells = SectionCells(sums, pitch, factor, section.resolution_um, rectangle)
    run.write_cells(section.section_number, cells, digest)
    return {name: int(array.sum()) for name, array in sums.arrays().items()}


def _marked(
    section: SectionImage, detector: Detector, context: SectionContext
) -> tuple[UInt8, Rectangle, Bool]:
    """Return a section's darkness, the rectangle of its scan, and the mask of the detector."""
    if detector.reads_colour:
        pixels = load_pixels(section)
        return darkness(pixels), scan_rectangle(pixels), detector(pixels, context)
    dark, rectangle = load_dark(section)
    return dark, rectangle, detector.of_darkness(dark, context)
