"""AllenSDK against `ish serve`: structures, plates and drawings of the atlas, and the reference space."""

from __future__ import annotations

import warnings
from typing import Any
from xml.etree import ElementTree

import numpy as np
import requests
from allensdk.api.api import Api
from allensdk.api.queries.image_download_api import ImageDownloadApi
from allensdk.api.queries.mouse_atlas_api import MouseAtlasApi
from allensdk.api.queries.ontologies_api import OntologiesApi
from allensdk.api.queries.svg_api import SvgApi
from allensdk.api.queries.tree_search_api import TreeSearchApi
from allensdk.core.reference_space_cache import ReferenceSpaceCache
from allensdk.core.structure_tree import StructureTree
from checking import Case, near, run, same
from matplotlib.path import Path as Outline
from PIL import Image

KEY = "annotation/ccf_2017"
CORONAL = 1  # atlas
GROUP = 28  # graphic group label of its drawings
SVG = "{http://www.w3.org/2000/svg}"


def structures(case: Case) -> None:
    """OntologiesApi lists all structures in the order of the graph."""
    api = OntologiesApi(base_uri=case.base)
    rows = api.get_structures(structure_graph_ids=1)
    same([row["id"] for row in rows], [one["id"] for one in case.facts["structures"]], "ids")
    for row, one in zip(rows, case.facts["structures"], strict=True):
        same((row["acronym"], row["name"]), (one["acronym"], one["name"]), "acronym and name")
        same(row["color_hex_triplet"].upper(), one["color"].upper(), "colour")
        same(row["structure_id_path"], "/" + "/".join(map(str, one["path"])) + "/", "path")
    named = api.get_structures(structure_graph_names="'Mouse Brain Atlas'")
    same([row["id"] for row in named], [row["id"] for row in rows], "ids by the name of the graph")


def structure_sets(case: Case) -> None:
    """OntologiesApi lists the sets; the annotated structures are those of the annotation."""
    api = OntologiesApi(base_uri=case.base)
    sets = {row["name"]: row["id"] for row in api.get_structure_sets()}
    one = sets["Annotated structures"]
    for asked in ({"structure_set_ids": one}, {"structure_set_names": "'Annotated structures'"}):
        rows = api.get_structures(**asked)
        same(sorted(row["id"] for row in rows), case.facts["annotated"], f"{asked}")
    same([row["id"] for row in api.get_structure_sets([one])], [one], "set by id")


def structure_tree(case: Case) -> None:
    """StructureTree of the whole ontology: parents, ancestors and descendants of each structure."""
    nodes = OntologiesApi(base_uri=case.base).get_structures_with_sets([1])
    tree = StructureTree(StructureTree.clean_structures(nodes))
    expected = {one["id"]: one for one in case.facts["structures"]}
    same(len(tree.nodes()), len(expected), "structures")
    ids = sorted(expected)
    descendants = tree.descendant_ids(ids)
    for one, below, above in zip(ids, descendants, tree.ancestor_ids(ids), strict=True):
        same(sorted(below), expected[one]["descendants"], f"descendants of {one}")
        same(above, expected[one]["path"][::-1], f"ancestors of {one}")
    colour = expected[ids[0]]["color"]
    same(list(tree.get_colormap()[ids[0]]), [int(colour[n : n + 2], 16) for n in (0, 2, 4)], "colour")
    same(tree.get_structures_by_acronym([expected[ids[0]]["acronym"]])[0]["id"], ids[0], "acronym")
    assert tree.get_structure_sets(), "no structure belongs to a set"


def atlases(case: Case) -> None:
    """OntologiesApi lists atlases, with their graph and drawings."""
    api = OntologiesApi(base_uri=case.base)
    table = {row["id"]: row for row in api.get_atlases_table()}
    same(sorted(table), sorted(row["id"] for row in api.get_atlases()), "ids")
    row = table[CORONAL]
    same(row["structure_graph"]["id"], 1, "graph")
    same(row["structure_graph"]["ontology"]["id"], 1, "ontology")
    assert GROUP in [label["id"] for label in row["graphic_group_labels"]], "no label of drawings"
    same([row["id"] for row in api.get_structure_graphs()], [1], "graphs")
    same([row["id"] for row in api.get_atlases_table([CORONAL], brief=False)], [CORONAL], "one atlas")


