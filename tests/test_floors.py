"""The floors of the architecture: a folder imports only from folders below."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.package import PACKAGE

FLOORS = (
    {"core"},
    {"system"},
    {"geometry"},
    {"sections", "quantification", "formats", "groups"},
    {"store", "detection", "registration", "phantom"},
    {"inputs"},
    {"search", "report", "exports"},
    {"stages", "service", "atlas_building"},
    {"runs"},
    {"cli"},
)
FLOOR_OF = {folder: floor for floor, folders in enumerate(FLOORS) for folder in folders}
OWNERS = {  # of a library, or of a module of one
    "zarr": ("store",),
    "xarray": ("store",),
    "dask": ("runs", "schedule"),
    # Lazily read arrays of a run are a form of its stored arrays: they know chunks, but no task, worker or
    # scheduler. So this one module of Dask lies beside zarr; who computes them stays with the caller.
    "dask.array": ("store",),
    "distributed": ("runs", "schedule"),
    "dask_jobqueue": ("runs", "schedule"),
}
MOST_ARROWS = 110
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE)


def folder_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (dotted name, folder inside the package or '') of every import, also of lazy ones."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "LazyModule":
            names = [ast.literal_eval(node.args[0])]
        elif isinstance(node, ast.ImportFrom) and node.module == "pipeline":
            names = [f"pipeline.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            yield name, rest.partition(".")[0] if top == "pipeline" else ""


def arrows() -> set[tuple[str, str]]:
    return {(folder_of(p), to) for p in MODULES for _, to in imports(p) if to and to != folder_of(p)}


def test_no_module_is_loose() -> None:
    assert {p.name for p in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py"))} == FLOOR_OF.keys()


def test_folders_import_only_from_below() -> None:
    wrong = {(folder, other) for folder, other in arrows() if FLOOR_OF[other] >= FLOOR_OF[folder]}
    assert not wrong
    assert len(arrows()) <= MOST_ARROWS


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_libraries_have_owners(path: Path) -> None:
    for name, _ in imports(path):
        owner = OWNERS.get(name) or OWNERS.get(name.partition(".")[0])
        assert owner is None or path.relative_to(PACKAGE).parts[: len(owner)] == owner, (
            f"{name} belongs in {'/'.join(owner or ())}"
        )


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_stays_small(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert len(source.splitlines()) - _docstring_lines(tree) <= 450
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            # the options of a command stand in its signature, a line or more each: they are no code
            first = node.body[0].lineno if folder_of(path) == "cli" else node.lineno
            length = (node.end_lineno or 0) - first + 1
            docstring = ast.get_docstring(node, clean=False) or ""
            assert length - docstring.count("\n") - bool(docstring) <= 40, f"{node.name} has {length} lines"
            assert not any(isinstance(inner, ast.Import | ast.ImportFrom) for inner in ast.walk(node)), (
                f"{node.name} hides an import"
            )


def _docstring_lines(tree: ast.Module) -> int:
    """Return how many lines of a module are docstrings: prose is welcome, code must stay small."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, kinds)]
    return sum(text.count("\n") + 1 for text in texts if text)
