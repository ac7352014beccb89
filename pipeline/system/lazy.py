"""Lazy imports: rarely needed libraries are imported on first use, not when `ish` starts."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class LazyModule:
    """Placeholder for a module; the first access to an attribute imports it.

    Meant for libraries that take about 0.1 s to import and serve few runs. Concurrent access is safe: Python
    locks the import.
    """

    module: str

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.module), name)
