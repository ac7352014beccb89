"""Result folders: whole or not at all, nothing foreign lost, and usable as a reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from brains import GRAPH, MIDDLE_UM, ONTOLOGY, UM, brain, write_reference
from draco_reader import Reader

from pipeline.atlas_building import publish as publishing
from pipeline.atlas_building.displacement import Displacement
from pipeline.atlas_building.meshes import read_obj
from pipeline.atlas_building.publish import Publication, check_output, publish
from pipeline.atlas_building.result import BuiltReference, Frame, GivenOntology
from pipeline.core.errors import ConfigError, DataError
from pipeline.core.reference_space import hemispheres
from pipeline.formats.volumes.nrrd_writer import read_vectors
from pipeline.formats.volumes.volume_files import read_volume
from pipeline.inputs.fetch.references import sha256_of
from pipeline.inputs.references import read_reference, reference_files
from pipeline.store.brainglobe import read_atlas
from pipeline.store.brainglobe_writer import WrittenAtlas, terminology, write_atlas
from pipeline.system.locks import hold

PLAIN = Publication(command="ish reference test")


def built(source: Path, **more: object) -> BuiltReference:
    grey, labels = brain()
    given = {
        "verb": "symmetrise",
        "frame": Frame("symmetric", "a brain"),
        "spacing_um": UM,
        "inputs": (source,),
        "template": grey,
        "annotation": labels,
        "ontology": GivenOntology(ONTOLOGY, json.dumps(GRAPH).encode()),
        "midline_um": MIDDLE_UM,
        "quality": {"one": np.float32(1.5), "some": {"two": [1, float("nan")]}},
        "cannot_know": ("How it was.",),
        "displacements": {"source_to_target": Displacement(np.zeros((3, 3, 3, 3), np.float32), 4400.0)},
        "documents": {"midline.json": {"plane": 1}},
    }
    return BuiltReference(**given | more)  # type: ignore[arg-type]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("what was read")
    return path


def test_a_result_is_a_reference_that_parts_at_its_midline(tmp_path: Path, source: Path) -> None:
    grey, labels = brain()
    out = publish(built(source), tmp_path / "out", PLAIN)
    space = read_reference(out)
    assert np.array_equal(space.annotation, labels)
    assert space.template is not None
    assert np.array_equal(space.template, grey)
    assert np.array_equal(space.grid_labels(served=True), space.grid_labels())
    assert space.midline_um == MIDDLE_UM
    sides = hemispheres(space.grid, space.midline_um)
    assert sides[19:22].tolist() == [1, 2, 2]
    assert out / "reference.json" in reference_files(out)
    assert (out / "structure_graph_1.json").read_bytes() == json.dumps(GRAPH).encode()
    assert read_vectors(out / "source_to_target.nrrd")[1] == 4400.0


def test_reference_json_says_what_was_read_and_measured(tmp_path: Path, source: Path) -> None:
    out = publish(built(source), tmp_path / "out", PLAIN)
    found = json.loads((out / "reference.json").read_text())
    assert found["inputs"] == [{"path": str(source), "sha256": sha256_of(source)}]
    assert found["quality"] == {"one": 1.5, "some": {"two": [1, None]}}
    assert found["frame"] == {"kind": "symmetric", "of": "a brain"}
    assert (found["shape"], found["spacing_um"], found["midline_um"]) == ([44, 36, 41], 200.0, 4000.0)
    assert (found["verb"], found["command"]) == ("symmetrise", "ish reference test")
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == 3
    assert "How it was." in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_labels_that_the_ontology_lacks_are_told(tmp_path: Path, source: Path) -> None:
    labels = np.where(brain()[1] == 8, 555, brain()[1]).astype(np.uint32)
    labels[20, 20, 20] = 556
    out = publish(built(source, annotation=labels), tmp_path / "out", PLAIN)
    told = json.loads((out / "reference.json").read_text())["cannot_know"]
    lacked = "2 labels are no structures of the ontology, and count for none: 555, 556."
    assert told == ["How it was.", lacked]
    assert lacked in (out / "report.html").read_text()


def test_a_reference_without_a_midline_parts_where_allens_does(tmp_path: Path, source: Path) -> None:
    space = read_reference(publish(built(source, midline_um=None), tmp_path / "out", PLAIN))
    assert (space.stated_midline_um, space.midline_um) == (None, 5700.0)


def test_a_damaged_midline_is_refused(tmp_path: Path) -> None:
    folder = write_reference(tmp_path / "ref", *brain())
    (folder / "reference.json").write_text('{"midline_um": "left"}')
    with pytest.raises(DataError, match=r"reference\.json: expected midline_um in um or null"):
        read_reference(folder)


def test_an_unchanged_result_is_replaced_and_anything_else_is_refused(tmp_path: Path, source: Path) -> None:
    out = publish(built(source), tmp_path / "out", PLAIN)
    check_output(out, [source], PLAIN)
    publish(built(source, midline_um=None), out, PLAIN)
    assert json.loads((out / "reference.json").read_text())["midline_um"] is None
    (out / "reference.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"got one with reference\.json"):
        check_output(out, [source], PLAIN)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"got one with notes\.txt"):
        check_output(tmp_path / "full", [source], PLAIN)


def test_force_puts_the_folder_aside(tmp_path: Path, source: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    forced = Publication(force=True)
    check_output(tmp_path / "out", [source], forced)
    publish(built(source), tmp_path / "out", forced)
    assert (tmp_path / "out.before-1" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "out" / "notes.txt").exists()


def test_an_output_that_holds_an_input_is_refused_even_by_force(tmp_path: Path, source: Path) -> None:
    with pytest.raises(ConfigError, match="is read; name another"):
        check_output(tmp_path, [source], Publication(force=True))
    with pytest.raises(ConfigError, match="got a file"):
        check_output(source, [], Publication(force=True))


def test_an_output_below_a_file_is_refused_before_anything_is_computed(tmp_path: Path, source: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a place in a folder, got the file .*source\.txt; name"):
        check_output(source / "out", [source], PLAIN)
    check_output(tmp_path / "new" / "out", [source], PLAIN)


def test_a_writer_that_dies_leaves_the_old_result(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = publish(built(source), tmp_path / "out", PLAIN)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(publishing, "write_page", die)
    with pytest.raises(KeyboardInterrupt):
        publish(built(source, midline_um=None), out, PLAIN)
    assert json.loads((out / "reference.json").read_text())["midline_um"] == MIDDLE_UM
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source.txt"]


def test_what_a_killed_writer_left_is_removed_and_a_living_one_is_not(tmp_path: Path, source: Path) -> None:
    dead, other = tmp_path / ".unfinished-0123abcd-out", tmp_path / ".unfinished-0123abcd-other"
    alive = tmp_path / ".unfinished-4567abcd-out"
    for folder in (dead, other, alive):
        folder.mkdir()
        (folder / "part").write_text("half")
    with hold([alive]):
        check_output(tmp_path / "out", [source], PLAIN)
        assert [path.exists() for path in (dead, other, alive)] == [False, True, True]


def test_further_forms(tmp_path: Path, source: Path) -> None:
    _, labels = brain()
    out = publish(built(source), tmp_path / "out", Publication(formats=("brainglobe", "nifti")))
    nifti = read_volume(out / "annotation_200.nii.gz")
    assert np.array_equal(nifti.values, labels)
    assert nifti.spacing_um == (UM,) * 3
    atlas = next((out / "brainglobe" / "brainglobe-atlasapi" / "atlases").glob("*/*"))
    space = read_atlas(atlas)
    assert np.array_equal(space.annotation, labels)
    assert space.midline_um == MIDDLE_UM
    with pytest.raises(DataError, match=rf"expected an annotation, got none; name the atlas in it, {atlas}"):
        read_reference(out / "brainglobe")
    sets = next((out / "brainglobe" / "brainglobe-atlasapi" / "annotation-sets").glob("*/*"))
    masks = zarr.open_group(sets / "annotations.ome.zarr", mode="r")
    assert masks["annotation_values"][:].tolist() == [8, 997, 312782546]
    for mask, inside in zip(masks["0"][:], (labels == 8, labels > 0, labels == 312782546), strict=True):
        assert np.array_equal(mask[:, :, ::-1], inside)
    meshes = sets / "annotations.precomputed" / "mesh"
    assert sorted(path.name for path in meshes.iterdir()) == ["312782546", "8", "997"]
    vertices, faces = Reader((meshes / "8").read_bytes()).mesh()
    expected, corners = read_obj(out / "meshes" / "8.obj")
    last_um = (labels.shape[2] - 1) * UM
    turned = np.column_stack([vertices[:, 2], vertices[:, 1], 1000 * last_um - vertices[:, 0]]) / 1000
    assert np.allclose(turned, expected, atol=0.1)
    assert np.array_equal(faces, corners)
    with pytest.raises(ConfigError, match="--format zip: expected one of brainglobe, nifti"):
        Publication(formats=("zip",))


def test_coarser_levels_of_an_atlas_have_voxels_at_the_same_places(tmp_path: Path) -> None:
    _, labels = brain()
    even = labels[:40, :36, :40]
    atlas = write_atlas(tmp_path, WrittenAtlas("two", UM, even, None, ONTOLOGY, None, False))
    manifest = json.loads((atlas / "manifest.json").read_text())
    manifest |= {"resolution": [2 * UM] * 3}
    (atlas / "manifest.json").write_text(json.dumps(manifest))
    assert np.array_equal(read_atlas(atlas).annotation, even[::2, ::2, ::2])


def test_a_parent_beyond_16_bits_is_left_to_the_path() -> None:
    rows = terminology(ONTOLOGY, np.array([8, 312782546], np.uint32)).splitlines()
    assert rows[1].startswith("997,,997,root")
    assert rows[2] == '8,997,8,outer,out,#FF8800,"[997, 8]"'


def test_an_ontology_without_a_graph_reads_as_the_same_one(tmp_path: Path) -> None:
    folder = write_reference(tmp_path / "ref", *brain())
    (folder / "structure_graph_1.json").write_bytes(GivenOntology.of(ONTOLOGY).document)
    assert read_reference(folder).ontology == ONTOLOGY
