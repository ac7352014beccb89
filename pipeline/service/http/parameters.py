"""Parameters of requests: numbers, lists of ids and words, each refused with one line where it is none."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from pipeline.core.did_you_mean import hint
from pipeline.service.http.answers import RequestError
from pipeline.service.served import LIMITS

LARGEST = 1e9  # um or px; what lies farther out is a mistake
LONGEST = 60  # characters of a value that a message shows
_ID = re.compile(r"([0-9]{1,19})(?:\.([a-z]{1,8}))?(?:&(.*))?", re.DOTALL)


def number(parameters: Mapping[str, str], name: str) -> float:
    """Return a parameter that is a finite number.

    Parameters
    ----------
    parameters : mapping of str to str
        Parameters of the request.
    name : str
        Name of the parameter.

    Returns
    -------
    float
        Its value.

    Raises
    ------
    RequestError
        Where it is missing, no number, or beyond 1e9.
    """
    text = parameters.get(name)
    if text is None:
        raise RequestError(f"{name}: expected a number, got none; give &{name}=")
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST:
        raise RequestError(f"{name}: expected a number between -1e9 and 1e9, got {text[:LONGEST]!r}")
    return value


def id_of(text: str, what: str) -> int:
    """Return the id that a part of a path or parameter states.

    Parameters
    ----------
    text : str
        The text.
    what : str
        What it identifies, for the message.

    Returns
    -------
    int
        The id.

    Raises
    ------
    RequestError
        Where the text is no whole number.
    """
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        raise RequestError(f"{what}: expected an id, a whole number, got {text[:LONGEST]!r}")
    return int(text)


def ids(parameters: Mapping[str, str], name: str, what: str, *, needed: bool = True) -> list[int]:
    """Return a parameter that lists ids.

    Parameters
    ----------
    parameters : mapping of str to str
        Parameters of the request.
    name : str
        Name of the parameter.
    what : str
        What the ids identify, for the message.
    needed : bool
        Whether there must be one.

    Returns
    -------
    list of int
        At most `LIMITS.ids`.

    Raises
    ------
    RequestError
        Where there are none, too many, or something else than ids.
    """
    text = parameters.get(name, "")
    parts = [part for part in text.split(",") if part.strip()]
    if needed and not parts:
        raise RequestError(f"{name}: expected ids of {what}, separated by commas, got none")
    if len(parts) > LIMITS.ids:
        raise RequestError(f"{name}: expected at most {LIMITS.ids} ids, got {len(parts)}; ask in parts")
    return [id_of(part, name) for part in parts]


def word(value: str, name: str, known: Collection[str]) -> str:
    """Return a parameter that is one of several words.

    Parameters
    ----------
    value : str
        Its value.
    name : str
        Name of the parameter.
    known : collection of str
        The words.

    Returns
    -------
    str
        The value.

    Raises
    ------
    RequestError
        Where it is another word; the message names the nearest.
    """
    if value not in known:
        listed = ", ".join(sorted(known))
        raise RequestError(f"{name}: expected one of {listed}, got {value[:LONGEST]!r}; {hint(value, known)}")
    return value


def whole(parameters: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    """Return a whole number of a request.

    Parameters
    ----------
    parameters : mapping of str to str
        Parameters of the request.
    name : str
        Which one.
    low, high : int
        Bounds.

    Returns
    -------
    int or None
        None where it is not given, or empty.

    Raises
    ------
    RequestError
        Where it is not a whole number within the bounds.
    """
    text = parameters.get(name, "").strip()
    if not text:
        return None
    whole = re.fullmatch(r"([+-]?\d{1,12})(?:\.0*)?", text)
    if whole is None or not low <= int(whole[1]) <= high:
        raise RequestError(f"{name}: expected a whole number from {low} to {high}, got {text[:LONGEST]!r}")
    return int(whole[1])


def flag(parameters: Mapping[str, str], name: str) -> bool:
    """Return whether a request sets a flag.

    Parameters
    ----------
    parameters : mapping of str to str
        Parameters of the request.
    name : str
        Which one.

    Returns
    -------
    bool
        False where it is not given.

    Raises
    ------
    RequestError
        Where it is neither true nor false.
    """
    text = parameters.get(name, "").strip().strip("'").lower()
    if text in ("true", "1"):
        return True
    if text in ("", "false", "0"):
        return False
    raise RequestError(f"{name}: expected true or false, got {text[:LONGEST]!r}")


def asked_id(request: Request) -> tuple[int, str, dict[str, str]]:
    """Return the id in the path of a request, its ending, and the parameters.

    Parameters
    ----------
    request : Request
        With a path parameter `id`. Old clients write `<id>&downsample=3` instead of `<id>?downsample=3`.

    Returns
    -------
    id : int
        The id.
    ending : str
        What follows a dot, such as "svg"; empty where nothing does.
    parameters : dict of str to str
        From both places; those after the question mark count where both name one.

    Raises
    ------
    RequestError
        Where there is no id.
    """
    text = request.path_params["id"]
    found = _ID.fullmatch(text)
    if found is None:
        raise RequestError(f"expected a whole number as the id, got {text[:LONGEST]!r}")
    parameters = dict(parse_qsl(found[3] or "", keep_blank_values=True))
    return int(found[1]), found[2] or "", {**parameters, **dict(request.query_params)}
