"""Transcripts of a terminal in the documentation: commands behind `$`, and what they show."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.cli import main

CONSOLE = re.compile(r"^```console\n(.*?)^```", re.S | re.M)
CONTINUED = re.compile(r" \\\n +")  # a command that goes on in the next line
OPERATOR = re.compile(r" (\|\||\||>) ")


@dataclass(frozen=True)
class Typed:
    """A command of the transcript and what it shows."""

    command: str
    shown: str


def transcript(path: Path) -> list[Typed]:
    """Return the commands of all console blocks of a page, in order."""
    blocks = [CONTINUED.sub(" ", block) for block in CONSOLE.findall(path.read_text(encoding="utf-8"))]
    steps = [step for block in blocks for step in re.split(r"^\$ ", block, flags=re.M)[1:]]
    return [Typed(*step.split("\n", 1)) for step in steps]


def type_in(command: str, patch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run a command: `ish` in this process, where it need not be imported anew, what follows by bash."""
    if command.split()[0] != "ish":
        done = _bash(command)
        return done.returncode, done.stdout + done.stderr
    own, *more = OPERATOR.split(command, maxsplit=1)
    patch.setattr("sys.argv", shlex.split(own))
    out, status = io.StringIO(), 0
    err = io.StringIO() if more else out  # as a terminal shows them: in the order of their lines
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
    if not more:
        return status, out.getvalue()
    operator, rest = more
    if operator == "||":
        done = _bash(rest.replace("$?", str(status)) if status else "true")
        return done.returncode, err.getvalue() + out.getvalue() + done.stdout
    done = _bash(f"cat {operator} {rest}", out.getvalue())
    return status or done.returncode, err.getvalue() + done.stdout + done.stderr


def _bash(command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
