"""The files of the pages as they are served, and the endpoints that only pages need so far."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import ID
from PIL import Image
from service_cases import client_over
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from pipeline.cli.view import first_page
from pipeline.core.model import MIDLINE_UM
from pipeline.geometry import sync
from pipeline.inputs.alignments import open_alignment
from pipeline.inputs.references import open_reference
from pipeline.service.content.catalogue import Catalogue, Entry
from pipeline.service.http.security import Guard
from pipeline.service.pages.files import STATIC, digest_of, read_files
from pipeline.service.pages.routes import PAGES, imported, routes
from pipeline.store.run import RunFolder

V1 = "/ish/v1"


@pytest.fixture(scope="module")
def client(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    return client_over([finished], tmp_path_factory.mktemp("cache"))


def test_every_page_names_files_that_are_served(client: TestClient) -> None:
    for path in PAGES:
        answer = client.get(path.replace("{id:int}", ID))
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "<title>" in answer.text
        assert "{{" not in answer.text
        named = re.findall(r'(?:href|src)="(/pages/[^"]+)"', answer.text)
        assert len(named) > 5
        for url in named:
            found = client.get(url)
            assert found.status_code == 200, url
            assert "immutable" in found.headers["cache-control"]


def test_no_script_is_inline_and_no_address_is_of_another_host() -> None:
    own = {name: one.content.decode() for name, one in read_files().items() if not name.startswith("vendor/")}
    assert not re.search(r"<script(?![^>]*\bsrc=)", own["page.html"])
    for name, text in own.items():
        hosts = set(re.findall(r"https?://[^/'\"`\s]+", text)) - {"http://www.w3.org"}
        assert not hosts, name


def test_files_are_packed_and_not_sent_again(client: TestClient) -> None:
    (url,) = set(re.findall(r'src="([^"]+)"', client.get("/").text))
    packed = client.get(url, headers={"Accept-Encoding": "gzip"})
    plain = client.get(url, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    written = (STATIC / "js/main.js").read_text().splitlines()
    assert plain.text.splitlines() == ["" if one.startswith("//") else one.lstrip() for one in written]
    assert client.get(url, headers={"If-None-Match": plain.headers["etag"]}).status_code == 304
    page = client.get("/")
    assert client.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
    assert client.get("/pages/0/no.js").status_code == 404
    for path in ("..%2f..%2fapp.py", "../files.py", "js/../../routes.py"):
        assert client.get(f"/pages/0/{path}").status_code == 404


def test_slimmed_modules_keep_their_lines_and_libraries_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "vendor").mkdir()
    text = "// why\nif (a) {\n  // what\n  b('//'); // kept\n}\n"
    for name in ("own.js", "vendor/other.js"):
        (tmp_path / name).write_text(text)
    found = read_files(tmp_path)
    assert found["own.js"].content.decode() == "\nif (a) {\n\nb('//'); // kept\n}\n"
    assert found["vendor/other.js"].content.decode() == text


@pytest.mark.parametrize("path", ["/nothing", "/experiment/xyz", "/experiments/5", "/sync/1"])
def test_browsers_get_a_page_for_an_address_that_does_not_exist(client: TestClient, path: str) -> None:
    page = client.get(path, headers={"Accept": "text/html,*/*"})
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert 'src="/pages/' in page.text
    program = client.get(path, headers={"Accept": "*/*"})
    assert program.status_code == 404
    assert "no such address" in program.json()["msg"]


def test_programs_that_take_html_still_get_json_of_the_api(client: TestClient) -> None:
    answer = client.get("/api/v2/nothing", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()["success"]) == (404, False)


def test_the_hull_is_closed_and_its_normals_point_outwards(client: TestClient) -> None:
    values = np.frombuffer(client.get(f"{V1}/hull").content, "<f4")
    count, triangles = values[:2].astype(int)
    vertices, normals = np.hsplit(values[2 : 2 + 6 * count].reshape(-1, 6), 2)
    faces = values[2 + 6 * count :].astype(int).reshape(triangles, 3)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there = {tuple(edge) for edge in edges.tolist()}
    assert len(there) == len(edges)
    assert all((b, a) in there for a, b in there)  # each edge is met from both sides
    reference = open_reference(None, None)
    step = round(200 / reference.annotation_um)
    inside = (reference.annotation[::step, ::step, ::step] > 0).sum() * (step * reference.annotation_um) ** 3
    corners = vertices[faces].astype(float)
    volume = np.einsum("ni,ni->n", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume == pytest.approx(inside, rel=0.03)  # above 0: anticlockwise from outside
    turned = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("ni,ni->n", turned, normals[faces[:, 0]]) > 0).mean() > 0.97


def test_modules_are_found_through_their_imports() -> None:
    files = read_files()
    found = imported(files, ["js/experiment.js"])
    assert {"js/stage.js", "js/sheet.js", "vendor/preact.js", "vendor/signals-core.js"} <= set(found)
    assert "js/home.js" not in found
    assert len(found) == len(set(found))


def test_libraries_are_those_that_were_listed() -> None:
    listed = json.loads((STATIC / "vendor" / "vendored.json").read_text())
    there = {path.name for path in (STATIC / "vendor").iterdir()} - {"vendored.json"}
    assert {one["file"] for one in listed} == there
    for one in listed:
        content = (STATIC / "vendor" / one["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == one["sha256"], one["file"]
        assert one["licence"]


def test_all_code_of_all_pages_is_small() -> None:
    files = read_files()
    assert sum(len(one.packed) for name, one in files.items() if name.endswith((".js", ".css"))) <= 150_000


def test_digest_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("1")
    before = read_files(tmp_path)
    (tmp_path / "a.js").write_text("2")
    after = read_files(tmp_path)
    assert digest_of(before) != digest_of(after)
    assert gzip.decompress(after["a.js"].packed) == b"2"


def test_a_page_that_was_opened_with_the_token_carries_it() -> None:
    guard = Middleware(Guard, ("localhost",), None, "secret")
    client = TestClient(Starlette(routes=routes(None), middleware=[guard]), base_url="http://localhost")  # type: ignore[arg-type]
    assert client.get("/").status_code == 401
    cookie = client.get("/?token=secret").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/").status_code == 200
    assert TestClient(client.app, base_url="http://localhost").get("/?token=other").status_code == 401


def test_places_are_those_of_image_sync(client: TestClient, finished: Path) -> None:
    series = open_alignment(finished)
    sections = client.get(f"{V1}/experiments/{ID}").json()["msg"]["section_images"]
    one = sections[2]
    asked = {"x": 300.5, "y": 210.25, "experiments": ID}
    found = client.get(f"{V1}/sections/{one['id']}/places", params=asked).json()["msg"]
    (point,) = sync.image_to_reference(series, one["section_number"], [[300.5, 210.25]])
    assert found["place"]["point_um"] == pytest.approx(point)
    (there,) = found["places"]
    assert there["section_image_id"] == one["id"]
    assert (there["x"], there["y"]) == pytest.approx((300.5, 210.25), abs=0.05)
    moved = sync.image_to_reference(series, one["section_number"], [[310.5, 210.25], [300.5, 220.25]])
    assert np.array(found["place"]["axes_um"]) * 10 == pytest.approx(moved - point, abs=2.0)


def test_a_series_of_one_hemisphere_shows_the_mirror_image(client: TestClient, finished: Path) -> None:
    series = open_alignment(finished)
    (left,) = sync.image_to_reference(series, 26, [[300, 200]])
    right = [left[0], left[1], 2 * MIDLINE_UM - left[2]]
    places = []
    for point in (left, right):
        asked = dict(zip("pir", point, strict=True)) | {"reference_space_id": 10, "experiments": ID}
        places += client.get(f"{V1}/places", params=asked).json()["msg"]
    assert [place["mirrored"] for place in places] == [False, True]
    assert places[0]["section_number"] == places[1]["section_number"] == 26
    assert places[1]["point_um"] == pytest.approx(right, abs=1.0)
    assert places[1]["axes_um"][0][2] == pytest.approx(-places[0]["axes_um"][0][2])


def test_an_experiment_without_a_place_spares_the_others(client: TestClient) -> None:
    asked = {"p": 6000, "i": 3000, "r": 4000, "experiments": f"5,{ID}"}
    missing, there = client.get(f"{V1}/places", params=asked).json()["msg"]
    assert "not served here" in missing["message"]
    assert missing["point_um"] is None
    assert there["message"] is None
    assert client.get(f"{V1}/places", params=asked | {"experiments": "1,x"}).status_code == 400
    assert client.get(f"{V1}/places", params=asked | {"experiments": ",".join(["1"] * 25)}).status_code == 400


@pytest.mark.parametrize(("plane", "normal"), [("coronal", 0), ("horizontal", 1), ("sagittal", 2)])
def test_plates_show_the_annotation(client: TestClient, plane: str, normal: int) -> None:
    reference = open_reference(None, None)
    about = client.get(f"{V1}/plates/{plane}").json()["msg"]
    assert about["planes"] == reference.annotation.shape[normal]
    there = np.flatnonzero(np.moveaxis(reference.annotation, normal, 0).any(axis=(1, 2)))
    assert about["first_um"] == there[0] * reference.annotation_um
    at = float(there[len(there) // 2] * reference.annotation_um)
    drawing = client.get(f"{V1}/plates/{plane}/drawing", params={"at_um": at}).text
    shown = {int(n) for n in re.findall(r'structure_id="(\d+)"', drawing)}
    expected = np.unique(np.moveaxis(reference.annotation, normal, 0)[there[len(there) // 2]])
    assert shown == set(expected.tolist()) - {0}
    for annotation in ("true", "false"):
        asked = {"at_um": at, "annotation": annotation, "downsample": 3}
        answer = client.get(f"{V1}/plates/{plane}/picture", params=asked)
        assert answer.headers["content-type"] == "image/jpeg"
    beyond = client.get(f"{V1}/plates/{plane}/drawing", params={"at_um": 99_999})
    assert beyond.status_code == 400
    assert plane in beyond.json()["msg"]


def test_reduced_image_of_an_experiment_is_that_of_its_middle(client: TestClient) -> None:
    one = client.get(f"{V1}/experiments/{ID}").json()["msg"]["section_images"]
    assert all(section["has_thumbnail"] for section in one)
    mine = client.get(f"{V1}/experiments/{ID}/thumbnail", params={"size": 64})
    known = [client.get(f"{V1}/sections/{s['id']}/thumbnail", params={"size": 64}).content for s in one]
    assert mine.content in known[2:4]
    with Image.open(BytesIO(mine.content)) as picture:
        assert max(picture.size) <= 64


def test_spheres_name_their_structures(client: TestClient, finished: Path) -> None:
    reference = open_reference(None, None)
    asked = {"structures": "true", "most": 200}
    found = client.get(f"{V1}/experiments/{ID}/spheres", params=asked).json()["msg"]
    orders = {one.id: one.graph_order for one in reference.ontology.structures}
    for point, order in zip(found["points_um"], found["graph_order"], strict=True):
        index = tuple(np.rint(np.array(point) / reference.annotation_um).astype(int))
        assert order == orders.get(int(reference.annotation[index]), -1)
    rows = client.get(f"{V1}/experiments/{ID}/spheres", params=asked | {"form": "binary"}).content
    assert np.frombuffer(rows, "<f4").reshape(-1, 7)[:, 6].tolist() == found["graph_order"]
    grid = RunFolder(finished).read_grid()["energy"]
    assert found["energy"][0] == pytest.approx(float(grid.max()))


def test_centre_of_a_structure(client: TestClient) -> None:
    found = client.get(f"{V1}/structure_centre", params={"structure": "grey"}).json()["msg"]
    assert found["structure_id"] == 8
    assert found["point_um"][2] < MIDLINE_UM
    assert client.get(f"{V1}/structure_centre", params={"structure": "nothing"}).status_code == 404


def test_view_opens_the_only_experiment() -> None:
    one, other = (Entry(n, "", "", True, {}, {}) for n in (7, 8))
    assert first_page(Catalogue({}, {}, (one,))) == "/experiment/7"
    assert first_page(Catalogue({}, {}, (one, other))) == "/"
