"""What series of one specimen keep of the alignment that they share.

The first of them computes the alignment of all and keeps the parts in its run folder, under the digest of all
that decided it; each of the others takes its own from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.core.errors import AlignmentError, PipelineError
from pipeline.core.model import SeriesAlignment
from pipeline.formats.alignments.alignment_json import read_alignment, write_alignment
from pipeline.store.run import RunFolder, is_output_part, read_json, write_json
from pipeline.system.seals import first_damaged, seal
from pipeline.system.whole_files import remove_ours, replacing

SIBLINGS = "siblings"
Outcome = SeriesAlignment | AlignmentError


def keep_parts(run: RunFolder, outcomes: Mapping[str, Outcome], digest: str) -> None:
    """Keep what became of every sibling, by name, in the run folder of one of them."""
    with replacing(run.file(SIBLINGS), is_output_part) as fresh:
        refused = {}
        for name, outcome in outcomes.items():
            if isinstance(outcome, AlignmentError):
                refused[name] = str(outcome)
                continue
            part = RunFolder(fresh / name)
            write_alignment(part.file("alignment.json"), outcome)
            fields = {s.alignment2d.section_number: s.deformation for s in outcome.sections if s.deformation}
            if fields:
                part.write_deformations(fields, digest)
        fresh.mkdir(exist_ok=True)
        write_json(fresh / "refused.json", refused)
        write_json(fresh / "digest.json", {"digest": digest, "files": seal(fresh, [fresh])})


def forget_parts(run: RunFolder) -> None:
    """Remove what an earlier alignment kept for siblings."""
    remove_ours(run.file(SIBLINGS), is_output_part)


def kept_part(run: RunFolder, family: Sequence[RunFolder], digest: str) -> Outcome | None:
    """Return what became of a series where one before it in its family has computed it; None otherwise."""
    for other in family:
        if other == run:
            return None
        folder = other.file(SIBLINGS)
        try:
            known = read_json(folder / "digest.json")
            if known["digest"] == digest and not first_damaged(folder, known["files"]):
                return _part(folder, run.path.name)
        except (PipelineError, KeyError, AttributeError):
            continue
    return None


def _part(folder: Path, name: str) -> Outcome:
    refused = read_json(folder / "refused.json")
    if name in refused:
        return AlignmentError(refused[name])
    part = RunFolder(folder / name)
    alignment = read_alignment(part.file("alignment.json"))
    if alignment.deformable == "none":
        return alignment
    fields = part.read_deformations()
    sections = tuple(
        replace(s, deformation=fields.get(s.alignment2d.section_number)) for s in alignment.sections
    )
    return replace(alignment, sections=sections)
