"""The documentation site and its examples, built and run as `make docs` does."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TESTS

ROOT = TESTS.parent
EXAMPLES = sorted((ROOT / "workflows" / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in EXAMPLES if p.stem != "demo"], ids=lambda p: p.stem)
def test_every_example_runs_alone_and_without_data(path: Path, tmp_path: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if k not in ("ISH_DATA", "ISH_REFERENCE")}
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env=kept | {"MPLBACKEND": "agg", "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_example_has_a_title_and_cells() -> None:
    assert len(EXAMPLES) >= 10
    for path in EXAMPLES:
        if path.stem != "demo":
            text = path.read_text(encoding="utf-8")
            title, line = text.splitlines()[1:3]
            assert line == "=" * len(title), path
            assert text.count("\n# %%\n") >= 3, path


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the gallery's runs, which are tests of their own."""
    site = tmp_path / "site"
    options = ["--fail-on-warning", "--keep-going", "-q", "-b", "html", "-d", str(tmp_path / "d")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "docs", str(site)],
        cwd=ROOT,
        env={**os.environ, "ISH_DOCS_WITHOUT_EXAMPLES": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.syspath_prepend(str(ROOT / "workflows"))
    assert importlib.import_module("check_site").faults(site) == []
