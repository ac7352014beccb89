"""Repeat an earlier run from its provenance."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.code import code_digest
from pipeline.core.errors import ConfigError, DataError
from pipeline.inputs.config import Config, parse_config, parse_overrides
from pipeline.stages.provenance import checksum, versions
from pipeline.store.run import RunFolder, read_json


@dataclass(frozen=True)
class Repeat:
    """What is needed to repeat a run.

    Attributes
    ----------
    config : Config
        Configuration of the run, with overrides applied.
    inputs : tuple of Path
        Series, or inputs given instead.
    reference : Path or None
        Reference folder; None for the phantom.
    differences : tuple of str
        Software whose version has changed since, as `name old -> new`.
    """

    config: Config
    inputs: tuple[Path, ...]
    reference: Path | None
    differences: tuple[str, ...]


def repeat(
    folder: Path, overrides: Sequence[str] = (), inputs: Sequence[Path] = (), reference: Path | None = None
) -> Repeat:
    """Return how a run was made, to run it again.

    Parameters
    ----------
    folder : Path
        The earlier run.
    overrides : sequence of str
        Changes of the configuration, as `dotted.key=value`.
    inputs : sequence of Path
        Series to run instead of the recorded one; they are not checked against checksums.
    reference : Path or None
        Reference to use instead of the recorded one.

    Returns
    -------
    Repeat
        Configuration, series, reference, and changes of the software since.

    Raises
    ------
    MissingResultError
        Where there is no finished run.
    DataError
        Where the provenance is incomplete, or images, manifest or reference have changed since.
    ConfigError
        Where an override is wrong, or ISH_REFERENCE is set for a run that used the phantom.
    """
    path = RunFolder(folder).require("provenance.json")
    document = read_json(path)
    lacking = {"configuration", "source", "manifests", "inputs", "reference_directory"} - document.keys()
    if lacking:
        raise DataError(
            f"{path}: expected {', '.join(sorted(lacking))}, got none: written by an older version; run again"
        )
    if not inputs:
        for name, expected in {**document["manifests"], **document["inputs"]}.items():
            _check_same(folder, Path(name), expected, "--input")
    if reference is None:
        reference = _same_reference(folder, document)
    configuration = json.loads(json.dumps(document["configuration"]))
    _merge(configuration, parse_overrides(overrides))
    config = parse_config(configuration, str(path))
    return Repeat(
        config, tuple(inputs) or (Path(document["source"]),), reference, tuple(_differences(document))
    )


def _same_reference(folder: Path, document: Mapping[str, Any]) -> Path | None:
    """Return the reference folder of a run after comparing its checksums; None for the phantom."""
    if document["reference_directory"] is None:
        if os.environ.get("ISH_REFERENCE"):
            raise ConfigError(
                f"{folder}: was run against the phantom, but ISH_REFERENCE is set; unset it, or give"
                " --reference"
            )
        return None
    directory = Path(document["reference_directory"])
    for name, expected in ((document.get("reference") or {}).get("files") or {}).items():
        _check_same(folder, directory / name, expected, "--reference")
    return directory


def _differences(then: Mapping[str, Any]) -> list[str]:
    now = {"code of ish-pipeline": code_digest(), "Python": platform.python_version(), **versions()}
    before = {"code of ish-pipeline": then.get("code_digest"), "Python": then.get("python")}
    before |= then.get("packages") or {}
    changed = [name for name in now if before.get(name) not in (None, now[name])]
    return [f"{name} {before[name]} -> {now[name]}" for name in changed]


def _check_same(run: Path, path: Path, expected: str, option: str) -> None:
    if not path.exists():
        raise DataError(f"{run}: read {path}, which is gone; restore it, or name another with {option}")
    if checksum(path) != expected:
        raise DataError(
            f"{run}: read {path}, which has changed since; restore the old one, or use {option} to run"
            " what is there now"
        )


def _merge(document: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(document.get(key), dict):
            _merge(document[key], value)
        else:
            document[key] = value
