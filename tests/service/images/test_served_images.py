"""Images of every form through HTTP: the right pixels, caching, and what is said where a file is no good."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from service.images.conftest import Serve, close_to, picture, section, shown, sparse

from pipeline.core.blocks import block_mean
from pipeline.formats.images.files import read_image
from pipeline.service.images import open_images
from pipeline.store.masks import write_image

RGB = picture(900, 1300)
GREY = np.ascontiguousarray(RGB[..., 1])
FULL = "/iiif/3/101/full/max/0/default.jpg"


def turned_jpeg(path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(RGB).save(path, "JPEG", quality=95, exif=exif)


def ome_zarr(path: Path) -> None:
    group = zarr.create_group(path, attributes={"ome": {"version": "0.5", "multiscales": [
        {"axes": [{"name": n} for n in "cyx"], "datasets": [{"path": "0"}, {"path": "1"}]}
    ]}})  # fmt: skip
    for level, pixels in enumerate((RGB, block_mean(RGB, 2))):
        group.create_array(str(level), data=pixels.transpose(2, 0, 1), chunks=(1, 256, 256))


def rgba_png(path: Path) -> None:
    alpha = np.full((*GREY.shape, 1), 255, np.uint8)
    alpha[:100] = 0
    path.write_bytes(imagecodecs.png_encode(np.concatenate([RGB, alpha], axis=2)))


FORMS: dict[str, Callable[[Path], object]] = {
    "a.jpg": lambda p: p.write_bytes(imagecodecs.jpeg8_encode(RGB, level=95)),
    "grey.jpg": lambda p: p.write_bytes(imagecodecs.jpeg8_encode(GREY, level=95)),
    "turned.jpg": turned_jpeg,
    "a.png": lambda p: p.write_bytes(imagecodecs.png_encode(RGB)),
    "rgba.png": rgba_png,
    "a.jp2": lambda p: p.write_bytes(imagecodecs.jpeg2k_encode(RGB, level=0, codecformat="jp2")),
    "tiles.tif": lambda p: tifffile.imwrite(
        p, RGB, tile=(256, 256), compression="jpeg", compressionargs={"level": 95}
    ),
    "strips.tif": lambda p: tifffile.imwrite(p, RGB, rowsperstrip=64),
    "16-bit.tif": lambda p: tifffile.imwrite(p, GREY.astype(np.uint16) * 16, photometric="minisblack"),
    "a.zarr": ome_zarr,
}


@pytest.fixture(params=["small", "large"])
def bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take the pictures of these tests for small ones, or for ones that need overview and pyramid."""
    if request.param == "large":
        monkeypatch.setattr(open_images, "WHOLE_PX", 1000)
    else:
        monkeypatch.setattr(open_images, "WHOLE_PX", 10**9)
    return str(request.param)


def expected(path: Path, bits: int | None = None) -> np.ndarray:
    return block_mean(RGB, 1) if path.is_dir() else read_image(path, bits)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_served_as_the_pipeline_reads_it(
    tmp_path: Path, serve: Serve, form: str, bounds: str
) -> None:
    path = tmp_path / form
    FORMS[form](path)
    bits = 12 if "16" in form else None
    whole = expected(path, bits)
    client = serve(section(path, bits=bits))
    height, width = whole.shape[:2]
    info = client.get("/iiif/3/101/info.json").json()
    assert (info["width"], info["height"]) == (width, height)
    for url, wanted in {
        f"full/{-(-width // 16)},{-(-height // 16)}": block_mean(whole, 16),
        f"full/{-(-width // 4)},{-(-height // 4)}": block_mean(whole, 4),
        "256,512,256,256/max": whole[512:768, 256:512],
        "301,101,200,300/100,150": block_mean(whole[101:401, 301:501], 2),
    }.items():
        answer = client.get(f"/iiif/3/101/{url}/0/default.jpg")
        assert answer.status_code == 200, answer.text
        # JPEG rings where alpha ends; the low pass of wavelets is sharper than a mean
        mean, most = (5.0 if "jp2" in form else 2.0), (130 if "rgba" in form else 40)
        assert close_to(shown(answer.content), wanted, mean, most), url


def test_a_coarse_view_builds_no_pyramid_and_a_fine_one_does(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_images, "WHOLE_PX", 1000)
    FORMS["a.jpg"](tmp_path / "a.jpg")
    client = serve(section(tmp_path / "a.jpg"))
    assert client.get("/iiif/3/101/full/100,/0/default.jpg").status_code == 200
    assert list((tmp_path / "cache").rglob("*.tif")) == []
    assert client.get("/iiif/3/101/0,0,256,256/max/0/default.jpg").status_code == 200
    assert len(list((tmp_path / "cache").rglob("*.tif"))) == 1
    again = serve(section(tmp_path / "a.jpg"))  # the next start finds it
    monkeypatch.setattr(open_images, "load_pixels", None)
    assert again.get("/iiif/3/101/0,0,256,256/max/0/default.jpg").status_code == 200


