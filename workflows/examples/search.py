"""Build a search index and ask it, from Python: synthetic experiments on the phantom brain, in a minute.

    python workflows/examples/search.py

With finished runs the first step is `ish index RUNS --output INDEX`, and all else stays the same.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pipeline.inputs.references import open_reference
from pipeline.search.index import SearchResult, build_index, open_index

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from search_grids import GridMaker


def show(title: str, result: SearchResult) -> None:
    """Print the first experiments of an answer."""
    print(f"\n{title}")
    for row in result.rows():
        print("  ", {name: round(v, 3) if isinstance(v, float) else v for name, v in row.items()})
    for note in result.notes:
        print("   note:", note)


def main() -> None:
    brain = open_reference(None, 100.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        report = build_index(path, GridMaker.of(brain).every(300), brain)
        print(f"added {report.added} experiments; {len(report.errors)} could not be used")

        index = open_index(path)
        print(
            f"voxels searched: {index.voxel_mask('all').sum()}, coronal {index.voxel_mask('coronal').sum()}"
        )

        # Where is a gene more expressed: in the thalamus than in the isocortex?
        found = index.differential(["TH"], ["Isocortex"], target_threshold="1,50", top=5)
        show("TH over Isocortex, mean energy in TH from 1 to 50", found)

        # Which experiments look like the first of these, in the whole brain and in the hippocampus alone?
        seed = int(found.columns["section_data_set_id"][0])
        show(f"like {seed}", index.correlation(seed, top=5))
        show(
            f"like {seed} in HPF, coronal only",
            index.correlation(seed, domain=["HPF"], voxels="coronal", top=5),
        )

        # An experiment is added or replaced while others search; an open index stays as it was.
        maker = GridMaker.of(brain, seed=1)
        build_index(path, [(maker.experiment(300), maker.grid(300))])
        print(f"\nstill open: {len(index)} experiments; opened now: {len(open_index(path))}")


if __name__ == "__main__":
    main()
