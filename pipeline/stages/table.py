"""The stages of a series, each read -> pure -> write, in the order of the STAGES table.

measure (a section)   stored image -> reduced image, section statistics
pool (a series)       statistics of all sections -> what each section has of the series'
detect (a section)    image, pooled statistics -> expression mask, sums over fine cells
align (a series)      reduced images, reference -> Alignment2d per section, Alignment3d
grid (a series)       sums, alignment -> density, intensity, energy at 200 um
unionize (a series)   grid, labels -> StructureUnionize table
summarise (a series)  everything -> section_data_set.json, provenance.json
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import intensity
from pipeline.core.errors import DataError
from pipeline.core.intensity import darkness
from pipeline.core.model import (
    SUM_FIELDS,
    Bool,
    ExpressionSums,
    SectionImage,
    Status,
    StructureUnionize,
    UInt8,
)
from pipeline.core.reference_space import hemispheres
from pipeline.detection import (
    OUTLINES,
    STATISTICS_UM,
    Detector,
    SectionContext,
    check_background,
    make_detector,
    measure_section,
    pool_contexts,
    scan_rectangle,
    statistics_step,
    valid_region,
)
from pipeline.formats.images.files import block_mean
from pipeline.formats.manifests.series import frame_factor
from pipeline.formats.tables.tables import columns_of, write_table
from pipeline.formats.volumes.metaimage import write_grid
from pipeline.inputs.alignments import read_placement
from pipeline.inputs.references import (
    GRID_LABELS_UM,
    load_dark,
    load_info,
    load_pixels,
    load_reduced,
    load_reference,
)
from pipeline.quantification import gridding
from pipeline.quantification.unionize import LabelIndex, unionize
from pipeline.sections.scan import Rectangle
from pipeline.stages.align import align, align_key, align_outputs
from pipeline.stages.job import SeriesJob, Stage, Upstream, check_memory, task_name
from pipeline.stages.provenance import reference_key, what_was_read
from pipeline.stages.specimen import SIBLINGS
from pipeline.stages.summarise import summarise
from pipeline.store.run import RATIOS

THUMBNAIL_UM = 25.0


def measure(job: SeriesJob, section: SectionImage, upstream: Upstream, digest: str) -> dict[str, Any]:
    """Reduce a section and take its statistics; facts: the frame, the scan's rectangle, the context."""
    info = load_info(section)
    factor = frame_factor(section, info)
    stored_um = section.resolution_um * factor
    step = statistics_step(stored_um)
    check_memory(job, section, info.width_px * info.height_px * info.channels)
    pixels = load_reduced(section, step)
    check_background(pixels)
    rectangle = scan_rectangle(pixels)
    valid = np.ascontiguousarray(_valid(section, pixels.shape, factor * step, rectangle))
    context = measure_section(pixels, valid, stored_um * step)
    more = max(1, round(THUMBNAIL_UM / (stored_um * step)))
    # Outlines are long, and every section's receipt goes to all of its series: they stay in the store.
    numbers = asdict(context)
    outlines = {name: numbers.pop(name) for name in OUTLINES}
    attributes = {"reduce": step * more, "factor": factor, "digest": digest, "outlines": outlines}
    job.run.write_thumbnail(
        section.section_number, block_mean(pixels, more), _reduce(valid, more), attributes
    )
    stored = info.width_px, info.height_px
    return {
        "factor": factor,
        "rectangle_px": [min(step * n, side) for n, side in zip(rectangle, stored * 2, strict=True)],
        "stored_px": list(stored),
        "context": numbers,
    }


def _valid(section: SectionImage, shape: tuple[int, ...], factor: int, rectangle: Rectangle) -> Bool:
    """Return which pixels of an image count, (H, W); `factor` pixels of the manifest's frame make one."""
    box = None if section.tissue_box_px is None else tuple(v / factor for v in section.tissue_box_px)
    polygons = [
        [((x + 0.5) / factor - 0.5, (y + 0.5) / factor - 0.5) for x, y in polygon]
        for polygon in section.dark_polygons_px
    ]
    return valid_region((shape[0], shape[1]), box, polygons, rectangle)  # type: ignore[arg-type]


def _reduce(valid: Bool, factor: int) -> Bool:
    """Keep a reduced pixel where most of it counts."""
    return np.asarray(block_mean(valid.view(np.uint8) * np.uint8(255), factor) > 127)


