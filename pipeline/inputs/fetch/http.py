"""Downloads with retries: a server that is busy or breaks off is asked again, for the missing part only.

Resumes with range requests (RFC 9110, section 14), conditional on the ETag.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import requests

from pipeline.core.errors import DataError

BUSY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that are worth another attempt
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


@dataclass(eq=False)
class _Part:
    """The part of a file that has arrived, and the ETag of its version."""

    content: bytearray
    tag: str = ""


def download(url: str, patience: Patience) -> bytes:
    """Return the content behind a URL.

    Parameters
    ----------
    url : str
        The URL.
    patience : Patience
        Retries and waiting times.

    Returns
    -------
    bytes
        The complete content.

    Raises
    ------
    DataError
        Where the server refuses, or all attempts fail.
    """
    part = _Part(bytearray())
    reason, pause = "", patience.pause_s
    for attempt in range(patience.attempts):
        if attempt:
            time.sleep(min(pause, LONGEST_WAIT_S))
            pause *= 2
        try:
            reason, asked = _ask(url, part, patience.timeout_s)
        except requests.RequestException as error:
            reason, asked = _reason(error), 0.0
        if not reason:
            return bytes(part.content)
        pause = max(pause, asked)
    raise DataError(f"{url}: cannot be fetched: {reason}; asked {patience.attempts} times, try again later")


def _ask(url: str, part: _Part, timeout_s: float) -> tuple[str, float]:
    """Ask once; return why to ask again (empty: complete) and the wait that the server asks for, s."""
    resume = (
        {"Range": f"bytes={len(part.content)}-", "If-Range": part.tag} if part.content and part.tag else {}
    )
    with requests.get(url, headers=resume, stream=True, timeout=timeout_s) as answer:
        if answer.status_code in BUSY:
            asked = answer.headers.get("Retry-After", "")
            wait = float(asked) if re.fullmatch(r"\d+", asked) else 0.0
            return f"the server answers {answer.status_code} {answer.reason}", wait
        if answer.status_code >= 400:
            raise DataError(
                f"{url}: cannot be fetched: the server answers {answer.status_code} {answer.reason}"
            )
        # Any status but 206 (partial content) brings the whole file, perhaps a new version of it.
        if answer.status_code != 206:
            part.content.clear()
            part.tag = (
                answer.headers.get("ETag", "") if answer.headers.get("Accept-Ranges") == "bytes" else ""
            )
        for block in answer.iter_content(BLOCK):
            part.content += block
    return "", 0.0


def _reason(error: requests.RequestException) -> str:
    text = " ".join(str(error).split())
    return next((reason for sign, reason in NETWORK.items() if sign in text), text[:120])
