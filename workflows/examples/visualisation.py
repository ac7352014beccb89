"""
Planes, projections and spheres
===============================

Three ways to look at a grid of expression, and the mask that it was made of.
"""

# %%
# A run of the phantom. With your own run, begin at ``open_run``.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pipeline
from pipeline.geometry.sync import structure_centre
from pipeline.phantom import render_section
from pipeline.phantom.scenes import phantom_scene, render_options
from pipeline.phantom.write_series import SeriesForm, write_phantom_series

folder = Path(tempfile.mkdtemp())
scene = phantom_scene("sagittal", 20, 16.0, render_options({"seed": 3}))
write_phantom_series(folder, scene, SeriesForm(give_alignment=True))
config = pipeline.load_config(Path("phantom"), ["alignment.name=given", "reference.resolution_um=100"])
(result,) = pipeline.run(config, [folder / "series"], folder / "runs")
run = pipeline.open_run(result.run.path)
energy = run.grid().energy.compute()
reference = pipeline.phantom_reference(100.0)
brain = reference.grid_labels() > 0

# %%
# **Planes**: one coronal, horizontal and sagittal plane through the dentate gyrus. Positions are um of the
# reference space. Grey is no data.

p, i, r = structure_centre(reference, "DG", "left")
r = float(energy.r[energy.notnull().any(("p", "i"))].median())  # in the middle of the series
scale = {
    "vmin": 0,
    "vmax": float(energy.quantile(0.997)),
    "cmap": plt.get_cmap("magma").with_extremes(bad="0.8"),
}
figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
for axis, (name, at) in zip(axes, {"p": p, "i": i, "r": r}.items(), strict=True):
    plane = energy.sel({name: at}, method="nearest")
    image = plane if name != "r" else plane.transpose("i", "p")
    axis.imshow(image, **scale)
    axis.set(title=f"{name.upper()} = {float(plane[name]):.0f} um", xticks=[], yticks=[])
    inside = np.take(brain, round(at / 200), axis="pir".index(name))
    axis.contour(inside if name != "r" else inside.T, [0.5], colors="0.5", linewidths=0.8)
plt.show()

# %%
# **Projections**: the largest energy along each axis, as the original shows experiments.

figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
for axis, name in zip(axes, "pir", strict=True):
    highest = energy.max(name)
    axis.imshow(highest if name != "r" else highest.transpose("i", "p"), **scale)
    axis.set(title=f"largest along {name.upper()}", xticks=[], yticks=[])
plt.show()

# %%
# **Spheres**: one for each voxel, its size by energy. Weak voxels are left out.

values = energy.to_numpy()
where = np.argwhere(np.nan_to_num(values) > 0.15 * np.nanmax(values))
strength = values[tuple(where.T)]
figure = plt.figure(figsize=(7, 5))
axis = figure.add_subplot(projection="3d")
points_um = 200 * where
axis.scatter(
    points_um[:, 2], points_um[:, 0], -points_um[:, 1], s=strength, c=strength, cmap="magma", alpha=0.6
)
axis.set(title="voxels by energy", xlabel="R, um", ylabel="P, um", zlabel="-I, um")
axis.view_init(elev=25, azim=-60)
axis.set_box_aspect((1, 1.6, 0.9))
plt.show()

# %%
# **The section itself**: the picture, and the expressing pixels that the numbers rest on.

number = 10
image = scene.images[number]
mask = run.expression(image.section_number).compute()

figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
axes[0].imshow(render_section(scene, number).pixels)
axes[1].imshow(np.where(mask > 0, mask, np.nan), cmap="inferno_r", vmin=0, vmax=255)
for axis, title in zip(axes, ("section", "expressing pixels, by darkness"), strict=True):
    axis.set(title=f"{title} ({image.section_number})", xticks=[], yticks=[])
plt.show()
