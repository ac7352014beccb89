"""The labels of one plate, from an image of labels or a drawing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.model import UInt32
from pipeline.core.ontology import Ontology
from pipeline.formats.drawings.geojson import read_geojson
from pipeline.formats.drawings.shapes import Shape, shape_pixels
from pipeline.formats.drawings.svg import Drawing, read_svg
from pipeline.formats.images.tiff import open_tiff
from pipeline.formats.images.tiff_tiles import check_segments
from pipeline.formats.tables.tables import number, read_cells
from pipeline.formats.volumes.labels import structure_ids
from pipeline.system.files import check_plain, read_content
from pipeline.system.lazy import LazyModule
from pipeline.system.limits import check_size

if TYPE_CHECKING:
    import SimpleITK
else:
    SimpleITK = LazyModule("SimpleITK")

TRANSLATION = "labels.csv"
DRAWINGS = {".svg": read_svg, ".geojson": read_geojson, ".json": read_geojson}
IMAGES = (".tif", ".tiff", ".png", ".nrrd")
MOST_IMAGE = 4 << 30  # bytes of a file


def is_drawing(path: Path) -> bool:
    """Tell a drawing from an image of labels by the ending of its name.

    Parameters
    ----------
    path : Path
        File of a plate.

    Returns
    -------
    bool
        True for SVG and GeoJSON.

    Raises
    ------
    DataError
        Where the ending is that of neither.
    """
    ending = path.suffix.lower()
    if ending not in DRAWINGS and ending not in IMAGES:
        raise DataError(f"{path}: expected {', '.join((*IMAGES, *DRAWINGS))}, got another ending; convert it")
    return ending in DRAWINGS


def read_labels(path: Path, translation: Mapping[int, int] | None) -> UInt32:
    """Read an image of labels.

    Parameters
    ----------
    path : Path
        TIFF of 8, 16 or 32 bits, PNG of 8 or 16 bits, or NRRD of two dimensions, whose first axis runs along
        the rows.
    translation : mapping of int to int, or None
        Structure ids by value, of labels.csv.

    Returns
    -------
    (H, W) uint32
        Structure ids, 0 outside.

    Raises
    ------
    DataError
        Where the file is missing, damaged, in colour or no image of whole numbers, or labels.csv lacks one of
        its values.
    """
    values = _pixels(path)
    if values.ndim != 2:
        raise DataError(
            f"{path}: expected one number a pixel, got shape {values.shape}; save it without colours"
        )
    labels = structure_ids(values, path)
    return labels if translation is None else _translated(path, labels, translation)


def _pixels(path: Path) -> npt.NDArray[Any]:
    ending = path.suffix.lower()
    try:
        if ending == ".png":
            pixels = imagecodecs.png_decode(read_content(path, "a plate", MOST_IMAGE))
        elif ending == ".nrrd":
            pixels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        else:
            pixels = _tiff(path)
    except DataError:
        raise
    except Exception as error:  # decoders raise errors of many types on damaged bytes
        what = " ".join(str(error).split())[-160:]
        raise DataError(f"{path}: expected a whole image of labels, got {what}") from error
    return np.asarray(pixels)


def _tiff(path: Path) -> npt.NDArray[Any]:
    """Return the samples of the only page, as stored: a palette is left aside."""
    check_plain(path, "a plate")
    with open_tiff(path) as tiff:
        if len(tiff.pages) != 1:
            raise DataError(
                f"{path}: expected one page, got {len(tiff.pages)}; save each plate in a file of its own"
            )
        page = tiff.pages[0]
        check_size(page.imagewidth, page.imagelength)
        check_segments(path, page)
        return np.asarray(page.asarray())


def _translated(path: Path, labels: UInt32, translation: Mapping[int, int]) -> UInt32:
    values, inverse = np.unique(labels, return_inverse=True)
    lacking = [int(v) for v in values if v and int(v) not in translation]
    if lacking:
        raise DataError(
            f"{path}: has values that {TRANSLATION} lacks: {', '.join(map(str, lacking))}; add rows for them"
        )
    ids = np.array([translation.get(int(v), 0) for v in values], np.uint32)
    return np.asarray(ids[inverse].reshape(labels.shape))


def read_translation(folder: Path) -> dict[int, int] | None:
    """Read labels.csv, which gives the structure id of each pixel value.

    Parameters
    ----------
    folder : Path
        Folder of the plates.

    Returns
    -------
    dict of int to int, or None
        Ids by value; None where there is no such file.

    Raises
    ------
    DataError
        Where a column is missing, a cell is no whole number, or a value has two ids.
    """
    path = folder / TRANSLATION
    if not path.exists():
        return None
    header, lines = read_cells(path)
    if not {"value", "id"} <= set(header):
        raise DataError(f"{path}: expected columns value and id, got {', '.join(header)}")
    found: dict[int, int] = {}
    for line, cells in lines:
        row = dict(zip(header, cells, strict=True))
        value, structure = (number(path, line, name, row[name]) for name in ("value", "id"))
        if value != int(value) or structure != int(structure) or min(value, structure) < 0:
            raise DataError(f"{path}: line {line}: expected whole numbers, got {row['value']}, {row['id']}")
        if found.setdefault(int(value), int(structure)) != int(structure):
            raise DataError(f"{path}: line {line}: value {int(value)} has two ids; leave one")
    return found


def read_drawing(path: Path) -> Drawing:
    """Read a drawing.

    Parameters
    ----------
    path : Path
        SVG or GeoJSON.

    Returns
    -------
    Drawing
        Its shapes.
    """
    return DRAWINGS[path.suffix.lower()](path)


def unknown_names(drawing: Drawing, ontology: Ontology) -> list[str]:
    """Return the structures of a drawing that an ontology lacks.

    Parameters
    ----------
    drawing : Drawing
        Shapes with ids or acronyms.
    ontology : Ontology
        The structures.

    Returns
    -------
    list of str
        As the drawing names them, in its order, each once.
    """
    names = dict.fromkeys((s.structure, s.named_by) for s in drawing.shapes)
    return [name for name, by in names if _structure(name, by, ontology) is None]


def drawn_labels(
    drawing: Drawing, ontology: Ontology, size: tuple[int, int], scale: tuple[float, float]
) -> UInt32:
    """Paint the shapes of a drawing, later ones above.

    Parameters
    ----------
    drawing : Drawing
        Shapes whose structures the ontology has.
    ontology : Ontology
        The structures.
    size : tuple = (rows, columns)
        Size of the image.
    scale : tuple = (x, y)
        Pixels a unit of the drawing, along x and y.

    Returns
    -------
    (rows, columns) uint32
        Structure ids, 0 outside; pixel (x, y) is what lies at (x, y) / `scale`.
    """
    labels = np.zeros(size, np.uint32)
    for shape in drawing.shapes:
        labels[_shape_pixels(shape, size, scale)] = _structure(shape.structure, shape.named_by, ontology) or 0
    return labels


def _shape_pixels(shape: Shape, size: tuple[int, int], scale: tuple[float, float]) -> npt.NDArray[np.bool_]:
    return shape_pixels([ring * np.array(scale) for ring in shape.rings], size, shape.fill_rule)


def _structure(name: str, named_by: str, ontology: Ontology) -> int | None:
    if named_by == "id":
        whole = name.removesuffix(".0")
        is_known = whole.isascii() and whole.isdigit() and int(whole) in ontology.by_id
        return int(whole) if is_known else None
    named = ontology.by_acronym.get(name, ())
    return named[0].id if len(named) == 1 else None
