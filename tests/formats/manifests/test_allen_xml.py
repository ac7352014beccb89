"""Allen's data_set.xml: read as served, written back with the same digits."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import DataError, PipelineError
from pipeline.core.model import (
    Alignment2d,
    Alignment3d,
    SectionAlignment,
    SectionDataSet,
    SectionImage,
    SeriesAlignment,
    Status,
)
from pipeline.formats.manifests.allen_xml import digits, read_data_set_xml, write_data_set_xml
from pipeline.geometry.affine import to_itk

SERVED = {"prox1_69289763": 18, "pdyn_71717084": 112, "nrp1_74272479": 60}

XML = """<?xml version="1.0" encoding="UTF-8"?>
<section-data-set>
  <failed>false</failed>
  <id>42</id>
  <reference-space-id>10</reference-space-id>
  <section-thickness>25.0</section-thickness>
  <specimen><hemisphere>(none)</hemisphere><name>05-0660</name></specimen>
  <alignment3d>
    <trv>1.0,0.0,0.0,0.0,1.0,0.0,0.0,0.0,1.0,-10.0,0.0,0.0</trv>
    <tvr>1.0,0.0,0.0,0.0,1.0,0.0,0.0,0.0,1.0,10.0,0.0,0.0</tvr>
  </alignment3d>
  <section-images type="array">
    <section-image>
      <failed type="boolean">true</failed><height>80</height><id>7</id><resolution>1.049</resolution>
      <section-number>14</section-number><width>120</width>
      <alignment2d><tvs>1.0,0.0,0.0,1.0,0.0,0.0</tvs><tsv>1.0,0.0,0.0,1.0,0.5,0.0</tsv></alignment2d>
    </section-image>
    <section-image>
      <failed type="boolean">false</failed><height>80</height><id>6</id><resolution>1.049</resolution>
      <section-number>6</section-number><width>120</width>
    </section-image>
  </section-images>
  <plane_of_section/>
  <age>P56</age>
