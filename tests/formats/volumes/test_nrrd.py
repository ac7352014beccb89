"""NRRD volumes: what is written is read, what is wrong is one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from pipeline.core.errors import DataError
from pipeline.formats.volumes.nrrd import nrrd_spacing, read_nrrd

SIZES = (5, 4, 3)
LABELS = np.arange(60, dtype="<u4").reshape(SIZES, order="F")
HEAD = (
    "NRRD0004\n# made\ntype: uint32\ndimension: 3\nspace: left-posterior-superior\nsizes: 5 4 3\n"
    "space directions: (100,0,0) (0,100,0) (0,0,100)\nkinds: domain domain domain\nendian: little\n"
    "encoding: {encoding}\nspace origin: (0,0,0)\n\n"
)


def written(path: Path, head: str = HEAD, encoding: str = "raw", body: bytes | None = None) -> Path:
    data = LABELS.tobytes(order="F")
    data = gzip.compress(data) if encoding == "gzip" else data
    path.write_bytes(head.format(encoding=encoding).encode("latin-1") + (data if body is None else body))
    return path


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_a_volume_is_read_as_itk_reads_it(encoding: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.nrrd", encoding=encoding)
    volume, spacing = read_nrrd(path)
    image = SimpleITK.ReadImage(str(path))
    assert np.array_equal(volume, SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0))
    assert spacing == image.GetSpacing() == nrrd_spacing(path)


def test_two_members_of_gzip_and_a_detached_file_are_read(tmp_path: Path) -> None:
    data = LABELS.tobytes(order="F")
    body = gzip.compress(data[:100]) + gzip.compress(data[100:])
    assert np.array_equal(read_nrrd(written(tmp_path / "a.nrrd", encoding="gzip", body=body))[0], LABELS)
    (tmp_path / "b.raw").write_bytes(data)
    head = HEAD.replace("endian", "data file: b.raw\nendian")
    assert np.array_equal(read_nrrd(written(tmp_path / "b.nhdr", head, body=b""))[0], LABELS)


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("(0,100,0)", f"(0,{'A' * 5000},0)"),
        ("(0,100,0)", "(0,ten,0)"),
        ("(0,100,0)", "(0,nan,0)"),
        ("sizes: 5 4 3", "sizes: 5 4 -3"),
        ("sizes: 5 4 3", "sizes: 5 4 0"),
        ("sizes: 5 4 3", "sizes: 99999 99999 99999"),
        ("sizes: 5 4 3", f"sizes: {'9' * 400} 4 3"),
        ("sizes: 5 4 3", "sizes: 5 4"),
        ("dimension: 3", "dimension: 4"),
        ("type: uint32", "type: block"),
        ("endian: little", "endian: middle"),
        ("encoding: {encoding}", "encoding: bzip2"),
        ("encoding: {encoding}", "encoding: gzip"),
        ("endian: little", "endian: little\ndata file: ../b.raw"),
        ("endian: little", "endian: little\ndata file: LIST"),
        ("endian: little", "endian: little\nbyte skip: -1"),
        ("NRRD0004", "nothing of this kind"),
    ],
)
def test_a_wrong_header_is_one_line(there: str, instead: str, tmp_path: Path) -> None:
    path = written(tmp_path / "annotation_100.nrrd", HEAD.replace(there, instead))
    with pytest.raises(DataError, match=r"annotation_100\.nrrd: ") as caught:
        read_nrrd(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_cut_files_and_bombs_are_refused(tmp_path: Path) -> None:
    for body in (b"", b"\0" * 100, gzip.compress(b"\0" * 100)):
        for encoding in ("raw", "gzip"):
            with pytest.raises(DataError, match=r"a\.nrrd"):
                read_nrrd(written(tmp_path / "a.nrrd", encoding=encoding, body=body))


def complaint(path: Path) -> str:
    """Return the line of the DataError that reading raises, "" where it raises none."""
    try:
        read_nrrd(path)
    except DataError as error:
        return str(error)
    return ""


def test_random_damage_raises_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for encoding in ("raw", "gzip"):
        whole = np.frombuffer(written(tmp_path / "a.nrrd", encoding=encoding).read_bytes(), np.uint8)
        for _ in range(1500):
            data = whole.copy()
            data[rng.integers(0, len(data), 4)] = rng.integers(0, 256, 4)
            path = tmp_path / "b.nrrd"
            path.write_bytes(data.tobytes())
            line = complaint(path)
            assert "\n" not in line
            assert not line or "b.nrrd" in line