def test_a_stored_tile_is_handed_out_as_it_is(tmp_path: Path, serve: Serve) -> None:
    FORMS["tiles.tif"](tmp_path / "a.tif")
    client = serve(section(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[0]
        index = 1 * 6 + 3
        stored = (tmp_path / "a.tif").read_bytes()[page.dataoffsets[index] :][: page.databytecounts[index]]
    for url in ("/iiif/3/101/768,256,256,256/256,256/0/default.jpg", "/dzi/101_files/11/3_1.jpg"):
        assert client.get(url).content.endswith(stored[20:])  # after JFIF or Adobe's segment


def test_a_tiled_file_without_levels_gets_them_in_the_cache(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_images, "WHOLE_PX", 1000)
    monkeypatch.setattr(open_images, "FAR", 2)
    FORMS["tiles.tif"](tmp_path / "a.tif")
    client = serve(section(tmp_path / "a.tif"))
    answer = client.get("/iiif/3/101/0,0,1024,768/256,192/0/default.jpg")
    assert close_to(shown(answer.content), block_mean(RGB, 4)[:192, :256], mean=2.0)
    (made,) = (tmp_path / "cache").rglob("*.tif")
    with tifffile.TiffFile(made) as file:
        assert file.pages[0].shape == (450, 650, 3)
    fine = client.get("/iiif/3/101/256,256,256,256/256,256/0/default.jpg")
    assert close_to(shown(fine.content), RGB[256:512, 256:512], mean=2.0)


@pytest.mark.parametrize("kind", ["pyramid", "whole"])
def test_a_file_stored_at_a_quarter_lies_in_the_frame_of_the_manifest(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(open_images, "WHOLE_PX", 1000 if kind == "pyramid" else 10**9)
    FORMS["a.jpg"](tmp_path / "a.jpg")
    client = serve(section(tmp_path / "a.jpg", (5201, 3601)))
    info = client.get("/iiif/3/101/info.json").json()
    assert (info["width"], info["height"]) == (5201, 3601)
    quarter = client.get("/iiif/3/101/1024,1024,1024,1024/256,256/0/default.jpg")
    assert close_to(shown(quarter.content), RGB[256:512, 256:512])
    full = client.get("/iiif/3/101/1024,1024,256,256/max/0/default.jpg")
    enlarged = np.repeat(np.repeat(RGB[256:320, 256:320], 4, axis=0), 4, axis=1)
    assert close_to(shown(full.content), enlarged, mean=3)


def test_masks_are_served_in_colour_and_grey(tmp_path: Path, serve: Serve) -> None:
    mask = sparse(900, 1300)
    write_image(tmp_path / "expression.zarr" / "1", mask, 1.0, {})
    client = serve(section(None, (2600, 1800)))  # the image itself is not needed
    grey = client.get("/iiif/3/101:mask/full/1300,900/0/gray.png")
    assert np.array_equal(shown(grey.content), mask)
    colour = shown(client.get("/iiif/3/101:mask/full/1300,900/0/default.png").content, "RGBA")
    assert np.array_equal(colour[..., 3] > 0, mask > 0)
    assert (colour[mask == 180][0] == [207, 255, 0, 255]).all()
    assert (colour[mask == 0] == 0).all()
    part = client.get("/iiif/3/101:mask/400,400,400,400/100,100/0/gray.png")
    assert np.array_equal(
        shown(part.content), mask[200:400, 200:400].reshape(100, 2, 100, 2).max(axis=(1, 3))
    )
    assert client.get("/iiif/3/101:mask/full/325,225/0/default.jpg").headers["content-type"] == "image/jpeg"
    assert client.get("/iiif/3/101:mask/info.json").json()["preferredFormats"] == ["png"]


def test_what_is_not_there_is_said(tmp_path: Path, serve: Serve) -> None:
    client = serve(section(tmp_path / "gone.jpg", (100, 100)), section(None, number=2))
    for url in ("/iiif/3/101/info.json", FULL, "/iiif/3/101/full/10,/0/default.jpg", "/dzi/101.dzi"):
        answer = client.get(url)
        assert answer.status_code == 404
        assert "gone.jpg" in answer.json()["msg"]
        assert "moved" in answer.json()["msg"]
    assert "has no image" in client.get("/api/v2/image_download/102").json()["msg"]
    assert "no expression mask" in client.get("/iiif/3/101:mask/info.json").json()["msg"]
    assert client.get("/iiif/3/999/info.json").status_code == 404
    for name in ("x", "-1", "1" * 30, "101:other", "٣"):
        assert client.get(f"/iiif/3/{name}/info.json").status_code == 404


def test_a_file_that_goes_while_it_is_served_is_missed(tmp_path: Path, serve: Serve) -> None:
    path = tmp_path / "a.jpg"
    FORMS["a.jpg"](path)
    client = serve(section(path))
    assert client.get(FULL).status_code == 200
    path.rename(tmp_path / "b.jpg")
    assert client.get(FULL).status_code == 404
    path.write_bytes(imagecodecs.jpeg8_encode(255 - RGB, level=95))
    assert close_to(shown(client.get(FULL).content), 255 - RGB)


@pytest.mark.parametrize("form", ["a.jpg", "tiles.tif", "a.png", "a.zarr"])
@pytest.mark.parametrize("harm", ["cut", "empty", "other"])
def test_damaged_files_are_refused_by_name(
    tmp_path: Path, serve: Serve, form: str, harm: str, bounds: str
) -> None:
    path = tmp_path / form
    FORMS[form](path)
    file = path / "zarr.json" if path.is_dir() else path
    content = file.read_bytes()
    file.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "other": b"x" * 1000}[harm])
    client = serve(section(path, (1300, 900)))
    for url in (
        FULL,
        "/iiif/3/101/full/81,57/0/default.jpg",
        "/iiif/3/101/0,0,256,256/256,256/0/default.jpg",
        FULL,
    ):
        answer = client.get(url)
        assert answer.status_code == 400, url
        assert form in answer.json()["msg"]
        assert answer.json()["success"] is False


def test_a_damaged_mask_may_be_whole_in_a_moment(tmp_path: Path, serve: Serve) -> None:
    write_image(tmp_path / "expression.zarr" / "1", sparse(900, 1300), 1.0, {})
    (tmp_path / "expression.zarr" / "1" / "0" / "c" / "0" / "0").write_bytes(b"torn")
    client = serve(section(None))
    assert client.get("/iiif/3/101:mask/0,0,512,512/max/0/default.png").status_code == 503
    write_image(tmp_path / "expression.zarr" / "1", sparse(900, 1300), 1.0, {})
    assert client.get("/iiif/3/101:mask/0,0,512,512/max/0/default.png").status_code == 200


def test_an_image_of_another_size_is_refused(tmp_path: Path, serve: Serve) -> None:
    FORMS["a.jpg"](tmp_path / "a.jpg")
    answer = serve(section(tmp_path / "a.jpg", (1000, 1000))).get(FULL)
    assert answer.status_code == 400
    assert "1000 x 1000" in answer.json()["msg"]


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_images, "WHOLE_PX", 1000)
    FORMS["a.jpg"](tmp_path / "a.jpg")
    (tmp_path / "file").write_text("in the way")
    client = serve(section(tmp_path / "a.jpg"), cache=tmp_path / "file")
    for _ in range(2):
        answer = client.get("/iiif/3/101/256,256,256,256/max/0/default.jpg")
        assert close_to(shown(answer.content), RGB[256:512, 256:512])


