"""What is served of a real run: grids, zarr, numbers of sections, changes while it is served."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from conftest import ID, Ish, vouch
from service_cases import client_over, write_served
from starlette.testclient import TestClient

from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import GRID_200
from pipeline.formats.tables.tables import read_table, write_table
from pipeline.service.app import create_app
from pipeline.service.content.loading import Loaded
from pipeline.service.content.numbering import FIRST, LAST, Numbers
from pipeline.service.content.scan import Found
from pipeline.service.reference_files import field_file_rows
from pipeline.service.rows import database
from pipeline.store.run import RunFolder


@pytest.fixture(scope="module")
def client(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    return client_over([finished], tmp_path_factory.mktemp("cache"))


def _unzipped(client: TestClient, path: str) -> dict[str, bytes]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
        return {name: archive.read(name) for name in archive.namelist()}


def test_grids_are_those_of_the_run_byte_for_byte(client: TestClient, finished: Path, tmp_path: Path) -> None:
    members = _unzipped(client, f"/grid_data/download/{ID}?include=energy,density,intensity")
    assert members.keys() == {f"{n}.{e}" for n in ("energy", "density", "intensity") for e in ("mhd", "raw")}
    for name, content in members.items():
        assert content == (finished / "grid" / name).read_bytes()
        (tmp_path / name).write_bytes(content)
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "energy.mhd"))).transpose(2, 1, 0)
    np.testing.assert_array_equal(read, RunFolder(finished).read_grid()["energy"])


def test_the_description_comes_only_without_include(client: TestClient, tmp_path: Path) -> None:
    members = _unzipped(client, f"/grid_data/download/{ID}")
    assert set(members) == {"data_set.xml", "energy.mhd", "energy.raw"}
    folder = tmp_path / "sets" / "described"
    folder.mkdir(parents=True)
    for name, content in members.items():
        (folder / name).write_bytes(content)
    again = client_over([folder], tmp_path / "cache")  # what is served can be served
    ids = [one["id"] for one in client.get(f"/ish/v1/experiments/{ID}").json()["msg"]["section_images"]]
    assert ids == [
        one["id"] for one in again.get(f"/ish/v1/experiments/{ID}").json()["msg"]["section_images"]
    ]


def test_the_slip_of_the_documentation_is_understood(client: TestClient) -> None:
    assert set(_unzipped(client, f"/grid_data/download/{ID}&include=density")) == {
        "density.mhd",
        "density.raw",
    }


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (f"/grid_data/download/{ID}?include=enrgy", 400, "did you mean energy?"),
        ("/grid_data/download/5", 404, f"served are {ID}"),
        (f"/zarr/{ID}/grid.zarr/../provenance.json", 404, "expected one of"),
        (f"/zarr/{ID}/grid.zarr/%2e%2e/provenance.json", 404, "no such file"),
        (f"/zarr/{ID}/provenance.json", 404, "expected one of"),
        (f"/zarr/{ID}/grid.zarr//etc/passwd", 404, "no such file"),
        (f"/zarr/{ID}/grid.zarr/zarr.json%00", 404, "expected one of"),
        ("/nothing", 404, "no such address"),
    ],
)
def test_what_is_not_served_is_said(client: TestClient, path: str, status: int, said: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert said in answer.json()["msg"]


def test_links_do_not_lead_out_of_a_store(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / ID)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / ID / "grid.zarr" / "link").symlink_to(tmp_path / "secret")
    client = client_over([tmp_path / ID], tmp_path / "cache")
    assert client.get(f"/zarr/{ID}/grid.zarr/link").status_code == 404


def test_zarr_is_served_with_ranges(client: TestClient, finished: Path) -> None:
    path = next(p for p in (finished / "expression.zarr").rglob("c/0/0"))
    content = path.read_bytes()
    address = f"/zarr/{ID}/{path.relative_to(finished)}"
    assert client.get(address).content == content
    last = client.get(address, headers={"Range": "bytes=-20"})
    assert (last.status_code, last.content) == (206, content[-20:])
    assert client.get(address, headers={"Range": "bytes=4-9"}).content == content[4:10]
    assert client.get(address, headers={"Range": f"bytes={len(content)}-"}).status_code == 416


def test_zarr_is_sent_again_only_where_it_changed(client: TestClient) -> None:
    address = f"/zarr/{ID}/grid.zarr/zarr.json"
    first = client.get(address)
    for headers in (
        {"If-None-Match": first.headers["etag"]},
        {"If-None-Match": f'"other", W/{first.headers["etag"]}'},
        {"If-Modified-Since": first.headers["last-modified"]},
    ):
        again = client.get(address, headers=headers)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    assert client.get(address, headers={"If-None-Match": '"other"'}).content == first.content


def test_rows_that_no_server_used_for_a_month_make_room(finished: Path, tmp_path: Path) -> None:
    old, recent = (tmp_path / f"models-{name}.sqlite" for name in ("old", "recent"))
    for path in (old, old.with_name("models-old.sqlite-wal"), recent):
        path.write_bytes(b"")
    os.utime(old, (0, time.time() - 31 * 86400))
    client_over([finished], tmp_path)
    mine = [path for path in tmp_path.glob("models-*.sqlite") if path != recent]
    assert not old.exists()
    assert recent.exists()
    assert not (tmp_path / "models-old.sqlite-wal").exists()
    os.utime(mine[0], (0, 0))
    client_over([finished], tmp_path)
    assert mine[0].stat().st_mtime > time.time() - 3600  # one in use stays for others


def test_numbers_are_the_same_with_another_cache(client: TestClient, finished: Path, tmp_path: Path) -> None:
    other = client_over([finished], tmp_path)
    both = [c.get(f"/ish/v1/experiments/{ID}").json()["msg"] for c in (client, other)]
    assert both[0] == both[1]
    ids = [one["id"] for one in both[0]["section_images"]]
    assert len(set(ids)) == len(ids)
    assert all(FIRST <= one <= LAST < 2**31 for one in ids)


def test_numbers_that_meet_are_told_apart(tmp_path: Path) -> None:
    numbers = Numbers(tmp_path / "ids.sqlite")
    assert numbers.of("image", ["a", "b"], {"a": 7, "b": 7})["a"] == 7
    kept = Numbers(tmp_path / "ids.sqlite").of("image", ["b", "a"])
    assert kept == {"a": 7, "b": numbers.of("image", ["b"])["b"]}
    assert kept["b"] != 7
    assert numbers.of("gene", ["a"], {"a": 7}) == {"a": 7}  # kinds are numbered apart


def test_runs_that_come_change_and_go_are_followed(finished: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write_served(runs / "first", 5, first_image_id=50)
    app = create_app([runs], cache=tmp_path / "cache")
    client, service = TestClient(app, base_url="http://localhost"), app.state.service
    assert not service.reload()
    shutil.copytree(finished, runs / ID)
    assert service.reload()
    assert client.get(f"/ish/v1/experiments/{ID}").status_code == 200
    before = service.catalogue.experiments[int(ID)].stamp
    (runs / ID / "section_data_set.json").write_bytes((runs / ID / "section_data_set.json").read_bytes())
    service.reload()
    assert service.catalogue.experiments[int(ID)].stamp != before
    shutil.rmtree(runs / ID)
    assert service.reload()
    assert client.get(f"/ish/v1/experiments/{ID}").status_code == 404
    assert client.get("/ish/v1/experiments/5").status_code == 200


def test_structures_state_level_and_facets(client: TestClient) -> None:
    rows = client.get("/api/v2/data/Structure/query.json?num_rows=all").json()["msg"]
    assert all(row["st_level"] == row["depth"] for row in rows)
    facets = {row["name"]: row["structure_name_facet"] for row in rows}
    assert facets["root"] == 385153371  # as published
    assert {row["failed_facet"] for row in rows} == {734881840}
    assert len(set(facets.values())) == len(facets)


def test_data_sets_without_a_grid_do_not_keep_others_from_the_search(finished: Path, tmp_path: Path) -> None:
    write_served(tmp_path / "sets" / "first", 5)
    query = {"q": f"service::mouse_correlation[set$eqmouse][row$eq{ID}]"}
    client = client_over([tmp_path / "sets", finished], tmp_path / "cache")
    answer = client.get("/api/v2/data/query.json", params=query)
    assert answer.status_code == 200, answer.text
    assert [row["id"] for row in answer.json()["msg"]] == [ID]
    alone = client_over([tmp_path / "sets"], tmp_path / "other").get("/api/v2/data/query.json", params=query)
    assert "no experiment with a grid is served" in alone.json()["msg"]


@pytest.mark.parametrize(("status", "listed"), [("missing", 5), ("fail", 5), ("check", 6)])
def test_sections_with_neither_image_nor_place_are_no_section_images(
    finished: Path, tmp_path: Path, status: str, listed: int
) -> None:
    shutil.copytree(finished, tmp_path / ID)
    described, placed = (tmp_path / ID / name for name in ("section_data_set.json", "alignment.json"))
    documents = json.loads(described.read_text()), json.loads(placed.read_text())
    lost = documents[1]["alignment2d"].pop(2)["section_number"]
    for section in documents[0]["section_images"]:
        section["status"] = status if section["section_number"] == lost else section["status"]
    for path, document in zip((described, placed), documents, strict=True):
        path.write_text(json.dumps(document))
    vouch(tmp_path / ID)
    client = client_over([tmp_path / ID], tmp_path / "cache")
    query = "model::SectionImage,rma::include,alignment2d,rma::options[num_rows$eqall]"
    rows = client.get("/api/v2/data/query.json", params={"q": query}).json()["msg"]
    assert len(rows) == listed
    unplaced = [row["section_number"] for row in rows if not row["alignment2d"]]
    assert unplaced == ([lost] if status == "check" else [])


def test_reading_many_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BATCH", 2)
    monkeypatch.setattr(database, "TOLD", 4)
    for number in range(1, 10):
        write_served(tmp_path / "runs" / str(number), number, first_image_id=10 * number)
    said: list[str] = []
    create_app([tmp_path / "runs"], cache=tmp_path / "cache", say=said.append)
    assert [line.partition(";")[0] for line in said] == ["read 4 of 9 experiments", "read 8 of 9 experiments"]
    create_app([tmp_path / "runs"], cache=tmp_path / "cache", say=said.append)
    assert len(said) == 2


def test_a_torn_file_is_a_passing_state(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / ID)
    client = client_over([tmp_path / ID], tmp_path / "cache")
    path = tmp_path / ID / "grid" / "energy.raw"
    path.write_bytes(path.read_bytes()[:-8])
    answer = client.get(f"/grid_data/download/{ID}")
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert "Traceback" not in answer.text


def test_a_table_of_words_leaves_a_run_out(finished: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_served(tmp_path / "runs" / name, ord(name), first_image_id=10 * ord(name))
    run = tmp_path / "runs" / ID
    shutil.copytree(finished, run)
    table = read_table(run / "structure_unionize.parquet")
    table["sum_pixels"] = ["many"] * len(table["sum_pixels"])
    write_table(table, run / "structure_unionize.csv", run / "structure_unionize.parquet")
    vouch(run)
    said: list[str] = []
    app = create_app([tmp_path / "runs"], cache=tmp_path / "cache", say=said.append)
    assert sorted(app.state.service.catalogue.experiments) == [97, 98]
    assert len(said) == 1
    assert "expected columns of numbers" in said[0]


def test_of_two_with_one_id_the_first_is_served(finished: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(finished, tmp_path / "runs" / name)
    notes: list[str] = []
    app = create_app([tmp_path / "runs"], cache=tmp_path / "cache", say=notes.append)
    assert len(app.state.service.catalogue.experiments) == 1
    assert any("same id" in line for line in notes)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "expected a folder of finished runs, got no such folder"),
        (lambda folder: folder.touch(), "expected a folder of finished runs, got a file"),
        (lambda folder: folder.mkdir(), "got an empty folder"),
        (lambda folder: (folder / "x").mkdir(parents=True), "got neither"),
        (lambda folder: (folder.mkdir(), (folder / "s1.JPG").touch()), "got 1 image files; `ish init`"),
        (lambda folder: (folder / "x" / "receipts").mkdir(parents=True), "did not finish"),
    ],
)
def test_a_folder_without_finished_runs_is_one_line_and_2(
    make: object, said: str, tmp_path: Path, ish: Ish, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "runs")  # type: ignore[operator]
    assert ish("serve", tmp_path / "runs", "--cache", tmp_path / "cache", "--port", 0) == 2
    told = capsys.readouterr().err
    assert said in " ".join(told.split())


def test_a_port_in_use_is_one_line_and_2(
    finished: Path, tmp_path: Path, ish: Ish, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert ish("serve", finished, "--cache", tmp_path, "--port", port) == 2
    assert "Address already in use" in capsys.readouterr().err


def test_another_address_needs_a_token(finished: Path, ish: Ish, capsys: pytest.CaptureFixture[str]) -> None:
    assert ish("serve", finished, "--host", "0.0.0.0", "--port", 0) == 2
    assert "--token" in capsys.readouterr().err


def test_a_reference_of_another_brain_is_refused(finished: Path, ish_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="was aligned to, the phantom, got other labels"):
        create_app([finished], cache=tmp_path, reference=ish_data / "reference")
    with pytest.raises(ConfigError, match="expected the folder of a reference"):
        create_app([finished], cache=tmp_path, reference=tmp_path / "none")
    with pytest.raises(ConfigError, match="--index"):
        create_app([finished], cache=tmp_path, index=tmp_path / "none")
    with pytest.raises(DataError):
        create_app([tmp_path / "none"], cache=tmp_path)


def test_genes_of_served_grids_may_be_declared(tmp_path: Path) -> None:
    write_served(tmp_path / "sets" / "one", 5, first_image_id=50)
    write_served(tmp_path / "sets" / "two", 6, first_image_id=60, gene="Nrp1")
    table = "section_data_set_id,gene,plane_of_section\n5,Prox1,coronal\n6,Other,coronal\n"
    (tmp_path / "sets" / "experiments.csv").write_text(table)
    client = client_over([tmp_path / "sets"], tmp_path / "cache")
    query = {"criteria": "model::SectionDataSet,rma::include,genes,rma::options[order$eqid]"}
    rows = client.get("/api/v2/data/query.json", params=query).json()["msg"]
    assert [row["genes"][0]["acronym"] for row in rows] == ["Prox1", "Nrp1"]


def test_what_is_left_out_is_said_once(tmp_path: Path) -> None:
    write_served(tmp_path / "sets" / "a", 1)
    write_served(tmp_path / "sets" / "b", 1)
    said: list[str] = []
    client = client_over([tmp_path / "sets"], tmp_path / "cache", say=said.append)
    service = client.app.state.service  # type: ignore[attr-defined]
    before = service.catalogue
    assert not service.reload()
    assert service.catalogue is before  # with all that is open in it
    assert len(said) == 1
    assert "same id 1" in said[0]
    shutil.rmtree(tmp_path / "sets" / "a")
    assert service.reload()
    assert [entry.folder for entry in service.catalogue.entries] == [str(tmp_path / "sets" / "b")]


def test_an_experiment_with_values_that_fit_no_table_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = database.rows_of_experiment

    def rows(one: Found, loaded: Loaded, *words: Any) -> dict[str, Any]:
        found = original(one, loaded, *words)
        if loaded.data_set.id == 2:
            found["well_known_files"] = [{"id": 5}, {"id": 2**63}]
        return found

    monkeypatch.setattr(database, "rows_of_experiment", rows)
    for number in (1, 2, 3):
        write_served(tmp_path / "sets" / str(number), number, first_image_id=1000 * number)
    said: list[str] = []
    client = client_over([tmp_path / "sets"], tmp_path / "cache", say=said.append)
    assert [one["id"] for one in client.get("/ish/v1/experiments").json()["msg"]] == [1, 3]
    assert len(said) == 1
    assert "2 is left out" in said[0]
    for query in ("SectionDataSet[id$eq2]", "WellKnownFile[id$eq5]"):  # not the half of it either
        found = client.get("/api/v2/data/query.json", params={"criteria": f"model::{query}"})
        assert found.json()["msg"] == []


def test_ids_up_to_the_largest_are_served(tmp_path: Path) -> None:
    assert [row["id"] for row in field_file_rows(5)] == [3_000_000_010, 3_000_000_011]
    assert field_file_rows(2**63 - 1) == []
    write_served(tmp_path / "set", 2**63 - 1, energy=np.ones(GRID_200.shape))
    client = client_over([tmp_path / "set"], tmp_path / "cache")
    assert "energy.raw" in _unzipped(client, f"/grid_data/download/{2**63 - 1}")
    assert client.get(f"/grid_data/download/{10**19 - 1}").status_code == 404
    assert client.get(f"/ish/v1/experiments/{2**63 - 1}").json()["msg"]["id"] == 2**63 - 1
