"""The verbs: listed without importing any, and each there when it is called."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args, get_type_hints

import pytest
from conftest import Ish

import pipeline
from pipeline.cli.main import VERBS


def printed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


def test_the_list_of_verbs_imports_none_of_them() -> None:
    code = (
        "import sys; from pipeline.cli import main; sys.argv = ['ish', '--help']\n"
        "try:\n    main()\n"
        "finally:\n    assert not {'numpy', 'numba', 'scipy', 'zarr', 'dask'} & sys.modules.keys()"
    )
    done = printed("-c", code)
    assert done.returncode == 0, done.stderr
    assert [name for name in VERBS if f"\n  {name} " not in done.stdout] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, ish: Ish, capsys: pytest.CaptureFixture[str]) -> None:
    assert ish(verb, "--help") == 0
    assert f"{verb} [OPTIONS]" in capsys.readouterr().out


def test_python_m_does_the_same_and_a_typo_is_met() -> None:
    assert printed("-m", "pipeline", "status", "--help").returncode == 0
    done = printed("-m", "pipeline", "rnu")
    assert done.returncode == 2
    assert "did you mean run?" in done.stderr


def test_public_names_are_there() -> None:
    assert {"run", "open_run", "open_index", "load_config", "RunOptions"} <= set(pipeline.__all__)
    assert all(getattr(pipeline, name) is not None for name in pipeline.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = pipeline.nothing


def test_what_scripts_want_to_call_is_public() -> None:
    """The pure functions, and every type of ours that one of them takes."""
    for name in ("unionize", "assemble", "smooth", "accumulate", "image_to_reference", "measure_section"):
        parameters = get_type_hints(getattr(pipeline, name)).values()
        types = {t for hint in parameters for t in (hint, *get_args(hint)) if isinstance(t, type)}
        ours = {t.__name__ for t in types if t.__module__.startswith("pipeline.")}
        assert ours <= set(pipeline.__all__), name


def test_importing_the_package_imports_no_library_that_few_runs_need() -> None:
    code = (
        "import sys, pipeline.cli.run\nprint(*{'xarray', 'pandas', 'dask.array', 'zarr'} & set(sys.modules))"
    )
    done = printed("-c", code)
    assert (done.returncode, done.stdout.strip()) == (0, "")
