"""The one downloader: a server that is busy or breaks off is asked again, for the missing part only.

Resumes with range requests (RFC 9110, section 14), conditional on the ETag. A part is appended only where the
answer says that it continues the same version of the file at the byte that was asked for.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import IO, Protocol

import requests

from pipeline.core.errors import DataError

BUSY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that are worth another attempt
PARTIAL, BEYOND = 206, 416  # HTTP statuses: a part of the file; a range that starts beyond its end
BLOCK = 1 << 16  # bytes read at a time
LONGEST_WAIT_S = 120.0  # between two attempts
# Short reasons for the long messages of the network libraries, by a word that these contain.
NETWORK = {
    "NameResolution": "no such host; is there a network?",
    "refused": "connection refused",
    "timed out": "no answer in time",
    "IncompleteRead": "the connection broke off",
    "ConnectionReset": "the connection broke off",
    "RemoteDisconnected": "the connection broke off",
}
# Byte offsets are those of the file itself: a compressed answer could not be continued.
PLAIN = {"Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Patience:
    """Retries and waiting times of a download.

    Attributes
    ----------
    attempts : int
        Number of requests before an error is raised.
    timeout_s : float
        Longest wait for an answer, s.
    pause_s : float
        Pause before the second attempt, s; doubled for each one after it.
    """

    attempts: int = 5
    timeout_s: float = 60.0
    pause_s: float = 1.0


USUAL = Patience()


class Progress(Protocol):
    """What shows how far a download is."""

    def begin(self, total: int | None, done: int) -> None:
        """Receive the size of the file (None: not known) and how much of it is there, bytes."""

    def advance(self, count: int) -> None:
        """Receive how many bytes have come since the last call."""

    def end(self) -> None:
        """Be told that the download has ended, well or not."""


class _Silent:
    """A progress that shows nothing."""

    def begin(self, total: int | None, done: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def end(self) -> None:
        pass


SILENT = _Silent()


@dataclass(eq=False)
class _Part:
    """The part of a file that has arrived, and the ETag of its version (empty: it cannot be continued)."""

    file: IO[bytes]
    tag: str = ""

    @property
    def size(self) -> int:
        return self.file.seek(0, os.SEEK_END)

    def clear(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.tag = ""


def download(url: str, file: IO[bytes], patience: Patience, progress: Progress = SILENT) -> None:
    """Write the complete content behind a URL into a file.

    Parameters
    ----------
    url : str
        The URL.
    file : binary file, open for writing
        Empty at first; must be seekable.
    patience : Patience
        Retries and waiting times.
    progress : Progress
        Told how far the download is.

    Raises
    ------
    DataError
        Where the server refuses, or all attempts fail; the file may hold a part then.
    OSError
        Where the file cannot be written.
    """
    part = _Part(file)
    reason, pause = "", patience.pause_s
    try:
        for attempt in range(patience.attempts):
            if attempt:
                time.sleep(min(pause, LONGEST_WAIT_S))
                pause *= 2
            try:
                reason, asked = _ask(url, part, patience.timeout_s, progress)
            except requests.RequestException as error:
                reason, asked = _reason(error), 0.0
            if not reason:
                file.flush()
                return
            pause = max(pause, asked)
    finally:
        progress.end()
    raise DataError(f"{url}: cannot be fetched: {reason}; asked {patience.attempts} times, try again later")


def _ask(url: str, part: _Part, timeout_s: float, progress: Progress) -> tuple[str, float]:
    """Ask once; return why to ask again (empty: complete) and the wait that the server asks for, s."""
    held = part.size if part.tag else 0
    resume = {"Range": f"bytes={held}-", "If-Range": part.tag} if held else {}
    with requests.get(url, headers={**PLAIN, **resume}, stream=True, timeout=timeout_s) as answer:
        status = f"the server answers {answer.status_code} {answer.reason}"
        if answer.status_code in BUSY:
            asked = answer.headers.get("Retry-After", "")
            return status, float(asked) if re.fullmatch(r"\d+", asked) else 0.0
        if answer.status_code == BEYOND and held:
            part.clear()  # what is here is no beginning of the file: another version, or damaged
            return status, 0.0
        if answer.status_code >= 400:
            raise DataError(f"{url}: cannot be fetched: {status}")
        if answer.status_code == PARTIAL:
            if not _continues(answer, held, part.tag):
                part.clear()
                return "the server sends another part of the file than asked for", 0.0
        else:  # the whole file, perhaps a new version of it
            part.clear()
            part.tag, held = _tag(answer), 0
        total = _total(answer)
        progress.begin(total, held)
        for block in answer.iter_content(BLOCK):
            part.file.write(block)
            progress.advance(len(block))
    if total is not None and part.size != total:
        return f"the connection broke off after {part.size} of {total} bytes", 0.0
    return "", 0.0


def _continues(answer: requests.Response, held: int, tag: str) -> bool:
    """Tell whether a partial answer is all that is missing, of the version whose beginning is here."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
    if not found:
        return False
    start, last, total = map(int, found.groups())
    return start == held and last + 1 == total and answer.headers.get("ETag", tag) == tag


def _tag(answer: requests.Response) -> str:
    """Return the ETag of a file that can be continued byte by byte; empty where it cannot."""
    tag = answer.headers.get("ETag", "")
    whole_bytes = answer.headers.get("Accept-Ranges") == "bytes" and not _is_coded(answer)
    return tag if whole_bytes and not tag.startswith("W/") else ""


def _total(answer: requests.Response) -> int | None:
    """Return the size of the whole file in bytes; None where the answer does not tell it."""
    _, _, total = answer.headers.get("Content-Range", "").rpartition("/")
    stated = total if answer.status_code == PARTIAL else answer.headers.get("Content-Length", "")
    return int(stated) if re.fullmatch(r"\d{1,18}", stated) and not _is_coded(answer) else None


def _is_coded(answer: requests.Response) -> bool:
    return bool(answer.headers.get("Content-Encoding", "identity") != "identity")


def _reason(error: requests.RequestException) -> str:
    text = " ".join(str(error).split())
    return next((reason for sign, reason in NETWORK.items() if sign in text), text[:120])
