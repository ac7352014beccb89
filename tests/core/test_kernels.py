"""Machine code of kernels is kept while what it is made of stays, and no longer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.package import PACKAGE

KERNEL = """
'''Kernels.'''
from pipeline.core.kernels import kernel
from pipeline.core.values import FACTOR
from pipeline.core.inner import plus

@kernel
def scaled(x):
    return plus(FACTOR * x)
"""
INNER = """
from pipeline.core.kernels import kernel

@kernel
def plus(x):
    return x + 1
"""
CALL = """
from pipeline.core.outer import scaled
print(scaled(3), sum(scaled.stats.cache_misses.values()))
"""


@pytest.fixture
def core(tmp_path: Path) -> Path:
    """A copy of this package with two kernels and a constant, each in a module of its own."""
    shutil.copytree(PACKAGE, tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path / "pipeline" / "core"
    (folder / "values.py").write_text("FACTOR = 2\n")
    (folder / "outer.py").write_text(KERNEL)
    (folder / "inner.py").write_text(INNER)
    return folder


def call(core: Path) -> tuple[int, int]:
    """Result of the kernel in a process of its own, and how often it was compiled there."""
    kept = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-B", "-c", CALL],
        capture_output=True,
        text=True,
        check=True,
        env=kept,
        cwd=core.parents[1],
    )
    result, compiled = done.stdout.split()
    return int(result), int(compiled)


def test_a_kernel_is_compiled_again_when_what_it_takes_from_elsewhere_changes(core: Path) -> None:
    assert call(core) == (7, 1)
    assert call(core) == (7, 0)
    (core / "values.py").write_text("FACTOR = 5\n")
    assert call(core) == (16, 1)
    (core / "inner.py").write_text(INNER.replace("x + 1", "x - 1"))
    assert call(core) == (14, 1)
    assert call(core) == (14, 0)


def test_comments_docstrings_and_other_modules_compile_nothing_again(core: Path) -> None:
    assert call(core) == (7, 1)
    (core / "outer.py").write_text("# A comment\n" + KERNEL.replace("Kernels", "A kernel"))
    (core / "values.py").write_text("# a comment\nFACTOR = 2\n")
    (core / "errors.py").write_text((core / "errors.py").read_text() + "\nOTHER = 1\n")
    assert call(core) == (7, 0)