</section-data-set>
"""


def written(folder: Path, text: str = XML) -> Path:
    path = folder / "data_set.xml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_small_data_set(tmp_path: Path) -> None:
    source = read_data_set_xml(written(tmp_path))
    data_set = source.data_set
    assert (data_set.id, data_set.plane_of_section, data_set.hemisphere) == (42, "sagittal", "left")
    assert (data_set.specimen, data_set.age, data_set.gene) == ("05-0660", "P56", None)
    assert [(i.section_number, i.failed, i.id) for i in data_set.section_images] == [
        (6, False, 6),
        (14, True, 7),
    ]
    assert source.alignment is not None
    assert [s.alignment2d.section_number for s in source.alignment.sections] == [14]
    placed = source.alignment.sections[0].alignment2d
    assert placed.section_to_volume[0, 2] == 0.5
    assert placed.volume_to_section[0, 2] == 0.0  # as served, not the inverse


@pytest.mark.parametrize("name", SERVED)
def test_served_data_sets(name: str, ish_data: Path) -> None:
    source = read_data_set_xml(ish_data / "ish" / name / "data_set.xml")
    images = source.data_set.section_images
    assert source.alignment is not None
    assert len(images) == len(source.alignment.sections) == SERVED[name]
    assert {i.resolution_um for i in images} == {1.049}
    assert source.warnings == ()
    for section in source.alignment.sections:
        forth, back = section.alignment2d.section_to_volume, section.alignment2d.volume_to_section
        np.testing.assert_allclose(back[:, :2] @ forth[:, 2] + back[:, 2], 0, atol=0.05)
        assert np.sqrt(np.linalg.det(forth[:, :2])) == pytest.approx(1.049, rel=1e-3)


def test_prox1_section_70(ish_data: Path) -> None:
    source = read_data_set_xml(ish_data / "ish/prox1_69289763/data_set.xml")
    section = next(i for i in source.data_set.section_images if i.section_number == 70)
    assert (section.width_px, section.height_px) == (11921, 7553)
    assert source.data_set.plane_of_section == "sagittal"
    assert source.data_set.reference_space_id == 10


def matrices(path: Path) -> dict[str, list[str | None]]:
    root = ElementTree.parse(path).getroot()
    found = {
        i.findtext("section-number"): [i.findtext(f"alignment2d/{t}") for t in ("tsv", "tvs")]
        for i in root.iter("section-image")
    }
    return found | {"3d": [root.findtext(f"alignment3d/{tag}") for tag in ("tvr", "trv")]}


@pytest.mark.parametrize("name", SERVED)
def test_matrices_are_written_with_the_served_digits(name: str, ish_data: Path, tmp_path: Path) -> None:
    served = ish_data / "ish" / name / "data_set.xml"
    source = read_data_set_xml(served)
    write_data_set_xml(tmp_path / "a.xml", source.data_set, source.alignment)
    assert matrices(tmp_path / "a.xml") == matrices(served)
    again = read_data_set_xml(tmp_path / "a.xml")
    assert again.data_set == source.data_set


def test_round_trip_of_everything_the_form_holds(tmp_path: Path) -> None:
    images = (
        SectionImage(1, 3, None, 100, 90, 1.63, failed=True),
        SectionImage(2, 11, None, 110, 95, 1.63),
        SectionImage(3, 19, None, 110, 95, 1.63),
    )
    data_set = SectionDataSet(
        71,
        "coronal",
        25.0,
        images,
        gene="Prox1 & <co>",
        specimen="brain 7",
        treatment="ISH",
        probe_orientation="Antisense",
        age="P56",
        section_order="caudal_to_rostral",
    )
    sections = tuple(
        SectionAlignment(Alignment2d(n, np.array([[1.63, 0.1, n], [-0.1, 1.63, 2.0]])), status)
        for n, status in ((3, Status.PASS), (11, Status.FAIL))
    )
    before = SeriesAlignment(Alignment3d(9, np.eye(3, 4)), sections)
    write_data_set_xml(tmp_path / "a.xml", data_set, before)
    after = read_data_set_xml(tmp_path / "a.xml")
    assert after.data_set == data_set
    assert after.alignment is not None
    assert [s.alignment2d.section_number for s in after.alignment.sections] == [3]  # those that fail stay out
    np.testing.assert_allclose(
        to_itk(after.alignment.sections[0].alignment2d.section_to_volume),
        to_itk(sections[0].alignment2d.section_to_volume),
        rtol=1e-5,
    )
    write_data_set_xml(tmp_path / "b.xml", data_set, None)
    assert read_data_set_xml(tmp_path / "b.xml").alignment is None


def test_digits() -> None:
    assert digits([0.0, 1e-19, 123456.7]) == "0.0,1e-19,123457.0"


@pytest.mark.parametrize("text", ["sagittal", "<name>sagittal</name>"])
@pytest.mark.parametrize("tag", ["plane_of_section", "plane-of-section"])
def test_a_stated_plane(text: str, tag: str, tmp_path: Path) -> None:
    xml = XML.replace("<plane_of_section/>", f"<{tag}>{text}</{tag}>")
    assert read_data_set_xml(written(tmp_path, xml)).data_set.plane_of_section == "sagittal"


def test_the_answer_of_a_query_is_read_too(tmp_path: Path) -> None:
    body = XML.partition("?>")[2]
    path = written(tmp_path, f"<Response><section-data-sets>{body}</section-data-sets></Response>")
    assert read_data_set_xml(path).data_set.id == 42


def test_doubts_are_warnings(tmp_path: Path) -> None:
    failed = XML.replace("<failed>false</failed>\n  <id>", "<failed>true</failed>\n  <id>")
    assert "marked failed" in read_data_set_xml(written(tmp_path, failed)).warnings[0]
    singular = XML.replace("<tsv>1.0,0.0,0.0,1.0", "<tsv>1.0,0.0,0.0,0.0")
    source = read_data_set_xml(written(tmp_path, singular))
    assert "section 14: alignment left out" in source.warnings[0]
    assert source.alignment is not None
    assert source.alignment.sections == ()


def test_no_alignment(tmp_path: Path) -> None:
    start, end = XML.index("<alignment3d>"), XML.index("</alignment3d>")
    xml = XML[:start] + '<alignment3d nil="true">' + XML[end:]
    assert read_data_set_xml(written(tmp_path, xml)).alignment is None


BAD = {
    "empty": ("", "damaged XML"),
    "cut off": (XML[:900], "damaged XML"),
    "other": ("<kml/>", "<section-data-set>, got <kml>"),
    "doctype": (XML.replace("<section-data-set>", "<!DOCTYPE a []><section-data-set>", 1), "DOCTYPE"),
    "other plane": (
        XML.replace("<plane_of_section/>", "<plane_of_section>coronal</plane_of_section>"),
        "one errs",
    ),
    "no plane": (XML.replace("space-id>10", "space-id>1"), "reference space 9 or 10"),
    "unknown plane": (
        XML.replace("<plane_of_section/>", "<plane_of_section>oblique</plane_of_section>"),
        "coronal or sagittal",
    ),
    "no thickness": (XML.replace("<section-thickness>25.0</section-thickness>", ""), "section-thickness"),
    "zero thickness": (XML.replace("thickness>25.0", "thickness>0"), "positive"),
    "twice": (XML.replace("<section-number>6<", "<section-number>14<"), "section 14 more than once"),
    "no width": (XML.replace("<width>120</width>", "", 1), "<width>"),
    "zero width": (XML.replace("<width>120</width>", "<width>0</width>", 1), "at least 1"),
    "resolution": (XML.replace("1.049", "1049", 1), "section 14: expected 0.05 to 200 um"),
    "no id": (XML.replace("<id>42</id>", ""), "<id>"),
    "infinite": (XML.replace("<id>42</id>", "<id>inf</id>"), "<id>"),
    "no sections": (XML.replace("section-image>", "image>"), "section-images, got none"),
    "bad 3d": (XML.replace("<tvr>1.0,", "<tvr>"), "alignment3d: .*12 numbers"),
    "words in 3d": (XML.replace("<tvr>1.0,", "<tvr>one,"), "alignment3d"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_data_sets(what: str, tmp_path: Path) -> None:
    text, message = BAD[what]
    with pytest.raises(DataError, match=message) as caught:
        read_data_set_xml(written(tmp_path, text))
    assert str(caught.value).startswith(str(tmp_path / "data_set.xml"))
    assert "\n" not in str(caught.value)


def test_a_hemisphere_of_another_name_is_noted(tmp_path: Path) -> None:
    source = read_data_set_xml(written(tmp_path, XML.replace("(none)", "richt")))
    assert "expected hemisphere left, right or both, got 'richt'; taken as" in source.warnings[0]
    unstated = read_data_set_xml(written(tmp_path, XML))
    assert not any("hemisphere" in warning for warning in unstated.warnings)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="no such file"):
        read_data_set_xml(tmp_path / "data_set.xml")
