"""One self-contained page per series, written in whatever state the run is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import jinja2
import numpy as np

from pipeline.core.reference_space import ReferenceSpace
from pipeline.report import charts, pictures, planes, projections
from pipeline.report.coarse_atlas import FIRST, OUTSIDE, CoarseAtlas, coarse_atlas, line_colour
from pipeline.report.contents import Panel, RunContents, attempt, read_contents, read_grid, read_rows
from pipeline.report.methods import methods
from pipeline.report.sections import Picture, cards, is_used
from pipeline.report.text import factor, figure, percent, seconds
from pipeline.report.verdict import errors, steps, verdict, warnings
from pipeline.store.run import RunFolder
from pipeline.system.whole_files import replacing

PAGE = "report.html"
NARROWEST_PERCENT = 50  # least width of a section image, percent of its card
BRAIN_LINE = "333333"  # colour of the outline of everything annotated
T = TypeVar("T")


def write_report(run: RunFolder, reference: ReferenceSpace | None, threads: int = 1) -> Path:
    """Write `report.html` into a run folder from its contents.

    Parameters
    ----------
    run : RunFolder
        The run, finished or not.
    reference : ReferenceSpace or None
        Reference of the run, at 50 um or finer for smooth outlines; None leaves outlines and names out.
    threads : int
        Threads that share the sections; they do not change the page.

    Returns
    -------
    Path
        The page; the same folder gives the same bytes.
    """
    page = run.file(PAGE)
    content = page_content(read_contents(run), reference, threads)
    text = environment().get_template("report.html.j2").render(content)
    with replacing(page) as fresh:
        fresh.write_text(text, encoding="utf-8", errors="backslashreplace")
    return page


@cache
def environment() -> jinja2.Environment:
    """Return the templates of this package; every text that a run contributes is escaped."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(percent=percent, seconds=seconds, figure=figure, factor=factor)
    found.filters["share_of_width"] = share_of_width
    return found


def page_content(contents: RunContents, reference: ReferenceSpace | None, threads: int) -> dict[str, Any]:
    """Return everything that the template shows.

    Parameters
    ----------
    contents : RunContents
        The run.
    reference : ReferenceSpace or None
        Reference of the run.
    threads : int
        Threads that share the sections.

    Returns
    -------
    dict of str to value
        Variables of the template; a part that may be absent is a Panel with its content or the reason.
    """
    rows, grid = read_rows(contents), read_grid(contents)
    atlas = None if reference is None else coarse_atlas(reference)
    return {
        "contents": contents,
        "about": _about(contents),
        "verdict": verdict(contents, rows.content or ()),
        "errors": errors(contents),
        "warnings": warnings(contents),
        "uncertainty_notes": contents.data_set.get("uncertainty_notes") or (),
        "steps": steps(contents.receipts),
        "planes": attempt(lambda: planes.planes(contents, atlas)),
        "projections": _after(grid, lambda found: projections.projections(found, reference)),
        "bars": _after(rows, lambda found: charts.bar_chart(found, _named(atlas).structures)),
        "poses": attempt(lambda: charts.pose_charts(contents)),
        "series_measures": _series_measures(contents),
        "methods": attempt(lambda: methods(contents, reference)),
        **_cards(contents, atlas, threads),
        **_colours(atlas),
    }


def _cards(contents: RunContents, atlas: CoarseAtlas | None, threads: int) -> dict[str, Any]:
    """Return the cards of the sections, and what the template needs to lay them out."""
    made = attempt(lambda: cards(contents, atlas, threads))
    found = made.content or []
    widths = [card.picture.content.width_um for card in found if card.picture.content]
    return {
        "cards": made,
        "is_used": is_used,
        "widest": max(widths, default=0.0),
        "measure_names": list(dict.fromkeys(name for card in found for name, _ in card.figures)),
    }


def _colours(atlas: CoarseAtlas | None) -> dict[str, Any]:
    """Return the colours of outlines and legends, and the layout of the charts."""
    low, high = pictures.LOW_INTENSITY, pictures.HIGH_INTENSITY
    structures = () if atlas is None else atlas.structures
    lines = [(FIRST + n, line_colour(s.color)) for n, s in enumerate(structures)]
    return {
        "line_colours": [(OUTSIDE, BRAIN_LINE), *lines],
        "legend": structures,
        "intensity_stops": pictures.stops(pictures.intensity_table(), low, high),
        "intensity_range": (low, high),
        "magma_stops": pictures.stops(pictures.magma_table()),
        "plot": charts.PLOT,
        "plot_size": (charts.WIDTH, charts.HEIGHT),
    }


def _after(panel: Panel[T], build: Callable[[T], Any]) -> Panel[Any]:
    """Build a part of the page from the content of another, or pass on its reason."""
    content = panel.content
    return Panel(None, panel.reason) if content is None else attempt(lambda: build(content))


def _named(atlas: CoarseAtlas | None) -> CoarseAtlas:
    """Return the atlas; LookupError, which the page shows as a reason, where there is none."""
    if atlas is None:
        raise LookupError("the reference of the run, which names the structures, is not available")
    return atlas


def _about(contents: RunContents) -> list[tuple[str, str]]:
    """Return the facts that the manifest states about the series."""
    about = contents.data_set
    names: Mapping[str, str] = {
        "plane_of_section": "plane",
        "section_thickness_um": "thickness, µm",
        "hemisphere": "hemisphere",
        "specimen": "specimen",
        "treatment": "treatment",
        "probe_orientation": "probe",
        "age": "age",
        "reference_space_id": "reference space",
    }
    return [(text, str(about[key])) for key, text in names.items() if about.get(key) not in (None, "")]


def _series_measures(contents: RunContents) -> list[tuple[str, str]]:
    """Return the scale of the volume and the measures of the alignment as text."""
    alignment = contents.alignment.content
    if alignment is None:
        return []
    linear = alignment.alignment3d.volume_to_reference[:, :3]
    scales = " × ".join(f"{s:.3f}" for s in np.linalg.norm(linear, axis=0))
    found = [("scale of the volume along x, y, z", scales)]
    return found + [(name.replace("_", " "), figure(value)) for name, value in alignment.measures.items()]


def share_of_width(picture: Picture, widest_um: float) -> int:
    """Return the width of a section image on its card: all on one scale, but none under half the card.

    Parameters
    ----------
    picture : Picture
        The section image.
    widest_um : float, um
        Width of the widest section image; 0 where no size is known.

    Returns
    -------
    int
        Percent of the width of the card.
    """
    return max(round(100 * picture.width_um / widest_um), NARROWEST_PERCENT) if widest_um else 100
