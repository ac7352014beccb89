"""atldld (Atlas-Download-Tools) against `ish serve`: images, matrices, sync, whole data sets, its command."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import numpy as np
from atldld import utils
from atldld.cli.root import root_cmd
from atldld.sync import DatasetDownloader, xy_to_pir
from checking import Case, near, run, same
from click.testing import CliRunner
from redirect import redirect

GREY = 2.5  # mean difference of a picture that was stored and sent as JPEG


def _matrix(values: list[float], dimensions: int) -> np.ndarray[Any, Any]:
    """Return a matrix from its parameters: the linear part row by row, then the translation."""
    linear = np.reshape(values[: dimensions**2], (dimensions, dimensions))
    return np.column_stack([linear, values[dimensions**2 :]])


def matrices(case: Case) -> None:
    """get_2d, get_2d_bulk and get_3d return the matrices of the run, both directions."""
    for experiment in case.facts["experiments"].values():
        for towards, names in ((False, ("tsv", "tvr")), (True, ("tvs", "trv"))):
            bulk = utils.get_2d_bulk(experiment["id"], ref2inp=towards)
            same(len(bulk), len(experiment["sections"]), "sections")
            for section in experiment["sections"]:
                matrix, number = bulk[section["id"]]
                same(number, section["section_number"], "section number")
                near(matrix, _matrix(section[names[0]], 2), 1e-6, names[0])
            first = experiment["sections"][0]
            near(utils.get_2d(first["id"], ref2inp=towards), _matrix(first[names[0]], 2), 1e-6, names[0])
            found, space, thickness = utils.get_3d(experiment["id"], ref2inp=towards, return_meta=True)
            near(found, _matrix(experiment[names[1]], 3), 1e-6, names[1])
            same(space, experiment["reference_space_id"], "reference space")
            same(thickness, experiment["section_thickness"], "section thickness")


def sync(case: Case) -> None:
    """pir_to_xy_API_single and xy_to_pir_API_single answer as the project's own sync does."""
    for asked in case.facts["sync"]:
        answer = asked["answer"]
        if asked["verb"] == "image_to_reference":
            section, x, y = asked["asked"]
            near(utils.xy_to_pir_API_single(x, y, section), list(answer.values()), 1e-6, "xy to pir")
        elif asked["verb"] == "reference_to_image":
            space, *point, ids = asked["asked"]
            for one, expected in zip(ids, answer, strict=True):
                x, y, number, image = utils.pir_to_xy_API_single(*point, one, reference_space=space)
                near([x, y], [expected["x"], expected["y"]], 1e-6, "pir to xy")
                same((number, image), (expected["section_number"], expected["section_image_id"]), "section")


def own_arithmetic(case: Case) -> None:
    """Its own arithmetic with the matrices of the API agrees with the sync of affine runs."""
    for experiment in case.facts["experiments"].values():
        downloader = DatasetDownloader(experiment["id"])
        downloader.fetch_metadata()
        same(len(downloader), len(experiment["sections"]), "images")
        images = {image["id"]: image for image in downloader.metadata["images"]}
        data_set = downloader.metadata["dataset"]
        same(data_set["plane_of_section_id"], experiment["plane_of_section_id"], "plane")
        for asked in case.facts["sync"]:
            if asked["verb"] != "image_to_reference" or asked["asked"][0] not in images:
                continue
            section, x, y = asked["asked"]
            z = images[section]["section_number"] * data_set["section_thickness"]
            coordinates = np.array([[x], [y], [z]], np.float32)
            found = xy_to_pir(coordinates, images[section]["affine_tsv"], data_set["affine_tvr"])[:3, 0]
            if not experiment["deformed"]:
                near(found, list(asked["answer"].values()), 0.05, "xy to pir in float32")