def trees(case: Case) -> None:
    """TreeSearchApi returns ancestors and descendants of a structure."""
    api = TreeSearchApi(base_uri=case.base)
    for one in (case.facts["structures"][0], case.facts["structures"][3]):
        found = api.get_tree("Structure", one["id"], ancestors=True, descendants=True)
        expected = {*one["path"], *one["descendants"]}
        same({row["id"] for row in found}, expected, f"tree of {one['acronym']}")


def _plate(case: Case) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """Return the plate with the most structures of a few, and its plane of the annotation."""
    plates = ImageDownloadApi(base_uri=case.base).atlas_image_query(CORONAL)
    planes = {plate["id"]: case.arrays["annotation"][plate["section_number"]] for plate in plates[::9]}
    best = max(planes, key=lambda one: len(np.unique(planes[one])))
    return next(plate for plate in plates if plate["id"] == best), planes[best]


def plates(case: Case) -> None:
    """ImageDownloadApi lists the plates that show structures, and sends them in the size of a tier."""
    api = ImageDownloadApi(base_uri=case.base)
    found = api.atlas_image_query(CORONAL)
    numbers = [plate["section_number"] for plate in found]
    assert numbers == sorted(numbers), "not in order"
    shown = np.flatnonzero(case.arrays["annotation"].any(axis=(1, 2)))
    step = round(100 / case.facts["annotation_um"]) or 1
    same(numbers, [int(n) for n in shown if n % step == 0], "plates")
    plate, _ = _plate(case)
    for annotation in (True, False):
        path = case.new("plate.jpg")
        api.download_atlas_image(plate["id"], str(path), annotation=annotation, atlas=CORONAL, downsample=1)
        with Image.open(path) as image:
            same(image.size, (plate["width"] // 2, plate["height"] // 2), "size")
            assert np.asarray(image).std() > 5, "a picture of one colour"


def drawings(case: Case) -> None:
    """SvgApi draws a plate: its structures are those of the plane, and lie where the voxels lie."""
    plate, labels = _plate(case)
    root = ElementTree.fromstring(SvgApi(base_uri=case.base).get_svg(plate["id"], groups=[GROUP]))
    paths = root.findall(f"{SVG}g[@graphic_group_label_id='{GROUP}']/{SVG}path")
    known = {one["id"] for one in case.facts["structures"]}
    drawn = {int(path.get("structure_id", 0)) for path in paths}
    assert drawn <= known, f"structures that the ontology lacks: {sorted(drawn - known)[:5]}"
    same(drawn, set(np.unique(labels).tolist()) - {0}, "structures")
    zoom = plate["width"] / labels.shape[1]
    down, right = (part.ravel() for part in np.indices(labels.shape))
    places = np.column_stack([right + 0.5, down + 0.5]) * zoom
    painted = np.zeros(labels.size, np.int64)
    for path in paths:
        painted[_inside(path.get("d", ""), places)] = int(path.get("structure_id", 0))
    share = (painted == labels.ravel())[labels.ravel() > 0].mean()
    assert share > 0.95, f"{share:.1%} of the voxels lie in the path of their structure"


def _inside(data: str, places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return which places lie inside a path, by the even-odd rule, as users of the API split it."""
    inside = np.zeros(len(places), bool)
    for ring in data.split("Z"):
        if ring.strip():
            points = [part.strip().removeprefix("M ").split(",") for part in ring.split(" L ")]
            inside ^= Outline(np.array(points, float)).contains_points(places)
    return inside


def drawing_files(case: Case) -> None:
    """SvgApi.download_svg writes the same drawing as get_svg; sections have drawings, too."""
    api = SvgApi(base_uri=case.base)
    plate, _ = _plate(case)
    path = case.new("plate.svg")
    api.download_svg(plate["id"], groups=[GROUP], file_path=str(path))
    same(path.read_bytes(), api.get_svg(plate["id"], groups=[GROUP]), "drawing")
    for experiment in case.facts["experiments"].values():
        section = experiment["sections"][len(experiment["sections"]) // 2]
        root = ElementTree.fromstring(api.get_svg(section["id"]))
        near(float(root.get("width", 0)), section["image_width"], 0, "width of a section's drawing")
        assert root.findall(f"{SVG}g/{SVG}path"), "no outline on a section"


def _cache(case: Case, um: int) -> ReferenceSpaceCache:
    Api.download_url = case.base  # volumes come from another host, an attribute of the class
    manifest = case.new("manifest.json")
    return ReferenceSpaceCache(um, KEY, manifest=str(manifest), base_uri=case.base)


def volumes(case: Case) -> None:
    """ReferenceSpaceCache returns annotation and template at each resolution."""
    for um in case.facts["volumes_um"]:
        found, about = _cache(case, um).get_annotation_volume()
        expected = _thinned(case.arrays["annotation"], case.facts["annotation_um"], um)
        assert found.shape == expected.shape, f"{um} um: {found.shape}"
        assert np.array_equal(found, expected), f"{um} um: other labels"
        near(np.diag(about["space directions"]), [um] * 3, 0, "voxel size")
    for um in case.facts["templates_um"]:
        found, _ = _cache(case, um).get_template_volume()
        expected = _thinned(case.arrays["template"], case.facts["template_um"], um)
        assert np.array_equal(found, expected), f"{um} um: other template"


def _thinned(volume: np.ndarray[Any, Any], own_um: float, um: float) -> np.ndarray[Any, Any]:
    step = round(um / own_um)
    return volume[::step, ::step, ::step]


def reference_space(case: Case) -> None:
    """ReferenceSpace makes from annotation and tree the mask that the server sends for a structure."""
    um = max(case.facts["volumes_um"])
    cache = _cache(case, um)
    space = cache.get_reference_space()
    same(len(space.structure_tree.nodes()), len(case.facts["structures"]), "structures")
    one = next(s["id"] for s in case.facts["structures"] if len(s["descendants"]) > 2 and len(s["path"]) > 2)
    mask, _ = cache.get_structure_mask(one)
    assert mask.any(), "an empty mask"
    assert np.array_equal(mask, space.make_structure_mask([one])), f"structure {one}: other voxels"


def meshes(case: Case) -> None:
    """The mesh of a structure lies where its voxels lie, with faces and normals that belong to it."""
    um = max(case.facts["volumes_um"])
    one = next(s["id"] for s in case.facts["structures"] if s["id"] in case.facts["annotated"])
    cache = _cache(case, um)
    mask, _ = cache.get_structure_mask(one)
    path = case.new("mesh.obj")
    vertices, normals, faces, _ = cache.api.download_structure_mesh(one, KEY, str(path), strategy="create")
    voxels = np.argwhere(mask) * um
    near(vertices.min(axis=0), voxels.min(axis=0), 1.5 * um, "least corner")
    near(vertices.max(axis=0), voxels.max(axis=0), 1.5 * um, "largest corner")
    same(faces.max() + 1, len(vertices), "vertices that faces name")
    near(np.linalg.norm(normals, axis=1), np.ones(len(normals)), 1e-3, "length of normals")


def grid_annotation(case: Case) -> None:
    """MouseAtlasApi.download_mouse_atlas_volume returns the annotation of the 200 um grid."""
    Api.download_url = case.base
    path = case.new("gridAnnotation.mhd")
    labels, about = MouseAtlasApi(base_uri=case.base).download_mouse_atlas_volume(
        "P56", "gridAnnotation", str(path)
    )
    same(about["spacing"], (200.0, 200.0, 200.0), "spacing")
    assert np.array_equal(labels, case.arrays["grid_annotation"]), "other labels"


def structure_graph(case: Case) -> None:
    """The structure graph is the sixth member of its document, nested as the ontology is."""
    document = requests.get(f"{case.base}/api/v2/structure_graph_download/1.json", timeout=60).json()
    (root,) = list(document.values())[5]
    found: dict[int, list[int]] = {}
    stack = [(root, [])]
    while stack:
        node, above = stack.pop()
        found[node["id"]] = [*above, node["id"]]
        stack += [(child, found[node["id"]]) for child in node["children"]]
    same(found, {one["id"]: one["path"] for one in case.facts["structures"]}, "paths")


warnings.simplefilter("ignore")
CHECKS = (
    structures, structure_sets, structure_tree, atlases, trees, plates, drawings, drawing_files, volumes,
    reference_space, meshes, grid_annotation, structure_graph,
)  # fmt: skip

if __name__ == "__main__":
    run({"phantom": CHECKS, "atlas": CHECKS})
