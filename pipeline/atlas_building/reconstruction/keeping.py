"""A finished placement, kept beside the output until the volume is published, for a build that is killed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.atlas_building.reconstruction.brain_sections import BrainSections
from pipeline.atlas_building.reconstruction.place import Placement, look
from pipeline.atlas_building.reconstruction.placed import PlacedSection
from pipeline.atlas_building.reconstruction.run_folders import write_series
from pipeline.core.code import reach_digest
from pipeline.core.errors import PipelineError
from pipeline.inputs.alignments import placement as read_placement
from pipeline.inputs.fetch.references import sha256_of
from pipeline.system.files import real_path
from pipeline.system.locks import hold
from pipeline.system.whole_files import remove, replacing

DOCUMENT = "placement.json"


def place_of(output: Path) -> Path:
    """Return the folder that keeps the placement of a build.

    Parameters
    ----------
    output : Path
        Folder of the result.

    Returns
    -------
    Path
        Hidden, beside it.
    """
    place = real_path(output)
    return place.with_name(f".ish-build-{place.name}")


def digest_of(files: Sequence[Path], given: Sequence[str], module: str) -> str:
    """Return the digest of everything that decides a placement.

    Parameters
    ----------
    files : sequence of Path
        Inputs.
    given : sequence of str
        Options.
    module : str
        Whose code, with all that it reaches, places the sections.

    Returns
    -------
    str
        Hexadecimal.
    """
    total = hashlib.sha256(reach_digest(module).encode())
    for text in (*given, *(f"{path} {sha256_of(path)}" for path in files)):
        total.update(text.encode() + b"\0")
    return total.hexdigest()


def keep_placement(folder: Path, digest: str, brain: BrainSections, placement: Placement) -> None:
    """Write a placement.

    Parameters
    ----------
    folder : Path
        As `place_of` names it; what it holds is replaced.
    digest : str
        As `digest_of` returns it.
    brain : BrainSections
        What was placed.
    placement : Placement
        Where.
    """
    document = {
        "digest": digest,
        "box_um": list(placement.box_um),
        "midline_um": placement.midline_um,
        "notes": list(placement.notes),
        "measures": placement.measures,
        "cannot_know": list(placement.cannot_know),
    }
    with replacing(folder, is_ours=lambda path: True) as fresh:
        fresh.mkdir()
        with hold([fresh]):
            write_series(fresh, brain, placement.sections, placement.notes, digest)
            (fresh / DOCUMENT).write_text(json.dumps(document), encoding="utf-8")


def kept_placement(folder: Path, digest: str, brain: BrainSections) -> Placement | None:
    """Read a placement that a killed build kept.

    Parameters
    ----------
    folder : Path
        As `place_of` names it.
    digest : str
        As `digest_of` returns it.
    brain : BrainSections
        The sections as read.

    Returns
    -------
    Placement or None
        None where there is none, or inputs, options or code were others.
    """
    try:
        document: dict[str, Any] = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        if document["digest"] != digest:
            return None
        found = [
            (one, read_placement(folder / str(one.id) / "alignment.json"))
            for one in brain.data_sets
            if (folder / str(one.id)).is_dir()
        ]
    except (OSError, ValueError, KeyError, PipelineError):
        return None
    thumbnails, _ = look(brain)
    by_number = {one.section_number: one for one in thumbnails}
    sections = [
        PlacedSection(by_number[s.alignment2d.section_number], s, alignment.alignment3d)
        for _, alignment in found
        for s in alignment.sections
    ]
    p, i, r = document["box_um"]
    return Placement(
        tuple(sorted(sections, key=lambda one: one.thumbnail.z_um)),
        (p, i, r),
        document["midline_um"],
        tuple(document["notes"]),
        document["measures"],
        tuple(document["cannot_know"]),
    )


def forget_placement(folder: Path) -> None:
    """Remove a kept placement.

    Parameters
    ----------
    folder : Path
        As `place_of` names it.
    """
    if folder.is_dir():
        remove(folder)
