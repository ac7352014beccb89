"""What a batch under way says of itself."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.batch_progress import Tally
from pipeline.core.model import SectionDataSet, SectionImage
from pipeline.inputs.config import Config
from pipeline.runs.schedule import STEPS, Event
from pipeline.stages.job import SeriesJob
from pipeline.store.run import RunFolder
from pipeline.store.tasks import Receipt


def job(number: int) -> SeriesJob:
    sections = tuple(
        SectionImage(
            id=n, section_number=n, path=None, width_px=10, height_px=10, resolution_um=1.0
        )
        for n in (1, 2)
    )  # fmt: skip
    data_set = SectionDataSet(
        id=number, plane_of_section="sagittal", section_thickness_um=25.0, section_images=sections
    )
    return SeriesJob(
        Path("/in"),
        RunFolder(Path(f"/out/{number}")),
        data_set,
        Config(),
        pixels={1: 2_000_000, 2: 4_000_000},
    )


def test_progress_throughput_and_failures() -> None:
    tally = Tally([job(7), job(8)], begun=100.0)
    assert tally.totals["detect"] == 4
    assert tally.totals["grid"] == 2
    tally.on_task(Event("7", "detect-00001", None, "node3:12"), 101.0)
    tally.on_task(Event("8", "align", None), 104.0)
    assert tally.running_lines(106.0, 8) == ["7 detect-00001 on node3:12, 5 s", "8 align, 2 s"]
    assert tally.running_lines(106.0, 1)[1] == "and 1 more"
    tally.on_task(Event("7", "detect-00001", Receipt("detect-00001", "done", "d", wall_s=5.0)), 110.0)
    tally.on_task(Event("8", "align", Receipt("align", "failed", "d", message="too few sections")), 110.0)
    assert tally.running == {}
    assert tally.failures == ["8 align: too few sections"]
    total = sum(tally.totals.values())
    line = tally.line(110.0)
    assert line.startswith(f"2/{total} tasks, 0/2 series, 1 failed, 6 sections/min, 0.2 M values/s, about ")
    left = 10.0 / 2 * (total - 2)
    assert f"{round(left) // 60} min" in line


def test_what_stood_already_is_no_throughput() -> None:
    tally = Tally([job(7)], begun=0.0)
    tally.on_task(Event("7", "detect-00001", None), 1.0)
    tally.on_task(Event("7", "detect-00001", Receipt("detect-00001", "done", "d", stands=True)), 1.1)
    taken = Receipt("detect-00002", "done", "d", taken_from="/other")
    tally.on_task(Event("7", "detect-00002", taken), 1.2)
    tally.on_task(Event("7", STEPS[-1].name, Receipt(STEPS[-1].name, "done", "d", stands=True)), 1.3)
    assert tally.fresh_sections == 0
    assert "sections/min" not in tally.line(2.0)
    assert "1/1 series" in tally.line(2.0)
