"""Surfaces of structures: made of labels with their descendants, and moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from brains import ONTOLOGY, UM, brain

from pipeline.atlas_building.displacement import Displacement
from pipeline.atlas_building.meshes import move_meshes, read_obj, structure_masks, write_meshes
from pipeline.core.errors import DataError
from pipeline.formats.volumes.meshes import surface

CUBE = "v 0 0 0\nv 100 0 0\nv 0 100 0\nv 0 0 100\nf 1 2 3\nf 1/1/1 2/2/2 4/4/4\nf 1 2 3 4\n"


def test_masks_hold_descendants_and_lie_at_their_corners() -> None:
    _, labels = brain()
    found = {one: (corner, mask) for one, corner, mask in structure_masks(labels, ONTOLOGY)}
    wanted = {997: labels > 0, 8: labels == 8, 312782546: labels == 312782546}
    assert found.keys() == wanted.keys()
    for one, (corner, mask) in found.items():
        whole = np.zeros(labels.shape, bool)
        whole[tuple(slice(c, c + n) for c, n in zip(corner, mask.shape, strict=True))] = mask
        assert np.array_equal(whole, wanted[one])


def test_surfaces_lie_where_the_structures_do(tmp_path: Path) -> None:
    _, labels = brain()
    assert write_meshes(tmp_path / "meshes", labels, UM, ONTOLOGY) == 3
    vertices, faces = read_obj(tmp_path / "meshes" / "312782546.obj")
    places = np.argwhere(labels == 312782546) * UM
    assert np.abs(vertices.min(axis=0) - (places.min(axis=0) - UM / 2)).max() < UM
    assert np.abs(vertices.max(axis=0) - (places.max(axis=0) + UM / 2)).max() < UM
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6  # positive where faces look outwards
    assert volume == pytest.approx(len(places) * UM**3, rel=0.1)


def test_moved_meshes_keep_their_faces(tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "5.obj").write_text(CUBE)
    (tmp_path / "meshes" / "notes.obj").write_text("no mesh")
    shift = Displacement(np.full((3, 3, 3, 3), 10.0, np.float32), 100.0)
    assert move_meshes(tmp_path, shift, tmp_path / "out") == 1
    vertices, faces = read_obj(tmp_path / "out" / "5.obj")
    assert np.allclose(vertices, np.array([[0, 0, 0], [100, 0, 0], [0, 100, 0], [0, 0, 100]]) + 10)
    assert faces.tolist() == [[0, 1, 2], [0, 1, 3], [0, 1, 2], [0, 2, 3]]
    assert move_meshes(tmp_path / "out", shift, tmp_path / "none") == 0


def test_a_thin_sheet_in_a_large_box_keeps_a_surface() -> None:
    sheet = np.zeros((40, 40, 40), np.uint8)
    sheet[np.arange(40), np.arange(40)] = 1  # a diagonal one, thinner than the voxels it would be reduced to
    mesh = surface(sheet, 25.0, 1000)
    assert len(mesh.faces) > 100
    assert np.abs(mesh.vertices[:, 0] - mesh.vertices[:, 1]).max() < 50.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a surface with vertices"),
        ("v 1 2\nf 1 1 1\n", "expected a surface with vertices"),
        ("v 1 2 3\nf 1 2 3\n", "expected a surface with vertices"),
        ("v 1 2 x\n", "line 1: expected numbers of a Wavefront OBJ"),
    ],
)
def test_damaged_meshes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "5.obj").write_text(text)
    with pytest.raises(DataError, match=message):
        read_obj(tmp_path / "5.obj")
