"""Bounded reading of files of unknown origin: any irregular or damaged file is a one-line error."""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
import stat
from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError

MOST_TEXT = 64 << 20  # bytes of a manifest, table, configuration or alignment; typical: 100 kB
MOST_DIGITS = 400  # of an integer; the largest float has 309
CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\ufffe\uffff]")  # terminals interpret them, XML forbids them
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxtuple = 3, 4, 4, 4
_SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 60, 60, 40


def shown(value: Any) -> str:
    """Return a value as a message shows it, in at most 120 characters.

    Parameters
    ----------
    value : object
        Anything, of any size.

    Returns
    -------
    str
        Abbreviated representation.

    Examples
    --------
    >>> shown([1, 2, 3, 4, 5]), shown("x" * 100)[:12]
    ('[1, 2, 3, 4, ...]', "'xxxxxxxxxxx")
    """
    try:
        text = _SHORT.repr(value)
    except (RecursionError, ValueError):  # nested too deep, or a number with more digits than Python prints
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= 120 else f"{text[:117]}..."


def real_path(path: Path) -> Path:
    """Resolve the links of a path; circular links are resolved as far as they lead.

    Parameters
    ----------
    path : Path
        Any path; it need not exist.

    Returns
    -------
    Path
        Absolute path.

    Notes
    -----
    `Path.resolve` raises a RuntimeError for circular links.
    """
    return Path(os.path.realpath(path))


def check_plain(path: Path, what: str) -> int:
    """Return the size of a regular file without opening it.

    Opening a named pipe would block until another process writes into it.

    Parameters
    ----------
    path : Path
        File to check.
    what : str
        What is expected, for the message: "a table".

    Returns
    -------
    int, bytes
        Size of the file.

    Raises
    ------
    DataError
        Where there is no such file, or it is not a regular file.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path}: expected {what}, got no such file") from None
    except (OSError, ValueError) as error:  # circular links, or a name that is too long or contains NUL
        raise DataError(f"{shown(str(path))}: expected {what}, got {_reason(error)}") from None
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: expected {what}, got {KINDS.get(stat.S_IFMT(found.st_mode), 'no file')}")
    return found.st_size


def read_content(path: Path, what: str, most: int = MOST_TEXT) -> bytes:
    """Return the bytes of a regular file of bounded size.

    Parameters
    ----------
    path : Path
        File to read.
    what : str
        What is expected, for the message: "a table".
    most : int, bytes
        Largest size that is accepted.

    Returns
    -------
    bytes
        The whole content.

    Raises
    ------
    DataError
        Where the file is missing, irregular, unreadable or too large.
    """
    size = check_plain(path, what)
    if size > most:
        raise DataError(f"{path}: expected {what} of at most {most} bytes, got {size}")
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise DataError(f"{path}: expected {what}, got {_reason(error)}") from None
    if len(content) > most:  # the file grew, or states no size, like those of /proc
        raise DataError(f"{path}: expected {what} of at most {most} bytes, got more")
    return content


def read_text(path: Path, what: str, most: int = MOST_TEXT) -> str:
    """Return the text of a file.

    Parameters
    ----------
    path : Path
        File in UTF-8, or in the encoding that its byte order mark states.
    what : str
        What is expected, for the message: "a table".
    most : int, bytes
        Largest size that is accepted.

    Returns
    -------
    str
        The text without byte order mark.

    Raises
    ------
    DataError
        As of `read_content`, and where the bytes are not text in that encoding or contain NUL.
    """
    content = read_content(path, what, most)
    encoding = next((name for mark, name in BOMS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected {what} in UTF-8, got byte {content[error.start : error.start + 1]!r} at"
            f" {error.start}; save it as UTF-8"
        ) from None
    if "\0" in text:
        raise DataError(f"{path}: expected {what}, got text with NUL characters; is it another file?")
    return text


def read_json_value(path: Path, what: str, *, finite: bool = True) -> Any:
    """Return the content of a JSON file.

    Parameters
    ----------
    path : Path
        File to read.
    what : str
        What is expected, for the message: "an alignment".
    finite : bool
        Refuse NaN and infinite numbers.

    Returns
    -------
    object
        Nested dicts, lists and plain values.

    Raises
    ------
    DataError
        As of `read_text`, and where the text is not JSON or holds numbers that are refused.
    """
    text = read_text(path, what)
    checks: dict[str, Any] = {"parse_constant": _not_finite, "parse_float": _finite} if finite else {}
    try:
        return json.loads(text, parse_int=_whole, **checks)
    except RecursionError:
        raise DataError(f"{path}: expected {what} in JSON, got lists nested too deep") from None
    except ValueError as error:
        raise DataError(f"{path}: expected {what} in JSON, got {error}") from None


def _not_finite(text: str) -> float:
    raise ValueError(f"{text}, which is no finite number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text[:40])


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
