"""
A sweep over a parameter
========================

How much do the numbers hang on a threshold? Every value of a sweep, run over one series, and held against
the truth.
"""

# %%
# Six rendered sections and a sweep over the contrast of the detector. On the command line: ``ish run
# phantom --input … --set sweep.detection.configuration.contrast=15,25,40``.

import csv
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as parquet

from pipeline.inputs.config import load_config_file
from pipeline.phantom.scenes import phantom_scene, render_options
from pipeline.phantom.write_series import SeriesForm, write_phantom_series
from pipeline.runs.sweep import run_sweep

folder = Path(tempfile.mkdtemp())
write_phantom_series(
    folder,
    phantom_scene("sagittal", 6, 6.0, render_options({"seed": 3, "texture": 0.1})),
    SeriesForm(give_alignment=True),
)
settings = [
    "alignment.name=given",
    "reference.resolution_um=100",
    "sweep.detection.configuration.contrast=15,25,40",
]
results, written = run_sweep(
    load_config_file(Path("phantom"), settings), [folder / "series"], folder / "sweep"
)
print(*(path.name for path in written))

# %%
# What variants do not differ in is computed once; the comparison has one row a variant and series.

with (folder / "sweep" / "comparison.csv").open(encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
for row in rows:
    share, energy = float(row["expressing_share"]), float(row["brain_energy"])
    print(f"{row['run']}: {100 * share:.2f} % of the pixels express, energy of the brain {energy:.2f}")

# %%
# Energy of every structure by each variant, against the truth of the renderer. The detector's default is
# 25.

with (folder / "truth" / "structure_energy.csv").open(encoding="utf-8") as file:
    truth = {
        int(row["structure_id"]): float(row["expression_energy"])
        for row in csv.DictReader(file)
        if row["hemisphere_id"] == "3" and row["expression_energy"]
    }
figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), sharex=True, sharey=True, layout="constrained")
for axis, result in zip(axes, results, strict=True):
    table = parquet.read_table(result.run.path / "structure_unionize.parquet").to_pylist()
    found = {row["structure_id"]: row["section_energy"] for row in table if row["hemisphere_id"] == 3}
    both = [k for k in truth if found.get(k) is not None and np.isfinite(found[k])]
    true, ours = (np.array([values[k] for k in both]) for values in (truth, found))
    axis.loglog(true + 0.01, ours + 0.01, ".", alpha=0.5)
    axis.plot([0.01, 100], [0.01, 100], color="0.6", linewidth=0.8)
    ratio = np.median(ours[true > 0.5] / true[true > 0.5])
    axis.set(title=f"{result.run.path.parent.name}: median {ratio:.2f} of the truth", xlabel="true energy")
axes[0].set_ylabel("section energy")
plt.show()
