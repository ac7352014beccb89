"""Atlases: ids, sizes, positions, and the way to the reference and back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import DataError
from pipeline.core.model import Structure
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace
from pipeline.service.http.answers import RequestError
from pipeline.service.plates.atlas_rows import atlas_rows
from pipeline.service.plates.atlases import (
    ATLASES,
    FIRST_ID,
    atlas_image,
    atlas_images,
    nearest_plate,
    plate_labels,
    plate_to_reference,
    plates_of,
)


def empty(um: float, shape: tuple[int, int, int]) -> ReferenceSpace:
    """Return a reference of a size that costs no memory."""
    ontology = Ontology((Structure(1, "root", "root", None, 0, "FFFFFF"),))
    return ReferenceSpace(9, "empty", np.broadcast_to(np.zeros((), np.uint32), shape), um, ontology)


MOUSE = empty(25.0, (528, 320, 456))


@pytest.mark.parametrize(
    ("atlas_id", "plates", "last_um"), [(1, 132, 13100), (2, 29, 5600), (602630314, 528, 13175)]
)
def test_plates_of_the_mouse(atlas_id: int, plates: int, last_um: float) -> None:
    images = atlas_images(MOUSE, atlas_id)
    assert len(images) == plates
    assert (images[0].position_um, images[-1].position_um) == (0, last_um)
    assert all(i.section_number * i.thickness_um == i.position_um for i in images)
    width = 456 if atlas_id != 2 else 528
    assert {(i.width, i.height) for i in images} == {(8 * width, 8 * 320)}
    assert {i.resolution_um for i in images} == {3.125}
    assert {i.tier_count for i in images} == {5 if atlas_id != 2 else 6}


def test_ids_are_unique_and_fit() -> None:
    ids = [image.id for atlas in ATLASES for image in atlas_images(MOUSE, atlas)]
    assert len(set(ids)) == len(ids)
    assert min(ids) >= FIRST_ID
    assert max(ids) < 2**31
    assert all(atlas_image(MOUSE, id_).id == id_ for id_ in ids)


def test_ids_of_paths_do_not_meet() -> None:
    first = sorted(image.first_path_id for atlas in ATLASES for image in atlas_images(MOUSE, atlas))
    assert all(b - a >= 10_000 for a, b in pairwise(first))
    assert first[-1] + 10_000 < 2**31


@pytest.mark.parametrize("um", [10.0, 20.0, 25.0, 39.0, 50.0, 100.0, 200.0])
def test_any_spacing_works(um: float) -> None:
    reference = empty(um, (30, 20, 26))
    for atlas_id in ATLASES:
        images = atlas_images(reference, atlas_id)
        assert 3.0 <= images[0].resolution_um < 6.0
        assert images[0].zoom * images[0].resolution_um == um


@given(
    st.sampled_from(list(ATLASES)),
    st.tuples(st.floats(-500, 13700), st.floats(-500, 8500), st.floats(-500, 5600)),
)
@settings(deadline=None)
def test_nearest_plate_and_back(atlas_id: int, point: tuple[float, float, float]) -> None:
    image_id, number, x, y = nearest_plate(MOUSE, atlas_id, point)
    image = atlas_image(MOUSE, image_id)
    back = plate_to_reference(MOUSE, image_id, x, y)
    normal = 2 if atlas_id == 2 else 0
    apart = {i.section_number: abs(i.position_um - point[normal]) for i in atlas_images(MOUSE, atlas_id)}
    assert image.section_number == number
    assert apart[number] == pytest.approx(min(apart.values()))
    assert back[normal] == image.position_um
    assert np.delete(back, normal) == pytest.approx(np.delete(point, normal), abs=1e-6)


def test_the_other_half_is_mirrored() -> None:
    left, right = (nearest_plate(MOUSE, 2, (5000.0, 3000.0, r)) for r in (4000.0, 7400.0))
    assert left == right


@pytest.mark.parametrize("plane", ["coronal", "sagittal", "horizontal"])
def test_a_plate_shows_the_annotation_at_its_pixels(phantom: ReferenceSpace, plane: str) -> None:
    image = plates_of(phantom, plane, 0.0)[20]
    labels = plate_labels(phantom, image)
    assert labels.shape == (image.height // image.zoom, image.width // image.zoom)
    for y, x in np.argwhere(labels > 0)[::157]:
        point = {
            "coronal": (image.section_number, y, x),
            "sagittal": (x, y, image.section_number),
            "horizontal": (y, image.section_number, x),
        }[plane]
        assert labels[y, x] == phantom.annotation[point]


def test_pixels_lie_in_their_voxels(phantom: ReferenceSpace) -> None:
    image = atlas_images(phantom, 1)[60]
    labels = plate_labels(phantom, image)
    for y, x in np.argwhere(labels > 0)[::400] * image.zoom:
        for dy, dx in ((0, 0), (image.zoom - 1, image.zoom - 1)):
            p, i, r = plate_to_reference(phantom, image.id, x + dx, y + dy)
            voxel = tuple(round(v / phantom.annotation_um) for v in (p, i, r))
            assert phantom.annotation[voxel] == labels[y // image.zoom, x // image.zoom]


def test_plates_for_files_leave_empty_planes_out(phantom: ReferenceSpace) -> None:
    images = plates_of(phantom, "coronal", 300.0)
    assert all(plate_labels(phantom, image).any() for image in images)
    assert {image.section_number % 3 for image in images} == {0}
    with pytest.raises(DataError, match="coronal, sagittal, horizontal, got 'oblique'"):
        plates_of(phantom, "oblique", 100.0)


@pytest.mark.parametrize(
    "image_id", [0, 100960033, FIRST_ID + 1, FIRST_ID + 528, FIRST_ID + 5_000_000, 2**40]
)
def test_unknown_images_name_what_exists(image_id: int) -> None:
    with pytest.raises(
        RequestError, match=rf"AtlasImage {image_id}: not served.*{FIRST_ID} \(atlas 1\)"
    ) as refused:
        atlas_image(MOUSE, image_id)
    assert refused.value.status == 404


def test_unknown_atlases_name_what_exists() -> None:
    for call in (lambda: atlas_images(MOUSE, 3), lambda: nearest_plate(MOUSE, 3, (0, 0, 0))):
        with pytest.raises(RequestError, match=r"Atlas 3: .*1 \(Mouse, P56, Coronal\), 2 ") as refused:
            call()
        assert refused.value.status == 404


def test_rows(phantom: ReferenceSpace) -> None:
    rows = atlas_rows(phantom)
    assert [row["id"] for row in rows["Atlas"]] == [1, 2, 602630314]
    assert {row["data_set_id"] for row in rows["AtlasImage"]} == {row["id"] for row in rows["AtlasDataSet"]}
    annotated = {row["id"]: row["annotated"] for row in rows["AtlasImage"]}
    assert len(annotated) == sum(len(atlas_images(phantom, atlas)) for atlas in ATLASES)
    for id_, there in annotated.items():
        assert there == plate_labels(phantom, atlas_image(phantom, id_)).any()
    assert {row["sub_image_id"] for row in rows["GraphicObject"]} == {
        i for i, there in annotated.items() if there
    }
    assert all(isinstance(row["annotated"], bool) for row in rows["AtlasImage"])
