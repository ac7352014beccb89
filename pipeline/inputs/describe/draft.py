"""From a folder of images to a manifest: read names and headers, ask for the rest, write."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import SectionDataSet, SectionImage
from pipeline.core.reference_space import reference_space_id
from pipeline.formats.images import headers
from pipeline.formats.images.files import ImageInfo
from pipeline.formats.manifests import allen_xml, sections_csv, series_yaml
from pipeline.formats.manifests.sections_csv import write_manifest
from pipeline.formats.manifests.series import IMAGE_SUFFIXES, read_series
from pipeline.formats.manifests.series_yaml import HEMISPHERES, ORDERS, PLANES, UPS, check_resolution
from pipeline.inputs.describe.names import Reading
from pipeline.inputs.pixels import probe_any
from pipeline.system.files import real_path
from pipeline.system.whole_files import put_aside, writing

CONTACT_SHEET = "ish_init.png"  # sheet of thumbnails; never taken for a section
OVERVIEW = re.compile(r"(?i)(?:^|[^a-z])(?:overview|macro|label|thumb(?:nail)?|preview)(?:[^a-z]|$)")
BOXES = ("none", "largest")
THICKNESS_UM = (0.5, 1000.0)  # accepted range of the thickness of a section, um
# A brain is longer than this along every axis, um: consecutive numbers over less may count images.
SHORT_SERIES_UM = 3000.0
LONG_SERIES_UM = 30000.0  # longer than a rodent brain, um: thickness or numbers are in doubt
SAME_RESOLUTION = 0.02  # relative difference of two pixel sizes that counts as equal


@dataclass(frozen=True)
class FoundImage:
    """An image of the folder.

    Attributes
    ----------
    name : str
        File name.
    number : int
        Number in its name.
    info : ImageInfo or None
        Its header; None where it cannot be read.
    trouble : str
        Why the header cannot be read.
    """

    name: str
    number: int
    info: ImageInfo | None
    trouble: str = ""


@dataclass(frozen=True)
class Survey:
    """The images of a folder, by ascending number.

    Attributes
    ----------
    folder : Path
        The folder.
    images : tuple of FoundImage
        Its images.
    reading : Reading
        How numbers were read from the names.
    """

    folder: Path
    images: tuple[FoundImage, ...]
    reading: Reading

    @property
    def gap(self) -> int:
        """Median difference of consecutive numbers in the names; 0 for a single image."""
        numbers = [image.number for image in self.images]
        return round(float(np.median(np.diff(numbers)))) if len(numbers) > 1 else 0

    @property
    def without_resolution(self) -> list[str]:
        """Names of readable images that state no pixel size."""
        return [i.name for i in self.images if i.info is not None and i.info.resolution_um is None]


@dataclass(frozen=True)
class Answers:
    """What a person states about a series; None where nothing was stated.

    Attributes
    ----------
    plane : str or None
        Plane of section: coronal or sagittal.
    thickness_um : float or None
        Thickness of a section, um.
    resolution_um : float or None
        Pixel size of all images, um; default: what each image states.
    spacing : int or None
        Number of sections from one image to the next.
    id : int or None
        Id of the series; default: made from the folder's path.
    gene : str or None
        Gene that was stained for.
    specimen : str or None
        Name that all series cut from one brain share.
    hemisphere : str or None
        left, right or both.
    section_order : str or None
        Direction of rising section numbers, e.g. rostral_to_caudal.
    image_up : str or None
        Side of the brain at the top of the images: superior or inferior.
    boxes : str
        "largest": a tissue box around the largest of several pieces of tissue; else "none".
    """

    plane: str | None = None
    thickness_um: float | None = None
    resolution_um: float | None = None
    spacing: int | None = None
    id: int | None = None
    gene: str | None = None
    specimen: str | None = None
    hemisphere: str | None = None
    section_order: str | None = None
    image_up: str | None = None
    boxes: str = "none"


@dataclass(frozen=True)
class Question:
    """A fact that neither images nor options state.

    Attributes
    ----------
    field : str
        Field of `Answers` that it fills.
    text : str
        The question.
    kind : callable
        Turns a reply into a value; raises ValueError where it cannot.
    choices : tuple of str
        Replies that are accepted; empty: any.
    """

    field: str
    text: str
    kind: Callable[[str], object]
    choices: tuple[str, ...] = ()

    @property
    def option(self) -> str:
        """The command-line option that answers it."""
        return "--" + self.field.replace("_", "-")


@dataclass(frozen=True, eq=False)
class Draft:
    """A manifest before it is written.

    Attributes
    ----------
    data_set : SectionDataSet
        The series.
    files : mapping of int to str
        File names by section number.
    found : mapping of int to FoundImage
        Images by section number.
    warnings : tuple of str
        Doubts that a person should check.
    """

    data_set: SectionDataSet
    files: Mapping[int, str]
    found: Mapping[int, FoundImage]
    warnings: tuple[str, ...]


def image_names(folder: Path, *, force: bool = False) -> list[str]:
    """Return the names of the images of a folder.

    Parameters
    ----------
    folder : Path
        Folder of images.
    force : bool
        Accept a folder that has a manifest already.

    Returns
    -------
    list of str
        File names, sorted.

    Raises
    ------
    ConfigError
        Where there is no folder or no image, or a manifest is there already (unless `force`).
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder of images, got none")
    there = [n for n in (sections_csv.NAME, series_yaml.NAME, allen_xml.NAME) if (folder / n).exists()]
    if there and not force:
        raise ConfigError(f"{folder / there[0]}: is there already; edit it, or let --force write a new one")
    try:
        names = [path.name for path in sorted(folder.iterdir()) if _is_image(path)]
    except OSError as error:
        raise ConfigError(f"{folder}: expected a folder of images, got {error.strerror}") from None
    if not names:
        raise ConfigError(f"{folder}: expected images of sections, got {_content(folder)}")
    return names


