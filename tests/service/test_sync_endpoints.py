"""Image sync over HTTP: the recorded answers of the original, both forms, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from service_cases import client_over, write_served
from starlette.testclient import TestClient

from pipeline.geometry import affine, sync
from pipeline.inputs.alignments import open_alignment


def test_recorded_image_to_reference(ish_data: Path, tmp_path: Path) -> None:
    answers = [json.loads(f.read_text()) for f in sorted((ish_data / "image_sync/xy_to_pir").glob("*.json"))]
    assert len(answers) == 40
    for at, a in enumerate(answers):
        write_served(
            tmp_path / "sets" / str(at),
            1000 + at,
            sections=[a["section_number"]],
            tsv=a["affine_2d"],
            tvr=a["affine_3d"],
            space=9 if a["axis"] == "coronal" else 10,
            first_image_id=10_000 + at,
            thickness_um=a.get("section_thickness", 25.0),
        )
    client = client_over([tmp_path / "sets"], tmp_path / "cache")
    for at, a in enumerate(answers):
        place = {"x": a["x"], "y": a["y"]}
        found = client.get(f"/api/v2/image_to_reference/{10_000 + at}.json", params=place).json()
        point = found["msg"]["image_to_reference"]
        np.testing.assert_allclose([point[n] for n in "xyz"], [a["p"], a["i"], a["r"]], rtol=0, atol=1e-3)


def test_recorded_reference_to_image(ish_data: Path, tmp_path: Path) -> None:
    answers = [json.loads(f.read_text()) for f in sorted((ish_data / "image_sync/pir_to_xy").glob("*.json"))]
    assert len(answers) == 20
    for at, a in enumerate(answers):
        tvs, trv = np.array(a["affine_2d"]), np.array(a["affine_3d"])
        write_served(
            tmp_path / "sets" / str(at),
            1000 + at,
            sections=[a["section_number"]],
            tsv=affine.invert(tvs),
            tvr=affine.invert(trv),
            tvs=tvs,
            trv=trv,
            space=9 if a["axis"] == "coronal" else 10,
            first_image_id=10_000 + at,
        )
    client = client_over([tmp_path / "sets"], tmp_path / "cache")
    for at, a in enumerate(answers):
        space = 9 if a["axis"] == "coronal" else 10
        point = {"x": a["p"], "y": a["i"], "z": a["r"], "section_data_set_ids": 1000 + at}
        found = client.get(f"/api/v2/reference_to_image/{space}.json", params=point).json()
        (one,) = found["msg"]
        assert one["image_sync"]["section_number"] == a["section_number"]
        assert one["image_sync"]["section_image_id"] == 10_000 + at
        place = one["image_sync"]["x"], one["image_sync"]["y"]
        np.testing.assert_allclose(place, [a["x"], a["y"]], rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[TestClient, Path]:
    """A coronal and a sagittal data set that overlap."""
    folder = tmp_path_factory.mktemp("two")
    coronal = [[0.0, 0.0, -1.0, 13000.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 100.0]]
    write_served(folder / "sets/a", 1, sections=range(10, 400, 8), tvr=coronal, first_image_id=100)
    write_served(folder / "sets/b", 2, sections=range(8, 200, 8), space=10, first_image_id=500)
    return client_over([folder / "sets"], folder / "cache"), folder


def _msg(client: TestClient, path: str, **parameters: object) -> list[dict[str, dict[str, float]]]:
    answer = client.get(f"/api/v2/{path}", params=parameters)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    assert list(answer.json())[5] == "msg"
    return answer.json()["msg"]  # type: ignore[no-any-return]


def test_image_to_image_is_that_of_the_command(two: tuple[TestClient, Path]) -> None:
    client, folder = two
    source, target = (open_alignment(folder / "sets" / name) for name in "ab")
    (found,) = _msg(client, "image_to_image/110.json", x=3000, y=2000, section_data_set_ids=2)
    number, points = sync.image_to_image(source, target, 90, [[3000, 2000]])
    assert found["image_sync"]["section_number"] == number[0]
    np.testing.assert_allclose([found["image_sync"]["x"], found["image_sync"]["y"]], points[0])
    # the flip between spaces 9 and 10: R of the point is mirrored
    p, i, r = sync.image_to_reference(source, 90, [[3000, 2000]])[0]
    (other,) = _msg(client, "reference_to_image/9.json", x=p, y=i, z=r, section_data_set_ids=2)
    (mirrored,) = _msg(client, "reference_to_image/10.json", x=p, y=i, z=11400 - r, section_data_set_ids=2)
    assert found == other == mirrored


def test_beyond_the_series_its_ends_answer(two: tuple[TestClient, Path]) -> None:
    client, _ = two
    for z, number in ((-9e4, 8), (9e4, 192)):
        (found,) = _msg(client, "reference_to_image/10", x=5000, y=3000, z=z, section_data_set_ids=2)
        assert found["image_sync"]["section_number"] == number


def test_image_to_image_2d_takes_the_sections_that_are_named(two: tuple[TestClient, Path]) -> None:
    client, _ = two
    found = _msg(client, "image_to_image_2d/505.json", x=700.5, y=800, section_image_ids="501,510")
    assert [one["image_sync"]["section_image_id"] for one in found] == [501, 510]
    assert all((one["image_sync"]["x"], one["image_sync"]["y"]) == (700.5, 800.0) for one in found)


def test_xml_is_as_clients_in_r_read_it(two: tuple[TestClient, Path]) -> None:
    client, _ = two
    query = {"x": 5000, "y": 3000, "z": 2000, "section_data_set_ids": "2,1"}
    root = ElementTree.fromstring(client.get("/api/v2/reference_to_image/10.xml", params=query).content)
    (listed,) = root
    assert (root.tag, listed.tag) == ("Response", "image-sync-helper-image-syncs")
    names = ["section-data-set-id", "section-image-id", "section-number", "x", "y"]
    assert [[field.tag for field in one] for one in listed] == [names, names]
    assert listed.find("images-sync-helper-images-syncs/section-data-set-id").text == "2"  # type: ignore[union-attr]
    assert not any(field.attrib for one in listed for field in one)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("image_to_reference/99.json?x=1&y=1", 404, "SectionImage 99: not served here; served are 100, 101"),
        ("image_to_reference/abc.json?x=1&y=1", 400, "expected an id"),
        ("image_to_reference/100.csv?x=1&y=1", 404, "expected .json or .xml"),
        ("image_to_reference/100.json?x=1", 400, "y: expected a number, got none"),
        ("image_to_reference/100.json?x=nan&y=1", 400, "expected a number between"),
        ("image_to_reference/100.json?x=1e308&y=1", 400, "expected a number between"),
        ("reference_to_image/11.json?x=1&y=1&z=1&section_data_set_ids=1", 404, "served are 9"),
        ("reference_to_image/9.json?x=1&y=1&z=1&section_data_set_ids=7", 404, "served are 1, 2"),
        ("reference_to_image/9.json?x=1&y=1&z=1", 400, "expected ids of SectionDataSets"),
        ("reference_to_image/9.json?x=1&y=1&z=1&section_data_set_ids=" + "1," * 5001, 400, "at most 5000"),
        ("structure_to_image/1.json?structure_ids=8", 404, "the reference is not known"),
    ],
)
def test_bad_requests_name_what_exists(
    two: tuple[TestClient, Path], path: str, status: int, said: str
) -> None:
    answer = two[0].get(f"/api/v2/{path}")
    document = answer.json()
    assert (answer.status_code, document["success"]) == (status, False)
    assert said in document["msg"]
    assert "\n" not in document["msg"]
