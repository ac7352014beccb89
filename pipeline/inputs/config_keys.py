"""Every key of a configuration with type, unit, range and meaning, read from the models that check them.

A key is described once: by its field in `inputs/config.py`, or, for parameters of a detector or an aligner,
by the dataclass that takes them. The schema, `ish config show` and the page of the documentation follow.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel

from pipeline.core.did_you_mean import unknown_word
from pipeline.detection import DETECTORS, make_detector
from pipeline.inputs.config import ClusterConfig, Config
from pipeline.registration import ALIGNERS, AlignmentOptions
from pipeline.registration.options import OF_MANIFEST, RANGES, TRUSTED

Schema = dict[str, Any]

GIVEN = "given"  # the aligner that takes an alignment over
PLACED_BY_HAND: dict[str, Schema] = {
    "corrections": {
        "type": ["string", "null"],
        "description": "file with sections that were placed by hand: QuickNII, VisuAlign, alignment.json",
    },
    "corrected_sections": {
        "description": "section numbers whose placement in `corrections` holds; null: all of the file",
    },
    "anchors": {
        "type": ["string", "null"],
        "description": "file with rough placements by another program, such as DeepSlice's JSON",
    },
}
GIVEN_KEYS: dict[str, Schema] = {
    "path": {
        "type": ["string", "null"],
        "description": "file with the alignment; null: data_set.xml or alignment.json beside the manifest",
    },
}
UNITS = {"_um2": "um2", "_um": "um", "_px": "px", "_deg": "degree"}  # by the end of a key
NO_LIMIT = 2**31 - 1  # a largest value that is none
SWEEP = "lists of values by dotted key; every combination is run"


@dataclass(frozen=True)
class ConfigKey:
    """One key of a configuration.

    Attributes
    ----------
    key : str
        Dotted key.
    default : object
        Value where none is given.
    schema : dict
        JSON Schema of its value.
    """

    key: str
    default: Any
    schema: Schema

    @property
    def unit(self) -> str:
        """Unit of the value; empty for a value without unit."""
        return next((unit for end, unit in UNITS.items() if self.key.endswith(end)), "")

    @property
    def text(self) -> str:
        """What it is, in a line."""
        return str(self.schema.get("description", ""))

    @property
    def allowed(self) -> str:
        """Values that it takes, in words."""
        return allowed(self.schema)


def allowed(schema: Schema) -> str:
    """Return the values that a schema admits, in words.

    Parameters
    ----------
    schema : dict
        JSON Schema of one value.

    Returns
    -------
    str
        Range, choices or type.

    Examples
    --------
    >>> allowed({"type": "number", "exclusiveMinimum": 0, "maximum": 400})
    'above 0, to 400'
    >>> allowed({"enum": ["derived", "served"]}), allowed({"type": "boolean"})
    ('derived, served', 'true, false')
    """
    if "anyOf" in schema:
        return " or ".join(allowed(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return ", ".join(schema["enum"])
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", ["any"])
    if "array" in kinds:
        return f"list of: {allowed(schema['items'])}" if "items" in schema else "list"
    if "minimum" in schema or "exclusiveMinimum" in schema:
        whole = "whole number, " if "integer" in kinds else ""
        low = f"{schema['minimum']:g}" if "minimum" in schema else f"above {schema['exclusiveMinimum']:g},"
        endless = schema.get("maximum", NO_LIMIT) >= NO_LIMIT
        return f"{whole}from {low}" if endless else f"{whole}{low} to {schema['maximum']:g}"
    words = {"boolean": "true, false", "string": "path" if schema.get("format") == "path" else "text"}
    return next((words.get(kind, kind) for kind in kinds if kind != "null"), "any")


def detector_keys(name: str) -> dict[str, Schema]:
    """Return the parameters of a detector.

    Parameters
    ----------
    name : str
        Word in `DETECTORS`.

    Returns
    -------
    dict of str to dict
        JSON Schema by name of the parameter.
    """
    kind = DETECTORS[name]
    texts = described(kind)
    return {
        field.name: {
            "type": "number",
            "minimum": kind.ranges[field.name][0],
            "maximum": kind.ranges[field.name][1],
            "default": field.default,
            "description": texts[field.name],
        }
        for field in fields(kind)
    }


def aligner_keys(name: str) -> dict[str, Schema]:
    """Return the options of an aligner.

    Parameters
    ----------
    name : str
        `given`, or a word in `ALIGNERS`.

    Returns
    -------
    dict of str to dict
        JSON Schema by name of the option.
    """
    if name == GIVEN:
        return GIVEN_KEYS
    texts, hints = described(AlignmentOptions), get_type_hints(AlignmentOptions)
    found = {
        field.name: {
            **_option(field.name, hints[field.name]),
            "default": list(field.default) if isinstance(field.default, tuple) else field.default,
            "description": texts[field.name],
        }
        for field in fields(AlignmentOptions)
        if field.name not in OF_MANIFEST
    }
    return found | PLACED_BY_HAND


def _option(name: str, hint: Any) -> Schema:
    """Return the schema of the values of an option of the alignment."""
    if name == "trust":
        return {"type": ["array", "string"], "items": {"enum": list(TRUSTED)}}
    if name not in RANGES:
        return {"enum": list(get_args(hint))}
    limits = RANGES[name]
    number = {
        "type": "integer" if limits.whole else "number",
        "minimum": limits.low,
        "maximum": limits.high,
    }
    # a single string of numbers is taken too, as a line of shell code has it
    return {"type": ["array", "string", "number"], "items": number} if limits.several else number


def described(kind: type) -> dict[str, str]:
    """Return what the section Attributes of a docstring says of each field, on one line.

    Parameters
    ----------
    kind : type
        A class with a numpydoc docstring, or one that inherits its fields from such a class.

    Returns
    -------
    dict of str to str
        Text by name of the field.
    """
    texts: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        doc = inspect.cleandoc(one.__doc__ or "")
        part = re.search(r"^Attributes\n-+\n(.*?)(?=^\w[\w ]*\n-{3,}$|\Z)", doc, re.S | re.M)
        for entry in re.finditer(r"^(\S[^:\n]*) :.*\n((?:    .*\n?)+)", part[1] + "\n" if part else "", re.M):
            text = " ".join(entry[2].split()).rstrip(".")
            texts |= dict.fromkeys((name.strip() for name in entry[1].split(",")), text)
    return texts


def config_schema() -> Schema:
    """Return the JSON Schema of a configuration file.

    Returns
    -------
    dict
        Draft 2020-12; the parameters of detector and aligner depend on their names.
    """
    sections = {name: _section(field.annotation) for name, field in Config.model_fields.items()}
    sections["detection"] |= _by_name(
        {name: detector_keys(name) for name in DETECTORS}, sections["detection"]
    )
    aligners = {name: aligner_keys(name) for name in (*ALIGNERS, GIVEN)}
    sections["alignment"] |= _by_name(aligners, sections["alignment"])
    sweep = {"type": ["object", "null"], "description": SWEEP}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of ish-pipeline",
        "description": "Only what differs from the defaults need be given.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {**sections, "sweep": sweep, "cluster": _section(ClusterConfig)},
    }


def _section(model: Any) -> Schema:
    """Return the schema of a section; one whose lines are all comments is null."""
    assert issubclass(model, BaseModel)
    schema = model.model_json_schema()
    properties = {name: _plain(value) for name, value in schema["properties"].items()}
    return {
        "type": ["object", "null"],
        "description": schema.get("description", "").splitlines()[0],
        "additionalProperties": False,
        "properties": properties,
    }


def _plain(schema: Schema) -> Schema:
    """Return the schema of a value without pydantic's titles; a list of texts may be one text."""
    found = {key: value for key, value in schema.items() if key != "title"}
    return found | {"type": ["array", "string"]} if found.get("type") == "array" else found


