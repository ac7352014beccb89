"""Torn, lost and flipped files of an index: the answer of the whole one, or a line that names it; mending."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from damage import DAMAGES
from search_cases import Case, experiments

from pipeline.core.errors import PipelineError
from pipeline.search.index import open_index
from pipeline.search.indexing import build_index
from pipeline.search.on_disk.names import SEAL
from pipeline.search.on_disk.writer import index_lock

CASE = experiments(11, 5)


def answers(path: Path) -> list[list[dict[str, Any]]]:
    index = open_index(path)
    return [
        index.differential("CTX", "TH").rows(),
        index.differential("L1", "VP", voxels="grid").rows(),
        index.correlation(102, top=2).rows(),
        index.correlation(CASE.grids[1], domain="CTX", voxels="coronal").rows(),
    ]


def answered(path: Path) -> tuple[list[list[dict[str, Any]]] | None, str]:
    try:
        return answers(path), ""
    except PipelineError as error:
        return None, str(error)


def build(path: Path, case: Case = CASE) -> list[str]:
    return build_index(path, case.pairs, case.space).errors


@pytest.mark.parametrize(("seed", "rounds"), [(1, 60), pytest.param(2, 1000, marks=pytest.mark.slow)])
def test_no_damage_gives_another_answer(tmp_path: Path, seed: int, rounds: int) -> None:
    whole, path, drawn = tmp_path / "whole", tmp_path / "index", random.Random(seed)
    build(whole)
    expected, refused = answers(whole), 0
    files = sorted(file.relative_to(whole) for file in whole.rglob("*") if file.is_file())
    for _ in range(rounds):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(whole, path)
        file, damage = drawn.choice(files), drawn.choice(DAMAGES)
        damage(path / file, drawn)
        found, line = answered(path)
        assert found in (None, expected), (file, damage.__name__)
        refused += found is None
        if found is None:
            assert str(path) in line
            assert "\n" not in line
            assert "build the index again" in line or "run `ish index` again" in line
        mended(path, expected)
    assert 0 < refused < rounds


def mended(path: Path, expected: list[list[dict[str, Any]]]) -> None:
    """Check that building again mends an index, in its place or, where that is what it says, anew."""
    line = ""
    try:
        build(path)
    except PipelineError as error:
        line = str(error)
    if line:
        assert f"remove {path} and build the index again" in line
        shutil.rmtree(path)
    assert build(path) == []
    assert answers(path) == expected


def test_a_flipped_row_under_an_old_seal_is_seen_where_an_answer_rests_on_it(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build(path)
    file = path / "rows-0" / "codes" / "c" / "0" / "0"
    times = file.stat()
    content = bytearray(file.read_bytes())
    content[4096 + 5] ^= 4
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(PipelineError, match="experiments 100; run `ish index` again"):
        open_index(path).correlation(100)
    assert len(open_index(path).differential("CTX", "TH")) > 0  # rests on sums alone


def test_a_copy_without_times_answers_alike(tmp_path: Path) -> None:
    build(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    (tmp_path / "b" / SEAL).unlink()
    assert answers(tmp_path / "b") == answers(tmp_path / "a")


def test_damaged_experiments_that_are_not_given_again_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build(path)
    (path / "rows-0" / "fine" / "c" / "0" / "0").write_bytes(b"")
    report = build_index(path, CASE.pairs[:3])
    assert report.added == 3
    assert len(report.errors) == 2
    assert "experiments 103; run" in report.errors[0]
    assert len(open_index(path)) == 3


def test_a_folder_in_which_a_creation_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with index_lock(path):
        (path / "labels").mkdir()
    assert build(path) == []
    assert len(open_index(path)) == 5


@pytest.mark.parametrize("number", [2**63, -1, 10**30, True, 1.5])
def test_what_the_table_cannot_hold_is_left_out(tmp_path: Path, number: Any) -> None:
    build(tmp_path / "index")
    odd = type(CASE.experiments[0])(number)
    report = build_index(tmp_path / "index", [(odd, CASE.grids[0]), CASE.pairs[0]])
    assert report.unchanged == 1
    assert "expected a whole number" in report.errors[0]
    for gene in ("\ud800x", 7):
        odd = type(CASE.experiments[0])(1, gene)  # type: ignore[arg-type]
        assert "name of a gene" in build_index(tmp_path / "index", [(odd, CASE.grids[0])]).errors[0]
    assert len(open_index(tmp_path / "index")) == 5
