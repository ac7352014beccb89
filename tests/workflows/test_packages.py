"""Wheel and source distribution: built, complete, and at work without a checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import TESTS
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from pipeline.core.package import PACKAGE

ROOT = TESTS.parent
EXTRAS = {"anndata", "brainglobe", "slurm"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return Path(path)


def test_the_wheel_has_what_a_run_needs_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "pipeline").rglob("*.py")}
    templates = {p.relative_to(ROOT).as_posix() for p in (ROOT / "pipeline").rglob("*.j2")}
    configs = {f"{PACKAGE.name}/configs/{p.name}" for p in (ROOT / "configs").iterdir()}
    others = {f"{PACKAGE.name}/{name}" for name in ("references.toml", "py.typed")}
    assert sources | templates | configs | others <= names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"pipeline"}
    assert {line.split()[1] for line in metadata.splitlines() if line.startswith("Provides-Extra")} == EXTRAS


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    (path,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path / "sdist"), versions=["standard"])
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    (again,) = WheelBuilder(str(source)).build(directory=str(tmp_path / "again"), versions=["standard"])
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {i.filename: i.CRC for i in other.infolist()}


@pytest.mark.slow
def test_the_demo_runs_from_the_package_alone(wheel: Path, tmp_path: Path) -> None:
    """In an empty environment, whose libraries are those of this one: the wheel is all that is installed."""
    venv.create(tmp_path / "env", symlinks=True)
    (libraries,) = (tmp_path / "env").glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(libraries)
    # After the wheel on the path, and without what an editable installation of this checkout adds.
    (libraries / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    python = tmp_path / "env" / "bin" / "python"
    ish = [str(python), "-c", "from pipeline.cli import main; main()"]
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ISH_DATA", "ISH_REFERENCE")}
    work = tmp_path / "work"
    work.mkdir()

    def called(*words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            words, cwd=work, env=kept, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stderr
        return done

    where = called(str(python), "-c", "import pipeline; print(pipeline.__file__)").stdout.strip()
    assert Path(where).is_relative_to(tmp_path)
    shown = json.loads(called(*ish, "config", "show", "phantom", "--changed", "--json").stdout)
    assert [row["value"] for row in shown] == ["phantom"]
    done = called(*ish, "demo", "--sections", "6", "--resolution-um", "16", "--alignment", "given", "--json")
    figures = {row["compared"]: row for row in json.loads(done.stdout)}
    assert figures["structures, gridded truth"]["pearson"] > 0.95
    assert (work / "demo-output" / "runs" / "900001" / "report.html").is_file()
    assert str(sys.prefix) not in (work / "demo-output" / "runs" / "900001" / "report.html").read_text()
