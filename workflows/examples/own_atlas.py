"""
A reference of one's own
========================

Drawn plates become an annotation in three dimensions, a brain that is not symmetric becomes a symmetric
reference, and points are mapped between the two.
"""

# %%
# **Plates.** Every second coronal plane of the phantom's labels stands for plates that somebody has drawn.

import csv
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tifffile
from scipy import ndimage

import pipeline
from pipeline.atlas_building import interpolate, map_points, symmetrise
from pipeline.formats.volumes.nrrd import read_nrrd
from pipeline.formats.volumes.nrrd_writer import write_nrrd

UM, STEP = 200.0, 2
folder = Path(tempfile.mkdtemp())
reference = pipeline.phantom_reference(UM)
labels = np.asarray(reference.annotation)


def node(structure_id: int) -> dict[str, object]:
    """Return a structure and its children as structure_graph_1.json has them."""
    one = reference.ontology.by_id[structure_id]
    children = [s.id for s in reference.ontology.structures if s.parent_id == structure_id]
    return {
        "id": one.id,
        "acronym": one.acronym,
        "name": one.name,
        "color_hex_triplet": one.color,
        "graph_order": one.graph_order,
        "children": [node(child) for child in children],
    }


graph = folder / "structure_graph_1.json"
graph.write_text(json.dumps({"msg": [node(root.id) for root in reference.ontology.roots]}), encoding="utf-8")
(folder / "plates").mkdir()
planes = [p for p in range(0, len(labels), STEP) if labels[p].any()]
with (folder / "plates" / "plates.csv").open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["file", "position_um", "resolution_um"])
    for p in planes:
        tifffile.imwrite(folder / "plates" / f"plate_{p:03d}.tif", labels[p].astype(np.uint32))
        writer.writerow([f"plate_{p:03d}.tif", UM * p, UM])
print(f"{len(planes)} plates of {len(labels)} planes")

# %%
# On the command line: ``ish reference interpolate plates --ontology structure_graph_1.json --output own``.

interpolate(folder / "plates", folder / "own", ontology=graph, spacing_um=UM)
built = read_nrrd(folder / "own" / f"annotation_{UM:g}.nrrd")[0]
between = [p for p in range(planes[0], planes[-1]) if p % STEP]
same = np.mean([(built[p] == labels[p])[labels[p] > 0].mean() for p in between])
print(f"of the labelled voxels between plates {100 * same:.0f} % have their own label again")

# %%
# The plane in the middle between two plates: drawn, and interpolated.

p = between[len(between) // 2]
ids = np.unique(labels)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for axis, volume, title in ((axes[0], labels, "truth"), (axes[1], built, "interpolated")):
    axis.imshow(np.searchsorted(ids, volume[p]), cmap="nipy_spectral", interpolation="nearest")
    axis.set(title=f"{title}, P = {UM * p:.0f} um", xticks=[], yticks=[])
plt.show()

# %%
# **A brain that lies askew.** The phantom, turned by four degrees about the dorsal axis and shifted.

turn = np.radians(4.0)
matrix = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]])
middle = (np.array(labels.shape) - 1) / 2
offset = middle - matrix @ (middle + np.array([0.0, 0.0, 2.0]))
grey = 60.0 * (labels > 0) + 40.0 * (np.searchsorted(ids, labels) % 7) * (labels > 0) / 7
askew = ndimage.affine_transform(grey.astype(np.float32), matrix, offset, order=1)
askew_labels = ndimage.affine_transform(labels, matrix, offset, order=0).astype(np.uint32)
write_nrrd(folder / "askew.nrrd", askew, UM)
write_nrrd(folder / "askew_labels.nrrd", askew_labels, UM)

# %%
# On the command line: ``ish reference symmetrise askew.nrrd --annotation DIR --output symmetric``.

source = folder / "source"
source.mkdir()
(folder / "askew.nrrd").rename(source / f"average_template_{UM:g}.nrrd")
(folder / "askew_labels.nrrd").rename(source / f"annotation_{UM:g}.nrrd")
(source / "structure_graph_1.json").write_bytes(graph.read_bytes())
symmetrise(source, folder / "symmetric")
described = json.loads((folder / "symmetric" / "reference.json").read_text(encoding="utf-8"))
straight = read_nrrd(folder / "symmetric" / f"annotation_{UM:g}.nrrd")[0]
is_mirrored = np.array_equal(straight, straight[:, :, ::-1])
print(f"midline at R {described['midline_um']:.0f} um; mirrors itself: {is_mirrored}")

figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
axes[0].imshow(np.searchsorted(ids, askew_labels)[:, 20], cmap="nipy_spectral", interpolation="nearest")
axes[1].imshow(
    np.searchsorted(ids, straight)[:, straight.shape[1] // 2], cmap="nipy_spectral", interpolation="nearest"
)
for axis, title in zip(axes, ("as it lay, from above", "symmetric"), strict=True):
    axis.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# **Points.** What was clicked on the askew brain, in the symmetric one, and back.

points = folder / "points.csv"
points.write_text("x_um,y_um,z_um\n6000,3000,4000\n7000,3500,7600\n", encoding="utf-8")
map_points(folder / "symmetric", points, folder / "mapped.csv")
print((folder / "mapped.csv").read_text(encoding="utf-8"))
