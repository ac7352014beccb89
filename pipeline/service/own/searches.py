"""Search over the served experiments, by scripts and by the pages."""

from __future__ import annotations

import math
from typing import Any

from pipeline.core.errors import ConfigError, DataError, MissingResultError
from pipeline.core.model import GRID_200
from pipeline.search.index import VOXEL_SETS
from pipeline.search.point import LOCAL, WIDER
from pipeline.search.result import SearchResult
from pipeline.service.http.answers import RequestError
from pipeline.service.own.endpoint import LARGEST_ID, REQUIRED, Endpoint, Parameter, Values
from pipeline.service.own.schemas import INTEGER, NUMBER, TEXT, array, record
from pipeline.service.served import LIMITS, Serving


def differential(serving: Serving, values: Values) -> dict[str, Any]:
    """Return experiments with more expression in a target than in a contrast."""
    try:
        found = serving.index.get().differential(
            values["target"],
            values["contrast"],
            voxels=values["voxels"],
            target_threshold=values["target_threshold"],
            contrast_threshold=values["contrast_threshold"],
            top=values["top"],
        )
    except (ConfigError, DataError, MissingResultError) as error:
        raise _refused(error) from None
    return _rows(found)


def correlation(serving: Serving, values: Values) -> dict[str, Any]:
    """Return experiments whose expression looks like a seed's."""
    try:
        found = serving.index.get().correlation(
            values["seed"], domain=values["domain"] or (), voxels=values["voxels"], top=values["top"]
        )
    except (ConfigError, DataError, MissingResultError) as error:
        raise _refused(error) from None
    return _rows(found)


def at_point(serving: Serving, values: Values) -> dict[str, Any]:
    """Return experiments enriched around a point, and the domains that express like it."""
    point = [values[name] for name in "pir"]
    try:
        found = serving.index.get().at_point(
            point,
            wider=values["wider"],
            local=values["local"],
            target_threshold=values["target_threshold"],
            contrast_threshold=values["contrast_threshold"],
            top=values["top"],
        )
    except (ConfigError, DataError, MissingResultError) as error:
        raise _refused(error) from None
    return _rows(found) | {
        "seed_um": list(found.seed_um),
        "experiments": found.experiments,
        "local_voxels": found.local_voxels,
        "wider_voxels": found.wider_voxels,
    }


def _refused(error: Exception) -> RequestError:
    """Return a refusal: 404 where a structure or seed is unknown or has no data, else 400."""
    if isinstance(error, RequestError):
        return error
    return RequestError(f"search: {error}", status=400 if isinstance(error, ConfigError) else 404)


def _rows(found: SearchResult) -> dict[str, Any]:
    rows = [{name: _plain(value) for name, value in row.items()} for row in found.rows()]
    return {"rows": rows, "notes": list(found.notes)}


def _plain(value: Any) -> Any:
    """Return infinity as the text "inf": JSON has none, and a fold change over 0 is infinite."""
    return "inf" if isinstance(value, float) and math.isinf(value) else value


_VOXELS = Parameter("voxels", "string", "set of voxels", default="all", words=tuple(VOXEL_SETS))
_TOP = Parameter("top", "integer", "experiments at most", default=50, least=1, most=LIMITS.rows)
_THRESHOLD: dict[str, Any] = {"most": 40, "pattern": r"^[0-9.]*,[0-9.]*$"}
_BOX_UM = [(count - 1) * GRID_200.spacing_um for count in GRID_200.shape]
_ANSWER = record(rows=array({"type": "object"}), notes=array(TEXT))
ENDPOINTS = (
    Endpoint(
        "/search/differential",
        "Experiments with more expression in a target than in a contrast.",
        differential,
        (
            Parameter("target", "string", "acronyms or ids, separated by commas", default=REQUIRED),
            Parameter("contrast", "string", "likewise", default=REQUIRED),
            Parameter("target_threshold", "string", "bounds of the mean energy there, min,max", **_THRESHOLD),
            Parameter("contrast_threshold", "string", "likewise", **_THRESHOLD),
            _VOXELS,
            _TOP,
        ),
        _ANSWER,
    ),
    Endpoint(
        "/search/correlation",
        "Experiments whose expression looks like a seed's.",
        correlation,
        (
            Parameter("seed", "integer", "id of an experiment", default=REQUIRED, least=0, most=LARGEST_ID),
            Parameter("domain", "string", "structures to compare in; default the whole brain"),
            _VOXELS,
            _TOP,
        ),
        _ANSWER,
    ),
    Endpoint(
        "/search/point",
        "Coronal experiments enriched in the domain that expresses like a point, over a wider one.",
        at_point,
        (
            *(
                Parameter(
                    name, "number", f"position along {name.upper()}, um", default=REQUIRED, least=0, most=most
                )
                for name, most in zip("pir", _BOX_UM, strict=True)
            ),
            Parameter("local", "number", "least r of the local domain", default=LOCAL, least=-1, most=1),
            Parameter("wider", "number", "least r of the wider domain", default=WIDER, least=-1, most=1),
            Parameter(
                "target_threshold", "string", "bounds of the mean energy in the local domain", **_THRESHOLD
            ),
            Parameter("contrast_threshold", "string", "likewise in the wider one", **_THRESHOLD),
            _TOP,
        ),
        record(
            rows=array({"type": "object"}),
            notes=array(TEXT),
            seed_um=array(NUMBER),
            experiments=INTEGER,
            local_voxels=INTEGER,
            wider_voxels=INTEGER,
        ),
    ),
)
