"""Digests of this package's code: of all of it, and of what one module can reach.

Other code means other results. What a stage computes is decided by the modules that its own imports reach, so
a change elsewhere recomputes nothing. Neither does one of a comment or a docstring: what is digested is the
compiled code without docstrings and line numbers.
"""

from __future__ import annotations

import ast
import hashlib
import marshal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType

from pipeline.system.package import PACKAGE

TEMPLATES = (".j2",)  # that lie beside the modules which fill them


@cache
def code_digest() -> str:
    """Return a digest of all sources and templates, byte for byte."""
    digest = hashlib.sha256()
    for path in sorted(p for p in PACKAGE.rglob("*") if p.suffix in {".py", *TEMPLATES}):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def reach_digest(module: str) -> str:
    """Return a digest of the code that a module reaches by its imports, itself included."""
    digest = hashlib.sha256()
    for name in sorted(reached(module)):
        digest.update(name.encode())
        digest.update(_stripped(name))
    for path in sorted({t for name in reached(module) for t in _templates(_path(name).parent)}):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def reached(module: str) -> frozenset[str]:
    """Return the modules of this package that a module reaches by its imports, itself included."""
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += _imported(name)
    return frozenset(found)


@cache
def _imported(module: str) -> tuple[str, ...]:
    """Return the modules of this package that hold what a module imports.

    A name that a package passes on counts for the module that it comes from.
    """
    found = []
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if _is_ours(alias.name)]
        elif isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module):
            found += [_origin(node.module, alias.name) for alias in node.names]
    return tuple(dict.fromkeys(name for name in found if name != PACKAGE.name))


def _origin(module: str, name: str) -> str:
    """Return the module in which a name that is imported from a module lies."""
    if _path(f"{module}.{name}").exists():
        return f"{module}.{name}"
    if _path(module).name == "__init__.py":
        for node in _tree(module).body:
            if isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return _origin(node.module, alias.name)
    return module


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE.name and _path(module).exists()


@cache
def _path(module: str) -> Path:
    inside = PACKAGE.joinpath(*module.split(".")[1:])
    package = inside / "__init__.py"
    return package if package.exists() else inside.with_suffix(".py")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_bytes())


@cache
def _stripped(module: str) -> bytes:
    code = compile(_tree(module), "", "exec", dont_inherit=True, optimize=2)
    return hashlib.sha256(marshal.dumps(_without_lines(code), 2)).digest()


def _without_lines(code: CodeType) -> CodeType:
    constants = tuple(_without_lines(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_consts=constants, co_linetable=b"", co_firstlineno=1, co_filename="")


def _templates(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix in TEMPLATES)
