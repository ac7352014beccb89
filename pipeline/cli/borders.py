"""Outermost error handling of the command: no traceback reaches the terminal."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

# Errors of the machine and not of this program: permissions, a full, broken or read-only disk.
OF_THE_MACHINE = (
    errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ELOOP,
    errno.ENAMETOOLONG, errno.ESTALE, errno.EMFILE, errno.ENFILE,
)  # fmt: skip
BROKEN_PIPE, INTERRUPTED = 141, 130  # exit statuses, 128 + signal number, as in shells


@contextmanager
def unbroken() -> Iterator[None]:
    """End cleanly where the reader of the output is gone, on Ctrl-C, and on unexpected errors.

    Characters that a terminal cannot show, as in file names that are not UTF-8, are printed as escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # a replaced stream that cannot be reconfigured
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Discard what is still buffered: flushing it at exit would fail again.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except KeyboardInterrupt:
        sys.stderr.write("ish: interrupted\n")
        sys.exit(INTERRUPTED)
    except Exception as error:
        _end(error)


def _end(error: Exception) -> NoReturn:
    """Print one line about an unexpected error, write the traceback to a file, and exit."""
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE and error.filename is not None:
        where = os.fsencode(error.filename).decode(errors="backslashreplace")
        sys.stderr.write(f"ish: {where}: cannot be read or written: {error.strerror}\n")
        sys.exit(1)
    what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="ish-fault-", suffix=".txt", delete=False) as file:
            traceback.print_exception(error, file=file)
        where = f"please report it with {file.name}"
    except OSError:
        where = "please report it"
    sys.stderr.write(f"ish: unexpected {what}; {where}\n")
    sys.exit(1)
