"""MetaImage grids: Allen's bytes in, the same bytes out."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from pipeline.core.errors import DataError
from pipeline.formats.volumes.metaimage import read_grid, read_metaimage, write_grid, write_labels

SERVED = ("prox1_69289763", "pdyn_71717084", "nrp1_74272479")


def grid(shape: tuple[int, int, int] = (4, 3, 2)) -> np.ndarray:
    return np.random.default_rng(3).random(shape).astype(np.float32)


@pytest.mark.parametrize("data_set", SERVED)
def test_served_grids_are_rewritten_byte_for_byte(data_set: str, ish_data: Path, tmp_path: Path) -> None:
    served = ish_data / "ish" / data_set / "energy.mhd"
    values, spacing, origin = read_metaimage(served)
    assert values.shape == (67, 41, 58)
    assert values.flags.c_contiguous
    assert (spacing, origin) == ((200.0,) * 3, (0.0,) * 3)
    write_grid(tmp_path / "energy.mhd", read_grid(served), 200.0)
    for name in ("energy.mhd", "energy.raw"):
        assert (tmp_path / name).read_bytes() == served.with_name(name).read_bytes()


def test_served_grid_annotation(ish_data: Path, tmp_path: Path) -> None:
    served = ish_data / "reference/gridAnnotation.mhd"
    labels, _, _ = read_metaimage(served)
    write_labels(tmp_path / "gridAnnotation.mhd", labels, 200.0)
    for name in ("gridAnnotation.mhd", "gridAnnotation.raw"):
        assert (tmp_path / name).read_bytes() == served.with_name(name).read_bytes()
    assert labels.dtype == np.uint32
    assert np.count_nonzero(labels) == 62_529
    assert labels.max() == 182_305_713


def test_p_is_fastest_on_disk(tmp_path: Path) -> None:
    values = grid()
    write_grid(tmp_path / "energy.mhd", values, 200.0)
    flat = np.frombuffer((tmp_path / "energy.raw").read_bytes(), "<f4")
    for p, i, r in np.ndindex(*values.shape):
        assert flat[p + 4 * (i + 3 * r)] == values[p, i, r]


def test_no_data_is_minus_one_on_disk_and_nan_in_memory(tmp_path: Path) -> None:
    values = grid()
    values[1, 2, 0] = np.nan
    write_grid(tmp_path / "energy.mhd", values, 200.0)
    assert read_metaimage(tmp_path / "energy.mhd")[0][1, 2, 0] == -1
    np.testing.assert_array_equal(read_grid(tmp_path / "energy.mhd"), values)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 3), (2, 4, 3)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", ["u1", "i2", "u4", "f8"])
def test_another_reader_agrees(shape: tuple[int, ...], order: str, code: str, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 100, shape).astype(code)
    check_against_itk(tmp_path / "a.mhd", values, order)


def check_against_itk(path: Path, values: np.ndarray, order: str) -> None:
    kind = {"u1": "MET_UCHAR", "i2": "MET_SHORT", "u4": "MET_UINT", "f8": "MET_DOUBLE"}[values.dtype.str[1:]]
    path.write_text(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\n"
        f"BinaryDataByteOrderMSB = {order == '>'}\nOffset = 1 2 3\nElementSpacing = 25 25 25\n"
        f"DimSize = {' '.join(map(str, values.shape))}\nElementType = {kind}\nElementDataFile = a.raw\n"
    )
    path.with_name("a.raw").write_bytes(values.astype(values.dtype.newbyteorder(order)).tobytes(order="F"))
    got, spacing, origin = read_metaimage(path)
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(got, values)
    np.testing.assert_array_equal(got, SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0))
    assert (spacing, origin) == (image.GetSpacing(), image.GetOrigin())


def test_compressed_volumes(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint16).reshape(4, 3, 2)
    image = SimpleITK.GetImageFromArray(values.transpose(2, 1, 0))
    SimpleITK.WriteImage(image, str(tmp_path / "a.mhd"), useCompression=True)
    np.testing.assert_array_equal(read_metaimage(tmp_path / "a.mhd")[0], values)


def zipped(folder: Path, *names: str) -> Path:
    for name in names:
        write_grid(folder / f"{name}.mhd", grid() + len(name), 200.0)
    path = folder / "served.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data_set.xml", "<section-data-set/>")
        for name in names:
            for suffix in (".mhd", ".raw"):
                archive.write(folder / (name + suffix), name + suffix)
    return path


def test_reading_through_a_zip_as_served(tmp_path: Path) -> None:
    path = zipped(tmp_path, "energy", "density")
    np.testing.assert_array_equal(read_grid(path), read_grid(tmp_path / "energy.mhd"))
    np.testing.assert_array_equal(read_grid(path, "density.mhd"), read_grid(tmp_path / "density.mhd"))
    with pytest.raises(DataError, match=r"intensity\.mhd"):
        read_grid(path, "intensity.mhd")


def test_a_zip_without_its_data_or_damaged(tmp_path: Path) -> None:
    path = zipped(tmp_path, "energy")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.write(tmp_path / "energy.mhd", "energy.mhd")
    with pytest.raises(DataError, match=r"energy\.raw' in the zip"):
        read_grid(tmp_path / "b.zip")
    data = bytearray(path.read_bytes())
    data[data.index(b"energy.raw") + 40] ^= 0xFF
    (tmp_path / "c.zip").write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        read_grid(tmp_path / "c.zip")


BAD = {
    "cut off": (lambda f: (f / "energy.raw").write_bytes(b"\0" * 92), "expected 96 bytes for 4 x 3 x 2"),
    "no data": (lambda f: (f / "energy.raw").unlink(), "no such file"),
    "wrong size": (lambda f: edit(f, "DimSize = 4 3 2", "DimSize = 5 3 2"), "got 96"),
    "two dimensions": (lambda f: edit(f, "DimSize = 4 3 2", "DimSize = 4 3"), "three dimensions"),
    "no size": (lambda f: edit(f, "DimSize", "Size"), "DimSize"),
    "size in words": (lambda f: edit(f, "DimSize = 4 3 2", "DimSize = a b c"), "DimSize"),
    "unknown type": (lambda f: edit(f, "MET_FLOAT", "MET_HALF"), "ElementType"),
    "bad spacing": (lambda f: edit(f, "200 200 200", "200 200"), "ElementSpacing"),
    "inside": (lambda f: edit(f, "energy.raw", "LOCAL"), "of its own"),
    "damaged compression": (lambda f: edit(f, "Offset", "CompressedData = True\nOffset"), "compressed"),
    "not MetaImage": (lambda f: (f / "energy.mhd").write_bytes(b"\x89PNG" * 9), "MetaImage header"),
    "empty": (lambda f: (f / "energy.mhd").write_bytes(b""), "MetaImage header"),
    "leads out": (lambda f: edit(f, "energy.raw", "../energy.raw"), "leads out of it"),
    "absolute": (lambda f: edit(f, "energy.raw", "/etc/hostname"), "leads out of it"),
    "link": (lambda f: relinked(f), "leads out of it"),
    "folder": (lambda f: edit(f, "= energy.raw", "= ."), "got a folder"),
    "absurd": (lambda f: edit(f, "DimSize = 4 3 2", f"DimSize = {9**40} 3 2"), "at most"),
    "too long": (lambda f: edit(f, "DimSize = 4 3 2", f"DimSize = {'9' * 5000} 3 2"), "DimSize"),
    "channels": (lambda f: edit(f, "Offset", "ElementNumberOfChannels = x\nOffset"), "ElementType"),
    "infinite": (lambda f: edit(f, "200 200 200", "200 inf 200"), "ElementSpacing"),
    "bomb": (lambda f: bomb(f), "at most"),
    "missing": (lambda f: (f / "energy.mhd").unlink(), "no such file"),
}


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "energy.mhd"
    path.write_text(path.read_text().replace(old, new))


def relinked(folder: Path) -> None:
    (folder / "energy.raw").unlink()
    (folder / "energy.raw").symlink_to("/etc/hostname")


def bomb(folder: Path) -> None:
    edit(folder, "Offset", "CompressedData = True\nOffset")
    (folder / "energy.raw").write_bytes(zlib.compress(bytes(1 << 22)))


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_what_a_zip_holds_beyond_the_header_is_not_unpacked(method: int, tmp_path: Path) -> None:
    write_grid(tmp_path / "energy.mhd", grid(), 200.0)
    head = (tmp_path / "energy.mhd").read_text()
    for name, raw, words in (
        ("good", (tmp_path / "energy.raw").read_bytes(), ""),
        ("bad", bytes(97), "got 97"),
    ):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", method) as archive:
            archive.writestr("energy.mhd", head)
            archive.writestr("energy.raw", raw)
        if words:
            with pytest.raises(DataError, match=words):
                read_grid(tmp_path / f"{name}.zip")
        else:
            np.testing.assert_array_equal(read_grid(tmp_path / f"{name}.zip"), grid())


@pytest.mark.parametrize("what", BAD)
def test_bad_volumes(what: str, tmp_path: Path) -> None:
    write_grid(tmp_path / "energy.mhd", grid(), 200.0)
    damage, message = BAD[what]
    damage(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        read_metaimage(tmp_path / "energy.mhd")
    assert "energy.mhd" in str(caught.value) or "energy.raw" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_compression(tmp_path: Path) -> None:
    write_grid(tmp_path / "energy.mhd", grid(), 200.0)
    raw = (tmp_path / "energy.raw").read_bytes()
    edit(tmp_path, "Offset", "CompressedData = True\nOffset")
    (tmp_path / "energy.raw").write_bytes(zlib.compress(raw)[:-9])
    with pytest.raises(DataError, match="damaged"):
        read_metaimage(tmp_path / "energy.mhd")


def test_write_grid_refuses(tmp_path: Path) -> None:
    for path, values in ((tmp_path / "a.raw", grid()), (tmp_path / "a.mhd", grid()[0])):
        with pytest.raises(DataError, match=r"expected a \.mhd name"):
            write_grid(path, values, 200.0)
