"""`ish demo`: a phantom series through the whole pipeline, held against its truth."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Json, say, show
from pipeline.cli.progress import Progress
from pipeline.cli.signals import stopping_on_signals
from pipeline.core.errors import ConfigError
from pipeline.inputs.config import load_config
from pipeline.phantom import RenderOptions
from pipeline.phantom.scenes import phantom_scene
from pipeline.phantom.write_series import SeriesForm, write_phantom_series
from pipeline.runs import api
from pipeline.runs.score import score

OPTIONS = RenderOptions(seed=1, stain_gain=0.1, texture=0.1, dust=2.0)
OURS = {".ish-phantom.json", "series", "truth", "runs", "sweep"}  # what a folder of the demo may hold


def demo(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[FOLDER]", help="series, truth and run go there; one of the demo is replaced"
        ),
    ] = Path("demo-output"),
    sections: Annotated[int, typer.Option(min=6, help="sagittal sections")] = 20,
    resolution_um: Annotated[float, typer.Option(min=0.5, help="um a pixel")] = 5.0,
    alignment: Annotated[str, typer.Option(help="joint: from nothing; given: as it was rendered")] = "joint",
    json: Json = False,
) -> None:
    """Render a phantom series, take it through the whole pipeline, and compare with its truth."""
    config = load_config(Path("phantom"), [f"alignment.name={alignment}"])
    _clear(folder)
    began = time.perf_counter()
    say(f"rendering {sections} sagittal sections of the phantom brain …")
    scene = phantom_scene("sagittal", sections, resolution_um, OPTIONS)
    write_phantom_series(folder, scene, SeriesForm(give_alignment=True))
    rendered = time.perf_counter()
    with stopping_on_signals(folder / "runs"), Progress(quiet=json) as progress:
        (result,) = api.run(config, [folder / "series"], folder / "runs", listener=progress)
    ended = time.perf_counter()
    if result.errors or result.run is None:
        say("\n".join(result.errors))
        raise typer.Exit(1)
    found = score(result.run.path, folder)
    rows = [{"compared": what, **_figures(values)} for what, values in found.items()]
    show(rows, json)
    say(f"rendered in {rendered - began:.0f} s, run in {ended - rendered:.0f} s")
    say(f"open {result.run.path / 'report.html'}")
    say(f"look at it: ish view {result.run.path.parent}")


def _figures(values: dict[str, float]) -> dict[str, float | str]:
    """Return the figures of a question under the same columns for all."""
    names = ("dice", "structures", "voxels", "pearson", "mean_ratio")
    return {name: float(f"{values[name]:.4g}") if name in values else "" for name in names}


def _clear(folder: Path) -> None:
    """Remove an earlier demo; anything else in the folder is the user's."""
    if not folder.exists():
        return
    others = sorted({path.name for path in folder.iterdir()} - OURS) if folder.is_dir() else [folder.name]
    if others:
        raise ConfigError(
            f"{folder}: expected a new folder or one of an earlier demo, got one with {others[0]};"
            " name another"
        )
    shutil.rmtree(folder)
