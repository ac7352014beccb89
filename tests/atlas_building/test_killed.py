"""Verbs that are killed: nothing or a whole folder is left, and the next call finishes and cleans up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from brains import UM, brain, write_reference
from matched_brains import bent, greys, waves, write_annotated

from pipeline.atlas_building import average, carry, interpolate, symmetrise
from pipeline.atlas_building.publish import foreign
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.inputs.references import read_reference

# Before it computes, when it has computed, half written, and whole but not in its place yet.
MOMENTS = {
    "planned": "making.check_forms",
    "computed": "making.publish",
    "half written": "publish.write_meshes",
    "whole": "publish.foreign",
}
# Runs a verb up to a function, says so and waits there to be killed.
CHILD = """
import importlib, sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
import test_killed
module, name = sys.argv[4].split(".")
place = importlib.import_module(f"pipeline.atlas_building.{module}")
real, seen = getattr(place, name), []
def stop(*given, **named):
    if name == "foreign" and not seen:  # called once before anything is computed
        seen.append(True)
        return real(*given, **named)
    print("there", flush=True)
    time.sleep(600)
setattr(place, name, stop)
test_killed.VERBS[sys.argv[3]](Path(sys.argv[2]))
"""


def run_symmetrise(folder: Path) -> Path:
    return symmetrise(folder / "ref", folder / "out")


def run_interpolate(folder: Path) -> Path:
    return interpolate(
        folder / "plates", folder / "out", ontology=folder / "ref" / "structure_graph_1.json", spacing_um=UM
    )


def run_average(folder: Path) -> Path:
    return average([folder / "a_100.nrrd", folder / "source"], folder / "out")


def run_carry(folder: Path) -> Path:
    return carry(folder / "source", folder / "out", to=folder / "a_100.nrrd")


VERBS: dict[str, Callable[[Path], Path]] = {
    "symmetrise": run_symmetrise,
    "interpolate": run_interpolate,
    "average": run_average,
    "carry": run_carry,
}


def prepare(folder: Path, verb: str) -> set[str]:
    """Write what a verb reads, and return the names of it."""
    if verb in ("symmetrise", "interpolate"):
        _, labels = brain()
        write_reference(folder / "ref", *brain())
        (folder / "plates").mkdir()
        at = [k for k in range(4, 22, 4) if labels[k].any()]
        for k in at:
            tifffile.imwrite(folder / "plates" / f"{k}.tif", labels[k])
        rows = [f"{k}.tif,{k * UM},coronal,{UM}" for k in at]
        (folder / "plates" / "plates.csv").write_text(
            "\n".join(["file,position_um,plane,resolution_um", *rows])
        )
    else:
        write_annotated(folder / "source", *bent(None, greys(1)))
        write_nrrd(folder / "a_100.nrrd", bent(waves(6, 60.0), greys(1))[0], 100.0)
    return {path.name for path in folder.iterdir()}


def killed(folder: Path, verb: str, moment: str) -> None:
    """Run a verb in a process of its own and kill it at a moment."""
    words = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(folder), verb, MOMENTS[moment]]
    paths = ":".join(filter(None, [*sys.path, str(Path(__file__).parents[1])]))
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def check(folder: Path, verb: str, moment: str) -> None:
    given = prepare(folder, verb)
    killed(folder, verb, moment)
    left = {path.name for path in folder.iterdir()} - given
    assert "out" not in left
    assert len(left) == (1 if moment in ("half written", "whole") else 0)
    out = VERBS[verb](folder)
    assert {path.name for path in folder.iterdir()} == given | {"out"}
    assert foreign(out) == ""
    assert read_reference(out, template=False).annotation.any()


def test_a_killed_verb_leaves_nothing_and_starts_again(tmp_path: Path) -> None:
    check(tmp_path, "interpolate", "half written")


def test_a_verb_that_is_killed_over_an_earlier_result_leaves_that(tmp_path: Path) -> None:
    given = prepare(tmp_path, "interpolate")
    before = run_interpolate(tmp_path)
    labels = read_reference(before, template=False).annotation
    killed(tmp_path, "interpolate", "whole")
    assert foreign(before) == ""
    assert np.array_equal(read_reference(before, template=False).annotation, labels)
    run_interpolate(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == given | {"out"}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_killed_at_every_moment(tmp_path: Path, verb: str, moment: str) -> None:
    check(tmp_path, verb, moment)
