"""Shared by the tests: real data where it is there, and a small phantom series run through the command.

Real data is read from ISH_DATA; without it the tests that need it are skipped, with this reason.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline.cli import main
from pipeline.cli.main import VERBS
from pipeline.phantom.scenes import phantom_scene, render_options
from pipeline.phantom.write_series import SeriesForm, write_phantom_series
from pipeline.store.run import RunFolder
from pipeline.system.seals import seal

TESTS = Path(__file__).parent
CONFIG = TESTS.parent / "configs" / "phantom.yaml"
COMMAND = (sys.executable, "-c", "from pipeline.cli import main; main()")
GIVEN = ("--set", "alignment.name=given", "--set", "reference.resolution_um=100")
# A machine that is busy, or compiles a kernel first, is no fault of what is tested.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
ID = "900003"  # of the phantom series with seed 3
for verb in VERBS.values():  # now, not while a test has replaced what they import
    import_module(f"pipeline.cli.{verb.module}")

NOT_COMPARED = {"receipts", "report.html", "provenance.json"}  # they hold times

Ish = Callable[..., int]


@pytest.fixture(scope="session")
def ish_data() -> Path:
    """Return the folder of real data."""
    folder = os.environ.get("ISH_DATA")
    if not folder:
        pytest.skip("ISH_DATA is not set: it names the folder of real reference and ISH data")
    return Path(folder)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six sagittal sections of the phantom, with their alignment."""
    folder = tmp_path_factory.mktemp("phantom")
    scene = phantom_scene("sagittal", 6, 16.0, render_options({"seed": 3}))
    write_phantom_series(folder, scene, SeriesForm(give_alignment=True))
    return folder


@pytest.fixture(scope="session")
def finished(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of that series, left untouched by tests."""
    output = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        assert _call(patch, "run", CONFIG, "--input", rendered / "series", "--output", output, *GIVEN) == 0
    return output / ID


@pytest.fixture
def ish(monkeypatch: pytest.MonkeyPatch) -> Ish:
    """Call the command as a shell would and return its exit status."""
    return lambda *words: _call(monkeypatch, *words)


def _call(patch: pytest.MonkeyPatch, *words: object) -> int:
    patch.setattr("sys.argv", ["ish", *map(str, words)])
    patch.delenv("ISH_REFERENCE", raising=False)
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def vouch(folder: Path) -> None:
    """Have the receipts of a run take what a test has changed in it for what its tasks wrote."""
    run = RunFolder(folder)
    for receipt in run.receipts().values():
        there = [folder / name for name in receipt.outputs]
        run.write_receipt(replace(receipt, outputs=seal(folder, there)))


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every output file by its path."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    relative = {p.relative_to(folder): p for p in files}
    return {
        str(name): hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in relative.items()
        if name.parts[0] not in NOT_COMPARED
    }