def detect(job: SeriesJob, section: SectionImage, upstream: Upstream, digest: str) -> dict[str, Any]:
    """Find expressing pixels, write them with their intensity, and sum the section over fine cells."""
    facts = upstream[task_name("measure", section)].facts
    factor = facts["factor"]
    stored_um = section.resolution_um * factor
    outlines = job.run.read_outlines(section.section_number)
    context = replace(_pooled(section, upstream), resolution_um=stored_um, **outlines)
    detector = make_detector(job.config.detection.name, job.config.detection.configuration)
    dark, rectangle, mask = _marked(section, detector, context)
    valid = _valid(section, dark.shape, factor, rectangle)
    expression = intensity.expression(dark, mask, valid)
    job.run.write_expression(section.section_number, expression, stored_um, digest)
    pitch = gridding.fine_pitch_px(stored_um)
    sums = gridding.accumulate(dark, expression, valid, pitch)
    cells = gridding.SectionCells(sums, pitch, factor, section.resolution_um, rectangle)
    job.run.write_cells(section.section_number, cells, digest)
    return {name: int(array.sum()) for name, array in sums.arrays().items()}


def _marked(
    section: SectionImage, detector: Detector, context: SectionContext
) -> tuple[UInt8, Rectangle, Bool]:
    """Return a section's darkness, the rectangle of its scan, and what a detector marks."""
    if detector.reads_colour:
        pixels = load_pixels(section)
        return darkness(pixels), scan_rectangle(pixels), detector(pixels, context)
    dark, rectangle = load_dark(section)
    return dark, rectangle, detector.of_darkness(dark, context)


def pool(job: SeriesJob, section: None, upstream: Upstream, digest: str) -> dict[str, Any]:
    """Pool the statistics of a series; facts: the context of every section that was measured."""
    measured = {s.section_number: upstream[task_name("measure", s)] for s in job.sections}
    contexts = {n: SectionContext(**r.facts["context"]) for n, r in measured.items() if r.ok}
    pooled = zip(contexts, map(asdict, pool_contexts(list(contexts.values()))), strict=True)
    return {"contexts": {str(n): {k: v for k, v in c.items() if k not in OUTLINES} for n, c in pooled}}


def _pooled(section: SectionImage, upstream: Upstream) -> SectionContext:
    """Return what a section has of the statistics of its series, without its outlines."""
    return SectionContext(**upstream["pool"].facts["contexts"][str(section.section_number)])


def grid(job: SeriesJob, section: None, upstream: Upstream, digest: str) -> dict[str, Any]:
    """Gather the sums of all sections that are detected and aligned on the 200 um grid."""
    alignment = read_placement(job.run)
    parameters = job.config.gridding
    placed = []
    for image in job.sections:
        aligned = alignment.of(image.section_number)
        if aligned is None or aligned.status == Status.FAIL or not upstream[task_name("detect", image)].ok:
            continue
        cells = gridding.smooth(job.run.read_cells(image.section_number), parameters.smoothing_um)
        z_um = job.data_set.z_um(image.section_number)
        placed.append(gridding.PlacedSection(cells, z_um, aligned))
    if not placed:
        raise DataError(f"series {job.data_set.id}: no section is both detected and aligned: nothing to grid")
    lattice = load_reference(job, GRID_LABELS_UM).grid
    sums, covered = gridding.assemble(
        placed, alignment.alignment3d, lattice, job.data_set.spacing_um, parameters.z_smoothing_um
    )
    arrays = job.run.write_grid(sums, covered, digest)
    for name in RATIOS:  # as Allen serves them
        write_grid(job.run.file("grid") / f"{name}.mhd", arrays[name], lattice.spacing_um)
    return {"sections": len(placed), "covered_voxels": int(covered.sum())}


def unionize_structures(job: SeriesJob, section: None, upstream: Upstream, digest: str) -> dict[str, Any]:
    """Sum the grid over the structure hierarchy and write the table."""
    reference = load_reference(job, GRID_LABELS_UM)
    labels = reference.grid_labels(served=job.config.unionize.grid_annotation == "served")
    arrays = job.run.read_grid()
    covered = arrays["sum_pixels"] >= 0
    sums = ExpressionSums(*(np.where(covered, arrays[n], 0).astype(np.float64) for n in SUM_FIELDS))
    index = LabelIndex.of(labels, reference.ontology)
    rows = unionize(job.data_set.id, sums, covered, index, hemispheres(reference.grid))
    folder = job.run.path
    columns = columns_of(rows, StructureUnionize)
    write_table(columns, folder / "structure_unionize.csv", folder / "structure_unionize.parquet")
    unknown = reference.ontology.unknown(index.label_ids)
    return {"rows": len(rows), "unknown_labels": list(unknown)}


