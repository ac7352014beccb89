"""BrainGlobe atlases of version 3 come to the same (P, I, R) volumes as the library reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from brainglobe_cases import NAME, grey, labels, write_atlas

from pipeline.core.errors import DataError
from pipeline.inputs.references import read_reference
from pipeline.stages.provenance import reference_files, reference_origin
from pipeline.store.brainglobe import lacking_volumes


def root_of(folder: Path) -> Path:
    return folder.parents[2]


def annotation_of(folder: Path) -> Path:
    return root_of(folder) / "annotation-sets/toy-annotation-sets/1_0/annotations_compressed.ome.zarr"


def template_of(folder: Path) -> Path:
    return root_of(folder) / "templates/toy-templates/1_0/template.ome.zarr"


@pytest.mark.parametrize(("um", "step"), [(200.0, 2), (100.0, 1)])
def test_an_atlas(um: float, step: int, tmp_path: Path) -> None:
    space = read_reference(write_atlas(tmp_path, um=um))
    np.testing.assert_array_equal(space.annotation, labels(step))
    assert space.template is not None
    np.testing.assert_array_equal(space.template, grey(step))
    assert (space.annotation_um, space.template_um) == (um, um)
    assert (space.name, space.citation) == ("toy_mouse", "Nobody 2020")
    found = [(s.id, s.parent_id, s.acronym, s.name, s.color) for s in space.ontology.structures]
    assert found == [
        (997, None, "root", "root", "FFFFFF"),
        (8, 997, "NA", 'a "b"', "FF0010"),
        (2**31 + 5, 8, "x", "deep, deeper", "0102FF"),
    ]


def test_an_atlas_without_its_template(tmp_path: Path) -> None:
    folder = write_atlas(tmp_path)
    shutil.rmtree(template_of(folder) / "s1/c")
    assert read_reference(folder, 200.0, template=False).template is None
    assert lacking_volumes(folder) == {"template": template_of(folder) / "s1/c"}
    with pytest.raises(DataError, match=rf"s1: expected voxels, got none.*fetch brainglobe:{NAME}`"):
        read_reference(folder)


def test_a_chunk_that_is_not_there_holds_zeros(tmp_path: Path) -> None:
    folder = write_atlas(tmp_path, um=100.0)
    chunk = annotation_of(folder) / "s0/c/0/0/1"  # R 0 to 3
    assert labels()[:4, :4, :4].any()
    chunk.unlink()
    expected = labels()
    expected[:4, :4, :4] = 0
    np.testing.assert_array_equal(read_reference(folder).annotation, expected)


def test_the_library_reads_the_same(tmp_path: Path) -> None:
    library = pytest.importorskip("brainglobe_atlasapi", reason="brainglobe-atlasapi is not installed")
    folder = write_atlas(tmp_path)
    atlas = library.BrainGlobeAtlas(NAME, brainglobe_dir=tmp_path, check_latest=False)
    space = read_reference(folder)
    assert atlas.orientation == "asr"
    np.testing.assert_array_equal(space.annotation[:, :, ::-1], atlas.annotation)
    np.testing.assert_array_equal(space.template[:, :, ::-1], atlas.template)
    for row in atlas.structures_list:
        structure = space.ontology.by_id[row["id"]]
        assert (structure.acronym, structure.name) == (row["acronym"], row["name"])
        assert space.ontology.path(row["id"]) == tuple(row["structure_id_path"])
        assert tuple(bytes.fromhex(structure.color)) == tuple(row["rgb_triplet"])
    assert len(space.ontology.structures) == len(atlas.structures_list)


def test_the_files_that_a_run_goes_by(tmp_path: Path) -> None:
    folder = write_atlas(tmp_path)
    (tmp_path / "link").symlink_to(folder)
    files = reference_origin(tmp_path / "link")["files"]
    assert files == reference_origin(folder)["files"]
    assert [(folder / name).resolve() for name in files] == reference_files(folder)
    shutil.rmtree(template_of(folder) / "s1")
    assert all("template" not in name or "s1" not in name for name in reference_origin(folder)["files"])
    level = zarr.open_array(annotation_of(folder) / "s1", mode="r+")
    level[0, 0, 0] = 997
    changed = reference_origin(folder)["files"]
    assert [name for name in changed if changed[name] != files[name]] == [
        "../../../annotation-sets/toy-annotation-sets/1_0/annotations_compressed.ome.zarr/s1/c/0/0/0"
    ]


def update(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def as_floats(folder: Path) -> None:
    shutil.rmtree(annotation_of(folder) / "s1")
    group = zarr.open_group(annotation_of(folder), mode="r+")
    group.create_array("s1", data=labels(2).astype("f4"))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "manifest": (lambda f: (f / "manifest.json").write_text("{"), "JSON"),
    "a list": (lambda f: (f / "manifest.json").write_text("[]"), "keys and values"),
    "resolution": (lambda f: update(f, resolution=[25, 25, 50]), "one resolution along all axes"),
    "no such level": (lambda f: update(f, resolution=[50] * 3), "a level of 50 um, got levels of 100, 200"),
    "no terminology": (lambda f: update(f, terminology=None), "the location of terminology"),
    "elsewhere": (lambda f: update(f, terminology={"location": "/../../etc"}), "a location in its tree"),
    "moved": (
        lambda f: shutil.rmtree(root_of(f) / "annotation-sets"),
        "expected annotation-sets/toy-annotation-sets/1_0 in .*, got no such folder",
    ),
    "level elsewhere": (
        lambda f: rewrite(annotation_of(f) / "zarr.json", '"s1"', '"../s1"'),
        "levels inside it",
    ),
    "no scale": (
        lambda f: rewrite(annotation_of(f) / "zarr.json", '"scale": [', '"skale": ['),
        "their scale",
    ),
    "document": (lambda f: (annotation_of(f) / "s1/zarr.json").write_text("[]"), "a whole volume"),
    "no document": (lambda f: (annotation_of(f) / "s1/zarr.json").unlink(), r"zarr\.json: .* no such file"),
    "codec": (lambda f: rewrite(annotation_of(f) / "s1/zarr.json", '"zstd"', '"zoo"'), "zoo"),
    "chunk": (lambda f: (annotation_of(f) / "s1/c/0/0/0").write_bytes(b"torn"), "a whole volume"),
    "floats": (as_floats, "whole structure ids, got float32"),
    "no structures": (
        lambda f: (root_of(f) / "terminologies/toy-terminologies/1_0/terminology.csv").unlink(),
        r"terminology\.csv: .* no such file",
    ),
    "other columns": (
        lambda f: (root_of(f) / "terminologies/toy-terminologies/1_0/terminology.csv").write_text("id\n1\n"),
        "BrainGlobe structures",
    ),
    "other resolution": (lambda f: None, "at 25 um, got 200"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_atlases(what: str, tmp_path: Path) -> None:
    folder = write_atlas(tmp_path)
    damage, message = BAD[what]
    damage(folder)
    with pytest.raises(DataError, match=message) as caught:
        read_reference(folder, 25.0 if what == "other resolution" else None)
    assert str(caught.value).startswith(str(root_of(folder)))
    assert "\n" not in str(caught.value)
