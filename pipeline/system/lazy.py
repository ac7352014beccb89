"""Libraries that a run may never need: imported when they are first used, not when `ish` starts."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Later:
    """Stands for a module by name; what is asked of it is asked of the module, imported by then.

    Only for what takes a tenth of a second to import and serves few runs. Threads may ask at once: Python
    locks the import.
    """

    module: str

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.module), name)
