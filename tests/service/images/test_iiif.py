"""The rules of the IIIF Image API 3.0, one by one, and the tiles that a viewer asks for."""

from __future__ import annotations

import math
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service.images.conftest import Serve, TestClient, close_to, picture, section, shown

from pipeline.core.blocks import block_mean
from pipeline.service.http.answers import RequestError
from pipeline.service.images.iiif import canonical, parsed, parsed_region, parsed_size
from pipeline.service.images.rendering import Asked
from pipeline.service.served import LIMITS

SIZE = (1003, 611)
RGB = picture(611, 1003)


@pytest.fixture
def client(tmp_path: Path, serve: Serve) -> TestClient:
    (tmp_path / "a.jpg").write_bytes(imagecodecs.jpeg8_encode(RGB, level=95))
    return serve(section(tmp_path / "a.jpg"))


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("full", (0, 0, 1003, 611)), ("square", (196, 0, 611, 611)), ("10,20,30,40", (10, 20, 30, 40)),
        ("1000,600,300,300", (1000, 600, 3, 11)), ("pct:0,0,100,100", (0, 0, 1003, 611)),
        ("pct:50,50,25.5,10", (502, 306, 256, 61)), ("pct:90,90,50,50", (903, 550, 100, 61)),
        ("pct:10,10,.001,.001", (100, 61, 1, 1)),
    ],
)  # fmt: skip
def test_regions(text: str, box: tuple[int, ...]) -> None:
    assert parsed_region(SIZE, text) == box


@pytest.mark.parametrize(
    "text",
    [
        "", "none", "1,2,3", "1,2,3,4,5", "-1,0,5,5", "0,0,0,5", "0,0,5,0", "1003,0,5,5", "0,611,1,1",
        "nan,0,1,1", "0,0,inf,1", "0,0,1e308,1", "0,0,1.5,1", "pct:0,0,0,5", "pct:101,0,5,5", "pct:-1,0,5,5",
        "pct:0,0,nan,5",
        "pct:1,2,3", "٣,0,5,5", " 1,0,5,5", "0x1,0,5,5",
    ],
)  # fmt: skip
def test_regions_that_are_none(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parsed_region(SIZE, text)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("max", (600, 400)), ("^max", (9797, 6531)), ("300,", (300, 200)), (",100", (150, 100)),
        ("pct:50", (300, 200)), ("pct:33.3", (200, 133)), ("120,300", (120, 300)),
        ("!300,300", (300, 200)), ("!900,100", (150, 100)),
        ("!900,900", (600, 400)), ("^!900,900", (900, 600)), ("^1200,", (1200, 800)), ("^,800", (1200, 800)),
        ("^pct:200", (1200, 800)), ("^700,800", (700, 800)), ("^300,200", (300, 200)), ("!1,1", (1, 1)),
    ],
)  # fmt: skip
def test_sizes(text: str, out: tuple[int, int]) -> None:
    assert parsed_size((7, 9, 600, 400), text) == out


@pytest.mark.parametrize(
    "text",
    [
        "", "full", ",", "0,", ",0", "0,0", "!0,5", "601,", ",401", "601,10", "pct:101", "pct:0", "pct:",
        "-5,", "5", "^", "^^max", "!5", "!5,", "nan,", "1e308,", "5,5,5", "^99999,99999", "^pct:100000",
        "pct:-1", "1.5,2",
    ],
)  # fmt: skip
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parsed_size((0, 0, 600, 400), text)
    assert caught.value.status == 400


@given(st.data())
@settings(max_examples=200)
def test_sizes_keep_to_the_specification(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 5000)), data.draw(st.integers(1, 5000))
    box = (0, 0, width, height)
    w, h = data.draw(st.integers(1, 6000)), data.draw(st.integers(1, 6000))
    grows = data.draw(st.booleans())
    mark = "^" if grows else ""
    confined = parsed_size(box, f"{mark}!{w},{h}")
    assert confined[0] <= w
    assert confined[1] <= h
    assert confined[0] * confined[1] <= LIMITS.region_px
    scale = min(w / width, h / height) if grows else min(w / width, h / height, 1.0)
    assert abs(confined[0] - max(width * scale, 1)) <= 1
    assert abs(confined[1] - max(height * scale, 1)) <= 1
    if w <= width or grows:
        try:
            across, down = parsed_size(box, f"{mark}{w},")
        except RequestError:
            down = height * w / width
            assert down < 1 or down > 65_499 or w * down > LIMITS.region_px * 0.99
        else:
            assert across == w
            assert abs(down - height * w / width) <= 0.5 + 1e-6
    assert parsed_size(box, "max") == (width, height)


@given(st.data())
@settings(max_examples=200)
def test_a_canonical_path_leads_to_the_same_answer(data: st.DataObject) -> None:
    left, top = data.draw(st.integers(0, 1002)), data.draw(st.integers(0, 610))
    width, height = data.draw(st.integers(1, 1003 - left)), data.draw(st.integers(1, 611 - top))
    out = data.draw(st.integers(1, 1500)), data.draw(st.integers(1, 1500))
    asked = Asked((left, top, width, height), out, "jpg", is_grey=data.draw(st.booleans()))
    words = dict(zip(("region", "size", "rotation", "last"), canonical(SIZE, asked).split("/"), strict=True))
    assert parsed(SIZE, words) == asked


