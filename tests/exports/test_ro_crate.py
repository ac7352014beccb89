"""The RO-Crate of a run: whole, described, and free of the folders of this machine."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import zarr
from conftest import ID

from pipeline.core.errors import DataError, MissingResultError
from pipeline.exports.forms import export
from pipeline.exports.ro_crate import CRATE, NAME


@pytest.fixture(scope="module")
def crate(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crate") / "out"
    (path,) = export(finished, "ro-crate", folder).files
    assert path == folder / NAME
    return folder


@pytest.fixture(scope="module")
def entities(crate: Path) -> dict[str, dict[str, Any]]:
    document = json.loads((crate / NAME).read_text(encoding="utf-8"))
    assert document["@context"][0] == f"{CRATE}/context"
    found = {one["@id"]: one for one in document["@graph"]}
    assert len(found) == len(document["@graph"])
    return found


def test_it_says_what_the_specification_asks(entities: dict[str, dict[str, Any]]) -> None:
    assert entities[NAME]["conformsTo"] == {"@id": CRATE}
    assert entities[NAME]["about"] == {"@id": "./"}
    root = entities["./"]
    assert root["@type"] == "Dataset"
    assert all(root[key] for key in ("name", "description", "datePublished", "license"))
    run = entities["#run"]
    assert run["@type"] == "CreateAction"
    assert entities[run["instrument"]["@id"]]["@type"] == "SoftwareApplication"
    assert run["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert run["description"]
    assert run["result"] == root["hasPart"]


def test_every_reference_has_an_entity(entities: dict[str, dict[str, Any]]) -> None:
    def named(value: Any) -> list[str]:
        if isinstance(value, list):
            return [name for one in value for name in named(one)]
        return [value["@id"]] if isinstance(value, dict) else []

    names = {name for one in entities.values() for value in one.values() for name in named(value)}
    assert {name for name in names - entities.keys() if not name.startswith("http")} == set()


def test_every_part_is_there_as_described(
    crate: Path, finished: Path, entities: dict[str, dict[str, Any]]
) -> None:
    parts = [entities[part["@id"]] for part in entities["./"]["hasPart"]]
    assert {"grid.zarr/", "expression.zarr/", "structure_unionize.csv", "report.html"} <= {
        p["@id"] for p in parts
    }
    names = {path.name for path in crate.iterdir() if not path.name.startswith(".")}
    assert names == {p["@id"].rstrip("/") for p in parts} | {NAME}
    for part in parts:
        path = crate / part["@id"]
        if part["@type"] == "File":
            assert part["contentSize"] == str(path.stat().st_size)
            assert part["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
            assert path.read_bytes() == (finished / path.name).read_bytes()
        else:
            assert path.is_dir()
    assert zarr.open_array(crate / "expression.zarr" / "18" / "0", mode="r")[:].max() > 0


def test_inputs_come_with_checksums_and_without_folders(
    rendered: Path, finished: Path, entities: dict[str, dict[str, Any]]
) -> None:
    inputs = [entities[one["@id"]] for one in entities["#run"]["object"] if "sha256" in entities[one["@id"]]]
    series = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (rendered / "series").iterdir()}
    images = {name for name in series if name.endswith(".jpg")}
    assert images <= {one["name"] for one in inputs}
    assert all(series[one["name"]] == one["sha256"] for one in inputs)
    assert str(rendered) not in json.dumps(list(entities.values()))


def test_a_run_that_is_changed_or_unfinished_is_refused(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / ID))
    table = run / "structure_unionize.csv"
    table.write_text(table.read_text() + "1,2,3\n")
    with pytest.raises(DataError, match=r"structure_unionize\.csv"):
        export(run, "ro-crate", tmp_path / "out")
    table.unlink()
    with pytest.raises(MissingResultError):
        export(run, "ro-crate", tmp_path / "out")
    assert not (tmp_path / "out" / NAME).exists()
