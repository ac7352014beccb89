"""The search index that a server keeps of what it serves."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import ID
from service_cases import client_over, write_served

from pipeline.core.model import GRID_200
from pipeline.service import index as module
from pipeline.service.http.answers import RequestError
from pipeline.service.index import ServedIndex
from pipeline.service.state import Service


def _add(folder: Path, number: int) -> None:
    grid = np.random.default_rng(number).random(GRID_200.shape)
    write_served(folder / str(number), number, energy=grid, first_image_id=1000 * number)


@pytest.fixture
def sets(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "sets" / ID)
    _add(tmp_path / "sets", 1)
    return tmp_path / "sets"


@pytest.fixture
def service(sets: Path, tmp_path: Path) -> Service:
    found: Service = client_over([sets], tmp_path / "cache").app.state.service  # type: ignore[attr-defined]
    return found


def _ids(index: ServedIndex) -> set[int]:
    return set(index.get().experiments["section_data_set_id"].tolist())


def _kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("index-*"))


def test_an_index_grows_in_its_place(service: Service, sets: Path) -> None:
    assert _ids(service.index) == {int(ID), 1}
    first = _kept(service.cache)
    for number in (2, 3):
        _add(sets, number)
        service.reload()
    assert _ids(service.index) == {int(ID), 1, 2, 3}
    assert _kept(service.cache) == first


def test_what_is_gone_is_not_found(service: Service, sets: Path) -> None:
    for number in (2, 3, 4):
        _add(sets, number)
        service.reload()
        before = service.index.get()
        assert _ids(service.index) == {int(ID), number - 1, number}
        shutil.rmtree(sets / str(number - 1))
        service.reload()
        assert _ids(service.index) == {int(ID), number}
        assert len(before.correlation(number - 1, top=None).columns["r"]) == 3  # a search under way goes on
    assert len(_kept(service.cache)) == 2


def test_a_damaged_index_is_made_anew(service: Service, sets: Path, tmp_path: Path) -> None:
    service.index.get()
    (kept,) = service.cache.glob("index-*")
    for path in kept.rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    again: Service = client_over([sets], service.cache).app.state.service  # type: ignore[attr-defined]
    assert _ids(again.index) == {int(ID), 1}


def test_searches_do_not_wait_for_a_new_index(
    service: Service, sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, build = threading.Event(), threading.Event(), module.index_folders

    def slow(*words: object) -> object:
        begun.set()
        assert go_on.wait(30)
        return build(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "index_folders", slow)
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    with ThreadPoolExecutor(1) as pool:
        builder = pool.submit(service.index.get)
        assert begun.wait(30)
        with pytest.raises(RequestError, match="being built") as refusal:
            service.index.get()
        assert refusal.value.status == 503
        go_on.set()
        first = builder.result()
        begun.clear()
        go_on.clear()
        _add(sets, 2)
        service.reload()
        builder = pool.submit(service.index.get)
        assert begun.wait(30)
        assert service.index.get() is first  # the one before, meanwhile
        go_on.set()
        assert builder.result() is service.index.get() is not first
