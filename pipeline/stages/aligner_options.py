"""Options of an aligner, from a configuration and from what a manifest says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pipeline.core.did_you_mean import hint
from pipeline.core.errors import ConfigError
from pipeline.registration import AlignmentOptions
from pipeline.registration.options import OF_MANIFEST
from pipeline.stages.anchors import OPTION
from pipeline.system.files import shown

# options about sections that a person or another program has placed
PLACED = ("corrections", "corrected_sections", OPTION)


def options_of(
    configuration: Mapping[str, Any], aligner: str, manifest: Mapping[str, Any]
) -> AlignmentOptions:
    """Return the options of an aligner from its configuration and what a manifest says.

    Parameters
    ----------
    configuration : mapping of str to Any
        `alignment.configuration`.
    aligner : str
        Name of the aligner.
    manifest : mapping of str to Any
        Values of the options that a manifest gives; empty where there is none.

    Returns
    -------
    AlignmentOptions
        Options with the types of their defaults.

    Raises
    ------
    ConfigError
        Where an option is unknown or has a wrong value.
    """
    known = [f.name for f in fields(AlignmentOptions) if f.name not in OF_MANIFEST]
    given = dict(configuration)
    for key in PLACED:
        given.pop(key, None)
    for key in given:
        if key not in known:
            meant = hint(key, [*known, *PLACED])
            raise ConfigError(f"alignment.configuration: unknown key {key}; {meant}")
    defaults = {f.name: f.default for f in fields(AlignmentOptions)}
    values: dict[str, Any] = {k: _like(defaults[k], v, k) for k, v in given.items()}
    try:
        return AlignmentOptions(**values, **manifest, aligner=aligner)
    except TypeError as error:
        raise ConfigError(f"alignment.configuration: {error}") from None


def _like(default: Any, value: Any, key: str) -> Any:
    """Convert an option to the type of its default; ConfigError where that fails."""
    try:
        if isinstance(default, tuple):
            listed = value.replace(",", " ").split() if isinstance(value, str) else value
            kind = float if default else str  # the only list that is empty by default is one of words
            return tuple(kind(n) for n in (listed if isinstance(listed, list) else [listed]))
        if isinstance(default, int | float) and not isinstance(value, bool):
            number = type(default)(value)
            if math.isfinite(number) and number == float(value):
                return number
        elif isinstance(value, str):
            return value
    except (TypeError, ValueError, OverflowError):
        pass
    lists = "numbers such as 250,150" if default else "words such as plane,order"
    expected = lists if isinstance(default, tuple) else f"a value such as {default!r}"
    raise ConfigError(f"alignment.configuration.{key}: expected {expected}, got {shown(value)}")
