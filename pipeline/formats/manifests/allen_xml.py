"""Allen's data_set.xml, as the grid service sends it with a data set: geometry and alignment of a series."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast
from xml.etree.ElementTree import Element, SubElement

from pipeline.core.errors import DataError, PipelineError
from pipeline.core.model import (
    CORONAL_SPACE,
    SAGITTAL_SPACE,
    Alignment2d,
    Alignment3d,
    Float64,
    Plane,
    SectionAlignment,
    SectionDataSet,
    SectionImage,
    SeriesAlignment,
    Status,
)
from pipeline.formats.manifests.series_yaml import LARGEST_UM, MOST_ID, PLANES, check_resolution
from pipeline.formats.manifests.source import SeriesSource
from pipeline.formats.tables.tables import MOST_NUMBER, plain_number
from pipeline.geometry.affine import from_itk, to_itk
from pipeline.system.files import read_content, shown
from pipeline.system.whole_files import replacing

NAME = "data_set.xml"
SPACE_PLANES: dict[int, Plane] = {CORONAL_SPACE: "coronal", SAGITTAL_SPACE: "sagittal"}
# Anatomical direction of increasing section numbers in Allen's data sets.
OWN_ORDER = {"coronal": "caudal_to_rostral", "sagittal": "lateral_to_medial"}
HEMISPHERES = ("left", "right", "both")
UNSTATED = "(none)"  # Allen's text for a hemisphere that is not recorded


def read_data_set_xml(path: Path) -> SeriesSource:
    """Read a data set; its sections have no path yet (see `series.read_series`).

    Both directions of every matrix are kept as served. A plane that is not stated follows from the reference
    space (9 coronal, 10 sagittal). Sagittal sets without a hemisphere are taken as left, as all of Allen's
    are.

    Parameters
    ----------
    path : Path
        data_set.xml.

    Returns
    -------
    SeriesSource
        The series with its alignment; a section with an invalid matrix has no alignment, with a warning.

    Raises
    ------
    DataError
        Where the file is missing, damaged or contradictory.
    """
    root = _root(path)
    warnings: list[str] = []
    if root.findtext("failed") == "true":
        warnings.append(f"{path}: the data set is marked failed by its source")
    space = _whole(path, root, "reference-space-id")
    plane = _plane(path, root, space)
    images = [_image(path, element) for element in root.iterfind("section-images/section-image")]
    if not images:
        raise DataError(f"{path}: expected section-images, got none; download the data set again")
    counts = Counter(image.section_number for image in images)
    twice = min((n for n, count in counts.items() if count > 1), default=None)
    if twice is not None:
        raise DataError(f"{path}: expected every section once, got section {twice} more than once")
    data_set = SectionDataSet(
        id=_whole(path, root, "id", MOST_ID),
        plane_of_section=plane,
        section_thickness_um=_positive(path, root, "section-thickness"),
        section_images=tuple(sorted(images, key=lambda image: image.section_number)),
        gene=_text(root, "genes/gene/acronym"),
        specimen=_text(root, "specimen/name"),
        reference_space_id=space,
        hemisphere=_hemisphere(path, root, plane, warnings),
        treatment=_text(root, "treatments/treatment/name"),
        probe_orientation=_text(root, "probes/probe/orientation/name"),
        age=_text(root, "age") or _text(root, "specimen/donor/age/name"),
        section_order=OWN_ORDER[plane],
    )
    return SeriesSource(data_set, _alignment(path, root, space, warnings), tuple(warnings))


def write_data_set_xml(path: Path, data_set: SectionDataSet, alignment: SeriesAlignment | None) -> None:
    """Write a data set in Allen's form, matrices with six digits in ITK order.

    Parameters
    ----------
    path : Path
        File to write.
    data_set : SectionDataSet
        The series.
    alignment : SeriesAlignment or None
        Its alignment; failed sections are written without matrices.
    """
    with replacing(path) as fresh:
        fresh.write_bytes(data_set_xml(data_set, alignment))


def data_set_xml(data_set: SectionDataSet, alignment: SeriesAlignment | None) -> bytes:
    """Return a data set in Allen's form, matrices with six digits in ITK order.

    The form has no place for tissue boxes, dark polygons, rotations and flips, section order and `image_up`.

    Parameters
    ----------
    data_set : SectionDataSet
        The series.
    alignment : SeriesAlignment or None
        Its alignment; failed sections are written without matrices.

    Returns
    -------
    bytes
        The document, UTF-8.
    """
    root = Element("section-data-set")
    _add(root, "failed", "false")
    _add(root, "id", str(data_set.id))
    _add(root, "reference-space-id", str(data_set.reference_space_id))
    _add(root, "section-thickness", repr(float(data_set.section_thickness_um)))
    _add(root, "genes/gene/acronym", data_set.gene)
    _add(root, "treatments/treatment/name", data_set.treatment)
    _add(root, "probes/probe/orientation/name", data_set.probe_orientation)
    specimen = SubElement(root, "specimen")
    _add(specimen, "hemisphere", data_set.hemisphere)
    _add(specimen, "name", data_set.specimen)
    if alignment is not None:
        space = SubElement(root, "alignment3d")
        _add(space, "trv", digits(to_itk(alignment.alignment3d.reference_to_volume)))
        _add(space, "tvr", digits(to_itk(alignment.alignment3d.volume_to_reference)))
    sections = SubElement(root, "section-images")
    for image in data_set.section_images:
        _add_image(SubElement(sections, "section-image"), image, alignment)
    _add(root, "plane_of_section", data_set.plane_of_section)
    _add(root, "age", data_set.age)
    ElementTree.indent(root)
    return cast(bytes, ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)) + b"\n"


def digits(values: Sequence[float]) -> str:
    """Print numbers as Allen serves them: six significant digits, comma-separated.

    Parameters
    ----------
    values : sequence of float
        Numbers to print.

    Returns
    -------
    str
        The numbers, each with a decimal point or an exponent.

    Examples
    --------
    >>> digits([1.0, -0.00065265149, 1047.61, -1.57549e-19])
    '1.0,-0.000652651,1047.61,-1.57549e-19'
    """
    printed = (f"{value:.6g}" for value in values)
    return ",".join(text if set(text) & set(".en") else f"{text}.0" for text in printed)


def _root(path: Path) -> Element:
    text = read_content(path, "Allen's data_set.xml")
    plain = text.replace(b"\0", b"")  # finds a DOCTYPE in UTF-16 too
    if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:
        raise DataError(f"{path}: expected plain XML, got a DOCTYPE; a data set needs none: remove it")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: expected Allen's data_set.xml, got damaged XML ({error})") from error
    found = root if root.tag == "section-data-set" else root.find(".//section-data-set")
    if found is None:
        raise DataError(f"{path}: expected a <section-data-set>, got <{root.tag[:60]}>")
    return found


def _text(element: Element, tag: str) -> str | None:
    return (element.findtext(tag) or "").strip() or None


def _number(path: Path, element: Element, tag: str) -> float:
    text = _text(element, tag)
    try:
        value = plain_number(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: expected a number in <{tag}> of <{element.tag}>, got {shown(text)}")
    return value


def _whole(path: Path, element: Element, tag: str, most: int = MOST_NUMBER) -> int:
    value = _number(path, element, tag)
    text = _text(element, tag) or ""
    # A float cannot represent long ids exactly.
    exact = int(text) if text.isascii() and text.isdigit() else value
    if value != int(value) or not 0 <= exact <= most:
        raise DataError(
            f"{path}: expected a whole number from 0 to {most} in <{tag}> of <{element.tag}>, got"
            f" {shown(text)}"
        )
    return int(exact)


def _positive(path: Path, element: Element, tag: str) -> float:
    value = _number(path, element, tag)
    if not 0 < value <= LARGEST_UM:
        raise DataError(f"{path}: expected a positive <{tag}> in um, got {value:g}")
    return value


def _plane(path: Path, root: Element, space: int) -> Plane:
    element = next((e for tag in ("plane_of_section", "plane-of-section") for e in root.iterfind(tag)), None)
    stated = None if element is None else (_text(element, "name") or (element.text or "").strip() or None)
    expected = SPACE_PLANES.get(space)
    if stated is None and expected is None:
        raise DataError(
            f"{path}: expected reference space 9 or 10 or a plane_of_section, got {space} and none"
        )
    if stated is not None and stated not in PLANES:
        raise DataError(f"{path}: expected plane_of_section {' or '.join(PLANES)}, got {shown(stated)}")
    if stated is not None and expected is not None and stated != expected:
        raise DataError(
            f"{path}: plane_of_section says {stated}, reference space {space} is {expected}; one errs"
        )
    return cast(Plane, stated or expected)


def _hemisphere(
    path: Path, root: Element, plane: Plane, warnings: list[str]
) -> Literal["left", "right", "both"]:
    stated = (_text(root, "specimen/hemisphere") or UNSTATED).lower()
    if stated in HEMISPHERES:
        return cast(Literal["left", "right", "both"], stated)
    usual: Literal["left", "both"] = "left" if plane == "sagittal" else "both"
    if stated != UNSTATED:
        warnings.append(
            f"{path}: expected hemisphere left, right or both, got {shown(stated)}; taken as {usual}"
        )
    return usual


def _image(path: Path, element: Element) -> SectionImage:
    number = _whole(path, element, "section-number")
    where = f"{path}: section {number}"
    width, height = (_whole(path, element, tag) for tag in ("width", "height"))
    if width < 1 or height < 1:
        raise DataError(f"{where}: expected a width and height of at least 1, got {width} x {height}")
    return SectionImage(
        id=_whole(path, element, "id", MOST_ID),
        section_number=number,
        path=None,
        width_px=width,
        height_px=height,
        resolution_um=check_resolution(where, _number(path, element, "resolution")),
        failed=element.findtext("failed") == "true",
    )


def _matrix(element: Element, tag: str, dimensions: int) -> Float64:
    return from_itk([plain_number(v) for v in (_text(element, tag) or "").split(",")], dimensions)


def _alignment(path: Path, root: Element, space: int, warnings: list[str]) -> SeriesAlignment | None:
    element = root.find("alignment3d")
    if element is None or _text(element, "tvr") is None:
        return None
    try:
        volume = Alignment3d(space, _matrix(element, "tvr", 3), _matrix(element, "trv", 3))
    except (PipelineError, ValueError) as error:
        raise DataError(f"{path}: alignment3d: {error}") from error
    sections = []
    for image in root.iterfind("section-images/section-image"):
        number = _whole(path, image, "section-number")
        found = image.find("alignment2d")
        if found is None or _text(found, "tsv") is None:
            continue
        try:
            placed = Alignment2d(number, _matrix(found, "tsv", 2), _matrix(found, "tvs", 2))
        except (PipelineError, ValueError) as error:
            warnings.append(f"{path}: section {number}: alignment left out: {error}")
        else:
            sections.append(SectionAlignment(placed))
    sections.sort(key=lambda section: section.alignment2d.section_number)
    return SeriesAlignment(volume, tuple(sections))


def _add(parent: Element, tags: str, text: str | None) -> None:
    if text is None:
        return
    for tag in tags.split("/"):
        parent = SubElement(parent, tag)
    parent.text = text


def _add_image(element: Element, image: SectionImage, alignment: SeriesAlignment | None) -> None:
    fields = {
        "failed": str(image.failed).lower(),
        "height": image.height_px,
        "id": image.id,
        "resolution": repr(float(image.resolution_um)),
        "section-number": image.section_number,
        "width": image.width_px,
        "x": 0,
        "y": 0,
    }
    for tag, value in fields.items():
        _add(element, tag, str(value))
    section = None if alignment is None else alignment.of(image.section_number)
    if section is not None and section.status is not Status.FAIL:
        placed = SubElement(element, "alignment2d")
        _add(placed, "tvs", digits(to_itk(section.alignment2d.volume_to_section)))
        _add(placed, "tsv", digits(to_itk(section.alignment2d.section_to_volume)))
