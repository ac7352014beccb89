"""`ish fetch`: experiments of the Allen Mouse Brain Atlas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Json, say, show
from pipeline.core.errors import DataError
from pipeline.inputs.fetch.experiments import BASE_URL, Wanted, experiment_source, fetch_experiment


def fetch(
    identifiers: Annotated[list[int], typer.Argument(metavar="ID…", help="section data sets")],
    directory: Annotated[Path, typer.Option(help="each goes to DIRECTORY/<id>")] = Path("ish-data"),
    downsample: Annotated[int, typer.Option(help="number of times to halve the images")] = 0,
    grids: Annotated[
        str, typer.Option(help="served grids: energy,density,intensity; none for none")
    ] = "energy",
    images: Annotated[bool, typer.Option(help="fetch the section images")] = True,
    section: Annotated[list[int] | None, typer.Option(help="only this section; may be repeated")] = None,
    connections: Annotated[int, typer.Option(min=1, max=8, help="files at a time")] = 2,
    base_url: Annotated[
        str, typer.Option(envvar="ISH_API_BASE_URL", help="another server with the same API")
    ] = BASE_URL,
    json: Json = False,
) -> None:
    """Fetch Allen experiments: data_set.xml, section images, served grids. Existing files are kept."""
    wanted = Wanted(
        downsample=downsample,
        grids=() if grids == "none" else tuple(name.strip() for name in grids.split(",")),
        images=images,
        sections=frozenset(section) if section else None,
        base_url=base_url,
        connections=connections,
    )
    rows, failed = [], False
    for identifier in dict.fromkeys(identifiers):
        folder = directory / str(identifier)
        try:
            files = fetch_experiment(identifier, folder, wanted, say)
        except DataError as error:
            say(f"{identifier}: {error}")
            failed = True
            continue
        new = sum(not file.was_there for file in files)
        rows.append(
            {"experiment": identifier, "files": len(files), "fetched now": new, "folder": str(folder)}
        )
        source = experiment_source(folder)
        say(f"terms: {source['terms']}\ncite: {source['citation']}")
    show(rows, json)
    if rows:
        say(f"run it: ish run CONFIG --input {rows[-1]['folder']} --set alignment.name=given")
    raise typer.Exit(1 if failed else 0)
