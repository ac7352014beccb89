"""Small good inputs of every form, from which fuzz.py makes bad ones."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
import zarr
from numcodecs import GZip

from pipeline.core.ontology import Ontology
from pipeline.formats.images.files import write_image
from pipeline.formats.volumes.metaimage import write_grid
from pipeline.phantom import phantom_reference

FORMS = ("jpg", "png", "tif", "tiled", "deep", "jp2", "zarr", "zarr2", "shards", "xml")
SUFFIXES = {"tiled": "tif", "deep": "tif", "xml": "jpg", "zarr2": "zarr", "shards": "zarr"}
NUMBERS = (0, 8, 16)


def _picture() -> np.ndarray[Any, Any]:
    y, x = np.mgrid[:48, :64]
    grey = np.where(((y - 24) / 18) ** 2 + ((x - 32) / 26) ** 2 < 1, 160, 232).astype(np.uint8)
    return np.stack([grey, grey - 8, grey], axis=-1)


def _write_images(folder: Path, form: str) -> None:
    pixels = _picture()
    for number in NUMBERS:
        name = folder / f"s_s{number:04d}.{SUFFIXES.get(form, form)}"
        if form in ("jpg", "png", "tif", "xml"):
            write_image(name, pixels, resolution_um=100.0)
        elif form == "tiled":
            tifffile.imwrite(
                name, pixels, tile=(32, 32), photometric="rgb", compression="jpeg", metadata=None
            )
        elif form == "deep":
            deep = pixels[..., 0].astype(np.uint16) * 16
            tifffile.imwrite(name, deep, tile=(32, 32), compression="zlib", predictor=True)
        elif form == "jp2":
            name.write_bytes(imagecodecs.jpeg2k_encode(pixels))
        else:
            _write_zarr(name, pixels, form)


def _write_zarr(folder: Path, pixels: np.ndarray[Any, Any], form: str) -> None:
    scale = [{"type": "scale", "scale": [1.0, 150.0, 150.0]}]
    axes = [
        {"name": "c", "type": "channel"},
        *({"name": n, "type": "space", "unit": "micrometer"} for n in "yx"),
    ]
    described = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    if form == "zarr2":
        group = zarr.create_group(folder, attributes={"multiscales": [described]}, zarr_format=2)
        group.create_array("0", data=planes, chunks=(1, 32, 32), compressors=GZip(5))
        return
    group = zarr.create_group(folder, attributes={"ome": {"version": "0.5", "multiscales": [described]}})
    shards = {"shards": (3, 64, 64)} if form == "shards" else {}
    group.create_array("0", data=planes, chunks=(3, 32, 32), **shards)


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
    names = {
        int(re.findall(r"_s(\d+)", p.name)[0]): p.name
        for p in folder.iterdir()
        if "_s" in p.name and p.suffix != ".yaml" and p.suffix != ".json"
    }
    rows = [f"{k},{names[k]},64,48,150,{'true' if k == 99 else ''}" for k in NUMBERS]
    (folder / "sections.csv").write_text(
        "\n".join(["section_number,file,width_px,height_px,resolution_um,failed", *rows]) + "\n"
    )
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
    slices = [
        {"filename": f"s_s{k:04d}.png", "nr": k, "width": 64, "height": 48, "anchoring": plane}
        for k in NUMBERS
    ]
    named = {"name": "x", "target": "ABA_Mouse_CCFv3_2017_25um.cutlas", "slices": slices}
    (folder / "quicknii.json").write_text(json.dumps(named))
    sections = [
        {"filename": f"s_s{k:04d}.png", "snr": k, "width": 64, "height": 48, "ouv": plane} for k in NUMBERS
    ]
    (folder / "webalign.json").write_text(
        json.dumps({"atlas": "ABA_Mouse_CCFv3_2017_25um", "sections": sections})
    )


def _write_reference(folder: Path) -> None:
    space = phantom_reference(200.0)
    folder.mkdir()
    labels = np.ascontiguousarray(space.annotation.astype("<u4"))
    sizes = " ".join(map(str, labels.shape))
    axes = "space directions: (200,0,0) (0,200,0) (0,0,200)"
    header = (
        f"NRRD0004\ntype: uint32\ndimension: 3\nsizes: {sizes}\n{axes}\nendian: little\nencoding: raw\n\n"
    )
    (folder / "annotation_200.nrrd").write_bytes(header.encode() + labels.tobytes(order="F"))
    (folder / "structure_graph_1.json").write_text(json.dumps({"msg": [_tree(space.ontology, 0)]}))


def _tree(ontology: Ontology, at: int) -> dict[str, Any]:
    structure = ontology.structures[at]
    children = [n for n, s in enumerate(ontology.structures) if s.parent_id == structure.id]
    own = {
        "id": structure.id,
        "acronym": structure.acronym,
        "name": structure.name,
        "graph_order": at,
        "color_hex_triplet": structure.color,
    }
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
