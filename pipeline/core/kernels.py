"""Kernels: functions that numba compiles, and keeps compiled until what they are made of changes.

Numba keeps machine code until the file of the function changes. What a kernel takes from other modules,
a constant or another kernel, is compiled into it too, so numba alone would go on running the old value. Here
machine code is kept until the code that the kernel's module reaches by its imports changes. Edits of comments
and docstrings, and edits elsewhere, compile nothing again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CacheImpl, InTreeCacheLocator, UserProvidedCacheLocator

from pipeline.core.code import reach_digest
from pipeline.core.package import PACKAGE

Function = Callable[..., Any]

REORDER = {"reassoc", "contract", "nsz"}  # fast-math flags: sums may be reordered, NaN keeps its meaning


class _Reach:
    """What makes a locator of numba's one of this package's kernels."""

    _py_file: str

    def get_source_stamp(self) -> str:
        """Return what the machine code is made of; numba compiles again where it differs."""
        inside = Path(self._py_file).relative_to(PACKAGE).with_suffix("")
        return reach_digest(".".join((PACKAGE.name, *inside.parts)))

    def get_disambiguator(self) -> str:
        """Return nothing: a module has one function of a name, and its line may change."""
        return ""

    @classmethod
    def from_function(cls, py_func: Function, py_file: str) -> Any:
        """Return a locator for a function of this package, None for any other."""
        if not Path(py_file).is_relative_to(PACKAGE):
            return None
        return super().from_function(py_func, py_file)  # type: ignore[misc]


class _Named(_Reach, UserProvidedCacheLocator):  # type: ignore[misc]
    """Kernels in the folder that the environment names."""


class _BesideSources(_Reach, InTreeCacheLocator):  # type: ignore[misc]
    """Kernels in `__pycache__`."""


CacheImpl._locator_classes[:0] = [_Named, _BesideSources]


def kernel(function: Function | None = None, /, *, inline: bool = False, reorder: bool = False) -> Any:
    """Compile a function with numba at its first call, and keep the machine code; it runs without the GIL.

    Parameters
    ----------
    function : callable
        Function on arrays and numbers.
    inline : bool
        Write its code into the kernels that call it.
    reorder : bool
        Let sums be reordered, so that they run in vector lanes; their last digits may differ.

    Returns
    -------
    callable
        The compiled function; without `function`, the decorator.
    """
    decorate = numba.njit(
        cache=True, nogil=True, inline="always" if inline else "never", fastmath=REORDER if reorder else False
    )
    return decorate if function is None else decorate(function)
