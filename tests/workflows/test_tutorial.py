"""The tutorial: what docs/tutorial.md types is run, and must give what it shows."""

from __future__ import annotations

import doctest
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import TESTS
from transcripts import transcript, type_in

from pipeline.cli.console import OUT
from pipeline.core.model import Float64, SeriesAlignment
from pipeline.formats.alignments.alignment_json import read_alignment
from pipeline.formats.images.files import write_image
from pipeline.geometry import affine
from pipeline.phantom import Scene, render_section
from pipeline.phantom.scenes import phantom_scene, render_options

ROOT = TESTS.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SPACING = 8


@pytest.fixture
def scene() -> Scene:
    options = {"seed": 1, "stain_gain": 0.1, "texture": 0.1}
    return phantom_scene("sagittal", 20, 32.0, render_options(options))


@pytest.fixture
def desk(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder: 20 plain JPEGs as a slide scanner leaves them, and the configurations."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    for number in range(20):
        name = f"Slide3_2024-05-01_{number + 1:03d}_10x.jpg"
        write_image(tmp_path / "my-sections" / name, render_section(scene, number).pixels)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISH_REFERENCE", raising=False)
    monkeypatch.setattr(OUT, "width", 200)
    return tmp_path


def test_what_is_typed_gives_what_is_shown(desk: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = transcript(TUTORIAL)
    assert len(typed) >= 10
    for step in typed:
        status, came = type_in(step.command, monkeypatch)
        assert status == 0, f"$ {step.command}\n{came}"
        assert doctest.OutputChecker().check_output(step.shown, came, LOOSELY), f"$ {step.command}\n{came}"
    _check_report(desk / "runs" / "1001" / "report.html")
    _check_places(desk / "runs" / "1001" / "alignment.json", scene)


class _Page(HTMLParser):
    """Counts the pictures of a page, and what it would ask of other servers."""

    pictures = 0
    outside = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        sources = [value or "" for name, value in attrs if name in ("src", "href")]
        self.pictures += sum(value.startswith("data:image/") for value in sources)
        self.outside += sum(tag in ("img", "script", "link") and "//" in value[:8] for value in sources)


def _check_report(path: Path) -> None:
    """Open the page: every section is shown, and nothing comes from elsewhere."""
    page, text = _Page(), path.read_text(encoding="utf-8")
    page.feed(text)
    assert page.pictures >= 20
    assert page.outside == 0
    assert all(f"{SPACING * n}" in text for n in range(1, 21))


def _check_places(path: Path, scene: Scene) -> None:
    """Pixels of tissue, through the alignment found and through the one that drew them."""
    found, off = read_alignment(path), []
    for number, image in enumerate(scene.images):
        width, height = scene.geometry.size_px(image)
        across = np.linspace(0.3, 0.7, 5)
        points = np.stack(np.meshgrid(across * width, across * height), axis=-1).reshape(-1, 2)
        here = _to_reference(found, SPACING * (number + 1), points)
        true = _to_reference(scene.geometry.alignment, image.section_number, points)
        off.append(np.linalg.norm(here - true, axis=1))
    assert np.median(off) < 50.0
    assert np.percentile(off, 95) < 150.0


def _to_reference(alignment: SeriesAlignment, number: int, points: Float64) -> Float64:
    section = alignment.of(number)
    assert section is not None
    plane = affine.apply(section.alignment2d.section_to_volume, points)
    volume = np.column_stack([plane, np.full(len(plane), number * 25.0)])
    return affine.apply(alignment.alignment3d.volume_to_reference, volume)
