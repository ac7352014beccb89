"""Input that is wrong: one helpful line for each, the right exit status, never a traceback."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import SimpleITK
import tifffile
import yaml
from conftest import CONFIG, Ish

from pipeline.formats.images.files import write_image

NUMBERS = (100, 108, 116)
WIDTH, HEIGHT = 114, 80  # a coronal plane of the whole box at 100 um
MOST = 400  # characters of a line
ROW = f"{WIDTH},{HEIGHT},100"
HEADER = "section_number,file,width_px,height_px,resolution_um\n"
CSV = HEADER + "".join(f"{n},a_{n}.png,{ROW}\n" for n in NUMBERS)
YAML: dict[str, Any] = {"id": 5, "plane_of_section": "coronal", "section_thickness_um": 25.0}
ALIGNMENT: dict[str, Any] = {
    "reference_space_id": 9,
    "alignment3d": {"tvr": [0, 0, -1, 0, 1, 0, 1, 0, 0, 9000, 0, 0]},
    "alignment2d": [{"section_number": n, "tsv": [100, 0, 0, 100, 0, 0]} for n in NUMBERS],
}
GRAPH = {"msg": [{"id": 997, "acronym": "root", "name": "root", "children": []}]}
BRAINGLOBE = {"name": "toy", "orientation": "asr", "resolution": [100, 100, 100]}

RUN = (
    "run", CONFIG, "--input", "{series}", "--output", "{out}", "--json",
    "--set", "alignment.name=given", "--set", "reference.resolution_um=100",
)  # fmt: skip
OWN = ("run", "{tmp}/config.yaml", "--input", "{series}", "--output", "{out}", "--json")
AGAINST = (*RUN[:-4], "--set", "alignment.name=given", "--reference", "{reference}")

Harm = Callable[[Path], object]


def put(path: str, content: str | bytes) -> Harm:
    """Return what writes a file of the case's folder anew."""
    data = content.encode() if isinstance(content, str) else content

    def harm(tmp: Path) -> None:
        (tmp / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp / path).write_bytes(data)

    return harm


def table(*rows: str, header: str = HEADER) -> Harm:
    return put("series/sections.csv", header + "\n".join(rows))


def described(**values: object) -> Harm:
    document = {k: v for k, v in (YAML | values).items() if v is not None}
    return put("series/section_data_set.yaml", yaml.safe_dump(document))


def aligned(**values: object) -> Harm:
    return put("series/alignment.json", json.dumps(ALIGNMENT | values))


def image(data: bytes | Callable[[Path], object]) -> Harm:
    """Return what puts something else in the place of the second section's image."""
    if isinstance(data, bytes):
        return put("series/a_108.png", data)
    return lambda tmp: data(tmp / "series" / "a_108.png")


def pixels(array: np.ndarray, kind: str = "png", **options: object) -> Harm:  # type: ignore[type-arg]
    if kind == "tiff":
        return image(lambda path: tifffile.imwrite(path, array, **options))
    return image(bytes(getattr(imagecodecs, f"{kind}_encode")(array, **options)))


def volume(name: str, array: np.ndarray, spacing: tuple[float, float, float] = (100.0,) * 3) -> Harm:  # type: ignore[type-arg]
    """Return what writes a volume into the reference, (P, I, R)."""

    def harm(tmp: Path) -> None:
        found = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
        found.SetSpacing(spacing)
        SimpleITK.WriteImage(found, str(tmp / "reference" / name))

    return harm


def gone(path: str) -> Harm:
    def harm(tmp: Path) -> None:
        target = tmp / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return harm


def both(*harms: Harm) -> Harm:
    return lambda tmp: [harm(tmp) for harm in harms]


def twins(tmp: Path) -> None:
    """Make the series a folder of two series of one id."""
    (tmp / "series").rename(tmp / "first")
    for name in ("x", "y"):
        shutil.copytree(tmp / "first", tmp / "series" / name)


def placed(**values: object) -> dict[str, object]:
    return ALIGNMENT["alignment2d"][0] | values


