"""A run that is told to stop ends as such, wherever the signal catches it."""

import os
import signal
import threading
from pathlib import Path

import pytest

from pipeline.cli.signals import stopping_on_signals


class EndedError(Exception):
    """Stands for the end of the process."""


def raised(breaks: bool) -> None:
    """Be hit by a signal, and break a lock on the way out."""
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        if breaks:
            threading.Lock().release()


@pytest.mark.parametrize("breaks", [False, True], ids=["plainly", "while a lock is taken"])
def test_a_signal_ends_a_run_with_its_number(
    breaks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(status: int) -> None:
        raise EndedError(status)

    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(EndedError, match=str(128 + signal.SIGTERM)), stopping_on_signals(tmp_path):
        raised(breaks)
    assert "stopped by SIGTERM" in "".join(capsys.readouterr())


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="release unlocked lock"), stopping_on_signals(tmp_path):
        threading.Lock().release()
