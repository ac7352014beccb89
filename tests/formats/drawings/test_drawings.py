"""Shapes of drawings: their pixels, and how SVG and GeoJSON state them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.formats.drawings.geojson import read_geojson
from pipeline.formats.drawings.shapes import Shape, shape_pixels
from pipeline.formats.drawings.svg import read_svg

SQUARE = np.array([[2.0, 2.0], [12.0, 2.0], [12.0, 12.0], [2.0, 12.0]])
CIRCLE = "M1 0C1 .5523 .5523 1 0 1S-1 .5523-1 0S-.5523-1 0-1 1-.5523 1 0Z"  # of radius 1
HOLE = np.array([[5.0, 5.0], [9.0, 5.0], [9.0, 9.0], [5.0, 9.0]])


def drawn(shapes: tuple[Shape, ...], size: tuple[int, int] = (40, 40)) -> np.ndarray:
    labels = np.zeros(size, int)
    for shape in shapes:
        labels[shape_pixels(shape.rings, size, shape.fill_rule)] = int(shape.structure)
    return labels


def svg(tmp_path: Path, body: str, attributes: str = "") -> Path:
    path = tmp_path / "plate.svg"
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}>{body}</svg>', encoding="utf-8")
    return path


def test_pixels_are_those_whose_centre_lies_inside_by_an_angle_sum_oracle():
    rng = np.random.default_rng(0)
    ring = rng.uniform(-3, 23, (9, 2))
    found = shape_pixels([ring], (20, 20), "nonzero")
    for i in range(20):
        for j in range(20):
            to = ring - (j, i)
            angles = np.arctan2(to[:, 1], to[:, 0])
            turns = np.angle(np.exp(1j * (np.roll(angles, -1) - angles))).sum() / (2 * np.pi)
            assert found[i, j] == (round(turns) != 0), (i, j)


def test_areas_that_share_an_edge_share_no_pixel_and_leave_none():
    rng = np.random.default_rng(1)
    middle = rng.uniform(5, 15, (4, 2))
    left = np.vstack([[[0, 0]], [[10, 0]], middle, [[10, 20]], [[0, 20]]])
    right = np.vstack([[[20, 0]], [[10, 0]], middle, [[10, 20]], [[20, 20]]])
    both = shape_pixels([left], (20, 20)).astype(int) + shape_pixels([right], (20, 20))
    assert (both == 1).all()


@pytest.mark.parametrize("turn", [1, -1])
def test_a_ring_within_a_ring_is_a_hole_whichever_way_it_runs(turn):
    assert shape_pixels([SQUARE, HOLE[::turn]], (20, 20)).sum() == 100 - 16


def test_nonzero_fills_a_ring_that_runs_the_same_way():
    assert shape_pixels([SQUARE, HOLE], (20, 20), "nonzero").sum() == 100
    assert shape_pixels([SQUARE, HOLE[::-1]], (20, 20), "nonzero").sum() == 84


@pytest.mark.parametrize(
    "body",
    [
        '<path structure_id="7" d="M2 2h10v10h-10z"/>',
        '<path structure_id="7" d="M 2,2 L 12,2 12,12 2,12"/>',
        '<polygon structure_id="7" points="2,2 12,2 12,12 2,12"/>',
        '<rect structure_id="7" x="2" y="2" width="10" height="10"/>',
        '<g structure_id="7" transform="translate(2 2) scale(5)"><path d="M0 0H2V2H0Z"/></g>',
        '<g transform="rotate(90 6.6 6.6)"><path structure_id="7" d="M1.6 1.6h10v10h-10z"/></g>',
        '<path structure_id="7" transform="matrix(0 10 -10 0 12 2)" d="M0 0L1 0L1 1L0 1Z"/>',
    ],
)
def test_one_square_in_every_notation(tmp_path, body):
    labels = drawn(read_svg(svg(tmp_path, body)).shapes)
    assert labels.sum() == 7 * 100
    assert (labels[3:11, 3:11] == 7).all()


@pytest.mark.parametrize(
    "body",
    [
        '<circle structure_id="7" cx="20.2" cy="19.9" r="15.1"/>',
        '<ellipse structure_id="7" cx="20.2" cy="19.9" rx="15.1" ry="15.1"/>',
        '<path structure_id="7" d="M5.1 19.9a15.1 15.1 0 0 1 30.2 0a15.1 15.1 0 0 1 -30.2 0z"/>',
        f'<path structure_id="7" transform="translate(20.2 19.9) scale(15.1)" d="{CIRCLE}"/>',
    ],
)
def test_arcs_and_curves_have_the_area_of_the_circle(tmp_path, body):
    labels = drawn(read_svg(svg(tmp_path, body)).shapes)
    assert (labels > 0).sum() == pytest.approx(math.pi * 15.1**2, rel=0.01)


def test_later_shapes_lie_above_and_what_is_not_drawn_is_left_out(tmp_path):
    body = (
        '<defs><rect structure_id="9" width="40" height="40"/></defs>'
        '<rect structure_id="1" x="2" y="2" width="10" height="10"/>'
        '<rect structure_id="2" x="2" y="2" width="5" height="10"/>'
        '<g style="display:none"><rect structure_id="9" width="40" height="40"/></g>'
        '<rect x="0" y="0" width="40" height="40"/>'
    )
    labels = drawn(read_svg(svg(tmp_path, body)).shapes)
    assert [(labels == k).sum() for k in (1, 2, 9)] == [50, 50, 0]


def test_the_size_is_that_of_the_view_box_else_of_width_and_height(tmp_path):
    assert read_svg(svg(tmp_path, "", 'viewBox="0 0 30 20" width="300mm"')).size == (30.0, 20.0)
    assert read_svg(svg(tmp_path, "", 'width="30" height="20px"')).size == (30.0, 20.0)
    assert read_svg(svg(tmp_path, "", 'width="30mm" height="20mm"')).size is None


@pytest.mark.parametrize(
    "body",
    [
        '<path structure_id="7" d="M2 2 L oops"/>',
        '<path structure_id="7" transform="matrix(1 2)" d="M0 0H2V2Z"/>',
        '<use structure_id="7" href="#a"/>',
        "<path",
        "<!ENTITY x 'y'>",
    ],
)
def test_what_svg_does_not_allow_is_one_line_with_the_file(tmp_path, body):
    with pytest.raises(DataError, match=r"plate\.svg") as caught:
        read_svg(svg(tmp_path, body))
    assert "\n" not in str(caught.value)


def feature(geometry: object, **properties: object) -> dict[str, object]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def test_geojson_names_areas_by_id_acronym_or_classification(tmp_path):
    polygon = {"type": "Polygon", "coordinates": [SQUARE.tolist(), HOLE.tolist()]}
    several = {"type": "MultiPolygon", "coordinates": [[SQUARE.tolist()], [(SQUARE + 20).tolist()]]}
    features = [
        feature(polygon, structure_id=7),
        feature(several, acronym="TH"),
        feature(polygon, classification={"name": "CTX", "color": [1, 2, 3]}),
        feature({"type": "Point", "coordinates": [1, 1]}, acronym="TH"),
        feature(polygon),
    ]
    path = tmp_path / "plate.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    shapes = read_geojson(path).shapes
    assert [(s.structure, s.named_by) for s in shapes] == [
        ("7", "id"),
        ("TH", "acronym"),
        ("TH", "acronym"),
        ("CTX", "acronym"),
    ]
    assert shape_pixels(shapes[0].rings, (20, 20)).sum() == 84


@pytest.mark.parametrize("coordinates", [[[[1, 2], [3, "x"], [4, 5]]], [[[1, 2]]], "no", [[[1], [2], [3]]]])
def test_geojson_without_proper_rings_is_one_line_with_the_feature(tmp_path, coordinates):
    path = tmp_path / "plate.geojson"
    geometry = {"type": "Polygon", "coordinates": coordinates}
    path.write_text(json.dumps([feature(geometry, structure_id=7)]), encoding="utf-8")
    with pytest.raises(DataError, match="feature 0"):
        read_geojson(path)
