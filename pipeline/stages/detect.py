"""The detect stage: expressing pixels of a section, and sums over fine cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.core import intensity
from pipeline.core.intensity import darkness
from pipeline.core.model import Bool, SectionImage, UInt8
from pipeline.detection import Detector, make_detector
from pipeline.inputs.pixels import load_dark, load_pixels, valid_pixels
from pipeline.quantification.cells import SectionCells, accumulate, fine_pitch_px
from pipeline.sections.padding import enlarged
from pipeline.sections.scan import Rectangle, scan_rectangle
from pipeline.sections.statistics import SectionContext
from pipeline.stages.sensitivity import sensitivity
from pipeline.store.facts import DetectFacts
from pipeline.store.run import RunFolder


def detect(
    section: SectionImage,
    run: RunFolder,
    detector: str,
    configuration: Mapping[str, Any],
    factor: int,
    context: Mapping[str, Any],
    digest: str,
) -> DetectFacts:
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
    dict of str to Any
        Facts: `totals`, the four sums over the whole section in stored pixels and darkness 0-255, and
        `sensitivity`, see `pipeline.stages.sensitivity`.
    """
    stored_um = section.resolution_um * factor
    outlines = run.read_outlines(section.section_number)
    known = replace(SectionContext(**context), resolution_um=stored_um, **outlines)
    padding = run.read_padding(section.section_number)
    chosen = make_detector(detector, configuration)
    dark, rectangle, mask = _marked(section, chosen, known, padding)
    valid = valid_pixels(section, dark.shape, factor, rectangle, padding)
    expression = intensity.expression(dark, mask, valid)
    run.write_expression(section.section_number, expression, stored_um, digest)
    pitch = fine_pitch_px(stored_um)
    sums = accumulate(dark, expression, valid, pitch)
    cells = SectionCells(sums, pitch, factor, section.resolution_um, rectangle)
    run.write_cells(section.section_number, cells, digest)
    totals = {name: int(array.sum()) for name, array in sums.arrays().items()}
    return {"totals": totals, "sensitivity": sensitivity(dark, valid, chosen, known, cells)}


def _marked(
    section: SectionImage, detector: Detector, context: SectionContext, padding: tuple[Bool, int] | None
) -> tuple[UInt8, Rectangle, Bool]:
    """Return a section's darkness, the rectangle of its scan, and the mask of the detector.

    The detector sees glass in place of padding, since it looks at the surroundings of a pixel.
    """
    glass = np.uint8(10.0 ** context.background[0])  # luma in the middle of the section
    if detector.reads_colour:
        pixels = load_pixels(section)
        rectangle = scan_rectangle(pixels)
        if padding is not None:
            pixels = np.where(_like(enlarged(*padding, pixels.shape), pixels), glass, pixels)
        return darkness(pixels), rectangle, detector(pixels, context)
    dark, rectangle = load_dark(section)
    if padding is not None:
        dark[enlarged(*padding, dark.shape)] = 255 - glass
    return dark, rectangle, detector.of_darkness(dark, context)


def _like(mask: Bool, pixels: UInt8) -> Bool:
    """Return a mask (H, W) with an axis for channels where the pixels have one."""
    return mask[..., None] if pixels.ndim == 3 else mask
