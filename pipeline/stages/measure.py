"""The measure stage: reduce a section, and take its statistics."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np

from pipeline.core.blocks import block_majority, block_mean
from pipeline.core.model import Bool, SectionImage, UInt8
from pipeline.inputs.pixels import frame_factor, load_info, load_reduced, valid_pixels
from pipeline.sections.measure import measure_section, statistics_step
from pipeline.sections.padding import find_padding
from pipeline.sections.scan import Rectangle, check_background, scan_rectangle
from pipeline.sections.statistics import OUTLINES
from pipeline.stages.memory import check_memory
from pipeline.store.facts import MeasureFacts
from pipeline.store.run import RunFolder

THUMBNAIL_UM = 25.0  # approximate pixel size of the thumbnails that are aligned


def measure(section: SectionImage, run: RunFolder, memory_mb: float, digest: str) -> MeasureFacts:
    """Reduce a section and take its statistics.

    Parameters
    ----------
    section : SectionImage
        The section.
    run : RunFolder
        Run folder to write the thumbnail to.
    memory_mb : float
        Memory that all tasks of the run may use together, MB.
    digest : str
        Digest of everything that decides the outcome, stored with the thumbnail.

    Returns
    -------
    dict of str to Any
        Facts: `factor` of manifest pixels per stored pixel, `rectangle_px` of the scan (x0, y0, x1, y1) and
        `stored_px` (width, height) in stored pixels, and `context`, the statistics without outlines.

    Raises
    ------
    DataError
        Where the image cannot be read, does not fit the manifest, or needs too much memory.
    """
    info = load_info(section)
    factor = frame_factor(section, info)
    stored_um = section.resolution_um * factor
    step = statistics_step(stored_um)
    check_memory(section, info.width_px * info.height_px * info.channels, memory_mb)
    pixels = load_reduced(section, step)
    rectangle, padding = _surroundings(pixels, section)
    kept = (padding, 1) if padding.any() else None
    valid = np.ascontiguousarray(valid_pixels(section, pixels.shape, factor * step, rectangle, kept))
    context = measure_section(pixels, valid, stored_um * step)
    if section.is_mask:
        context = replace(context, flags=(), artifacts=())
    more = max(1, round(THUMBNAIL_UM / (stored_um * step)))
    # Outlines are long, and the pool stage receives the receipts of all sections: they stay in the store.
    numbers = asdict(context)
    outlines = {name: numbers.pop(name) for name in OUTLINES}
    thumbnail = block_mean(pixels, more)
    attributes = {
        "reduce": step * more,
        "factor": factor,
        "digest": digest,
        "outlines": outlines,
    }
    if kept:
        attributes["padding_step"] = step
    counts = block_majority(valid, more)
    if kept:  # no pixel of padding in a block
        counts &= block_mean(padding.view(np.uint8) * np.uint8(255), more) == 0
    run.write_thumbnail(section.section_number, thumbnail, counts, attributes, padding if kept else None)
    stored = info.width_px, info.height_px
    return {
        "factor": factor,
        "rectangle_px": [min(step * n, side) for n, side in zip(rectangle, stored * 2, strict=True)],
        "stored_px": list(stored),
        "context": numbers,
    }


def _surroundings(pixels: UInt8, section: SectionImage) -> tuple[Rectangle, Bool]:
    """Return the rectangle of the scan and its padding, px of the reduced image; a mask has no padding."""
    height, width = pixels.shape[:2]
    if section.is_mask:
        return (0, 0, width, height), np.zeros((height, width), np.bool_)
    padding = find_padding(pixels)
    check_background(pixels, padding)
    return scan_rectangle(pixels), padding
