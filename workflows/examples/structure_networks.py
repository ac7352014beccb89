"""
Structure networks
==================

Which structures express alike? Pearson's r between the mean energies of two structures, over all
experiments of an index.
"""

# %%
# An index of 240 synthetic experiments on the phantom. With your own, ``ish index RUNS --output INDEX``
# makes it, and ``ish search structures INDEX --csv`` writes the matrix.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pipeline
from pipeline.search.indexing import build_index
from pipeline.search.synthetic import GridMaker

brain = pipeline.phantom_reference(100.0)
path = Path(tempfile.mkdtemp()) / "index"
report = build_index(path, GridMaker.of(brain).every(240), brain)
index = pipeline.open_index(path)
print(f"{report.added} experiments")

# %%
# The matrix over all structures, in the order of the ontology, so that related structures lie side by side.

network = index.structure_correlation()
acronyms = network.columns["acronym"]
print(f"{len(network)} structures; r over {network.shared.min()} to {network.shared.max()} experiments")

figure, axis = plt.subplots(figsize=(6.5, 5.5), layout="constrained")
image = axis.imshow(network.r, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
figure.colorbar(image, label="Pearson's r")
axis.set(title="structures, in the order of the ontology", xticks=[], yticks=[])
plt.show()

# %%
# The same from the voxels themselves, for two structures: numpy gives the same.

a, b = list(acronyms).index("TH"), list(acronyms).index("Isocortex")
found = index.differential("TH", "Isocortex").columns
by_hand = np.corrcoef(found["target_mean"], found["contrast_mean"])[0, 1]
print(f"TH and Isocortex: r {network.r[a, b]:.6f}, by numpy {by_hand:.6f}")
assert abs(network.r[a, b] - by_hand) < 1e-9

# %%
# The graph of large structures that do not lie in each other: an edge where r is at least .6. Nodes stand
# on a circle in the order of the ontology, in the ontology's colours.

chosen = [
    name
    for name, voxels, structure in zip(
        acronyms, network.columns["voxels"], network.columns["structure_id"], strict=True
    )
    if voxels >= 60 and not any(s.parent_id == structure for s in brain.ontology.structures)
]
chosen = chosen[:: -(-len(chosen) // 40)]  # some forty of them, from all parts of the brain
part = index.structure_correlation(chosen)
LEAST = 0.6
edges = part.edges(LEAST)
angle = 2 * np.pi * np.arange(len(part)) / len(part)
x, y = np.cos(angle), np.sin(angle)
colours = [f"#{brain.ontology.find(int(s)).color}" for s in part.columns["structure_id"]]
figure, axis = plt.subplots(figsize=(6.5, 6.5), layout="constrained")
for a, b in edges:
    weight = (part.r[a, b] - LEAST) / (1 - LEAST)
    axis.plot(
        x[[a, b]], y[[a, b]], color="0.3", linewidth=0.3 + 2 * weight, alpha=0.3 + 0.6 * weight, zorder=1
    )
axis.scatter(x, y, c=colours, s=90, edgecolors="0.3", zorder=2)
for n, name in enumerate(part.columns["acronym"]):
    turn = np.degrees(angle[n])
    outward = turn if -90 <= turn <= 90 or turn >= 270 else turn - 180
    axis.text(1.1 * x[n], 1.1 * y[n], name, rotation=outward, ha="center", va="center", fontsize=8)
axis.set(
    title=f"{len(edges)} edges of r at least {LEAST}", aspect="equal", xlim=(-1.25, 1.25), ylim=(-1.25, 1.25)
)
axis.axis("off")
plt.show()
