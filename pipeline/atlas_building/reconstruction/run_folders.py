"""The placement of a build, as `ish run` leaves one: a folder for each series."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.atlas_building.reconstruction.brain_sections import BrainSections
from pipeline.atlas_building.reconstruction.placed import PlacedSection
from pipeline.core.model import SectionDataSet, SeriesAlignment, Status
from pipeline.formats.alignments.alignment_json import write_alignment
from pipeline.store.run import RunFolder


def write_series(
    folder: Path, brain: BrainSections, sections: Sequence[PlacedSection], notes: Sequence[str], digest: str
) -> None:
    """Write alignment.json, deformation.zarr and section_data_set.json of every series.

    Parameters
    ----------
    folder : Path
        Gets a folder for each series, named by its id.
    brain : BrainSections
        As read.
    sections : sequence of PlacedSection
        All sections that were read.
    notes : sequence of str
        Remarks of the alignment.
    digest : str
        Of what decides the placement.
    """
    for number, data_set in enumerate(brain.data_sets):
        own = [one for one in sections if one.thumbnail.series == number]
        if not own:
            continue
        run = RunFolder(folder / str(data_set.id))
        run.path.mkdir(parents=True, exist_ok=True)
        deformed = {one.number: one.section.deformation for one in own if one.section.deformation is not None}
        if deformed:
            run.write_deformations(deformed, digest)
        alignment = SeriesAlignment(
            own[0].space,
            tuple(one.section for one in own),
            _measures(own),
            tuple(notes),
            "volume" if deformed else "none",
        )
        write_alignment(run.file("alignment.json"), alignment)
        document = _document(brain, data_set, own, notes)
        text = json.dumps(document, indent=1, allow_nan=False)
        run.file("section_data_set.json").write_text(text, encoding="utf-8")


def _measures(own: Sequence[PlacedSection]) -> dict[str, float]:
    placed = sum(one.is_used for one in own)
    return {"sections": float(len(own)), "sections_placed": float(placed)}


def _document(
    brain: BrainSections, data_set: SectionDataSet, own: Sequence[PlacedSection], notes: Sequence[str]
) -> dict[str, Any]:
    """Return section_data_set.json."""
    by_number = {one.number: one for one in own}
    images = []
    for image in data_set.section_images:
        one = by_number.get(image.section_number)
        status, flags = Status.FAIL, []
        if one is not None:
            status, flags = one.section.status, [one.section.reason] if one.section.reason else []
        elif image.section_number in brain.missing:
            status = Status.MISSING
        else:
            flags = [brain.unread.get(image.section_number, "not read")]
        described = {k: v for k, v in asdict(image).items() if k != "path"}
        images.append(
            described
            | {
                "file": image.path.name if image.path else None,
                "status": status.value,
                "flags": flags,
                "quality": _finite(one.section.measures) if one else {},
            }
        )
    head = {k: v for k, v in asdict(data_set).items() if k != "section_images"}
    return {
        **head,
        "stages": {"measure": "done", "align": "done"},
        "errors": [],
        "warnings": [*brain.warnings, *notes],
        "uncertainty_notes": [],
        "section_images": images,
    }


def _finite(measures: dict[str, float]) -> dict[str, float | None]:
    return {name: float(v) if np.isfinite(v) else None for name, v in measures.items()}
