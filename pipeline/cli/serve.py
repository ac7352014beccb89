"""`ish serve`: the atlas's own API over finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import say
from pipeline.core.errors import ConfigError, DataError
from pipeline.service.app import create_app
from pipeline.service.http.security import LOOPBACK
from pipeline.service.http.server import bound, serve, settle


def serve_runs(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="runs, folders with data_set.xml and grids, or folders of such"
        ),
    ],
    index: Annotated[
        Path | None, typer.Option(help="a search index; default one in the cache, made from what is served")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(envvar="ISH_REFERENCE", help="default: the reference of the runs")
    ] = None,
    host: Annotated[
        str, typer.Option(help="address to listen at; others than the loopback need --token")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8000,
    cache: Annotated[
        Path | None, typer.Option(help="folder for image pyramids and the database; default the user's")
    ] = None,
    cors: Annotated[
        str | None, typer.Option(metavar="ORIGIN", help="origin whose pages may read answers; * for all")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="ISH_SERVE_TOKEN", help="secret that each request must carry")
    ] = None,
) -> None:
    """Serve finished runs over HTTP: the atlas's own API, images and search. Nothing is written to them.

    Runs that are added or finished later appear within a minute, or on SIGHUP.
    """
    if host not in LOOPBACK and not token:
        raise ConfigError(
            f"--host {host}: other machines could read everything; give --token SECRET too, or leave it out"
        )
    with bound(host, port) as listening:
        settle()
        try:
            app = create_app(
                folders,
                index=index,
                reference=reference,
                cache=cache,
                host=host,
                cors=cors,
                token=token,
                say=say,
            )
        except DataError as error:  # a folder that cannot be served is a wrong argument
            raise ConfigError(str(error)) from None
        name, number = listening.getsockname()[:2]
        count = len(app.state.service.catalogue.experiments)
        shown = f"[{name}]" if ":" in name else name
        noun = "experiment" if count == 1 else "experiments"
        typer.echo(f"serving {count} {noun} at http://{shown}:{number}/ (Ctrl-C stops)")
        serve(app, listening)
