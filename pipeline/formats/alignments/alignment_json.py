"""Alignment of a series as alignment.json, in the form of the output contract (ITK order, px and um)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.core.errors import AlignmentError, DataError, PipelineError
from pipeline.core.model import Alignment2d, Alignment3d, SectionAlignment, SeriesAlignment, Status
from pipeline.geometry.affine import from_itk, to_itk
from pipeline.system.files import read_json_value
from pipeline.system.whole_files import replacing


def alignment_document(alignment: SeriesAlignment) -> dict[str, Any]:
    """Return the content of `alignment.json`.

    Parameters
    ----------
    alignment : SeriesAlignment
        The alignment; deformations are not part of the document.

    Returns
    -------
    dict
        JSON values; matrices in ITK order, float64 in full precision.
    """
    space = alignment.alignment3d
    document: dict[str, Any] = {
        "reference_space_id": space.reference_space_id,
        "alignment3d": {"tvr": to_itk(space.volume_to_reference), "trv": to_itk(space.reference_to_volume)},
        "alignment2d": [_section(section) for section in alignment.sections],
    }
    if alignment.deformable != "none":
        document["deformable"] = alignment.deformable  # the matrices are the affine part
    if alignment.measures:
        document["measures"] = _measures(alignment.measures)
    if alignment.notes:
        document["notes"] = list(alignment.notes)
    return document


def write_alignment(path: Path, alignment: SeriesAlignment) -> None:
    """Write `alignment.json`, whole or not at all.

    Parameters
    ----------
    path : Path
        File to write.
    alignment : SeriesAlignment
        The alignment.
    """
    text = json.dumps(alignment_document(alignment), indent=1, allow_nan=False)
    with replacing(path) as fresh:
        fresh.write_text(text + "\n", encoding="utf-8")


def read_alignment(path: Path) -> SeriesAlignment:
    """Read `alignment.json`.

    Parameters
    ----------
    path : Path
        File to read.

    Returns
    -------
    SeriesAlignment
        The alignment, without deformations.

    Raises
    ------
    DataError
        Where the file is missing or is not such a document.
    AlignmentError
        Where a matrix cannot be used.
    """
    return parse_alignment_at(path, read_json_value(path, "an alignment"))


def parse_alignment_at(path: Path, document: Any) -> SeriesAlignment:
    """Build an alignment from the content of a file, with errors that name the file.

    Parameters
    ----------
    path : Path
        File, for messages.
    document : object
        JSON content of the file.

    Returns
    -------
    SeriesAlignment
        The alignment, without deformations.

    Raises
    ------
    DataError
        Where a value is missing or of another type.
    AlignmentError
        Where a matrix cannot be used.
    """
    try:
        if not isinstance(document, Mapping):
            raise DataError(f"a {type(document).__name__}")
        return parse_alignment(document)
    except (
        AttributeError,
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        OverflowError,
        PipelineError,
    ) as error:
        what = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        kind = AlignmentError if isinstance(error, AlignmentError) else DataError
        raise kind(f"{path}: expected an alignment as `ish run` writes it, got {what}") from error


def parse_alignment(document: Mapping[str, Any]) -> SeriesAlignment:
    """Build an alignment from the content of `alignment.json`.

    Parameters
    ----------
    document : mapping
        As of `alignment_document`.

    Returns
    -------
    SeriesAlignment
        The alignment, without deformations; missing inverse matrices are computed.

    Raises
    ------
    DataError
        Where a section number occurs twice.
    """
    space, sections = document["alignment3d"], document["alignment2d"]
    found = tuple(_parse_section(item) for item in sections)
    numbers = [s.alignment2d.section_number for s in found]
    if len(set(numbers)) != len(numbers):
        raise DataError(
            f"section numbers more than once: {sorted({n for n in numbers if numbers.count(n) > 1})}"
        )
    return SeriesAlignment(
        Alignment3d(
            int(document["reference_space_id"]),
            from_itk(space["tvr"], 3),
            _optional(space.get("trv"), lambda values: from_itk(values, 3)),
        ),
        found,
        measures=_numbers(document.get("measures") or {}),
        notes=tuple(str(note) for note in document.get("notes") or ()),
        deformable=str(document.get("deformable") or "none"),
    )


def _optional(value: Any, convert: Callable[[Any], Any]) -> Any:
    return None if value is None else convert(value)


def _section(section: SectionAlignment) -> dict[str, Any]:
    placed = section.alignment2d
    document: dict[str, Any] = {
        "section_number": placed.section_number,
        "status": section.status.value,
        "tsv": to_itk(placed.section_to_volume),
        "tvs": to_itk(placed.volume_to_section),
    }
    if section.measures:
        document["measures"] = _measures(section.measures)
    if section.reason:
        document["reason"] = section.reason
    return document


def _parse_section(item: Mapping[str, Any]) -> SectionAlignment:
    placed = Alignment2d(
        int(item["section_number"]),
        from_itk(item["tsv"], 2),
        _optional(item.get("tvs"), lambda values: from_itk(values, 2)),
    )
    measures, reason = _numbers(item.get("measures") or {}), str(item.get("reason") or "")
    return SectionAlignment(placed, Status(item.get("status", "pass")), measures, reason=reason)


def _measures(measures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: float(v) if math.isfinite(v) else None for name, v in measures.items()}


def _numbers(measures: Mapping[str, Any]) -> dict[str, float]:
    return {name: math.nan if v is None else float(v) for name, v in measures.items()}
