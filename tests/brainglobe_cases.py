"""A small BrainGlobe atlas of version 3, written as its own tools lay it out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import zarr

COLUMNS = (
    "identifier,parent_identifier,annotation_value,name,abbreviation,color_hex_triplet,root_identifier_path"
)
TERMINOLOGY = f"""{COLUMNS}
2147483653,8,2147483653,"deep, deeper",x,#0102FF,"[997, 8, 2147483653]"
997,,997,root,root,#FFFFFF,[997]
8,997,8,"a ""b""\",NA,#FF0010,"[997, 8]"
"""
NAME = "toy_mouse_200um"


def labels(step: int = 1) -> np.ndarray:
    """Return structure ids (P, I, R) of a brain that no reversal or exchange of axes maps onto itself."""
    pir = np.zeros((12, 10, 8), np.uint32)
    pir[2:9, 1:6, 1:7] = 8
    pir[2:5, 1:3, 1:3] = 2**31 + 5
    return np.ascontiguousarray(pir[::step, ::step, ::step])


def grey(step: int = 1) -> np.ndarray:
    return (labels(step) % 1000 + np.arange(labels(step).size).reshape(labels(step).shape)).astype(np.uint16)


def write_volume(place: Path, levels: dict[float, np.ndarray]) -> None:
    """Write (P, I, R) volumes by voxel size in um as an OME-Zarr in the orientation asr."""
    group = zarr.create_group(place, zarr_format=3)
    datasets = []
    for number, (um, volume) in enumerate(levels.items()):
        stored = np.ascontiguousarray(volume[:, :, ::-1])
        group.create_array(f"s{number}", data=stored, chunks=(4, 4, 4))
        scale = [{"type": "scale", "scale": [um / 1000] * 3}]
        datasets.append({"path": f"s{number}", "coordinateTransformations": scale})
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    image = {"name": "/", "axes": axes, "datasets": datasets}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}


def write_atlas(brainglobe_dir: Path, name: str = NAME, um: float = 200.0) -> Path:
    """Write an atlas with volumes of 100 and 200 um, and return its folder."""
    root = brainglobe_dir / "brainglobe-atlasapi"
    places = {
        kind: f"/{kind}/toy-{kind}/1_0"
        for kind in ("annotation-sets", "templates", "terminologies", "coordinate-spaces")
    }
    for place in places.values():
        (root / place[1:]).mkdir(parents=True, exist_ok=True)
    (root / places["terminologies"][1:] / "terminology.csv").write_text(TERMINOLOGY)
    write_volume(
        root / places["annotation-sets"][1:] / "annotations_compressed.ome.zarr",
        {100.0: labels(), 200.0: labels(2)},
    )
    write_volume(root / places["templates"][1:] / "template.ome.zarr", {100.0: grey(), 200.0: grey(2)})
    folder = root / "atlases" / name / "1_0"
    folder.mkdir(parents=True)
    located = {kind: {"name": f"toy-{kind}", "version": "1.0", "location": at} for kind, at in places.items()}
    manifest = {
        "name": "toy_mouse",
        "location": f"/atlases/{name}/1_0",
        "citation": "Nobody 2020",
        "atlas_link": "http://example.com",
        "species": "Mus musculus",
        "symmetric": True,
        "resolution": [um] * 3,
        "orientation": "asr",
        "version": "1.0",
        "shape": list(labels(round(um / 100)).shape),
        "additional_references": [],
        "coordinate_space": located["coordinate-spaces"],
        "terminology": located["terminologies"],
        "annotation_set": located["annotation-sets"] | {"template": located["templates"]},
        "template": located["templates"],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=4))
    return folder
