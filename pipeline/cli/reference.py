"""`ish reference`: contents of a reference space, a list of known ones, and download of official ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import progress as rich_progress

from pipeline.cli import reference_building
from pipeline.cli.console import ERR, PLAIN, Json, say, show
from pipeline.formats.volumes.brainglobe import atlas_origin
from pipeline.formats.volumes.metaimage import write_labels
from pipeline.formats.volumes.reference_folder import present_labels
from pipeline.inputs.fetch.brainglobe import PREFIX, fetch_atlas
from pipeline.inputs.fetch.http import SILENT
from pipeline.inputs.fetch.references import default_directory, fetch, find_reference, registry
from pipeline.inputs.references import open_reference
from pipeline.service.plates.plate_files import FORMS, write_plates
from pipeline.store.publishing import check_file_free

app = typer.Typer(
    help="Show a reference space, fetch an official one, or build one.", no_args_is_help=True, **PLAIN
)
app.command()(reference_building.build)
app.command()(reference_building.symmetrise)
app.command()(reference_building.interpolate)
app.command()(reference_building.average)
app.command()(reference_building.carry)
app.command("map-points")(reference_building.map_points)
Folder = Annotated[
    Path | None, typer.Option("--reference", envvar="ISH_REFERENCE", help="default: the phantom")
]
Resolution = Annotated[float | None, typer.Option("--resolution-um", help="default: the finest")]
Directory = Annotated[Path | None, typer.Option("--directory", help="default: the cache folder of the user")]


@app.command()
def info(
    name: Annotated[
        str | None, typer.Argument(help="a BrainGlobe atlas, brainglobe:NAME, instead of --reference")
    ] = None,
    reference: Folder = None,
    resolution_um: Resolution = None,
    json: Json = False,
) -> None:
    """Show the extent, labels and ontology of a reference."""
    space = open_reference(reference if name is None else fetch_atlas(name), resolution_um)
    present = present_labels(space.annotation)
    rows = {
        "name": space.name,
        "annotation": f"{space.annotation.shape} at {space.annotation_um:g} um",
        "extent_um": " x ".join(f"{e:g}" for e in space.extent_um),
        "template": f"{space.template.shape} at {space.template_um:g} um"
        if space.template is not None
        else "none",
        "grid annotation": "served" if space.grid_annotation is not None else "derived only",
        "structures": len(space.ontology.structures),
        "labels": int((present > 0).sum()),
        "labels that the ontology lacks": ", ".join(map(str, space.ontology.unknown(present))) or "none",
    }
    show([{"what": name, "value": value} for name, value in rows.items()], json)


@app.command("grid-annotation")
def grid_annotation(
    output: Annotated[Path, typer.Argument(help="a .mhd; its .raw goes beside it")],
    reference: Folder = None,
    served: Annotated[
        bool, typer.Option(help="labels as served, instead of derived from the annotation")
    ] = False,
) -> None:
    """Write the structure labels of the 200 um grid as MetaImage."""
    check_file_free(output)
    check_file_free(output.with_suffix(".raw"))
    space = open_reference(reference, None)
    write_labels(output, space.grid_labels(served=served), space.grid.spacing_um)
    say(f"wrote {output}")


@app.command()
def plates(
    output: Annotated[Path, typer.Argument(help="a folder for the plates and their index.csv")],
    reference: Folder = None,
    plane: Annotated[str, typer.Option(help="coronal, sagittal or horizontal")] = "coronal",
    every_um: Annotated[float, typer.Option("--every-um", help="distance between plates")] = 100.0,
    form: Annotated[str, typer.Option("--format", help=", ".join(FORMS))] = "both",
    resolution_um: Resolution = None,
) -> None:
    """Write the plates of a reference as drawings (SVG), pictures (PNG), or both."""
    files = write_plates(open_reference(reference, resolution_um), output, plane, every_um, form)
    say(f"wrote {len(files)} files to {output}, listed in {files[-1]}")


@app.command("list")
def list_references(directory: Directory = None, json: Json = False) -> None:
    """List the official references, and which of their files are present."""
    rows = []
    for reference in registry().values():
        folder = directory or default_directory(reference)
        names = [name for file in reference.files for name in file.kept]
        there = sum((folder / name).exists() for name in names)
        rows.append(
            {
                "name": reference.name,
                "about": reference.about,
                "files": len(names),
                "there": f"{there}/{len(names)}",
                "directory": str(folder),
            }
        )
    show(rows, json)


@app.command("fetch")
def fetch_reference(
    name: Annotated[str, typer.Argument(help="one of `ish reference list`, or brainglobe:NAME")] = "ccfv3_25",
    directory: Directory = None,
    base_url: Annotated[
        str | None,
        typer.Option(envvar="ISH_REFERENCE_BASE_URL", help="a mirror in place of the official servers"),
    ] = None,
    json: Json = False,
) -> None:
    """Download an official reference, verify its checksums, and keep its terms beside it.

    An atlas of BrainGlobe is downloaded by its own package, into BrainGlobe's folder.
    """
    if name.startswith(PREFIX):
        _fetch_atlas(name, directory, json)
        return
    reference = find_reference(name)
    folder = directory or default_directory(reference)
    collection = reference.collection
    say(f"{collection.title}\nterms: {collection.terms}\ncite: {collection.citation}")
    found = fetch(reference, folder, base_url, _Bar() if ERR.is_terminal else SILENT, _announce)
    show(
        [
            {
                "file": item.path.name,
                "was": "there already" if item.was_there else "fetched",
                "held against": item.checked,
                "sha256": item.sha256,
            }
            for item in found
        ],
        json,
    )
    if any(item.checked == "first download" for item in found):
        say("first download: there is no official checksum; the one of this download is kept in SOURCE.json")
    say(f"use it with --reference {folder}")


def _fetch_atlas(name: str, directory: Path | None, json: bool) -> None:
    folder = fetch_atlas(name, directory)
    title, citation = atlas_origin(folder)
    say(f"{title}\ncite: {citation}")
    show([{"name": name, "directory": str(folder)}], json)
    say(f"use it with --reference {folder}" + ("" if directory else f" or --set reference.name={name}"))


def _announce(url: str) -> None:
    say(f"fetching {url}")


class _Bar:
    """A progress bar of one download after the other."""

    def __init__(self) -> None:
        columns = (
            rich_progress.BarColumn(),
            rich_progress.DownloadColumn(),
            rich_progress.TransferSpeedColumn(),
            rich_progress.TimeRemainingColumn(),
        )
        self.bars = rich_progress.Progress(*columns, console=ERR, transient=True)
        self.task = self.bars.add_task("", total=None)

    def begin(self, total: int | None, done: int) -> None:
        """Show a file of `total` bytes of which `done` are there."""
        self.bars.remove_task(self.task)
        self.task = self.bars.add_task("", total=total, completed=done)
        self.bars.start()

    def advance(self, count: int) -> None:
        """Add `count` bytes."""
        self.bars.advance(self.task, count)

    def end(self) -> None:
        """Remove the bar."""
        self.bars.stop()
