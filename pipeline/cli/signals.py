"""Stop on SIGTERM, SIGINT or SIGHUP: exit at once, keep finished outputs, say how to resume."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pipeline.cli.console import say
from pipeline.core.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
BY_SIGNAL = 128  # plus its number: 143 for SIGTERM, 130 for Ctrl-C


@contextmanager
def stopping_on_signals(output: Path) -> Iterator[None]:
    """End the process with status 128 + signal where one of the signals comes while the block runs."""
    here = threading.current_thread() is threading.main_thread()  # only the main thread receives signals
    before = {number: signal.signal(number, _stop) for number in SIGNALS if here}
    try:
        yield
    except BaseException as error:
        stopped = _behind(error)
        if stopped is None:
            raise
        name = signal.Signals(stopped.signal_number).name
        resume = "run the same command again to resume"
        say(f"ish: stopped by {name}; finished outputs in {output} are kept; {resume}")
        sys.stdout.flush()
        sys.stderr.flush()
        # Threads of unfinished tasks would hold an ordinary exit up. Their outputs are whole or absent.
        os._exit(BY_SIGNAL + stopped.signal_number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _behind(error: BaseException | None) -> Stopped | None:
    """Return the signal that led to an exception: one that comes while a lock is taken breaks its release."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return error


def _stop(number: int, frame: FrameType | None) -> None:
    for other in SIGNALS:  # a second one must not break what the first one tidies up
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)
