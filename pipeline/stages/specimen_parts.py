"""Storage of an alignment that several series of one specimen share.

The first series computes the alignment of all and stores the parts in its run folder, under the digest of
everything that decided it. Each of the others takes its part from there.
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

SPECIMEN_FOLDER = "siblings"  # folder of the parts, inside the run folder
Outcome = SeriesAlignment | AlignmentError


def keep_parts(run: RunFolder, outcomes: Mapping[str, Outcome], digest: str) -> None:
    """Store the alignments of all series of a specimen in the run folder of one of them.

    Parameters
    ----------
    run : RunFolder
        Run folder to write to.
    outcomes : mapping of str to SeriesAlignment or AlignmentError
        Alignment, or reason for failure, by name of run folder.
    digest : str
        Digest of everything that decided the alignment.
    """
    with replacing(run.file(SPECIMEN_FOLDER), is_output_part) as fresh:
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
    """Remove the parts that an earlier alignment stored for other series.

    Parameters
    ----------
    run : RunFolder
        Run folder that holds them; nothing happens where there are none.
    """
    remove_ours(run.file(SPECIMEN_FOLDER), is_output_part)


def kept_part(run: RunFolder, specimen_series: Sequence[RunFolder], digest: str) -> Outcome | None:
    """Return the stored part of a series, where an earlier series of its family has computed it.

    Parameters
    ----------
    run : RunFolder
        Run folder of the series.
    specimen_series : sequence of RunFolder
        Run folders of the family, in the order of the batch; those before `run` are searched.
    digest : str
        Digest that the stored alignment must have.

    Returns
    -------
    SeriesAlignment, AlignmentError or None
        Alignment or reason for failure; None where nothing valid is stored.
    """
    for other in specimen_series:
        if other == run:
            return None
        folder = other.file(SPECIMEN_FOLDER)
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
