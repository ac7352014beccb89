"""One picture in every layout: whole, part, luma and reduced reads see the same pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr

from pipeline.core.blocks import block_mean
from pipeline.core.errors import DataError, PipelineError
from pipeline.core.intensity import darkness
from pipeline.core.model import SectionImage
from pipeline.formats.images.files import brightest, probe, read_image
from pipeline.inputs.config import Config
from pipeline.inputs.pixels import load_dark, load_info, load_part, load_pixels, load_reduced
from pipeline.runs.plan import Plan, look_at_images, plan_jobs

HEIGHT, WIDTH = 203, 170
Y, X = np.mgrid[:HEIGHT, :WIDTH]
RGB = np.dstack([90 + Y // 2, 250 - X // 2, 40 + (X + Y) // 3]).astype(np.uint8)
PLANES = np.moveaxis(RGB, -1, 0)
TILES = {"tile": (64, 64)}


def tif(pixels: np.ndarray, **options: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "section.tif"
        tifffile.imwrite(path, pixels, **options)
        return path

    return write


def ome_zarr(
    axes: str = "cyx", *, inside: str = "", version: int = 2, **printed: object
) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "section.zarr"
        outer = zarr.create_group(path, zarr_format=version)
        group = outer.create_group(inside) if inside else outer
        if inside:
            outer.attrs["bioformats2raw.layout"] = 3
        order = ["yxc".index(a) for a in axes if a in "yxc"]
        pixels = RGB.transpose(order).reshape([RGB.shape["yxc".index(a)] if a in "yxc" else 1 for a in axes])
        chunks = tuple(64 if a in "yx" else 1 for a in axes)
        group.create_array("0", data=np.ascontiguousarray(pixels), chunks=chunks)
        named = [{"name": a, "unit": "micrometer"} if a in "zyx" else {"name": a} for a in axes]
        scale = [{"type": "scale", "scale": [8.0] * len(axes)}]
        described = {"axes": named, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
        group.attrs.update({"multiscales": [described], **printed})
        return path

    return write


LAYOUTS = {
    "chunky": tif(RGB, photometric="rgb"),
    "chunky, tiled": tif(RGB, photometric="rgb", compression="zlib", **TILES),
    "planar": tif(PLANES, photometric="rgb", planarconfig="separate"),
    "planar, tiled": tif(PLANES, photometric="rgb", planarconfig="separate", **TILES),
    "planar, tiled, deflate": tif(
        PLANES, photometric="rgb", planarconfig="separate", compression="zlib", **TILES
    ),
    "three pages of OME": tif(PLANES, photometric="minisblack", ome=True, metadata={"axes": "CYX"}),
    "three tiled pages of OME": tif(
        PLANES, photometric="minisblack", ome=True, metadata={"axes": "CYX"}, **TILES
    ),
    "alpha, tiled": tif(
        np.dstack([RGB, np.full((HEIGHT, WIDTH), 255, np.uint8)]),
        photometric="rgb",
        extrasamples=["unassalpha"],
        **TILES,
    ),
    "zarr, cyx": ome_zarr("cyx"),
    "zarr, yxc": ome_zarr("yxc"),
    "zarr, tczyx, bioformats2raw": ome_zarr("tczyx", inside="0"),
    "zarr 3": ome_zarr("cyx", version=3),
}  # fmt: skip


def section(path: Path) -> SectionImage:
    return SectionImage(1, 1, path, WIDTH, HEIGHT, 8.0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_read_sees_the_same_picture(layout: str, tmp_path: Path) -> None:
    image = section(LAYOUTS[layout](tmp_path))
    info = load_info(image)
    assert (info.width_px, info.height_px, info.channels, info.notes) == (WIDTH, HEIGHT, 3, ())
    assert np.array_equal(load_pixels(image), RGB)
    assert np.array_equal(load_part(image, slice(60, 131), slice(5, WIDTH)), RGB[60:131, 5:WIDTH])
    assert np.array_equal(load_dark(image)[0], darkness(RGB))
    for factor in (2, 3, 8):
        assert np.array_equal(load_reduced(image, factor), block_mean(RGB, factor))


@pytest.mark.parametrize("channels", [{"Name": ["DAPI", "GFP", "Cy3"]}, {"Name": ["DAPI", "b", "c"]}])
def test_channels_of_dyes_are_refused_by_name(channels: dict[str, list[str]], tmp_path: Path) -> None:
    options = {"ome": True, "photometric": "minisblack", "metadata": {"axes": "CYX", "Channel": channels}}
    path = tif(PLANES, **options)(tmp_path)
    with pytest.raises(DataError, match=r"section\.tif: .*DAPI"):
        read_image(path)


def test_four_channels_are_refused(tmp_path: Path) -> None:
    four = np.concatenate([PLANES, PLANES[:1]])
    path = tif(four, ome=True, photometric="minisblack", metadata={"axes": "CYX"})(tmp_path)
    with pytest.raises(DataError, match="4 channels"):
        probe(path)


def test_dyes_of_an_ome_zarr_are_refused_by_name(tmp_path: Path) -> None:
    channels = [{"label": name} for name in ("DAPI", "GFP", "Cy3")]
    path = ome_zarr("cyx", omero={"channels": channels})(tmp_path)
    with pytest.raises(DataError, match=r"section\.zarr.*DAPI, GFP, Cy3"):
        load_info(section(path))


def test_the_largest_of_several_images_is_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(RGB[:40, :31], photometric="rgb", metadata={"axes": "YXS", "Name": "macro"})
        size = {"PhysicalSizeX": 2.5, "PhysicalSizeY": 2.5}
        writer.write(RGB, photometric="rgb", metadata={"axes": "YXS", **size}, tile=(64, 64))
    info = probe(path)
    assert (info.width_px, info.height_px, info.resolution_um) == (WIDTH, HEIGHT, 2.5)
    assert "holds 2 images" in info.notes[0]
    assert np.array_equal(load_part(section(path), slice(0, 90), slice(0, 90)), RGB[:90, :90])
    assert np.array_equal(load_reduced(section(path), 2), block_mean(RGB, 2))


def test_two_images_of_one_size_are_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for _ in range(2):
            writer.write(RGB, photometric="rgb", metadata={"axes": "YXS"})
    with pytest.raises(DataError, match=r"slide\.ome\.tif: .*2 images"):
        probe(path)


@pytest.mark.parametrize(("top", "bits"), [(250, 8), (1000, 10), (4011, 12), (16000, 14), (60000, 16)])
def test_16_bits_without_a_range_are_those_of_the_camera(top: int, bits: int, tmp_path: Path) -> None:
    grey = (RGB[..., 0].astype(np.float64) / RGB[..., 0].max() * top).round().astype(np.uint16)
    expected = np.floor(grey / (2**bits - 1) * 255 + 0.5)
    for name, write in {
        "a.png": lambda p: p.write_bytes(imagecodecs.png_encode(grey)),
        "a.tif": lambda p: tifffile.imwrite(p, grey),
        "t.tif": lambda p: tifffile.imwrite(p, grey, tile=(64, 64)),
        "o.tif": lambda p: tifffile.imwrite(
            p, grey, ome=True, metadata={"axes": "YX", "SignificantBits": 16}
        ),
    }.items():
        path = tmp_path / name
        write(path)
        assert brightest(path) == top
        assert not probe(path).range_stated
        image = section(path)
        assert np.abs(load_pixels(image) - expected).max() <= 1
        assert np.array_equal(load_part(image, slice(3, 90), slice(0, 60)), load_pixels(image)[3:90, :60])
        assert np.array_equal(load_dark(image)[0], 255 - load_pixels(image))


def test_a_series_has_one_range_and_says_so(tmp_path: Path) -> None:
    rows = ["section_number,file,width_px,height_px,resolution_um"]
    for number, top in ((1, 1000), (2, 4000), (3, 3000)):
        grey = np.full((30, 40), top, np.uint16)
        tifffile.imwrite(tmp_path / f"s{number}.tif", grey)
        rows.append(f"{number},s{number}.tif,40,30,8")
    (tmp_path / "sections.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "section_data_set.yaml").write_text(
        "id: 5\nplane_of_section: coronal\nsection_thickness_um: 25\n"
    )
    jobs, broken = plan_jobs([tmp_path], Plan(Config(), tmp_path / "out", None))
    assert not broken
    (job,) = look_at_images(jobs, 2)
    assert [image.bits for image in job.sections] == [12, 12, 12]
    assert [int(load_pixels(image)[0, 0]) for image in job.sections] == [62, 249, 187]
    assert any("12 bits" in line and "4000" in line for line in job.warnings)


def test_fill_of_jpeg_tiles_is_not_mixed_into_the_edge(tmp_path: Path) -> None:
    white = np.full((8 * 20 + 1, 8 * 25 + 1, 3), 240, np.uint8)
    path = tif(white, photometric="rgb", compression="jpeg", **TILES)(tmp_path)
    for factor in (2, 4, 8):
        assert load_reduced(section(path), factor).min() >= 235


def zarr_image(folder: Path, unit: str | None = "micrometer", scale: float = 8.0) -> Path:
    path = ome_zarr("cyx")(folder)
    document = json.loads((path / ".zattrs").read_text())
    image = document["multiscales"][0]
    for axis in image["axes"][1:]:
        axis.pop("unit", None)
        axis.update({"unit": unit} if unit else {})
    image["datasets"][0]["coordinateTransformations"][0]["scale"] = [1.0, scale, scale]
    (path / ".zattrs").write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("unit", "scale", "um"),
    [
        ("millimeter", 0.008, 8.0),
        ("nanometer", 8000.0, 8.0),
        ("meter", 8e-6, 8.0),
        (None, 8.0, 8.0),
        (None, 1.0, None),
        ("pixel", 3.0, None),
    ],
)
def test_units_of_an_ome_zarr(unit: str | None, scale: float, um: float | None, tmp_path: Path) -> None:
    assert load_info(section(zarr_image(tmp_path, unit, scale))).resolution_um == um


BAD = {
    "unknown dtype": (".zarray", {"dtype": "<q9"}),
    "negative shape": (".zarray", {"shape": [3, -203, 170]}),
    "huge shape": (".zarray", {"shape": [3, 10**9, 10**9]}),
    "huge chunks": (".zarray", {"chunks": [1, 10**8, 10**8]}),
    "chunks of 0": (".zarray", {"chunks": [0, 0, 0]}),
    "unknown codec": (".zarray", {"compressor": {"id": "no such"}}),
    "floats": (".zarray", {"dtype": "<f4"}),
    "a list": (".zarray", []),
    "shape of words": (".zarray", {"shape": ["a", None, {}]}),
    "no datasets": (".zattrs", {"multiscales": [{}]}),
    "datasets elsewhere": (".zattrs", {"multiscales": [{"axes": [*"cyx"], "datasets": [{"path": "../x"}]}]}),
    "attributes of a list": (".zattrs", [1]),
    "scale of words": (
        ".zattrs",
        {
            "multiscales": [
                {
                    "axes": [*"cyx"],
                    "datasets": [{"path": "0", "coordinateTransformations": [{"scale": ["a", {}, None]}]}],
                }
            ]
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_wrong_documents_of_an_ome_zarr_are_one_line(fault: str, tmp_path: Path) -> None:
    path = zarr_image(tmp_path)
    name, change = BAD[fault]
    file = path / "0" / name if name == ".zarray" else path / name
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, **change} if isinstance(change, dict) else change))
    with pytest.raises(DataError, match=r"section\.zarr") as caught:
        load_info(section(path))
    assert "\n" not in str(caught.value)


def test_chunks_that_are_not_there_are_noted(tmp_path: Path) -> None:
    path = zarr_image(tmp_path)
    chunks = sorted(p for p in (path / "0").rglob("*") if p.is_file() and not p.name.startswith("."))
    chunks[0].unlink()
    assert f"1 of {len(chunks)} chunks" in load_info(section(path)).notes[0]
    for chunk in chunks[1:]:
        chunk.unlink()
    with pytest.raises(DataError, match="none of its"):
        load_info(section(path))


def damaged(path: Path, rng: np.random.Generator) -> None:
    """Change some bytes of one file of an image."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    file = files[int(rng.integers(len(files)))]
    data = np.frombuffer(file.read_bytes(), np.uint8).copy()
    end = min(len(data), 400 if rng.random() < 0.5 else len(data))
    at = rng.integers(0, end, int(rng.integers(1, 6)))
    data[at] = rng.integers(0, 256, len(at))
    file.write_bytes(data.tobytes() if rng.random() < 0.8 else data.tobytes()[: end // 2])


def complaint(read: Callable[[SectionImage], object], image: SectionImage) -> str:
    """Return the line of the PipelineError that reading raises, "" where it raises none."""
    try:
        read(image)
    except PipelineError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "layout", ["chunky, tiled", "planar, tiled", "three tiled pages of OME", "zarr, cyx", "zarr 3"]
)
def test_damaged_layouts_raise_nothing_but_one_line(layout: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for turn in range(25):
        (tmp_path / str(turn)).mkdir()
        path = LAYOUTS[layout](tmp_path / str(turn))
        damaged(path, rng)
        image = section(path)
        for read in (load_info, load_pixels, load_dark, lambda s: load_reduced(s, 4)):
            line = complaint(read, image)
            assert "\n" not in line
            assert not line or path.name in line
