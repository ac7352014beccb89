"""The stages of a series in order, each with its arguments and what decides its outcome.

measure (a section)   stored image -> reduced image, section statistics
pool (a series)       statistics of all sections -> pooled statistics of each section
detect (a section)    image, pooled statistics -> expression mask, sums over fine cells
align (a series)      reduced images, reference -> Alignment2d per section, Alignment3d
grid (a series)       sums, alignment -> missing tissue; density, intensity, energy at 200 um
unionize (a series)   grid, labels -> StructureUnionize table
summarise (a series)  everything -> section_data_set.json, provenance.json
report (a series)     everything -> report.html
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.core.model import SectionImage, SeriesAlignment
from pipeline.geometry import affine
from pipeline.inputs.fetch.references import sha256_of
from pipeline.quantification.uncertainty.coefficients import COEFFICIENTS
from pipeline.stages.align import SeriesToAlign, corrections_path, given_path, in_order
from pipeline.stages.anchors import anchors_path
from pipeline.stages.job import Grounds, SeriesJob, Stage, Upstream
from pipeline.stages.provenance import reference_key, what_was_read
from pipeline.stages.specimen import measured_of
from pipeline.stages.specimen_parts import SPECIMEN_FOLDER
from pipeline.stages.uncertainty import UncertaintyInputs
from pipeline.store.run import DEFORMATION, MISSING_CELLS, MISSING_TISSUE, RATIOS
from pipeline.store.tasks import Receipt, task_name

# Fields of the manifest that an alignment depends on.
FRAME = (
    "plane_of_section", "section_thickness_um", "hemisphere", "section_order", "image_up",
    "reference_space_id",
)  # fmt: skip

GRID_FILES = tuple(f"grid/{name}.{end}" for name in RATIOS for end in ("mhd", "raw"))


def _measured(upstream: Upstream, section: SectionImage) -> Receipt:
    return upstream[task_name("measure", section.section_number)]


def _became(upstream: Upstream) -> dict[str, list[str]]:
    return {name: [receipt.state, receipt.digest] for name, receipt in upstream.items()}


def _for_measure(job: SeriesJob, section: SectionImage, upstream: Upstream, digest: str) -> dict[str, Any]:
    return {"section": section, "run": job.run, "memory_mb": job.memory_mb, "digest": digest}


def _of_measure(job: SeriesJob, section: SectionImage, upstream: Upstream) -> Grounds:
    """The manifest of the pixels; location and orientation of the file do not count."""
    others = {"path", "id", "rotate_deg", "flip", "position_um"}
    if not section.is_mask:  # photographs keep the digests that they had before masks were read
        others.add("is_mask")
    row = {k: v for k, v in asdict(section).items() if k not in others}
    return Grounds({"manifest": row, "image": job.files.get(str(section.path))})


def _for_pool(job: SeriesJob, section: None, upstream: Upstream, digest: str) -> dict[str, Any]:
    measured = {s.section_number: _measured(upstream, s) for s in job.sections}
    return {"contexts": {n: receipt.facts["context"] for n, receipt in measured.items() if receipt.ok}}


def _of_pool(job: SeriesJob, section: None, upstream: Upstream) -> Grounds:
    return Grounds({"measured sections": _became(upstream)})


def _for_detect(job: SeriesJob, section: SectionImage, upstream: Upstream, digest: str) -> dict[str, Any]:
    return {
        "section": section,
        "run": job.run,
        "detector": job.config.detection.name,
        "configuration": job.config.detection.configuration,
        "factor": _measured(upstream, section).facts["factor"],
        "context": _context(upstream, section),
        "digest": digest,
    }


def _context(upstream: Upstream, section: SectionImage) -> Any:
    return upstream["pool"].facts["contexts"][str(section.section_number)]


def _of_detect(job: SeriesJob, section: SectionImage, upstream: Upstream) -> Grounds:
    inputs = {
        "measured section": _measured(upstream, section).digest,
        "statistics of the series": _context(upstream, section),
    }
    return Grounds(inputs, job.config.detection.model_dump())


def to_align(job: SeriesJob, measured: Upstream | None = None) -> SeriesToAlign:
    """Return what the alignment of a series depends on.

    Parameters
    ----------
    job : SeriesJob
        The series.
    measured : mapping of str to Receipt or None
        Receipts of its measure tasks; None before anything is measured.

    Returns
    -------
    SeriesToAlign
        The series with the sections that were measured.
    """
    read = {receipt.id.section_number for receipt in (measured or {}).values() if receipt.ok}
    return SeriesToAlign(
        job.run,
        job.source,
        job.data_set,
        job.config.alignment.name,
        job.config.alignment.configuration,
        job.given,
        frozenset(n for n in read if n is not None),
    )


def specimen_series_of(job: SeriesJob, upstream: Upstream | None = None) -> list[SeriesToAlign]:
    """Return the series that are aligned together with a series.

    Parameters
    ----------
    job : SeriesJob
        The series.
    upstream : mapping of str to Receipt or None
        Receipts of the measured sections of all of them; None before anything is measured.

    Returns
    -------
    list of SeriesToAlign
        All of them in the order of the batch, itself included; empty where it is aligned alone.
    """
    return [
        to_align(one, None if upstream is None else measured_of(job, one, upstream))
        for one in job.specimen_series
    ]


def _for_align(job: SeriesJob, section: None, upstream: Upstream, digest: str) -> dict[str, Any]:
    return {
        "series": to_align(job, measured_of(job, job, upstream)),
        "specimen_series": specimen_series_of(job, upstream),
        "reference": job.reference,
        "digest": digest,
    }


def _of_align(job: SeriesJob, section: None, upstream: Upstream) -> Grounds:
    """The same for all series of a family, sorted by id, so that one finds what another computed."""
    members = sorted(job.specimen_series, key=lambda one: one.data_set.id) or [job]
    manifest = [_manifest(one) for one in members]
    configuration = job.config.alignment.model_dump()
    series = to_align(job)
    if job.config.alignment.name == "given":
        path = given_path(series)
        source: Any = sha256_of(path) if path and path.is_file() else repr(_matrices(job.given))
        measured = {n: r.state for n, r in upstream.items()}
        inputs = {"manifest": manifest, "given alignment": source, "measured sections": measured}
        return Grounds(inputs, configuration)
    together = in_order(series, specimen_series_of(job))
    paths = [corrections_path(one) for one in together]
    paths += [anchors_path(one.configuration, one.source) for one in together]
    inputs = {
        "manifest": manifest,
        "reference": reference_key(job),
        "corrections": [sha256_of(p) if p is not None and p.is_file() else None for p in paths],
        "measured sections": [_became(measured_of(job, one, upstream)) for one in members],
    }
    return Grounds(inputs, configuration)


def _manifest(job: SeriesJob) -> list[Any]:
    """Return the fields of the manifest that an alignment depends on."""
    return [
        [(s.section_number, s.rotate_deg, s.flip, s.position_um) for s in job.sections],
        [getattr(job.data_set, name) for name in FRAME],
        job.run.path.name if job.specimen_series else "",
    ]


def _matrices(alignment: SeriesAlignment | None) -> Any:
    if alignment is None:
        return None
    space = alignment.alignment3d
    sections = [
        (s.alignment2d.section_number, affine.to_itk(s.alignment2d.section_to_volume))
        for s in alignment.sections
    ]
    return [affine.to_itk(space.volume_to_reference), sections]


def _align_outputs(job: SeriesJob, section: None) -> list[Path]:
    """Return the outputs of an alignment, with the deformations where they are configured."""
    names = ["alignment.json"]
    if job.config.alignment.configuration.get("deformable", "none") != "none":
        names.append(DEFORMATION)
    return [job.run.file(name) for name in names]


def _for_grid(job: SeriesJob, section: None, upstream: Upstream, digest: str) -> dict[str, Any]:
    numbers = [s.section_number for s in job.sections]
    return {
        "run": job.run,
        "data_set": job.data_set,
        "detected": frozenset(n for n in numbers if upstream[task_name("detect", n)].ok),
        "reference": job.reference,
        "gridding": job.config.gridding,
        "threads": job.threads,
        "digest": digest,
    }


def _of_grid(job: SeriesJob, section: None, upstream: Upstream) -> Grounds:
    numbers = [s.section_number for s in job.sections]
    inputs = {
        "alignment and detected sections": _became(upstream),
        "manifest": [numbers, job.data_set.section_thickness_um],
        "missing tissue": {s.section_number: s.missing_polygons_px for s in job.sections},
        "reference": reference_key(job),
    }
    return Grounds(inputs, job.config.gridding.model_dump())


def _for_unionize(job: SeriesJob, section: None, upstream: Upstream, digest: str) -> dict[str, Any]:
    return {
        "run": job.run,
        "data_set": job.data_set,
        "reference": job.reference,
        "grid_annotation": job.config.unionize.grid_annotation,
        "uncertainty": _to_judge(job, upstream) if job.config.uncertainty.intervals else None,
    }


def _to_judge(job: SeriesJob, upstream: Upstream) -> UncertaintyInputs:
    """Return what the intervals of a series need beside its grid and cells."""
    detected = (upstream[task_name("detect", s.section_number)] for s in job.sections)
    found = tuple(r.facts["sensitivity"] for r in detected if r.ok)
    return UncertaintyInputs(job.config.gridding.z_smoothing_um, found)


def _of_unionize(job: SeriesJob, section: None, upstream: Upstream) -> Grounds:
    inputs = {
        "grid": upstream["grid"].digest,
        "reference": reference_key(job),
        "manifest": [job.data_set.id, job.data_set.spacing_um],
        "coefficients": sha256_of(COEFFICIENTS),
    }
    configuration = {**job.config.unionize.model_dump(), **job.config.uncertainty.model_dump()}
    return Grounds(inputs, configuration)


def _for_summarise(job: SeriesJob, section: None, upstream: Upstream, digest: str) -> dict[str, Any]:
    return {"job": job, "upstream": upstream, "digest": digest}


def _of_summarise(job: SeriesJob, section: None, upstream: Upstream) -> Grounds:
    """Everything that both documents record, also what affects no number (gene name, file locations)."""
    became = {n: [r.state, r.digest, r.message] for n, r in upstream.items()}
    return Grounds({"stages": became, "warnings": job.warnings, "what was read": what_was_read(job)})


def _for_report(job: SeriesJob, section: None, upstream: Upstream, digest: str) -> dict[str, Any]:
    return {"run": job.run, "reference": job.reference, "threads": job.threads}


def _of_report(job: SeriesJob, section: None, upstream: Upstream) -> Grounds:
    return Grounds({"stages": _became(upstream)})


def _unusable(job: SeriesJob, section: SectionImage, upstream: Upstream) -> str:
    if section.failed:
        return "marked as failed in the manifest"
    return "no image file" if section.path is None else ""


def _needs_measure(job: SeriesJob, section: SectionImage, upstream: Upstream) -> str:
    receipt, pooled = _measured(upstream, section), upstream["pool"]
    return next((r.message for r in (receipt, pooled) if not r.ok), "")


def _needs_sections(job: SeriesJob, section: None, upstream: Upstream) -> str:
    return "" if any(receipt.ok for receipt in upstream.values()) else "no section could be read"


def _needs_alignment(job: SeriesJob, section: None, upstream: Upstream) -> str:
    return "" if upstream["align"].ok else "there is no alignment"


def _needs_grid(job: SeriesJob, section: None, upstream: Upstream) -> str:
    return "" if upstream["grid"].ok else "there is no grid"


def _within(kind: str, *names: str) -> Any:
    """Return a function that lists the outputs of a section, or of the series."""

    def outputs(job: SeriesJob, section: SectionImage | None) -> list[Path]:
        last = (str(section.section_number),) if section is not None else ()
        return [job.run.path.joinpath(name, *last) for name in names]

    return outputs


STAGES: tuple[Stage, ...] = (
    Stage(
        "measure", "section", (), "measure:measure", _for_measure, _of_measure,
        _within("section", "thumbnails.zarr"), _unusable,
    ),
    Stage(
        "pool", "series", ("measure",), "pool:pool", _for_pool, _of_pool, _within("series"), _needs_sections,
    ),
    Stage(
        "detect", "section", ("measure", "pool"), "detect:detect", _for_detect, _of_detect,
        _within("section", "expression.zarr", "cells.zarr"), _needs_measure,
    ),
    Stage(
        "align", "series", ("measure",), "align:align", _for_align, _of_align, _align_outputs,
        also=("volume.zarr", SPECIMEN_FOLDER),
    ),
    Stage(
        "grid", "series", ("detect", "align"), "grid:grid", _for_grid, _of_grid,
        _within("series", "grid.zarr", MISSING_TISSUE, MISSING_CELLS, *GRID_FILES),
        _needs_alignment,
    ),
    Stage(
        "unionize", "series", ("detect", "grid"), "unionize:unionize_structures", _for_unionize, _of_unionize,
        _within("series", "structure_unionize.csv", "structure_unionize.parquet"), _needs_grid,
    ),
    Stage(
        "summarise", "series", ("measure", "detect", "align", "grid", "unionize"), "summarise:summarise",
        _for_summarise, _of_summarise, _within("series", "section_data_set.json", "provenance.json"),
    ),
)  # fmt: skip
REPORT = Stage(
    "report", "series", tuple(stage.name for stage in STAGES), "page:report", _for_report, _of_report,
    _within("series", "report.html"),
)  # fmt: skip
STEPS = (*STAGES, REPORT)
