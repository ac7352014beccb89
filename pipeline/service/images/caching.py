"""HTTP caching of images (RFC 9110, 9111): a browser asks again only whether a file has changed."""

from __future__ import annotations

from email.utils import formatdate, parsedate_to_datetime

from starlette.requests import Request
from starlette.responses import Response

from pipeline.service.images.image_store import Identity

FORM = "1"  # changes whenever the same file is answered with other bytes
MAX_AGE_S = 600  # for which a browser does not ask at all


def cache_headers(identity: Identity) -> dict[str, str]:
    """Return the headers of an answer made from a file.

    Parameters
    ----------
    identity : Identity
        Of the file.

    Returns
    -------
    dict of str to str
        ETag, Last-Modified, and how long the answer may be kept, by the browser alone.
    """
    return {
        "ETag": f'"{identity.digest}-{FORM}"',
        "Last-Modified": formatdate(identity.modified_s, usegmt=True),
        "Cache-Control": f"private, max-age={MAX_AGE_S}",
    }


def not_modified(request: Request, headers: dict[str, str]) -> Response | None:
    """Return the answer to a request whose sender has the current bytes.

    Parameters
    ----------
    request : Request
        The request.
    headers : dict of str to str
        As of `cache_headers`.

    Returns
    -------
    Response or None
        Status 304; None where the bytes are to be sent.
    """
    asked = request.headers.get("if-none-match")
    if asked is not None:
        tags = [tag.strip().removeprefix("W/") for tag in asked.split(",")]
        current = headers["ETag"] in tags or "*" in tags
    else:
        current = _unchanged_since(request.headers.get("if-modified-since"), headers["Last-Modified"])
    return Response(status_code=304, headers=headers) if current else None


def _unchanged_since(asked: str | None, modified: str) -> bool:
    if asked is None:
        return False
    try:
        return parsedate_to_datetime(asked) >= parsedate_to_datetime(modified)
    except (TypeError, ValueError):
        return False
