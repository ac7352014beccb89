"""Names of all that lies in the folder of a search index (see `snapshot`)."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.system.whole_files import UNFINISHED

LOCK = ".writing"  # locked by the process that writes
SEAL = "seal.json"
ONTOLOGY = "ontology.json"
LABELS = "labels"
PARTS = ("codes", "fine", "outside")  # arrays that a row consists of (see `codes.Row`)
# Every name that a writer of an index makes; nothing else in the folder is ever removed.
OURS = re.compile(
    rf"\.writing|zarr\.json|labels|ontology\.json|rows-\d+|sums-\d+|experiments\.parquet|journal\.jsonl|seal\.json"
    rf"|{re.escape(UNFINISHED)}[0-9a-f]{{8}}-.+"
)


def rows_folder(path: Path, epoch: int) -> Path:
    """Return the folder of the rows of an epoch.

    Parameters
    ----------
    path : Path
        Folder of the index.
    epoch : int
        Epoch of the rows.

    Returns
    -------
    Path
        The folder `rows-EPOCH`.
    """
    return path / f"rows-{epoch}"


def sums_folder(path: Path, sequence: int) -> Path:
    """Return the folder of the sums of a commit.

    Parameters
    ----------
    path : Path
        Folder of the index.
    sequence : int
        Number of the commit.

    Returns
    -------
    Path
        The folder `sums-SEQUENCE`.
    """
    return path / f"sums-{sequence}"
