"""Who may ask, from where, and how much."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from service_cases import client_over, write_served
from starlette.testclient import TestClient
from starlette.types import Message, Scope

STATUS = "/ish/v1/status"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    write_served(folder / "sets" / "a", 1)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> TestClient:
    return client_over([folder / "sets"], folder / "cache")


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "evil.example:8000", "127.0.0.1.e"]
)
def test_other_hosts_are_refused(client: TestClient, host: str) -> None:
    answer = client.get(STATUS, headers={"Host": host})
    assert answer.status_code == 400
    assert answer.json()["success"] is False


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:9", "[::1]:8000", "LOCALHOST"])
def test_the_loopback_is_answered(client: TestClient, host: str) -> None:
    assert client.get(STATUS, headers={"Host": host}).status_code == 200


def test_no_page_of_another_origin_may_read(client: TestClient) -> None:
    answer = client.get(STATUS, headers={"Origin": "https://evil.example"})
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"  # nor show it
    asked = client.options(STATUS, headers={"Origin": "https://evil.example"})
    assert not any(name.startswith("access-control") for name in asked.headers)


def test_who_runs_the_server_is_told_what_is_refused(folder: Path) -> None:
    """Why, in one line without the query, which may carry the token: clients show no more than the status."""
    told: list[str] = []
    client = client_over([folder / "sets"], folder / "cache", say=told.append, token="secret")
    headers = {"Authorization": "Bearer secret"}
    assert client.get(STATUS, headers=headers).status_code == 200
    assert told == []
    for path in (
        "/api/v2/data/Gen/query.json?token=secret",
        "/grid_data/download/9?token=secret",
        "/no%1bline",
    ):
        client.get(path, headers=headers)
    gene, grid, lost = told
    assert gene == "400 /api/v2/data/Gen/query.json: model 'Gen' does not exist; did you mean Gene?"
    assert grid.startswith("404 /grid_data/download/9: ")
    assert lost.startswith("404 /no?line: no such address")


def test_an_origin_that_is_named_may_read(folder: Path) -> None:
    client = client_over([folder / "sets"], folder / "cache", cors="https://viewer.example")
    answer = client.get(STATUS)
    assert answer.headers["access-control-allow-origin"] == "https://viewer.example"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    asked = client.options("/zarr/1/grid.zarr/zarr.json", headers={"Access-Control-Request-Headers": "range"})
    assert asked.status_code == 204
    assert "Range" in asked.headers["access-control-allow-headers"]


def test_a_token_is_needed_where_one_is_set(folder: Path) -> None:
    client = client_over([folder / "sets"], folder / "cache", token="secret")
    assert client.get(STATUS).status_code == 401
    assert client.get(STATUS, headers={"Authorization": "Bearer secreT"}).status_code == 401
    assert client.get(STATUS, headers={"Authorization": "Bearer secret"}).status_code == 200
    assert client.get(STATUS, params={"token": "secret"}).status_code == 200
    assert client.get(STATUS, params={"token": "sécret"}).status_code == 401


def test_a_token_may_have_any_characters(folder: Path) -> None:
    token = "sécret & tök"
    client = client_over([folder / "sets"], folder / "cache", token=token)
    for scheme in (b"Bearer ", b"bearer  "):
        assert client.get(STATUS, headers={b"Authorization": scheme + token.encode()}).status_code == 200
    assert client.get(STATUS, params={"token": token}).status_code == 200
    refused = client.get(STATUS, headers={b"Authorization": token.encode()})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")


def test_every_answer_says_how_it_may_be_used(client: TestClient) -> None:
    for path in (STATUS, "/nothing"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in headers["content-security-policy"]


def test_long_addresses_are_414(client: TestClient) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope: Scope = {  # as no client sends it
        "type": "http",
        "method": "GET",
        "path": STATUS,
        "raw_path": STATUS.encode(),
        "query_string": b"x=" + b"a" * 70_000,
        "headers": [(b"host", b"localhost")],
    }
    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 414
    assert b"POST" in sent[1]["body"]


def test_double_slashes_are_one(client: TestClient) -> None:
    assert client.get("http://localhost//ish//v1/status").status_code == 200


def test_methods_are_those_of_the_address(client: TestClient) -> None:
    allowed = {
        path: client.options(path).headers["allow"]
        for path in (
            STATUS,
            "/api/v2/data/query.json",
            "/ish/v1/sections/1/to_reference",
            "/zarr/1/grid.zarr/c",
        )
    }
    assert list(allowed.values()) == ["GET, HEAD, OPTIONS", "GET, HEAD, OPTIONS, POST", "OPTIONS, POST",
                                      "GET, HEAD, OPTIONS"]  # fmt: skip
    assert client.options("/nothing").status_code == 404


def test_a_client_that_goes_away_is_no_fault(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pytest.fail("nobody is there to be answered")

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v2/data/query.json",
        "raw_path": b"/api/v2/data/query.json",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-length", b"100")],
    }
    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    assert not caplog.records


@pytest.mark.parametrize("path", ["/api/v2/image_to_reference/5.xml?x=1&y=1", "/api/v2/image_to_image/x.xml"])
def test_who_asks_for_xml_is_refused_in_xml(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["content-type"] == "application/xml"
    root = ElementTree.fromstring(answer.content)
    assert (root.tag, root.get("success")) == ("Response", "false")
    assert root.findtext("msg")


def test_a_fault_is_500_without_its_traceback(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = client_over([folder / "sets"], folder / "cache")

    class Broken:
        def experiment(self, experiment_id: int) -> None:
            raise ValueError(f"secret-in-{experiment_id}")

    client.app.state.service.catalogue = Broken()  # type: ignore[attr-defined]
    answer = client.get("/ish/v1/experiments/1", params={"token": "secret-in-query"})
    assert answer.status_code == 500
    assert answer.json()["success"] is False
    assert "Traceback" not in answer.text
    assert not re.search("secret-in-(query|1)", caplog.text)
    assert "ValueError" in caplog.text
    assert "experiments.py" in caplog.text  # where


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/zarr/1/..%2f..%2fetc",
     "/api/v2/well_known_file_download/../x", "/informatics-archive/current-release/../../x",
     "/iiif/3/..%2f..%2fx/info.json", "/dzi/..%2fx.dzi",
     "/cgi-bin/imageservice?path=/etc/passwd", "/grid_data/download/..%2f1", "/api/v2/svg/..%2f1"],
)  # fmt: skip
def test_nothing_leads_out(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (400, 404)
    assert "root:" not in answer.text
    assert answer.json()["success"] is False
