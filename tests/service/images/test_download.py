"""The original's image download: tiers, boxes, masks and filters."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from service.images.conftest import Serve, TestClient, close_to, picture, section, shown, sparse

from pipeline.core.blocks import block_mean
from pipeline.service.http.answers import RequestError
from pipeline.service.images.colour_maps import coloured
from pipeline.service.images.download import Filters, answer_download, filtered, parsed, split_path
from pipeline.service.images.sources import ArrayPixels
from pipeline.store.masks import write_image

RGB = picture(800, 1200)
MASK = sparse(800, 1200)
URL = "/api/v2/image_download/101"


@pytest.fixture
def client(tmp_path: Path, serve: Serve) -> TestClient:
    (tmp_path / "a.jpg").write_bytes(imagecodecs.jpeg8_encode(RGB, level=95))
    write_image(tmp_path / "expression.zarr" / "1", MASK, 1.0, {})
    boxed = section(tmp_path / "a.jpg", (1200, 800), number=2, tissue_box_px=(100.0, 40.0, 601.0, 402.0))
    return serve(section(tmp_path / "a.jpg", (1200, 800)), boxed)


def pixels(client: TestClient, url: str) -> np.ndarray:
    answer = client.get(url)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    return shown(answer.content)


def test_a_tier_is_the_image_halved(client: TestClient) -> None:
    for name in ("image_download", "section_image_download", "projection_image_download"):
        assert close_to(pixels(client, f"/api/v2/{name}/101?downsample=2"), block_mean(RGB, 4))
    assert close_to(pixels(client, URL), RGB)
    assert close_to(pixels(client, f"{URL}.jpg?downsample=3"), block_mean(RGB, 8))
    assert close_to(pixels(client, f"{URL}&downsample=3"), block_mean(RGB, 8))
    assert pixels(client, f"{URL}?downsample=20").shape == (1, 1, 3)


def test_corner_in_full_pixels_and_size_in_those_of_the_tier(client: TestClient) -> None:
    got = pixels(client, f"{URL}?downsample=2&left=200&top=100&width=100&height=50")
    assert close_to(got, block_mean(RGB[100:300, 200:600], 4))
    adjusted = pixels(
        client, f"{URL}?downsample=2&left=200&top=100&width=400&height=200&downsample_dimensions=true"
    )
    assert close_to(adjusted, got, mean=0.1)
    cut = pixels(client, f"{URL}?downsample=1&left=1100&top=700&width=500&height=500")
    assert close_to(cut, block_mean(RGB[700:, 1100:], 2))


def test_the_tissue_box_is_the_default(client: TestClient) -> None:
    other = URL.replace("101", "102")
    assert close_to(pixels(client, other), RGB[40:442, 100:701])
    assert close_to(pixels(client, f"{other}?downsample=1"), block_mean(RGB[40:442, 100:700], 2))
    assert close_to(pixels(client, f"{other}?left=0&top=0&width=9&height=7"), RGB[:7, :9])


def test_the_mask_is_grey_until_a_colour_map_is_asked_for(client: TestClient) -> None:
    fine = "quality=100"
    for word in ("view=expression", "expression=true"):
        grey = pixels(client, f"{URL}?{word}&{fine}")
        assert close_to(grey, MASK, mean=0.1, most=8)
    for word in ("projection=true", "view=projection"):  # of an ISH section, the photo
        assert close_to(pixels(client, f"{URL}?{word}"), RGB)
    small = pixels(client, f"{URL}?view=expression&downsample=2&{fine}")
    assert close_to(small, MASK.reshape(200, 4, 300, 4).max(axis=(1, 3)), mean=0.5, most=10)
    colour = pixels(client, f"{URL}?expression=true&colormap=0.5,0,0,255,4&{fine}")
    assert close_to(colour, coloured(MASK, 4), mean=0.5, most=80)
    assert close_to(pixels(client, f"{URL}?expression=false&view="), RGB)


def test_quality_is_that_of_the_jpeg(client: TestClient) -> None:
    sizes = [len(client.get(f"{URL}?quality={q}").content) for q in (0, 30, 80, 100)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 4


@pytest.mark.parametrize(
    "words",
    [
        "downsample=-1", "downsample=x", "downsample=99", "downsample=1.5", "quality=101", "quality=nan",
        "left=-5", "left=inf", "width=0", "height=1e308", "left=1200", "top=800", "view=nothing",
        "view=tumor_feature_boundary", "tumor_feature_annotation=true", "expression=maybe", "downsmple=3",
        "range=0,255", "range=0,255,5,5,0,255", "range=0,nan,0,255,0,255", "rgb=1,1,2", "rgb=1,1",
        "contrast=.5", "contrast=0.5,-1", "colormap=0.5,0.1,0,256,12",
        "colormap=0.5,0.1,0,256", "colormap=0.5,0.1,256,0,4",
        "colormap=0.5,2,0,256,4", "colormap=expression",
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(client: TestClient, words: str) -> None:
    answer = client.get(f"{URL}?{words}")
    assert answer.status_code == 400
    assert answer.json()["success"] is False
    assert answer.json()["msg"].partition(":")[2] or "expected" in answer.json()["msg"]


def test_what_real_clients_send_is_answered(client: TestClient) -> None:
    for words in (
        "downsample=3&quality=80&expression=true",
        "expression=true&colormap=0.5,0.1,0,256,4",
        "range=0,1500,0,1000,0,4095&rgb=1,1,1&contrast=0.5,0.5",
        "downsample=2&quality=50&tumor_feature_annotation=false&tumor_feature_boundary=false&view=expression",
        "left=0&top=0&width=10&height=10&downsample_dimensions=false",
        "downsample=2&annotation=true&atlas=1",
    ):
        pixels(client, f"{URL}?{words}")


def test_filters_change_values_in_their_order() -> None:
    grey = np.arange(256, dtype=np.uint8)[None]
    assert np.array_equal(filtered(grey, Filters()), grey)
    assert np.array_equal(filtered(grey, Filters(contrast=(0.5, 0.5), rgb=(1, 1, 1))), grey)
    window = filtered(grey, Filters(range=(100, 200) * 3))
    assert window[0, [0, 100, 150, 200, 255]].tolist() == [0, 0, 128, 255, 255]
    halved = filtered(grey, Filters(rgb=(1, 0.5, 0)))
    assert halved[0, 200].tolist() == [200, 100, 0]
    dark = filtered(grey, Filters(colormap=(0.5, 0.5, 0, 255, 0)))
    assert dark[0, 100].tolist() == [0, 0, 0]
    assert dark[0, 200].tolist() == [200, 200, 200]
    steep = filtered(grey, Filters(contrast=(0.9, 0.5)))[0].astype(int)
    assert steep[64] < 64 < 192 < steep[192]
    assert (np.diff(steep) >= 0).all()
    bright = filtered(grey, Filters(contrast=(0.5, 0.8)))[0]
    assert bright[128] > 128
    assert bright[0] == 0
    assert bright[255] == 255
    colours = filtered(np.repeat(grey[..., None], 3, axis=2), Filters(range=(0, 255, 0, 510, 0, 1020)))
    assert colours[0, 200].tolist() == [200, 100, 50]


def test_any_pixels_are_downloaded_alike() -> None:
    content, media = answer_download(ArrayPixels(RGB), {"downsample": "2", "width": "50"}, (400, 0, 800, 800))
    assert media == "image/jpeg"
    assert close_to(shown(content), block_mean(RGB[:, 400:600], 4))
    with pytest.raises(RequestError, match="at most 200000000"):
        answer_download(ArrayPixels(np.zeros((2, 2), np.uint8), (20_000, 20_000), 10_000), {})


@given(
    st.dictionaries(
        st.sampled_from(["downsample", "left", "width", "quality", "range", "rgb", "view"]), st.text()
    )
)
def test_no_text_does_harm(words: dict[str, str]) -> None:
    with suppress(RequestError):  # anything else is a fault
        parsed(words)


def test_parameters_in_the_path() -> None:
    assert split_path("7", {}) == ("7", {})
    assert split_path("7&view=", {"view": "expression"}) == ("7", {"view": "expression"})
