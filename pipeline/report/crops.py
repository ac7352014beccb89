"""The cell-scale view of a section: the place of strongest expression, source beside mask."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from pipeline.core.errors import DataError, MissingResultError
from pipeline.core.model import SectionImage, UInt8
from pipeline.inputs.pixels import load_info, load_part
from pipeline.quantification.cells import SectionCells
from pipeline.report.contents import Panel, RunContents, Section, attempt
from pipeline.report.pictures import intensity_uri, jpeg_uri

SIDE_UM = 800.0
SIDE_PX = (96, 400)
COARSEST_UM = 20.0  # a neuron is less than a pixel beyond this
# Decoding a source of 90 megapixels takes most of a second: some 10 s are spent on sources at most.
SOURCE_PIXELS = 1_000_000_000


@dataclass(frozen=True)
class Window:
    """A part of a stored image, px, with the summed intensity that chose it."""

    x: int
    y: int
    width: int
    height: int
    strength: float


@dataclass(frozen=True, eq=False)
class Crop:
    """A section at cell scale: pictures as URIs; `source` says why where the source cannot be shown."""

    window: Window
    pixel_um: float
    mask: str
    source: Panel[str]


def strongest_window(cells: SectionCells, stored_px: tuple[int, int], side_px: int) -> Window | None:
    """Return the square with the most expression, inside the image; None where nothing expresses.

    Parameters
    ----------
    stored_px : (width, height)    of the stored image
    """
    intensity = np.asarray(cells.sums.sum_expressing_pixel_intensity, np.float64)
    size = max(round(side_px / cells.pitch_px), 1)
    total = ndimage.uniform_filter(intensity, size, mode="constant") * size**2
    if not intensity.any():
        return None
    row, column = np.unravel_index(int(total.argmax()), total.shape)
    width, height = (min(side_px, n) for n in stored_px)
    middle = ((column + 0.5) * cells.pitch_px, (row + 0.5) * cells.pitch_px)
    x = int(np.clip(round(middle[0] - width / 2), 0, stored_px[0] - width))
    y = int(np.clip(round(middle[1] - height / 2), 0, stored_px[1] - height))
    return Window(x, y, width, height, float(total[row, column]))


def choose_windows(contents: RunContents) -> dict[int, Panel[Window]]:
    """Return for every detected section where to look closely, or why not."""
    return {s.number: _window_panel(contents, s) for s in contents.sections if s.detected}


def choose_sources(contents: RunContents, windows: Mapping[int, Panel[Window]]) -> frozenset[int]:
    """Return the sections whose source is read, up to `SOURCE_PIXELS`: flagged first, then strongest."""
    sections = {section.number: section for section in contents.sections}
    strength = {number: panel.content.strength for number, panel in windows.items() if panel.content}
    order = sorted(strength, key=lambda n: (not sections[n].flagged, -strength[n], n))
    used = np.cumsum([math.prod(_stored_px(sections[n])) for n in order])
    return frozenset(n for n, pixels in zip(order, used, strict=True) if pixels <= SOURCE_PIXELS)


def _window_panel(contents: RunContents, section: Section) -> Panel[Window]:
    found = attempt(lambda: _window(contents, section))
    if found.content is None:
        return Panel(None, found.reason or "nothing expresses on this section")
    return Panel(found.content)


def _window(contents: RunContents, section: Section) -> Window | None:
    cells = contents.run.read_cells(section.number)
    pixel_um = section.resolution_um * cells.factor
    if pixel_um > COARSEST_UM:
        raise MissingResultError(f"a pixel of {pixel_um:.3g} µm is larger than a cell")
    side = round(SIDE_UM / pixel_um)
    return strongest_window(cells, _stored_px(section), int(np.clip(side, *SIDE_PX)))


def _stored_px(section: Section) -> tuple[int, int]:
    size = section.quality.get("stored_px")
    if not size:
        raise MissingResultError(f"section {section.number}: the run did not keep the size of its image")
    return int(size[0]), int(size[1])


def crop(contents: RunContents, section: Section, window: Window, budget: int, *, with_source: bool) -> Crop:
    """Cut mask and source of a section at one place; the two pictures take about `budget` bytes."""
    mask = contents.run.read_expression(section.number, part=_part(window))
    source: Panel[str] = Panel(
        None,
        f"a page reads {SOURCE_PIXELS // 1_000_000} megapixels of sources, flagged sections and strongest"
        " expression first",
    )
    if with_source:
        source = attempt(lambda: jpeg_uri(_source(contents, section, window), 2 * budget // 3))
    factor = float(section.quality.get("factor") or 1)
    return Crop(window, section.resolution_um * factor, intensity_uri(mask, budget // 3), source)


def _part(window: Window) -> tuple[slice, slice]:
    return slice(window.y, window.y + window.height), slice(window.x, window.x + window.width)


def _source(contents: RunContents, section: Section, window: Window) -> UInt8:
    path = source_path(contents.provenance.get("inputs") or {}, str(section.document.get("file")))
    width, height = _stored_px(section)
    bits = section.document.get("bits")
    image = SectionImage(0, section.number, path, width, height, section.resolution_um, bits=bits)
    info = load_info(image)
    if (info.height_px, info.width_px) != (height, width):
        raise DataError(
            f"{path}: expected {width} x {height} px as in the run, got {info.width_px} x {info.height_px}"
        )
    return load_part(image, *_part(window))


def source_path(inputs: Iterable[str], name: str) -> Path:
    """Return where the image of a section lay when the run read it; MissingResultError where it is gone."""
    found = [Path(text) for text in inputs if Path(text).name == name]
    if len(found) != 1 or not found[0].exists():
        raise MissingResultError(f"the source image {name} is no longer where the run read it")
    return found[0]
