"""
Build an index and ask it
=========================

Which genes are more expressed here than there, and which look like this one?
"""

# %%
# An index of 300 synthetic experiments on the phantom. With finished runs, ``ish index RUNS --output
# INDEX`` makes it, and all else stays the same.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import pipeline
from pipeline.search.indexing import build_index
from pipeline.search.result import SearchResult
from pipeline.search.synthetic import GridMaker

brain = pipeline.phantom_reference(100.0)
path = Path(tempfile.mkdtemp()) / "index"
report = build_index(path, GridMaker.of(brain).every(300), brain)
index = pipeline.open_index(path)
print(f"added {report.added} experiments; {len(report.errors)} could not be used")
print(f"voxels searched: {index.voxel_mask('all').sum()}, coronal {index.voxel_mask('coronal').sum()}")


def show(title: str, result: SearchResult) -> None:
    """Print the first experiments of an answer."""
    print(title)
    for row in result.rows():
        print("  ", {name: round(v, 3) if isinstance(v, float) else v for name, v in row.items()})
    for note in result.notes:
        print("   note:", note)


# %%
# Where is a gene more expressed: in the thalamus than in the isocortex? A threshold keeps out what is
# expressed nowhere.

found = index.differential(["TH"], ["Isocortex"], target_threshold="1,50", top=5)
show("TH over Isocortex, mean energy in TH from 1 to 50", found)

# %%
# Which experiments look like the first of these, in the whole brain and in the hippocampus alone?

seed = int(found.columns["section_data_set_id"][0])
show(f"like {seed}", index.correlation(seed, top=5))
show(f"like {seed} in HPF, coronal only", index.correlation(seed, domain=["HPF"], voxels="coronal", top=5))

# %%
# How alike the next ones are: two experiments of one gene stand out.

alike = index.correlation(seed, top=40)
genes = alike.columns["gene"]
figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
axis.bar(range(len(alike)), alike.columns["r"], color=["tab:red" if g == genes[0] else "0.6" for g in genes])
axis.set(xlabel="rank", ylabel="Pearson's r", title=f"red: the same gene, {genes[0]}")
plt.show()

# %%
# An experiment is added or replaced while others search; an open index stays as it was.

maker = GridMaker.of(brain, seed=1)
build_index(path, [(maker.experiment(300), maker.grid(300))])
print(f"still open: {len(index)} experiments; opened now: {len(pipeline.open_index(path))}")
