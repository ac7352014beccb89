"""AllenSDK against `ish serve`: experiments, grids, image sync, images, structure tables and search."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import SimpleITK
from allensdk.api.api import Api
from allensdk.api.queries.annotated_section_data_sets_api import AnnotatedSectionDataSetsApi
from allensdk.api.queries.connected_services import ConnectedServices
from allensdk.api.queries.grid_data_api import GridDataApi
from allensdk.api.queries.image_download_api import ImageDownloadApi
from allensdk.api.queries.mouse_atlas_api import MouseAtlasApi
from allensdk.api.queries.ontologies_api import OntologiesApi
from allensdk.api.queries.rma_api import RmaApi
from allensdk.api.queries.synchronization_api import SynchronizationApi
from allensdk.api.queries.tree_search_api import TreeSearchApi
from checking import Case, near, run, same
from PIL import Image

GRIDS = ("energy", "density", "intensity")
ROUNDED = 1e-3  # um or px: the client sends six decimals
BETWEEN_UM = 10.0  # median distance to image sync between voxels: neighbouring sections move differently
GREY = 2.5  # mean difference of a picture that was stored and sent as JPEG


def listing_pages(case: Case) -> None:
    """MouseAtlasApi lists all experiments over several pages, each once and in order."""
    rows = list(MouseAtlasApi(base_uri=case.base).get_section_data_sets())
    same([row["id"] for row in rows], case.facts["ids"], "ids")
    genes = {row["id"]: [gene["acronym"] for gene in row["genes"]] for row in rows}
    expected = {
        one: [gene] if gene else [] for one, gene in zip(case.facts["ids"], case.facts["genes"], strict=True)
    }
    same(genes, expected, "genes")
    assert case.facts["kind"] != "phantom" or len(rows) > 2000, "fewer experiments than one page holds"


def genes_and_their_experiments(case: Case) -> None:
    """MouseAtlasApi lists all genes, and the experiments of one of them."""
    api = MouseAtlasApi(base_uri=case.base)
    genes = list(api.get_genes())
    same(sorted(gene["acronym"] for gene in genes), sorted(set(case.facts["genes"])), "acronyms")
    assert [gene["id"] for gene in genes] == sorted({gene["id"] for gene in genes}), "ids not in order"
    one = next(gene for gene in genes if gene["acronym"] == case.facts["genes"][0])
    rows = list(api.get_section_data_sets(gene_ids=[one["id"]], product_ids=[1]))
    pairs = zip(case.facts["ids"], case.facts["genes"], strict=True)
    same([row["id"] for row in rows], [i for i, gene in pairs if gene == one["acronym"]], "experiments")


def grids(case: Case) -> None:
    """MouseAtlasApi.download_expression_* returns the voxels of grid.zarr, and its spacing."""
    api = MouseAtlasApi(base_uri=case.base)
    for role in case.facts["experiments"]:
        for name in GRIDS:
            if f"{role}/{name}" not in case.arrays:
                assert name != "energy", f"{role}: no energy to compare with"
                continue
            path = case.new(f"{name}.mhd")
            download = getattr(api, f"download_expression_{name}")
            voxels, about = download(str(path), case.experiment(role)["id"])
            expected = case.arrays[f"{role}/{name}"]
            assert voxels.dtype == expected.dtype, f"{name}: {voxels.dtype}"
            assert np.array_equal(voxels, expected), f"{role} {name}: other voxels"
            same(about["spacing"], (200.0, 200.0, 200.0), "spacing")
            assert (voxels == -1).any(), "no voxel without data"


def alignment3d(case: Case) -> None:
    """GridDataApi.download_alignment3d returns the affine map of the run."""
    api = GridDataApi(base_uri=case.base)
    for experiment in case.facts["experiments"].values():
        found = api.download_alignment3d(experiment["id"])
        for name in ("tvr", "trv"):
            values = [found[f"{name}_{n:02d}"] for n in range(12)]
            near(values, experiment[name], 1e-6, name)


def _deformation(case: Case) -> tuple[dict[str, Any], SimpleITK.Image]:
    experiment = case.experiment("deformed")
    header = case.new("dfmfld.mhd")
    GridDataApi(base_uri=case.base).download_deformation_field(
        experiment["id"], header_path=str(header), voxel_path=str(header.with_suffix(".raw"))
    )
    return experiment, SimpleITK.ReadImage(str(header))


def deformation_field(case: Case) -> None:
    """The deformation field, then trv and tvs, lead to the pixels that image sync answers."""
    experiment, field = _deformation(case)
    points = case.arrays["deformed/points_um"]
    moves = SimpleITK.GetArrayFromImage(field).transpose(2, 1, 0, 3)
    index = np.rint(points / 200.0).astype(int)
    near(points, index * 200.0, 1e-9, "points of the grid")
    assert np.abs(moves).max() > 1.0, "the field moves nothing"
    moved = points + moves[tuple(index.T)]
    near(_pixels(experiment, moved, case), case.arrays["deformed/points_px"], 0.05, "pixels")


def deformation_between_voxels(case: Case) -> None:
    """SimpleITK interpolates the field between voxels to within a few um of image sync."""
    experiment, field = _deformation(case)
    transform = SimpleITK.DisplacementFieldTransform(SimpleITK.Cast(field, SimpleITK.sitkVectorFloat64))
    points = case.arrays["deformed/between_um"]
    moved = np.array([transform.TransformPoint(point.tolist()) for point in points])
    apart = _pixels(experiment, moved, case, "between") - case.arrays["deformed/between_px"]
    um = np.median(np.linalg.norm(apart, axis=1)) * experiment["sections"][0]["resolution"]
    unmoved = _pixels(experiment, points, case, "between") - case.arrays["deformed/between_px"]
    without = np.median(np.linalg.norm(unmoved, axis=1)) * experiment["sections"][0]["resolution"]
    assert um < min(BETWEEN_UM, without / 2), f"median {um:.1f} um, {without:.1f} um without the field"


def _pixels(
    experiment: dict[str, Any], points: np.ndarray[Any, Any], case: Case, which: str = "points"
) -> np.ndarray[Any, Any]:
    """Return pixels of reference points in given sections, by the maps of the API alone."""
    t = experiment["trv"]
    volume = points @ np.reshape(t[:9], (3, 3)).T + t[9:]
    tvs = {section["section_number"]: section["tvs"] for section in experiment["sections"]}
    found = []
    for (x, y, _), number in zip(volume, case.arrays[f"deformed/{which}_section"], strict=True):
        a, b, c, d, e, f = tvs[int(number)]
        found.append((a * x + b * y + e, c * x + d * y + f))
    return np.array(found)


def affine_runs_have_no_field(case: Case) -> None:
    """A run without deformation has no deformation field."""
    api = RmaApi(base_uri=case.base)
    filters = {"attachable_id": case.experiment("sagittal")["id"]}
    same(api.model_query("WellKnownFile", filters=filters), [], "files")


def image_sync(case: Case) -> None:
    """SynchronizationApi answers all verbs as the project's own sync does."""
    api = SynchronizationApi(base_uri=case.base)
    verbs = set()
    for asked in case.facts["sync"]:
        verb, answer = asked["verb"], asked["answer"]
        found = getattr(api, f"get_{verb}")(*asked["asked"])
        verbs.add(verb)
        if verb == "image_to_reference":
            _near(found["image_to_reference"], answer, verb)
        elif verb == "image_to_atlas":
            _on_plate(case, found["image_sync"], answer)
        else:
            same(len(found), len(answer), verb)
            for one, expected in zip(found, answer, strict=True):
                _near(one["image_sync"], expected, verb)
    same(len(verbs), 6, "verbs")


