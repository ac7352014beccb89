"""Mutated inputs by the thousand: whatever a file holds, one line comes, and the other series are finished.

    python workflows/fuzz.py --count 10000 --seed 1 [--jobs 2] [--keep fuzz-output]

Each case damages one file of one series of a batch of three, or one of the other files that commands read
(configuration, alignment, reference, grids), and runs the command in this process. A case fails on a traceback
or "internal error", a crash, a hang, an input that is not as it was, or a good series that is not finished.
Failures are written down with their seed: `--only SEED` runs one again.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import io
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from pipeline.cli import main as ish
from pipeline.formats.images import write_image
from pipeline.formats.metaimage import write_grid
from pipeline.ontology import Ontology
from pipeline.phantom import phantom_reference

CONFIG = Path(__file__).parent.parent / "configs" / "phantom.yaml"
GIVEN = ("--set", "alignment.name=given", "--scheduler", "threads", "--workers", "1")
HANG_S = 60
MEMORY_GB = 12
NEVER = re.compile(r"Traceback \(most recent call last\)|internal error|unexpected ")
FORMS = ("jpg", "png", "tif", "tiled", "jp2", "zarr", "xml")
NUMBERS = (0, 8, 16)
NASTY = (
    b"", b"-1", b"0", b"1e999", b"-0", b"nan", b"inf", b"9" * 400, b"99999999999999999999", b"0123", b"0x1F", b"1e3",
    b"!!int abc", b"!!python/object:os.system", b"*a", b"&a [*a]", b"[" * 3000, b"{" * 200, b"2024-13-45", b"~",
    b"null", b"[]", b"{}", b"../../etc/passwd", b"/etc/passwd", b"x" * 300, b"\\uD800", b"\xff\xfe", b"\x00", b"\xef\xbb\xbf",
    b"'", b'"', b"\n", b"\r\n", b"\t", b";", b",", b",,,,", b"=cmd|'/c calc'!A0", "µ".encode("latin-1"), b"<!DOCTYPE x>",
    b"<a>", b"&amp;", b"%n%s", b"[bold]", b"[/x]", b"-2147483649", b"1.7976931348623157e308", b"true", b"NO",
)  # fmt: skip

Mutation = Callable[[Path, random.Random], None]


@dataclass(frozen=True)
class Case:
    """What to run and which file was harmed how; `good` are the series that must be finished."""

    words: tuple[object, ...]
    harmed: Path
    how: str
    good: tuple[str, ...] = ()


def flip_bits(file: Path, drawn: random.Random) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(drawn.choice((1, 1, 3, 30))):
        if content:
            content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
    file.write_bytes(content)


def flip_early(file: Path, drawn: random.Random) -> None:
    """Headers lie at the start."""
    content = bytearray(file.read_bytes())
    for _ in range(drawn.choice((1, 2, 4))):
        if content:
            content[drawn.randrange(min(len(content), 128))] = drawn.randrange(256)
    file.write_bytes(content)


def cut(file: Path, drawn: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: drawn.randrange(len(content) + 1)])


def insert(file: Path, drawn: random.Random) -> None:
    content, what = file.read_bytes(), drawn.choice(NASTY)
    at = drawn.randrange(len(content) + 1)
    file.write_bytes(content[:at] + what + content[at:])


def replace_token(file: Path, drawn: random.Random) -> None:
    """Put something nasty in place of a word or number."""
    content = file.read_bytes()
    tokens = list(re.finditer(rb"[\w.+-]+", content))
    if tokens:
        token = drawn.choice(tokens)
        file.write_bytes(content[: token.start()] + drawn.choice(NASTY) + content[token.end() :])


def shuffle_lines(file: Path, drawn: random.Random) -> None:
    lines = file.read_bytes().split(b"\n")
    for _ in range(drawn.choice((1, 2))):
        i, j = drawn.randrange(len(lines)), drawn.randrange(len(lines))
        how = drawn.randrange(3)
        if how == 0:
            lines[i] = lines[j]
        elif how == 1:
            lines.insert(i, lines[j])
        elif len(lines) > 1:
            lines.pop(i % len(lines))
    file.write_bytes(b"\n".join(lines))


def recode(file: Path, drawn: random.Random) -> None:
    text = file.read_bytes().decode("utf-8", "replace")
    file.write_bytes(text.encode(drawn.choice(("utf-16", "utf-16-le", "latin-1", "utf-8-sig", "utf-32")), "replace"))


def empty(file: Path, drawn: random.Random) -> None:
    file.write_bytes(b"")


def noise(file: Path, drawn: random.Random) -> None:
    file.write_bytes(drawn.randbytes(drawn.choice((1, 16, 4096))))


def lose(file: Path, drawn: random.Random) -> None:
    file.unlink()


def be_a_folder(file: Path, drawn: random.Random) -> None:
    file.unlink()
    file.mkdir()


def be_a_pipe(file: Path, drawn: random.Random) -> None:
    file.unlink()
    os.mkfifo(file)


def be_a_loop(file: Path, drawn: random.Random) -> None:
    file.unlink()
    file.symlink_to(file.name)


def be_endless(file: Path, drawn: random.Random) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def json_value(file: Path, drawn: random.Random) -> None:
    """Put another value into a JSON document, or leave one out; into other files something nasty."""
    try:
        document = json.loads(file.read_bytes())
    except ValueError:
        replace_token(file, drawn)
        return
    places = list(_places(document))
    if places:
        holder, key = drawn.choice(places)
        if drawn.random() < 0.2:
            del holder[key]
        else:
            values: list[Any] = [None, [], {}, "x", -1, 0, 1e308, 10**400, [[[]]], True, "\ud800", "1", [1, 2], 0.5]
            holder[key] = drawn.choice(values)
    text = json.dumps(document)
    file.write_text(text.replace("0.5", drawn.choice(("0.5", "NaN", "Infinity", "1e999"))))


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in list(items):
        yield node, key
        yield from _places(child)


BINARY: tuple[Mutation, ...] = (flip_bits, flip_early, flip_early, cut, insert, noise)
TEXT: tuple[Mutation, ...] = (replace_token, replace_token, replace_token, json_value, insert, shuffle_lines, cut, recode, flip_bits)
ANY: tuple[Mutation, ...] = (empty, lose, be_a_folder, be_a_pipe, be_a_loop, be_endless)
TEXTS = {".csv", ".yaml", ".json", ".xml", ".mhd"}


def harm(files: Sequence[Path], drawn: random.Random) -> tuple[Path, str]:
    """Harm one file; return it and how."""
    file = drawn.choice(files)
    mutations = ANY if drawn.random() < 0.12 else TEXT if file.suffix in TEXTS or file.suffix == "" else BINARY
    mutation = drawn.choice(mutations)
    mutation(file, drawn)
    return file, mutation.__name__


def _picture() -> np.ndarray[Any, Any]:
    y, x = np.mgrid[:48, :64]
    grey = np.where(((y - 24) / 18) ** 2 + ((x - 32) / 26) ** 2 < 1, 160, 232).astype(np.uint8)
    return np.stack([grey, grey - 8, grey], axis=-1)


def _write_images(folder: Path, form: str) -> None:
    pixels = _picture()
    for number in NUMBERS:
        name = folder / f"s_s{number:04d}.{ {'tiled': 'tif', 'xml': 'jpg'}.get(form, form)}"
        if form in ("jpg", "png", "tif", "xml"):
            write_image(name, pixels, resolution_um=100.0)
        elif form == "tiled":
            tifffile.imwrite(name, pixels, tile=(32, 32), photometric="rgb", compression="jpeg", metadata=None)
        elif form == "jp2":
            import imagecodecs

            name.write_bytes(imagecodecs.jpeg2k_encode(pixels))
        else:
            _write_zarr(name, pixels)


def _write_zarr(folder: Path, pixels: np.ndarray[Any, Any]) -> None:
    scale = [{"type": "scale", "scale": [1.0, 150.0, 150.0]}]
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": "micrometer"} for n in "yx")]
    described = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    group = zarr.create_group(folder, attributes={"ome": {"version": "0.5", "multiscales": [described]}})
    group.create_array("0", data=np.ascontiguousarray(np.moveaxis(pixels, -1, 0)), chunks=(3, 32, 32))


def write_series(folder: Path, identifier: int, form: str) -> None:
    """Write a series of three small sections with its alignment."""
    folder.mkdir(parents=True)
    _write_images(folder, form)
    space = {"tvr": [0, 0, -1, 0, 1, 0, 1, 0, 0, 11000, 0, 0]}
    sections = [{"section_number": k, "status": "pass", "tsv": [150, 0, 0, 150, 900, 400]} for k in NUMBERS]
    document = {"reference_space_id": 9, "alignment3d": space, "alignment2d": sections}
    if form == "xml":
        _write_xml(folder, identifier)
        return
    (folder / "alignment.json").write_text(json.dumps(document))
    names = {int(re.findall(r"_s(\d+)", p.name)[0]): p.name for p in folder.iterdir() if "_s" in p.name and p.suffix != ".yaml" and p.suffix != ".json"}
    rows = [f"{k},{names[k]},64,48,150,{'true' if k == 99 else ''}" for k in NUMBERS]
    (folder / "sections.csv").write_text("\n".join(["section_number,file,width_px,height_px,resolution_um,failed", *rows]) + "\n")
    (folder / "section_data_set.yaml").write_text(
        f"id: {identifier}\ngene: Prox1\nspecimen: a1\nplane_of_section: coronal\nsection_thickness_um: 5.0\n"
        "hemisphere: both\nage: P56\ntreatment: ISH\nsection_order: caudal_to_rostral\nimage_up: superior\n"
        "dark_artifacts: {8: [[[1, 1], [5, 1], [5, 5]]]}\n"
    )


def _write_xml(folder: Path, identifier: int) -> None:
    images = "".join(
        f"<section-image><failed>false</failed><height>48</height><id>{identifier}{k}</id><resolution>150.0</resolution>"
        f"<section-number>{k}</section-number><width>64</width><alignment2d><tsv>150,0,0,150,900,400</tsv>"
        "<tvs>0.00666667,0,0,0.00666667,-6,-2.66667</tvs></alignment2d></section-image>"
        for k in NUMBERS
    )
    (folder / "data_set.xml").write_text(
        f"<section-data-set><failed>false</failed><id>{identifier}</id><reference-space-id>9</reference-space-id>"
        "<section-thickness>5.0</section-thickness><genes><gene><acronym>Prox1</acronym></gene></genes>"
        "<specimen><name>a</name></specimen><alignment3d><tvr>0,0,-1,0,1,0,1,0,0,11000,0,0</tvr>"
        "<trv>0,0,1,0,1,0,-1,0,0,0,0,11000</trv></alignment3d>"
        f"<section-images>{images}</section-images></section-data-set>"
    )


def make_templates(folder: Path) -> None:
    """Write one series of every form, two good ones, a reference, grids and corrections, to be copied."""
    for number, form in enumerate(FORMS):
        write_series(folder / form, 1000 + number, form)
    write_series(folder / "good1", 1, "jpg")
    write_series(folder / "good2", 2, "png")
    _write_reference(folder / "reference")
    _write_grids(folder / "grids")
    plane = [0, 264, 320, 456, 0, 0, 0, 0, -320]
    slices = [{"filename": f"s_s{k:04d}.png", "nr": k, "width": 64, "height": 48, "anchoring": plane} for k in NUMBERS]
    named = {"name": "x", "target": "ABA_Mouse_CCFv3_2017_25um.cutlas", "slices": slices}
    (folder / "quicknii.json").write_text(json.dumps(named))
    sections = [{"filename": f"s_s{k:04d}.png", "snr": k, "width": 64, "height": 48, "ouv": plane} for k in NUMBERS]
    (folder / "webalign.json").write_text(json.dumps({"atlas": "ABA_Mouse_CCFv3_2017_25um", "sections": sections}))


def _write_reference(folder: Path) -> None:
    space = phantom_reference(200.0)
    folder.mkdir()
    labels = np.ascontiguousarray(space.annotation.astype("<u4"))
    sizes = " ".join(map(str, labels.shape))
    header = f"NRRD0004\ntype: uint32\ndimension: 3\nsizes: {sizes}\nspace directions: (200,0,0) (0,200,0) (0,0,200)\nendian: little\nencoding: raw\n\n"
    (folder / "annotation_200.nrrd").write_bytes(header.encode() + labels.tobytes(order="F"))
    (folder / "structure_graph_1.json").write_text(json.dumps({"msg": [_tree(space.ontology, 0)]}))


def _tree(ontology: Ontology, at: int) -> dict[str, Any]:
    structure = ontology.structures[at]
    children = [n for n, s in enumerate(ontology.structures) if s.parent_id == structure.id]
    own = {"id": structure.id, "acronym": structure.acronym, "name": structure.name, "graph_order": at, "color_hex_triplet": structure.color}
    return {**own, "children": [_tree(ontology, n) for n in children]}


def _write_grids(folder: Path) -> None:
    drawn = np.random.default_rng(1)
    for identifier in (70000001, 70000002, 70000003):
        own = folder / str(identifier)
        own.mkdir(parents=True)
        write_grid(own / "energy.mhd", drawn.random((67, 41, 58), np.float32), 200.0)
    with zipfile.ZipFile(folder / "70000003.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("energy.mhd", "energy.raw"):
            archive.write(folder / "70000003" / name, name)
    shutil.rmtree(folder / "70000003")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def make_case(templates: Path, place: Path, drawn: random.Random) -> Case:
    """Copy what a command reads into a folder, harm one file of it, and return what to run."""
    kind = drawn.choice(("series",) * 12 + ("corrections", "corrections", "config", "reference", "grids", "grids", "table"))
    out = place / "out"
    good = ("1", "2")
    inputs = [word for name in ("good1", "good2") for word in ("--input", place / name)]
    for name in ("good1", "good2"):
        shutil.copytree(templates / name, place / name)
    if kind == "series":
        form = drawn.choice(FORMS)
        shutil.copytree(templates / form, place / "bad")
        harmed, how = harm(_files(place / "bad"), drawn)
        return Case(("run", CONFIG, "--input", place / "bad", *inputs, "--output", out, *GIVEN), harmed, how, good)
    if kind == "corrections":
        harmed = Path(shutil.copy2(templates / drawn.choice(("quicknii.json", "webalign.json")), place))
        harmed, how = harm([harmed], drawn)
        given = ("--set", f"alignment.configuration.path={harmed}")
        return Case(("run", CONFIG, *inputs, "--output", out, *GIVEN, *given), harmed, how)
    if kind == "config":
        harmed = place / "c.yaml"
        harmed.write_text("reference: {name: phantom}\nseries:\n  section_step: 1\ngridding: {smoothing_um: 200, z_smoothing_um: 140.0}\nalignment: {name: given}\n")
        harmed, how = harm([harmed], drawn)
        return Case(("run", harmed, *inputs, "--output", out, *GIVEN), harmed, how)
    if kind == "table":
        harmed = place / "t.csv"
        harmed.write_text("series,note\ngood1,a\ngood2,b\n")
        harmed, how = harm([harmed], drawn)
        return Case(("run", CONFIG, "--input", harmed, "--output", out, *GIVEN), harmed, how)
    shutil.copytree(templates / "reference", place / "reference")
    if kind == "reference":
        harmed, how = harm(_files(place / "reference"), drawn)
        return Case(("run", CONFIG, *inputs, "--output", out, *GIVEN, "--reference", place / "reference"), harmed, how)
    shutil.copytree(templates / "grids", place / "grids")
    harmed, how = harm(_files(place / "grids"), drawn)
    return Case(("index", place / "grids", "--output", place / "index", "--reference", place / "reference"), harmed, how)


def digest_of(folder: Path) -> str:
    """Return a digest of names and content of all plain files of a folder but its outputs."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.relative_to(folder).parts[0] in ("out", "index"):
            continue
        found.update(os.fsencode(path))
        if path.is_file() and not path.is_symlink():
            found.update(path.read_bytes())
    return found.hexdigest()


