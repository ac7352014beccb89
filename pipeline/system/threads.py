"""Threads that share the items of one task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(function: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """Apply a function to every item, with several threads.

    Parameters
    ----------
    function : callable
        Takes one item.
    items : sequence
        Items in order.
    threads : int
        Number of threads; it does not change the results.

    Returns
    -------
    list
        One result for each item, in the order of the items.
    """
    if threads == 1 or len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
