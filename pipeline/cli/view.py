"""`ish view`: the service with its pages, opened in the browser."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import say
from pipeline.core.errors import ConfigError, DataError
from pipeline.service.app import create_app
from pipeline.service.content.catalogue import Catalogue
from pipeline.service.content.scan import unfinished
from pipeline.service.http.server import bound, serve

HOST = "127.0.0.1"


def view(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|DIR...", help="runs, folders with data_set.xml and grids, or folders of such"
        ),
    ],
    reference: Annotated[
        Path | None, typer.Option(envvar="ISH_REFERENCE", help="default: the reference of the runs")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="default: a free one")] = 0,
    cache: Annotated[
        Path | None, typer.Option(help="folder for image pyramids and the database; default the user's")
    ] = None,
    browser: Annotated[bool, typer.Option(help="open the page in the browser")] = True,
) -> None:
    """Look at finished runs in the browser: sections, synchronised view, numbers, atlas. Works offline.

    The pages are served to this machine alone until Ctrl-C; `ish serve` has further options.
    """
    with bound(HOST, port) as listening:
        try:
            app = create_app(folders, reference=reference, cache=cache, host=HOST, say=say)
        except DataError as error:  # a folder that cannot be served is a wrong argument
            raise ConfigError(str(error)) from None
        begun = [path.name for path in unfinished(folders)]
        if begun:
            say(f"note: {len(begun)} did not finish and will appear when done: {', '.join(begun[:5])}")
        url = f"http://{HOST}:{listening.getsockname()[1]}{first_page(app.state.service.catalogue)}"
        typer.echo(f"look at {url} (Ctrl-C stops)")
        if browser and has_display():
            # In a thread, for some browsers return only when they are closed; the socket listens already.
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        serve(app, listening)


def first_page(catalogue: Catalogue) -> str:
    """Return the page that shows what is served.

    Parameters
    ----------
    catalogue : Catalogue
        What is served.

    Returns
    -------
    str
        Path of the page of the only experiment, else of the list.
    """
    ids = [entry.id for entry in catalogue.entries]
    return f"/experiment/{ids[0]}" if len(ids) == 1 else "/"


def has_display() -> bool:
    """Tell whether a browser can open a window here; without one, text browsers would take the terminal."""
    return sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
