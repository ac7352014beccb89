"""Good manifests, tables and configurations with a few bytes changed: read, or one line, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import PipelineError
from pipeline.formats.images.files import ImageInfo
from pipeline.formats.manifests.allen_xml import read_data_set_xml
from pipeline.formats.manifests.sections_csv import read_sections_csv
from pipeline.formats.tables.tables import read_points_csv
from pipeline.inputs.config import load_config_file

TIMES = 1000  # mutations of each text
LONGEST = 1500  # characters of a message, of which the path is some
YAML = b"""id: 7
gene: Gad1
plane_of_section: sagittal
section_thickness_um: 25
specimen: "05-0660"
age: 2024-01-05
hemisphere: left
dark_artifacts: {3: [[[0, 0], [1.5, 0], [1, 2]]]}
"""
CSV = b"""section_number,file,width_px,height_px,resolution_um,failed,rotate_deg,flip
3,a_s0003.png,60,40,4.0,,,
11,a_s0011.png,60,40,4.0,true,90,horizontal
"""
XML = b"""<?xml version="1.0" encoding="UTF-8"?><section-data-set><failed>false</failed><id>42</id>
<reference-space-id>10</reference-space-id><section-thickness>25.0</section-thickness>
<specimen><hemisphere>left</hemisphere><name>05-0660</name></specimen>
<alignment3d><trv>1,0,0,0,1,0,0,0,1,0,0,0</trv><tvr>1,0,0,0,1,0,0,0,1,0,0,0</tvr></alignment3d>
<section-images><section-image><height>80</height><id>5</id><resolution>1.049</resolution>
<section-number>14</section-number><width>120</width><alignment2d><tsv>1,0,0,1,0,0</tsv>
<tvs>1,0,0,1,0,0</tvs></alignment2d></section-image></section-images></section-data-set>
"""
CONFIG = b"""reference: {name: phantom, resolution_um: 100}
series: {section_step: 2}
alignment: {name: joint, configuration: {corrected_sections: [3, 11]}}
gridding: {smoothing_um: 200}
cluster: {cores: 2, job_extra: ["--gres=gpu:1,x"]}
sweep: {gridding.smoothing_um: [100, 200]}
"""
POINTS = b"section_number,x,y,note\n3,1.5,2,a\n11,3,4,b\n"
NASTY = (
    b"", b"\n", b"\r", b"\t", b" ", b",", b";", b'"', b"'", b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf",
    b"0", b"00", b"-1", b"1_0", b"1e999", b"nan", b".inf", b"9" * 400, b"9" * 20, b"2024-13-45", b"12:30",
    b"../..", b"/", b".", b"x" * 300, b"a/" * 3000, b"[" * 3000, b"{", b"}", b"[]", b"{}", b"~", b"&a ",
    b"*a", b"!!int abc", b"!!python/name:os.system", b"? ", b": ", b"- ", b"--- ", b"\\ud800", b'"\\uD800"',
    b'"\\x1b"', b"%", b"@", b"`", b"|\n", b">\n", b"#", b"<<: ", b"<a>", b"</", b"<!DOCTYPE x>", b"&x;",
    b"&#0;", b"<![CDATA[", "é\u202e\ufeff".encode(), b"true", b"NO", b"sep=;\n", b"\xc3",
)  # fmt: skip


def mutated(text: bytes, rng: random.Random) -> bytes:
    """Return the text with one to three places replaced, doubled, cut away or swapped."""
    for _ in range(rng.randint(1, 3)):
        first, last = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        last = min(last, first + rng.choice((0, 1, 3, 12, 60)))
        put = rng.choice((rng.choice(NASTY), rng.randbytes(2), text[first:last] * 2, text[:last][-30:]))
        text = text[:first] + put + text[last:]
    return text if rng.random() > 0.05 else text.decode("latin-1").encode("utf-16")


def probe(path: Path) -> ImageInfo:
    return ImageInfo(60, 40, 3, 8, 4.0, "PNG")


def read_series_of(changed: str) -> Callable[[Path, bytes], Any]:
    texts = {"section_data_set.yaml": YAML, "sections.csv": CSV}

    def read(folder: Path, text: bytes) -> Any:
        for name, content in (texts | {changed: text}).items():
            (folder / name).write_bytes(content)
        source = read_sections_csv(folder, probe)
        for image in source.data_set.section_images:
            assert image.path is None or folder in (folder / image.path).resolve().parents
        assert 0 <= source.data_set.id < 2**63
        return source

    return read


def read_file(name: str, reader: Callable[[Path], Any]) -> Callable[[Path, bytes], Any]:
    def read(folder: Path, text: bytes) -> Any:
        (folder / name).write_bytes(text)
        return reader(folder / name)

    return read


def points(path: Path) -> Any:
    return read_points_csv(path, ("section_number", "x", "y"))


KINDS = {
    "yaml": (YAML, read_series_of("section_data_set.yaml")),
    "csv": (CSV, read_series_of("sections.csv")),
    "xml": (XML, read_file("data_set.xml", read_data_set_xml)),
    "configuration": (CONFIG, read_file("c.yaml", load_config_file)),
    "points": (POINTS, read_file("p.csv", points)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_text_is_read_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    good, read = KINDS[kind]
    (tmp_path / "a_s0003.png").write_bytes(b"x")
    read(tmp_path, good)
    refused = 0
    for seed in range(TIMES):
        text = mutated(good, random.Random(seed))
        message = outcome(read, tmp_path, text)
        refused += message is not None
        assert len(message or "") < LONGEST, (seed, message)
        assert "\n" not in (message or ""), (seed, message)
    assert TIMES // 4 < refused < TIMES


def outcome(read: Callable[[Path, bytes], Any], folder: Path, text: bytes) -> str | None:
    """Return the line with which a text is refused; whatever else is raised ends the test."""
    try:
        read(folder, text)
    except PipelineError as error:
        return str(error)
    return None
