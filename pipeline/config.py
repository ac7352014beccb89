"""One YAML an experiment: only what differs from the defaults; an unknown key is refused by name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReferenceConfig(_Section):
    """Which reference space; a directory overrides the name."""

    name: Literal["phantom"] = "phantom"
    directory: Path | None = None
    resolution_um: float | None = Field(default=None, gt=0, le=400)


class SeriesConfig(_Section):
    """Which rows of the sorted manifest take part: 0, n, 2n, …"""

    section_step: int = Field(default=1, ge=1)


class AlgorithmConfig(_Section):
    """An algorithm chosen by name, with its parameters."""

    name: str
    configuration: dict[str, Any] = Field(default_factory=dict)


class GriddingConfig(_Section):
    """Gaussian sigmas of the smoothing of sums, in um."""

    smoothing_um: float = Field(default=200.0, ge=0, le=2000)
    z_smoothing_um: float = Field(default=140.0, ge=0, le=2000)


class UnionizeConfig(_Section):
    """Which labels the 200 um grid carries."""

    grid_annotation: Literal["derived", "served"] = "derived"


class Config(_Section):
    """Everything that decides a run's numbers."""

    reference: ReferenceConfig = ReferenceConfig()
    series: SeriesConfig = SeriesConfig()
    detection: AlgorithmConfig = AlgorithmConfig(name="adaptive")
    alignment: AlgorithmConfig = AlgorithmConfig(name="joint")
    gridding: GriddingConfig = GriddingConfig()
    unionize: UnionizeConfig = UnionizeConfig()


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply `dotted.key=value` overrides.

    Raises
    ------
    ConfigError
        a file that is missing or not YAML, an unknown key (the nearest is named), a value out of range.
    """
    document = {} if path is None else _read_yaml(path)
    for override in overrides:
        _override(document, override)
    return parse_config(document, str(path or "--set"))


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the document that a list of `dotted.key=value` makes."""
    document: dict[str, Any] = {}
    for override in overrides:
        _override(document, override)
    return document


def parse_config(document: Mapping[str, Any], where: str) -> Config:
    """Check a document against the schema; ConfigError in one line otherwise."""
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error)}") from None


def reference_directory(config: Config, given: Path | None) -> Path | None:
    """Return the reference's folder: the option, else ISH_REFERENCE, else the configuration."""
    if given is not None:
        return given
    if os.environ.get("ISH_REFERENCE"):
        return Path(os.environ["ISH_REFERENCE"])
    return config.reference.directory


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration; configs/ holds ready ones") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(document).__name__}")
    return document


def _override(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: expected dotted.key=value")
    *parents, last = key.strip().split(".")
    node = document
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override}: {parent} is a value, not a section")
    try:
        node[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: {text!r} is not a YAML value") from None


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), _keys(first["loc"][:-1]), n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(_keys(first['loc'][:-1]))}"
        return f"unknown key {where}{hint}"
    return f"{where}: {first['msg']}, got {first['input']!r}"


def _keys(location: Sequence[str | int]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
