"""zarr-python, fsspec, ome-zarr and napari's reader against `ish serve`: grids and masks over HTTP."""

from __future__ import annotations

import warnings

import fsspec
import numpy as np
import zarr
from checking import Case, near, run, same
from napari_ome_zarr import napari_get_reader
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

GRIDS = ("energy", "density", "intensity")


def _mask(case: Case, role: str) -> str:
    """Return the address of the mask of the section that is compared."""
    experiment = case.experiment(role)
    number = experiment["sections"][experiment["shown"]]["section_number"]
    return f"{case.base}/zarr/{experiment['id']}/expression.zarr/{number}"


def grids(case: Case) -> None:
    """zarr.open_group reads the grids of each run."""
    for role, experiment in case.facts["experiments"].items():
        group = zarr.open_group(f"{case.base}/zarr/{experiment['id']}/grid.zarr", mode="r")
        for name in GRIDS:
            assert np.array_equal(group[name][...], case.arrays[f"{role}/{name}"]), (
                f"{role} {name}: other voxels"
            )
        same(group.attrs["spacing_um"], 200.0, "spacing")


def parts_of_masks(case: Case) -> None:
    """zarr.open_array reads a mask whole and in part, out of shards, by ranges of bytes."""
    for role in case.facts["experiments"]:
        array, expected = zarr.open_array(f"{_mask(case, role)}/0", mode="r"), case.arrays[f"{role}/mask"]
        same(array.shape, expected.shape, f"{role}: shape")
        assert array.shards is not None, "the mask has no shards: nothing is read by ranges"
        assert np.array_equal(array[...], expected), f"{role}: other pixels"
        rows, columns = np.nonzero(expected)
        at = slice(rows[0], rows[0] + 70), slice(max(columns[0] - 40, 0), columns[0] + 9)
        assert np.array_equal(array[at], expected[at]), f"{role}: other pixels in a part"


def ranges(case: Case) -> None:
    """fsspec reads parts of a file, from its beginning and from its end."""
    files, place = fsspec.filesystem("http"), f"{_mask(case, 'sagittal')}/0/c/0/0"
    whole = files.cat_file(place)
    same(files.cat_file(place, start=3, end=40), whole[3:40], "bytes 3 to 40")
    same(files.cat_file(place, start=len(whole) - 20), whole[-20:], "the last 20 bytes")
    same(files.cat_ranges([place, place], [0, 9], [5, 12]), [whole[:5], whole[9:12]], "two parts")
    same(files.info(place)["size"], len(whole), "size")
    assert not files.exists(f"{place}0"), "a file that is not there exists"


def ome_zarr(case: Case) -> None:
    """ome-zarr's reader finds the levels of a mask with their scales, and its labels."""
    for role in case.facts["experiments"]:
        place, expected = parse_url(_mask(case, role)), case.arrays[f"{role}/mask"]
        nodes = list(Reader(place)())
        levels = nodes[0].data
        assert np.array_equal(np.asarray(levels[0]), expected), f"{role}: other pixels"
        scales = [steps[0]["scale"] for steps in nodes[0].metadata["coordinateTransformations"]]
        um = case.experiment(role)["mask_um"]
        near(scales, [[um * 2**level] * 2 for level in range(len(levels))], 1e-6, "um of each level")
        labels = nodes[-1].data[0]
        assert np.array_equal(np.asarray(labels) > 0, expected > 0), f"{role}: other labels"


def napari(case: Case) -> None:
    """napari's reader returns mask and labels as layers, placed in um."""
    for role in case.facts["experiments"]:
        address, expected = _mask(case, role), case.arrays[f"{role}/mask"]
        image, labels = napari_get_reader(address)(address)
        same((image[2], labels[2]), ("image", "labels"), "kinds of layers")
        assert np.array_equal(np.asarray(image[0][0]), expected), f"{role}: other pixels"
        near(image[1]["scale"], [case.experiment(role)["mask_um"]] * 2, 1e-6, "um")
        assert np.array_equal(np.asarray(labels[0][0]) > 0, expected > 0), f"{role}: other labels"


def fields(case: Case) -> None:
    """zarr reads the displacement field of a deformed section."""
    experiment = case.experiment("deformed")
    number = experiment["sections"][experiment["shown"]]["section_number"]
    array = zarr.open_array(f"{case.base}/zarr/{experiment['id']}/deformation.zarr/{number}", mode="r")
    assert np.array_equal(array[...], case.arrays["deformed/displacement_um"]), "other displacements"


warnings.simplefilter("ignore")

if __name__ == "__main__":
    run({"phantom": (grids, parts_of_masks, ranges, ome_zarr, napari, fields)})
