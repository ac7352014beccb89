"""Reference folders: Allen's files under both of their names, and what may be wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from pipeline.core.errors import DataError
from pipeline.formats.volumes.metaimage import write_grid
from pipeline.formats.volumes.reference_folder import (
    available,
    present_labels,
    read_ontology,
    read_reference,
)

SHAPE = (6, 4, 8)


def labels(step: int = 1) -> np.ndarray:
    out = np.zeros(SHAPE, np.uint32)
    out[1:5, 1:3, 1:4] = 8
    out[1:5, 1:3, 4:7] = 312782574
    out[0, 0, 1] = 5
    return out[::step, ::step, ::step]


def save(path: Path, pir: np.ndarray, spacing: float) -> None:
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(pir.transpose(2, 1, 0)))
    image.SetSpacing((spacing,) * 3)
    SimpleITK.WriteImage(image, str(path), useCompression=True)


def node(number: int, *children: dict) -> dict:
    return {"id": number, "acronym": f"S{number}", "name": f"structure {number}", "children": list(children)}


def reference(folder: Path) -> Path:
    folder.mkdir()
    save(folder / "annotation_200.nrrd", labels(), 200.0)
    save(folder / "annotation_400.nrrd", labels(2), 400.0)
    save(folder / "average_template_200.nrrd", (labels() % 255).astype(np.uint16), 200.0)
    graph = {"msg": [node(997, node(8), node(312782574))]}
    (folder / "structure_graph_1.json").write_text(json.dumps(graph))
    return folder


def test_a_folder(tmp_path: Path) -> None:
    space = read_reference(reference(tmp_path / "ref"))
    assert (space.name, space.id, space.annotation_um, space.template_um) == ("ref", 9, 200.0, 200.0)
    np.testing.assert_array_equal(space.annotation, labels())
    assert space.annotation.dtype == np.uint32
    assert space.template is not None
    np.testing.assert_array_equal(space.template, labels() % 255)
    assert space.ontology.unknown(present_labels(space.annotation)) == (5,)
    assert space.extent_um == (1200.0, 800.0, 1600.0)


def test_which_resolution(tmp_path: Path) -> None:
    folder = reference(tmp_path / "ref")
    space = read_reference(folder, 400.0)
    assert (space.annotation_um, space.template_um) == (400.0, 200.0)
    np.testing.assert_array_equal(space.annotation, labels(2))
    assert read_reference(folder, template=False).template is None
    with pytest.raises(DataError, match=r"at 100 um, got annotation_200\.nrrd, annotation_400\.nrrd"):
        read_reference(folder, 100.0)
    assert available(folder)[0] == ("annotation_200.nrrd", 200.0)


def test_without_a_template(tmp_path: Path) -> None:
    folder = reference(tmp_path / "ref")
    (folder / "average_template_200.nrrd").unlink()
    assert read_reference(folder).template is None


@pytest.mark.parametrize("spacing", [200.0, 0.2])
def test_original_names_and_units(spacing: float, tmp_path: Path) -> None:
    folder = reference(tmp_path / "ref")
    for name in ("annotation_200.nrrd", "annotation_400.nrrd", "average_template_200.nrrd"):
        (folder / name).unlink()
    save(folder / "annotation.mhd", labels(), spacing)
    save(folder / "atlasVolume.mhd", labels().astype(np.uint8), spacing)
    space = read_reference(folder, 200.0)
    assert (space.annotation_um, space.template_um) == (200.0, 200.0)
    np.testing.assert_array_equal(space.annotation, labels())


def test_the_served_grid_annotation(tmp_path: Path) -> None:
    folder = reference(tmp_path / "ref")
    save(folder / "gridAnnotation.mhd", np.ones((7, 5, 9), np.uint32), 200.0)
    grid_annotation = read_reference(folder).grid_annotation
    assert grid_annotation is not None
    assert grid_annotation.shape == (7, 5, 9)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda f: f.rename(f.with_name("moved")), "a reference folder holds"),
    "no annotation": (
        lambda f: [p.unlink() for p in f.glob("annotation*")],
        "expected an annotation, got none",
    ),
    "no ontology": (
        lambda f: (f / "structure_graph_1.json").unlink(),
        "expected the ontology, got no such file",
    ),
    "damaged ontology": (lambda f: (f / "structure_graph_1.json").write_text("{"), "ontology in JSON"),
    "list for an ontology": (lambda f: (f / "structure_graph_1.json").write_text("[]"), "structure graph"),
    "empty ontology": (
        lambda f: (f / "structure_graph_1.json").write_text('{"msg": []}'),
        "structure_graph_1",
    ),
    "cut off": (lambda f: cut(f / "annotation_200.nrrd"), "expected a whole volume"),
    "empty": (lambda f: (f / "annotation_200.nrrd").write_bytes(b""), "expected a whole volume"),
    "not a volume": (lambda f: (f / "annotation_200.nrrd").write_text("<html>"), "expected a whole volume"),
    "wrong name": (lambda f: save(f / "annotation_200.nrrd", labels(), 100.0), "200 um as its name says"),
    "unequal spacing": (lambda f: stretched(f / "annotation_200.nrrd"), "one spacing along all axes"),
    "float labels": (
        lambda f: save(f / "annotation_200.nrrd", labels().astype(np.float32), 200.0),
        "whole structure ids",
    ),
    "negative labels": (
        lambda f: save(f / "annotation_200.nrrd", labels().astype(np.int32) - 1, 200.0),
        "ids of 32 bits, got -1",
    ),
    "other box": (
        lambda f: save(f / "average_template_200.nrrd", labels()[:3], 200.0),
        "both must show one box",
    ),
    "grid of another box": (
        lambda f: save(f / "gridAnnotation.mhd", np.ones((9, 5, 9), np.uint32), 200.0),
        "grid annotation of shape",
    ),
    "negative grid labels": (
        lambda f: save(f / "gridAnnotation.mhd", np.full((7, 5, 9), -1, np.int32), 200.0),
        "gridAnnotation.mhd: expected structure ids of 32 bits, got -1",
    ),
    "float grid labels": (
        lambda f: write_grid(f / "gridAnnotation.mhd", np.ones((7, 5, 9), np.float32), 200.0),
        "gridAnnotation.mhd: expected whole structure ids",
    ),
    "grid spacing": (
        lambda f: write_grid(f / "gridAnnotation.mhd", np.ones((7, 5, 9), np.float32), 100.0),
        "expected a 200 um grid",
    ),
}


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 30])


def stretched(path: Path) -> None:
    image = SimpleITK.GetImageFromArray(labels())
    image.SetSpacing((200.0, 200.0, 100.0))
    SimpleITK.WriteImage(image, str(path))


@pytest.mark.parametrize("what", BAD)
def test_bad_references(what: str, tmp_path: Path) -> None:
    folder = reference(tmp_path / "ref")
    damage, message = BAD[what]
    damage(folder)
    with pytest.raises(DataError, match=message) as caught:
        read_reference(folder)
    assert "ref" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", ["C", "F"])
def test_present_labels_against_unique(order: str) -> None:
    volume = np.random.default_rng(2).choice([0, 7, 2**32 - 1, 15], (9, 8, 7)).astype(np.uint32)
    volume = np.asarray(volume, order=order)  # type: ignore[call-overload]
    np.testing.assert_array_equal(present_labels(volume), np.unique(volume))


def test_real_reference(ish_data: Path) -> None:
    coarse = read_reference(ish_data / "reference", 100.0)
    half = read_reference(ish_data / "reference", 50.0, template=False)
    assert coarse.annotation.shape == (132, 80, 114)
    assert coarse.template is not None
    assert (coarse.template.shape, coarse.template_um) == ((132, 80, 114), 100.0)
    np.testing.assert_array_equal(half.annotation[::2, ::2, ::2], coarse.annotation)
    assert half.ontology.unknown(present_labels(half.annotation)) == ()
    assert coarse.grid_annotation is not None
    assert len(present_labels(coarse.grid_annotation)) == 650  # 649 labels and 0
    assert coarse.grid.shape == (67, 41, 58)
    assert len(coarse.ontology.structures) == 1327
    anterior, superior = coarse.template[:66].mean(), coarse.template[:, :40].mean()
    assert anterior > 0
    assert superior > coarse.template[:, 40:].mean()
    assert coarse.template[:20].mean() < coarse.template[50:80].mean()  # the bulb is the thin end of P


def test_the_real_ontology_has_every_acronym_once(ish_data: Path) -> None:
    ontology = read_ontology(ish_data / "reference" / "structure_graph_1.json")
    assert all(
        ontology.find(s.acronym) is s and ontology.label(s.id) == s.acronym for s in ontology.structures
    )
    with pytest.raises(DataError, match=r"could be .*\(CM, .*\(cm, "):
        ontology.find("Cm")