def _near(found: dict[str, Any], expected: dict[str, Any], verb: str) -> None:
    same(list(found), list(expected), f"{verb}: keys")
    for name, value in expected.items():
        near(found[name], value, ROUNDED if name in "xyz" else 0, f"{verb}: {name}")


def _on_plate(case: Case, found: dict[str, Any], point: list[float]) -> None:
    """Check that a place on a coronal plate is the nearest plate's, and is the same in um."""
    images = ImageDownloadApi(base_uri=case.base).atlas_image_query(1)
    plate = next(image for image in images if image["id"] == found["section_image_id"])
    same(plate["section_number"], found["section_number"], "section number")
    um = case.facts["annotation_um"]
    position = np.array([image["section_number"] for image in images]) * um
    near(found["section_number"] * um, position[np.abs(position - point[0]).argmin()], 0, "nearest plate")
    # A voxel is a block of pixels, whose middle lies (um - resolution) / 2 from its first pixel's centre.
    middle = (um - plate["resolution"]) / 2
    place = np.array([found["x"], found["y"]]) * plate["resolution"] - middle
    near(place, [point[2], point[1]], ROUNDED, "place")


def image_lists(case: Case) -> None:
    """ImageDownloadApi lists experiments by product, the images of each, and their sizes."""
    api = ImageDownloadApi(base_uri=case.base)
    rows = api.get_section_data_sets_by_product([1], include_failed=True)
    same(sorted(row["id"] for row in rows), case.facts["ids"], "ids")
    for experiment in case.facts["experiments"].values():
        images = {image["id"]: image for image in api.section_image_query(experiment["id"])}
        same(sorted(images), sorted(one["id"] for one in experiment["sections"]), "image ids")
        for one in experiment["sections"]:
            image = images[one["id"]]
            for name in ("section_number", "image_width", "image_height", "resolution"):
                same(image[name], one[name], name)
            same([image[n] for n in ("x", "y", "width", "height")], one["box"], "tissue box")
            same(image["data_set_id"], experiment["id"], "data set")


