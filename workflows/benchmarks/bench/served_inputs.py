"""What the benchmark of the service serves: 70 MP sections, series of 112 sections, a thousand runs."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import tifffile

from bench.full_size import QUALITY, TILE_PX, make_series
from pipeline import RunOptions, run
from pipeline.core.model import BOTH, LEFT, RIGHT, Deformation, Float32, UInt8
from pipeline.formats.alignments.alignment_json import write_alignment
from pipeline.formats.images.files import read_image, write_image
from pipeline.formats.manifests.allen_xml import NAME as DATA_SET_XML
from pipeline.formats.manifests.allen_xml import write_data_set_xml
from pipeline.formats.manifests.sections_csv import write_manifest
from pipeline.formats.manifests.series import read_series
from pipeline.formats.tables.tables import read_table, write_table
from pipeline.inputs.config import Config
from pipeline.inputs.pixels import probe_any
from pipeline.phantom.scenes import phantom_scene, render_options
from pipeline.phantom.write_series import SeriesForm, write_phantom_series
from pipeline.store.run import RunFolder
from pipeline.system.seals import digest
from pipeline.system.whole_files import replacing

UM, LARGE_SECTIONS = 1.32, 3  # 70 MP: a TIFF of levels, one of one level, a plain JPEG
SECTIONS, SERIES = 112, 4  # of a series for synchronisation, and such series
STRUCTURES = 839  # with voxels, or parts that have, in the 25 um annotation
SMALL, DEFORMED = 910_000, 800_000  # ids of the first of many small runs, and of the deformed one
TABLE = "structure_unionize.parquet"
DOCUMENTS = ("section_data_set.json", "provenance.json", "alignment.json", TABLE)
LINKED = ("expression.zarr", "thumbnails.zarr", "grid.zarr", "cells.zarr", "grid")


def make_all(folder: Path, runs: int) -> None:
    """Make everything that is served, where it is not there yet."""
    large_run(folder)
    many_sections(folder)
    deformed_run(folder)
    many_runs(folder, runs)
    many_runs(folder, 1)


def make_run(series: Path, output: Path, resolution_um: float) -> Path:
    """Run a series of the phantom along its given alignment and return the run folder."""
    reference = {"name": "phantom", "resolution_um": resolution_um}
    config = Config.model_validate({"reference": reference, "alignment": {"name": "given"}})
    (result,) = run(config, [series], output, None, RunOptions("threads", 2))
    bad = [receipt for receipt in result.receipts.values() if not receipt.ok]
    if bad:
        raise RuntimeError(f"{bad[0].task}: {bad[0].message}")
    return next(output.iterdir())


def large_run(folder: Path) -> Path:
    """Return a folder with one run over large sections; it is made where it is not there yet."""
    output, series = folder / "large", folder / "large-series"
    if not output.exists():
        make_series(series, LARGE_SECTIONS, UM, 1)
        found = read_series(series, probe_any).data_set
        paths = {i.section_number: i.path for i in found.section_images if i.path is not None}
        first, *_, last = paths.values()
        pixels = read_image(first)
        write_pyramid(first, pixels)
        write_image(last.with_suffix(".jpg"), pixels, quality=90, resolution_um=UM)
        last.unlink()
        names = {number: path.name for number, path in paths.items() if path != last}
        write_manifest(series, found, files=names | {max(paths): f"{last.stem}.jpg"})
        make_run(series, folder / "large-made", 25.0)
        (folder / "large-made").rename(output)
    return output


def write_pyramid(path: Path, pixels: UInt8) -> None:
    """Write (H, W, 3) uint8 in levels, each half as large, of tiles that are JPEGs."""
    levels = [pixels]
    while max(levels[-1].shape) > TILE_PX:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    form = {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": QUALITY}}
    with replacing(path) as fresh, tifffile.TiffWriter(fresh) as file:
        for number, level in enumerate(levels):
            file.write(
                level,
                tile=(TILE_PX, TILE_PX),
                subsampling=(2, 2),
                metadata=None,
                resolution=(1e4 / UM / 2**number,) * 2,
                resolutionunit="CENTIMETER",
                **({"subifds": len(levels) - 1} if number == 0 else {"subfiletype": 1}),
                **form,
            )


def many_sections(folder: Path) -> Path:
    """Return a folder with series of 112 sections as the original describes them, placed in the brain."""
    output = folder / "series"
    for number in range(SERIES):
        place = output / str(number)
        if (place / DATA_SET_XML).exists():
            continue
        plane = "sagittal" if number % 2 else "coronal"
        geometry = phantom_scene(plane, SECTIONS, 1.0, render_options({"seed": number})).geometry
        images = tuple(
            replace(image, id=1000 * number + at)
            for at, image in enumerate(geometry.data_set.section_images, start=1)
        )
        data_set = replace(geometry.data_set, id=number + 1, section_images=images)
        place.mkdir(parents=True)
        write_data_set_xml(place / DATA_SET_XML, data_set, geometry.alignment)
    return output


def small_run(folder: Path) -> Path:
    """Return a run of six small sections of the phantom."""
    made = folder / "small-made"
    if not made.exists():
        scene = phantom_scene("sagittal", 6, 16.0, render_options({"seed": 3}))
        write_phantom_series(folder / "small", scene, SeriesForm(give_alignment=True, truth_masks=False))
        make_run(folder / "small" / "series", made, 25.0)
    return next(made.iterdir())


def many_runs(folder: Path, count: int) -> Path:
    """Return a folder of many small runs: the documents of one, under ids and genes of their own."""
    output, source = folder / f"runs-{count}", small_run(folder)
    if not output.exists():
        made = folder / "runs-made"
        shutil.rmtree(made, ignore_errors=True)
        for number in range(SMALL, SMALL + count):
            run = _copy(source, made / str(number), number)
            if number == SMALL:
                table = _long_table(source / TABLE, made / TABLE)
            shutil.copyfile(table, run.file(TABLE))
            _vouch(run, "unionize", [run.file(TABLE)])
        table.unlink()
        made.rename(output)
    return output


def _long_table(source: Path, target: Path) -> Path:
    """Write a table of structures as long as that of a real brain; its structures are repeated."""
    columns = {name: np.array(values) for name, values in read_table(source).items()}
    both = np.flatnonzero(columns["hemisphere_id"] == BOTH)
    rows = np.tile(np.resize(both, STRUCTURES), 3)
    hemispheres = {"hemisphere_id": np.repeat([LEFT, RIGHT, BOTH], STRUCTURES)}
    write_table(
        {**{n: c[rows] for n, c in columns.items()}, **hemispheres}, target.with_suffix(".csv"), target
    )
    target.with_suffix(".csv").unlink()
    return target


def deformed_run(folder: Path) -> Path:
    """Return a folder with a run whose 112 sections are deformed: documents only, without images."""
    output = folder / "deformed"
    if output.exists():
        return output
    made = folder / "deformed-made"
    shutil.rmtree(made, ignore_errors=True)
    run = _copy(small_run(folder), made / str(DEFORMED), DEFORMED)
    geometry = phantom_scene("coronal", SECTIONS, 1.0, render_options({"seed": 5})).geometry
    path = run.file("section_data_set.json")
    document = json.loads(path.read_text(encoding="utf-8"))
    entry = {**document["section_images"][0], "quality": {}}
    document |= {"plane_of_section": "coronal", "reference_space_id": 9}
    document["section_images"] = [
        {**entry, "section_number": i.section_number, "width_px": i.width_px, "height_px": i.height_px}
        for i in geometry.data_set.section_images
    ]
    path.write_text(json.dumps(document), encoding="utf-8")
    fields = {
        s.alignment2d.section_number: Deformation(_bent(s.alignment2d.section_number), 400.0)
        for s in geometry.alignment.sections
    }
    run.file("alignment.json").unlink()
    write_alignment(run.file("alignment.json"), replace(geometry.alignment, deformable="volume"))
    run.write_deformations(fields, "benchmark")
    _vouch(run, "summarise", [path])
    _vouch(run, "align", [run.file("alignment.json"), run.file("deformation.zarr")])
    made.rename(output)
    return output


def _bent(number: int) -> Float32:
    """Return a smooth displacement of up to 60 um in the plane and 15 um across it, (3, 24, 32)."""
    y, x = np.meshgrid(np.linspace(0, 3, 24), np.linspace(0, 4, 32), indexing="ij")
    waves = [most * np.sin(x + k + 0.1 * number) * np.cos(y + k) for k, most in enumerate((60.0, 60.0, 15.0))]
    return np.asarray(waves, np.float32)


def _copy(source: Path, target: Path, number: int) -> RunFolder:
    """Copy a run under another id; what is large and the same is linked."""
    target.mkdir(parents=True)
    for name in LINKED:
        os.symlink(source / name, target / name)
    shutil.copytree(source / "receipts", target / "receipts")
    for name in DOCUMENTS:
        shutil.copyfile(source / name, target / name)
    path, run = target / "section_data_set.json", RunFolder(target)
    text = path.read_text(encoding="utf-8")  # parsing and writing it a thousand times takes minutes
    text = re.sub(r'"id": \d+', f'"id": {number}', text, count=1)
    text = re.sub(r'"gene": "\w+"', f'"gene": "Gene{number}"', text, count=1)
    path.write_text(text, encoding="utf-8")
    _vouch(run, "summarise", [path])
    return run


def _vouch(run: RunFolder, task: str, paths: list[Path]) -> None:
    """Have a receipt take what was changed for what its task wrote."""
    receipt = run.read_receipt(task)
    assert receipt is not None
    files = [
        file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()
    ]
    sealed = {str(file.relative_to(run.path)): [file.stat().st_size, digest(file)] for file in files}
    run.write_receipt(replace(receipt, outputs={**receipt.outputs, **sealed}))