def _measure_key(job: SeriesJob, section: SectionImage, upstream: Upstream) -> Any:
    return [_row(section), job.files.get(str(section.path)), THUMBNAIL_UM, STATISTICS_UM]


def _row(section: SectionImage) -> dict[str, Any]:
    """What the manifest says of a section's pixels; where the file lies and how it is turned do not count."""
    return {k: v for k, v in asdict(section).items() if k not in {"path", "id", "rotate_deg", "flip"}}


def _pool_key(job: SeriesJob, section: None, upstream: Upstream) -> Any:
    return {name: [receipt.state, receipt.digest] for name, receipt in upstream.items()}


def _detect_key(job: SeriesJob, section: SectionImage, upstream: Upstream) -> Any:
    own = upstream[task_name("measure", section)].digest
    pooled = upstream["pool"].facts["contexts"][str(section.section_number)]
    return [own, pooled, job.config.detection.model_dump()]


def _grid_key(job: SeriesJob, section: None, upstream: Upstream) -> Any:
    states = {name: [receipt.state, receipt.digest] for name, receipt in upstream.items()}
    numbers = [s.section_number for s in job.sections]
    frame = [numbers, job.data_set.section_thickness_um, reference_key(job)]
    return [states, frame, job.config.gridding.model_dump()]


def _unionize_key(job: SeriesJob, section: None, upstream: Upstream) -> Any:
    return [upstream["grid"].digest, reference_key(job), job.config.unionize.model_dump(), job.data_set.id]


def _summarise_key(job: SeriesJob, section: None, upstream: Upstream) -> Any:
    """All that the two documents tell: also what changes no number, as a gene's name or where files lie."""
    became = {n: [r.state, r.digest, r.message] for n, r in upstream.items()}
    return [became, job.warnings, what_was_read(job)]


def _unusable(job: SeriesJob, section: SectionImage, upstream: Upstream) -> str:
    if section.failed:
        return "marked as failed in the manifest"
    return "no image file" if section.path is None else ""


def _needs_measure(job: SeriesJob, section: SectionImage, upstream: Upstream) -> str:
    receipt, pooled = upstream[task_name("measure", section)], upstream["pool"]
    return next((r.message for r in (receipt, pooled) if not r.ok), "")


def _needs_sections(job: SeriesJob, section: None, upstream: Upstream) -> str:
    return "" if any(receipt.ok for receipt in upstream.values()) else "no section was read"


def _needs_alignment(job: SeriesJob, section: None, upstream: Upstream) -> str:
    return "" if upstream["align"].ok else "there is no alignment"


def _needs_grid(job: SeriesJob, section: None, upstream: Upstream) -> str:
    return "" if upstream["grid"].ok else "there is no grid"


def _within(kind: str, *names: str) -> Any:
    """Return the function that lists the outputs of a section, or of the series."""

    def outputs(job: SeriesJob, section: SectionImage | None) -> list[Path]:
        last = (str(section.section_number),) if section is not None else ()
        return [job.run.path.joinpath(name, *last) for name in names]

    return outputs


STAGES: tuple[Stage, ...] = (
    Stage("measure", "section", (), measure, _measure_key, _within("section", "thumbnails.zarr"), _unusable),
    Stage("pool", "series", ("measure",), pool, _pool_key, _within("series"), _needs_sections),
    Stage(
        "detect", "section", ("measure", "pool"), detect, _detect_key,
        _within("section", "expression.zarr", "cells.zarr"), _needs_measure,
    ),
    Stage(
        "align", "series", ("measure",), align, align_key, align_outputs, also=("volume.zarr", SIBLINGS),
    ),
    Stage(
        "grid", "series", ("detect", "align"), grid, _grid_key,
        _within("series", "grid.zarr", *(f"grid/{name}.{end}" for name in RATIOS for end in ("mhd", "raw"))),
        _needs_alignment,
    ),
    Stage(
        "unionize", "series", ("grid",), unionize_structures, _unionize_key,
        _within("series", "structure_unionize.csv", "structure_unionize.parquet"), _needs_grid,
    ),
    Stage(
        "summarise", "series", ("measure", "detect", "align", "grid", "unionize"), summarise, _summarise_key,
        _within("series", "section_data_set.json", "provenance.json"),
    ),
)  # fmt: skip
