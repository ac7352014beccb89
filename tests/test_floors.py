"""The floors of the architecture: a module imports only from floors below."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "pipeline"
FLOORS = {
    1: {"compiled_cache", "errors", "later", "limits", "model", "threads"},
    2: {
        "affine", "deformation", "ontology", "reference", "intensity", "tiling", "detection", "registration",
        "gridding", "grid_sums", "unionize", "search", "sync", "phantom",
    },
    3: {"atomic", "files", "yaml_text", "locks", "formats", "store", "config"},
    4: {
        "jobs", "loading", "stages", "stages_align", "tasks", "summary", "provenance", "exports",
        "structure_tables", "opening", "scenes", "phantom_series", "init_series", "init_pictures",
        "section_names", "references", "batch", "sweeps", "peak", "downloads", "fetching", "corrections",
        "siblings", "publishing",
    },
    5: {
        "schedule", "report", "service", "facade", "experiments", "index", "index_names", "index_sources",
        "indexing", "run_status", "grid_tables",
    },
    6: {"cli"},
}  # fmt: skip
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
STRANGERS = {"detection", "registration", "gridding", "unionize", "search"}
OUTSIDE = {"formats", "store", "config"}
SHARED = {"atomic", "files", "yaml_text"}  # what both formats and store write and read through
OWNERS = {"zarr": "store", "dask": "schedule", "distributed": "schedule", "dask_jobqueue": "schedule"}
FLOOR_2_LIBRARIES = {"numpy", "scipy", "skimage", "SimpleITK", "numba", "cv2"}
FLOOR_2_STANDARD = {
    "__future__", "collections", "dataclasses", "difflib", "functools", "itertools", "math", "typing", "enum",
    "statistics",
}  # fmt: skip

# Aligning a series is one task; its sections share threads, and so do thousands of grids that are unionized
# at once. The answer does not depend on how many.
THREADED = {"registration", "unionize"}

MODULES = sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT or p.name != "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (top-level name, room inside the package or '') of every import."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "pipeline":
            names = [f"pipeline.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            yield top, rest.partition(".")[0] if top == "pipeline" else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_keeps_its_floor(path: Path) -> None:
    room = room_of(path)
    floor = FLOOR_OF[room]
    for top, other in imports(path):
        if other and other != room:
            assert FLOOR_OF[other] <= floor, f"{room} (floor {floor}) imports {other} above it"
            assert not (room in STRANGERS and other in STRANGERS), f"{room} must not know {other}"
            assert not (room in OUTSIDE and other in OUTSIDE), f"{room} must not know {other}"
        assert OWNERS.get(top, room) == room, f"{top} belongs in {OWNERS[top]}, found in {room}"
        if floor == 2 and not other and top != "pipeline":
            allowed = FLOOR_2_LIBRARIES | FLOOR_2_STANDARD | ({"concurrent"} if room in THREADED else set())
            assert top in allowed, f"{room} may not use {top}"


def test_no_cycles_between_rooms() -> None:
    edges = {(room_of(p), other) for p in MODULES for _, other in imports(p) if other and other != room_of(p)}
    remaining = {room for edge in edges for room in edge}
    while remaining:
        leaves = {r for r in remaining if not any(a == r and b in remaining for a, b in edges)}
        assert leaves, f"rooms import one another in a circle: {sorted(remaining)}"
        remaining -= leaves


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_stays_small(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 450
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            # the options of a command stand in its signature, a line or more each: they are no code
            first = node.body[0].lineno if room_of(path) == "cli" else node.lineno
            length = (node.end_lineno or 0) - first + 1
            docstring = ast.get_docstring(node, clean=False) or ""
            assert length - docstring.count("\n") - bool(docstring) <= 40, f"{node.name} has {length} lines"
            assert not any(isinstance(inner, ast.Import | ast.ImportFrom) for inner in ast.walk(node)), (
                f"{node.name} hides an import"
            )
