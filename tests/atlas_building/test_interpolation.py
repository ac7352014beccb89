"""Interpolation of plates: known bodies, plates given back, and plates that cannot be used."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from pipeline.atlas_building import interpolate
from pipeline.atlas_building.plates.plate_series import read_plates, stack_plates
from pipeline.core.errors import DataError
from pipeline.formats.volumes.nrrd import read_nrrd
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.inputs.references import read_reference

UM = 25.0
SHAPE = (41, 44, 48)
IDS = (8, 7, 3)  # children of the root 997 in the graph below


@pytest.fixture(scope="module")
def ontology(tmp_path_factory) -> Path:
    def node(one: int, *children: object) -> dict[str, object]:
        return {"id": one, "acronym": f"S{one}", "name": f"structure {one}", "children": list(children)}

    path = tmp_path_factory.mktemp("ontology") / "structure_graph_1.json"
    graph = node(997, node(8, node(70000)), node(7), node(3))
    path.write_text(json.dumps({"msg": [graph]}), encoding="utf-8")
    return path


def grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p, i, r = np.indices(SHAPE).astype(float)
    return p - 20, i - 21, r - 23


def sphere() -> np.ndarray:
    p, i, r = grid()
    volume = np.where(p**2 + i**2 + r**2 < 18**2, 8, 0)
    return np.where(p**2 + (i - 3) ** 2 + r**2 < 9**2, 7, volume).astype(np.uint32)


def cone() -> np.ndarray:
    p, i, r = grid()
    return np.where((i - p / 3) ** 2 + r**2 < (4 + 0.35 * (p + 20)) ** 2, 7, 0).astype(np.uint32)


def torus() -> np.ndarray:
    p, i, r = grid()
    return np.where((np.hypot(p, r) - 12) ** 2 + i**2 < 6**2, 8, 0).astype(np.uint32)


def branching() -> np.ndarray:
    """A stem of 3 that parts in two on its way along P, inside 8."""
    p, i, r = grid()
    apart = np.maximum(p + 5, 0) * 0.43
    stem = np.minimum((i + 0.3) ** 2 + (r - apart) ** 2, (i + 0.3) ** 2 + (r + apart) ** 2) < 5.2**2
    return np.where(stem, 3, np.where(i**2 + r**2 < 20**2, 8, 0)).astype(np.uint32)


def plates(folder: Path, volume: np.ndarray, every: int, plane: str = "coronal") -> Path:
    """Write every n-th plane of a volume; planes without structures are left out."""
    folder.mkdir()
    normal = {"coronal": 0, "sagittal": 2, "horizontal": 1}[plane]
    rows = ["file,position_um,plane,resolution_um"]
    for at in range(0, volume.shape[normal], every):
        labels = np.take(volume, at, normal)
        labels = labels.T if plane == "sagittal" else labels
        if labels.any():
            tifffile.imwrite(folder / f"{at:03d}.tif", labels)
            rows.append(f"{at:03d}.tif,{at * UM},{plane},{UM}")
    (folder / "plates.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def annotation(output: Path) -> np.ndarray:
    return read_nrrd(output / f"annotation_{UM:g}.nrrd")[0]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def like(tmp_path: Path) -> Path:
    path = tmp_path / "like_25.nrrd"
    write_nrrd(path, np.zeros(SHAPE, np.uint8), UM)
    return path


@pytest.mark.parametrize("body", [sphere, cone, torus, branching])
def test_a_known_body_comes_back_from_every_fourth_plane(tmp_path, ontology, body):
    truth = body()
    folder = plates(tmp_path / "plates", truth, 4)
    interpolate(folder, tmp_path / "out", ontology=ontology, like=like(tmp_path))
    found = annotation(tmp_path / "out")
    shown = np.flatnonzero(truth.any(axis=(1, 2)))
    first, last = -(-shown[0] // 4) * 4, shown[-1] // 4 * 4
    inner = slice(first, last + 1)
    for one in np.unique(truth[truth > 0]):
        a, b = found[inner] == one, truth[inner] == one
        assert a.sum() == pytest.approx(b.sum(), rel=0.04), one
        assert dice(a, b) > 0.95, one
    assert (found[inner][::4] == truth[inner][::4]).all()


def test_a_branching_structure_stays_one_piece(tmp_path, ontology):
    from scipy import ndimage

    folder = plates(tmp_path / "plates", branching(), 5)
    interpolate(folder, tmp_path / "out", ontology=ontology)
    assert ndimage.label(annotation(tmp_path / "out") == 3)[1] == 1


@pytest.mark.parametrize("plane", ["sagittal", "horizontal"])
def test_planes_of_other_directions_give_the_turned_volume(tmp_path, ontology, plane):
    """The volume is turned so that its plates are the same pictures; so must be the result."""
    truth = sphere()
    turned = truth.transpose(2, 1, 0) if plane == "sagittal" else truth.transpose(1, 0, 2)
    coronal = plates(tmp_path / "coronal", truth, 4)
    other = plates(tmp_path / "other", turned, 4, plane)
    interpolate(coronal, tmp_path / "a", ontology=ontology)
    interpolate(other, tmp_path / "b", ontology=ontology)
    found = annotation(tmp_path / "b")
    found = found.transpose(2, 1, 0) if plane == "sagittal" else found.transpose(1, 0, 2)
    expected = annotation(tmp_path / "a")
    shape = np.minimum(found.shape, expected.shape)
    at = tuple(slice(n) for n in shape)
    assert dice(found[at] == 8, expected[at] == 8) > 0.995


def oblique(folder: Path, volume: np.ndarray, every: int, turn: float) -> Path:
    """Write plates of a body turned about R by an angle: the same pictures at turned places."""
    folder.mkdir()
    c, s = np.cos(turn), np.sin(turn)
    matrix = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    centre = np.array([20.0, 21.0, 23.0])
    rows = ["file," + ",".join(f"{v}_{a}" for v in "oxy" for a in "pir")]
    for at in range(0, volume.shape[0], every):
        if volume[at].any():
            tifffile.imwrite(folder / f"{at:03d}.tif", volume[at])
            origin = (matrix @ (np.array([at, 0, 0]) - centre) + centre) * UM
            numbers = [*origin, *(matrix @ [0, 0, UM]), *(matrix @ [0, UM, 0])]
            rows.append(f"{at:03d}.tif," + ",".join(f"{n:.6f}" for n in numbers))
    (folder / "plates.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("turn", [0.0, 0.35, 1.2])
def test_oblique_plates_of_a_sphere_give_the_sphere_at_any_angle(tmp_path, ontology, turn):
    """The outer sphere has its centre on the axis of the turn, so it is the same at every angle."""
    truth = sphere()
    folder = oblique(tmp_path / "plates", truth, 4, turn)
    interpolate(folder, tmp_path / "out", ontology=ontology, like=like(tmp_path))
    p, i, r = grid()
    inside = p**2 + i**2 + r**2 < 15**2
    found = annotation(tmp_path / "out")
    outer, inner = np.isin(found, (7, 8)), found == 7
    assert dice(outer & inside, inside) > 0.99
    assert (outer & (p**2 + i**2 + r**2 > 21**2)).sum() == 0
    assert inner.sum() == pytest.approx((truth == 7).sum(), rel=0.05)


def test_without_like_the_grid_ends_at_the_last_pixel_and_plate(tmp_path, ontology):
    folder = plates(tmp_path / "plates", cone(), 4)
    interpolate(folder, tmp_path / "out", ontology=ontology)
    assert annotation(tmp_path / "out").shape == SHAPE
    described = json.loads((tmp_path / "out" / "reference.json").read_text())
    assert described["frame"]["kind"] == "plates"
    assert described["midline_um"] is None
    assert read_reference(tmp_path / "out").annotation.shape == SHAPE


def test_nothing_is_drawn_more_than_half_a_distance_beyond_the_outermost_plates(tmp_path, ontology):
    volume = np.zeros(SHAPE, np.uint32)
    volume[:, 10:30, 10:30] = 8
    folder = plates(tmp_path / "plates", volume, 6)
    lines = (folder / "plates.csv").read_text().splitlines()
    (folder / "plates.csv").write_text("\n".join([lines[0], *lines[3:6]]) + "\n")  # planes 12, 18 and 24
    interpolate(folder, tmp_path / "out", ontology=ontology, like=like(tmp_path))
    there = np.flatnonzero(annotation(tmp_path / "out").any(axis=(1, 2)))
    assert (there[0], there[-1]) == (9, 27)


def test_order_of_rows_and_pixel_size_of_the_table_do_not_matter(tmp_path, ontology):
    folder = plates(tmp_path / "plates", cone(), 4)
    interpolate(folder, tmp_path / "a", ontology=ontology)
    header, *rows = (folder / "plates.csv").read_text().splitlines()
    (folder / "plates.csv").write_text("\n".join([header, *rows[::-1]]) + "\n")
    interpolate(folder, tmp_path / "b", ontology=ontology)
    assert (annotation(tmp_path / "a") == annotation(tmp_path / "b")).all()


def test_every_label_survives_and_the_check_tells_its_pixels(tmp_path, ontology):
    volume = cone()
    volume[8, 20, 22] = 70000  # a pixel of one plate
    volume[12, 20:22, 22] = 3
    folder = plates(tmp_path / "plates", volume, 4)
    interpolate(folder, tmp_path / "out", ontology=ontology)
    found = annotation(tmp_path / "out")
    assert set(np.unique(found)) == set(np.unique(volume[::4]))
    with (tmp_path / "out" / "plates_check.csv").open() as file:
        rows = {(row["file"], row["id"]): row for row in csv.DictReader(file)}
    assert rows["008.tif", "70000"]["pixels"] == "1"
    assert min(float(row["dice"]) for row in rows.values()) == 1.0


def test_a_label_between_the_planes_of_the_grid_is_drawn_all_the_same(tmp_path, ontology):
    volume = cone()
    volume[8, 20, 22] = 3
    folder = plates(tmp_path / "plates", volume, 4)
    text = (folder / "plates.csv").read_text().replace("008.tif,200.0", "008.tif,210.0")
    (folder / "plates.csv").write_text(text)
    interpolate(folder, tmp_path / "out", ontology=ontology, spacing_um=50.0)
    found = read_nrrd(tmp_path / "out" / "annotation_50.nrrd")[0]
    assert 3 in found


def test_plates_outside_of_the_grid_are_told_and_their_structures_refused(tmp_path, ontology):
    folder = plates(tmp_path / "plates", cone(), 4)
    edit(folder, "004.tif,100.0", "004.tif,-900.0")
    interpolate(folder, tmp_path / "out", ontology=ontology, trust_positions=True)
    described = json.loads((tmp_path / "out" / "reference.json").read_text())
    assert described["quality"]["plates_outside_of_the_volume"] == ["004.tif"]
    write_nrrd(tmp_path / "small_25.nrrd", np.ones((4, 4, 4), np.float32), UM)
    small = tmp_path / "small_25.nrrd"
    with pytest.raises(DataError, match=r"within the grid of 4 x 4 x 4 voxels, got structures .* outside"):
        interpolate(folder, tmp_path / "no", ontology=ontology, like=small, trust_positions=True)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("form", ["png8", "png16", "tif8", "nrrd", "svg", "geojson", "translated"])
def test_one_plate_in_every_form(tmp_path, ontology, form):
    import imagecodecs
    import SimpleITK

    volume = np.zeros(SHAPE, np.uint32)
    volume[:, 10:30, 12:35] = 8
    volume[:, 14:20, 20:30] = 7
    folder = plates(tmp_path / "plates", volume, 20)
    for path in folder.glob("*.tif"):
        labels = tifffile.imread(path)
        path.unlink()
        name = path.with_suffix("")
        if form.startswith("png"):
            content = imagecodecs.png_encode(labels.astype(np.uint8 if form == "png8" else np.uint16))
            name.with_suffix(".png").write_bytes(content)
        elif form == "tif8":
            tifffile.imwrite(path, labels.astype(np.uint8))
        elif form == "translated":
            tifffile.imwrite(path, np.select([labels == 8, labels == 7], [1, 2]).astype(np.uint8))
        elif form == "nrrd":
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(name.with_suffix(".nrrd")))
        elif form == "svg":
            rects = (
                '<rect structure_id="8" x="12" y="10" width="23" height="20"/>'
                '<rect structure_id="7" x="20" y="14" width="10" height="6"/>'
            )
            name.with_suffix(".svg").write_text(
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 44">{rects}</svg>'
            )
        else:
            corners = {8: (12, 10, 35, 30), 7: (20, 14, 30, 20)}
            features = [
                {
                    "type": "Feature",
                    "properties": {"acronym": f"S{one}"},
                    "geometry": {
                        "type": "Polygon",
                        "coordinates": [[[a, b], [c, b], [c, d], [a, d], [a, b]]],
                    },
                }
                for one, (a, b, c, d) in corners.items()
            ]
            name.with_suffix(".geojson").write_text(json.dumps({"features": features}))
    if form == "translated":
        (folder / "labels.csv").write_text("value,id\n1,8\n2,7\n")
    ending = next(p.suffix for p in folder.iterdir() if p.suffix != ".csv")
    text = (folder / "plates.csv").read_text().replace(".tif", ending)
    (folder / "plates.csv").write_text(text)
    interpolate(folder, tmp_path / "out", ontology=ontology, like=like(tmp_path))
    assert (annotation(tmp_path / "out") == volume).all()


def test_the_template_is_copied_on_its_own_grid_and_resampled_from_another(tmp_path, ontology):
    folder = plates(tmp_path / "plates", cone(), 8)
    p, i, r = np.indices(SHAPE)
    grey = (p + 2 * i + 3 * r).astype(np.float32)
    write_nrrd(tmp_path / "grey_25.nrrd", grey, UM)
    coarse = tuple(slice(None, None, 2) for _ in range(3))
    write_nrrd(tmp_path / "grey_50.nrrd", grey[coarse], 2 * UM)
    for name in ("grey_25", "grey_50"):
        out = tmp_path / name
        interpolate(folder, out, ontology=ontology, template=tmp_path / f"{name}.nrrd")
        found = read_nrrd(out / "average_template_25.nrrd")[0]
        inner = tuple(slice(0, n - 1 - (n + 1) % 2) for n in SHAPE)
        np.testing.assert_allclose(found[inner], grey[inner], atol=1e-3)


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "plates.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def swap(folder: Path) -> None:
    edit(folder, "004.tif,100.0", "x")
    edit(folder, "028.tif,700.0", "004.tif,700.0")
    edit(folder, "x", "028.tif,100.0")


def unknown(folder: Path) -> None:
    for name, one in (("004.tif", 4711), ("008.tif", 4712)):
        labels = tifffile.imread(folder / name)
        labels[0, 0] = one
        tifffile.imwrite(folder / name, labels)


BAD = {
    "ids unknown": (unknown, r"4711, 4712"),
    "another size": (
        lambda f: tifffile.imwrite(f / "008.tif", np.full((44, 47), 7, np.uint32)),
        r"008\.tif.*47 x 44",
    ),
    "another pixel size": (
        lambda f: edit(f, "008.tif,200.0,coronal,25.0", "008.tif,200.0,coronal,26"),
        r"008\.tif",
    ),
    "one plate": (
        lambda f: (f / "plates.csv").write_text("file,position_um\n004.tif,1\n"),
        r"at least 2 plates, got 1",
    ),
    "none": (lambda f: (f / "plates.csv").unlink(), r"plates\.csv"),
    "two at one place": (
        lambda f: edit(f, "008.tif,200.0", "008.tif,100.0"),
        r"004\.tif and 008\.tif at one",
    ),
    "an empty plate": (
        lambda f: tifffile.imwrite(f / "008.tif", np.zeros((44, 48), np.uint32)),
        r"008\.tif.*got none",
    ),
    "a missing file": (lambda f: (f / "008.tif").unlink(), r"008\.tif, which is missing"),
    "a damaged file": (lambda f: (f / "008.tif").write_bytes(b"II*\0junk"), r"008\.tif"),
    "in colour": (
        lambda f: tifffile.imwrite(f / "008.tif", np.ones((44, 48, 3), np.uint8)),
        r"008\.tif.*colours",
    ),
    "fractions": (
        lambda f: tifffile.imwrite(f / "008.tif", np.ones((44, 48), np.float32)),
        r"008\.tif.*float32",
    ),
    "another plane": (
        lambda f: edit(f, "008.tif,200.0,coronal", "008.tif,200.0,sagittal"),
        r"coronal and sagittal",
    ),
    "no plane": (lambda f: edit(f, "008.tif,200.0,coronal", "008.tif,200.0,frontal"), r"frontal"),
    "no number": (lambda f: edit(f, "008.tif,200.0", "008.tif,two"), r"line 4.*position_um.*two"),
    "positions in mm": (
        lambda f: (f / "plates.csv").write_text("file,position_um\n004.tif,.1\n008.tif,.2\n"),
        r"two voxels or more along each axis.*got 1 x 44 x 48 of 25 um; are the positions in um",
    ),
    "no resolution": (
        lambda f: edit(f, "008.tif,200.0,coronal,25.0", "008.tif,200.0,coronal,0"),
        r"line 4.*resolution_um",
    ),
    "an unknown column": (lambda f: edit(f, "position_um", "positon_um"), r"position_um"),
    "another ending": (
        lambda f: (edit(f, "008.tif", "008.bmp"), (f / "008.bmp").write_bytes(b"BM")),
        r"008\.bmp",
    ),
    "a value not translated": (
        lambda f: (f / "labels.csv").write_text("value,id\n8,8\n"),
        r"labels\.csv lacks: 7",
    ),
    "in another order": (swap, r"(004|028)\.tif and (004|028)\.tif.*--trust-positions"),
}


@pytest.mark.parametrize("fault", BAD)
def test_plates_that_cannot_be_used_are_refused_in_one_line(tmp_path, ontology, fault):
    folder = plates(tmp_path / "plates", cone(), 4)
    spoil, message = BAD[fault]
    spoil(folder)
    with pytest.raises(DataError, match=message) as caught:
        interpolate(folder, tmp_path / "out", ontology=ontology)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_plates_in_another_order_are_taken_when_their_positions_are_trusted(tmp_path, ontology):
    folder = plates(tmp_path / "plates", cone(), 4)
    swap(folder)
    interpolate(folder, tmp_path / "out", ontology=ontology, trust_positions=True)
    assert (tmp_path / "out" / "reference.json").is_file()


def test_a_template_that_ends_before_the_plates_is_told_and_one_of_another_scale_refused(tmp_path, ontology):
    folder = plates(tmp_path / "plates", cone(), 8)
    grey = np.ones(SHAPE, np.float32)
    for name, part, um in (("short", grey[:38], UM), ("whole", grey, UM), ("tiny", grey, 2.5)):
        write_nrrd(tmp_path / f"{name}.nrrd", part, um)
    for name, is_told in (("short", True), ("whole", False)):
        interpolate(folder, tmp_path / name, ontology=ontology, template=tmp_path / f"{name}.nrrd")
        described = json.loads((tmp_path / name / "reference.json").read_text())
        told = [line for line in described["cannot_know"] if "template is smaller" in line]
        assert bool(told) == is_told
    shown = cone()[::8]
    share = (shown[5:] > 0).sum() / (shown > 0).sum()  # plane 40 lies beyond 37
    told = json.loads((tmp_path / "short" / "reference.json").read_text())["cannot_know"][-1]
    assert f"{share:.1%} of their labelled pixels" in told
    with pytest.raises(DataError, match=r"--template .*tiny\.nrrd: expected a volume that the plates lie on"):
        interpolate(folder, tmp_path / "no", ontology=ontology, template=tmp_path / "tiny.nrrd")


def test_voxels_without_room_for_all_structures_are_refused_as_too_large(tmp_path, ontology):
    volume = cone()
    volume[20, 20:23, 20:26:3] = [[3, 8], [3, 8], [70000, 8]]
    folder = plates(tmp_path / "plates", volume, 20)
    with pytest.raises(DataError, match=r"room for every structure .*got 450 um.*too coarse for [123]:"):
        interpolate(folder, tmp_path / "no", ontology=ontology, spacing_um=450.0, trust_positions=True)


def test_small_structures_share_the_voxels_of_a_coarse_grid(tmp_path, ontology):
    """Three structures within one voxel's pixels: each gets one, and none takes another's last."""
    volume = np.zeros(SHAPE, np.uint32)
    volume[:, 8:36, 8:40] = 8
    volume[20, 19:25, 19:25] = 7
    volume[20, 20:23, 20] = 3
    volume[20, 20:23, 23:26] = 70000
    folder = plates(tmp_path / "plates", volume, 20)
    interpolate(folder, tmp_path / "out", ontology=ontology, spacing_um=100.0)
    found = read_nrrd(tmp_path / "out" / "annotation_100.nrrd")[0]
    assert set(np.unique(found)) == {0, 3, 7, 8, 70000}


def test_crossing_plates_are_refused(tmp_path, ontology):
    folder = oblique(tmp_path / "plates", cone(), 8, 0.0)
    header, first, second, *_ = (folder / "plates.csv").read_text().splitlines()
    cells = second.split(",")
    cells[7] = "25"  # y_p is y_i's place: down along P as well
    cells[7:10] = ["20.0", "15.0", "0.0"]
    (folder / "plates.csv").write_text("\n".join([header, first, ",".join(cells)]) + "\n")
    with pytest.raises(DataError, match=r"crossing|another direction"):
        interpolate(folder, tmp_path / "out", ontology=ontology)


def test_tilted_plates_meet_the_raster_where_they_lie(tmp_path, ontology):
    """Plates that are no parallel: the height of each over the raster is that of its plane."""
    folder = tmp_path / "plates"
    folder.mkdir()
    for name in "ab":
        tifffile.imwrite(folder / f"{name}.tif", np.full((21, 21), 8, np.uint32))
    (folder / "plates.csv").write_text(
        "file,o_p,o_i,o_r,x_p,x_i,x_r,y_p,y_i,y_r\na.tif,0,0,0,0,0,25,0,25,0\nb.tif,500,0,0,0,0,25,5,25,0\n"
    )
    from pipeline.atlas_building.sources import open_ontology

    found, _ = read_plates(folder, open_ontology(ontology).ontology, UM)
    stack = stack_plates(folder, found, UM)
    for plate, height in zip(stack.plates, stack.heights, strict=True):
        for x, y in ((0, 0), (20, 0), (7, 15)):
            place = plate.origin + x * plate.right + y * plate.down
            up, down, right = stack.axes @ (place - stack.origin)
            expected = height @ [1, down / UM, right / UM]
            assert up == pytest.approx(expected - 0 * up, abs=1e-6)
