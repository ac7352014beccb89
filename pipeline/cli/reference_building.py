"""`ish reference build`, `symmetrise`, `interpolate`, `average`, `carry` and `map-points`."""

from __future__ import annotations

import json as json_module
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import atlas_building
from pipeline.atlas_building.forms import FORMATS
from pipeline.atlas_building.points import ADDED
from pipeline.atlas_building.publish import PAGE, Publication
from pipeline.cli.console import Json, say, show
from pipeline.cli.signals import stopping_on_signals
from pipeline.formats.volumes.reference_folder import DESCRIPTION
from pipeline.store.publishing import check_file_free
from pipeline.system.files import read_json_value

MOST_UM = 100_000.0  # of a voxel
Output = Annotated[Path, typer.Option("--output", help="folder of the result; appears whole or not at all")]
Force = Annotated[bool, typer.Option("--force", help="put aside what else the output folder holds")]
Forms = Annotated[list[str], typer.Option("--format", help=f"also: {', '.join(FORMATS)}; may be repeated")]
Spacing = Annotated[float | None, typer.Option("--spacing-um", min=0.1, max=MOST_UM, help="voxel size")]


def build(
    series: Annotated[list[Path], typer.Argument(metavar="SERIES…", help="of one brain, numbered together")],
    output: Output,
    anchor: Annotated[
        Path | None, typer.Option("--anchor", metavar="VOLUME|REFERENCE", help="whose frame is taken")
    ] = None,
    spacing_um: Annotated[
        float, typer.Option("--spacing-um", min=0.1, max=MOST_UM, help="voxel size")
    ] = 25.0,
    forms: Forms = [],  # noqa: B006  typer copies it
    force: Force = False,
    json: Json = False,
) -> None:
    """Build a volume from the sections of one brain, on an anchor or in a frame of its own."""
    publication = publication_of(force, forms)
    with stopping_on_signals(output):
        atlas_building.build(series, output, anchor=anchor, spacing_um=spacing_um, publication=publication)
    tell(output, json)


def symmetrise(
    volume: Annotated[Path, typer.Argument(metavar="VOLUME|REFERENCE")],
    output: Output,
    annotation: Annotated[
        Path | None, typer.Option("--annotation", help="labels on the volume; default those of a REFERENCE")
    ] = None,
    half: Annotated[str, typer.Option("--half", help="average, left or right: what is mirrored")] = "average",
    spacing_um: Spacing = None,
    forms: Forms = [],  # noqa: B006  typer copies it
    force: Force = False,
    json: Json = False,
) -> None:
    """Straighten a volume about its midline and make its halves mirror images."""
    publication = publication_of(force, forms)
    with stopping_on_signals(output):
        atlas_building.symmetrise(
            volume, output, annotation=annotation, half=half, spacing_um=spacing_um, publication=publication
        )
    tell(output, json)


def interpolate(
    plates: Annotated[Path, typer.Argument(metavar="PLATES", help="a folder with plates.csv")],
    ontology: Annotated[Path, typer.Option("--ontology", help="structure_graph_1.json")],
    output: Output,
    spacing_um: Annotated[
        float | None,
        typer.Option("--spacing-um", min=0.1, max=MOST_UM, help="voxel size; default that of --like, or 25"),
    ] = None,
    like: Annotated[
        Path | None, typer.Option("--like", metavar="VOLUME|REFERENCE", help="whose grid is taken")
    ] = None,
    template: Annotated[
        Path | None, typer.Option("--template", metavar="VOLUME", help="grey volume that the plates lie on")
    ] = None,
    trust_positions: Annotated[
        bool, typer.Option("--trust-positions", help="take plates whose order their overlap contradicts")
    ] = False,
    forms: Forms = [],  # noqa: B006  typer copies it
    force: Force = False,
    json: Json = False,
) -> None:
    """Interpolate annotated plates to an annotation in three dimensions."""
    publication = publication_of(force, forms)
    with stopping_on_signals(output):
        atlas_building.interpolate(
            plates,
            output,
            ontology=ontology,
            spacing_um=spacing_um,
            like=like,
            template=template,
            trust_positions=trust_positions,
            publication=publication,
        )
    tell(output, json)


