"""Where the command ends whatever happens: never with a traceback on the terminal."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

# What the machine and not the program is at fault for: rights, a full, broken or read-only disk.
OF_THE_MACHINE = (
    errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ELOOP,
    errno.ENAMETOOLONG, errno.ESTALE, errno.EMFILE, errno.ENFILE,
)  # fmt: skip
BROKEN_PIPE, INTERRUPTED = 141, 130  # as shells count these signals


@contextmanager
def unbroken() -> Iterator[None]:
    """End well where the reader of our output has gone, on Ctrl-C, and on a fault that nobody foresaw.

    Text that a terminal cannot show, as the names of files that are no UTF-8, is shown with escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # a stream of a caller's own
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still to be flushed at exit has nowhere to go either.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except KeyboardInterrupt:
        sys.stderr.write("ish: interrupted\n")
        sys.exit(INTERRUPTED)
    except Exception as error:
        _end(error)


def _end(error: Exception) -> NoReturn:
    """Say in one line that there is a fault of ours, and where its story lies."""
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
