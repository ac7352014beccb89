"""Files of the reference: read back by other programs, they say what the reference says."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from pipeline.core.reference_space import ReferenceSpace, structure_mask
from pipeline.formats.volumes.meshes import surface
from pipeline.formats.volumes.metaimage import read_metaimage
from pipeline.formats.volumes.nrrd import read_nrrd
from pipeline.geometry import affine
from pipeline.geometry.deformation import displacement_at, nearest_section
from pipeline.service.plates.files import reference_digest
from pipeline.service.plates.volumes import as_template, resolutions
from pipeline.service.reference_files import (
    FIRST_FIELD,
    WELL_KNOWN,
    field_file_rows,
    routes,
    well_known_file_rows,
)

Any_ = Callable[..., Any]
RELEASE = "/informatics-archive/current-release"
CCF = f"{RELEASE}/mouse_ccf/annotation/ccf_2017"


def stored(content: bytes, path: Path) -> tuple[np.ndarray[Any, Any], tuple[float, ...]]:
    """Return a NRRD as both readers see it."""
    path.write_bytes(content)
    image = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    own, spacing = read_nrrd(path)
    assert np.array_equal(values, own)
    assert values.dtype == own.dtype
    assert (image.GetSpacing(), image.GetOrigin()) == (spacing, (0.0, 0.0, 0.0))
    return values, spacing


def test_volumes(blocks: ReferenceSpace, make_parts: Any_, client: Any_, tmp_path: Path) -> None:
    with client(routes(make_parts(blocks))) as ask:
        for um, step in ((100, 1), (200, 2), (300, 3)):
            values, spacing = stored(ask.get(f"{CCF}/annotation_{um}.nrrd").content, tmp_path / "a.nrrd")
            assert spacing == (um, um, um)
            assert values.dtype == np.uint32
            assert np.array_equal(values, blocks.annotation[::step, ::step, ::step])
        url = f"{RELEASE}/mouse_ccf/average_template/average_template_200.nrrd"
        values, _ = stored(ask.get(url).content, tmp_path / "t.nrrd")
        assert values.dtype == np.uint16
        assert np.array_equal(values, blocks.template[::2, ::2, ::2])


@pytest.mark.parametrize("um", [100, 200])
@pytest.mark.parametrize("structure", [1, 2, 3, 7])
def test_masks(
    blocks: ReferenceSpace, make_parts: Any_, client: Any_, tmp_path: Path, structure: int, um: int
) -> None:
    with client(routes(make_parts(blocks))) as ask:
        url = f"{CCF}/structure_masks/structure_masks_{um}/structure_{structure}.nrrd"
        values, _ = stored(ask.get(url).content, tmp_path / "m.nrrd")
    assert values.dtype == np.uint8
    labels = blocks.annotation[:: um // 100, :: um // 100, :: um // 100]
    assert np.array_equal(values, structure_mask(labels, blocks.ontology, [structure]))


def test_meshes(phantom: ReferenceSpace, make_parts: Any_, client: Any_) -> None:
    structure = phantom.ontology.find("TH").id
    with client(routes(make_parts(phantom))) as ask:
        text = ask.get(f"{CCF}/structure_meshes/{structure}.obj").text
    lines = [line.split() for line in text.splitlines()]
    vertices = np.array([line[1:] for line in lines if line[0] == "v"], float)
    normals = np.array([line[1:] for line in lines if line[0] == "vn"], float)
    faces = np.array([[c.split("//") for c in line[1:]] for line in lines if line[0] == "f"], int) - 1
    assert np.array_equal(faces[..., 0], faces[..., 1])
    faces = faces[..., 0]
    edges = Counter((int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True))
    assert all(count == 1 and (b, a) in edges for (a, b), count in edges.items())
    a, b, c = (vertices[faces[:, n]] for n in range(3))
    volume = np.einsum("ni,ni->n", a, np.cross(b, c)).sum() / 6
    voxels = np.argwhere(phantom.mask([structure])) * 100.0
    assert volume == pytest.approx(len(voxels) * 100.0**3, rel=0.05)
    assert vertices.min(axis=0) == pytest.approx(voxels.min(axis=0), abs=100)
    assert vertices.max(axis=0) == pytest.approx(voxels.max(axis=0), abs=100)
    outwards = np.cross(b - a, c - a)
    assert (np.einsum("ni,ni->n", outwards, normals[faces[:, 0]]) > 0).mean() > 0.99


def test_small_and_reduced_surfaces() -> None:
    mask = np.zeros((9, 8, 7), np.uint8)
    mask[4, 3, 2] = 1
    lone = surface(mask, 25.0)
    assert lone.vertices.mean(axis=0) == pytest.approx([100, 75, 50], abs=1)
    large = np.zeros((170, 170, 170), np.uint8)
    large[10:161, 20:160, 5:155] = 1
    found = surface(large, 25.0)
    assert found.vertices.min(axis=0) == pytest.approx([237.5, 487.5, 112.5], abs=15)
    assert found.vertices.max(axis=0) == pytest.approx([4012.5, 3987.5, 3862.5], abs=15)
    assert len(found.vertices) < 120_000


@pytest.mark.parametrize("between", ["", "Mouse_"])
def test_archives(
    blocks: ReferenceSpace, make_parts: Any_, client: Any_, tmp_path: Path, between: str
) -> None:
    expected = {
        "annotation": (blocks.annotation, 100.0, "annotation.mhd"),
        "gridAnnotation": (blocks.grid_labels(), 200.0, "gridAnnotation/gridAnnotation.mhd"),
        "atlasVolume": (blocks.template, 100.0, "atlasVolume/atlasVolume.mhd"),
    }
    with client(routes(make_parts(blocks))) as ask:
        for kind, (volume, um, member) in expected.items():
            found = ask.get(f"{RELEASE}/mouse_annotation/P56_{between}{kind}.zip")
            assert found.headers["content-type"] == "application/zip"
            packed = tmp_path / f"{kind}.zip"
            packed.write_bytes(found.content)
            assert np.array_equal(read_metaimage(packed, member)[0], volume)
            with zipfile.ZipFile(packed) as archive:
                assert f"{kind}/{kind}.raw" in archive.namelist()
                archive.extractall(tmp_path / "out")
            image = sitk.ReadImage(str(tmp_path / "out" / kind / f"{kind}.mhd"))
            assert image.GetSpacing() == (um, um, um)
            assert np.array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), volume)


def test_well_known_files_by_table(
    blocks: ReferenceSpace, make_parts: Any_, make_experiment: Any_, client: Any_
) -> None:
    parts = make_parts(blocks, make_experiment(bent=True))
    rows = well_known_file_rows()
    rows["WellKnownFile"] += field_file_rows(55)
    assert {row["id"] for row in rows["WellKnownFile"]} == {*WELL_KNOWN, FIRST_FIELD + 110, FIRST_FIELD + 111}
    types = {row["id"] for row in rows["WellKnownFileType"]}
    with client(routes(parts)) as ask:
        for row in rows["WellKnownFile"]:
            assert row["well_known_file_type_id"] in types
            assert row["download_link"] == f"/api/v2/well_known_file_download/{row['id']}"
            found = ask.get(row["download_link"])
            assert found.status_code == 200
            if row["path"].endswith(".zip"):
                stem = row["path"].rpartition("/")[2].removesuffix(".zip")
                assert f"{stem}/{stem}.raw" in zipfile.ZipFile(io.BytesIO(found.content)).namelist()


def test_deformation_field_then_affine_map_finds_the_pixel(
    blocks: ReferenceSpace, make_parts: Any_, make_experiment: Any_, client: Any_, tmp_path: Path
) -> None:
    experiment = make_experiment(bent=True, mirrored=True)
    geometry = experiment.geometry
    with client(routes(make_parts(blocks, experiment))) as ask:
        for n, name in enumerate(("dfmfld.mhd", "dfmfld.raw")):
            found = ask.get(f"/api/v2/well_known_file_download/{FIRST_FIELD + 2 * 55 + n}")
            assert found.headers["content-disposition"] == f'attachment; filename="{name}"'
            (tmp_path / name).write_bytes(found.content)
    image = sitk.ReadImage(str(tmp_path / "dfmfld.mhd"), sitk.sitkVectorFloat64)
    assert (image.GetSize(), image.GetSpacing()) == (blocks.grid.shape, (200.0, 200.0, 200.0))
    own = affine.to_itk(geometry.alignment3d.reference_to_volume)
    to_volume = sitk.AffineTransform(3)
    to_volume.SetParameters(own)
    both = sitk.CompositeTransform([to_volume, sitk.DisplacementFieldTransform(image)])
    sections = [geometry.placed(a) for a in geometry.alignments2d]
    for point in blocks.grid.points_um()[::17]:
        volume = affine.apply(geometry.alignment3d.reference_to_volume, point[None])
        (index,), pixel = nearest_section(sections, np.array([200.0, 400.0, 600.0]), volume)
        section = sections[index]
        plane = affine.apply(section.alignment2d.section_to_volume, pixel)[0]
        z = volume[0, 2] - displacement_at(section.deformation, pixel)[0, 2]
        assert both.TransformPoint(point.tolist()) == pytest.approx([*plane, z], abs=0.01)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"{CCF}/annotation_10.nrrd", "annotation at 10 um: not here; there are 100 and 200 um"),
        (f"{CCF}/annotation_150.nrrd", "annotation at 150 um: not here"),
        (f"{CCF}/annotation_0.nrrd", "annotation at 0 um: not here"),
        (f"{CCF}/secrets.nrrd", "expected a name such as annotation_25.nrrd"),
        (f"{RELEASE}/mouse_ccf/average_template/average_template_25.nrrd", "template at 25 um: not here"),
        (f"{CCF}/structure_masks/structure_masks_100/structure_4.nrrd", "has 5 structures, such as 1 (root)"),
        (f"{CCF}/structure_masks/structure_masks_10/structure_2.nrrd", "annotation at 10 um: not here"),
        (f"{CCF}/structure_masks/structure_masks_100/structure_5.nrrd", "Structure 5 (E): has no voxel"),
        (f"{CCF}/structure_masks/masks/structure_5.nrrd", "expected a name such as structure_masks_25"),
        (f"{CCF}/structure_meshes/5.obj", "Structure 5 (E): has no voxel"),
        (f"{CCF}/structure_meshes/6.obj", "Structure 6: not of this ontology"),
        (f"{CCF}/structure_meshes/root.obj", "expected a name such as 315.obj"),
        (f"{RELEASE}/mouse_annotation/P14_annotation.zip", "such as P56_Mouse_annotation.zip"),
        ("/api/v2/well_known_file_download/1", "served are 2131000001 (gridAnnotation.zip), 197642854"),
        (
            f"/api/v2/well_known_file_download/{FIRST_FIELD + 110}",
            "SectionDataSet 55: has no deformation field",
        ),
    ],
)
def test_what_is_not_there_is_named(
    blocks: ReferenceSpace, make_parts: Any_, make_experiment: Any_, client: Any_, url: str, words: str
) -> None:
    with client(routes(make_parts(blocks, make_experiment()))) as ask:
        found = ask.get(url)
        assert found.status_code == 404
        assert words in found.json()["msg"]


def test_no_template(blocks: ReferenceSpace, make_parts: Any_, client: Any_) -> None:
    bare = replace(blocks, template=None, template_um=0.0)
    with client(routes(make_parts(bare))) as ask:
        for url in (
            "mouse_ccf/average_template/average_template_100.nrrd",
            "mouse_annotation/P56_atlasVolume.zip",
        ):
            found = ask.get(f"{RELEASE}/{url}")
            assert (found.status_code, found.json()["msg"]) == (404, "reference blocks: has no template")


def test_files_are_made_once_and_by_reference(blocks: ReferenceSpace, make_parts: Any_, client: Any_) -> None:
    parts = make_parts(blocks)
    url = f"{CCF}/annotation_100.nrrd"
    with client(routes(parts)) as ask:
        first = ask.get(url)
        (file,) = (p for p in parts.cache.rglob("*") if p.is_file())
        written = file.stat().st_mtime_ns
        assert ask.get(url).content == first.content
        assert file.stat().st_mtime_ns == written
        part = ask.get(url, headers={"Range": "bytes=-9"})
        assert (part.status_code, part.content) == (206, first.content[-9:])
    other = replace(blocks, annotation=np.roll(blocks.annotation, 1, axis=0))
    assert reference_digest(other) != reference_digest(blocks) == reference_digest(replace(blocks))


def test_files_of_a_folder_are_sent_as_they_are(
    ish_data: Path, real: ReferenceSpace, make_parts: Any_, client: Any_, tmp_path: Path
) -> None:
    folder = ish_data / "reference"
    with client(routes(make_parts(real, reference_directory=folder))) as ask:
        for name in ("annotation_25", "annotation_100"):
            assert ask.get(f"{CCF}/{name}.nrrd").content == (folder / f"{name}.nrrd").read_bytes()
        mask, _ = stored(
            ask.get(f"{CCF}/structure_masks/structure_masks_50/structure_549.nrrd").content,
            tmp_path / "m.nrrd",
        )
    with client(routes(make_parts(real))) as ask:
        derived, _ = stored(ask.get(f"{CCF}/annotation_100.nrrd").content, tmp_path / "a.nrrd")
    assert np.array_equal(derived, read_nrrd(folder / "annotation_100.nrrd")[0])
    assert np.array_equal(
        mask, structure_mask(read_nrrd(folder / "annotation_50.nrrd")[0], real.ontology, [549])
    )


def test_templates_keep_their_values() -> None:
    for values, kind in (
        ([0, 255], np.uint8),
        ([0, 256], np.uint16),
        ([-1, 5], np.float32),
        ([0.5, 5], np.float32),
    ):
        volume = np.array(values, np.float32).reshape(1, 1, 2)
        assert as_template(volume).dtype == kind
        assert np.array_equal(as_template(volume), volume)


def test_resolutions_in_words() -> None:
    assert [resolutions(ums) for ums in ((), (25.0,), (50.0, 25.0, 25.0, 100.0))] == [
        "none",
        "25 um",
        "25, 50 and 100 um",
    ]
