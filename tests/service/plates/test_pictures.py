"""Plates as pictures: colours where structures are, grey of the template, parts of the whole."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.core.reference_space import ReferenceSpace
from pipeline.service.http.answers import RequestError
from pipeline.service.plates.atlases import atlas_images, plate_labels, plate_to_reference, plates_of
from pipeline.service.plates.cracks import cut
from pipeline.service.plates.pictures import coloured, grey, jpeg, png, view_of, white_of
from pipeline.service.plates.smooth import smooth


@pytest.mark.parametrize("plane", ["coronal", "sagittal", "horizontal"])
def test_structures_have_their_colours(phantom: ReferenceSpace, plane: str) -> None:
    image = plates_of(phantom, plane, 0.0)[30]
    labels = plate_labels(phantom, image)
    picture = coloured(
        smooth(cut(labels)), phantom.ontology, image.zoom, view_of((image.width, image.height), 2)
    )
    assert picture.shape == (labels.shape[0] * 8, labels.shape[1] * 8, 3)
    centres = picture[3::8, 3::8]
    inner = cv2.erode(
        (cv2.Laplacian(labels.astype(np.float32), cv2.CV_32F) == 0).astype(np.uint8), np.ones((3, 3))
    )
    assert inner[labels > 0].sum() > 100
    for y, x in np.argwhere((inner > 0) & (labels > 0)):
        colour = phantom.ontology.by_id[int(labels[y, x])].color
        assert centres[y, x].tolist() == [int(colour[n : n + 2], 16) for n in (0, 2, 4)]
    assert (centres[(inner > 0) & (labels == 0)] == 255).all()


def test_a_plane_beside_the_brain_is_paper(blocks: ReferenceSpace) -> None:
    rings = smooth(cut(np.zeros((4, 8), np.uint32)))
    picture = coloured(rings, blocks.ontology, 8.0, view_of((64, 32), 0))
    assert picture.shape == (32, 64, 3)
    assert (picture == 255).all()


def test_boundaries_are_dark(blocks: ReferenceSpace) -> None:
    labels = np.full((4, 8), 2, np.uint32)
    labels[:, 4:] = 7
    picture = coloured(smooth(cut(labels)), blocks.ontology, 8.0, view_of((64, 32), 0))
    assert picture[16, 31:33].max() < 100
    assert picture[16, 16].tolist() == [255, 128, 0]


@pytest.mark.parametrize("downsample", [0, 1, 3])
def test_a_part_is_a_part_of_the_whole(phantom: ReferenceSpace, downsample: int) -> None:
    image = atlas_images(phantom, 1)[60]
    size, factor = (image.width, image.height), 2**downsample
    rings = smooth(cut(plate_labels(phantom, image)))
    whole = coloured(rings, phantom.ontology, image.zoom, view_of(size, downsample))
    part = view_of(size, downsample, (1600, 960), (96, 64))
    rows, columns = slice(960 // factor, 960 // factor + 64), slice(1600 // factor, 1600 // factor + 96)
    seen = coloured(rings, phantom.ontology, image.zoom, part).astype(int)
    assert (np.abs(seen - whole[rows, columns]).max(axis=2) > 8).mean() < 0.01
    assert np.array_equal(
        grey(phantom, image, part), grey(phantom, image, view_of(size, downsample))[rows, columns]
    )


def test_grey_is_the_template_at_the_place(blocks: ReferenceSpace) -> None:
    p, i, r = np.meshgrid(*(np.arange(n) for n in blocks.annotation.shape), indexing="ij")
    ramp = (10.0 * p + 3.0 * i + 7.0 * r + 1.0).astype(np.float32)
    reference = ReferenceSpace(9, "ramp", blocks.annotation, 100.0, blocks.ontology, ramp, 100.0)
    for atlas_id in (1, 2):
        image = atlas_images(reference, atlas_id)[3]
        picture = grey(reference, image, view_of((image.width, image.height), 0))
        for y, x in ((90, 120), (200, 250), (150, 90)):
            at = np.array(plate_to_reference(reference, image.id, x, y)) / 100.0
            value = 255.0 / white_of(reference) * (10 * at[0] + 3 * at[1] + 7 * at[2] + 1)
            assert picture[y, x] == pytest.approx(value, abs=1.0)


def test_grey_is_linear_between_planes(blocks: ReferenceSpace) -> None:
    coarse = np.zeros((6, 5, 7), np.float32)
    coarse[2], coarse[3] = 100.0, 200.0
    reference = ReferenceSpace(9, "coarse", blocks.annotation, 100.0, blocks.ontology, coarse, 200.0)
    image = atlas_images(reference, 602630314)[5]  # 500 um, between planes at 400 and 600
    picture = grey(reference, image, view_of((image.width, image.height), 3))
    assert picture[20, 20] == pytest.approx(255 * 150 / white_of(reference), abs=1.0)


def test_views() -> None:
    view = view_of((1000, 700), 2)
    assert (view.left, view.top, view.width, view.height, view.factor) == (0, 0, 250, 175, 4)
    view = view_of((1000, 701), 3, (900, 600), (64, 64))
    assert (view.width, view.height) == (13, 13)
    with pytest.raises(
        RequestError, match=r"a part of the image of 1000 x 700 pixels, got 0 x 700 at 1001, 0"
    ):
        view_of((1000, 700), 0, (1001, 0))
    with pytest.raises(RequestError, match="at most 64000000 pixels, got 9000 x 9000; give downsample"):
        view_of((9000, 9000))


def test_pictures_are_packed_as_they_are() -> None:
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:, 12:] = (200, 100, 0)
    found = cv2.imdecode(np.frombuffer(png(pixels), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(found[..., ::-1], pixels)
    found = cv2.imdecode(np.frombuffer(jpeg(pixels, 95), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(found[..., ::-1].astype(int) - pixels).mean() < 4
    assert cv2.imdecode(np.frombuffer(jpeg(pixels[..., 0], 50), np.uint8), cv2.IMREAD_UNCHANGED).ndim == 2