def photos(case: Case) -> None:
    """ImageDownloadApi.download_section_image returns the photo: its size at a tier, and its pixels."""
    api = ImageDownloadApi(base_uri=case.base)
    for role, experiment in case.facts["experiments"].items():
        if experiment["shown"] is None:
            continue  # without images
        one, steps = experiment["sections"][experiment["shown"]], experiment["downsample"]
        path = case.new("photo.jpg")
        api.download_section_image(one["id"], str(path), downsample=steps, quality=100)
        found = np.asarray(Image.open(path), dtype=float)
        same(found.shape, (one["box"][3] >> steps, one["box"][2] >> steps, 3), f"{role}: shape")
        apart = np.abs(found - case.arrays[f"{role}/photo"]).mean()
        assert apart < GREY, f"{role}: mean difference {apart:.1f} grey levels"


def parts_of_photos(case: Case) -> None:
    """A region comes in the size of its tier, and shows what the whole image shows there."""
    api = ImageDownloadApi(base_uri=case.base)
    experiment = case.experiment("sagittal")
    one, steps = experiment["sections"][experiment["shown"]], experiment["downsample"]
    photo = case.arrays["sagittal/photo"].astype(float)
    width, height = 60, 45
    x, y = (photo.shape[1] - width) // 2, (photo.shape[0] - height) // 2
    region = {"left": x << steps, "top": y << steps, "width": width, "height": height}
    path = case.new("part.jpg")
    api.download_image(one["id"], str(path), downsample=steps, quality=100, **region)
    found = np.asarray(Image.open(path), dtype=float)
    expected = photo[y : y + height, x : x + width]
    same(found.shape, expected.shape, "shape")
    assert expected.std() > 4 * GREY, "a region without tissue"
    assert np.abs(found - expected).mean() < GREY, "other pixels"


def masks(case: Case) -> None:
    """expression=True returns the mask as the run has it, grey."""
    api = ImageDownloadApi(base_uri=case.base)
    for role, experiment in case.facts["experiments"].items():
        if experiment["shown"] is None:
            continue  # without images
        one = experiment["sections"][experiment["shown"]]
        mask = case.arrays[f"{role}/mask"].astype(float)
        path = case.new("mask.jpg")
        region = {"left": 0, "top": 0, "width": mask.shape[1], "height": mask.shape[0]}
        steps = experiment["mask_steps"]
        api.download_section_image(
            one["id"], str(path), expression=True, quality=100, downsample=steps, **region
        )
        found = np.asarray(Image.open(path), dtype=float)
        same(found.shape, mask.shape, f"{role}: shape")
        assert mask.any(), f"{role}: nothing expresses"
        apart = np.abs(found - mask)
        for where, kind in ((mask > 0, "expressing"), (mask == 0, "other")):
            assert apart[where].mean() < GREY, f"{role}: {kind} pixels differ by {apart[where].mean():.1f}"


def unionize(case: Case) -> None:
    """RmaApi.model_query(StructureUnionize) has one row a structure, with the numbers of the run."""
    api = RmaApi(base_uri=case.base)
    for experiment in case.facts["experiments"].values():
        rows = api.model_query(
            model="StructureUnionize",
            criteria=f"section_data_set[id$eq{experiment['id']}],structure[graph_id$eq1]",
            include="structure",
            order=["'structures.graph_order'"],
            num_rows=2000,
            count=False,
        )
        same(len(rows), len(experiment["unionize"]), "rows")
        for row in rows:
            for name, value in experiment["unionize"][str(row["structure_id"])].items():
                found = row[name]
                assert (found is None) == (value is None), f"{name}: {found}, expected {value}"
                near(found or 0.0, value or 0.0, 1e-9 * max(abs(value or 0.0), 1.0), name)
        orders = [row["structure"]["graph_order"] for row in rows]
        assert orders == sorted(orders), "not in the order of the graph"


def tables(case: Case) -> None:
    """A tabular query names its columns as asked."""
    rows = RmaApi(base_uri=case.base).model_query(
        model="SectionDataSet",
        criteria="products[abbreviation$eq'Mouse'],plane_of_section[name$eq'coronal'],[failed$eqfalse]",
        tabular=["data_sets.id", "plane_of_sections.name as plane"],
        num_rows="all",
    )
    coronal = [
        one for one, plane in zip(case.facts["ids"], case.facts["planes"], strict=True) if plane == "coronal"
    ]
    same(sorted(int(row["id"]) for row in rows), coronal, "ids")
    same({row["plane"] for row in rows}, {"coronal"}, "planes")


