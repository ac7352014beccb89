"""`ish init`: write a manifest for a folder of images."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.console import Json, say, show
from pipeline.core.errors import ConfigError
from pipeline.formats.images.files import write_image
from pipeline.inputs.describe.draft import (
    CONTACT_SHEET,
    Answers,
    Draft,
    Question,
    Survey,
    check_answers,
    draft,
    image_names,
    keep_old,
    linked,
    open_questions,
    refusal,
    sections_among,
    summary,
    survey,
    with_boxes,
    write_series,
)
from pipeline.inputs.describe.names import read_numbers, readings
from pipeline.inputs.describe.pictures import Look, contact_sheet, doubts, largest_boxes, look, notes


def init(
    folder: Annotated[Path, typer.Argument(help="the images of one series")],
    plane: Annotated[str | None, typer.Option(help="coronal or sagittal")] = None,
    thickness_um: Annotated[float | None, typer.Option(help="of one section")] = None,
    resolution_um: Annotated[
        float | None, typer.Option(help="size of a pixel; default what the images state")
    ] = None,
    spacing: Annotated[
        int | None, typer.Option(help="sections from one image to the next, where names number the images")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="regular expression with the section number as its group")
    ] = None,
    id_: Annotated[
        int | None, typer.Option("--id", help="default: derived from the location of the folder")
    ] = None,
    gene: Annotated[str | None, typer.Option(help="what was stained for")] = None,
    specimen: Annotated[str | None, typer.Option(help="series cut from one brain share it")] = None,
    hemisphere: Annotated[str | None, typer.Option(help="left, right or both")] = None,
    section_order: Annotated[
        str | None, typer.Option(help="direction of rising numbers, such as rostral_to_caudal")
    ] = None,
    image_up: Annotated[str | None, typer.Option(help="superior or inferior")] = None,
    boxes: Annotated[str, typer.Option(help="largest: box the largest of several pieces")] = "none",
    output: Annotated[
        Path | None,
        typer.Option(
            help="a folder for the manifest and links to the images, where FOLDER cannot be written"
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="replace the manifest; the old one is kept as .old-N")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="write without asking")] = False,
    json: Json = False,
) -> None:
    """Describe a folder of section images: show what was found, ask for the rest, write a manifest."""
    asking = not (yes or json) and sys.stdin.isatty()
    names, others = sections_among(image_names(folder, force=force))
    for name in others:
        say(f"{name}: left out, an overview by its name; use --pattern to include it")
    if output is not None:
        folder = linked(folder, output, names)
        image_names(folder, force=force)
    found = survey(folder, read_numbers(names, pattern or _pattern(names, asking)))
    answers = Answers(
        plane, thickness_um, resolution_um, spacing, id_, gene, specimen, hemisphere, section_order, image_up,
        boxes,
    )  # fmt: skip
    answers = _complete(found, answers, asking)
    made = draft(found, answers)
    say(f"looking at {len(found.images)} images …")
    looks = look(made)
    if boxes == "largest":
        made = with_boxes(made, largest_boxes(looks))
    write_image(folder / CONTACT_SHEET, contact_sheet(made, looks))
    show([_row(made, seen) for seen in looks], json)
    _show_summary(found, made, looks)
    if asking and not typer.confirm("write sections.csv and section_data_set.yaml?", default=True, err=True):
        raise typer.Exit(1)
    for name in keep_old(folder) if force else ():
        say(f"kept {folder / name}")
    for line in write_series(folder, made):
        if not any(seen.trouble and seen.trouble in line for seen in looks):  # printed before
            say(f"warning: {line}")
    say(f"wrote {folder / 'sections.csv'} and {folder / 'section_data_set.yaml'}")


def _pattern(names: list[str], asking: bool) -> str | None:
    """Return the pattern that the user chooses where names hold several numbers, else None."""
    found = readings(names)
    if not asking or len(found) < 2:
        return None
    say(f"the names, such as {names[0]}, hold several numbers:")
    for at, reading in enumerate(found, start=1):
        say(f"  {at}: {reading.examples()} ({reading.how})")
    chosen = 0
    while not 1 <= chosen <= len(found):
        chosen = int(typer.prompt(f"which are the section numbers (1 to {len(found)})", type=int, err=True))
    return found[chosen - 1].pattern


def _complete(found: Survey, answers: Answers, asking: bool) -> Answers:
    """Return the answers with every open question answered; ConfigError where the user cannot be asked."""
    check_answers(found, answers)
    while questions := open_questions(found, answers):
        if not asking:
            raise ConfigError(refusal(questions))
        answers = _ask(found, answers, questions[0])
    return answers


def _ask(found: Survey, answers: Answers, question: Question) -> Answers:
    choices = f" ({' or '.join(question.choices)})" if question.choices else ""
    while True:
        reply = str(typer.prompt(f"{question.text}{choices}", err=True)).strip()
        try:
            reply_as: dict[str, Any] = {question.field: question.kind(reply)}
            answered = dataclasses.replace(answers, **reply_as)
            check_answers(found, answered)
        except ConfigError as error:
            say(f"{error}")
        except ValueError:  # raised by float and int
            say(f"expected a {'whole ' * (question.kind is int)}number, got {reply!r}")
        else:
            return answered


def _row(made: Draft, seen: Look) -> dict[str, Any]:
    image = next(i for i in made.data_set.section_images if i.section_number == seen.number)
    info = made.found[seen.number].info
    return {
        "section": seen.number,
        "file": seen.name,
        "px": f"{image.width_px}x{image.height_px}",
        "um": round(image.resolution_um, 4),
        "kind": f"{'RGB' if info.channels == 3 else 'grey'} {info.bits}" if info else "",
        "tissue_mm": "x".join(f"{mm:.1f}" for mm in seen.tissue_mm),
        "note": notes(seen),
    }


def _show_summary(found: Survey, made: Draft, looks: list[Look]) -> None:
    data_set = made.data_set
    say(f"section numbers: {found.reading.how} in the names; {summary(made)}")
    say(f"id {data_set.id}, {data_set.plane_of_section}, {data_set.section_thickness_um:g} um thick")
    say(f"check {found.folder / CONTACT_SHEET}: all images in order")
    boxed = any(image.tissue_box_px for image in data_set.section_images)
    for line in dict.fromkeys((*made.warnings, *doubts(looks, boxed=boxed))):
        say(f"warning: {line}")