def _by_name(keys: Mapping[str, Mapping[str, Schema]], section: Schema) -> Schema:
    """Return the parts of a section's schema that depend on the name of its algorithm."""
    properties = dict(section["properties"])
    properties["name"] = {**properties["name"], "enum": list(keys)}
    properties["configuration"] = {**properties["configuration"], "type": ["object", "null"]}
    properties["configuration"].pop("additionalProperties", None)
    default = properties["name"]["default"]
    choices = [
        {
            # a missing name meets `const` too, so it counts as the default's
            "if": {
                "properties": {"name": {"const": name}},
                **({} if name == default else {"required": ["name"]}),
            },
            "then": {
                "properties": {
                    "configuration": {"additionalProperties": False, "properties": dict(parameters)}
                }
            },
        }
        for name, parameters in keys.items()
    ]
    return {"properties": properties, "allOf": choices}


def config_keys(detector: str | None = None, aligner: str | None = None) -> Iterator[ConfigKey]:
    """Yield every key of a configuration in the order of the models.

    Parameters
    ----------
    detector, aligner : str or None
        Algorithms whose parameters stand under `configuration`; None: those of the defaults.

    Yields
    ------
    ConfigKey
        A key; those of `sweep` are the others, with lists, and are not among them.
    """
    parameters = {
        "detection": detector_keys(detector or Config().detection.name),
        "alignment": aligner_keys(aligner or Config().alignment.name),
    }
    for name, section in config_schema()["properties"].items():
        for key, schema in section.get("properties", {}).items():
            if key != "configuration":
                yield ConfigKey(f"{name}.{key}", schema.get("default"), schema)
        for key, schema in parameters.get(name, {}).items():
            yield ConfigKey(f"{name}.configuration.{key}", schema.get("default"), schema)


def check_names(config: Config) -> None:
    """Build the detector, and look the aligner up.

    Parameters
    ----------
    config : Config
        Configuration.

    Raises
    ------
    ConfigError
        For an unknown name, and for a parameter that the detector does not take.
    """
    make_detector(config.detection.name, config.detection.configuration)
    names = (GIVEN, *ALIGNERS)
    if config.alignment.name not in names:
        raise unknown_word("alignment.name", config.alignment.name, names)
