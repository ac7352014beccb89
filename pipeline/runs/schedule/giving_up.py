"""How a task is told that it is run only to be recorded as lost."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

Result = TypeVar("Result")
_GIVEN_UP: ContextVar[bool] = ContextVar("given_up", default=False)


def given_up() -> bool:
    """Tell whether the running task is only to be recorded."""
    return _GIVEN_UP.get()


def giving_up(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function inside of which `given_up()` is true."""
    token = _GIVEN_UP.set(True)
    try:
        return function(*arguments)
    finally:
        _GIVEN_UP.reset(token)
