"""Ranks within error: by brute force, in answers, and through tables of indexes with and without errors."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search.test_point import coronal, some_voxel, um
from search.test_sources import finished_run
from search_cases import Case, experiments

from pipeline.core.errors import DataError
from pipeline.formats.tables.tables import write_table
from pipeline.search.index import open_index
from pipeline.search.indexing import build_index
from pipeline.search.kernels.ties import rank_ranges, typical_error
from pipeline.search.on_disk.experiments import JOURNAL, TABLE, Experiment, check_experiment, read_committed
from pipeline.search.sources import find_experiments
from pipeline.store.run import RunFolder
from pipeline.store.tasks import Receipt

Z = 1.6448536269514722


@given(st.integers(0, 10_000), st.integers(0, 40), st.integers(1, 45))
def test_ranges_are_those_of_brute_force(seed: int, count: int, top: int) -> None:
    rng = np.random.default_rng(seed)
    fold = -np.sort(-np.exp(rng.normal(0, 1, count)).round(1))  # ties, zeros
    infinite = int(rng.integers(0, count // 4 + 1))
    fold = np.concatenate([fold, np.full(infinite, np.inf)])
    error = np.where(rng.random(len(fold)) < 0.3, np.nan, rng.gamma(1, 0.2, len(fold)).round(1))
    first, last = rank_ranges(fold, error, top)
    factor = [math.exp(Z * math.sqrt(2) * (0.0 if math.isnan(e) else e)) for e in error]
    rivals = [(f / k, f * k) for f, k in zip(fold, factor, strict=True) if math.isfinite(f)]
    assert len(first) == len(last) == min(top, len(fold))
    for n in range(len(first)):
        if math.isnan(error[n]) or math.isinf(fold[n]):
            assert (first[n], last[n]) == (0, 0)
            continue
        low, high = rivals[n]
        ahead = sum(other > high * (1 + 1e-12) for other, _ in rivals)
        behind = sum(other < low * (1 - 1e-12) for _, other in rivals)
        assert (first[n], last[n]) == (1 + ahead, len(rivals) - behind)
        assert first[n] <= n + 1 <= last[n]


def test_the_typical_error_is_that_of_normal_intervals() -> None:
    sigma = np.array([0.1, 0.3, 0.2])
    energy = np.array([5.0, 0.01, 300.0])
    lower, upper = energy * np.exp(-Z * sigma), energy * np.exp(Z * sigma)
    none = np.array([np.nan, np.nan])
    both = np.append(lower, none), np.append(upper, none)
    assert typical_error(*both) == pytest.approx(0.2)
    assert typical_error(none, none) is None
    from_zero = np.zeros(3), upper
    assert typical_error(*from_zero) is None  # no finite error says how wide these are
    one = np.append(lower, 0.0), np.append(upper, 1.0)
    assert typical_error(*one) == pytest.approx(0.25)  # an interval from 0 is one of the widest


def stated(case: Case, errors: dict[int, float]) -> Case:
    known = [replace(e, energy_error=errors.get(n)) for n, e in enumerate(case.experiments)]
    return replace(case, experiments=known)


def test_answers_carry_ranges_and_say_what_they_mean(tmp_path: Path) -> None:
    case = stated(experiments(11, 9), {n: 0.2 * n for n in range(6)})
    build_index(tmp_path / "index", case.pairs, case.space)
    index = open_index(tmp_path / "index")
    found = index.differential(["CTX"], ["TH"], voxels="grid")
    rows = found.rows()
    error = np.array([np.nan if (n := r["section_data_set_id"] - 100) > 5 else 0.2 * n for r in rows])
    first, last = rank_ranges(np.array([r["fold_change"] for r in rows]), error, len(rows))
    assert [r["rank_first"] for r in rows] == [n or None for n in first.tolist()]
    assert [r["rank_last"] for r in rows] == [n or None for n in last.tolist()]
    assert any(r["rank_first"] is None for r in rows)
    assert any(r["rank_first"] is not None and r["rank_first"] < r["rank_last"] for r in rows)
    (note,) = [line for line in found.notes if "ranges of ranks" in line]
    assert f"{int(np.isnan(error).sum())} of {len(rows)} experiments" in note
    best = index.differential(["CTX"], ["TH"], voxels="grid", top=2).rows()
    assert best == rows[:2]  # ranges are those among all, not among the shown


def test_a_search_at_a_point_has_ranges_too(tmp_path: Path) -> None:
    case = stated(coronal(11, 9), dict.fromkeys(range(9), 0.4))
    build_index(tmp_path / "index", case.pairs, case.space)
    bounds = {"target_threshold": None, "contrast_threshold": None}
    found = open_index(tmp_path / "index").at_point(um(some_voxel(case, 0)), **bounds)  # type: ignore[arg-type]
    rows = [row for row in found.rows() if not row["contrast_zero"]]
    first, last = rank_ranges(np.array([r["fold_change"] for r in rows]), np.full(len(rows), 0.4), len(rows))
    assert [(r["rank_first"], r["rank_last"]) for r in rows] == list(
        zip(first.tolist(), last.tolist(), strict=True)
    )
    assert any("ranges of ranks" in note for note in found.notes)


def test_an_index_without_errors_is_as_it_was(tmp_path: Path) -> None:
    case = experiments(11, 5)
    path = tmp_path / "index"
    build_index(path, case.pairs, case.space)
    assert "energy_error" not in pyarrow.parquet.read_schema(path / TABLE).names
    found = open_index(path).differential(["CTX"], ["TH"], voxels="grid")
    assert {(r["rank_first"], r["rank_last"]) for r in found.rows()} == {(None, None)}
    assert not any("rank" in note for note in found.notes)
    again = stated(case, {2: 0.25})
    report = build_index(path, again.pairs)
    assert (report.added, report.replaced, report.unchanged) == (0, 1, 4)
    held = {e.section_data_set_id: e.experiment for e in read_committed(path).table.entries()}
    assert held == {e.section_data_set_id: e for e in again.experiments}
    assert build_index(path, again.pairs).unchanged == 5
    assert build_index(path, case.pairs).replaced == 1  # a run that states none any more
    assert "energy_error" not in pyarrow.parquet.read_schema(path / TABLE).names


def test_the_journal_keeps_errors_and_writes_old_lines_without(tmp_path: Path) -> None:
    case = stated(experiments(11, 3), {1: 0.25})
    path = tmp_path / "index"
    lines: list[str] = []

    def pairs():  # type: ignore[no-untyped-def]
        for pair in case.pairs:
            yield pair
            lines[:] = (path / JOURNAL).read_text().splitlines()

    build_index(path, pairs(), case.space)
    entries = [json.loads(line)["entry"] for line in lines]
    assert ["energy_error" in entry for entry in entries] == [False, True, False]
    # The index as a kill leaves it: lines that the table does not hold yet.
    (path / JOURNAL).write_text("\n".join(lines) + "\n")
    found = read_committed(path)
    assert [entry.energy_error for _, entry in found.journal] == [None, 0.25, None]
    merged = replace(found, table=replace(found.table, sequence=0)).merged(lambda entry: True)
    assert [entry.energy_error for entry in merged.entries()] == [None, 0.25, None]


@pytest.mark.parametrize("error", [-0.1, math.nan, math.inf, "wide", True])
def test_an_error_that_is_none_is_refused(error: object) -> None:
    with pytest.raises(DataError, match="energy_error"):
        check_experiment(Experiment(7, energy_error=error))  # type: ignore[arg-type]


def with_table(run: Path, **columns: list[float]) -> Path:
    table = {"structure_id": [8, 8, 1, 1], "hemisphere_id": [3, 1, 3, 1], **columns}
    write_table(table, run / "structure_unionize.csv", run / "structure_unionize.parquet")
    RunFolder(run).write_receipt(Receipt("unionize", "done", "d"))
    return run


def test_runs_state_their_error_and_others_none(tmp_path: Path) -> None:
    notes: list[str] = []

    def error_of(run: Path) -> float | None:
        (source,) = find_experiments([run])
        return source.read(200.0, notes.append)[0].energy_error

    ends = {
        "expression_energy_lower": [1.0, 0.001, 2.0, 0.001],
        "expression_energy_upper": [2.0, 9.0, 4.0, 9.0],
    }
    assert error_of(with_table(finished_run(tmp_path / "new"), **ends)) == pytest.approx(
        math.log(2) / 2 / Z  # of both hemispheres alone
    )
    assert error_of(finished_run(tmp_path / "no-table")) is None
    assert error_of(with_table(finished_run(tmp_path / "old"), expression_energy=[1.0] * 4)) is None
    stale = with_table(finished_run(tmp_path / "stale"), **ends)
    RunFolder(stale).write_receipt(Receipt("unionize", "failed", "d"))
    assert error_of(stale) is None
    assert notes == []
    damaged = with_table(finished_run(tmp_path / "damaged"), **ends)
    (damaged / "structure_unionize.parquet").write_bytes(b"PAR1 no more")
    assert error_of(damaged) is None
    assert len(notes) == 1
    assert "get no range" in notes[0]
