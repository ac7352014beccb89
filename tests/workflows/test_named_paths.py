"""Files of the repository that its texts name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"(?<![\w/.{}-])(?:pipeline|tests|workflows|configs|docs|\.ci)/[\w./-]+")
FOLDERS = ("pipeline", "tests", "workflows", "docs", "configs", ".ci")
# Of what is made and not kept, texts may speak.
MADE = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
TEXTS = [
    *(ROOT / name for name in ("Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(
        path
        for name in FOLDERS
        for path in sorted((ROOT / name).rglob("*"))
        if path.is_file() and str(path.relative_to(ROOT).parent) not in MADE
    ),
]


def lost(text: str) -> list[str]:
    """Return the paths in a text that begin with a folder of the repository and lead nowhere."""
    named = (path.rstrip("./") for path in NAMED.findall(text))
    return [path for path in named if path not in MADE and not (ROOT / path).exists()]


def test_a_path_that_leads_nowhere_is_found() -> None:
    assert lost("pytest tests/conftest.py, `pipeline/none.py`; see docs/python.md.") == ["pipeline/none.py"]


@pytest.mark.parametrize("suffix", ["", ".md", ".py", ".yaml", ".sbatch"])
def test_paths_in_texts_lead_somewhere(suffix: str) -> None:
    texts = [path for path in TEXTS if path.suffix == suffix and path != Path(__file__).resolve()]
    assert texts
    found = {str(path.relative_to(ROOT)): lost(path.read_text(encoding="utf-8")) for path in texts}
    assert {name: paths for name, paths in found.items() if paths} == {}
