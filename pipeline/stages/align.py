"""The align stage: a known alignment taken over, or a series aligned from nothing."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import AlignmentError, ConfigError
from pipeline.core.model import SectionImage, SeriesAlignment
from pipeline.formats.alignments.alignment_json import write_alignment
from pipeline.geometry import affine
from pipeline.inputs.fetch.references import sha256_of
from pipeline.inputs.hand_corrections import find_file, read_corrections, read_given
from pipeline.inputs.references import load_reference
from pipeline.registration import (
    AlignmentOptions,
    Correction,
    SectionThumbnail,
    Series,
    align_series,
    align_specimen,
    check_background,
    reconstruct,
)
from pipeline.stages.job import SeriesJob, Upstream, task_name
from pipeline.stages.provenance import reference_key
from pipeline.stages.specimen import Outcome, forget_parts, keep_parts, kept_part, measured_of
from pipeline.store.run import DEFORMATION
from pipeline.system.files import shown

REFERENCE_UM = 25.0
CORRECTED = ("corrections", "corrected_sections")
ASSUMED = "assumed: "
SCALE_WARNING, SCALE_ERROR = (0.75, 1.30), (0.6, 1.6)


def align(job: SeriesJob, section: None, upstream: Upstream, digest: str) -> dict[str, Any]:
    """Place every measured section in the reference space and write `alignment.json`."""
    name = job.config.alignment.name
    measured = [s for s in job.sections if upstream[task_name("measure", s)].ok]
    if not job.siblings:
        forget_parts(job.run)
    alignment = _given(job, measured) if name == "given" else _from_nothing(job, measured, upstream, digest)
    notes = (*alignment.notes, *check_scales(alignment), *_edited(job))
    job.run.remove_deformations()
    if alignment.deformable != "none":
        deformed = {s.alignment2d.section_number: s.deformation for s in alignment.sections if s.deformation}
        job.run.write_deformations(deformed, digest)
    write_alignment(job.run.file("alignment.json"), replace(alignment, notes=notes))
    return {
        "statuses": {str(s.alignment2d.section_number): s.status.value for s in alignment.sections},
        "measures": alignment.measures,
        "notes": [note for note in notes if not note.startswith(ASSUMED)],  # conventions are no warnings
    }


def _edited(job: SeriesJob) -> list[str]:
    """Keep an alignment that was changed by hand where the new one goes; say so."""
    kept = job.run.put_aside_edited()
    how = f"to use it: alignment.name=given, alignment.configuration.path={job.run.path / kept}"
    return [f"alignment.json was changed by hand; it is kept as {kept}; {how}"] if kept else []


def align_outputs(job: SeriesJob, section: None) -> list[Path]:
    """Return what an alignment writes: the deformations too where they were asked for."""
    names = ["alignment.json"]
    if job.config.alignment.configuration.get("deformable", "none") != "none":
        names.append(DEFORMATION)
    return [job.run.file(name) for name in names]


def align_key(job: SeriesJob, section: None, upstream: Upstream) -> Any:
    """Everything that decides an alignment."""
    configuration = job.config.alignment.model_dump()
    series = [_manifest(one) for one in _family(job)]
    if job.config.alignment.name == "given":
        path = _given_path(job)
        source: Any = sha256_of(path) if path and path.is_file() else repr(_tsv(job.given))
        measured = {n: r.state for n, r in upstream.items()}
        return [configuration, series, source, measured]
    paths = [_corrections_path(one) for one in _family(job)]
    mended = [sha256_of(p) if p is not None and p.is_file() else None for p in paths]
    states = [
        {n: [r.state, r.digest] for n, r in measured_of(job, one, upstream).items()} for one in _family(job)
    ]
    # The same for all siblings: what one of them computes is known by it.
    return [configuration, series, reference_key(job), mended, states]


def _family(job: SeriesJob) -> list[SeriesJob]:
    """Return the series that are aligned together, by id: in whichever order they were given."""
    return sorted(job.siblings, key=lambda one: one.data_set.id) or [job]


def _manifest(job: SeriesJob) -> list[Any]:
    """Return what the manifest says that an alignment goes by."""
    names = (
        "plane_of_section", "section_thickness_um", "hemisphere", "section_order", "image_up",
        "reference_space_id",
    )  # fmt: skip
    return [
        [(s.section_number, s.rotate_deg, s.flip) for s in job.sections],
        [getattr(job.data_set, name) for name in names],
        job.run.path.name if job.siblings else "",
    ]


def _tsv(alignment: SeriesAlignment | None) -> Any:
    if alignment is None:
        return None
    space = alignment.alignment3d
    sections = [
        (s.alignment2d.section_number, affine.to_itk(s.alignment2d.section_to_volume))
        for s in alignment.sections
    ]
    return [affine.to_itk(space.volume_to_reference), sections]


def check_alignment(job: SeriesJob) -> None:
    """Raise ConfigError where the configuration of the series' alignment holds what no aligner takes."""
    if job.config.alignment.name != "given":
        alignment_options(job)
        _corrections(job)
        return
    unknown = job.config.alignment.configuration.keys() - {"path"}
    if unknown:
        raise ConfigError(f"alignment given: unknown key {sorted(unknown)[0]}; known: path")


