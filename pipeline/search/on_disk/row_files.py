"""Files of rows of a search index: their arrays, checksums, and the seal over files that were verified."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import DataError
from pipeline.search.kernels.codes import FINE_BYTES, MISSING, MISSING_OUTSIDE, Row
from pipeline.search.kernels.order import BLOCK
from pipeline.search.kernels.sums import Block
from pipeline.search.on_disk.experiments import Entry
from pipeline.search.on_disk.names import OURS, PARTS, SEAL, rows_folder
from pipeline.store.arrays import is_zarr_part, write_group
from pipeline.store.rows import ROWS, RowArray, map_rows, shard_file, write_rows_document
from pipeline.system.files import read_json_value
from pipeline.system.whole_files import remove_ours, replacing


def row_arrays(brain: int, outside: int) -> tuple[RowArray, ...]:
    """Return the arrays that a row of an index consists of.

    Parameters
    ----------
    brain : int
        Length of a row inside the brain, voxels, padded.
    outside : int
        Length of a row outside the brain, voxels, padded.

    Returns
    -------
    tuple of RowArray
        Codes, fine and outside.
    """
    fine = RowArray(PARTS[1], brain // BLOCK * FINE_BYTES, "<u1", 0)
    return (
        RowArray(PARTS[0], brain, "<u2", MISSING),
        fine,
        RowArray(PARTS[2], outside, "<u1", MISSING_OUTSIDE),
    )


def create_part(path: Path, epoch: int, arrays: Sequence[RowArray]) -> None:
    """Create the arrays of rows of an epoch, without a row.

    Parameters
    ----------
    path : Path
        Folder of the index.
    epoch : int
        Epoch of the rows.
    arrays : sequence of RowArray
        Arrays that a row consists of.
    """
    folder = rows_folder(path, epoch)
    write_group(folder, {})
    for array in arrays:
        write_rows_document(folder, array, 0)


def map_blocks(path: Path, epoch: int, arrays: Sequence[RowArray]) -> tuple[Block, ...]:
    """Map all rows of an epoch into memory.

    Parameters
    ----------
    path : Path
        Folder of the index.
    epoch : int
        Epoch of the rows.
    arrays : sequence of RowArray
        Arrays that a row consists of.

    Returns
    -------
    tuple of Block
        One block per shard, of `ROWS` rows; the last may have fewer.
    """
    parts = zip(*(map_rows(rows_folder(path, epoch), array) for array in arrays), strict=False)
    blocks = []
    for shard, mapped in enumerate(parts):
        rows = min(len(array) for array in mapped)  # a row is whole once it is in all three
        blocks.append(Block(shard * ROWS, *(array[:rows] for array in mapped)))
    return tuple(blocks)


def entry_row(blocks: Sequence[Block], entry: Entry) -> Row:
    """Return the row of an experiment.

    Parameters
    ----------
    blocks : sequence of Block
        All rows of the epoch.
    entry : Entry
        The experiment.

    Returns
    -------
    Row
        Views on the mapped files.
    """
    block, place = blocks[entry.slot // ROWS], entry.slot % ROWS
    return Row(
        block.codes[place],
        block.fine[place],
        entry.exponent,
        block.outside[place],
        entry.outside_scale,
        entry.outside_error,
    )


def checksum(row: Row) -> int:
    """Return the CRC-32 of the bytes of a row.

    Parameters
    ----------
    row : Row
        One experiment.

    Returns
    -------
    int
        Checksum over codes, fine and outside.
    """
    found = 0
    for part in (row.codes, row.fine, row.outside):
        found = zlib.crc32(np.ascontiguousarray(part).data, found)
    return found


def is_intact(blocks: Sequence[Block], entry: Entry) -> bool:
    """Return whether the row of an experiment is what was written.

    Parameters
    ----------
    blocks : sequence of Block
        All rows of the epoch.
    entry : Entry
        The experiment, with its checksum.

    Returns
    -------
    bool
        False where the row is missing or its checksum differs.
    """
    return is_mapped(blocks, entry.slot) and checksum(entry_row(blocks, entry)) == entry.checksum


def is_mapped(blocks: Sequence[Block], slot: int) -> bool:
    """Return whether a row lies in the mapped blocks.

    Parameters
    ----------
    blocks : sequence of Block
        All rows of the epoch.
    slot : int
        Slot of the row.

    Returns
    -------
    bool
        True where it does.
    """
    return slot // ROWS < len(blocks) and slot % ROWS < len(blocks[slot // ROWS].codes)


def remove_other_rows(path: Path, epoch: int) -> None:
    """Remove the rows of all epochs but one, which an interrupted or finished move leaves behind.

    Parameters
    ----------
    path : Path
        Folder of the index.
    epoch : int
        Epoch whose rows stay.
    """
    for old in path.glob("rows-*"):
        if old != rows_folder(path, epoch) and OURS.fullmatch(old.name):
            remove_ours(old, is_zarr_part)


def write_seal(path: Path, epoch: int) -> None:
    """Record size and time of the files of rows, once all their rows are known to be intact.

    Parameters
    ----------
    path : Path
        Folder of the index.
    epoch : int
        Epoch of the rows.
    """
    sealed, shard = dict[str, list[int]](), 0
    while found := [(name, stamp) for name, stamp in stamps(path, epoch, shard) if stamp]:
        sealed.update(found)
        shard += 1
    with replacing(path / SEAL) as fresh:
        fresh.write_text(json.dumps(sealed), encoding="utf-8")


def read_seal(path: Path) -> dict[str, Any]:
    """Read what `write_seal` wrote.

    Parameters
    ----------
    path : Path
        Folder of the index.

    Returns
    -------
    dict of str to list
        Name, and size and time, of each file; empty where there is no seal or it is damaged.
    """
    try:
        found = read_json_value(path / SEAL, "the seal of an index")
    except DataError:
        return {}
    return found if isinstance(found, dict) else {}


def stamps(path: Path, epoch: int, shard: int) -> list[tuple[str, list[int]]]:
    """Return size and time of the files of a shard.

    Parameters
    ----------
    path : Path
        Folder of the index.
    epoch : int
        Epoch of the rows.
    shard : int
        Number of the shard.

    Returns
    -------
    list of (str, list of int)
        Name of each file, and [size in bytes, time of change in ns]; [] where it is missing.
    """
    found = []
    for part in PARTS:
        file = shard_file(rows_folder(path, epoch), part, shard)
        stamp = [file.stat().st_size, file.stat().st_mtime_ns] if file.is_file() else []
        found.append((file.relative_to(path).as_posix(), stamp))
    return found
