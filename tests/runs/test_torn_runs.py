"""Finished runs whose files come to harm: the next run mends them, and no reader gives a wrong number."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import CONFIG, GIVEN, ID, Ish, digests
from damage import DAMAGES, flipped, kinds

from pipeline.core.errors import PipelineError
from pipeline.exports.forms import read_data_set
from pipeline.exports.structure_table import join_tables
from pipeline.formats.tables.tables import read_table
from pipeline.geometry.sync import image_to_reference
from pipeline.inputs.alignments import open_alignment, run_reference
from pipeline.runs.api import open_run
from pipeline.store.run import RunFolder

SMOOTHER = ("--set", "gridding.z_smoothing_um=150")  # has grid and what hangs on it done anew


def _copied(finished: Path, to: Path) -> Path:
    shutil.copytree(finished, to / ID)
    return to / ID


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_kind_of_file_is_made_whole(
    damage: Any, rendered: Path, finished: Path, tmp_path: Path, ish: Ish
) -> None:
    """All kinds at once, so that also what is read to mend them is torn."""
    run, drawn = _copied(finished, tmp_path), random.Random(1)
    for file in kinds(run).values():
        damage(file, drawn)
    assert ish("run", CONFIG, "--input", rendered / "series", "--output", tmp_path, *GIVEN) == 0
    assert digests(run) == digests(finished)
    assert "<html" in (run / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_each_kind_of_file_is_made_whole_by_itself(
    damage: Any, rendered: Path, finished: Path, tmp_path: Path, ish: Ish
) -> None:
    drawn = random.Random(2)
    for name in kinds(finished):
        run = _copied(finished, tmp_path)
        damage(kinds(run)[name], drawn)
        assert ish("run", CONFIG, "--input", rendered / "series", "--output", tmp_path, *GIVEN) == 0, name
        assert digests(run) == digests(finished), name
        shutil.rmtree(run)


def test_the_next_stage_is_not_fed_with_what_is_torn(
    rendered: Path, finished: Path, tmp_path: Path, ish: Ish
) -> None:
    """With another smoothing, cells of sections are read that no task of this run has written."""
    words = ("run", CONFIG, "--input", rendered / "series", *GIVEN, *SMOOTHER, "--output")
    assert ish(*words, tmp_path / "whole") == 0
    run, drawn = _copied(finished, tmp_path), random.Random(3)
    for file in sorted(run.glob("cells.zarr/*/*/c/0/0"))[::3]:
        drawn.choice(DAMAGES)(file, drawn)
    assert ish(*words, tmp_path) == 0
    assert digests(run) == digests(tmp_path / "whole" / ID)


def _readers(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return what reads a run, each by a name of its own, as the commands do."""
    run = open_run(folder)
    numbers = [int(path.name) for path in sorted((folder / "cells.zarr").glob("[0-9]*"))]
    first = numbers[0]
    return {
        "grid": run.read_grid,
        "cells": lambda: [run.read_cells(n).sums.arrays() for n in numbers],
        "expression": lambda: [run.read_expression(n) for n in numbers],
        "lazy mask": lambda: _labelled(run.expression(first, level=1).to_dataset()),
        "lazy grid": lambda: _labelled(run.grid()[["energy", "covered"]]),
        "thumbnails": lambda: [run.read_thumbnail(n)[:2] for n in numbers],
        "outlines": lambda: [run.read_outlines(n) for n in numbers],
        "table": lambda: read_table(run.require("structure_unionize.parquet")),
        "joined": lambda: join_tables([run])[0].columns,
        "series": lambda: read_data_set(run),
        "sync": lambda: image_to_reference(open_alignment(folder), first, [[100.0, 120.0]]),
        "reference": lambda: run_reference(folder),
    }


def _labelled(found: xr.Dataset) -> dict[str, Any]:
    """Return values and coordinates of labelled arrays; their attributes lack what a run does not tell."""
    arrays = found.compute().reset_coords().variables
    return {str(name): array.to_numpy() for name, array in arrays.items()}