def _corrections_path(job: SeriesJob) -> Path | None:
    configured = job.config.alignment.configuration.get("corrections")
    return find_file(configured, job.source) if configured else None


def _corrections(job: SeriesJob) -> dict[int, Correction]:
    """Return where a person put sections of the series, or of its siblings, by section number."""
    path = _corrections_path(job)
    if path is None:
        return {}
    images = tuple(image for one in _family(job) for image in one.sections)
    specimen = replace(job.data_set, section_images=images)
    return read_corrections(path, specimen, _chosen(job.config.alignment.configuration))


def _chosen(configuration: Mapping[str, Any]) -> list[int] | None:
    """Return the corrected sections that count; a list needs no brackets, which some shells expand."""
    given = configuration.get("corrected_sections")
    if given is None:
        return None
    values = given.replace(",", " ").split() if isinstance(given, str) else given
    try:
        numbers = [str(n) for n in (values if isinstance(values, list) else [values])]
        if not all(number.isascii() and number.isdigit() for number in numbers):
            raise ValueError
        return [int(number) for number in numbers]
    except (TypeError, ValueError):
        raise ConfigError(
            "alignment.configuration.corrected_sections: expected section numbers such as 26,34, got"
            f" {shown(given)}"
        ) from None


def _given_path(job: SeriesJob) -> Path | None:
    """Return the file that gives the alignment: the configured one, else the series' own."""
    configured = job.config.alignment.configuration.get("path")
    if configured:
        return find_file(configured, job.source)
    own = job.source / "alignment.json"
    return own if own.exists() else None


def _given(job: SeriesJob, measured: list[SectionImage]) -> SeriesAlignment:
    """Take the alignment over; AlignmentError where the series has none."""
    path = _given_path(job)
    alignment = job.given
    if path is not None:
        alignment = read_given(path, job.data_set)
    if alignment is None:
        raise AlignmentError(
            f"series {job.data_set.id}: alignment.name is 'given', but {job.source} holds neither"
            " data_set.xml nor alignment.json; set alignment.configuration.path, or use alignment.name=joint"
        )
    numbers = {s.section_number for s in measured}
    taken = tuple(s for s in alignment.sections if s.alignment2d.section_number in numbers)
    if not taken:
        raise AlignmentError(
            f"series {job.data_set.id}: the given alignment has none of the {len(numbers)} sections that"
            " were read; check its section numbers"
        )
    check_background([_thumbnail(job, section) for section in measured])
    return replace(alignment, sections=taken)


def check_scales(alignment: SeriesAlignment) -> tuple[str, ...]:
    """Return warnings on the scales of the Alignment3d; AlignmentError where they are impossible."""
    scales = np.linalg.norm(alignment.alignment3d.volume_to_reference[:, :3], axis=0)
    text = " x ".join(f"{s:.2f}" for s in scales)
    if (scales < SCALE_ERROR[0]).any() or (scales > SCALE_ERROR[1]).any():
        raise AlignmentError(
            f"Alignment3d scales {text}: expected {SCALE_ERROR[0]}-{SCALE_ERROR[1]}; check resolution_um and"
            " section_thickness_um of the manifest"
        )
    if (scales < SCALE_WARNING[0]).any() or (scales > SCALE_WARNING[1]).any():
        return (f"Alignment3d scales {text} lie outside the usual {SCALE_WARNING[0]}-{SCALE_WARNING[1]}",)
    return ()


def _from_nothing(
    job: SeriesJob, measured: list[SectionImage], upstream: Upstream, digest: str
) -> SeriesAlignment:
    """Align the series by its images alone, and keep the reconstructed specimen."""
    thumbnails = [_thumbnail(job, section) for section in measured]
    if len(_family(job)) > 1 and measured:
        alignment = _with_siblings(job, upstream, digest)
    else:
        reference = load_reference(job, REFERENCE_UM)
        alignment = align_series(thumbnails, reference, alignment_options(job), _corrections(job))
    space = replace(alignment.alignment3d, reference_space_id=job.data_set.reference_space_id)
    alignment = replace(alignment, alignment3d=space)
    specimen = reconstruct(thumbnails, alignment)
    attributes = {
        "axes": ["z", "y", "x"],
        "origin_um": list(specimen.origin_um),
        "spacing_um": list(specimen.spacing_um),
    }
    job.run.write_volume({"stain": specimen.stain}, attributes)
    return alignment


