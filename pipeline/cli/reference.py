"""`ish reference`: what a reference space holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import say, show
from pipeline.formats.metaimage import write_labels
from pipeline.formats.reference import present_labels
from pipeline.loading import open_reference

app = typer.Typer(help="Look at a reference space.", no_args_is_help=True)
Folder = Annotated[
    Path | None, typer.Option("--reference", envvar="ISH_REFERENCE", help="default: the phantom")
]
Resolution = Annotated[float | None, typer.Option("--resolution-um", help="default: the finest")]
Json = Annotated[bool, typer.Option("--json", help="machine output")]


@app.command()
def info(reference: Folder = None, resolution_um: Resolution = None, json: Json = False) -> None:
    """Tell the box, labels and ontology of a reference."""
    space = open_reference(reference, resolution_um)
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
        bool, typer.Option(help="the labels as served, not derived from the annotation")
    ] = False,
) -> None:
    """Write the structure labels of the 200 um grid as MetaImage."""
    space = open_reference(reference, None)
    write_labels(output, space.grid_labels(served=served), space.grid.spacing_um)
    say(f"wrote {output}")
