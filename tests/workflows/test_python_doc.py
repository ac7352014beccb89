"""docs/python.md and the README: what is typed into Python gives what is shown."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
from conftest import TESTS

LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize(("name", "fewest"), [("docs/python.md", 40), ("README.md", 3)])
def test_what_is_typed_gives_what_is_shown(
    name: str, fewest: int, rendered: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with the run and the series that the chapter names."""
    (tmp_path / "runs").symlink_to(finished.parent)
    (tmp_path / "practice").symlink_to(rendered)
    monkeypatch.chdir(tmp_path)
    text = (TESTS.parent / name).read_text(encoding="utf-8")
    typed = "".join(re.findall(r"^```pycon\n(.*?)^```", text, re.S | re.M))
    test = doctest.DocTestParser().get_doctest(typed, {}, name, name, 0)
    assert len(test.examples) >= fewest
    said: list[str] = []
    doctest.DocTestRunner(optionflags=LOOSELY).run(test, out=said.append)
    assert not said, "".join(said)
