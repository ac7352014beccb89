"""Digests of this package's code: of all of it, and of the part that one module reaches.

Changed code means changed results. The modules that a stage reaches by its imports decide what it computes,
so a change elsewhere recomputes nothing. Changed comments and docstrings recompute nothing either: the digest
covers the compiled code without docstrings and line numbers.
"""

from __future__ import annotations

import dis
import hashlib
import marshal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType

from pipeline.core.package import PACKAGE

IMPORT_NAME = dis.opmap["IMPORT_NAME"]
TEMPLATES = (".j2",)  # suffixes of templates; they lie beside the modules that fill them


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
    """Return a digest of the code that a module reaches by its imports, itself included.

    Parameters
    ----------
    module : str
        Dotted name of a module of this package.

    Returns
    -------
    str
        16 hexadecimal digits; covers the compiled code and the templates beside it.
    """
    digest = hashlib.sha256()
    for name in sorted(reached(module)):
        digest.update(name.encode())
        digest.update(_stripped(name))
    for path in sorted({t for name in reached(module) for t in _templates(_path(name).parent)}):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def reached(module: str) -> frozenset[str]:
    """Return the modules of this package that a module reaches by its imports.

    Parameters
    ----------
    module : str
        Dotted name of a module of this package.

    Returns
    -------
    frozenset of str
        Dotted names, that of the module included.
    """
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += _imported(name)
    return frozenset(found)


@dataclass(frozen=True)
class _Import:
    """One import statement: `names` maps every bound name to its name in the imported module."""

    module: str
    names: Mapping[str, str]


@cache
def _imports(module: str) -> tuple[_Import, ...]:
    """Return all imports of a module, those inside functions included, from its compiled code.

    The code is compiled, not parsed: concurrent `ast.parse` in several threads fails in Python 3.11.
    """
    found: list[_Import] = []
    pending = [_code(module)]
    while pending:
        code = pending.pop()
        pending += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        if IMPORT_NAME not in code.co_code[::2]:  # every second byte is an opcode: skip code without imports
            continue
        names: dict[str, str] = {}
        imported = ""
        for step in dis.get_instructions(code):
            if step.opname == "IMPORT_NAME":
                names = {}
                found.append(_Import(step.argval, names))
            elif step.opname == "IMPORT_FROM":
                imported = step.argval
                names[imported] = imported
            elif step.opname.startswith("STORE_") and imported:
                names[step.argval] = names.pop(imported)
                imported = ""
    return tuple(found)


@cache
def _imported(module: str) -> tuple[str, ...]:
    """Return the modules of this package that define what a module imports.

    A name that a package re-exports counts for the module that defines it.
    """
    found = []
    for each in _imports(module):
        if _is_ours(each.module):
            found += [_origin(each.module, name) for name in each.names.values()] or [each.module]
    return tuple(dict.fromkeys(name for name in found if name != PACKAGE.name))


def _origin(module: str, name: str) -> str:
    """Return the module that defines a name imported from `module`."""
    if _path(f"{module}.{name}").exists():
        return f"{module}.{name}"
    if _path(module).name == "__init__.py":
        for each in _imports(module):
            if name in each.names and _is_ours(each.module):
                return _origin(each.module, each.names[name])
    return module


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE.name and _path(module).exists()


@cache
def _path(module: str) -> Path:
    inside = PACKAGE.joinpath(*module.split(".")[1:])
    package = inside / "__init__.py"
    return package if package.exists() else inside.with_suffix(".py")


@cache
def _code(module: str) -> CodeType:
    return compile(_path(module).read_bytes(), "", "exec", dont_inherit=True, optimize=2)


@cache
def _stripped(module: str) -> bytes:
    return hashlib.sha256(marshal.dumps(_without_lines(_code(module)), 2)).digest()


def _without_lines(code: CodeType) -> CodeType:
    constants = tuple(_without_lines(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_consts=constants, co_linetable=b"", co_firstlineno=1, co_filename="")


def _templates(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix in TEMPLATES)
