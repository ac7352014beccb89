"""Every request that real clients were seen to send, replayed: status, form, keys and types."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import vouch
from service_cases import client_over
from starlette.testclient import TestClient

FIRST, SECOND = 69782969, 71717084  # ids that the requests name
NOT_THERE = {  # what only other experiments, or a finer reference than the phantom, have
    "GridDataApi.download_projection_grid_data",
    "TreeSearchApi.get_tree(Specimen)",
    "ReferenceSpaceCache.get_annotation_volume",
    "ReferenceSpaceCache.get_template_volume",
    "ReferenceSpaceCache.get_structure_mask",
}
FILE = "/api/v2/well_known_file_download"  # of a deformed experiment, by an id that a query tells
ENVELOPE = {"success": bool, "id": int, "start_row": int, "num_rows": int, "total_rows": int}


@pytest.fixture(scope="module")
def requests(ish_data: Path) -> list[tuple[str, str]]:
    path = ish_data.parent / "service" / "requests.tsv"
    if not path.is_file():
        pytest.skip("the list of recorded requests does not lie beside ISH_DATA")
    with path.open(newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    return [(row[0], row[2]) for row in rows]


@pytest.fixture(scope="module")
def client(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Two runs under the ids that the requests name."""
    folder = tmp_path_factory.mktemp("requests")
    for number in (FIRST, SECOND, 71717085, 68545324, 67810540):
        shutil.copytree(finished, folder / "runs" / str(number))
        path = folder / "runs" / str(number) / "section_data_set.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"id": number, "gene": "Pdyn"}))
        vouch(path.parent)
    return client_over([folder / "runs"], folder / "cache")


def _ids(client: TestClient) -> dict[str, int]:
    """Return ids that exist, by those that the requests name."""
    sections = client.get(f"/ish/v1/experiments/{FIRST}").json()["msg"]["section_images"]
    plates = client.get(
        "/api/v2/data/query.json", params={"q": "model::AtlasImage,rma::criteria,[annotated$eqtrue]"}
    ).json()["msg"]
    structures = client.get("/ish/v1/structures").json()["msg"]
    named = {str(101 + at): section["id"] for at, section in enumerate(sections[:3])}
    return named | {"100960033": plates[0]["id"], "315": structures[4]["id"], "698": structures[5]["id"]}


def _replaced(path: str, ids: dict[str, int]) -> str:
    return re.sub(r"(?<!\d)(101|102|103|100960033|315|698)(?!\d)", lambda match: str(ids[match[0]]), path)


def test_all_requests_are_answered(requests: list[tuple[str, str]], client: TestClient) -> None:
    ids = _ids(client)
    wrong = []
    for call, path in requests:
        answer = client.get(_replaced(path, ids))
        kind = answer.headers["content-type"].partition(";")[0]
        expected = {404} if call in NOT_THERE or path.startswith(FILE) else {200}
        if answer.status_code not in expected:
            wrong.append(f"{call}: {answer.status_code} {answer.text[:200]}")
        elif kind == "application/json":
            wrong += _form(call, path, answer.json())
    assert not wrong, "\n".join(wrong)


def _form(call: str, path: str, document: dict[str, Any]) -> list[str]:
    """Return what is wrong with an envelope."""
    if list(document) != [*ENVELOPE, "msg"]:
        return [f"{call}: keys {list(document)}"]
    wrong = [
        f"{call}: {n} is {document[n]!r}" for n, kind in ENVELOPE.items() if type(document[n]) is not kind
    ]
    rows = document["msg"]
    if isinstance(rows, list) and document["success"] and len(rows) != document["num_rows"]:
        wrong.append(f"{call}: {len(rows)} rows, num_rows {document['num_rows']}")
    return wrong
