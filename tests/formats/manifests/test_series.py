"""Series folders: both manifests, and what is wrong with them in one line each."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.core.model import SectionDataSet, SectionImage
from pipeline.formats.images.files import ImageInfo, probe, write_image
from pipeline.formats.manifests.sections_csv import write_manifest
from pipeline.formats.manifests.series import file_of_section, find_series, is_series, read_series
from pipeline.inputs.pixels import frame_factor

YAML = "id: 7\nplane_of_section: coronal\nsection_thickness_um: 25\n"
CSV = """section_number,file,width_px,height_px,resolution_um
3,a_s0003.png,60,40,4.0
11,a_s0011.png,60,40,4.0
19,a_s0019.png,60,40,4.0
"""
XML_IMAGE = """<section-image><failed>false</failed><height>{height}</height><id>{n}</id>
<resolution>1.049</resolution><section-number>{n}</section-number><width>{width}</width></section-image>"""


def series(folder: Path, csv: str = CSV, yaml: str = YAML) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "sections.csv").write_text(csv, encoding="utf-8")
    (folder / "section_data_set.yaml").write_text(yaml, encoding="utf-8")
    for number in (3, 11, 19):
        write_image(
            folder / f"a_s{number:04d}.png", np.full((40, 60, 3), number, np.uint8), resolution_um=4.0
        )
    return folder


def allen(folder: Path, numbers: tuple[int, ...] = (6, 70, 78)) -> Path:
    folder.mkdir(exist_ok=True)
    images = "".join(XML_IMAGE.format(n=n, width=240, height=160) for n in numbers)
    (folder / "data_set.xml").write_text(
        "<section-data-set><id>5</id><reference-space-id>9</reference-space-id>"
        f"<section-thickness>25.0</section-thickness><section-images>{images}</section-images></section-data-set>"
    )
    return folder


def test_sections_csv(tmp_path: Path) -> None:
    source = read_series(series(tmp_path / "s"))
    assert (source.alignment, source.warnings) == (None, ())
    assert (source.data_set.id, source.data_set.section_thickness_um) == (7, 25.0)
    assert (source.data_set.reference_space_id, source.data_set.hemisphere) == (9, "both")
    first = source.data_set.section_images[0]
    assert first == SectionImage(3, 3, tmp_path / "s/a_s0003.png", 60, 40, 4.0)
    assert source.data_set.spacing_um == 200.0


def test_optional_columns_and_artifacts(tmp_path: Path) -> None:
    csv = (
        "section_number,file,failed,x_px,y_px,box_width_px,box_height_px,rotate_deg,flip\n"
        "19,a_s0019.png,yes,,,,,-3.5,vertical\n"
        "3,a_s0003.png,,1,2,59,38,,\n"
        "11,a_s0011.png,0,,,,,,none\n"
    )
    yaml = (
        YAML + "image_up: inferior\nsection_order: rostral_to_caudal\ngene: Prox1\nspecimen: 12\n"
        "resolution_um: 2\n"
    )
    yaml += "dark_artifacts: {11: [[[0, 0], [5, 0], [5, 5.5]], [[9, 9], [12, 9], [12, 12]]]}\n"
    yaml += "missing_tissue: {11: [[[1, 1], [5, 1], [5, 5]]]}\n"
    data_set = read_series(series(tmp_path / "s", csv, yaml)).data_set
    first, second, third = data_set.section_images
    assert [first.section_number, second.section_number, third.section_number] == [3, 11, 19]
    assert first.tissue_box_px == (1, 2, 59, 38)
    assert (third.failed, third.rotate_deg, third.flip) == (True, -3.5, "vertical")
    assert second.dark_polygons_px[0] == ((0, 0), (5, 0), (5, 5.5))
    assert len(second.dark_polygons_px) == 2
    assert second.missing_polygons_px == (((1, 1), (5, 1), (5, 5)),)
    assert (second.flip, second.failed) == (None, False)
    assert {i.resolution_um for i in data_set.section_images} == {2.0}  # the YAML's before the file's
    assert (data_set.gene, data_set.specimen, data_set.image_up) == ("Prox1", "12", "inferior")


def test_size_and_resolution_come_from_the_image(tmp_path: Path) -> None:
    csv = "section_number,file\n3,a_s0003.png\n"
    image = read_series(series(tmp_path / "s", csv)).data_set.section_images[0]
    assert (image.width_px, image.height_px) == (60, 40)
    assert image.resolution_um == pytest.approx(4.0)


def test_another_probe_may_be_handed_in(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", "section_number,file\n3,x.zarr\n")
    (folder / "x.zarr").mkdir()
    info = ImageInfo(500, 400, 3, 8, 1.5, "OME-Zarr")
    image = read_series(folder, lambda path: info).data_set.section_images[0]
    assert (image.path, image.width_px, image.resolution_um) == (folder / "x.zarr", 500, 1.5)
    assert "OME-Zarr" in read_series(folder).warnings[0]


def test_a_bad_section_never_stops_a_series(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", "section_number,file\n3,a_s0003.png\n11,a_s0011.png\n19,b.png\n27,\n")
    (folder / "a_s0011.png").write_bytes((folder / "a_s0003.png").read_bytes()[:20])
    source = read_series(folder)
    assert [i.path is not None for i in source.data_set.section_images] == [True, False, False, False]
    assert [w.partition(":")[0] for w in source.warnings] == ["section 11", "section 19", "section 27"]
    assert "a_s0011.png" in source.warnings[0]
    assert source.data_set.section_images[1].width_px == 0


def test_a_damaged_image_whose_size_is_given_is_left_to_the_reading(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    (folder / "a_s0011.png").write_bytes(b"")
    source = read_series(folder)
    assert source.warnings == ()
    assert source.data_set.section_images[1].path == folder / "a_s0011.png"


def test_sagittal_defaults(tmp_path: Path) -> None:
    source = read_series(series(tmp_path / "s", yaml=YAML.replace("coronal", "sagittal")))
    assert (source.data_set.reference_space_id, source.data_set.hemisphere) == (10, "left")
    assert "no hemisphere" in source.warnings[0]
    stated = YAML.replace("coronal", "sagittal") + "hemisphere: right\nreference_space_id: 9\n"
    source = read_series(series(tmp_path / "t", yaml=stated))
    assert source.data_set.hemisphere == "right"
    assert "not Allen's own pairing" in source.warnings[0]


def csv_with(cell: str, column: str = "rotate_deg") -> str:
    return f"section_number,file,{column}\n3,a_s0003.png,{cell}\n"


def box(*cells: object) -> str:
    return "section_number,file,x_px,y_px,box_width_px,box_height_px\n3,a_s0003.png," + ",".join(
        map(str, cells)
    )


BAD_CSV = {
    "empty": ("", "empty file"),
    "only a header": (CSV.splitlines()[0], "one row a section"),
    "missing columns": ("number,file\n3,a.png\n", "expected the columns section_number, file"),
    "spaces": (CSV.replace(",", " "), "separated by commas"),
    "column twice": (CSV.replace("width_px,height_px", "width_px,width_px"), "'width_px' twice"),
    "duplicate": (CSV.replace("19,a", "3,a"), "section 3 on lines 2 and 4"),
    "number in words": (CSV.replace("11,", "eleven,"), "line 3: expected a number in column section_number"),
    "half a section": (CSV.replace("11,", "11.5,"), "line 3: expected a whole number in section_number"),
    "negative section": (CSV.replace("11,", "-11,"), "line 3: expected a whole number"),
    "no section number": (CSV.replace("11,", ",", 1), "line 3: expected a section_number"),
    "cells missing": (CSV.replace(",60,40,4.0\n19", "\n19"), "line 3: expected 5 cells, got 2"),
    "zero resolution": (CSV.replace("4.0", "0", 1), "line 2: expected 0.05 to 200 um"),
    "negative resolution": (CSV.replace("4.0", "-1", 1), "line 2: expected 0.05 to 200 um"),
    "absurd resolution": (CSV.replace("4.0", "1049", 1), "is it in um"),
    "resolution in words": (
        CSV.replace("4.0", "4um", 1),
        "line 2: expected a number in column resolution_um",
    ),
    "infinite resolution": (CSV.replace("4.0", "inf", 1), "line 2: expected a number"),
    "number with underscore": (CSV.replace("11,", "1_1,"), "line 3: expected a number in column"),
    "section of 300 digits": (CSV.replace("11,", "1e300,"), "line 3: expected a whole number"),
    "absurd width": (CSV.replace("60", "1e12", 1), "line 2: expected a whole number in width_px"),
    "long name": (CSV.replace("a_s0011.png", "x" * 300), "line 3: expected the name of a file"),
    "absolute name": (CSV.replace("a_s0011.png", "/etc/passwd"), "line 3: expected a file within"),
    "name above": (CSV.replace("a_s0011.png", "../a.png"), "line 3: expected a file within"),
    "the folder itself": (CSV.replace("a_s0011.png", "."), "line 3: expected a file within"),
    "open quote": (CSV.replace("a_s0011.png", '"a_s0011.png'), "is a quote not closed"),
    "long cell": (CSV.replace("a_s0011.png", "x" * 200_000), "field larger than"),
    "one column in two ways": (CSV.replace("width_px,height_px", "width_px,Width px"), "width_px twice"),
    "zero width": (CSV.replace("60", "0", 1), "line 2: expected width_px of at least 1"),
    "zero width, no resolution": (CSV.replace("60,40,4.0", "0,40,", 1), "line 2: expected width_px of at"),
    "zero width, no height": (
        CSV.replace("60,40", "0,", 1),
        "line 2: expected width_px of at least 1, got 0",
    ),
    "zero height": (csv_with("0", "height_px"), "line 2: expected height_px of at least 1, got 0"),
    "zero height, no file": (
        "section_number,file,height_px\n3,,0\n11,a_s0011.png,\n",
        "line 2: expected height_px of at least 1",
    ),
    "failed": (csv_with("maybe", "failed"), "true or false in failed, got 'maybe'"),
    "flip": (csv_with("sideways", "flip"), "horizontal, vertical or nothing in flip, got 'sideways'"),
    "turn": (csv_with("left"), "line 2: expected a number in column rotate_deg"),
    "turns": (csv_with("1e300"), r"line 2: expected rotate_deg from -360 to 360, got 1e\+300"),
    "box right": (box(1, 0, 60, 40), "inside 60 x 40 px, got x 1, y 0, width 60"),
    "box below": (box(0, 10, 60, 31), "inside 60 x 40 px"),
    "box left": (box(-1, 0, 10, 10), "inside 60 x 40 px"),
    "box empty": (box(0, 0, 0, 10), "inside 60 x 40 px"),
    "half a box": (box(0, 0, 10, ""), "all of x_px, y_px"),
}


@pytest.mark.parametrize("what", BAD_CSV)
def test_bad_sections_csv(what: str, tmp_path: Path) -> None:
    text, message = BAD_CSV[what]
    folder = series(tmp_path / "s", text)
    with pytest.raises(DataError, match=message) as caught:
        read_series(folder)
    assert str(caught.value).startswith(str(folder / "sections.csv"))
    assert "\n" not in str(caught.value)


BAD_YAML = {
    "empty": ("", "key: value"),
    "a list": ("- 1\n- 2\n", "key: value"),
    "no YAML": ("id: [1, 2\nplane: {", "expected YAML"),
    "unknown key": (
        YAML + "section_thicknes_um: 25\n",
        "'section_thicknes_um'; did you mean section_thickness_um?",
    ),
    "strange key": (YAML + "zzz: 25\n", "unknown key 'zzz'; known: id"),
    "key twice": (YAML + "id: 8\n", "line 4 .*: expected YAML, got the key 'id' twice"),
    "no id": (YAML.replace("id: 7\n", ""), "expected id, got none"),
    "no plane": (YAML.replace("plane_of_section: coronal\n", ""), "expected plane_of_section, got none"),
    "unknown plane": (YAML.replace("coronal", "coronel"), "got 'coronel'; did you mean coronal?"),
    "id in words": (YAML.replace("7", "brain"), "whole number from 0 to .* as id, got 'brain'"),
    "id of 64 bits": (YAML.replace("7", str(2**63)), "as id, got 9223372036854775808"),
    "id of 300 digits": (YAML.replace("7", "7" * 300), "as id, got 777"),
    "thickness of 400 digits": (YAML.replace("25", "2" * 400), "section_thickness_um to be a positive"),
    "impossible date": (YAML + "age: 2024-02-30\n", "a date that exists as age, got '2024-02-30'"),
    "control character": (YAML + 'gene: "a\\x1b[31mb"\n', "gene without control characters"),
    "long text": (YAML + "gene: " + "x" * 2000, "gene of at most 1000 characters"),
    "infinite section": (YAML + "dark_artifacts: {.inf: []}\n", "inf is no section number"),
    "negative id": (YAML.replace("7", "-7"), "as id, got -7"),
    "zero thickness": (YAML.replace("25", "0"), "section_thickness_um to be a positive number of um, got 0"),
    "thickness in words": (YAML.replace("25", "thin"), "section_thickness_um to be a positive number"),
    "infinite thickness": (YAML.replace("25", ".inf"), "section_thickness_um to be a positive number"),
    "hemisphere": (YAML + "hemisphere: lef\n", "got 'lef'; did you mean left?"),
    "order": (YAML + "section_order: backwards\n", "section_order to be one of rostral_to_caudal"),
    "order of the other plane": (YAML + "section_order: lateral_to_medial\n", "rostral_to_caudal"),
    "up": (YAML + "image_up: dorsal\n", "image_up to be one of superior, inferior"),
    "space": (YAML + "reference_space_id: nine\n", "reference_space_id 9"),
    "gene": (YAML + "gene: true\n", "gene to be text, got True; put it in quotes"),
    "zero resolution": (YAML + "resolution_um: 0\n", "resolution_um to be a positive number"),
    "absurd resolution": (YAML + "resolution_um: 500\n", "0.05 to 200 um"),
    "polygon of two": (YAML + "dark_artifacts: {3: [[[0, 0], [1, 1]]]}\n", "three are the least"),
    "flat polygon": (YAML + "dark_artifacts: {3: [0, 0, 1, 1]}\n", "expected dark_artifacts"),
    "polygon in words": (
        YAML + "dark_artifacts: {3: [[[a, 0], [1, 1], [2, 2]]]}\n",
        "expected dark_artifacts",
    ),
    "artifacts of a list": (YAML + "dark_artifacts: [3]\n", "expected dark_artifacts"),
    "missing tissue of two": (YAML + "missing_tissue: {3: [[[0, 0], [1, 1]]]}\n", "expected missing_tissue"),
    "missing tissue elsewhere": (
        YAML + "missing_tissue: {4: [[[0, 0], [1, 0], [1, 1]]]}\n",
        "missing_tissue names section 4",
    ),
    "unknown section": (YAML + "dark_artifacts: {4: [[[0, 0], [1, 0], [1, 1]]]}\n", "names section 4"),
}


@pytest.mark.parametrize("what", BAD_YAML)
def test_bad_yaml(what: str, tmp_path: Path) -> None:
    text, message = BAD_YAML[what]
    folder = series(tmp_path / "s", yaml=text)
    with pytest.raises(DataError, match=message) as caught:
        read_series(folder)
    assert str(caught.value).startswith(str(folder / "section_data_set.yaml"))
    assert "\n" not in str(caught.value)


READ_CSV = {
    "semicolons": CSV.replace(",", ";").replace("4.0", "4,0"),
    "tabs": CSV.replace(",", "\t"),
    "Excel's first line": "sep=;\n" + CSV.replace(",", ";"),
    "empty columns and rows": CSV.replace("\n", ",,\n") + ",,,,,,\n",
    "names in words": CSV.replace("section_number", "Section Number").replace("file", " File "),
    "other ends of lines": CSV.replace("\n", "\r\n"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("what", READ_CSV)
def test_what_spreadsheets_write_is_read(what: str, encoding: str, tmp_path: Path) -> None:
    expected = read_series(series(tmp_path / "s")).data_set.section_images
    (tmp_path / "s" / "sections.csv").write_bytes(READ_CSV[what].encode(encoding))
    assert read_series(tmp_path / "s").data_set.section_images == expected


def test_texts_and_ids_of_the_yaml_stay_as_written(tmp_path: Path) -> None:
    texts = 'gene: NO\nspecimen: 0123\ntreatment: 12:30\nage: 2024-01-05\nprobe_orientation: "a\\n b"\n'
    data_set = read_series(series(tmp_path / "s", yaml=YAML.replace("7", "007") + texts)).data_set
    assert (data_set.id, data_set.gene, data_set.specimen) == (7, "NO", "0123")
    assert (data_set.treatment, data_set.age) == ("12:30", "2024-01-05")
    assert data_set.probe_orientation == "a b"


def test_a_path_longer_than_the_system_allows_is_a_missing_file(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", CSV.replace("a_s0011.png", "/".join(["d" * 200] * 30)))
    source = read_series(folder)
    assert source.data_set.section_images[1].path is None
    assert "section 11: missing" in source.warnings[0]


@pytest.mark.parametrize("name", ["sections.csv", "section_data_set.yaml"])
def test_a_pipe_in_place_of_a_manifest_is_never_waited_for(name: str, tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(DataError, match="got a pipe"):
        read_series(folder)


def test_other_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ish init"):
        read_series(tmp_path)
    folder = series(tmp_path / "s")
    (folder / "section_data_set.yaml").unlink()
    with pytest.raises(DataError, match=r"section_data_set\.yaml: expected it beside sections\.csv"):
        read_series(folder)
    (folder / "section_data_set.yaml").write_bytes(b"\xff\xfe\x89")
    with pytest.raises(DataError, match="UTF-8"):
        read_series(folder)


def test_no_resolution_anywhere(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", "section_number,file\n3,b.png\n")
    write_image(folder / "b.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError, match="line 2: expected a resolution_um here"):
        read_series(folder)


def test_a_misspelt_column_is_a_warning(tmp_path: Path) -> None:
    source = read_series(series(tmp_path / "s", csv_with("3", "rotate_degs")))
    assert "column rotate_degs is not used; did you mean rotate_deg?" in source.warnings[0]
    assert read_series(series(tmp_path / "t", csv_with("3", "comment"))).warnings == ()


def test_write_manifest_round_trip(tmp_path: Path) -> None:
    images = (
        SectionImage(2, 2, tmp_path / "a.png", 60, 40, 1.049, (1.5, 2.0, 30.0, 20.0), failed=True),
        SectionImage(
            10,
            10,
            tmp_path / "b.png",
            61,
            40,
            1.049,
            dark_polygons_px=(((0.0, 0.0), (1.5, 0.0), (1.0, 2.25)),),
            missing_polygons_px=(((3.0, 3.0), (4.5, 3.0), (4.0, 5.25)),),
            rotate_deg=-12.5,
            position_um=7512.5,
            flip="horizontal",
        ),
        SectionImage(18, 18, None, 60, 40, 1.049),
    )
    before = SectionDataSet(
        9,
        "sagittal",
        25.0,
        images,
        gene="Gad1",
        specimen="é 1",
        reference_space_id=10,
        hemisphere="right",
        treatment="ISH",
        probe_orientation="sense",
        age="P56",
        section_order="medial_to_lateral",
        image_up="superior",
    )
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, np.zeros((40, 60), np.uint8))
    write_manifest(tmp_path, before, files={2: "a.png", 10: "b.png"})
    assert read_series(tmp_path).data_set == before
    header = (tmp_path / "sections.csv").read_text().splitlines()[0]
    assert header.endswith(
        "resolution_um,failed,x_px,y_px,box_width_px,box_height_px,rotate_deg,flip,section_position_um"
    )
    plain = replace(before, section_images=images[2:])
    write_manifest(tmp_path, plain, files={})
    assert (tmp_path / "sections.csv").read_text().splitlines()[0] == CSV.splitlines()[0]
    assert read_series(tmp_path).data_set == plain


def test_allen_files_by_section_number(tmp_path: Path) -> None:
    folder = allen(tmp_path / "s")
    write_image(folder / "prox1_s0070.jpg", np.full((40, 60, 3), 9, np.uint8))
    write_image(folder / "Prox1_78_0207052977_D.jpg", np.full((40, 60, 3), 9, np.uint8))
    (folder / "notes_70.txt").write_text("an artifact in the corner")
    (folder / "energy_6.mhd").write_text("ObjectType = Image")
    (folder / "crop_s0006").mkdir()
    source = read_series(folder)
    names = [i.path.name if i.path else None for i in source.data_set.section_images]
    assert names == [None, "prox1_s0070.jpg", "Prox1_78_0207052977_D.jpg"]
    assert "no image for 1 of 3 sections: 6" in source.warnings[0]


def test_allen_two_files_for_one_section(tmp_path: Path) -> None:
    folder = allen(tmp_path / "s")
    for name in ("a_s0070.jpg", "b_70.png"):
        write_image(folder / name, np.zeros((40, 60), np.uint8))
    with pytest.raises(DataError, match=r"section 70: expected one file, got a_s0070\.jpg and b_70\.png"):
        read_series(folder)


def test_a_damaged_file_still_belongs_to_its_section(tmp_path: Path) -> None:
    folder = allen(tmp_path / "s")
    (folder / "a_s0070.jpg").write_bytes(b"")
    assert read_series(folder).data_set.section_images[1].path == folder / "a_s0070.jpg"


def test_both_manifests(tmp_path: Path) -> None:
    source = read_series(allen(series(tmp_path / "s")))
    assert source.data_set.id == 7
    assert "the first is used" in source.warnings[0]


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("prox1_s0070.jpg", 70),
        ("x_s70", 70),
        ("x_s0070_rgb.tif", 70),
        ("Prox1_70_0207052977_D.jpg", 70),
        ("Prox1_0078.jpg", 78),
        ("x_78", 78),
        ("x_78_s0070.tif", 70),
        ("x_78_s0071.tif", None),
        ("x70.jpg", None),
        ("70.jpg", None),
        ("70_x.jpg", None),
        ("x_170.jpg", None),
        ("slides70_x.jpg", None),
    ],
)
def test_file_of_section(name: str, section: int | None) -> None:
    assert file_of_section([name], [6, 70, 78]) == ({} if section is None else {section: [name]})


def test_a_name_of_two_sections(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a_70_78\.jpg: its name holds sections 70 and 78"):
        file_of_section(["a_70_78.jpg"], [70, 78])


@pytest.mark.parametrize(
    ("stored", "factor"), [((240, 160), 1), ((120, 80), 2), ((60, 40), 4), ((61, 41), 4), ((30, 20), 8)]
)
def test_frame_factor(stored: tuple[int, int], factor: int) -> None:
    section = SectionImage(1, 70, Path("a.jpg"), 240 if stored[0] != 61 else 242, 160, 1.049)
    assert frame_factor(section, ImageInfo(*stored, 3, 8, None, "JPEG")) == factor


@pytest.mark.parametrize("stored", [(80, 53), (120, 160), (480, 320), (117, 80), (60, 80), (100, 100)])
def test_frames_that_do_not_fit(stored: tuple[int, int]) -> None:
    section = SectionImage(1, 70, Path("a.jpg"), 240, 160, 1.049)
    with pytest.raises(DataError, match=r"section 70: expected 240 x 160 px .* in a\.jpg"):
        frame_factor(section, ImageInfo(*stored, 3, 8, None, "JPEG"))


def test_find_series(tmp_path: Path) -> None:
    one, two = series(tmp_path / "batch_a_b"), allen(tmp_path / "c")
    (tmp_path / "other").mkdir()
    assert find_series([tmp_path]) == [one, two]
    assert find_series([two, tmp_path]) == [two, one]
    assert is_series(one)
    assert not is_series(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "expected a series: sections.csv"),
        (lambda path: path.write_text(""), "got a file; give its folder"),
        (lambda path: None, "No such file"),
    ],
)
def test_find_series_in_vain(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    make(tmp_path / "x")
    with pytest.raises(DataError, match=message) as caught:
        find_series([tmp_path / "x"])
    assert str(tmp_path / "x") in str(caught.value)


def test_real_series(ish_data: Path) -> None:
    prox1 = read_series(ish_data / "ish/prox1_69289763")
    section = next(i for i in prox1.data_set.section_images if i.section_number == 70)
    assert section.path is not None
    assert section.path.name == "prox1_s0070.jpg"
    assert frame_factor(section, probe(section.path)) == 4
    nissl = read_series(ish_data / "nissl_ptm902")
    assert len(nissl.data_set.section_images) == 660
    assert nissl.warnings == ()
    assert nissl.data_set.spacing_um == 20.0
    assert (nissl.data_set.image_up, nissl.data_set.gene) == ("inferior", None)
    assert [p.name for p in find_series([ish_data / "ish"])] == [
        "nrp1_74272479",
        "pdyn_71717084",
        "prox1_69289763",
    ]


def test_every_nissl_image_has_its_declared_size(ish_data: Path) -> None:
    for image in read_series(ish_data / "nissl_ptm902").data_set.section_images:
        assert image.path is not None
        info = probe(image.path)
        assert (info.width_px, info.height_px) == (image.width_px, image.height_px)
