"""What the service must do, measured at HTTP; a family of figures for each of the folders that is served."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import quote

import numpy as np
import orjson

from bench import served_inputs
from bench.figures import Figure, latency, rate, turns
from bench.http_load import get, load, post
from bench.serving import Server, serving

ALL_RUNS = 1000
POINTS = 100_000  # of a batch
CLIENTS, WARM_UP, MIXED = 20, 2_000, 10_000
JSON, BINARY = "application/json", "application/octet-stream"
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG"


@contextmanager
def fresh(*folders: Path, options: tuple[str, ...] = ()) -> Iterator[Server]:
    """Serve folders with an empty cache."""
    with (
        tempfile.TemporaryDirectory(prefix="ish-bench-cache-", dir=folders[0].parent) as cache,
        serving(folders, Path(cache), *options) as server,
    ):
        yield server


def images(work: Path, rounds: int) -> list[Figure]:
    """Tiles, regions, masks and downloads of 70 MP sections; before them, the first pyramid of one."""
    folder = served_inputs.large_run(work)
    overviews, pyramids, sizes = [], [], []
    for turn in range(rounds):
        with fresh(folder) as server:
            *_, plain = sections(server)
            overview = get(f"/iiif/3/{plain}/full/!512,512/0/default.jpg")
            part = get(region(plain, 4000, 3000, 256, 256))
            overviews.append(load(server.port, [overview], at_once=1).p50_ms)
            pyramids.append(load(server.port, [part], at_once=1).p50_ms / 1e3)
            kept = server.cache / "pyramids"
            sizes.append(sum(file.stat().st_size for file in kept.rglob("*") if file.is_file()) / 1e6)
            if turn == rounds - 1:
                found = _images(server, rounds)
    return [
        *found,
        Figure("overview of a 70 MP plain JPEG", median(overviews), 270, "ms", note=_listed(overviews)),
        Figure("first pyramid of a 70 MP plain JPEG", median(pyramids), 2.2, "s", note=_listed(pyramids)),
        Figure("room of that pyramid", median(sizes), 16, "MB"),
    ]


def _images(server: Server, rounds: int) -> list[Figure]:
    first, second, plain = sections(server)
    rng = random.Random(0)
    width, height = size_of(server, first)
    tiles = [get(p) for one in (first, second, plain) for p in stored_tiles(server, one)]
    rng.shuffle(tiles)
    regions = [
        get(region(one, rng.randrange(width - 256), rng.randrange(height - 256), 256, 256))
        for one in (first, second, plain)
        for _ in range(200)
    ]
    masks = [get(p) for p in mask_tiles(server, first)]
    begins(server, tiles[0], JPEG), begins(server, regions[0], JPEG), begins(server, masks[0], PNG)
    tile = turns(server, tiles, rounds)
    found = [
        rate("stored tile of a 70 MP section", tile, 1500),
        latency("stored tile, p50", tile, 5),
        rate("256 px region anywhere", turns(server, regions, rounds), 150),
        rate("mask tile, palette PNG", turns(server, masks, rounds), 500),
    ]
    for downsample, goal in ((3, 60), (0, 2000)):
        for name, one in (("TIFF with levels", first), ("TIFF without", second), ("plain JPEG", plain)):
            asked = [get(f"/api/v2/image_download/{one}?downsample={downsample}")]
            begins(server, asked[0], JPEG)
            what = f"image_download, downsample {downsample}, {name}"
            count = 8 if downsample else 1
            found.append(latency(what, turns(server, asked, rounds, at_once=1, count=count), goal))
    return found


def synchronisation(work: Path, rounds: int) -> list[Figure]:
    """Sync verbs over 112 sections, and many points at once."""
    plain, deformed = served_inputs.many_sections(work), served_inputs.deformed_run(work)
    with fresh(plain, deformed) as server:
        rng = random.Random(0)
        found = []
        for name, one in (("", 1), (", deformed", served_inputs.DEFORMED)):
            ids = sections(server, one)
            places = [[rng.uniform(2000, 9000) for _ in "xyz"] for _ in range(500)]
            to_image = [
                get(
                    f"/api/v2/reference_to_image/9.json?x={x:.6f}&y={y:.6f}&z={z:.6f}&"
                    f"section_data_set_ids={one}"
                )
                for x, y, z in places
            ]
            to_reference = [
                get(f"/api/v2/image_to_reference/{rng.choice(ids)}.json?x={x:.6f}&y={y:.6f}")
                for x, y, _ in places
            ]
            found.append(
                rate(f"reference_to_image, 112 sections{name}", turns(server, to_image, rounds), 1500)
            )
            found.append(
                rate(f"image_to_reference, 112 sections{name}", turns(server, to_reference, rounds), 1500)
            )
            found += _batches(server, one, ids[60], name, rounds)
        others = [
            get(f"/api/v2/image_to_image/{1000 + n}.json?x=4000.5&y=3000&section_data_set_ids=1,3")
            for n in range(1, 100)
        ]
        found.append(rate("image_to_image of 2 data sets", turns(server, others, rounds), 0))
    return found


def _batches(server: Server, one: int, section: int, name: str, rounds: int) -> list[Figure]:
    rng = np.random.default_rng(0)
    reference = rng.uniform((2000, 1000, 2000), (11000, 7000, 9000), (POINTS, 3)).round(3)
    pixels = rng.uniform((0, 0), (8000, 6000), (POINTS, 2)).round(3)
    found = []
    for verb, path, points in (
        ("to_sections", f"/ish/v1/experiments/{one}/to_sections", reference),
        ("to_reference", f"/ish/v1/sections/{section}/to_reference", pixels),
    ):
        bodies = {
            "JSON": (orjson.dumps({"points": points.tolist()}), JSON),
            "binary": (points.astype("<f8").tobytes(), BINARY),
        }
        for form, (body, media) in bodies.items():
            batch = turns(server, [post(path, body, media)], rounds, at_once=2, count=6)
            many = Figure(
                f"batch {verb}, {form}{name}",
                batch.rate * POINTS,
                500_000,
                "points/s",
                batch.cpu_ms,
                batch.spread,
            )
            found.append(many)
    return found


def runs(work: Path, rounds: int) -> list[Figure]:
    """Open a thousand runs, twice; then their grids and tables."""
    folder, one = served_inputs.many_runs(work, ALL_RUNS), served_inputs.many_runs(work, 1)
    with fresh(one):
        pass  # compiles what is not compiled
    with fresh(one) as alone, fresh(folder) as server:
        again_alone = [_again([one], alone.cache) for _ in range(rounds)]
        again = [_again([folder], server.cache) for _ in range(rounds)]
        found = _tables(server, rounds)
    return [
        _opened("first", [(server.start_s, server.start_cpu_s)], [(alone.start_s, alone.start_cpu_s)], 15),
        _opened("again", again, again_alone, 1),
        *found,
    ]


def _again(folders: list[Path], cache: Path) -> tuple[float, float]:
    with serving(folders, cache) as server:
        return server.start_s, server.start_cpu_s


def _opened(
    which: str, many: list[tuple[float, float]], alone: list[tuple[float, float]], goal: float
) -> Figure:
    """Return what a thousand runs add to the start of a server; times are wall and CPU, s."""
    wall, cpu = (median(times) for times in zip(*many, strict=True))
    own, own_cpu = (median(times) for times in zip(*alone, strict=True))
    note = f"to the address {wall:.2f} s (CPU {cpu:.2f}), with one run {own:.2f} s (CPU {own_cpu:.2f})"
    return Figure(f"open {ALL_RUNS} experiments, {which}", wall - own, goal, "s", note=note)


def _tables(server: Server, rounds: int) -> list[Figure]:
    ids = [served_inputs.SMALL + n for n in range(ALL_RUNS)]
    random.Random(0).shuffle(ids)
    grids = [get(f"/grid_data/download/{one}?include=energy") for one in ids[:300]]  # more zips than are kept
    begins(server, grids[0], b"PK")
    few = [
        get(_rma(f"model::SectionDataSet,rma::criteria,[id$eq{one}],rma::include,genes")) for one in ids[:200]
    ]
    tables = [
        get(_rma(f"model::StructureUnionize,rma::criteria,section_data_set[id$eq{one}],[hemisphere_id$eq3],"
                 "rma::include,structure,rma::options[num_rows$eq'all']"))
        for one in ids[:200]
    ]  # fmt: skip
    rows = len(orjson.loads(load(server.port, tables[:1], at_once=1).first)["msg"])
    found = [
        rate("grid zip, another each time", turns(server, grids, rounds), 300),
        rate("grid zip, the same", turns(server, grids[:1], rounds), 300),
    ]
    for what, asked, goal in (
        ("RMA small", few, 5),
        (f"RMA, one set's unionize, {rows} rows with structures", tables, 20),
    ):
        found += _times(server, what, asked, goal, rounds)
    return found


def reference(work: Path, rounds: int) -> list[Figure]:
    """Structures and outlines of the 25 um annotation; nothing without ISH_DATA."""
    data = os.environ.get("ISH_DATA")
    if not data:
        print("skipped: structures and outlines of the 25 um annotation: ISH_DATA is not set")
        return []
    folder = served_inputs.many_sections(work)
    with fresh(folder, options=("--reference", str(Path(data) / "reference"))) as server:
        everything = get(_rma("model::Structure,rma::criteria,[graph_id$eq1],rma::options[num_rows$eq'all']"
                              "[order$eqstructures.graph_order]"))  # fmt: skip
        count = len(orjson.loads(load(server.port, [everything], at_once=1).first)["msg"])
        found = _times(server, f"RMA, {count} structures", [everything], 60, rounds)
        ids = [one for number in (1, 2, 3, 4) for one in sections(server, number)[20:90]]
        drawn = [get(f"/api/v2/svg/{one}") for one in ids]
        load(server.port, drawn[:1], at_once=1)  # compiles
        before = server.cpu_s()
        cold = load(server.port, drawn[1:], at_once=1)
        cpu_ms = 1e3 * (server.cpu_s() - before) / len(cold.latencies_s)
        kb = cold.received / len(drawn) / 1e3
        note = f"p95 {cold.p95_ms:.0f} ms, {kb:.0f} kB each"
        found.append(Figure("outlines of a section, 25 um", cold.p50_ms, 100, "ms", cpu_ms, note))
        cached = turns(server, drawn[-40:], rounds, at_once=1)
        found.append(latency("outlines of a section, 25 um, again", cached, 5))
    return found


def _times(server: Server, what: str, asked: list[bytes], goal: float, rounds: int) -> list[Figure]:
    together = turns(server, asked, rounds)
    alone = turns(server, asked, rounds, at_once=1)
    return [
        latency(f"{what}, one at a time, p50", alone, goal),
        latency(f"{what}, 8 at once, p50", together, 0),
    ]


def memory(work: Path, rounds: int) -> list[Figure]:
    """Memory of the server over many requests of all kinds."""
    folders = served_inputs.large_run(work), served_inputs.many_runs(work, ALL_RUNS)
    with fresh(*folders) as server:
        asked = mixed(server)
        load(server.port, asked, at_once=CLIENTS, count=WARM_UP)
        before = server.memory_mb()
        found = load(server.port, asked, at_once=CLIENTS, count=MIXED)
        after = server.memory_mb()
    growth = 100 * (after / before - 1)
    note = f"{before:.0f} to {after:.0f} MB, {found.rate:.0f}/s, p95 {found.p95_ms:.0f} ms"
    return [Figure(f"growth over {MIXED} mixed requests of {CLIENTS} clients", growth, 5, "%", note=note)]


def mixed(server: Server) -> list[bytes]:
    """Return requests of all kinds in a random order."""
    rng = random.Random(1)
    first, second, plain = sections(server)
    width, height = size_of(server, first)
    paths = []
    for one in (first, second, plain):
        paths += rng.sample(stored_tiles(server, one), 150) + rng.sample(mask_tiles(server, one), 50)
        paths += [
            region(one, rng.randrange(width - 900), rng.randrange(height - 900), 900, 300) for _ in range(60)
        ]
        paths += [f"/api/v2/image_download/{one}?downsample={n}" for n in (4, 5, 6)]
        paths += [f"/api/v2/image_to_reference/{one}.json?x={n}&y=3000" for n in range(100)]
        paths += [f"/api/v2/svg/{one}", f"/iiif/3/{one}/info.json", f"/ish/v1/sections/{one}/outlines"]
    for number in rng.sample(range(served_inputs.SMALL, served_inputs.SMALL + ALL_RUNS), 300):
        paths += [
            f"/grid_data/download/{number}?include=energy",
            f"/ish/v1/experiments/{number}",
            f"/api/v2/reference_to_image/10.json?x=6000&y=4000&z=3000&section_data_set_ids={number}",
            _rma(f"model::StructureUnionize,rma::criteria,[section_data_set_id$eq{number}]"),
            _rma(f"model::SectionDataSet,rma::criteria,[id$eq{number}],rma::include,genes,section_images"),
        ]
    rng.shuffle(paths)
    return [get(path) for path in paths]


def sections(server: Server, experiment: int = 0) -> list[int]:
    """Return the ids of the sections of an experiment, by default of the one with large images."""
    if not experiment:
        every = server.message("/ish/v1/experiments")
        experiment = next(
            e["id"] for e in every if not served_inputs.SMALL <= e["id"] < served_inputs.SMALL + ALL_RUNS
        )
    return [one["id"] for one in server.message(f"/ish/v1/experiments/{experiment}")["section_images"]]


def size_of(server: Server, section: int) -> tuple[int, int]:
    """Return width and height of a section, px."""
    document = server.message(f"/iiif/3/{section}/info.json")
    return document["width"], document["height"]


def region(section: int, left: int, top: int, side: int, out: int) -> str:
    """Return the path of a square region of an image at a size, px."""
    return f"/iiif/3/{section}/{left},{top},{side},{side}/{out},{out}/0/default.jpg"


def stored_tiles(server: Server, section: int) -> list[str]:
    """Return the paths of all whole tiles of an image at all reductions."""
    document = server.message(f"/iiif/3/{section}/info.json")
    (tiles,) = document["tiles"]
    side, found = tiles["width"], []
    for scale in tiles["scaleFactors"][:5]:
        wide = side * scale
        found += [
            f"/iiif/3/{section}/{x},{y},{wide},{wide}/{side},{side}/0/default.jpg"
            for x in range(0, document["width"] - wide + 1, wide)
            for y in range(0, document["height"] - wide + 1, wide)
        ]
    return found


def mask_tiles(server: Server, section: int) -> list[str]:
    """Return the paths of all whole tiles of a mask."""
    return [
        path.replace(f"/{section}/", f"/{section}:mask/").replace(".jpg", ".png")
        for path in stored_tiles(server, section)
    ]


def begins(server: Server, request: bytes, with_: bytes) -> None:
    """Check that an answer is of the right kind."""
    first = load(server.port, [request], at_once=1).first
    if not first.startswith(with_):
        raise RuntimeError(f"{request[:100]!r}: expected {with_!r} at its begin, got {first[:40]!r}")


def _rma(criteria: str) -> str:
    return f"/api/v2/data/query.json?criteria={quote(criteria, safe=':,$')}"


def _listed(values: list[float]) -> str:
    return "-".join(f"{value:.3g}" for value in sorted({min(values), max(values)}))


FAMILIES: dict[str, Callable[[Path, int], list[Figure]]] = {
    "images": images,
    "sync": synchronisation,
    "runs": runs,
    "reference": reference,
    "memory": memory,
}
