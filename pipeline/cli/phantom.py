"""`ish phantom`: series with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import say
from pipeline.core.errors import ConfigError
from pipeline.inputs.config import parse_overrides
from pipeline.inputs.references import read_reference
from pipeline.phantom.scenes import data_set_scene, phantom_scene, render_options, specimen_scenes
from pipeline.phantom.write_series import SeriesForm, check_free, write_phantom_series


def phantom(
    folder: Annotated[Path, typer.Argument(help="the series goes to FOLDER/series, the truth beside it")],
    plane: Annotated[str, typer.Option(help="sagittal (left hemisphere) or coronal")] = "sagittal",
    sections: Annotated[int, typer.Option(min=1, help="of each series")] = 20,
    series: Annotated[int, typer.Option(min=1, help="of one brain, to FOLDER/ID/series each")] = 1,
    resolution_um: Annotated[float, typer.Option(min=0.5, help="um a pixel")] = 8.0,
    geometry: Annotated[
        Path | None, typer.Option(help="render with the geometry of this data_set.xml")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="with --geometry: reference of the brain that is cut")
    ] = None,
    energy: Annotated[Path | None, typer.Option(help="with --geometry: energy grid to express, .mhd")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="option=value of the renderer")] = None,
    give_alignment: Annotated[bool, typer.Option(help="include the true alignment in the series")] = False,
) -> None:
    """Render an ISH series of the phantom brain, or of a real one, with its truth beside it."""
    options = render_options(parse_overrides(set_ or ()))
    if series > 1 and geometry is not None:
        raise ConfigError("--series: expected one with --geometry, which gives the sections of one series")
    check_free(folder)
    if series > 1:
        for scene in specimen_scenes(plane, series, sections, resolution_um, options):
            own = folder / str(scene.geometry.data_set.id)
            write_phantom_series(own, scene, SeriesForm(give_alignment=give_alignment))
        say(f"wrote {series} series of one brain to {folder}; each with its truth")
        return
    if geometry is None:
        scene = phantom_scene(plane, sections, resolution_um, options)
    elif reference is None:
        raise ConfigError("--geometry: expected --reference too, of the brain that is cut")
    else:
        brain = read_reference(reference, template=False)
        scene = data_set_scene(geometry, brain, energy, resolution_um, options)
    form = SeriesForm(give_alignment=give_alignment, manifest="csv" if geometry is None else "xml")
    write_phantom_series(folder, scene, form)
    say(f"wrote {folder / 'series'}; its truth is in {folder / 'truth'}")
    if geometry is not None and not give_alignment:
        say("its data_set.xml holds no alignment; --give-alignment includes the true one")
