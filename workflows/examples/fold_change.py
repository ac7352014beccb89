"""
Fold change between two structures
==================================

How much more is a gene expressed in one structure than in another? The answer from the table, the answer
from the voxels, and where these voxels lie.
"""

# %%
# A run of six rendered sections of the phantom. With your own run, begin at ``open_run``.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as parquet

import pipeline
from pipeline.phantom.scenes import phantom_scene, render_options
from pipeline.phantom.write_series import SeriesForm, write_phantom_series

folder = Path(tempfile.mkdtemp())
scene = phantom_scene("sagittal", 6, 16.0, render_options({"seed": 3}))
write_phantom_series(folder, scene, SeriesForm(give_alignment=True))
config = pipeline.load_config(Path("phantom"), ["alignment.name=given", "reference.resolution_um=100"])
(result,) = pipeline.run(config, [folder / "series"], folder / "runs")
run = pipeline.open_run(result.run.path)

# %%
# From the table: one row a structure and hemisphere. The phantom's series shows the left hemisphere, 1.

TARGET, CONTRAST, LEFT = "DG", "Isocortex", 1
reference = pipeline.phantom_reference(100.0)
table = parquet.read_table(run.path / "structure_unionize.parquet").to_pylist()
energy = {(row["structure_id"], row["hemisphere_id"]): row["expression_energy"] for row in table}
of = {name: energy[reference.ontology.find(name).id, LEFT] for name in (TARGET, CONTRAST)}
print(
    f"{TARGET} {of[TARGET]:.2f}, {CONTRAST} {of[CONTRAST]:.2f}: fold change {of[TARGET] / of[CONTRAST]:.2f}"
)

# %%
# From the voxels: the labels of the 200 um grid choose them. A structure includes everything inside it. The
# energy of a structure is a ratio of sums, so sums are added first.

labels = reference.grid_labels()
grid = run.grid().compute()
left = pipeline.hemispheres(reference.grid) == LEFT


def voxels(name: str) -> np.ndarray:
    """Return the voxels with data of a structure in the left hemisphere."""
    ids = list(reference.ontology.descendants(reference.ontology.find(name).id))
    return np.isin(labels, ids) & left & grid.covered.to_numpy()


def mean_energy(inside: np.ndarray) -> float:
    """Return the energy of a set of voxels."""
    dark = grid.sum_expressing_pixel_intensity.to_numpy()[inside].sum(dtype=float)
    return dark / grid.sum_pixels.to_numpy()[inside].sum(dtype=float)


by_voxels = {name: mean_energy(voxels(name)) for name in (TARGET, CONTRAST)}
for name, value in by_voxels.items():
    print(f"{name}: {voxels(name).sum()} voxels, energy {value:.3f}, in the table {of[name]:.3f}")
np.testing.assert_allclose([by_voxels[n] for n in of], list(of.values()), rtol=1e-3)

# %%
# The plane with most voxels of the target: energy in grey, both structures in colour. The histogram shows
# that a mean stands for very different voxels.

here = int(voxels(TARGET).sum(axis=(0, 1)).argmax())
figure, (plane, histogram) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
shown = grid.energy.to_numpy()[:, :, here].T
plane.imshow(shown, cmap="gray_r", vmax=np.nanpercentile(shown, 99))
for name, colour in ((TARGET, "tab:red"), (CONTRAST, "tab:blue")):
    plane.contour(voxels(name)[:, :, here].T, [0.5], colors=colour)
    values = grid.energy.to_numpy()[voxels(name)]
    histogram.hist(values, 40, (0, 40), density=True, alpha=0.6, color=colour, label=name)
plane.set(title=f"R = {200 * here} um", xlabel="P, voxels", ylabel="I, voxels")
histogram.set(xlabel="energy of a voxel", ylabel="share")
histogram.legend()
plt.show()
