"""What a digest of code covers: what a module reaches, and of that no comment and no docstring."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.core import code
from pipeline.core.package import PACKAGE
from pipeline.stages.table import STEPS


def forget() -> None:
    for function in (
        code.reach_digest,
        code._imports,
        code._imported,
        code._path,
        code._code,
        code._stripped,
    ):
        function.cache_clear()


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package that the digests are taken of."""
    folder = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "PACKAGE", folder)
    forget()
    yield folder
    forget()


def codes() -> dict[str, str]:
    forget()
    return {stage.name: stage.code for stage in STEPS}


def test_digests_are_the_same_in_every_thread() -> None:
    forget()
    names = [stage.run.__module__ for stage in STEPS] * 3
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(code.reach_digest, names))
    assert found == [code.reach_digest(name) for name in names]


def test_what_a_module_reaches() -> None:
    assert code.reached("pipeline.stages.pool") == {
        "pipeline.stages.pool", "pipeline.store.facts", "pipeline.sections.statistics", "pipeline.core.model",
        "pipeline.core.errors",
    }  # fmt: skip
    assert "pipeline.registration.align" in code.reached("pipeline.stages.align")  # by way of the package
    assert "pipeline.phantom.render" not in code.reached("pipeline.stages.grid")


def edited(folder: Path, name: str, edit: Callable[[str], str]) -> set[str]:
    """Edit a file and return the stages whose code is another then."""
    before, path = codes(), folder / name
    text = path.read_text(encoding="utf-8")
    assert edit(text) != text
    path.write_text(edit(text), encoding="utf-8")
    after = codes()
    path.write_text(text, encoding="utf-8")
    return {name for name, digest in before.items() if after[name] != digest}


def test_comments_docstrings_pages_and_commands_recompute_nothing(copy: Path) -> None:
    first = '"""'
    for name in ("core/model.py", "sections/measure.py", "quantification/gridding.py", "store/run.py"):
        assert edited(copy, name, lambda text: "# a comment\n" + text) == set()
        assert edited(copy, name, lambda text: text.replace(first, first + "Another text. ", 1)) == set()
    assert edited(copy, "report/report.html.j2", lambda text: text + "<!-- x -->") == {"report"}
    assert edited(copy, "report/charts.py", lambda text: text + "\nX = 1\n") == {"report"}
    for name in ("cli/main.py", "runs/api.py", "runs/schedule/graph.py", "stages/run_task.py"):
        assert edited(copy, name, lambda text: text + "\nX = 1\n") == set()


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("quantification/gridding.py", {"grid"}),
        ("quantification/unionize.py", {"unionize"}),
        ("detection/adaptive.py", {"detect"}),
        ("registration/fit/joint.py", {"align"}),
    ],
)
def test_code_counts_where_it_is_reached(name: str, stages: set[str], copy: Path) -> None:
    found = edited(copy, name, lambda text: text + "\nX = 1\n") - {"summarise", "report"}
    assert found == stages