def call(words: Sequence[object]) -> tuple[int, str]:
    """Call the command; return its status and all that it says, a traceback of ours too."""
    said = io.StringIO()
    sys.argv = ["ish", *map(str, words)]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            ish()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        except BaseException:
            traceback.print_exc()
            status = 99
    return status, said.getvalue()


def trouble(case: Case, place: Path, before: str, status: int, said: str) -> str:
    """Return what went wrong with a case; empty where all is as it should be."""
    found = NEVER.search(said)
    if found:
        lines = [line for line in said.splitlines() if line.strip()]
        return next((line for line in reversed(lines) if "rror" in line), found[0])
    if digest_of(place) != before:
        return "an input is not as it was"
    unfinished = [name for name in case.good if not (place / "out" / name / "structure_unionize.csv").exists()]
    if unfinished:
        return f"series {unfinished[0]} is not finished: {said.strip().splitlines()[-1:]}"
    if status not in (0, 1, 2):
        return f"status {status}"
    return ""


def run_one(seed: int, templates: Path, keep: Path | None) -> str:
    """Run one case; return what went wrong, with all that one needs to see it again."""
    drawn = random.Random(seed)
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        case = make_case(templates, place, drawn)
        before = digest_of(place)
        signal.alarm(HANG_S)
        status, said = call(case.words)
        signal.alarm(0)
        what = trouble(case, place, before, status, said)
        if what and keep:
            shutil.copytree(place, keep / str(seed), symlinks=True, ignore=_pipes, dirs_exist_ok=True)
            (keep / f"{seed}.txt").write_text(said, errors="replace")
        return f"{seed}: {case.how} {case.harmed.relative_to(place)}: {what}" if what else ""
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _pipes(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (Path(folder, name).is_file() or Path(folder, name).is_dir())]


