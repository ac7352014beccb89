"""What every verb of `ish reference` does around its own work: check the place, compute, publish."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.atlas_building.forms import check_forms
from pipeline.atlas_building.publish import Publication, check_output, publish
from pipeline.atlas_building.result import BuiltReference
from pipeline.core.model import UInt32


@dataclass(frozen=True, eq=False)
class Plan:
    """What a verb has read and checked, and how it goes on.

    Attributes
    ----------
    compute : callable
        Returns the result.
    files : sequence of Path
        What was read, beside the inputs that the result states; reference.json names each once, with its
        checksum.
    annotation : uint32 of any shape, or None
        Structure ids that the result will have.
    """

    compute: Callable[[], BuiltReference]
    files: Sequence[Path] = ()
    annotation: UInt32 | None = None


def make(
    output: Path, inputs: Iterable[Path | None], publication: Publication, plan: Callable[[], Plan]
) -> Path:
    """Make a reference: what cannot be made is refused before anything is computed.

    Parameters
    ----------
    output : Path
        Folder of the result; appears whole or not at all.
    inputs : iterable of Path or None
        Files and folders that the command named; None: not given.
    publication : Publication
        How the folder is written.
    plan : callable
        Reads the inputs and refuses what cannot be used, memory that is not there included.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        Where the output folder cannot be used.
    DataError
        Where an input cannot be used, or the result cannot have one of the forms.
    """
    check_output(output, [path for path in inputs if path is not None], publication)
    planned = plan()
    check_forms(publication.formats, planned.annotation)
    result = planned.compute()
    files = dict.fromkeys((*result.inputs, *planned.files))
    return publish(replace(result, inputs=tuple(files)), output, publication)
