"""
Genes around a point
====================

The gene finder of the Anatomic Gene Expression Atlas: where does the brain express like it does at a point,
and which experiments make it so?
"""

# %%
# An index of 320 synthetic experiments on the phantom. With your own, ``ish index RUNS --output INDEX``
# makes it, and ``ish search point INDEX --at P,I,R`` asks it.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pipeline
from pipeline.geometry.sync import structure_centre
from pipeline.search.indexing import build_index
from pipeline.search.synthetic import GridMaker

brain = pipeline.phantom_reference(100.0)
path = Path(tempfile.mkdtemp()) / "index"
build_index(path, GridMaker.of(brain).every(320), brain)
index = pipeline.open_index(path)

# %%
# Profiles of voxels are compared over the coronal experiments, which see both hemispheres. The local domain
# is what is much alike; the wider one contains it.

point_um = structure_centre(brain, "TH", "left")
found = index.at_point(point_um, local=0.8, wider=0.6, target_threshold=None, contrast_threshold=None, top=12)
print(found.summary())
for row in found.rows()[:5]:
    print(f"{row['gene']:>8} {row['section_data_set_id']} fold change {row['fold_change']:.2f}")

# %%
# The map of r through the point, and the experiments that are more expressed around it than in the wider
# domain.

p, i, r = np.rint(np.array(point_um) / 200).astype(int)
drawn = np.where(found.map < -1, np.nan, found.map)
figure, (plane, bars) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
image = plane.imshow(drawn[p], cmap="viridis", vmin=0, vmax=1)
plane.plot(r, i, "+", color="tab:red", markersize=14, markeredgewidth=2)
plane.set(title=f"r with the point, P = {200 * p} um", xticks=[], yticks=[])
figure.colorbar(image, ax=plane)
names = [f"{row['gene']} {row['section_data_set_id']}" for row in found.rows()]
bars.barh(names[::-1], [row["fold_change"] for row in found.rows()][::-1], color="tab:purple")
bars.axvline(1, color="0.5", linewidth=0.8)
bars.set(xlabel="mean energy, local over wider domain")
plt.show()
