"""Named arrays with attributes in one zarr group: what stages hand to one another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from pipeline.atomic import replacing
from pipeline.errors import MissingResultError
from pipeline.store.ome import COMPRESSOR


def write_bundle(folder: Path, arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
    """Write arrays and attributes as one group, whole or not at all."""
    with replacing(folder) as fresh:
        group = zarr.create_group(fresh, zarr_format=3)
        for name, array in arrays.items():
            data = np.ascontiguousarray(array)
            group.create_array(name, data=data, chunks=data.shape, compressors=[COMPRESSOR])
        group.attrs.update(dict(attributes))


def read_bundle(folder: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read what `write_bundle` wrote; MissingResultError where it is not."""
    try:
        group = zarr.open_group(folder, mode="r")
    except FileNotFoundError:
        raise MissingResultError(f"{folder}: not written yet; run `ish run` first") from None
    arrays = {name: np.asarray(array[...]) for name, array in group.arrays()}
    return arrays, dict(group.attrs)


def ensure_group(folder: Path) -> None:
    """Make `folder` a zarr group that sections are written into, one by one."""
    if not (folder / "zarr.json").exists():
        with replacing(folder / "zarr.json") as fresh:
            fresh.write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}', encoding="utf-8")


Field = tuple[npt.NDArray[Any], Mapping[str, Any]]


def write_fields(folder: Path, fields: Mapping[str, Field], attributes: Mapping[str, Any]) -> None:
    """Write arrays that each have attributes of their own as one group, whole or not at all."""
    with replacing(folder) as fresh:
        group = zarr.create_group(fresh, zarr_format=3, attributes=dict(attributes))
        for name, (array, own) in fields.items():
            data = np.ascontiguousarray(array)
            group.create_array(
                name, data=data, chunks=data.shape, compressors=[COMPRESSOR], attributes=dict(own)
            )


def read_fields(folder: Path) -> dict[str, Field]:
    """Read what `write_fields` wrote."""
    group = zarr.open_group(folder, mode="r")
    return {name: (np.asarray(array[...]), dict(array.attrs)) for name, array in group.arrays()}
