"""Closed shapes of a GeoJSON drawing, such as QuPath exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.model import Float64
from pipeline.formats.drawings.shapes import Shape
from pipeline.formats.drawings.svg import Drawing
from pipeline.system.files import read_json_value, shown

AREAS = ("Polygon", "MultiPolygon")
Name = tuple[str, Literal["id", "acronym"]]


def read_geojson(path: Path) -> Drawing:
    """Read the areas of a GeoJSON drawing.

    Parameters
    ----------
    path : Path
        FeatureCollection, Feature, or list of features. A polygon or multipolygon is named by its property
        `structure_id` or `acronym`, or by QuPath's `classification.name`. Points and lines are no areas.

    Returns
    -------
    Drawing
        In the order of the file; it states no size. Areas without a name are left out.

    Raises
    ------
    DataError
        Where the file is missing or damaged, or an area has no coordinates.
    """
    document = read_json_value(path, "a drawing")
    shapes = []
    for at, feature in enumerate(_features(document)):
        geometry = feature.get("geometry")
        name = _name(feature)
        if name is None or not isinstance(geometry, Mapping) or geometry.get("type") not in AREAS:
            continue
        polygons = geometry.get("coordinates")
        if geometry["type"] == "Polygon":
            polygons = [polygons]
        try:
            shapes += [Shape(*name, tuple(_ring(ring) for ring in polygon)) for polygon in polygons or ()]
        except (TypeError, ValueError, IndexError) as error:
            raise DataError(
                f"{path}: feature {at}: expected coordinates of a {geometry['type']}, got"
                f" {shown(geometry.get('coordinates'))}"
            ) from error
    if not isinstance(document, Mapping | list):
        raise DataError(f"{path}: expected GeoJSON, got {type(document).__name__}")
    return Drawing(tuple(shapes))


def _features(document: Any) -> Iterator[Mapping[str, Any]]:
    listed = document.get("features", [document]) if isinstance(document, Mapping) else document
    for feature in listed if isinstance(listed, list) else ():
        if isinstance(feature, Mapping):
            yield feature


def _name(feature: Mapping[str, Any]) -> Name | None:
    properties = feature.get("properties")
    if not isinstance(properties, Mapping):
        return None
    if properties.get("structure_id") is not None:
        return str(properties["structure_id"]).strip(), "id"
    if properties.get("acronym"):
        return str(properties["acronym"]).strip(), "acronym"
    classification = properties.get("classification")
    named = classification.get("name") if isinstance(classification, Mapping) else None
    return (str(named).strip(), "acronym") if named else None


def _ring(ring: Any) -> Float64:
    points = np.array([[float(point[0]), float(point[1])] for point in ring], np.float64)
    if not np.isfinite(points).all() or len(points) < 3:
        raise ValueError("a ring")
    return points
