"""Ways in which files come to harm: a power cut, a copy that broke off, a disk that flips a bit."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path


def lost(file: Path, drawn: random.Random) -> None:
    """The name is gone."""
    file.unlink()


def emptied(file: Path, drawn: random.Random) -> None:
    """The name is there, the content is not."""
    file.write_bytes(b"")


def halved(file: Path, drawn: random.Random) -> None:
    """The first half is there."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def garbled(file: Path, drawn: random.Random) -> None:
    """As long as before, and something else."""
    file.write_bytes(drawn.randbytes(file.stat().st_size))


def flipped(file: Path, drawn: random.Random) -> None:
    """One bit is another."""
    content = bytearray(file.read_bytes())
    if content:
        content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
    file.write_bytes(content)


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (lost, emptied, halved, garbled, flipped)


def kinds(folder: Path) -> dict[str, Path]:
    """Return one file of every kind: those whose paths differ in numbers alone are of one."""
    found: dict[str, Path] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        # levels of a pyramid and their chunks differ in how they are written, sections do not
        kind = re.sub(r"(?<=\.zarr/)\d+|-\d+", "N", name)
        found.setdefault(kind, file)
    return found