@pytest.mark.parametrize(
    ("rotation", "last"),
    [("90", "default.jpg"), ("!0", "default.jpg"), ("x", "default.jpg"), ("0", "bitonal.jpg"),
     ("0", "default.gif"), ("0", "default"), ("0", ".jpg"), ("0", "Default.jpg"), ("0", "native.jpg")],
)  # fmt: skip
def test_what_is_not_served_is_refused(rotation: str, last: str) -> None:
    with pytest.raises(RequestError):
        parsed(SIZE, {"region": "full", "size": "max", "rotation": rotation, "last": last})


def test_the_base_uri_leads_to_the_information(client: TestClient) -> None:
    for url in ("/iiif/3/101", "/iiif/3/101/"):
        answer = client.get(url)
        assert answer.status_code == 303
        assert answer.headers["location"] == "http://localhost/iiif/3/101/info.json"
    assert client.get("/iiif/3/9").status_code == 404


def test_information(client: TestClient) -> None:
    answer = client.get("/iiif/3/101/info.json")
    info = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert next(iter(info)) == "@context"
    assert info["@context"] == "http://iiif.io/api/image/3/context.json"
    assert info["id"] == "http://localhost/iiif/3/101"
    assert (info["type"], info["protocol"], info["profile"]) == (
        "ImageService3", "http://iiif.io/api/image", "level1",
    )  # fmt: skip
    assert (info["width"], info["height"]) == SIZE
    assert info["maxArea"] == LIMITS.region_px
    assert info["tiles"] == [{"width": 256, "height": 256, "scaleFactors": [1, 2, 4]}]
    assert info["sizes"] == [{"width": w, "height": h} for w, h in ((251, 153), (502, 306), (1003, 611))]
    assert "sizeByWh" in info["extraFeatures"]
    linked = client.get("/iiif/3/101/info.json", headers={"Accept": "application/ld+json"})
    assert linked.headers["content-type"].startswith("application/ld+json;profile=")
    assert linked.json() == info


def test_every_size_that_is_named_is_served(client: TestClient) -> None:
    for size in client.get("/iiif/3/101/info.json").json()["sizes"]:
        answer = client.get(f"/iiif/3/101/full/{size['width']},{size['height']}/0/default.jpg")
        assert shown(answer.content).shape == (size["height"], size["width"], 3)


def test_tiles_that_a_viewer_asks_for_make_up_each_level(client: TestClient) -> None:
    for scale in (1, 2, 4):
        canvas = np.zeros((math.ceil(611 / scale), math.ceil(1003 / scale), 3), np.uint8)
        for top in range(0, 611, 256 * scale):
            for left in range(0, 1003, 256 * scale):
                width, height = min(256 * scale, 1003 - left), min(256 * scale, 611 - top)
                out = math.ceil(width / scale), math.ceil(height / scale)
                answer = client.get(
                    f"/iiif/3/101/{left},{top},{width},{height}/{out[0]},{out[1]}/0/default.jpg"
                )
                y, x = top // scale, left // scale
                canvas[y : y + out[1], x : x + out[0]] = shown(answer.content)
        assert close_to(canvas, block_mean(RGB, scale), mean=1.5)


def test_qualities_and_formats(client: TestClient) -> None:
    colour = client.get("/iiif/3/101/0,0,300,200/150,/0/color.png")
    assert colour.headers["content-type"] == "image/png"
    assert shown(colour.content).shape == (100, 150, 3)
    for last in ("gray.png", "gray.jpg"):
        grey = shown(client.get(f"/iiif/3/101/0,0,300,200/150,/0/{last}").content)
        assert grey.shape == (100, 150)
        assert np.abs(grey - shown(colour.content) @ [0.299, 0.587, 0.114]).max() < 8


def test_an_answer_names_its_canonical_path(client: TestClient) -> None:
    answer = client.get("/iiif/3/101/0,0,2000,2000/,306/0.0/color.jpg")
    assert (
        answer.headers["link"] == '<http://localhost/iiif/3/101/full/502,306/0/default.jpg>;rel="canonical"'
    )
    answer = client.get("/iiif/3/101/pct:0,0,100,100/!1003,900/0/color.jpg")
    assert "/full/max/0/default.jpg>" in answer.headers["link"]
    enlarged = client.get("/iiif/3/101/0,0,10,10/%5E20,20/0/default.png")
    assert "/0,0,10,10/^20,20/0/default.png>" in enlarged.headers["link"]


def test_a_refusal_says_what_is_understood(client: TestClient) -> None:
    answer = client.get("/iiif/3/101/full/2000,/0/default.jpg")
    assert answer.status_code == 400
    assert "^2000, enlarges" in answer.json()["msg"]
    assert "w,h" in client.get("/iiif/3/101/full/full/0/default.jpg").json()["msg"]
    assert client.get("/iiif/3/101/0,0,1e308,5/max/0/default.jpg").status_code == 400
