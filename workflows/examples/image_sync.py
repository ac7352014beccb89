"""
The same place in other planes
==============================

Image synchronisation: one anatomical point on a sagittal and a coronal series of the phantom, and on the
planes of the reference.
"""

# %%
# Two rendered series with their alignments. With runs of your own, ``pipeline.open_alignment(run_folder)``
# gives the geometry.

import matplotlib.pyplot as plt
import numpy as np

import pipeline
from pipeline.geometry.sync import structure_centre
from pipeline.phantom import render_section
from pipeline.phantom.scenes import phantom_scene, render_options

scenes = {
    "sagittal": phantom_scene("sagittal", 14, 24.0, render_options({"seed": 3})),
    "coronal": phantom_scene("coronal", 24, 24.0, render_options({"seed": 4})),
}
geometries = {
    name: pipeline.geometry_of(
        scene.geometry.data_set.id, scene.geometry.data_set.section_thickness_um, scene.geometry.alignment
    )
    for name, scene in scenes.items()
}

# %%
# From a point of the reference to the nearest section of each series. The middle of the thalamus, left
# side.

reference = pipeline.phantom_reference(100.0)
point_um = structure_centre(reference, "TH", "left")
print(f"TH, left: P {point_um[0]:.0f}, I {point_um[1]:.0f}, R {point_um[2]:.0f} um")
places = {}
for name, geometry in geometries.items():
    (number,), ((x, y),) = pipeline.reference_to_image(geometry, [point_um])
    places[name] = int(number), float(x), float(y)
    print(f"{name}: section {number}, pixel ({x:.1f}, {y:.1f})")

# %%
# And back: the pixel leads to the plane of its section, which is up to half a spacing from the point.

for name, (number, x, y) in places.items():
    (back,) = pipeline.image_to_reference(geometries[name], number, [(x, y)])
    off_um = np.linalg.norm(back - point_um)
    print(f"{name}: {off_um:.0f} um from the point, along the normal of the section")
    assert off_um <= scenes[name].geometry.data_set.spacing_um

# %%
# From image to image: a pixel of the coronal section on the sagittal series. Both lie in spaces of their
# own, 9 and 10, which are joined.

number, x, y = places["coronal"]
(there,), ((u, v),) = pipeline.image_to_image(geometries["coronal"], geometries["sagittal"], number, [(x, y)])
print(f"coronal section {number} ({x:.0f}, {y:.0f}) is sagittal section {there} ({u:.0f}, {v:.0f})")

# %%
# The point on both sections, and on the labels of the reference.

figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
for axis, (name, (number, x, y)) in zip(axes[0], places.items(), strict=True):
    scene = scenes[name]
    at = [image.section_number for image in scene.images].index(number)
    axis.imshow(render_section(scene, at).pixels)
    axis.plot(x, y, "+", color="tab:red", markersize=18, markeredgewidth=2)
    axis.set(title=f"{name} section {number}", xticks=[], yticks=[])
p, i, r = np.rint(point_um / 200).astype(int)
labels = reference.grid_labels()
_, ranks = np.unique(labels, return_inverse=True)
ranks = ranks.reshape(labels.shape)
for axis, plane, (across, down), title in (
    (axes[1, 0], ranks[:, :, r].T, (p, i), f"R = {200 * r} um"),
    (axes[1, 1], ranks[p], (r, i), f"P = {200 * p} um"),
):
    axis.imshow(plane, cmap="nipy_spectral", interpolation="nearest", alpha=0.7)
    axis.plot(across, down, "+", color="black", markersize=18, markeredgewidth=2)
    axis.set(title=f"labels, {title}", xticks=[], yticks=[])
plt.show()