def search(case: Case) -> None:
    """mouse_correlation finds the seed itself first, with r = 1."""
    seed = case.experiment("sagittal")["id"]
    rows = RmaApi(base_uri=case.base).service_query(
        "mouse_correlation", parameters=[("set", "mouse"), ("row", seed), ("num_rows", 5)]
    )
    same(int(rows[0]["id"]), seed, "first row")
    near(float(rows[0]["r"]), 1.0, 1e-6, "r")
    assert {int(row["id"]) for row in rows} <= set(case.facts["ids"]), "ids that are not served"


def connected_services(case: Case) -> None:
    """An address that ConnectedServices builds is answered."""
    api = RmaApi(base_uri=case.base)
    Api.default_api_url = case.base
    ids = [str(one["id"]) for one in case.facts["structures"][:2]]
    url = ConnectedServices().build_url(
        "mouse_differential", {"set": "mouse", "structures1": [ids[0]], "structures2": [ids[1]]}
    )
    rows = api.json_msg_query(url)
    ratios = [float(row["fold-change"]) for row in rows]
    assert ratios, "no rows"
    assert ratios == sorted(ratios, reverse=True), "not sorted"


def taught(case: Case) -> None:
    """Scripts as AllenSDK's pages teach them, after the two addresses that docs/service.md names are set."""
    Api.default_api_url = Api.download_url = case.base
    rma = RmaApi()
    names = [row["name"] for row in rma.model_query("Atlas", criteria="[name$il'*Mouse*']")]
    assert "Mouse, P56, Coronal" in names, f"atlases of the mouse: {names}"
    text = "[id$eq1]structure_graph(ontology),graphic_group_labels"  # without a comma after the filter
    only = ["atlases.id", "structure_graphs.name", "ontologies.name", "graphic_group_labels.id"]
    (found,) = rma.model_query("Atlas", include=text, criteria=text, only=only)
    same(found["structure_graph"]["ontology"]["name"], "Mouse Brain Atlas", "ontology")
    structures = OntologiesApi().get_structures(structure_graph_ids=1)
    same([row["id"] for row in structures], [row["id"] for row in case.facts["structures"]], "structures")
    leaf = max(structures, key=lambda row: row["depth"])
    above = TreeSearchApi().get_tree("Structure", leaf["id"], ancestors=True)
    ids = [int(one) for one in leaf["structure_id_path"].strip("/").split("/")]
    same([row["id"] for row in above], ids, "structure and its ancestors")


def annotated(case: Case) -> None:
    """AnnotatedSectionDataSetsApi is answered: nobody annotates a lab's own series, so without rows."""
    found = AnnotatedSectionDataSetsApi(base_uri=case.base).get_annotated_section_data_sets(
        [112763676], intensity_values=["High"], density_values=["High"], pattern_values=["Full"]
    )
    same(found, [], "rows")


def schema(case: Case) -> None:
    """The schema of all models, and of one."""
    api = RmaApi(base_uri=case.base)
    models = {name: model for row in api.get_schema() for name, model in row["DataDescription"].items()}
    (one,) = api.get_schema("SectionDataSet")
    same(one["DataDescription"]["SectionDataSet"], models["SectionDataSet"], "schema of one model")
    fields = {field["name"]: field["type"] for field in models["SectionDataSet"]["fields"]}
    same((fields["id"], fields["section_thickness"]), ("integer", "float"), "types")
    same(len(api.load_api_schema()["msg"]), len(models), "models of enumerate.json")


def mistakes(case: Case) -> None:
    """A wrong id is an exception in the client, not rows."""
    for ask in (
        lambda: SynchronizationApi(base_uri=case.base).get_image_to_reference(1, 0.0, 0.0),
        lambda: MouseAtlasApi(base_uri=case.base).download_expression_energy(str(case.new("energy.mhd")), 1),
        lambda: RmaApi(base_uri=case.base).model_query(model="NoModel"),
    ):
        try:
            found = ask()
        except Exception:
            continue
        raise AssertionError(f"no exception, but {found!r}"[:200])


warnings.simplefilter("ignore")
BOTH = (listing_pages, grids, alignment3d, image_sync, image_lists, photos, masks, unionize)
PHANTOM = (
    genes_and_their_experiments, deformation_field, deformation_between_voxels, affine_runs_have_no_field,
    parts_of_photos, tables, search, connected_services, taught, annotated, schema, mistakes,
)  # fmt: skip

if __name__ == "__main__":
    run({"phantom": (*BOTH, *PHANTOM), "atlas": BOTH})
