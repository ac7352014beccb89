"""Endpoints of plates, as clients ask them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from pipeline.core.reference_space import ReferenceSpace
from pipeline.service.content.catalogue import Catalogue
from pipeline.service.plates.endpoints import routes
from pipeline.service.plates.sections import structures_at

Any_ = Callable[..., Any]
PLATE = 2_100_000_006
PATHS = "{http://www.w3.org/2000/svg}path"


@pytest.fixture
def served(blocks: ReferenceSpace, make_parts: Any_, make_experiment: Any_) -> Any:
    return make_parts(blocks, make_experiment())


def ids(content: bytes) -> set[int]:
    return {int(path.attrib["structure_id"]) for path in ElementTree.fromstring(content).iter(PATHS)}


def picture(content: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


def test_drawings(served: Any, client: Any_) -> None:
    with client(routes(served)) as ask:
        plain = ask.get(f"/api/v2/svg/{PLATE}")
        assert plain.status_code == 200
        assert plain.headers["content-type"] == "image/svg+xml"
        assert ids(plain.content) == set(np.unique(served.reference.annotation[6]).tolist()) - {0}
        for same in (f"{PLATE}.svg", f"{PLATE}?groups=28", f"{PLATE}?groups=31,28", f"{PLATE}&downsample=0"):
            assert ask.get(f"/api/v2/svg/{same}").content == plain.content
        download = ask.get(f"/api/v2/svg_download/{PLATE}?groups=28,159226751&downsample=0")
        assert download.content == plain.content
        assert download.headers["content-disposition"] == f'attachment; filename="{PLATE}.svg"'
        halved = ElementTree.fromstring(ask.get(f"/api/v2/svg/{PLATE}&downsample=3").content)
        full = ElementTree.fromstring(plain.content)
        assert [8 * float(halved.attrib[n]) for n in ("width", "height")] == [
            float(full.attrib[n]) for n in ("width", "height")
        ]


def test_drawings_of_sections_follow_the_placement(served: Any, client: Any_) -> None:
    experiment = served.catalogue.experiments[55]
    with client(routes(served)) as ask:
        found = ask.get("/api/v2/svg/708")
        assert found.status_code == 200
        root = ElementTree.fromstring(found.content)
        assert (root.attrib["width"], root.attrib["height"]) == ("320", "240")
        points = [(x, y) for x in range(12, 320, 25) for y in range(12, 240, 25)]
        hit = set(structures_at(served.reference, experiment.geometry, 8, points).tolist())
        assert ids(found.content) == hit - {0}
        moved = replace(
            experiment, stamp="second", geometry=replace(experiment.geometry, section_thickness_um=9.0)
        )
        served.catalogue = Catalogue({55: moved}, served.catalogue.section_of)
        assert ask.get("/api/v2/svg/708").content != found.content


def test_pictures(served: Any, client: Any_) -> None:
    with client(routes(served)) as ask:
        for query, shape in {
            "?downsample=2&annotation=true&atlas=1": (80, 112, 3),
            "?downsample=2": (80, 112),
            "&downsample=3": (40, 56),
            ".jpg?left=64&top=32&width=50&height=40&quality=80": (40, 50),
            "?left=64&top=32&width=5000&annotation=true": (288, 384, 3),
        }.items():
            found = ask.get(f"/api/v2/atlas_image_download/{PLATE}{query}")
            assert (found.status_code, found.headers["content-type"]) == (200, "image/jpeg")
            assert picture(found.content).shape == shape
        section = ask.get("/api/v2/atlas_image_download/708?downsample=1")
        assert picture(section.content).shape == (120, 160, 3)


def test_without_a_template_plates_are_coloured(
    blocks: ReferenceSpace, make_parts: Any_, client: Any_
) -> None:
    bare = ReferenceSpace(9, "bare", blocks.annotation, 100.0, blocks.ontology)
    with client(routes(make_parts(bare))) as ask:
        found = ask.get(f"/api/v2/atlas_image_download/{PLATE}?downsample=2")
        assert picture(found.content).ndim == 3


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("svg/100960033", 404, "SectionImage 100960033: not served here; served are 704, 708, 712"),
        ("svg/2100000012", 404, "AtlasImage 2100000012: not served here; the plates begin at 2100000000"),
        ("svg/716", 404, "section 16 has no alignment; the nearest that have one are 4, 8, 12"),
        (f"svg/{PLATE}?groups=31", 404, "no graphic group of 31; drawn is 28 (Atlas - Adult Mouse)"),
        (f"svg/{PLATE}?groups=x", 400, "groups: expected an id, a whole number, got 'x'"),
        (f"svg/{PLATE}?downsample=-1", 400, "downsample: expected a whole number from 0 to 12, got '-1'"),
        (f"svg/{PLATE}?downsample=nan", 400, "got 'nan'"),
        (f"svg/{PLATE}.png", 400, "expected the ending .svg, got .png"),
        ("svg/abc", 400, "expected a whole number as the id, got 'abc'"),
        (f"atlas_image_download/{PLATE}?annotation=perhaps", 400, "annotation: expected true or false"),
        (f"atlas_image_download/{PLATE}?left=99999", 400, "a part of the image of 448 x 320 pixels"),
        (f"atlas_image_download/{PLATE}?width=0", 400, "width: expected a whole number from 1"),
        (f"atlas_image_download/{PLATE}?quality=101", 400, "quality: expected a whole number from 0 to 100"),
        ("atlas_image_download/7", 404, "SectionImage 7: not served here"),
        ("structure_graph_download/17.json", 404, "StructureGraph 17: not served here; served is 1"),
        ("structure_graph_download/1.yaml", 400, "expected the ending .json or .xml or .csv, got .yaml"),
    ],
)
def test_errors_say_what_exists(served: Any, client: Any_, url: str, status: int, words: str) -> None:
    with client(routes(served)) as ask:
        found = ask.get(f"/api/v2/{url}")
        assert found.status_code == status
        assert found.json()["success"] is False
        assert words in found.json()["msg"]


def test_the_structure_graph(served: Any, client: Any_) -> None:
    with client(routes(served)) as ask:
        document = ask.get("/api/v2/structure_graph_download/1.json").json()
        assert list(document) == ["success", "id", "start_row", "num_rows", "total_rows", "msg"]
        (root,) = document["msg"]
        assert list(root) == [
            "id", "atlas_id", "ontology_id", "acronym", "name", "color_hex_triplet", "graph_order",
            "st_level", "hemisphere_id", "parent_structure_id", "children",
        ]  # fmt: skip
        assert [child["id"] for child in root["children"]] == [7, 2, 5]
        assert root["children"][1]["children"][0]["parent_structure_id"] == 2
        xml = ElementTree.fromstring(ask.get("/api/v2/structure_graph_download/1.xml").content)
        assert [child.tag for child in xml[0]][:5] == ["id", "atlas-id", "ontology-id", "acronym", "name"]
        assert [s.findtext("name") for s in xml.iter("structure")] == ["root", "C", "A & B", "B", "empty"]
        rows = ask.get("/api/v2/structure_graph_download/1.csv").text.splitlines()
        assert len(rows) == 6
        assert rows[4].endswith(",/1/2/3/")


def test_the_structure_graph_of_a_folder_is_whole(
    ish_data: Path, make_parts: Any_, client: Any_, real: Any
) -> None:
    folder = ish_data / "reference"
    stored = json.loads((folder / "structure_graph_1.json").read_text())
    with client(routes(make_parts(real, reference_directory=folder))) as ask:
        assert ask.get("/api/v2/structure_graph_download/1.json").json()["msg"] == stored["msg"]


def test_real_plates_and_sections_name_known_structures(real: Any, make_parts: Any_, client: Any_) -> None:
    with client(routes(make_parts(real))) as ask:
        for image_id in (2_100_000_264, 2_101_000_160, 2_102_000_263):
            found = ids(ask.get(f"/api/v2/svg/{image_id}?groups=28").content)
            assert len(found) > 100
            assert found <= real.ontology.by_id.keys()