def _digest(value: Any) -> str:
    """Return a digest of arrays, numbers and text in containers."""
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, dict):
        return repr({key: _digest(inner) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        nested = any(isinstance(inner, np.ndarray | dict | list | tuple) for inner in value)
        return repr([_digest(inner) for inner in value] if nested else value)
    return repr(value)


def _answers(folder: Path) -> dict[str, str]:
    """Return what every reader answers; of one that refuses nothing."""
    found = {}
    try:
        readers = _readers(folder)
    except PipelineError:
        return {}
    for name, read in readers.items():
        try:
            found[name] = _digest(read())
        except PipelineError as error:
            refused = str(error)
            assert str(folder) in refused
    return found


@pytest.mark.parametrize("count", [120, pytest.param(1000, marks=[pytest.mark.faults, pytest.mark.slow])])
def test_no_reader_gives_a_wrong_number(finished: Path, tmp_path: Path, count: int) -> None:
    """Cuts, deletions and flips of any file: the right answer, or a refusal that names the file."""
    run, right = _copied(finished, tmp_path), _answers(finished)
    files = sorted(path for path in run.rglob("*") if path.is_file())
    drawn, refusals = random.Random(4), 0
    for _ in range(count):
        file = drawn.choice(files)
        content = file.read_bytes()
        drawn.choice(DAMAGES)(file, drawn)
        found = _answers(run)
        refusals += len(right) - len(found)
        assert all(right[name] == answer for name, answer in found.items()), file
        file.write_bytes(content)
    assert refusals > count // 2
    assert _answers(run) == right


def test_an_alignment_changed_by_hand_is_kept(
    rendered: Path, finished: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    run = _copied(finished, tmp_path)
    edited = (run / "alignment.json").read_text().replace('"pass"', '"fail"')
    (run / "alignment.json").write_text(edited)
    assert ish("run", CONFIG, "--input", rendered / "series", "--output", tmp_path, *GIVEN) == 0
    assert (run / "alignment.edited-1.json").read_text() == edited
    assert "alignment.edited-1.json" in capfd.readouterr().err


def test_an_alignment_that_was_kept_is_never_overwritten(finished: Path, tmp_path: Path) -> None:
    run = _copied(finished, tmp_path)
    (run / "alignment.edited-2.json").write_text("of yesterday")  # -1 was deleted since
    edited = (run / "alignment.json").read_text().replace('"pass"', '"fail"')
    (run / "alignment.json").write_text(edited)
    assert RunFolder(run).put_aside_edited() == "alignment.edited-3.json"
    assert (run / "alignment.edited-2.json").read_text() == "of yesterday"
    assert (run / "alignment.edited-3.json").read_text() == edited
    assert not (run / "alignment.json").exists()


def test_a_receipt_is_what_its_task_wrote_or_none(finished: Path, tmp_path: Path) -> None:
    run = RunFolder(_copied(finished, tmp_path))
    receipt = run.path / "receipts" / "grid.json"
    whole, drawn = receipt.read_bytes(), random.Random(5)
    known = run.read_receipt("grid")
    for _ in range(200):
        flipped(receipt, drawn)
        assert run.read_receipt("grid") in (None, known)
        receipt.write_bytes(whole)


def test_outputs_are_synced_before_their_receipt(
    rendered: Path, tmp_path: Path, ish: Ish, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    true = os.fsync
    monkeypatch.setattr("os.fsync", lambda file: (synced.add(os.fstat(file).st_ino), true(file))[1])
    assert ish("run", CONFIG, "--input", rendered / "series", "--output", tmp_path, *GIVEN) == 0
    listed = [name for receipt in open_run(tmp_path / ID).receipts().values() for name in receipt.outputs]
    assert len(listed) > 100
    assert not [name for name in listed if (tmp_path / ID / name).stat().st_ino not in synced]
