"""Named arrays with attributes in one zarr group: what stages hand to one another."""

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

PLAIN_GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {}}  # that sections lie in


def write_bundle(folder: Path, arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
    """Write arrays and attributes as one group, whole or not at all."""
    write_fields(folder, {name: (array, {}) for name, array in arrays.items()}, attributes)


def read_bundle(folder: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read what `write_bundle` wrote; MissingResultError where it is not."""
    names, attributes = _group(folder)
    return {name: read_array(folder / name)[0] for name in names}, attributes


def read_attributes(folder: Path) -> dict[str, Any]:
    """Read the attributes of a bundle and none of its arrays; MissingResultError where it is not."""
    return _group(folder)[1]


def _group(folder: Path) -> tuple[list[str], dict[str, Any]]:
    try:
        return read_group(folder)
    except FileNotFoundError:
        raise MissingResultError(f"{folder}: not written yet; run `ish run` first") from None


def ensure_group(folder: Path) -> None:
    """Make `folder` a zarr group that sections are written into, one by one."""
    try:
        whole = read_document(folder) == PLAIN_GROUP
    except (OSError, DataError):
        whole = False
    if not whole:
        with replacing(folder / DOCUMENT) as fresh:
            fresh.write_text(json.dumps(PLAIN_GROUP), encoding="utf-8")


Field = tuple[npt.NDArray[Any], Mapping[str, Any]]


def write_fields(folder: Path, fields: Mapping[str, Field], attributes: Mapping[str, Any]) -> None:
    """Write arrays that each have attributes of their own as one group, whole or not at all."""
    with replacing(folder, is_zarr_part) as fresh:
        write_group(fresh, attributes)
        for name, (array, own) in fields.items():
            write_array(fresh / name, array, own)


def read_fields(folder: Path) -> dict[str, Field]:
    """Read what `write_fields` wrote."""
    return {name: read_array(folder / name) for name in read_group(folder)[0]}
