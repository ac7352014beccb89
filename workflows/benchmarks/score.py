"""Hold a run against the truth of the rendered series that it processed.

    python score.py RUN RENDERED     RENDERED holds series/ and truth/, as `ish phantom` writes

`pipeline/runs/score.py` says what is asked.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.runs.score import score, voxel_counts

__all__ = ["score", "show", "voxel_counts"]


def show(figures: dict[str, dict[str, float]]) -> None:
    """Print the figures, a line a question."""
    for question, values in figures.items():
        print(f"{question:52s}" + "  ".join(f"{name} {value:.4g}" for name, value in values.items()))


def main() -> None:
    """Score the run and the rendered series of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("rendered", type=Path)
    given = parser.parse_args()
    show(score(given.run, given.rendered))


if __name__ == "__main__":
    main()
