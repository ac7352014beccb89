"""BrainGlobe atlas folders of any orientation come to the same (P, I, R) volume."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from pipeline.core.errors import DataError
from pipeline.formats.volumes.brainglobe import to_pir
from pipeline.formats.volumes.reference_folder import read_reference

PIR = np.arange(2 * 3 * 4, dtype=np.uint32).reshape(2, 3, 4)
ENDS = {"a": (0, 1), "p": (0, -1), "s": (1, 1), "i": (1, -1), "l": (2, 1), "r": (2, -1)}
ORIENTATIONS = [
    "".join(letters)
    for axes in itertools.permutations(("ap", "si", "lr"))
    for letters in itertools.product(*axes)
]


def stored(orientation: str) -> np.ndarray:
    """Return PIR as an atlas of this orientation holds it, each voxel placed by a loop."""
    lengths = [PIR.shape[ENDS[letter][0]] for letter in orientation]
    out = np.zeros(lengths, np.uint32)
    for index in np.ndindex(*lengths):
        where = [0, 0, 0]
        for at, letter in zip(index, orientation, strict=True):
            axis, sign = ENDS[letter]
            where[axis] = at if sign == 1 else PIR.shape[axis] - 1 - at
        out[index] = PIR[tuple(where)]
    return out


def atlas(folder: Path, orientation: str = "asr") -> Path:
    folder.mkdir()
    tifffile.imwrite(folder / "annotation.tiff", stored(orientation), photometric="minisblack")
    tifffile.imwrite(folder / "reference.tiff", stored(orientation).astype("u2"), photometric="minisblack")
    metadata = {
        "name": "toy_mouse",
        "citation": "Nobody 2020",
        "orientation": orientation,
        "resolution": [200.0] * 3,
    }
    (folder / "metadata.json").write_text(json.dumps(metadata))
    structures = [
        {"id": 2, "acronym": "A", "name": "a", "structure_id_path": [1, 2], "rgb_triplet": [255, 0, 16]},
        {"id": 1, "acronym": "root", "name": "root", "structure_id_path": [1]},
    ]
    (folder / "structures.json").write_text(json.dumps(structures))
    return folder


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_to_pir(orientation: str) -> None:
    np.testing.assert_array_equal(to_pir(stored(orientation), orientation), PIR)


@pytest.mark.parametrize("orientation", ["asr", "asl", "lpi"])
def test_an_atlas(orientation: str, tmp_path: Path) -> None:
    space = read_reference(atlas(tmp_path / "atlas", orientation))
    np.testing.assert_array_equal(space.annotation, PIR)
    assert space.template is not None
    np.testing.assert_array_equal(space.template, PIR)
    assert (space.name, space.citation) == ("toy_mouse", "Nobody 2020")
    assert (space.annotation_um, space.template_um) == (200.0, 200.0)
    assert space.ontology.find("A").color == "FF0010"
    assert space.ontology.path(2) == (1, 2)
    assert read_reference(tmp_path / "atlas", template=False).template is None


def update(folder: Path, **changes: object) -> None:
    path = folder / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def relabel(folder: Path, labels: np.ndarray) -> None:
    tifffile.imwrite(folder / "annotation.tiff", labels, photometric="minisblack")


def structures(folder: Path, **changes: object) -> None:
    path = folder / "structures.json"
    first, *others = json.loads(path.read_text())
    path.write_text(json.dumps([first | changes, *others]))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "orientation": (lambda f: update(f, orientation="asx"), "an orientation such as asr, got 'asx'"),
    "axis twice": (lambda f: update(f, orientation="aps"), "an orientation such as asr"),
    "resolution": (lambda f: update(f, resolution=[25, 25, 50]), "one resolution along all axes"),
    "resolution in words": (lambda f: update(f, resolution="fine"), "orientation and resolution"),
    "resolution of nothing": (lambda f: update(f, resolution=[0, 0, 0]), "one resolution along all axes"),
    "resolution below 0": (lambda f: update(f, resolution=[-25.0] * 3), "one resolution along all axes"),
    "resolution nan": (lambda f: update(f, resolution=["nan"] * 3), "one resolution along all axes"),
    "one resolution nan": (lambda f: update(f, resolution=[25, "nan", 25]), "one resolution along all axes"),
    "resolution inf": (lambda f: update(f, resolution=["inf"] * 3), "one resolution along all axes"),
    "a bare NaN": (lambda f: update(f, resolution=[float("nan")] * 3), "NaN"),
    "negative labels": (lambda f: relabel(f, PIR.astype("i4") - 1), "ids of 32 bits, got -1 to 22"),
    "labels of 64 bits": (lambda f: relabel(f, PIR.astype("u8") + 2**32), "ids of 32 bits, got 4294967296"),
    "labels with fractions": (
        lambda f: relabel(f, PIR + np.float32(0.5)),
        "whole structure ids, got float64",
    ),
    "negative id": (lambda f: structures(f, id=-2), "whole number from 0 to 4294967295 as id, got '-2'"),
    "huge id": (lambda f: structures(f, id=2**32), "whole number from 0 to 4294967295 as id"),
    "id with a fraction": (lambda f: structures(f, id=2.5), "whole number from 0 to 4294967295 as id"),
    "metadata": (lambda f: (f / "metadata.json").write_text("{"), "JSON"),
    "no annotation": (lambda f: (f / "annotation.tiff").unlink(), r"annotation\.tiff: .* no such file"),
    "cut off": (lambda f: (f / "annotation.tiff").write_bytes(b"II*\0"), "whole TIFF volume"),
    "flat": (
        lambda f: tifffile.imwrite(f / "annotation.tiff", PIR[0], photometric="minisblack"),
        "three dimensions",
    ),
    "shapes": (
        lambda f: tifffile.imwrite(f / "reference.tiff", PIR[:1], photometric="minisblack"),
        "of one shape",
    ),
    "structures": (lambda f: (f / "structures.json").write_text('[{"id": 1}]'), "BrainGlobe structures"),
    "no structures": (lambda f: (f / "structures.json").write_text("[]"), "at least one structure"),
    "other resolution": (lambda f: None, "at 25 um, got 200"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_atlases(what: str, tmp_path: Path) -> None:
    folder = atlas(tmp_path / "atlas")
    damage, message = BAD[what]
    damage(folder)
    with pytest.raises(DataError, match=message) as caught:
        read_reference(folder, 25.0 if what == "other resolution" else None)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["i4", "u2", "i8"])
def test_labels_of_any_whole_type_are_read(dtype: str, tmp_path: Path) -> None:
    folder = atlas(tmp_path / "atlas")
    relabel(folder, stored("asr").astype(dtype))
    space = read_reference(folder)
    assert space.annotation.dtype == np.uint32
    np.testing.assert_array_equal(space.annotation, PIR)


@pytest.mark.parametrize("color", [[-1, 0, 0], [256, 0, 0], [1, 2]])
def test_a_color_that_is_none_is_grey(color: list[int], tmp_path: Path) -> None:
    folder = atlas(tmp_path / "atlas")
    structures(folder, rgb_triplet=color)
    assert read_reference(folder).ontology.find("A").color == "AAAAAA"
