"""The sections of one brain, read from one or more series that are numbered together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pipeline.core.blocks import block_majority, block_mean
from pipeline.core.errors import DataError, PipelineError
from pipeline.core.intensity import fitting_bits
from pipeline.core.model import SectionDataSet, SectionImage, numbered, series_spacing_um
from pipeline.formats.manifests.series import read_series
from pipeline.formats.volumes.reference_folder import ONTOLOGY
from pipeline.inputs.pixels import brightest, frame_factor, load_info, load_reduced, probe_any, valid_pixels
from pipeline.sections.padding import find_padding
from pipeline.sections.scan import check_background, scan_rectangle
from pipeline.sections.thumbnail import SectionThumbnail

LEAST_SECTIONS = 6
READ_UM = 25.0  # largest pixel that sections are read at, where their images are as fine
READERS = 2  # threads


@dataclass(frozen=True, eq=False)
class BrainSections:
    """What was read of a brain.

    Attributes
    ----------
    sources : tuple of Path
        Folders of the series.
    data_sets : tuple of SectionDataSet
        Their manifests.
    thumbnails : tuple of SectionThumbnail
        The sections that could be read, in ascending z; `series` is the index of their data set.
    unread : mapping of int to str
        Why a section was not read, by its number.
    missing : frozenset of int
        Numbers that a manifest names without an image.
    warnings : tuple of str
        From the manifests.
    files : tuple of Path
        Manifests and images.
    """

    sources: tuple[Path, ...]
    data_sets: tuple[SectionDataSet, ...]
    thumbnails: tuple[SectionThumbnail, ...]
    unread: Mapping[int, str] = field(default_factory=dict)
    missing: frozenset[int] = frozenset()
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def first(self) -> SectionDataSet:
        """The manifest that plane, thickness and hints are taken from."""
        return self.data_sets[0]

    @property
    def spacing_um(self) -> float:
        """Distance of neighbouring sections along the cutting axis, um: the median over all series."""
        numbers = [image.section_number for one in self.data_sets for image in one.section_images]
        return series_spacing_um(numbers, self.first.section_thickness_um)

    def series_of(self, number: int) -> int:
        """Return the index of the series that a section belongs to.

        Parameters
        ----------
        number : int
            Section number.

        Returns
        -------
        int
            Index into `data_sets`.
        """
        return next(
            k
            for k, one in enumerate(self.data_sets)
            if any(image.section_number == number for image in one.section_images)
        )


def read_sections(sources: Sequence[Path], pixel_um: float = READ_UM) -> BrainSections:
    """Read all series of one brain.

    Parameters
    ----------
    sources : sequence of Path
        Folders as `ish run --input` takes them.
    pixel_um : float, um
        Largest pixel of the images as read, where they are as fine.

    Returns
    -------
    BrainSections
        Manifests and reduced images.

    Raises
    ------
    DataError
        Where a manifest is wrong, the series do not belong together, or fewer than six sections are left.
    """
    _check_folders(sources)
    found = [read_series(source, probe_any) for source in sources]
    data_sets = [with_bits(one.data_set) for one in found]
    check_together(sources, data_sets)
    jobs = [(k, one, image) for k, one in enumerate(data_sets) for image in one.section_images]
    with ThreadPoolExecutor(READERS) as pool:
        read = list(pool.map(lambda job: _read(job[0], job[1], job[2], pixel_um), jobs))
    thumbnails = [one for one in read if isinstance(one, SectionThumbnail)]
    texts = {
        image.section_number: text
        for (_, _, image), text in zip(jobs, read, strict=True)
        if isinstance(text, str)
    }
    missing = frozenset(image.section_number for _, _, image in jobs if image.path is None)
    unread = {number: text for number, text in texts.items() if number not in missing}
    there = sum(not one.failed for one in thumbnails)
    brain = BrainSections(
        sources=tuple(sources),
        data_sets=tuple(data_sets),
        thumbnails=tuple(sorted(thumbnails, key=lambda one: one.z_um)),
        unread=unread,
        missing=missing,
        warnings=tuple(line for one in found for line in one.warnings),
        files=tuple(_files(sources, [image for _, _, image in jobs])),
    )
    check_enough(brain, there)
    return brain


def _check_folders(sources: Sequence[Path]) -> None:
    """Refuse a folder that is given twice, and a reference where a series is expected."""
    seen = set[Path]()
    for source in sources:
        if (source / ONTOLOGY).is_file():
            raise DataError(f"{source}: expected a series, got a reference; name it with --anchor")
        if source.resolve() in seen:
            raise DataError(f"{source}: expected each series once, got it twice; name it once")
        seen.add(source.resolve())


def check_enough(brain: BrainSections, usable: int, blank: int = 0) -> None:
    """Refuse a brain of too few sections.

    Parameters
    ----------
    brain : BrainSections
        As read.
    usable : int
        Sections that a volume can be made of.
    blank : int
        Sections that show no tissue.

    Raises
    ------
    DataError
        Where fewer than six are usable; says what is wrong with the others.
    """
    if usable >= LEAST_SECTIONS:
        return
    counts = {
        "have no image": len(brain.missing),
        "cannot be read": len(brain.unread),
        "are marked as failed": sum(one.failed for one in brain.thumbnails),
        "show no tissue": blank,
    }
    found = [f"{count} {what}" for what, count in counts.items() if count]
    if brain.unread:
        number, text = min(brain.unread.items())
        found.append(f"the first, section {number}: {text}")
    elif blank:
        found.append("see their images, and whether resolution_um is in um a pixel")
    found = found or ["a volume needs more; name all series of the brain"]
    raise DataError(
        f"{brain.sources[0]}: expected at least {LEAST_SECTIONS} usable sections, got {usable};"
        f" {', '.join(found)}"
    )


def check_together(sources: Sequence[Path], data_sets: Sequence[SectionDataSet]) -> None:
    """Refuse series that cannot be of one brain, numbered together.

    Parameters
    ----------
    sources : sequence of Path
        Their folders.
    data_sets : sequence of SectionDataSet
        Their manifests.

    Raises
    ------
    DataError
        Where plane, thickness, half, order or side up differ, two have one id, or numbers overlap.
    """
    first, taken = data_sets[0], set[int]()
    for source, one in zip(sources, data_sets, strict=True):
        for name in ("plane_of_section", "section_thickness_um", "hemisphere", "section_order", "image_up"):
            here, there = getattr(one, name), getattr(first, name)
            if here != there:
                raise DataError(
                    f"{source}: expected {name} {there} as in {sources[0]}, got {here}; build series of other"
                    " brains one by one"
                )
        numbers = {image.section_number for image in one.section_images}
        twice = sorted(numbers & taken)
        if twice:
            raise DataError(
                f"{source}: expected section numbers of its own, got {numbered(twice)} of another series too;"
                " number the series of one brain together"
            )
        taken |= numbers
    ids = [one.id for one in data_sets]
    if len(set(ids)) < len(ids):
        raise DataError(
            f"{sources[0]}: expected an id for each series, got {ids}; change it in section_data_set.yaml"
        )


def with_bits(data_set: SectionDataSet) -> SectionDataSet:
    """Return a data set whose 16-bit images without a stated range have one, estimated from all of them.

    Parameters
    ----------
    data_set : SectionDataSet
        The series.

    Returns
    -------
    SectionDataSet
        With `bits` where a file states no range.
    """
    found = {}
    for image in data_set.section_images:
        try:
            if image.path is not None and not load_info(image).range_stated:
                found[image.section_number] = brightest(image)
        except PipelineError:
            continue  # told when the section is read
    largest = [value for value in found.values() if value is not None]
    if not largest:
        return data_set
    bits = fitting_bits(max(largest))
    images = tuple(
        replace(s, bits=bits) if found.get(s.section_number) is not None else s
        for s in data_set.section_images
    )
    return replace(data_set, section_images=images)


def _read(
    series: int, data_set: SectionDataSet, image: SectionImage, pixel_um: float
) -> SectionThumbnail | str:
    """Return a section reduced, or why it cannot be read."""
    if image.path is None:
        return "no image"
    try:
        return replace(
            read_thumbnail(image, data_set.z_um(image.section_number), pixel_um),
            series=series,
            failed=image.failed,
        )
    except (PipelineError, OSError) as error:
        return str(error)


def read_thumbnail(image: SectionImage, z_um: float, pixel_um: float) -> SectionThumbnail:
    """Read one section, reduced by whole blocks.

    Parameters
    ----------
    image : SectionImage
        The section.
    z_um : float, um
        Its place along the cutting axis.
    pixel_um : float, um
        Largest pixel of the result, where the image is as fine.

    Returns
    -------
    SectionThumbnail
        Block means, with what counts of them.

    Raises
    ------
    DataError
        Where the image cannot be read or does not fit the manifest.
    """
    info = load_info(image)
    factor = frame_factor(image, info)
    step = max(1, int(pixel_um / (image.resolution_um * factor)))
    pixels = load_reduced(image, step)
    padding = find_padding(pixels)
    check_background(pixels, padding)
    kept = (padding, 1) if padding.any() else None
    valid = valid_pixels(image, pixels.shape, factor * step, scan_rectangle(pixels), kept)
    scale, shift = factor * step, 0.5 * (step - 1) * factor  # pixel centres lie at integers
    return SectionThumbnail(
        section_number=image.section_number,
        z_um=z_um,
        pixels=pixels,
        resolution_um=image.resolution_um,
        thumbnail_to_section=np.array([[scale, 0.0, shift], [0.0, scale, shift]]),
        valid=np.ascontiguousarray(valid),
        rotate_deg=image.rotate_deg,
        flip=image.flip,
        position_um=image.position_um,
    )


def coarser(thumbnail: SectionThumbnail, pixel_um: float) -> SectionThumbnail:
    """Return a section reduced further, for an alignment that needs no finer pixels.

    Parameters
    ----------
    thumbnail : SectionThumbnail
        The section.
    pixel_um : float, um
        Largest pixel of the result.

    Returns
    -------
    SectionThumbnail
        As coarse as whole blocks get within that size.
    """
    step = int(pixel_um // thumbnail.pixel_um)
    if step < 2 or min(thumbnail.pixels.shape[:2]) < 2 * step or thumbnail.valid is None:
        return thumbnail
    shift = 0.5 * (step - 1)
    block = np.array([[step, 0.0, shift], [0.0, step, shift], [0.0, 0.0, 1.0]])
    return replace(
        thumbnail,
        pixels=block_mean(thumbnail.pixels, step),
        valid=block_majority(thumbnail.valid, step),
        thumbnail_to_section=thumbnail.thumbnail_to_section @ block,
    )


def _files(sources: Sequence[Path], images: Sequence[SectionImage]) -> list[Path]:
    """Return the files whose checksums reference.json states: manifests and images that are files."""
    names = ("sections.csv", "section_data_set.yaml", "data_set.xml")
    manifests = [source / name for source in sources for name in names if (source / name).is_file()]
    return manifests + [s.path for s in images if s.path is not None and s.path.is_file()]
