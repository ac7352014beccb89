"""
Two groups of animals
=====================

Which structures differ between treated and untreated animals? Simulated structure tables of twelve animals;
in the treated ones the hippocampal field CA1 is halved.
"""

# %%
# A run leaves its table as ``structure_unionize.parquet``. Here are twelve of them, with the columns that a
# comparison reads, and the design: one row a run.

import csv
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

import pipeline
from pipeline.runs.groups import Options, compare_groups, write_comparison

folder = Path(tempfile.mkdtemp())
ontology = pipeline.phantom_reference(100.0).ontology
ids = np.array([structure.id for structure in ontology.structures])
level = np.exp(np.random.default_rng(0).normal(1.5, 0.7, len(ids)))
CHANGED, ERROR, BOTH = "CA1", 0.1, 3
made = {
    "reference_directory": None,
    "reference": {"name": "phantom", "files": {}},
    "configuration": {"detection": {"name": "adaptive", "configuration": {}}},
}


def write_run(path: Path, seed: int, is_treated: bool) -> None:
    """Write what a comparison reads of a run."""
    rng = np.random.default_rng(seed)
    energy = level * rng.uniform(0.7, 1.4) * np.exp(ERROR * rng.normal(size=len(ids)))
    if is_treated:
        energy[ids == ontology.find(CHANGED).id] *= 0.5
    width = np.exp(1.645 * ERROR)
    columns = {
        "section_data_set_id": np.full(len(ids), seed),
        "structure_id": ids,
        "hemisphere_id": np.full(len(ids), BOTH),
        "sum_pixels": np.full(len(ids), 1e6),
        "expression_energy": energy,
        "coverage": np.ones(len(ids)),
        "section_energy": energy,
        "section_energy_lower": energy / width,
        "section_energy_upper": energy * width,
    }
    path.mkdir(parents=True)
    parquet.write_table(pa.table(columns), path / "structure_unionize.parquet")
    (path / "provenance.json").write_text(json.dumps(made), encoding="utf-8")
    (path / "section_data_set.json").write_text(json.dumps({"gene": "Prox1"}), encoding="utf-8")


with (folder / "design.csv").open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["run", "animal", "treatment"])
    for number in range(12):
        animal, treatment = f"m{number}", "drug" if number % 2 else "saline"
        write_run(folder / "runs" / animal, number + 1, treatment == "drug")
        writer.writerow([f"runs/{animal}", animal, treatment])

# %%
# The comparison. On the command line: ``ish compare-groups design.csv --group treatment --output
# comparison``.

found = compare_groups(folder / "design.csv", Options(group="treatment"), print)
print(found.headline)
table = found.table()
for row in table[:3]:
    print(f"{row['acronym']:8} ratio {np.exp(row['effect']):.2f}, q {row['q_value']:.2g}")
assert table[0]["acronym"].startswith(CHANGED)

# %%
# A volcano plot: effect against the p value. Structures with a q value below 5 % are red.

effect = np.array([row["effect"] for row in table])
p_value = np.array([row["p_value"] for row in table])
called = np.array([row["q_value"] for row in table]) < 0.05
figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
axis.scatter(effect, -np.log10(p_value), c=np.where(called, "tab:red", "0.5"), s=18)
for row in table:
    if row["q_value"] < 0.05:
        axis.annotate(
            row["acronym"], (row["effect"], -np.log10(row["p_value"])), (5, 0), textcoords="offset points"
        )
axis.axvline(0, color="0.7", linewidth=0.8)
axis.set(
    title="structures by effect and p, red below q = 0.05",
    xlabel="effect, natural logarithm (drug - saline)",
    ylabel="-log10 p",
)
plt.show()

# %%
# The files that the command writes, with a page.

print(*(path.name for path in write_comparison(folder / "comparison", found)))
