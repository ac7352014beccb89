"""The grid stage: sums of all sections gathered on the 200 um grid of the reference space.

The 200 um expression grid follows the Allen Mouse Brain Atlas (Lein et al. 2007; Ng et al. 2009). Tissue that
a section lacks is found here, since only a placed section can be held against reference and neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.intensity import darkness
from pipeline.core.model import (
    Float64,
    SectionAlignment,
    SectionDataSet,
    SectionImage,
    SeriesAlignment,
    Status,
)
from pipeline.formats.volumes.metaimage import write_grid
from pipeline.inputs.alignments import read_placement
from pipeline.inputs.config import GriddingConfig
from pipeline.inputs.pixels import drawn_missing
from pipeline.inputs.references import GRID_LABELS_UM, OUTLINE_UM, RunReference
from pipeline.quantification import gridding as grids
from pipeline.quantification.cells import share_in_cells, without
from pipeline.registration import MissingTissue, PlacedThumbnail, find_missing
from pipeline.registration.missing_tissue import outlines_px
from pipeline.stages.thumbnails import section_thumbnail
from pipeline.store.facts import GridFacts
from pipeline.store.missing_cells import write_missing_cells
from pipeline.store.run import MISSING_TISSUE, RATIOS, RunFolder, write_json


def grid(
    run: RunFolder,
    data_set: SectionDataSet,
    detected: Collection[int],
    reference: RunReference,
    gridding: GriddingConfig,
    threads: int,
    digest: str,
) -> GridFacts:
    """Gather the sums of all detected and aligned sections on the 200 um grid, and write it.

    Density, intensity and energy are also written as MetaImage files in the form that Allen serves. What the
    sections lack goes into `missing_tissue.json`, and out of sums and coverage.

    Parameters
    ----------
    run : RunFolder
        Run folder to read from and write to.
    data_set : SectionDataSet
        Manifest of the series.
    detected : collection of int
        Numbers of the sections whose expression was detected.
    reference : RunReference
        Reference space.
    gridding : GriddingConfig
        Smoothing, and whether missing tissue is looked for.
    threads : int
        Threads that share the sections.
    digest : str
        Digest of everything that decides the outcome, stored with the grid.

    Returns
    -------
    dict of str to Any
        Facts: number of sections gathered, of voxels with data, and the share of tissue that sections lack.

    Raises
    ------
    DataError
        Where no section is both detected and aligned.
    """
    alignment = read_placement(run)
    used = [
        (image, aligned)
        for image in data_set.section_images
        if (aligned := alignment.of(image.section_number)) is not None
        and aligned.status != Status.FAIL
        and image.section_number in detected
    ]
    if not used:
        raise DataError(f"series {data_set.id}: no section is both detected and aligned: nothing to grid")
    missing = (
        _missing(run, data_set, used, alignment, reference, threads) if gridding.find_missing_tissue else {}
    )
    placed = [
        _placed(run, data_set, image, aligned, missing.get(image.section_number), gridding.smoothing_um)
        for image, aligned in used
    ]
    _write_missing(run, data_set, [image for image, _ in used], missing, digest)
    lattice = reference.at(GRID_LABELS_UM).grid
    sums, covered = grids.assemble(
        placed, alignment.alignment3d, lattice, data_set.spacing_um, gridding.z_smoothing_um
    )
    arrays = run.write_grid(sums, covered, digest)
    for name in RATIOS:  # the form of Allen's grid service
        write_grid(run.file("grid") / f"{name}.mhd", arrays[name], lattice.spacing_um)
    return {
        "sections": len(placed),
        "covered_voxels": int(covered.sum()),
        "missing": {str(number): round(found.share, 5) for number, found in missing.items()},
    }


def _missing(
    run: RunFolder,
    data_set: SectionDataSet,
    used: Sequence[tuple[SectionImage, SectionAlignment]],
    alignment: SeriesAlignment,
    reference: RunReference,
    threads: int,
) -> dict[int, MissingTissue]:
    """Find what the sections lack, by section number."""
    placed = [PlacedThumbnail(section_thumbnail(run, data_set, image), aligned) for image, aligned in used]
    return find_missing(placed, alignment.alignment3d, reference.at(OUTLINE_UM), data_set.hemisphere, threads)


def _write_missing(
    run: RunFolder,
    data_set: SectionDataSet,
    used: Sequence[SectionImage],
    missing: Mapping[int, MissingTissue],
    digest: str,
) -> None:
    """Write what the sections lack: outlines for readers, shares of cells for the sums of sections."""
    shares, glass = {}, {}
    for number, found in missing.items():
        pixels, _, attributes = run.read_thumbnail(number)
        shares[number] = share_in_cells(found.mask, attributes["reduce"], run.read_cells(number))
        glass[number] = float(darkness(pixels)[found.mask].mean())
    write_missing_cells(run, [image.section_number for image in used], shares, glass, digest)
    write_json(run.file(MISSING_TISSUE), _document(run, data_set, missing, digest))


def _document(
    run: RunFolder, data_set: SectionDataSet, missing: Mapping[int, MissingTissue], digest: str
) -> dict[str, object]:
    """Return the content of `missing_tissue.json`: what the sections lack, in the form of a manifest."""
    images = {image.section_number: image for image in data_set.section_images}
    outlines = {
        str(number): outlines_px(found, section_thumbnail(run, data_set, images[number]))
        for number, found in missing.items()
    }
    shares = {str(number): round(found.share, 5) for number, found in missing.items()}
    return {"missing_tissue": outlines, "shares": shares, "ish_pipeline": {"digest": digest}}


def _placed(
    run: RunFolder,
    data_set: SectionDataSet,
    image: SectionImage,
    aligned: SectionAlignment,
    found: MissingTissue | None,
    smoothing_um: float,
) -> grids.PlacedSection:
    """Return the sums of a section without what it lacks, smoothed and placed."""
    number = image.section_number
    cells = run.read_cells(number)
    lacking: list[Float64] = []
    thumbnail = run.read_thumbnail(number) if found or image.missing_polygons_px else None
    if thumbnail is not None and image.missing_polygons_px:
        pixels, _, attributes = thumbnail
        drawn = drawn_missing(image, pixels.shape, attributes["reduce"] * attributes["factor"])
        lacking.append(share_in_cells(drawn, attributes["reduce"], cells))
    padding = run.read_padding(number)
    if padding is not None:
        lacking.append(share_in_cells(*padding, cells))
    if thumbnail is not None and found is not None:
        pixels, _, attributes = thumbnail
        lacking.append(share_in_cells(found.mask, attributes["reduce"], cells))
        cells = without(cells, lacking[-1], float(darkness(pixels)[found.mask].mean()))
    smooth = grids.smooth(cells, smoothing_um)
    share = np.minimum(sum(lacking), 1.0) if lacking else None
    return grids.PlacedSection(smooth, data_set.z_um(number), aligned, share)
