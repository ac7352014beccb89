"""Outputs that two runs have in common are stored once: hard-linked, or copied where that is not possible."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.store.arrays import ensure_group
from pipeline.store.run import RunFolder, is_output_part
from pipeline.system.whole_files import replacing


def take_over(mine: RunFolder, theirs: RunFolder, outputs: Sequence[Path]) -> None:
    """Link outputs of another run into this run.

    Outputs are always replaced and never modified in place, so that a link does not couple the two runs.

    Parameters
    ----------
    mine : RunFolder
        Run that receives the outputs.
    theirs : RunFolder
        Run that has them.
    outputs : sequence of Path
        Paths in `mine`; each is taken from the same place in `theirs`.
    """
    for path in outputs:
        relative = path.relative_to(mine.path)
        if relative.parts[0].endswith(".zarr") and len(relative.parts) > 1:
            ensure_group(mine.path / relative.parts[0])
        source = theirs.path / relative
        with replacing(path, is_output_part) as fresh:
            if source.is_dir():
                shutil.copytree(source, fresh, copy_function=_link)
            else:
                _link(source, fresh)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