def images(case: Case) -> None:
    """get_image returns photo and mask in the size of the tier, and their pixels."""
    for role, experiment in case.facts["experiments"].items():
        if experiment["shown"] is None:
            continue  # without images
        section = experiment["sections"][experiment["shown"]]
        steps = experiment["downsample"]
        photo = utils.get_image(section["id"], downsample=steps)
        same(photo.shape, (section["box"][3] >> steps, section["box"][2] >> steps, 3), f"{role}: shape")
        apart = np.abs(photo - case.arrays[f"{role}/photo"].astype(float)).mean()
        assert apart < GREY, f"{role}: mean difference {apart:.1f} grey levels"
        if f"{role}/mask" in case.arrays:
            mask = utils.get_image(section["id"], expression=True, downsample=steps)
            same(mask.shape[:2], photo.shape[:2], f"{role}: shape of the mask")
            assert mask.any(), "nothing expresses"


def corners(case: Case) -> None:
    """get_corners_in_ref_space asks for four corners, which span the section."""
    for experiment in case.facts["experiments"].values():
        section = experiment["sections"][0]
        found = utils.get_corners_in_ref_space(section["id"], section["image_width"], section["image_height"])
        same(found.shape, (4, 3), "corners")
        if not experiment["deformed"]:
            near(found[0] + found[2], found[1] + found[3], 1e-6, "parallelogram")


def experiments_of_a_gene(case: Case) -> None:
    """get_experiment_list_from_gene, get_reference_space and get_axis."""
    for experiment in case.facts["experiments"].values():
        if not experiment["gene"]:
            continue
        listed = zip(case.facts["ids"], case.facts["genes"], case.facts["planes"], strict=True)
        ids = [i for i, g, plane in listed if (g, plane) == (experiment["gene"], experiment["plane"])]
        found = utils.get_experiment_list_from_gene(experiment["gene"], axis=experiment["plane"])
        same(sorted(found), ids, "experiments")
        space = utils.CommonQueries.get_reference_space(experiment["id"])
        same(space, experiment["reference_space_id"], "reference space")
        same(utils.CommonQueries.get_axis(experiment["id"]), experiment["plane"], "axis")


def whole_data_set(case: Case) -> None:
    """DatasetDownloader brings every section with its mask, and warps it to the reference space."""
    experiment = case.experiment("coronal")
    downloader = DatasetDownloader(
        experiment["id"], downsample_ref=100, downsample_img=experiment["downsample"], include_expression=True
    )
    downloader.fetch_metadata()
    found = list(downloader.run())
    numbers = {one["id"]: one["section_number"] for one in experiment["sections"]}
    same([numbers[image] for image, *_ in found], sorted(numbers.values(), reverse=True), "sections")
    for image, position, photo, mask, field in found:
        same(photo.shape[:2], mask.shape[:2], "sizes")
        warped = field.warp(photo, c=photo[0, 0].tolist())
        same(warped.shape[:2], (80, 114), "the plane of the reference space")
        assert 0 <= position <= 13200, f"section {image} at {position}"
        assert warped.std() > 5, "a picture of one colour"


def command(case: Case) -> None:
    """Its command: search dataset, search image, dataset info, dataset preview."""
    experiment = case.experiment("sagittal")
    one, listed = str(experiment["id"]), len(experiment["sections"])
    folder = case.new("preview.png").parent
    for words, told in (
        (["search", "dataset", "-g", experiment["gene"]], f"{one}, genes:"),
        (["search", "image", "-d", one], f"{listed} image(s) found"),
        (["dataset", "info", one], f"Number of section images : {listed}"),
        (["dataset", "preview", one, "-o", str(folder)], "Figure was saved"),
    ):
        result = CliRunner().invoke(root_cmd, words)
        assert result.exit_code == 0, f"{' '.join(words)}: {result.output[-200:]} {result.exception!r}"
        assert told in result.output, f"{' '.join(words)}: {result.output[-300:]}"
    assert os.listdir(folder), "no preview"


warnings.simplefilter("ignore")
logging.disable(logging.INFO)
CHECKS = (matrices, sync, own_arithmetic, images, corners, experiments_of_a_gene)

if __name__ == "__main__":
    run({"phantom": (*CHECKS, whole_data_set, command), "atlas": CHECKS}, before=redirect)
