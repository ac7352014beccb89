"""The server process: a socket, and uvicorn over the application."""

from __future__ import annotations

import gc
import signal
import socket
import sys
import threading

import uvicorn
from starlette.types import ASGIApp

from pipeline.core.errors import ConfigError
from pipeline.service.http.connections import Connection

BACKLOG = 1024
NEW_OBJECTS = 50_000  # between two looks of the garbage collector: a few megabytes


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Parameters
    ----------
    host : str
        Address of this machine.
    port : int
        Port; 0 takes a free one.

    Returns
    -------
    socket
        The socket.

    Raises
    ------
    ConfigError
        Where the port is in use or not allowed, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol stated asyncio sends each part of an answer at once. Without, the body waits for the
    # client to acknowledge the header, 40 ms.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        found.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(
            f"--port {port}: expected a free port of this machine at {host}, got: {reason}; choose"
            " another --port, or 0 for any free one"
        ) from None
    return found


def settle() -> None:
    """Have the garbage collector leave alone what is loaded now, and look at new objects less often.

    Modules and kernels are a hundred thousand objects that stay. With Python's own settings most of the time
    of reading a large document goes into looking at them again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 20, 20)


def configured(app: ASGIApp) -> uvicorn.Config:
    """Return how uvicorn serves an application.

    Parameters
    ----------
    app : ASGI application
        What answers.

    Returns
    -------
    uvicorn.Config
        The configuration.
    """
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
    )


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Answer requests until the process is told to stop, by SIGINT or SIGTERM; what runs has some seconds.

    Parameters
    ----------
    app : ASGI application
        What answers.
    listening : socket
        From `bound`.
    """
    settle()
    # uvicorn raises the signal again once all is answered, which would end the process as one that failed.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    uvicorn.Server(configured(app)).run(sockets=[listening])
