"""Answers of the API: the envelope around every JSON document, and refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pipeline.core.errors import PipelineError

AGAIN_S = "2"  # s after which a client that was told to wait may ask again


class RequestError(PipelineError):
    """A request that is answered with an error status and one line.

    Attributes
    ----------
    status : int
        HTTP status: 400 for a request that cannot be understood or is out of bounds, 404 for an id that is
        not served or a file that is gone, 414 for a request that is too long, 503 for a server that is busy.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def envelope(
    message: Sequence[Any] | Mapping[str, Any] | str,
    *,
    success: bool = True,
    start_row: int = 0,
    total_rows: int | None = None,
) -> dict[str, Any]:
    """Return the object that every JSON answer is, with its members in the original's order.

    Parameters
    ----------
    message : sequence, mapping or str
        Rows, one record, or the text of an error.
    success : bool
        Whether the request was answered.
    start_row : int
        Number of rows before the first of this answer.
    total_rows : int, optional
        Rows in all; default the number of rows in this answer.

    Returns
    -------
    dict of str to Any
        The envelope; `msg` is its sixth member, as clients of the structure graph rely on.

    Examples
    --------
    >>> envelope([{"id": 1}])
    {'success': True, 'id': 0, 'start_row': 0, 'num_rows': 1, 'total_rows': 1, 'msg': [{'id': 1}]}
    """
    rows = 1 if isinstance(message, Mapping) else 0 if isinstance(message, str) else len(message)
    return {
        "success": success,
        "id": 0,
        "start_row": start_row,
        "num_rows": rows,
        "total_rows": rows if total_rows is None else total_rows,
        "msg": message,
    }


def as_json(document: Any) -> bytes:
    """Return a document as JSON; NaN and infinity, which JSON lacks, become null.

    Parameters
    ----------
    document : Any
        Dicts, lists, numpy arrays, text, numbers, booleans and None.

    Returns
    -------
    bytes
        The text, UTF-8, without spaces after separators.
    """
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
