"""The graph of a batch grows in line with its tasks, and its tasks wait for what they build on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.model import SectionDataSet, SectionImage
from pipeline.inputs.config import Config
from pipeline.runs.schedule.graph import build_graph, split_key
from pipeline.stages.job import SeriesJob
from pipeline.store.run import RunFolder


def _job(sections: int, identifier: int = 1, specimen: str | None = None) -> SeriesJob:
    images = tuple(SectionImage(n, n, Path(f"{n}.tif"), 64, 48, 1.0) for n in range(sections))
    data_set = SectionDataSet(identifier, "coronal", 25.0, images, specimen=specimen)
    return SeriesJob(Path(str(identifier)), RunFolder(Path("out", str(identifier))), data_set, Config())


def _edges(graph: dict[str, Any]) -> int:
    return sum(len(task[4]) + len(task[5]) for task in graph.values() if isinstance(task, tuple))


def _before(graph: dict[str, Any], key: str) -> set[str]:
    return {*graph[key][4], *graph[key][5]}


@pytest.mark.parametrize("sections", [50, 400])
def test_edges_grow_with_sections_not_with_their_square(sections: int) -> None:
    graph = build_graph([_job(sections)])
    assert len([key for key in graph if split_key(key)[0]]) == 2 * sections + 6
    assert _edges(graph) < 10 * sections + 20


def test_tasks_wait_for_what_they_build_on() -> None:
    graph = build_graph([_job(3)])
    assert _before(graph, "measure-00001@0") == set()
    measured = {f"measure-0000{n}@0" for n in range(3)}
    assert _before(graph, "pool@0") == _before(graph, "align@0") == measured
    assert _before(graph, "detect-00001@0") == {"measure-00001@0", "pool@0"}
    assert _before(graph, "grid@0") == {f"detect-0000{n}@0" for n in range(3)} | {"align@0"}


def test_series_of_one_specimen_wait_for_one_another() -> None:
    jobs = [_job(2, 1, "a"), _job(2, 2, "a")]
    jobs = [replace(job, specimen_series=tuple(jobs)) for job in jobs]
    graph = build_graph(jobs)
    measured = {f"measure-0000{n}@{series}" for n in range(2) for series in range(2)}
    assert _before(graph, "align@0") == measured
    assert _before(graph, "align@1") == measured | {"align@0"}
