"""alignment.json keeps every digit and refuses what it cannot place."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import AlignmentError, DataError, PipelineError
from pipeline.core.model import Alignment2d, Alignment3d, SectionAlignment, SeriesAlignment, Status
from pipeline.formats.alignments.alignment_json import read_alignment, write_alignment
from pipeline.geometry.affine import to_itk


def alignment() -> SeriesAlignment:
    rng = np.random.default_rng(11)
    sections = tuple(
        SectionAlignment(
            Alignment2d(number, np.eye(2, 3) * 1.049 + rng.normal(0, 0.05, (2, 3))),
            status,
            {"dice": float(rng.random()), "shift_um": math.nan} if number == 14 else {},
        )
        for number, status in ((6, Status.PASS), (14, Status.CHECK), (22, Status.FAIL))
    )
    volume = Alignment3d(10, np.eye(3, 4) + rng.normal(0, 0.05, (3, 4)))
    return SeriesAlignment(volume, sections, measures={"dice": 0.9}, notes=("z turned",))


def test_round_trip_to_the_last_bit(tmp_path: Path) -> None:
    path, before = tmp_path / "alignment.json", alignment()
    write_alignment(path, before)
    after = read_alignment(path)
    assert after.measures == before.measures
    assert after.notes == before.notes
    assert after.alignment3d.reference_space_id == 10
    for a, b in zip(before.sections, after.sections, strict=True):
        assert a.status is b.status
        assert str(a.measures) == str(b.measures)
        assert a.alignment2d.section_number == b.alignment2d.section_number
        for side in ("section_to_volume", "volume_to_section"):
            np.testing.assert_array_equal(getattr(a.alignment2d, side), getattr(b.alignment2d, side))
    for side in ("volume_to_reference", "reference_to_volume"):
        np.testing.assert_array_equal(getattr(before.alignment3d, side), getattr(after.alignment3d, side))


def test_the_form_of_the_contract(tmp_path: Path) -> None:
    write_alignment(tmp_path / "a.json", alignment())
    document = json.loads((tmp_path / "a.json").read_text())
    assert {"reference_space_id", "alignment3d", "alignment2d"} <= document.keys()
    assert {name: len(v) for name, v in document["alignment3d"].items()} == {"tvr": 12, "trv": 12}
    first = document["alignment2d"][0]
    assert (first["section_number"], first["status"]) == (6, "pass")
    assert first["tsv"] == to_itk(alignment().sections[0].alignment2d.section_to_volume)
    assert len(first["tvs"]) == 6


def test_what_may_be_left_out(tmp_path: Path) -> None:
    write_alignment(tmp_path / "a.json", alignment())
    document = json.loads((tmp_path / "a.json").read_text())
    del document["measures"], document["notes"], document["alignment3d"]["trv"]
    for item in document["alignment2d"]:
        del item["status"], item["tvs"]
        item.pop("measures", None)
    (tmp_path / "a.json").write_text(json.dumps(document))
    got = read_alignment(tmp_path / "a.json")
    assert {s.status for s in got.sections} == {Status.PASS}
    np.testing.assert_allclose(
        got.sections[0].alignment2d.volume_to_section,
        alignment().sections[0].alignment2d.volume_to_section,
    )


BAD: dict[str, tuple[Callable[[dict[str, Any]], Any], type[PipelineError], str]] = {
    "no 3d": (lambda d: d.pop("alignment3d"), DataError, "alignment3d"),
    "no 2d": (lambda d: d.pop("alignment2d"), DataError, "alignment2d"),
    "no tsv": (lambda d: d["alignment2d"][1].pop("tsv"), DataError, "tsv"),
    "short": (lambda d: d["alignment2d"][1]["tsv"].pop(), DataError, "expected 6 numbers"),
    "text": (lambda d: d["alignment2d"][1].update(tsv=list("abcdef")), DataError, "could not convert"),
    "singular": (lambda d: d["alignment2d"][1].update(tsv=[0.0] * 6), AlignmentError, "section 14"),
    "status": (lambda d: d["alignment2d"][0].update(status="fine"), DataError, "fine"),
    "twice": (lambda d: d["alignment2d"][0].update(section_number=22), DataError, "22"),
    "list": (lambda d: d.update(alignment2d=[1, 2]), DataError, "expected an alignment"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_documents(what: str, tmp_path: Path) -> None:
    path = tmp_path / "alignment.json"
    write_alignment(path, alignment())
    document = json.loads(path.read_text())
    damage, kind, message = BAD[what]
    damage(document)
    path.write_text(json.dumps(document))
    with pytest.raises(kind, match=message) as caught:
        read_alignment(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x89PNG", '"text"'])
def test_what_is_not_an_alignment(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json: expected an alignment"):
        read_alignment(tmp_path / "a.json")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_alignment(tmp_path / "alignment.json")
