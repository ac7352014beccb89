"""Files that place sections, of every tool of the family: read as they mean it, or named where wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.model import SectionDataSet, SectionImage
from pipeline.formats.alignments.quicknii import parse_quicknii
from pipeline.inputs.hand_corrections import read_corrections, read_given

PLANES = {n: [-5.0, 240.0 + n, 314.0, 456.0, -13.0, 17.0, 13.0, -10.0, -323.0] for n in (10, 18, 26)}
TARGET = "ABA_Mouse_CCFv3_2017_25um.cutlas"


@pytest.fixture
def data_set() -> SectionDataSet:
    images = tuple(SectionImage(n, n, Path(f"b_s{n:04d}.jpg"), 350, 256, 32.0) for n in PLANES)
    return SectionDataSet(1, "coronal", 25.0, images)


def _slices(**changes: Any) -> list[dict[str, Any]]:
    return [
        {"filename": f"b_s{n:04d}.jpg", "nr": n, "width": 350, "height": 256, "anchoring": plane} | changes
        for n, plane in PLANES.items()
    ]


def _quicknii(**changes: Any) -> dict[str, Any]:
    return {
        "name": "x",
        "target": TARGET,
        "target-resolution": [456, 528, 320],
        "slices": _slices(),
        **changes,
    }


def _web() -> dict[str, Any]:
    sections = [
        {"filename": f"b_s{n:04d}.jpg", "snr": n, "width": 350, "height": 256, "ouv": plane, "markers": []}
        for n, plane in PLANES.items()
    ]
    return {"atlas": "ABA_Mouse_CCFv3_2017_25um", "sections": sections}


def _xml(path: Path) -> Path:
    names = [f"{vector}{axis}" for vector in "ouv" for axis in "xyz"]
    rows = [
        f'<slice filename="b_s{n:04d}.jpg" nr="{n}" width="350" height="256" anchoring="'
        + "&amp;".join(f"{name}={value}" for name, value in zip(names, plane, strict=True))
        + '"/>'
        for n, plane in PLANES.items()
    ]
    path.write_text(f'<?xml version="1.0"?><series name="x">{"".join(rows)}</series>')
    return path


def _written(folder: Path, document: Any) -> Path:
    (folder / "x.json").write_text(json.dumps(document))
    return folder / "x.json"


def test_every_form_places_sections_alike(tmp_path: Path, data_set: SectionDataSet) -> None:
    expected = {
        n: c.to_reference for n, c in read_corrections(_written(tmp_path, _quicknii()), data_set).items()
    }
    ten_um = [[v * 2.5 for v in plane] for plane in PLANES.values()]
    fine = _quicknii(target="ABA_Mouse_CCFv3_2017_10um.cutlas", slices=_slices())
    fine["target-resolution"] = [1140, 1320, 800]
    for item, plane in zip(fine["slices"], ten_um, strict=True):
        item["anchoring"] = plane
    forms = [
        _written(tmp_path, _quicknii(slices=_slices(width=-999, height=-999))),
        _written(tmp_path / "web", _web()) if (tmp_path / "web").mkdir() is None else None,
        _written(tmp_path / "fine", fine) if (tmp_path / "fine").mkdir() is None else None,
        _xml(tmp_path / "x.xml"),
    ]
    for path in forms:
        assert path is not None
        found = read_corrections(path, data_set)
        assert found.keys() == expected.keys()
        for number, correction in found.items():
            np.testing.assert_allclose(correction.to_reference, expected[number], atol=1e-6)


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (_quicknii(target="WHS_SD_Rat_v4_39um.cutlas"), "WHS_SD_Rat"),
        (_quicknii(**{"target-resolution": [None, 528, 320]}), "target-resolution"),
        (_quicknii(**{"target-resolution": [512, 1024, 512]}), "target-resolution"),
        (_quicknii(slices=_slices(anchoring=[0.0] * 9)), "b_s0010"),
        (_quicknii(slices=_slices(anchoring=[0, 0, 0, 456, 0, 0, 912, 0, 0])), "spans no plane"),
        (_quicknii(slices=_slices(anchoring=[1e300] * 9)), "b_s0010"),
        (_quicknii(slices=_slices(anchoring="abc")), "b_s0010"),
        (_quicknii(slices=_slices(nr=10**30)), "b_s0010"),
        (_quicknii(slices=[1, 2]), "slices"),
        (_quicknii(slices=_slices(width=-999, height=-999, markers=[[1, 2, 3, 4]])), "markers"),
        ([1, 2], "list"),
        ({"alignment3d": 1}, "x.json"),
        ({"alignment2d": [], "reference_space_id": 9}, "alignment3d"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, data_set: SectionDataSet, document: Any, named: str) -> None:
    path = _written(tmp_path, document)
    for read in (read_corrections, read_given):
        with pytest.raises(PipelineError, match=named) as caught:
            read(path, data_set)
        assert "x.json" in str(caught.value)
        assert len(str(caught.value)) < 500


VALUES: list[Any] = [None, [], {}, "x", -1, 0, 1e308, 10**30, [[[]]], True, "\ud800", "1", [1, 2], 0.5]


def test_mutated_documents_end_in_one_line(tmp_path: Path, data_set: SectionDataSet) -> None:
    """3,000 changed values in three forms: a placement, or an error of ours."""
    drawn, refused = random.Random(1), 0
    for _ in range(3000):
        document = json.loads(json.dumps(drawn.choice((_quicknii(), _web()))))
        holder, key = drawn.choice(list(_places(document)))
        holder[key] = drawn.choice(VALUES)
        try:
            parse_quicknii(document, "x") if isinstance(document.get("slices"), list) else read_given(
                _written(tmp_path, document), data_set
            )
        except PipelineError:
            refused += 1
    assert 500 < refused < 3000


def _places(node: Any) -> list[tuple[Any, Any]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, child in items for place in [(node, key), *_places(child)]]
