"""Deep Zoom: the description, and tiles that make up each level."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from service.images.conftest import Serve, close_to, picture, section, shown, sparse

from pipeline.core.blocks import block_mean
from pipeline.service.http.answers import RequestError
from pipeline.service.images.deep_zoom import parsed, tile_side
from pipeline.store.masks import write_image

RGB = picture(611, 1003)


def test_the_description(tmp_path: Path, serve: Serve) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RGB, tile=(512, 512), compression="jpeg")
    write_image(tmp_path / "expression.zarr" / "1", sparse(611, 1003), 1.0, {})
    client = serve(section(tmp_path / "a.tif"))
    for name, side, form in (("101", "512", "jpg"), ("101:mask", "512", "png")):
        root = ElementTree.fromstring(client.get(f"/dzi/{name}.dzi").text)
        space = "{http://schemas.microsoft.com/deepzoom/2008}"
        assert root.tag == f"{space}Image"
        assert root.attrib == {"TileSize": side, "Overlap": "0", "Format": form}
        assert root[0].attrib == {"Width": "1003", "Height": "611"}
        assert client.get(f"/dzi/{name}_files/0/0_0.{form}").status_code == 200


def test_tiles_make_up_each_level(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "a.jpg").write_bytes(imagecodecs.jpeg8_encode(RGB, level=95))
    client = serve(section(tmp_path / "a.jpg"))
    for level in range(11):
        scale = 2 ** (10 - level)
        width, height = math.ceil(1003 / scale), math.ceil(611 / scale)
        canvas = np.zeros((height, width, 3), np.uint8)
        for row in range(math.ceil(height / 256)):
            for column in range(math.ceil(width / 256)):
                tile = shown(client.get(f"/dzi/101_files/{level}/{column}_{row}.jpg").content)
                canvas[row * 256 : row * 256 + 256, column * 256 : column * 256 + 256] = tile
        # the picture is noise to the coarsest levels, and to JPEG
        assert close_to(canvas, block_mean(RGB, scale), mean=2 if level > 6 else 20, most=60), level
    assert client.get("/dzi/101_files/11/0_0.jpg").status_code == 404
    assert client.get("/dzi/101_files/10/4_0.jpg").status_code == 404
    assert "4 columns and 3 rows" in client.get("/dzi/101_files/10/0_3.jpg").json()["msg"]


@pytest.mark.parametrize(
    ("level", "last"),
    [("x", "0_0.jpg"), ("-1", "0_0.jpg"), ("3", "0_0.gif"), ("3", "0.jpg"), ("3", "-1_0.jpg")],
)
def test_what_is_no_tile_is_refused(level: str, last: str) -> None:
    with pytest.raises(RequestError) as caught:
        parsed((1003, 611), 256, level, last)
    assert caught.value.status == 400


def test_tiles_that_are_no_squares_are_not_named() -> None:
    assert tile_side((512, 512)) == 512
    assert tile_side((512, 256)) == 256
    assert parsed((1, 1), 256, "0", "0_0.png").out == (1, 1)