def average(
    brains: Annotated[list[Path], typer.Argument(metavar="VOLUME|REFERENCE...", help="two or more")],
    output: Output,
    spacing_um: Annotated[
        float | None,
        typer.Option(
            "--spacing-um", min=0.1, max=MOST_UM, help="voxel size; default the finest of the brains"
        ),
    ] = None,
    forms: Forms = [],  # noqa: B006  typer copies it
    force: Force = False,
    json: Json = False,
) -> None:
    """Average several brains without bias towards one of them: shape, stain, and its variance."""
    publication = publication_of(force, forms)
    with stopping_on_signals(output):
        atlas_building.average(brains, output, spacing_um=spacing_um, publication=publication)
    tell(output, json)


def carry(
    annotation: Annotated[
        Path, typer.Argument(metavar="ANNOTATION", help="a REFERENCE or a volume of labels")
    ],
    to: Annotated[
        Path,
        typer.Option("--to", metavar="VOLUME|REFERENCE", help="brain that it is carried to, of any contrast"),
    ],
    output: Output,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="VOLUME", help="template of the labels; default that of a REFERENCE"),
    ] = None,
    spacing_um: Annotated[
        float | None,
        typer.Option("--spacing-um", min=0.1, max=MOST_UM, help="voxel size of volumes that state none"),
    ] = None,
    forms: Forms = [],  # noqa: B006  typer copies it
    force: Force = False,
    json: Json = False,
) -> None:
    """Carry an annotation and its meshes into the space of another brain."""
    publication = publication_of(force, forms)
    with stopping_on_signals(output):
        atlas_building.carry(
            annotation, output, to=to, source=source, spacing_um=spacing_um, publication=publication
        )
    tell(output, json)


def map_points(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="of carry, symmetrise, or a brain of average")
    ],
    points: Annotated[Path, typer.Option("--points", help="CSV with x_um,y_um,z_um = (P, I, R)")],
    out: Annotated[Path, typer.Option("--out", help=f"CSV to write, with {', '.join(ADDED)}")],
    inverse: Annotated[bool, typer.Option("--inverse", help="target to source")] = False,
) -> None:
    """Map points from source to target, or back."""
    check_file_free(out, is_ours=_is_answer(out))
    outside = atlas_building.map_points(folder, points, out, inverse=inverse)
    say(f"wrote {out}" + (f"; points outside of the box: {outside}" if outside else ""))


def publication_of(force: bool, forms: list[str]) -> Publication:
    """Return how a verb of the command writes its folder.

    Parameters
    ----------
    force : bool
        Of `--force`.
    forms : list of str
        Of `--format`.

    Returns
    -------
    Publication
        With the command as it was called.
    """
    return Publication(force, tuple(forms), shlex.join(["ish", *sys.argv[1:]]))


def tell(output: Path, json: bool) -> None:
    """Print what a verb measured, as a table or its reference.json.

    Parameters
    ----------
    output : Path
        Folder of the result.
    json : bool
        Of `--json`.
    """
    described: dict[str, Any] = read_json_value(output / DESCRIPTION, "the description of a reference")
    if json:
        sys.stdout.write(json_module.dumps({"directory": str(output), **described}) + "\n")
        return
    rows = [{"what": name, "value": _text(value)} for name, value in described["quality"].items()]
    show(rows, as_json=False)
    for sentence in described["cannot_know"]:
        say(f"note: {sentence}")
    say(f"wrote {output}; page: {output / PAGE}")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        some = ", ".join(_text(item) for item in value) or "none"
        return f"{len(value)} values" if len(value) > 12 else some
    return str(value)


def _is_answer(out: Path) -> bool:
    """Tell whether a file is a table that this command wrote."""
    if not out.is_file():
        return False
    with out.open(encoding="utf-8", errors="replace") as file:
        return file.readline(1 << 16).strip().endswith(",".join(ADDED))
