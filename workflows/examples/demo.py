"""The demo: a phantom series through the whole pipeline, held against its truth.

python workflows/examples/demo.py [OUTPUT]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from pipeline.cli.console import say
from pipeline.cli.progress import Progress
from pipeline.inputs.config import load_config
from pipeline.phantom import RenderOptions
from pipeline.phantom.scenes import phantom_scene
from pipeline.phantom.write_series import SeriesForm, write_phantom_series
from pipeline.runs import api

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from score import score, show

HERE = Path(__file__).parents[2]
RESOLUTION_UM = 5.0
OPTIONS = RenderOptions(seed=1, stain_gain=0.1, texture=0.1, dust=2.0)


def main(output: Path, alignment: str) -> int:
    """Render, run, score; return 0 where every section was processed."""
    shutil.rmtree(output, ignore_errors=True)
    began = time.perf_counter()
    say("rendering 20 sagittal sections of the phantom brain …")
    scene = phantom_scene("sagittal", 20, RESOLUTION_UM, OPTIONS)
    write_phantom_series(output, scene, SeriesForm(give_alignment=True))
    rendered = time.perf_counter()
    config = load_config(HERE / "configs" / "phantom.yaml", [f"alignment.name={alignment}"])
    with Progress(quiet=False) as progress:
        (result,) = api.run(config, [output / "series"], output / "runs", listener=progress)
    ended = time.perf_counter()
    if result.errors or result.run is None:
        say("\n".join(result.errors))
        return 1
    show(score(result.run.path, output))
    print(f"rendered in {rendered - began:.0f} s, run in {ended - rendered:.0f} s")
    print(f"open {result.run.path / 'report.html'}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?", default=HERE / "demo-output")
    parser.add_argument("--alignment", default="joint", help="joint: from nothing; given: as it was rendered")
    given = parser.parse_args()
    if given.output.exists() and given.output.resolve() != HERE.resolve() / "demo-output":
        parser.error(f"{given.output}: expected a new folder, for the demo removes its output; name another")
    sys.exit(main(given.output, given.alignment))
