"""What does not fit into memory is refused by every verb before it computes, with what would fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tifffile
from brains import UM, brain, write_reference
from hypothesis import given, strategies

from pipeline.atlas_building import average, build, carry, interpolate, making, symmetrise
from pipeline.atlas_building.memory import NEEDS, check_fits, needed_bytes
from pipeline.core.errors import DataError

BOX = (13200.0, 8000.0, 11400.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    grey, labels = brain()
    for name in ("a", "b"):
        write_reference(tmp_path / name, grey, labels)
    (tmp_path / "plates").mkdir()
    for k in (18, 22):
        tifffile.imwrite(tmp_path / "plates" / f"{k}.tif", labels[k])
    rows = ["file,position_um", *(f"{k}.tif,{k * UM}" for k in (18, 22))]
    (tmp_path / "plates" / "plates.csv").write_text("\n".join(rows))
    return tmp_path


def run_interpolate(place: Path, out: Path) -> None:
    graph = place / "a" / "structure_graph_1.json"
    interpolate(place / "plates", out, ontology=graph, like=place / "a")


RUNS: dict[str, Callable[[Path, Path], object]] = {
    "build": lambda place, out: build([place / "series"], out, anchor=place / "a", spacing_um=UM),
    "symmetrise": lambda place, out: symmetrise(place / "a", out),
    "interpolate": run_interpolate,
    "average": lambda place, out: average([place / "a", place / "b"], out),
    "carry": lambda place, out: carry(place / "a", out, to=place / "b"),
}


@pytest.mark.parametrize("verb", NEEDS)
def test_every_verb_refuses_what_does_not_fit_before_it_computes(
    folder: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pipeline.atlas_building.memory.limit_bytes", lambda: NEEDS[verb].base_bytes / 0.8 + 1e5
    )
    monkeypatch.setattr(making, "publish", None)
    message = (
        rf"{verb} expected at most .* voxels, got 6\.\d+e\+04 of 200 um, which take .* GB where .* can be"
    )
    with pytest.raises(DataError, match=message):
        RUNS[verb](folder, folder / "out")
    assert not (folder / "out").exists()


@given(
    strategies.sampled_from(sorted(NEEDS)),
    strategies.floats(1.5e9, 64e9),
    strategies.floats(1.0, 40.0),
)
def test_the_voxel_size_that_is_named_fits(verb: str, limit: float, um: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.atlas_building.memory.limit_bytes", lambda: limit)
        if needed_bytes(verb, BOX, um) <= 0.8 * limit:
            check_fits(verb, Path("a"), BOX, um)
            return
        with pytest.raises(DataError, match=r"take voxels of \d+ um or more") as caught:
            check_fits(verb, Path("a"), BOX, um)
        found = re.search(r"take voxels of (\d+) um", str(caught.value))
        assert found is not None
        named = float(found[1])
        assert named > um - 1
        check_fits(verb, Path("a"), BOX, named)


def test_inputs_that_fill_the_memory_alone_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.atlas_building.memory.limit_bytes", lambda: 16e9)
    check_fits("average", Path("a"), BOX, 50.0, 1e9)
    with pytest.raises(DataError, match=r"got 9\.63e\+06 of 50 um, which take .*; take fewer or smaller"):
        check_fits("average", Path("a"), BOX, 50.0, 15e9)
