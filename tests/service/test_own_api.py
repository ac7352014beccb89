"""/ish/v1: its answers are those of its OpenAPI document and of the run, and bad requests are refused."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ID
from PIL import Image
from service_cases import client_over
from starlette.testclient import TestClient

from pipeline.formats.tables.tables import read_table
from pipeline.geometry import sync
from pipeline.inputs.alignments import open_alignment
from pipeline.inputs.references import open_reference
from pipeline.search.index import open_index
from pipeline.search.indexing import index_folders
from pipeline.service.http.answers import RequestError
from pipeline.service.own import endpoint, places
from pipeline.store.run import RunFolder

V1 = "/ish/v1"


@pytest.fixture(scope="module")
def client(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    return client_over([finished], tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def sections(client: TestClient) -> list[dict[str, Any]]:
    return client.get(f"{V1}/experiments/{ID}").json()["msg"]["section_images"]  # type: ignore[no-any-return]


def _msg(client: TestClient, path: str, **parameters: Any) -> Any:
    answer = client.get(V1 + path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()["msg"]


def test_lists_tell_what_the_run_tells(
    client: TestClient, finished: Path, sections: list[dict[str, Any]]
) -> None:
    (one,) = _msg(client, "/experiments")
    document = json.loads((finished / "section_data_set.json").read_text())
    assert (one["id"], one["gene"], one["sections"]) == (int(ID), document["gene"], {"pass": 6})
    assert [s["section_number"] for s in sections] == [10, 18, 26, 34, 42, 50]
    errors = [i["quality"].get("estimated_error_um") for i in document["section_images"]]
    assert [s["estimated_error_um"] for s in sections] == errors
    assert all(s["has_image"] and s["has_mask"] and s["aligned"] for s in sections)
    assert _msg(client, "/experiments", text="PHANT", plane_of_section="sagittal") == [one]
    assert (
        _msg(client, "/experiments", text="other")
        == _msg(client, "/experiments", plane_of_section="coronal")
        == []
    )


def test_unionize_is_the_table_of_the_run(client: TestClient, finished: Path) -> None:
    table = read_table(finished / "structure_unionize.parquet")
    found = _msg(client, f"/experiments/{ID}/unionize", structure="grey", hemisphere_id=1)
    (row,) = [
        at for at, one in enumerate(table["structure_id"]) if one == 8 and table["hemisphere_id"][at] == 1
    ]
    assert found == {name: [table[name][row]] for name in found}
    everything = _msg(client, f"/experiments/{ID}/unionize")
    assert everything["structure_id"] == table["structure_id"]
    assert set(everything) == set(table) - {"section_data_set_id"}
    causes = [name for name in table if name.startswith("section_energy_share_")]
    total = np.nansum([np.array(everything[name], float) for name in causes], axis=0)
    assert np.all(np.isclose(total, 1) | (total == 0))
    assert np.any(total > 0)
    few = _msg(client, f"/experiments/{ID}/unionize", columns="section_energy, coverage")
    assert list(few) == ["structure_id", "hemisphere_id", "coverage", "section_energy"]
    assert few["section_energy"] == everything["section_energy"]
    below = _msg(client, f"/experiments/{ID}/unionize", structure="8", descendants="true")
    assert 1 < len(below["structure_id"]) < len(table["structure_id"])


def test_points_are_those_of_image_sync(
    client: TestClient, finished: Path, sections: list[dict[str, Any]]
) -> None:
    series = open_alignment(finished)
    pixels = np.random.default_rng(0).uniform(0, 600, (50, 2))
    one = sections[2]
    answer = client.post(f"{V1}/sections/{one['id']}/to_reference", json={"points": pixels.tolist()})
    expected = sync.image_to_reference(series, one["section_number"], pixels)
    np.testing.assert_allclose(answer.json()["msg"]["points_um"], expected, rtol=1e-15)
    binary = client.post(
        f"{V1}/experiments/{ID}/to_sections",
        content=expected.astype("<f8").tobytes(),
        headers={"Content-Type": "application/octet-stream"},
    )
    rows = np.frombuffer(binary.content, "<f8").reshape(-1, 3)
    numbers, points = sync.reference_to_image(series, expected)
    np.testing.assert_array_equal(rows, np.column_stack([numbers, points]))
    other = client.post(
        f"{V1}/experiments/{ID}/to_sections",
        json={"points": (expected * [1, 1, -1] + [0, 0, 11400]).tolist()},
        params={"reference_space_id": 9},
    ).json()["msg"]
    np.testing.assert_allclose(other["points_px"], points, atol=1e-6)
    assert other["section_image_ids"][0] == one["id"]


def test_structures_at_points_are_those_of_the_annotation(
    client: TestClient, sections: list[dict[str, Any]]
) -> None:
    reference = open_reference(None, None)
    rng = np.random.default_rng(1)
    for point in rng.uniform(0, reference.extent_um, (40, 3)):
        found = _msg(client, "/structure_at", **dict(zip("pir", map(float, point), strict=True)))
        index = np.rint(point / reference.annotation_um).astype(int)
        inside = (index < reference.annotation.shape).all()
        label = int(reference.annotation[tuple(index)]) if inside else 0
        assert (found["structure"] or {"id": 0})["id"] == label
    one = sections[3]
    there = _msg(client, f"/sections/{one['id']}/structure_at", x=one["width_px"] / 2, y=one["height_px"] / 2)
    p, i, r = there["point_um"]
    assert there["structure"] == _msg(client, "/structure_at", p=p, i=i, r=r)["structure"] != None  # noqa: E711


def test_spheres_are_the_voxels_of_the_grid(client: TestClient, finished: Path) -> None:
    grid = RunFolder(finished).read_grid()
    found = _msg(client, f"/experiments/{ID}/spheres", threshold=1.0)
    voxels = (np.array(found["points_um"]) / 200).astype(int)
    assert len(voxels) == (grid["energy"] > 1).sum()
    np.testing.assert_allclose(found["energy"], grid["energy"][tuple(voxels.T)], rtol=1e-6)
    assert found["energy"] == sorted(found["energy"], reverse=True)
    binary = client.get(f"{V1}/experiments/{ID}/spheres", params={"threshold": 1.0, "form": "binary"}).content
    rows = np.frombuffer(binary, "<f4").reshape(-1, 6)
    np.testing.assert_allclose(rows[:, 3], found["energy"], rtol=1e-6)
    np.testing.assert_allclose(rows[:, 5], grid["density"][tuple(voxels.T)], rtol=1e-6)


def test_projections_have_the_sides_of_the_grid(client: TestClient, tmp_path: Path) -> None:
    for view, size in (("coronal", (58, 41)), ("horizontal", (58, 67)), ("sagittal", (67, 41))):
        for what, at in (("projection", {}), ("plane", {"at_um": 3000})):
            answer = client.get(f"{V1}/experiments/{ID}/{what}", params={"view": view, "zoom": 2, **at})
            (tmp_path / "p.png").write_bytes(answer.content)
            with Image.open(tmp_path / "p.png") as picture:
                assert picture.size == (2 * size[0], 2 * size[1])


def test_a_plane_is_that_of_the_grid(client: TestClient, finished: Path, tmp_path: Path) -> None:
    energy = RunFolder(finished).read_grid()["energy"]
    answer = client.get(f"{V1}/experiments/{ID}/plane", params={"view": "sagittal", "at_um": 1200})
    (tmp_path / "p.png").write_bytes(answer.content)
    with Image.open(tmp_path / "p.png") as picture:
        alpha = np.asarray(picture)[..., 3]
    np.testing.assert_array_equal(alpha.T > 0, energy[:, :, 6] >= 0)  # P runs to the right


def test_search_is_that_of_an_index(client: TestClient, finished: Path, tmp_path: Path) -> None:
    index_folders([finished], tmp_path / "index")
    expected = open_index(tmp_path / "index").differential("grey", "root")
    found = _msg(client, "/search/differential", target="grey", contrast="root")
    assert found["rows"][0]["fold_change"] == expected.rows()[0]["fold_change"]
    assert _msg(client, "/search/correlation", seed=ID)["rows"][0]["r"] == pytest.approx(1.0)


def test_the_thumbnail_is_there_when_the_image_has_moved(
    client: TestClient, sections: list[dict[str, Any]]
) -> None:
    answer = client.get(f"{V1}/sections/{sections[0]['id']}/thumbnail", params={"size": 64})
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content[:2] == b"\xff\xd8"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/experiments/7", 404, f"served are {ID}"),
        ("/experiments/x", 400, "expected a whole number"),
        ("/experiments?plane_of_section=coronel", 400, "did you mean coronal?"),
        ("/experiments?plane_of_sectoin=coronal", 400, "did you mean plane_of_section?"),
        ("/experiments?num_rows=0", 400, "from 1 to 25000"),
        (f"/experiments/{ID}/unionize?structure=Gry", 404, "not an id or acronym"),
        (f"/experiments/{ID}/unionize?columns=energy", 400, "expected some of structure_id"),
        (f"/experiments/{ID}/plane?at_um=90000", 400, "for a coronal plane"),
        (f"/experiments/{ID}/projection?zoom=1e9", 400, "expected a whole number from 1 to 16"),
        ("/structure_at?p=1&i=2", 400, "r: expected"),
        ("/structure_at?p=1&i=2&r=inf", 400, "expected a number"),
        ("/search/differential?target=XYZ&contrast=grey", 404, "not an id or acronym"),
        ("/search/differential?target=TH&contrast=grey&target_threshold=5", 400, "min,max"),
        ("/search/differential?contrast=grey", 400, "target: expected"),
        ("/search/correlation?seed=5", 404, "seed"),
        (f"/experiments/{2**63 - 1}", 404, f"served are {ID}"),
        (f"/experiments/{2**63}", 400, "expected a whole number"),
        (f"/experiments/{ID}/to_sections", 405, "expected POST, got GET"),
    ],
)
def test_bad_requests_say_what_was_expected(client: TestClient, path: str, status: int, said: str) -> None:
    answer = client.get(V1 + path)
    assert (answer.status_code, answer.json()["success"]) == (status, False), answer.text
    assert said in answer.json()["msg"]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"points": 5}', b'{"points": [[1, 2]]}', b'{"points": [[1, 2, "3"]]}',
     b'{"points": [[1,2,1e400]]}', b'{"points": [[1,2,3]], "more": 1}', b'{"points": [[1,2,true]]}', b"\xff"],
)  # fmt: skip
def test_bad_bodies_are_refused(client: TestClient, body: bytes) -> None:
    answer = client.post(f"{V1}/experiments/{ID}/to_sections", content=body)
    assert answer.status_code == 400
    assert "expected" in answer.json()["msg"]


def test_the_document_states_all_bounds(client: TestClient) -> None:
    document = client.get(f"{V1}/openapi.json").json()
    for path, operations in document["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", ()):
            schema = parameter["schema"]
            if schema["type"] in ("integer", "number"):
                assert schema["minimum"] <= schema.get("default", schema["minimum"]) <= schema["maximum"], (
                    path
                )
    (threshold,) = [
        one["schema"]
        for one in document["paths"][f"{V1}/search/differential"]["get"]["parameters"]
        if one["name"] == "target_threshold"
    ]
    for text, good in (("1,50", True), (",5", True), ("0.5,", True), ("5", False), ("a,b", False)):
        assert bool(re.search(threshold["pattern"], text)) is good
        status = client.get(
            f"{V1}/search/differential", params={"target": "TH", "contrast": "grey", "target_threshold": text}
        ).status_code
        assert status == (200 if good else 400)


@pytest.mark.parametrize("body", [b"[1,2]," * 20 + b"[1,2]", b"[" + b"1," * 41 + b"1]"])
def test_too_many_points_are_refused_before_they_are_parsed(
    client: TestClient, sections: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    def parsed(text: bytes) -> None:
        pytest.fail("parsed")

    monkeypatch.setattr(places, "MOST_POINTS", 20)
    address = f"{V1}/sections/{sections[0]['id']}/to_reference"
    most = b'{"points": [' + b"[1,2]," * 19 + b"[1,2]]}"
    assert len(client.post(address, content=most).json()["msg"]["points_um"]) == 20
    monkeypatch.setattr(places.orjson, "loads", parsed)
    answer = client.post(address, content=b'{"points": [' + body + b"]}")
    assert answer.status_code == 400
    assert "at most 20" in answer.json()["msg"]


def test_bodies_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sent:
        def __init__(self, *parts: bytes) -> None:
            self.parts = parts

        async def stream(self) -> AsyncIterator[bytes]:
            for part in self.parts:
                yield part

    async def case() -> None:
        bodies = endpoint.Bodies()
        for _ in range(2):
            async with bodies.body_of(Sent(b"1234", b"5678")) as first:  # type: ignore[arg-type]
                assert first == b"12345678"
                with pytest.raises(RequestError) as refusal:
                    async with bodies.body_of(Sent(b"abc")):  # type: ignore[arg-type]
                        pytest.fail("more than may be held")
                assert refusal.value.status == 503
            with pytest.raises(RequestError) as refusal:
                async with bodies.body_of(Sent(b"123456789")):  # type: ignore[arg-type]
                    pytest.fail("larger than one may be")
            assert refusal.value.status == 413

    monkeypatch.setattr(endpoint, "MOST_BODY", 8)
    monkeypatch.setattr(endpoint, "MOST_BODIES", 10)
    asyncio.run(case())
