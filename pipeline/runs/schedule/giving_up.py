"""Abandoned tasks: a flag tells a task that it runs only to be recorded as lost."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

Result = TypeVar("Result")
_GIVEN_UP: ContextVar[bool] = ContextVar("given_up", default=False)


def given_up() -> bool:
    """Tell whether the running task is abandoned and only to be recorded."""
    return _GIVEN_UP.get()


def giving_up(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function inside which `given_up()` is true.

    Parameters
    ----------
    function : callable
        Function to call.
    *arguments : object
        Its arguments.

    Returns
    -------
    object
        What the function returns.
    """
    token = _GIVEN_UP.set(True)
    try:
        return function(*arguments)
    finally:
        _GIVEN_UP.reset(token)
