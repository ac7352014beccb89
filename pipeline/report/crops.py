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

SIDE_UM = 800.0  # wanted side of the view
SIDE_PX = (96, 400)  # limits of its side, stored pixels
COARSEST_UM = 20.0  # beyond this pixel size a neuron is smaller than a pixel
# Pixels of source images that one page may decode. 90 megapixels take most of a second, so sources cost about
# 10 s at most.
SOURCE_PIXELS = 1_000_000_000


@dataclass(frozen=True)
class Window:
    """A rectangle in a stored image, px, with the summed intensity that selected it."""

    x: int
    y: int
    width: int
    height: int
    strength: float


@dataclass(frozen=True, eq=False)
class Crop:
    """A section at cell scale: pictures as data URIs; `source` gives the reason where there is no source."""

    window: Window
    pixel_um: float
    mask: str
    source: Panel[str]


def strongest_window(cells: SectionCells, stored_px: tuple[int, int], side_px: int) -> Window | None:
    """Return the square with the most expression, inside the image.

    Parameters
    ----------
    cells : SectionCells
        Sums of the section over fine cells.
    stored_px : (int, int), px
        Width and height of the stored image.
    side_px : int, px
        Side of the square; it is cut to the image where the image is smaller.

    Returns
    -------
    Window or None
        The square; None where nothing expresses.
    """
    intensity = np.asarray(cells.sums.sum_expressing_pixel_intensity, np.float64)
    size = max(round(side_px / cells.pitch_px), 1)
    # Sum over the square about every cell: the moving mean times the number of cells.
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
    """Choose the place of the cell-scale view for every detected section.

    Parameters
    ----------
    contents : RunContents
        The run.

    Returns
    -------
    dict of int to Panel of Window
        By section number: the place, or the reason why there is none.
    """
    return {s.number: _window_panel(contents, s) for s in contents.sections if s.detected}


def choose_sources(contents: RunContents, windows: Mapping[int, Panel[Window]]) -> frozenset[int]:
    """Choose the sections whose source image is decoded, flagged ones first, then by expression.

    Parameters
    ----------
    contents : RunContents
        The run.
    windows : mapping of int to Panel of Window
        Places of the cell-scale views by section number.

    Returns
    -------
    frozenset of int
        Section numbers; their images have at most `SOURCE_PIXELS` pixels together.
    """
    sections = {section.number: section for section in contents.sections}
    strength = {number: panel.content.strength for number, panel in windows.items() if panel.content}
    order = sorted(strength, key=lambda n: (not sections[n].flagged, -strength[n], n))
    used = np.cumsum([math.prod(_stored_px(sections[n])) for n in order])
    return frozenset(n for n, pixels in zip(order, used, strict=True) if pixels <= SOURCE_PIXELS)


def _window_panel(contents: RunContents, section: Section) -> Panel[Window]:
    """Return the place of a section's cell-scale view, or the reason why there is none."""
    found = attempt(lambda: _window(contents, section))
    if found.content is None:
        return Panel(None, found.reason or "no pixel of this section expresses")
    return Panel(found.content)


def _window(contents: RunContents, section: Section) -> Window | None:
    """Return the place of a section's cell-scale view, None where nothing expresses."""
    cells = contents.run.read_cells(section.number)
    pixel_um = section.resolution_um * cells.factor
    if pixel_um > COARSEST_UM:
        raise MissingResultError(f"a pixel of {pixel_um:.3g} µm is larger than a cell")
    side = round(SIDE_UM / pixel_um)
    return strongest_window(cells, _stored_px(section), int(np.clip(side, *SIDE_PX)))


def _stored_px(section: Section) -> tuple[int, int]:
    """Return width and height of a section's stored image, px."""
    size = section.quality.get("stored_px")
    if not size:
        raise MissingResultError(f"section {section.number}: the run did not keep the size of its image")
    return int(size[0]), int(size[1])


def crop(contents: RunContents, section: Section, window: Window, budget: int, *, with_source: bool) -> Crop:
    """Cut mask and source of a section at one place.

    Parameters
    ----------
    contents : RunContents
        The run.
    section : Section
        The section.
    window : Window
        The place.
    budget : int, bytes
        Approximate size of both pictures together.
    with_source : bool
        Decode the source image; without it only the mask is shown.

    Returns
    -------
    Crop
        The two pictures.
    """
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
    """Return the rows and columns of a window."""
    return slice(window.y, window.y + window.height), slice(window.x, window.x + window.width)


def _source(contents: RunContents, section: Section, window: Window) -> UInt8:
    """Return the source pixels of a window; DataError where the image has another size than in the run."""
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
    """Return where the image of a section lay when the run read it.

    Parameters
    ----------
    inputs : iterable of str
        Paths of the run's inputs.
    name : str
        File name of the image.

    Returns
    -------
    Path
        The image.

    Raises
    ------
    MissingResultError
        Where no input or several have this name, or the file no longer exists.
    """
    found = [Path(text) for text in inputs if Path(text).name == name]
    if len(found) != 1 or not found[0].exists():
        raise MissingResultError(f"the source image {name} is no longer where the run read it")
    return found[0]