def _with_siblings(job: SeriesJob, upstream: Upstream, digest: str) -> SeriesAlignment:
    """Take the series' part of the alignment of its specimen, or compute it for all."""
    outcome = kept_part(job, digest)
    if outcome is None:
        outcomes = _together(job, upstream)
        keep_parts(job.run, outcomes, digest)
        outcome = outcomes[job.run.path.name]
    if isinstance(outcome, AlignmentError):
        raise outcome
    return outcome


def _together(job: SeriesJob, upstream: Upstream) -> dict[str, Outcome]:
    """Align all series of the specimen of which a section was read; by the names of their run folders."""
    series: list[Series] = []
    names = []
    corrections = _corrections(job)
    for one in _family(job):
        done = measured_of(job, one, upstream)
        thumbnails = [_thumbnail(one, s) for s in one.sections if done[task_name("measure", s)].ok]
        if thumbnails:
            numbers = {t.section_number for t in thumbnails}
            own = {n: c for n, c in corrections.items() if n in numbers}
            series.append(Series.of(thumbnails, alignment_options(one), own, len(series)))
            names.append(one.run.path.name)
    outcomes = align_specimen(series, load_reference(job, REFERENCE_UM))
    return _told(job, dict(zip(names, outcomes, strict=True)))


def _told(job: SeriesJob, outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    """Return the outcomes, each with a note of the series that it shares its Alignment3d with."""
    found = {n: a for n, a in outcomes.items() if not isinstance(a, AlignmentError)}
    spaces = {n: a.alignment3d.volume_to_reference.tobytes() for n, a in found.items()}
    for name, alignment in found.items():
        others = [n for n in found if n != name and spaces[n] == spaces[name]]
        if others:
            said = (
                f"{ASSUMED}series {', '.join(others)} {'is' if len(others) == 1 else 'are'} of the same brain"
                f" (specimen {job.data_set.specimen}): aligned together"
            )
            outcomes[name] = replace(alignment, notes=(*alignment.notes, said))
    return outcomes


def alignment_options(job: SeriesJob) -> AlignmentOptions:
    """Return the options of the aligner: its configuration, and what the manifest says of the series."""
    own = {"plane_of_section", "hemisphere", "section_order", "image_up", "aligner"}
    known = [f.name for f in fields(AlignmentOptions) if f.name not in own]
    given = dict(job.config.alignment.configuration)
    for key in CORRECTED:
        given.pop(key, None)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, [*known, *CORRECTED], n=1, cutoff=0.3) or known
            raise ConfigError(f"alignment.configuration: unknown key {key}; did you mean {near[0]}?")
    manifest: dict[str, Any] = {name: getattr(job.data_set, name) for name in own - {"aligner"}}
    defaults = {f.name: f.default for f in fields(AlignmentOptions)}
    values: dict[str, Any] = {k: _like(defaults[k], v, k) for k, v in given.items()}
    try:
        return AlignmentOptions(**values, **manifest, aligner=job.config.alignment.name)
    except TypeError as error:
        raise ConfigError(f"alignment.configuration: {error}") from None


def _like(default: Any, value: Any, key: str) -> Any:
    """Return an option in the form of its default; ConfigError where it has another."""
    try:
        if isinstance(default, tuple):
            listed = value.replace(",", " ").split() if isinstance(value, str) else value
            return tuple(float(n) for n in (listed if isinstance(listed, list) else [listed]))
        if isinstance(default, int | float) and not isinstance(value, bool):
            number = type(default)(value)
            if math.isfinite(number) and number == float(value):
                return number
        elif isinstance(value, str):
            return value
    except (TypeError, ValueError, OverflowError):
        pass
    expected = "numbers such as 250,150" if isinstance(default, tuple) else f"a value such as {default!r}"
    raise ConfigError(f"alignment.configuration.{key}: expected {expected}, got {shown(value)}")


def _thumbnail(job: SeriesJob, section: SectionImage) -> SectionThumbnail:
    pixels, valid, attributes = job.run.read_thumbnail(section.section_number)
    reduce, factor = attributes["reduce"], attributes["factor"]
    # A reduced pixel is the mean of a block: its centre lies half a block in. Stored pixels become
    # manifest pixels by their factor alone.
    to_section = np.array([[reduce, 0.0, (reduce - 1) / 2], [0.0, reduce, (reduce - 1) / 2]]) * factor
    return SectionThumbnail(
        section_number=section.section_number,
        z_um=job.data_set.z_um(section.section_number),
        pixels=pixels,
        resolution_um=section.resolution_um,
        thumbnail_to_section=to_section,
        valid=valid,
        rotate_deg=section.rotate_deg,
        flip=section.flip,
    )
