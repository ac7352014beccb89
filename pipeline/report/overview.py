"""An index page over all runs of a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pipeline.core.errors import DataError
from pipeline.report.contents import RunContents, read_contents, read_grid, read_rows
from pipeline.report.page import PAGE, environment
from pipeline.report.pictures import magma_rgba, png_uri
from pipeline.report.projections import brightest, project
from pipeline.report.verdict import Verdict, errors, verdict, warnings
from pipeline.store.publishing import publishing
from pipeline.store.run import RunFolder, is_run
from pipeline.system.files import real_path

INDEX = "index.html"
MOST_PICTURES = 1000  # runs; beyond, the index shows no pictures, which keeps its size down


@dataclass(frozen=True, eq=False)
class Entry:
    """One run in the index; `link` is empty where the run has no page, `picture` where it has no grid."""

    contents: RunContents
    verdict: Verdict
    link: str
    errors: tuple[str, ...]
    warnings: int
    picture: str


def write_index(folder: Path) -> Path:
    """Write `index.html` over the runs in the direct subfolders of a folder.

    Parameters
    ----------
    folder : Path
        Folder with runs.

    Returns
    -------
    Path
        The index.

    Raises
    ------
    DataError
        Where there is no run.
    """
    runs = sorted(p for p in folder.glob("*") if is_run(p))
    if not runs:
        raise DataError(f"{folder}: expected a folder of runs (OUTPUT of `ish run`), found no receipts")
    entries = [_entry(RunFolder(path), pictures=len(runs) <= MOST_PICTURES) for path in runs]
    text = environment().get_template("index.html.j2").render(entries=entries, name=real_path(folder).name)
    with publishing(folder) as fresh:
        (fresh / INDEX).write_text(text, encoding="utf-8", errors="backslashreplace")
    return folder / INDEX


def _entry(run: RunFolder, *, pictures: bool) -> Entry:
    """Return the entry of one run, with its picture where asked for."""
    contents = read_contents(run)
    return Entry(
        contents=contents,
        verdict=verdict(contents, read_rows(contents).content or ()),
        link=f"{quote(run.path.name)}/{PAGE}" if run.file(PAGE).exists() else "",
        errors=tuple(errors(contents)),
        warnings=len(warnings(contents)),
        picture=_picture(contents) if pictures else "",
    )


def _picture(contents: RunContents) -> str:
    """Return the maximum projection of energy along R, P to the right, as a URI; empty without a grid."""
    grid = read_grid(contents).content
    if grid is None:
        return ""
    values = project(grid["energy"], 2).T
    return png_uri(magma_rgba(values, values >= 0, brightest(values)))
