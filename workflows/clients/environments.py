"""One environment a client, made by pip or npm and kept for the next time; where that fails, the reason."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 420.0  # for one installation
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--no-input")
PATIENCE = ("--retries", "1", "--timeout", "15")
NPM = ("install", "--silent", "--no-audit", "--no-fund", "--no-package-lock")
PYTHON = Path("bin") / "python"
MARK = ".requirements"  # in an environment that is complete: what was installed


@dataclass(frozen=True)
class Client:
    """A program that reads the original's API, with scripts that check it.

    Attributes
    ----------
    name : str
        Name of its environment.
    scripts : tuple of str
        Scripts in this folder.
    python : str
        Version of Python that it needs, such as "3.11" or "3"; pip installs what `requirements/` pins for it.
        "": its scripts need no more than this project has.
    package : str
        Package that npm installs; its scripts run in this project's own Python.
    file : str
        File of that package, which its scripts are given.
    """

    name: str
    scripts: tuple[str, ...]
    python: str = ""
    package: str = ""
    file: str = ""


class Unavailable(Exception):  # noqa: N818
    """An environment that cannot be made here; the message says why."""


def environment(client: Client, folder: Path, ready: Path | None = None) -> list[str]:
    """Return how the scripts of a client are started; its environment is made where it is not there.

    Parameters
    ----------
    client : Client
        The client.
    folder : Path
        Folder of all environments.
    ready : Path or None
        Folder of environments that are taken as they are, by name.

    Returns
    -------
    list of str
        A Python; and, of a package for browsers, what stands after a script's own arguments.

    Raises
    ------
    Unavailable
        Where there is no such Python or no npm, or where pip or npm fails.
    """
    place = folder / client.name
    if ready is not None and (ready / client.name).exists():
        place = ready / client.name
    elif not _complete(client, place):
        shutil.rmtree(place, ignore_errors=True)
        if client.package:
            _call(["npm", *NPM, "--prefix", str(place), client.package], "npm cannot install it")
        elif client.python:
            _call([_python(client), "-m", "venv", str(place)], f"no environment for {client.name}")
            _call([str(place / PYTHON), *PIP, *PATIENCE, "-r", str(_pins(client))], "pip cannot install it")
        else:
            place.mkdir(parents=True)
        (place / MARK).write_text(_wanted(client), encoding="utf-8")
    if client.package:
        return [sys.executable, str(place / "node_modules" / client.file)]
    return [str(place / PYTHON) if client.python else sys.executable]


def _complete(client: Client, place: Path) -> bool:
    return (place / MARK).is_file() and (place / MARK).read_text(encoding="utf-8") == _wanted(client)


def _wanted(client: Client) -> str:
    return _pins(client).read_text(encoding="utf-8") if client.python else client.package


def _pins(client: Client) -> Path:
    return Path(__file__).with_name("requirements") / f"{client.name}.txt"


def _python(client: Client) -> str:
    """Return a Python of the version that a client needs."""
    for name in (sys.executable, f"python{client.python}"):
        found = shutil.which(name)
        if found is not None and _version(found).startswith(client.python):
            return found
    raise Unavailable(f"needs Python {client.python}, which is not installed here")


def _version(python: str) -> str:
    asked = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else ""


def _call(words: list[str], failing: str) -> None:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{failing} within {TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise Unavailable(f"{failing}: {error}") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip() and "WARNING" not in line]
        raise Unavailable(f"{failing}: {lines[-1] if lines else f'exit status {done.returncode}'}")