def test_a_torn_pyramid_is_made_anew(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_images, "WHOLE_PX", 1000)
    FORMS["a.jpg"](tmp_path / "a.jpg")
    url = "/iiif/3/101/256,256,256,256/max/0/default.jpg"
    good = serve(section(tmp_path / "a.jpg")).get(url).content
    (made,) = (tmp_path / "cache").rglob("*.tif")
    content = made.read_bytes()
    for torn in (b"", content[: len(content) // 2], content[:300] + bytes(len(content) - 300)):
        made.write_bytes(torn)
        assert serve(section(tmp_path / "a.jpg")).get(url).content == good
        assert made.read_bytes() == content


def test_many_at_once_decode_once(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_images, "WHOLE_PX", 1000)
    FORMS["a.jpg"](tmp_path / "a.jpg")
    calls = []
    load = open_images.load_pixels
    monkeypatch.setattr(open_images, "load_pixels", lambda image: (calls.append(1), load(image))[1])
    client = serve(section(tmp_path / "a.jpg"))
    urls = [f"/iiif/3/101/{256 * i},0,256,256/max/0/default.jpg" for i in range(4)] * 4
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(client.get, urls))
    assert {answer.status_code for answer in answers} == {200}
    assert calls == [1]


def test_browsers_ask_again_only_whether_something_changed(tmp_path: Path, serve: Serve) -> None:
    path = tmp_path / "a.jpg"
    FORMS["a.jpg"](path)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    client = serve(section(path))
    for url in (
        FULL,
        "/iiif/3/101/info.json",
        "/dzi/101.dzi",
        "/dzi/101_files/3/0_0.jpg",
        "/api/v2/image_download/101",
    ):
        first = client.get(url)
        assert first.headers["cache-control"].startswith("private, max-age=")
        assert first.headers["last-modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"
        tag = first.headers["etag"]
        for asked in ({"If-None-Match": f'"other", W/{tag}'}, {"If-None-Match": "*"},
                      {"If-Modified-Since": "Sun, 09 Sep 2001 01:46:40 GMT"}):  # fmt: skip
            again = client.get(url, headers=asked)
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        for asked in ({"If-None-Match": '"other"'}, {"If-Modified-Since": "Sat, 08 Sep 2001 01:46:40 GMT"},
                      {"If-Modified-Since": "nonsense"}):  # fmt: skip
            assert client.get(url, headers=asked).status_code == 200
    path.write_bytes(imagecodecs.jpeg8_encode(255 - RGB, level=95))
    assert client.get(FULL, headers={"If-None-Match": tag}).status_code == 200
