"""Named arrays with attributes in one zarr group: what one stage writes and the next one reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from pipeline.core.errors import DataError, MissingResultError
from pipeline.store.arrays import (
    DOCUMENT,
    is_zarr_part,
    read_array,
    read_document,
    read_group,
    write_array,
    write_group,
)
from pipeline.system.whole_files import replacing

PLAIN_GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {}}  # holds one group a section


def write_bundle(folder: Path, arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
    """Write arrays and attributes as one group, whole or not at all.

    Parameters
    ----------
    folder : Path
        Folder of the group; a group that is there is replaced.
    arrays : mapping of str to ndarray
        Arrays by name.
    attributes : mapping of str to JSON value
        Attributes of the group.
    """
    write_fields(folder, {name: (array, {}) for name, array in arrays.items()}, attributes)


def read_bundle(folder: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read arrays and attributes that `write_bundle` wrote.

    Parameters
    ----------
    folder : Path
        Folder of the group.

    Returns
    -------
    arrays : dict of str to ndarray
        Arrays by name.
    attributes : dict
        Attributes of the group.

    Raises
    ------
    MissingResultError
        Where the group is not written yet.
    DataError
        Where a part of it is torn or missing.
    """
    names, attributes = _group(folder)
    return {name: read_array(folder / name)[0] for name in names}, attributes


def read_attributes(folder: Path) -> dict[str, Any]:
    """Read the attributes of a bundle and none of its arrays.

    Parameters
    ----------
    folder : Path
        Folder of the group.

    Returns
    -------
    dict
        Attributes of the group.

    Raises
    ------
    MissingResultError
        Where the group is not written yet.
    DataError
        Where its document is torn.
    """
    return _group(folder)[1]


def _group(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Return names and attributes of a group; MissingResultError where it is not written."""
    try:
        return read_group(folder)
    except FileNotFoundError:
        raise MissingResultError(f"{folder}: not written yet; run `ish run` first") from None


def ensure_group(folder: Path) -> None:
    """Make a folder a zarr group into which sections are written one by one.

    Parameters
    ----------
    folder : Path
        The folder; a document that is there and whole stays.
    """
    try:
        whole = read_document(folder) == PLAIN_GROUP
    except (OSError, DataError):
        whole = False
    if not whole:
        with replacing(folder / DOCUMENT) as fresh:
            fresh.write_text(json.dumps(PLAIN_GROUP), encoding="utf-8")


Field = tuple[npt.NDArray[Any], Mapping[str, Any]]  # an array and its attributes


def write_fields(folder: Path, fields: Mapping[str, Field], attributes: Mapping[str, Any]) -> None:
    """Write arrays, each with attributes of its own, as one group, whole or not at all.

    Parameters
    ----------
    folder : Path
        Folder of the group; a group that is there is replaced.
    fields : mapping of str to (ndarray, mapping)
        Arrays with their attributes, by name.
    attributes : mapping of str to JSON value
        Attributes of the group.
    """
    with replacing(folder, is_zarr_part) as fresh:
        write_group(fresh, attributes)
        for name, (array, own) in fields.items():
            write_array(fresh / name, array, own)


def read_fields(folder: Path) -> dict[str, Field]:
    """Read arrays and their attributes that `write_fields` wrote.

    Parameters
    ----------
    folder : Path
        Folder of the group.

    Returns
    -------
    dict of str to (ndarray, dict)
        Arrays with their attributes, by name.

    Raises
    ------
    FileNotFoundError
        Where there is no group.
    DataError
        Where a part of it is torn or missing.
    """
    return {name: read_array(folder / name) for name in read_group(folder)[0]}
