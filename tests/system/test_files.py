"""Files of anyone's: within bounds, and one line for what is no plain file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.core.errors import DataError
from pipeline.system.files import check_plain, read_content, read_json_value, read_text, shown


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "loop", "device", "long", "nul"])
def test_what_is_no_plain_file_is_reported_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to("x")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind in ("long", "nul"):
        path = tmp_path / ("x" * 300 if kind == "long" else "a\0b")
    for read in (lambda: check_plain(path, "a table"), lambda: read_text(path, "a table")):
        with pytest.raises(DataError, match="expected a table, got"):
            read()


def test_more_than_the_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_content(path, "a table", 5) == b"12345"
    with pytest.raises(DataError, match="at most 4 bytes, got 5"):
        read_content(path, "a table", 4)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_by_its_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x").write_bytes("µm,1".encode(encoding))
    assert read_text(tmp_path / "x", "a table") == "µm,1"


@pytest.mark.parametrize("content", [b"M\xfcller", b"a\0b"])
def test_other_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="expected a table"):
        read_text(tmp_path / "x", "a table")


@pytest.mark.parametrize("text", ["[" * 100_000, "{", '{"a": 1e999}', '{"a": NaN}', "9" * 500, ""])
def test_json_that_is_none_or_holds_no_numbers(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(DataError, match="in JSON, got"):
        read_json_value(tmp_path / "x", "an alignment")


def test_nothing_is_shown_at_length() -> None:
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    for value in ("x" * 10**6, [1] * 10**6, 10**5000, deep, {n: n for n in range(10**5)}):
        assert len(shown(value)) <= 120