def sections_among(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate the names that may be of sections from those of overviews, labels and previews.

    Parameters
    ----------
    names : sequence of str
        File names of images.

    Returns
    -------
    sections : list of str
        Names that may be of sections; all of them where none would be left.
    others : list of str
        The other names.

    Examples
    --------
    >>> sections_among(["s_001.jpg", "s_002.jpg", "overview.jpg", "s_macro.jpg"])
    (['s_001.jpg', 's_002.jpg'], ['overview.jpg', 's_macro.jpg'])
    """
    others = [name for name in names if OVERVIEW.search(name)]
    sections = [name for name in names if name not in others]
    return (sections, others) if sections else (list(names), [])


def linked(folder: Path, output: Path, names: Sequence[str]) -> Path:
    """Make a folder of links to images that lie in a read-only place.

    Parameters
    ----------
    folder : Path
        Folder of the images.
    output : Path
        Folder of the links, which is created where there is none.
    names : sequence of str
        File names of the images.

    Returns
    -------
    Path
        `output`.

    Raises
    ------
    ConfigError
        Where `output` holds something else by one of these names.
    DataError
        Where `output` cannot be written.
    """
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        for name in names:
            link, image = output / name, real_path(folder / name)
            if link.is_symlink() and real_path(link) == image:
                continue
            if link.exists() or link.is_symlink():
                raise ConfigError(
                    f"--output {output}: {name} is there already; choose an empty or new folder"
                )
            link.symlink_to(image)
    return output


def keep_old(folder: Path) -> list[str]:
    """Rename an existing manifest, so that a new one can be written.

    Parameters
    ----------
    folder : Path
        Folder of the series.

    Returns
    -------
    list of str
        New names of the old files, NAME.old-N.
    """
    kept = []
    for name in (sections_csv.NAME, series_yaml.NAME):
        path = folder / name
        if path.exists():
            kept.append(put_aside(path, f"{name}.old-"))
    return kept


def survey(folder: Path, reading: Reading) -> Survey:
    """Read the headers of all numbered images of a folder.

    Parameters
    ----------
    folder : Path
        Folder of the images.
    reading : Reading
        Their numbers.

    Returns
    -------
    Survey
        Images by ascending number; an unreadable one is kept, with the reason.
    """
    images = [_found(folder / name, number) for name, number in reading.numbers.items()]
    return Survey(folder, tuple(sorted(images, key=lambda image: image.number)), reading)


def open_questions(found: Survey, answers: Answers) -> list[Question]:
    """Return the questions that must be answered before a manifest can be written.

    Parameters
    ----------
    found : Survey
        The images.
    answers : Answers
        What is known already.

    Returns
    -------
    list of Question
        In the order of asking.
    """
    questions = []
    if answers.plane is None:
        questions.append(Question("plane", "the plane in which the brain was cut", str, PLANES))
    if answers.thickness_um is None:
        questions.append(Question("thickness_um", "the thickness of a section in um", float))
    silent = found.without_resolution
    if answers.resolution_um is None and silent:
        which = "no image states it" if len(silent) == len(found.images) else f"{silent[0]} does not state it"
        questions.append(Question("resolution_um", f"the size of a pixel in um ({which})", float))
    if answers.thickness_um is not None and answers.spacing is None and _short(found, answers.thickness_um):
        questions.append(Question("spacing", _spacing_text(found, answers.thickness_um), int))
    return questions


def check_answers(found: Survey, answers: Answers) -> None:
    """Check every answer against the values that it may take.

    Parameters
    ----------
    found : Survey
        The images.
    answers : Answers
        The answers.

    Raises
    ------
    ConfigError
        Where an answer is not valid; the message names its option.
    """
    _check_choice("--plane", answers.plane, PLANES)
    _check_choice("--hemisphere", answers.hemisphere, HEMISPHERES)
    _check_choice("--image-up", answers.image_up, UPS)
    _check_choice("--boxes", answers.boxes, BOXES)
    if answers.plane is not None:
        _check_choice("--section-order", answers.section_order, ORDERS[answers.plane])
    low, high = THICKNESS_UM
    if answers.thickness_um is not None and not low <= answers.thickness_um <= high:
        raise ConfigError(
            f"--thickness-um: expected {low:g} to {high:g} um, got {answers.thickness_um:g}; is it in um?"
        )
    if answers.resolution_um is not None:
        try:
            check_resolution("--resolution-um", answers.resolution_um)
        except DataError as error:
            raise ConfigError(str(error)) from None
    if answers.id is not None and answers.id < 0:
        raise ConfigError(f"--id: expected a whole number from 0, got {answers.id}")
    if answers.spacing is not None:
        _check_spacing(found, answers.spacing)


def draft(found: Survey, answers: Answers) -> Draft:
    """Draft the manifest of a series.

    Parameters
    ----------
    found : Survey
        The images.
    answers : Answers
        Complete answers.

    Returns
    -------
    Draft
        The manifest, with warnings.

    Raises
    ------
    ConfigError
        Where a question is still open.
    """
    plane, thickness_um = answers.plane, answers.thickness_um
    if plane is None or thickness_um is None or open_questions(found, answers):
        raise ConfigError(refusal(open_questions(found, answers)))
    factor = answers.spacing if answers.spacing and found.gap == 1 else 1
    by_number = {image.number * factor: image for image in found.images}
    data_set = SectionDataSet(
        id=answers.id if answers.id is not None else made_id(found.folder),
        plane_of_section=plane,  # type: ignore[arg-type]
        section_thickness_um=thickness_um,
        section_images=tuple(_section(n, i, found.folder, answers) for n, i in by_number.items()),
        gene=answers.gene,
        specimen=answers.specimen,
        reference_space_id=reference_space_id(plane),
        hemisphere=answers.hemisphere or ("left" if plane == "sagittal" else "both"),  # type: ignore[arg-type]
        section_order=answers.section_order,
        image_up=answers.image_up,  # type: ignore[arg-type]
    )
    files = {number: image.name for number, image in by_number.items()}
    return Draft(data_set, files, by_number, tuple(_warnings(found, answers, data_set)))


def refusal(questions: Sequence[Question]) -> str:
    """Return the error message for a session where nobody can be asked.

    Parameters
    ----------
    questions : sequence of Question
        Open questions, at least one.

    Returns
    -------
    str
        One line: the first question, and the options that are missing too.
    """
    first, *others = questions
    choices = f": {' or '.join(first.choices)}" if first.choices else ""
    rest = f"; {', '.join(q.option for q in others)} too" if others else ""
    return f"{first.option}: expected {first.text}{choices}, got nothing{rest}"


def made_id(folder: Path) -> int:
    """Return an id for a series, derived from the folder's path.

    Parameters
    ----------
    folder : Path
        Folder of the series.

    Returns
    -------
    int
        Nine digits, from the CRC-32 of the real path: the same folder has the same id.
    """
    return 100_000_000 + zlib.crc32(str(real_path(folder)).encode()) % 900_000_000


def summary(made: Draft) -> str:
    """Describe the sections of a draft in one line.

    Parameters
    ----------
    made : Draft
        The manifest.

    Returns
    -------
    str
        Number and range of sections, their spacing in um, the length of brain in mm, and missing numbers.
    """
    numbers = sorted(made.files)
    if len(numbers) == 1:
        return f"1 section, number {numbers[0]}"
    gap = round(float(np.median(np.diff(numbers))))
    spacing_um, span = made.data_set.spacing_um, made.data_set.z_um(numbers[-1] - numbers[0])
    missing = sorted(set(range(numbers[0], numbers[-1], gap)) - set(numbers)) if gap > 0 else []
    even = all((n - numbers[0]) % gap == 0 for n in numbers)
    gaps = f"; none for {_listed(missing)}" if missing and even else ""
    return (
        f"{len(numbers)} sections, {numbers[0]} to {numbers[-1]}, every {gap}: {spacing_um:g} um apart,"
        f" {span / 1000:.3g} mm of brain{gaps}"
    )


def write_series(folder: Path, made: Draft) -> tuple[str, ...]:
    """Write the manifest and read it back.

    Parameters
    ----------
    folder : Path
        Folder of the series.
    made : Draft
        The manifest.

    Returns
    -------
    tuple of str
        Warnings of the reader.
    """
    write_manifest(folder, made.data_set, files=made.files)
    return read_series(folder, probe_any).warnings


def _is_image(path: Path) -> bool:
    """Return whether a file is an image by its suffix (damaged ones count, to be noticed) or by its bytes."""
    if path.name.startswith(".") or path.name == CONTACT_SHEET:
        return False
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    if not path.is_file():  # opening a pipe would block
        return False
    try:
        with path.open("rb") as file:
            return headers.sniff(file.read(16)) is not None
    except OSError:
        return False


def _content(folder: Path) -> str:
    """Describe what a folder without images holds instead."""
    names = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if not names:
        return "an empty folder"
    suffixes = sorted({path.suffix for path in names if path.is_file() and path.suffix})
    folders = sum(path.is_dir() for path in names)
    parts = [f"files of {', '.join(suffixes[:5])}; export them as TIFF or JPEG"] if suffixes else []
    parts += [f"{folders} folders, such as {next(p.name for p in names if p.is_dir())}"] if folders else []
    return " and ".join(parts) or f"{len(names)} files that are none"


def _found(path: Path, number: int) -> FoundImage:
    try:
        return FoundImage(path.name, number, probe_any(path))
    except DataError as error:
        return FoundImage(path.name, number, None, str(error))


def _short(found: Survey, thickness_um: float) -> bool:
    """Return whether consecutively numbered images would span less than a brain."""
    span = (found.images[-1].number - found.images[0].number) * thickness_um
    return found.gap == 1 and span < SHORT_SERIES_UM


def _spacing_text(found: Survey, thickness_um: float) -> str:
    first, last = found.images[0].number, found.images[-1].number
    span_mm = (last - first) * thickness_um / 1000
    return (
        f"how many sections lie from one image to the next; numbered {first} to {last}, they would span only"
        f" {span_mm:.2g} mm of brain at {thickness_um:g} um (1 if none was left out)"
    )


def _check_choice(option: str, value: str | None, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        raise ConfigError(f"{option}: expected {' or '.join(allowed)}, got {value!r}")


def _check_spacing(found: Survey, spacing: int) -> None:
    if spacing < 1:
        raise ConfigError(f"--spacing: expected a whole number from 1, got {spacing}")
    if found.gap not in (0, 1, spacing):
        raise ConfigError(
            f"--spacing {spacing}: the names count in steps of {found.gap} ({found.reading.examples()});"
            " leave --spacing out if these are section numbers, or say with --pattern which number is meant"
        )


def _section(number: int, image: FoundImage, folder: Path, answers: Answers) -> SectionImage:
    info = image.info
    stated = info.resolution_um if info is not None else None
    return SectionImage(
        id=number,
        section_number=number,
        path=folder / image.name,
        width_px=info.width_px if info else 0,
        height_px=info.height_px if info else 0,
        resolution_um=answers.resolution_um or stated or 0.0,
    )


def _warnings(found: Survey, answers: Answers, data_set: SectionDataSet) -> list[str]:
    warnings = [f"{name}: left out: --pattern does not match it" for name in found.reading.left_out]
    warnings += [f"{i.trouble}; a run leaves it out" for i in found.images if i.info is None]
    notes = {note: i.name for i in reversed(found.images) if i.info is not None for note in i.info.notes}
    warnings += [f"{name}: {note}" for note, name in reversed(notes.items())]
    warnings += _doubtful_resolution(found, answers.resolution_um)
    numbers = [image.section_number for image in data_set.section_images]
    span_um = data_set.z_um(max(numbers) - min(numbers))
    if span_um > LONG_SERIES_UM:
        warnings.append(f"the series spans {span_um / 1000:.3g} mm: are --thickness-um and numbers right?")
    if answers.plane == "sagittal" and answers.hemisphere is None:
        warnings.append("sagittal sections are taken as the left hemisphere; --hemisphere says otherwise")
    return warnings


def _doubtful_resolution(found: Survey, stated: float | None) -> list[str]:
    """Return a warning where images state another pixel size than the person did."""
    if stated is None:
        return []
    other = [
        (i.name, i.info.resolution_um)
        for i in found.images
        if i.info is not None
        and i.info.resolution_um is not None
        and not math.isclose(i.info.resolution_um, stated, rel_tol=SAME_RESOLUTION)
    ]
    if not other:
        return []
    name, um = other[0]
    return [f"{len(other)} images state another pixel size, {name} {um:g} um; {stated:g} um is used for all"]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (" …" if len(numbers) > 8 else "")


def with_boxes(made: Draft, boxes: Mapping[int, tuple[float, float, float, float]]) -> Draft:
    """Return a draft with tissue boxes.

    Parameters
    ----------
    made : Draft
        The manifest.
    boxes : mapping of int to (x, y, width, height)
        Boxes by section number, manifest px; sections without one have none.

    Returns
    -------
    Draft
        The manifest with these boxes.
    """
    images = tuple(
        replace(i, tissue_box_px=boxes.get(i.section_number)) for i in made.data_set.section_images
    )
    return replace(made, data_set=replace(made.data_set, section_images=images))
