"""What a configuration says for every key, where each value comes from, and a file with all of them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.inputs.config import (
    Config,
    ConfigFile,
    find_config,
    load_config_file,
    parse_overrides,
    read_document,
)
from pipeline.inputs.config_keys import ConfigKey, config_keys

DEFAULT = "default"
SCHEMA_LINE = "# yaml-language-server: $schema={}"
WIDE = 110  # characters of a line of a file


@dataclass(frozen=True)
class ConfigValue:
    """The value of one key.

    Attributes
    ----------
    key : ConfigKey
        The key.
    value : object
        Value in force.
    source : str
        `default`, the file, or `--set`.
    """

    key: ConfigKey
    value: Any
    source: str


def config_values(path: Path | None, overrides: Sequence[str] = ()) -> list[ConfigValue]:
    """Return the value of every key of a configuration, and where it comes from.

    Parameters
    ----------
    path : Path or None
        The file, or the name of a ready configuration; None: the defaults.
    overrides : sequence of str
        `dotted.key=value`; these take precedence over the file.

    Returns
    -------
    list of ConfigValue
        In the order of the models; keys of a sweep come last.

    Raises
    ------
    ConfigError
        As of `pipeline.load_config`.
    """
    given = load_config_file(path, overrides)
    sources = {}
    if path is not None:
        file = find_config(path)
        sources = dict.fromkeys(dotted(read_document(file)), str(file))
    sources |= dict.fromkeys(dotted(parse_overrides(overrides)), "--set")
    whole = documents(given)
    return [
        ConfigValue(key, _at(whole, key), sources.get(key.key, DEFAULT))
        for key in (*config_keys(given.config.detection.name, given.config.alignment.name), *_swept(given))
    ]


def documents(given: ConfigFile) -> dict[str, Any]:
    """Return all values of a configuration file as nested plain values.

    Parameters
    ----------
    given : ConfigFile
        The file.

    Returns
    -------
    dict
        Sections, `sweep` and `cluster` among them.
    """
    return {
        **given.config.model_dump(mode="json"),
        "sweep": {key: list(values) for key, values in given.sweep.items()},
        "cluster": given.cluster.model_dump(mode="json"),
    }


def _swept(given: ConfigFile) -> Iterator[ConfigKey]:
    """Yield the keys of a sweep."""
    for key in given.sweep:
        yield ConfigKey(f"sweep.{key}", None, {"type": "array", "description": "every value is run"})


def _at(document: Mapping[str, Any], key: ConfigKey) -> Any:
    """Return the value of a dotted key, its default where the document lacks it."""
    section, _, rest = key.key.partition(".")
    if section == "sweep":
        return document[section][rest]
    node: Any = document[section]
    for part in rest.split("."):
        if part not in node:
            return key.default
        node = node[part]
    return node


def dotted(document: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys of the values of a nested document.

    Parameters
    ----------
    document : mapping of str
        Nested keys and values.
    prefix : str
        Put before each key.

    Returns
    -------
    list of str
        In the order of the document.

    Examples
    --------
    >>> dotted({"gridding": {"smoothing_um": 150}, "detection": None})
    ['gridding.smoothing_um']
    """
    found = []
    for key, value in document.items():
        if isinstance(value, Mapping):
            found += dotted(value, f"{prefix}{key}.")
        elif value is not None or prefix:
            found.append(f"{prefix}{key}")
    return found


def commented_file(head: Sequence[str], given: Config, schema: str) -> str:
    """Return a configuration file with every key, those that hold their default as comments.

    Parameters
    ----------
    head : sequence of str
        Lines of comment at the top, without `#`.
    given : Config
        Values; what differs from the defaults is no comment.
    schema : str
        Address of the JSON Schema, for editors.

    Returns
    -------
    str
        YAML that loads as `given`.
    """
    lines = [SCHEMA_LINE.format(schema), *(f"# {line}" for line in head)]
    document = {**given.model_dump(mode="json"), "cluster": {}}
    before: list[str] = []
    for key in config_keys(given.detection.name, given.alignment.name):
        *sections, name = key.key.split(".")
        for depth, section in enumerate(sections):
            if before[: depth + 1] != sections[: depth + 1]:
                lines += [""] * (depth == 0) + [f"{'  ' * depth}{section}:"]
        before = sections
        value, indent = _at(document, key), "  " * len(sections)
        mark = "# " if value == key.default else ""
        facts = ", ".join(fact for fact in (key.unit, key.allowed) if fact)
        lines += [f"{indent}## {line}" for line in textwrap.wrap(key.text, WIDE - 3 - len(indent))]
        lines.append(f"{indent}{mark}{name}: {json.dumps(value)}" + (f"  # {facts}" if facts else ""))
    return "\n".join(lines) + "\n"