def work(seeds: Sequence[int], templates: Path, keep: Path | None, log: Path) -> None:
    """Run cases in this process, writing down each before it begins: the last line of a log tells a crash."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_GB << 30, MEMORY_GB << 30))
    with log.open("a") as file:
        for seed in seeds:
            file.write(f"begin {seed}\n")
            file.flush()
            found = run_one(seed, templates, keep)
            file.write(f"end {seed} {' '.join(found.split())[:400]}\n")
            file.flush()


def run_all(seeds: Sequence[int], jobs: int, keep: Path | None) -> list[str]:
    """Run all cases on some processes; one that dies is gone on with behind the case that killed it."""
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        templates = Path(scratch, "templates")
        make_templates(templates)
        parts = [list(seeds[n::jobs]) for n in range(jobs)]
        logs = [Path(scratch, f"log{n}") for n in range(jobs)]
        processes: list[Any] = [None] * jobs
        done = 0
        while any(parts) or any(processes):
            for n in range(jobs):
                process = processes[n]
                if process is not None:
                    process.join(1.0)
                    if process.is_alive():
                        continue
                    lines = logs[n].read_text().splitlines()
                    ended = {int(line.split()[1]): line.split(maxsplit=2)[2:] for line in lines if line.startswith("end")}
                    began = [int(line.split()[1]) for line in lines if line.startswith("begin")]
                    for seed in began:
                        what = ended.get(seed, [f"the process died: {process.exitcode}"])
                        if what and what[0]:
                            failures.append(what[0] if what[0].startswith(str(seed)) else f"{seed}: {what[0]}")
                            print(failures[-1], flush=True)
                    done += len(began)
                    parts[n] = parts[n][len(began) :]
                    logs[n].unlink()
                    processes[n] = None
                    print(f"{done} of {len(seeds)}, {len(failures)} failed", flush=True)
                if parts[n] and processes[n] is None:
                    chunk = parts[n][:250]
                    processes[n] = multiprocessing.get_context("spawn").Process(target=work, args=(chunk, templates, keep, logs[n]))
                    processes[n].start()
    return failures


def main() -> int:
    """Run the cases that are asked for; the status is 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, nargs="*", default=[], help="seeds of cases to run again")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for what fails")
    given = parser.parse_args()
    seeds = given.only or range(given.seed * 1_000_000, given.seed * 1_000_000 + given.count)
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    failures = run_all(list(seeds), given.jobs, given.keep)
    kinds = Counter(re.sub(r"\d+", "N", line.partition(": ")[2])[:120] for line in failures)
    for kind, count in kinds.most_common(40):
        print(f"{count:5d} x {kind}")
    print(f"{len(seeds)} cases, {len(failures)} failed")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
