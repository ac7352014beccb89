"""What every client's script shares: the facts it is given, and one line for each check.

The scripts run in environments of their own, where this package is not installed: this module needs only
Python and numpy.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"  # first word of a line
FACTS = "facts.json"  # in the folder that a script is given, beside arrays as .npy


class Skip(Exception):  # noqa: N818
    """A check that cannot be made here; the message says why."""


@dataclass(frozen=True)
class Case:
    """What a script is given.

    Attributes
    ----------
    base : str
        Address of the server, without a slash at its end.
    folder : Path
        Folder for files that the client writes.
    facts : dict of str to Any
        What the project's own code read from the runs.
    arrays : mapping of str to array
        Arrays that belong to them.
    """

    base: str
    folder: Path
    facts: dict[str, Any]
    arrays: Mapping[str, np.ndarray[Any, Any]]

    def experiment(self, role: str) -> dict[str, Any]:
        """Return the facts of a run by its role, such as "sagittal"."""
        found: dict[str, Any] = self.facts["experiments"][role]
        return found

    def new(self, name: str) -> Path:
        """Return the path of a file that does not exist yet, in a folder of its own."""
        folder = self.folder / f"file{len(list(self.folder.glob('file*')))}"
        folder.mkdir(parents=True)
        return folder / name


Check = Callable[[Case], None]


def run(checks: Mapping[str, Sequence[Check]], before: Callable[[str], None] = lambda base: None) -> None:
    """Make the checks that belong to the facts in the folder sys.argv[1], and print a line for each.

    Parameters
    ----------
    checks : mapping of str to sequence of callable
        Checks by the kind of the facts; the first line of a check's docstring is its name.
    before : callable
        Called first, with the address of the server.
    """
    given = Path(sys.argv[1])
    facts = json.loads((given / FACTS).read_text(encoding="utf-8"))
    files = {"/".join(path.relative_to(given).with_suffix("").parts): path for path in given.rglob("*.npy")}
    arrays = {name: np.load(path, mmap_mode="r") for name, path in files.items()}
    case = Case(facts["base"], Path.cwd() / Path(sys.argv[0]).stem, facts, arrays)
    before(case.base)
    for check in checks.get(facts["kind"], ()):
        name = (check.__doc__ or check.__name__).partition("\n")[0].rstrip(".")
        try:
            check(case)
        except Skip as why:
            print(f"{SKIPPED} {name}: {why}", flush=True)
        except Exception as error:
            traceback.print_exc()
            told = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"{FAILED} {name}: {told[:400]}", flush=True)
        else:
            print(f"{PASSED} {name}", flush=True)


def same(found: Any, expected: Any, what: str) -> None:
    """Check that two values are equal.

    Parameters
    ----------
    found, expected : any
        Values.
    what : str
        What they are, for the message.

    Raises
    ------
    AssertionError
        Where they differ.
    """
    assert found == expected, f"{what}: expected {_short(expected)}, got {_short(found)}"


def near(found: Any, expected: Any, within: float, what: str) -> None:
    """Check that numbers are equal up to a bound.

    Parameters
    ----------
    found, expected : array_like
        Numbers of the same shape.
    within : float
        Largest difference.
    what : str
        What they are, for the message.

    Raises
    ------
    AssertionError
        Where they differ by more.
    """
    one, other = np.asarray(found, float), np.asarray(expected, float)
    assert one.shape == other.shape, f"{what}: expected shape {other.shape}, got {one.shape}"
    apart = float(np.abs(one - other).max(initial=0.0))
    assert apart <= within, f"{what}: expected a difference of at most {within:g}, got {apart:g}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 160 else f"{text[:150]} … ({len(text)} characters)"