def nothing(tmp: Path) -> None:
    """Leave everything as it is: the words themselves are wrong."""


def options(*words: object) -> tuple[object, ...]:
    return (*RUN, *words)


LABELS = np.full((20, 12, 18), 997, np.uint32)
GREY = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
NOISE = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
PNG = bytes(imagecodecs.png_encode(NOISE))
ATLAS = both(
    put("reference/metadata.json", json.dumps(BRAINGLOBE)),
    put("reference/structures.json", json.dumps([{"id": 997, "acronym": "root", "name": "root",
                                                  "structure_id_path": [997], "rgb_triplet": [0, 0, 0]}])),
)  # fmt: skip

# What is done, and the message that follows. Each group shares its command and exit status.
PHANTOM = "reference: {name: phantom}\n"
CONFIGS: dict[str, tuple[str | bytes, str]] = {
    "bytes": (b"\xff\xfe\x00gridding", "config.yaml: expected a configuration .YAML. in UTF-8"),
    "not YAML": ("gridding: {smoothing_um: 3", "config.yaml: line 1 .*: expected YAML"),
    "a list": ("- gridding", "expected keys and values, got list"),
    "a word": ("gridding", "expected keys and values, got str"),
    "unknown section": ("griding: {smoothing_um: 3}", "unknown key griding; did you mean gridding?"),
    "unknown key": ("gridding: {smothing_um: 3}", "unknown key gridding.smothing_um; did you mean"),
    "words for a number": ("gridding: {smoothing_um: wide}", "gridding.smoothing_um: .*got 'wide'"),
    "negative": ("gridding: {z_smoothing_um: -5}", "gridding.z_smoothing_um: .*got -5"),
    "a value for a section": ("gridding: 3", "gridding: .*got 3"),
    "step of none": ("series: {section_step: 0}", "series.section_step: .*got 0"),
    "reference by name": ("reference: {name: ccf}", "reference.name: .*got 'ccf'"),
    "detector": (PHANTOM + "detection: {name: adaptiv}", "did you mean adaptive?"),
    "detector key": (
        PHANTOM + "detection: {name: adaptive, configuration: {contrazt: 3}}",
        "did you mean contrast?",
    ),
    "detector value": (
        PHANTOM + "detection: {name: adaptive, configuration: {contrast: much}}",
        "a number from 1 to",
    ),
    "aligner": (PHANTOM + "alignment: {name: joynt}", "expected one of given, joint, template; got 'joynt'"),
    "aligner key": (PHANTOM + "alignment: {name: joint, configuration: {strian: 1}}", "did you mean strain?"),
    "aligner value": (
        PHANTOM + "alignment: {name: joint, configuration: {stain_sigma_um: wide}}",
        "alignment.configuration.stain_sigma_um: expected numbers such as 250,150, got .wide.",
    ),
    "given key": (
        PHANTOM + "alignment: {name: given, configuration: {file: x}}",
        "unknown key file; alignment.name=given takes only path",
    ),
    "labels": ("unionize: {grid_annotation: old}", "unionize.grid_annotation: .*got 'old'"),
}
WORDS: dict[str, tuple[tuple[object, ...], int, str]] = {
    "config gone": (("run", "{tmp}/none.yaml"), 2, "none.yaml: no such configuration"),
    "config a folder": (("run", "{series}"), 2, "series: expected a configuration .* --input"),
    "config of nothing": (("run", "--input", "{series}"), 2, "expected CONFIG"),
    "set without value": (options("--set", "gridding.smoothing_um"), 2, "expected dotted.key=value"),
    "set into a value": (options("--set", "gridding=3", "--set", "gridding.a=3"), 2, "gridding is a value"),
    "set not YAML": (
        options("--set", "gridding.smoothing_um={"),
        2,
        "--set .gridding.smoothing_um={.: line 1 .*: expected YAML",
    ),
    "phantom too fine": (
        options("--set", "reference.resolution_um=7"),
        2,
        "expected a voxel size from 10 to",
    ),
    "no series": (("run", CONFIG), 2, "expected --input FOLDER"),
    "series gone": (("run", CONFIG, "--input", "{tmp}/none"), 2, "--input .*none: no such folder"),
    "series a file": (
        ("run", CONFIG, "--input", "{series}/sections.csv"),
        2,
        "expected a column series",
    ),
    "scheduler": (options("--scheduler", "slrm"), 2, "--scheduler slrm: expected one of threads"),
    "stage": (options("--from", "detection"), 2, "--from detection: expected one of measure"),
    "workers": (options("--workers", "0"), 2, "Invalid value for '--workers'"),
    "option": (options("--frobnicate"), 2, "No such option"),
    "status": (("status", "{tmp}/none"), 1, "expected a run, or a folder of runs"),
    "report": (("report", "{series}"), 1, "expected a run, or a folder of runs"),
    "export": (("export", "{series}", "--format", "csv"), 1, "expected a run folder"),
    "export form": (("export", "{series}", "--format", "nifti"), 2, "--format nifti: expected one of"),
    "sync": (("sync", "image-to-reference", "{series}", "--x", 1), 1, "expected a finished run"),
    "repeat": (("run", "--config-from", "{tmp}/none"), 1, "is .*none a finished run?"),
    "phantom": (("phantom", "{out}", "--set", "warp=3"), 2, "unknown option warp; did you mean warp_um?"),
    "init": (("init", "{series}", "--force", "--plane", "axial"), 2, "--plane: expected coronal or sagittal"),
    "init twice": (("init", "{series}"), 2, "sections.csv: is there already"),
    "fetch": (("reference", "fetch", "ccf25"), 2, "not in the registry; did you mean ccfv3_25?"),
    "info": (("reference", "info", "--reference", "{tmp}/none"), 1, "expected a reference folder, got none"),
}
FIRST = f"100,a_100.png,{ROW}"
WITH_BOX = HEADER[:-1] + ",x_px,y_px,box_width_px,box_height_px\n"
TABLES: dict[str, tuple[Harm, str]] = {
    "empty": (put("series/sections.csv", ""), "expected a header line, got an empty file"),
    "only a header": (table(), "expected one row a section"),
    "spaces": (put("series/sections.csv", CSV.replace(",", " ")), "separated by commas"),
    "no file": (table("100", header="section_number\n"), "expected the columns section_number, file"),
    "column twice": (table("1,a,b", header="section_number,file,file\n"), "got 'file' twice"),
    "too many cells": (table(f"{FIRST},7"), "line 2: expected 5 cells, got 6"),
    "UTF-16 without a mark": (
        put("series/sections.csv", CSV.encode("utf-16-le")),
        "text with NUL characters",
    ),
    "number twice": (table(FIRST, FIRST), "section 100 on lines 2 and 3"),
    "number in words": (table(f"ten,a.png,{ROW}"), "line 2: expected a number in column section_number"),
    "number and a half": (
        table(f"10.5,a.png,{ROW}"),
        "expected a whole number in section_number, got '10.5'",
    ),
    "number below 0": (table(f"-4,a.png,{ROW}"), "expected a whole number in section_number, got '-4'"),
    "no number": (table(f",a.png,{ROW}"), "expected a section_number, got an empty cell"),
    "resolution 0": (table("1,a.png,9,9,0"), "expected 0.05 to 200 um a pixel as resolution, got 0"),
    "resolution absurd": (table("1,a.png,9,9,1e9"), "um a pixel as resolution, got 1e\\+09"),
    "resolution nan": (table("1,a.png,9,9,nan"), "expected a number in column resolution_um, got 'nan'"),
    "resolution nowhere": (table("100,a_100.png,,,"), "expected a resolution_um here"),
    "width 0": (table("1,a.png,0,9,1"), "expected width_px of at least 1, got 0"),
    "failed": (table(f"{FIRST},maybe", header=HEADER[:-1] + ",failed\n"), "true or false in failed"),
    "flip": (table(f"{FIRST},diagonal", header=HEADER[:-1] + ",flip\n"), "expected horizontal, vertical"),
    "rotate": (table(f"{FIRST},left", header=HEADER[:-1] + ",rotate_deg\n"), "a number in column rotate_deg"),
    "box of three": (table(f"{FIRST},1,2,3,", header=WITH_BOX), "expected all of x_px, y_px"),
    "box outside": (table(f"{FIRST},1,2,3,900", header=WITH_BOX), "expected a tissue box inside 114 x 80 px"),
    "another of the id": (twins, "series 5 is already in this batch"),
}
DESCRIPTIONS: dict[str, tuple[Harm, str]] = {
    "gone": (gone("series/section_data_set.yaml"), "expected it beside sections.csv"),
    "torn": (put("series/section_data_set.yaml", "id: [5"), "expected YAML"),
    "a list": (put("series/section_data_set.yaml", "- 5"), "expected `key: value` lines"),
    "key twice": (
        put("series/section_data_set.yaml", "id: 6\n" + yaml.safe_dump(YAML)),
        "line 2 .* got the key 'id' twice",
    ),
    "no id": (described(id=None), "expected id, got none"),
    "id in words": (described(id="five"), "expected a whole number from 0 to .* as id, got 'five'"),
    "unknown key": (described(thickness=25), "unknown key 'thickness'; did you mean section_thickness_um?"),
    "plane": (described(plane_of_section="coronnal"), "got 'coronnal'; did you mean coronal?"),
    "no thickness": (
        described(section_thickness_um=0),
        "section_thickness_um to be a positive number of um, got 0",
    ),
    "thickness in words": (described(section_thickness_um="25um"), "a positive number of um, got '25um'"),
    "hemisphere": (described(hemisphere="upper"), "expected hemisphere to be one of left, right, both"),
    "order": (described(section_order="lateral_to_medial"), "expected section_order to be one of rostral"),
    "up": (described(image_up="left"), "expected image_up to be one of superior, inferior"),
    "resolution": (described(resolution_um=5000), "um a pixel as resolution, got 5000"),
    "space": (described(reference_space_id="nine"), "expected reference_space_id 9"),
    "gene a list": (described(gene=["Prox1"]), "expected gene to be text"),
    "polygon of two": (described(dark_artifacts={100: [[[0, 0], [1, 1]]]}), "three are the least"),
    "polygon nowhere": (
        described(dark_artifacts={7: [[[0, 0], [1, 1], [2, 0]]]}),
        "dark_artifacts names section 7, sections.csv does not",
    ),
    "polygons a word": (described(dark_artifacts="none"), "expected dark_artifacts: "),
    "xml torn": (both(gone("series/sections.csv"), put("series/data_set.xml", "<a>")), "got damaged XML"),
    "xml of HTML": (
        both(gone("series/sections.csv"), put("series/data_set.xml", "<html></html>")),
        "expected a <section-data-set>, got <html>",
    ),
}
IMAGES: dict[str, tuple[Harm, str]] = {
    "gone": (gone("series/a_108.png"), "section 108: missing: no file .*a_108.png"),
    "empty": (image(b""), "a_108.png: expected TIFF, JPEG, PNG or JPEG 2000, got an empty file"),
    "text": (image(b"not a picture"), "a_108.png: expected TIFF, JPEG, PNG or JPEG 2000, got bytes"),
    "HTML": (image(b"<html>"), "got HTML or XML: a download that failed?"),
    "GIF": (image(b"GIF89a" + bytes(40)), "expected TIFF, JPEG, PNG or JPEG 2000, got GIF"),
    "truncated": (image(PNG[:500]), "a_108.png: expected a whole PNG"),
    "of another size": (pixels(NOISE[:50]), "expected 114 x 80 px as the manifest says, .* got 114 x 50"),
    "CMYK": (
        pixels(np.dstack([NOISE, GREY]), "tiff", photometric="separated"),
        "got SEPARATED; save it as RGB",
    ),
    "floats": (pixels(GREY.astype(np.float32), "tiff"), "samples without sign, got float32; convert it"),
    "a stack": (pixels(np.stack([GREY] * 5), "tiff", photometric="minisblack"), "expected one grey or RGB"),
    "a folder": (
        both(gone("series/a_108.png"), lambda tmp: (tmp / "series" / "a_108.png").mkdir()),
        "a_108.png: expected an OME-Zarr image",
    ),
}
ALIGNMENTS: dict[str, tuple[Harm, str]] = {
    "gone": (gone("series/alignment.json"), "alignment.name is 'given', but"),
    "torn": (put("series/alignment.json", "{"), "alignment.json: expected an alignment .* in JSON"),
    "a list": (put("series/alignment.json", "[]"), "alignment.json: expected an alignment as `ish run`"),
    "no 3d": (aligned(alignment3d={}), "expected an alignment .* got no 'tvr'"),
    "of five": (aligned(alignment2d=[placed(tsv=[1, 0, 0, 1, 0])]), "expected 6 numbers in ITK order, got 5"),
    "singular": (aligned(alignment2d=[placed(tsv=[1] * 6)]), "section 100: the matrix cannot be inverted"),
    "in words": (aligned(alignment2d=[placed(tsv=["a"] * 6)]), "alignment.json: .* 'a'"),
    "of others": (aligned(alignment2d=[placed(section_number=7)]), "covers none of the 3 sections"),
    "twice": (aligned(alignment2d=[placed(), placed()]), "section numbers more than once: .100."),
    "status": (aligned(alignment2d=[placed(status="good")]), "'good' is not a valid Status"),
    "impossible": (
        aligned(alignment3d={"tvr": [0, 0, -9, 0, 9, 0, 9, 0, 0, 0, 0, 0]}),
        "scales 9.00 x 9.00 x 9.00: expected 0.60-1.60",
    ),
    "all images gone": (
        both(*(gone(f"series/a_{n}.png") for n in NUMBERS)),
        "covers none of the 0 sections that were read",
    ),
}
GRAPH_FILE = "reference/structure_graph_1.json"
REFERENCES: dict[str, tuple[Harm, str]] = {
    "gone": (gone("reference"), "expected a reference folder, got none"),
    "empty": (
        both(gone("reference"), lambda tmp: (tmp / "reference").mkdir()),
        "expected an annotation, got none",
    ),
    "no ontology": (gone(GRAPH_FILE), "expected the ontology, got no such file"),
    "ontology torn": (put(GRAPH_FILE, "{"), "expected the ontology in JSON"),
    "ontology a list": (put(GRAPH_FILE, "[]"), "expected a structure graph with 'msg', got list"),
    "ontology empty": (put(GRAPH_FILE, '{"msg": []}'), "expected a list of nodes under 'msg'"),
    "ontology node": (put(GRAPH_FILE, '{"msg": [{"id": 1}]}'), r"a node lacks \['acronym', 'name'\]"),
    "volume torn": (put("reference/annotation_100.nrrd", b"NRRD0004\n"), "expected one volume of three"),
    "volume of HTML": (
        put("reference/annotation_100.nrrd", "<html>"),
        "annotation_100.nrrd: expected a whole",
    ),
    "floats": (volume("annotation_100.nrrd", LABELS.astype(np.float32)), "expected whole structure ids"),
    "spacing": (volume("annotation_100.nrrd", LABELS, (25.0,) * 3), "expected 100 um as its name says"),
    "unequal": (volume("annotation_100.nrrd", LABELS, (100.0, 100.0, 50.0)), "one spacing along all axes"),
    "two boxes": (
        volume("average_template_100.nrrd", LABELS[:10].astype(np.uint16)),
        "both must show one box",
    ),
    "grid labels": (
        put("reference/gridAnnotation.mhd", "DimSize = 3 3\nElementDataFile = a.raw\n"),
        "gridAnnotation.mhd: expected DimSize and a known ElementType, got no ElementType",
    ),
    "atlas orientation": (
        both(ATLAS, put("reference/metadata.json", json.dumps(BRAINGLOBE | {"orientation": "xyz"}))),
        "expected an orientation such as asr, got 'xyz'",
    ),
    "atlas without labels": (
        ATLAS,
        "annotation.tiff: expected a volume of a BrainGlobe atlas, got no such file",
    ),
    "atlas torn": (both(ATLAS, put("reference/annotation.tiff", "II*\0")), "expected a whole TIFF volume"),
}
CASES: dict[str, tuple[Harm, int, str, tuple[object, ...]]] = {
    **{f"config: {k}": (put("config.yaml", text), 2, m, OWN) for k, (text, m) in CONFIGS.items()},
    **{f"words: {k}": (nothing, status, m, words) for k, (words, status, m) in WORDS.items()},
    **{f"sections.csv: {k}": (harm, 1, m, RUN) for k, (harm, m) in TABLES.items()},
    **{f"description: {k}": (harm, 1, m, RUN) for k, (harm, m) in DESCRIPTIONS.items()},
    **{f"image: {k}": (harm, 0, m, RUN) for k, (harm, m) in IMAGES.items()},
    **{f"alignment: {k}": (harm, 1, m, RUN) for k, (harm, m) in ALIGNMENTS.items()},
    **{f"reference: {k}": (harm, 2, m, AGAINST) for k, (harm, m) in REFERENCES.items()},
    "output a file": (put("out", ""), 2, "--output .*out: expected a writable folder", RUN),
    "no manifest": (gone("series/sections.csv"), 2, "expected a series: .*`ish init`", RUN),
    "no such resolution": (
        nothing, 2, "expected an annotation at 33 um, got annotation_100.nrrd",
        (*AGAINST, "--set", "reference.resolution_um=33"),
    ),
    "no served labels": (
        nothing, 1, "has no gridAnnotation; leave unionize.grid_annotation: derived",
        (*AGAINST, "--set", "unionize.grid_annotation=served"),
    ),
    "given path gone": (
        nothing, 1, "none.json: expected an alignment .* got no such file",
        options("--set", "alignment.configuration.path={tmp}/none.json"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series of three small sections with their alignment, and a reference."""
    tmp = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)
    for n in NUMBERS:
        section = np.full((HEIGHT, WIDTH, 3), 235.0)
        section[20:60, 20:90] = 190
        noisy = np.clip(section + rng.normal(0, 3, section.shape), 0, 255).astype(np.uint8)
        write_image(tmp / "series" / f"a_{n}.png", noisy)
    put("series/sections.csv", CSV)(tmp)
    described()(tmp)
    aligned()(tmp)
    put(GRAPH_FILE, json.dumps(GRAPH))(tmp)
    volume("annotation_100.nrrd", LABELS)(tmp)
    return tmp


def filled(word: object, tmp: Path) -> str:
    text = str(word).replace("{tmp}", str(tmp))
    for name in ("series", "reference", "out"):
        text = text.replace(f"{{{name}}}", str(tmp / name))
    return text


def test_unharmed_both_go_through(good: Path, tmp_path: Path, ish: Ish) -> None:
    assert len(CASES) >= 60
    for number, words in enumerate((RUN, AGAINST)):
        tmp = Path(shutil.copytree(good, tmp_path / str(number)))
        assert ish(*(filled(word, tmp) for word in words)) == 0


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_reported_in_one_line(
    name: str, good: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    harm, status, message, words = CASES[name]
    tmp = Path(shutil.copytree(good, tmp_path / "case"))
    harm(tmp)
    capfd.readouterr()
    found = ish(*(filled(word, tmp) for word in words))
    printed = capfd.readouterr().err.replace(str(tmp), "~")
    lines = [line for line in printed.splitlines() if re.search(message, line)]
    assert len(lines) == 1, printed
    assert len(lines[0]) < MOST
    assert len(printed.splitlines()) == 1 or not printed.startswith("ish: ")
    assert "Traceback" not in printed
    assert "internal error" not in printed
    assert found == status, printed
