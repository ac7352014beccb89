"""BrainGlobe atlases by name: the library's are used and completed, and its absence is one line."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from brainglobe_cases import NAME, labels, write_atlas
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.core.errors import ConfigError
from pipeline.inputs.config import parse_config, reference_directory
from pipeline.inputs.fetch.brainglobe import LIBRARY, fetch_atlas
from pipeline.inputs.references import read_reference

FULL = f"brainglobe:{NAME}"


class Library:
    """As BrainGlobe's: of an atlas the documents at first, the voxels when they are asked for."""

    __version__ = "3.0.2"

    def __init__(self, default: Path) -> None:
        self.default = default
        self.asked: list[tuple[str, str | None, bool]] = []
        self.fault: BaseException | None = None

    def BrainGlobeAtlas(  # noqa: N802
        self, atlas_name: str, version: str | None, brainglobe_dir: Path | None, check_latest: bool
    ) -> Atlas:
        print("Downloading ...")
        self.asked.append((atlas_name, version, check_latest))
        if atlas_name != NAME:
            raise ConnectionError("no answer,\ntry again")
        home = brainglobe_dir or self.default
        if not (home / "brainglobe-atlasapi").exists():
            write_atlas(home)
            for chunks in list(home.rglob("s*/c")):
                chunks.rename(chunks.with_name("remote"))
        return Atlas(self, home / "brainglobe-atlasapi")


@dataclass
class Atlas:
    library: Library
    brainglobe_dir: Path
    local_full_name: str = f"atlases/{NAME}/1_0/manifest.json"

    def download(self, kind: str) -> None:
        for remote in list((self.brainglobe_dir / kind).rglob("s1/remote")):
            shutil.copytree(remote, remote.with_name("c"))
            if self.library.fault is not None:
                raise self.library.fault

    @property
    def annotation(self) -> None:
        self.download("annotation-sets")

    @property
    def template(self) -> None:
        self.download("templates")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Library:
    """Put a library into the place of BrainGlobe's, whose default folder is `tmp_path`."""
    own = Library(tmp_path)
    monkeypatch.setitem(sys.modules, LIBRARY, own)
    return own


def test_an_atlas_by_name(
    library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ISH_REFERENCE", raising=False)
    config = parse_config({"reference": {"name": FULL}}, "test")
    folder = reference_directory(config, None)
    assert folder == tmp_path / f"brainglobe-atlasapi/atlases/{NAME}/1_0"
    np.testing.assert_array_equal(read_reference(folder).annotation, labels(2))
    assert fetch_atlas(f"{FULL}@1.0") == folder
    assert library.asked == [(NAME, None, False), (NAME, "1.0", False)]
    assert capsys.readouterr().out == ""
    assert reference_directory(config, tmp_path) == tmp_path


@pytest.mark.parametrize("fault", [OSError("disk full"), KeyboardInterrupt()])
def test_half_a_download_is_not_taken_for_an_atlas(
    fault: BaseException, library: Library, tmp_path: Path
) -> None:
    library.fault = fault
    with pytest.raises((ConfigError, KeyboardInterrupt)):
        fetch_atlas(FULL)
    assert not list(tmp_path.rglob("c"))
    library.fault = None
    np.testing.assert_array_equal(read_reference(fetch_atlas(FULL)).annotation, labels(2))


def test_what_cannot_be_had_is_one_line(library: Library) -> None:
    with pytest.raises(ConfigError, match=r"brainglobe:no_mouse_25um: .*got no answer, try again"):
        fetch_atlas("brainglobe:no_mouse_25um")
    with pytest.raises(ConfigError, match="expected brainglobe:NAME"):
        fetch_atlas("brainglobe:../mouse")


@pytest.mark.parametrize("module", [None, SimpleNamespace(__version__="2.3.0")])
def test_without_the_library(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, LIBRARY, module)
    with pytest.raises(ConfigError, match=r"pip install 'ish-pipeline\[brainglobe\]'") as caught:
        fetch_atlas(FULL)
    assert "\n" not in str(caught.value)


def test_the_command(library: Library, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["reference", "fetch", FULL, "--json"])
    assert done.exit_code == 0
    assert f"atlases/{NAME}/1_0" in done.stdout
    assert "Nobody 2020" in done.stderr
    told = CliRunner().invoke(app, ["reference", "info", FULL, "--json"])
    assert "(6, 5, 4) at 200 um" in told.stdout
