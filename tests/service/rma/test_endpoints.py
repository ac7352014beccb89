"""The routes: forms, posted queries, single records, the schema, trees and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from pipeline.service.rma.endpoints import BODY_BYTES
from pipeline.service.served import LIMITS

DATA = "/api/v2/data"


def test_forms(client: Any) -> None:
    for form, kind in (
        ("json", "application/json"),
        ("xml", "application/xml"),
        ("csv", "text/csv; charset=utf-8"),
    ):
        answer = client.get(f"{DATA}/query.{form}?criteria=model::Gene")
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert b"Pdyn" in answer.content
    assert client.get(f"{DATA}/query?criteria=model::Gene").json()["num_rows"] == 4
    assert client.get(f"{DATA}/Gene/query?num_rows=1").json()["num_rows"] == 1
    answer = client.get(f"{DATA}/query.html?criteria=model::Gene")
    assert (answer.status_code, answer.json()["msg"]) == (
        404,
        "form 'html' is not known here; did you mean xml?",
    )


def test_posted_queries(client: Any) -> None:
    given = {"criteria": "model::Gene,rma::criteria,[acronym$eq'Pdyn']", "only": "id"}
    expected = [{"id": 18376}]
    assert client.post(f"{DATA}/query.json", data=given).json()["msg"] == expected
    assert client.post(f"{DATA}/query.json", json=given).json()["msg"] == expected
    assert (
        client.post(f"{DATA}/Gene/query.json?only=id", data={"criteria": "[id$eq18376]"}).json()["msg"]
        == expected
    )
    for document in ([1], {"criteria": 1}, "x"):
        answer = client.post(f"{DATA}/query.json", json=document)
        assert (answer.status_code, answer.json()["success"]) == (400, False)
        assert "JSON object of texts" in answer.json()["msg"]
    headers = {"content-type": "application/json"}
    assert client.post(f"{DATA}/query.json", content=b"[" * 100_000, headers=headers).status_code == 400
    assert client.post(f"{DATA}/query.json", content=b"\xff{", headers=headers).status_code == 400
    assert client.post(f"{DATA}/query.json", content=b"x" * (BODY_BYTES + 1)).status_code == 414


def test_errors(client: Any) -> None:
    answer = client.get(f"{DATA}/query.json?criteria=model::Gen")
    assert answer.status_code == 400
    assert answer.json() == {
        "success": False,
        "id": 0,
        "start_row": 0,
        "num_rows": 0,
        "total_rows": 0,
        "msg": "model 'Gen' does not exist; did you mean Gene?",
    }
    answer = client.get(f"{DATA}/query.xml?criteria=model::Gen")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/xml")
    assert ElementTree.fromstring(answer.content).get("success") == "false"
    assert client.get(f"{DATA}/query.json").status_code == 400
    assert client.get(f"{DATA}/Gen/query.json").status_code == 400
    assert (
        client.get(f"{DATA}/Gene/query.json?criterai=[id$eq1]")
        .json()["msg"]
        .endswith("did you mean criteria?")
    )
    long = f"{DATA}/query.json?criteria=model::Gene[id$in{'1,' * (LIMITS.query_bytes // 2)}1]"
    assert client.get(long).status_code == 414
    assert client.get(f"{DATA}/query.json?criteria={'(' * 20_000}").status_code == 400


def test_single_records(client: Any) -> None:
    document = client.get(f"{DATA}/Gene/18376.json?include=chromosome&only=id,name").json()
    assert document["msg"] == [{"id": 18376, "name": "prodynorphin", "chromosome": {"id": 34, "name": "2"}}]
    assert client.get(f"{DATA}/Gene/18376").json()["num_rows"] == 1
    assert ElementTree.fromstring(client.get(f"{DATA}/Gene/11.xml").content).findtext("*/*/acronym") == "Ace"
    answer = client.get(f"{DATA}/Gene/7.json")
    assert (answer.status_code, answer.json()["msg"]) == (404, "Gene 7 does not exist here")
    assert client.get(f"{DATA}/Gene/{'9' * 40}.json").status_code == 404
    assert client.get(f"{DATA}/Gene/-1.json").status_code in {400, 404}


@pytest.mark.parametrize("path", [f"{DATA}.json", f"{DATA}/enumerate.json"])
def test_whole_schema(client: Any, path: str) -> None:
    document = client.get(path).json()
    models = {name: entry for one in document["msg"] for name, entry in one["DataDescription"].items()}
    assert len(models) == document["num_rows"]
    fields = {one["name"]: one["type"] for one in models["SectionDataSet"]["fields"]}
    assert (fields["section_thickness"], fields["failed"]) == ("float", "boolean")
    assert {"name": "genes", "type": "has_many", "class": "Gene"} in models["SectionDataSet"]["associations"]


@pytest.mark.parametrize("path", ["SectionDataSet.json", "SectionDataSet/describe.json"])
def test_schema_of_a_model(client: Any, path: str) -> None:
    ((_, entry),) = client.get(f"{DATA}/{path}").json()["msg"][0]["DataDescription"].items()
    assert entry["table"] == "data_sets"
    wrong = client.get(f"{DATA}/{path.replace('SectionDataSet', 'SectionDataSets')}")
    assert (wrong.status_code, wrong.json()["success"]) == (400, False)


def test_trees(client: Any) -> None:
    def found(rest: str) -> list[int]:
        return [row["id"] for row in client.get(f"/api/v2/tree_search/{rest}").json()["msg"]]

    assert found("Structure/315.json?ancestors=true&descendants=true") == [997, 8, 315, 22]
    assert found("Structure/315.json&descendants=true") == [315, 22]
    assert found("Specimen/101.json?ancestors=false") == [101]
    root = ElementTree.fromstring(client.get("/api/v2/tree_search/Structure/8.xml?descendants=true").content)
    assert [one.text for one in root.findall("structures/structure/id")] == ["8", "315", "22"]
    for rest, status in (("Structure/1.json", 404), ("Gene/11.json", 400), ("Structure/x.json", 400)):
        assert client.get(f"/api/v2/tree_search/{rest}").status_code == status
    assert client.get("/api/v2/tree_search/Structure/8.json?descendants=maybe").status_code == 400
    assert client.get("/api/v2/tree_search/Structure/1.xml").headers["content-type"] == "application/xml"


def test_services(serve: Callable[..., Any]) -> None:
    client = serve({"mouse_agea": lambda given: [{"id": given["set"], "gene-symbol": "Pdyn"}]})
    document = client.get(f"{DATA}/query.json?q=service::mouse_agea[set$eqmouse_coronal]").json()
    assert document["msg"] == [{"id": "mouse_coronal", "gene-symbol": "Pdyn"}]
    answer = client.get(f"{DATA}/query.json?q=service::mouse_agia")
    assert (answer.status_code, answer.json()["msg"]) == (
        400,
        "service::mouse_agia does not exist; did you mean mouse_agea?",
    )
