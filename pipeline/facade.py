"""The package from Python: run series, open what was run."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.atomic import sweep
from pipeline.config import Config, reference_directory
from pipeline.detection import make_detector
from pipeline.errors import ConfigError, DataError, PipelineError
from pipeline.formats.series import find_series, read_series
from pipeline.formats.source import SeriesSource
from pipeline.jobs import SeriesJob
from pipeline.loading import GRID_LABELS_UM, load_reference, open_reference, probe_any
from pipeline.model import SectionDataSet
from pipeline.opening import run_reference
from pipeline.provenance import checksum
from pipeline.reference import ReferenceSpace
from pipeline.registration import ALIGNERS
from pipeline.report import write_index, write_report
from pipeline.schedule import STEPS, run_jobs, steps_from
from pipeline.schedule.closing import OUTLINE_UM
from pipeline.stages_align import check_alignment
from pipeline.store.run import STATES, Receipt, RunFolder
from pipeline.summary import series_messages


@dataclass(frozen=True)
class RunOptions:
    """How a batch runs; nothing here changes a number.

    `force` recomputes everything, `from_stage` that stage and all that build on it.
    """

    scheduler: str = "threads"
    workers: int = 2
    force: bool = False
    from_stage: str | None = None


@dataclass(frozen=True)
class SeriesResult:
    """What became of one series: its run folder and receipts, or the error that kept it from starting."""

    source: Path
    run: RunFolder | None
    receipts: dict[str, Receipt]
    errors: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def run(
    config: Config,
    inputs: Sequence[Path],
    output: Path,
    reference: Path | None = None,
    options: RunOptions = RunOptions(),
    listener: Callable[[list[SeriesJob], Receipt | None], None] = lambda jobs, receipt: None,
) -> list[SeriesResult]:
    """Take series through every stage.

    Parameters
    ----------
    inputs : folders      each a series, or holding series in its direct subfolders
    output : folder       results go to output/<section_data_set_id>
    reference : folder    of a reference space; default ISH_REFERENCE, else the configuration's
    listener : called once with all jobs, then with each receipt as its task ends

    Returns
    -------
    one result a series, in the order found; a series that fails does not stop the others

    Raises
    ------
    ConfigError
        what no series could run with: inputs, output folder, detector, aligner, reference, engine.
    """
    redo = _redo(options)
    _check_output(output)
    directory = reference_directory(config, reference)
    jobs: list[SeriesJob] = []
    broken: list[SeriesResult] = []
    for source in _sources(inputs):
        try:
            job = _job(source, output, config, directory, redo)
            _check_not_twice(job, jobs)
            jobs.append(job)
        except DataError as error:
            broken.append(SeriesResult(source, None, {}, (str(error),)))
    if jobs:
        _check_algorithms(jobs[0])
        _check_reference(jobs[0])
    listener(jobs, None)
    receipts = run_jobs(jobs, options.scheduler, options.workers, lambda receipt: listener(jobs, receipt))
    return [*broken, *(_result(job, done) for job, done in zip(jobs, receipts, strict=True))]


def open_run(folder: Path) -> RunFolder:
    """Open a finished run folder; DataError where it is none."""
    if not (folder / "receipts").is_dir():
        raise DataError(f"{folder}: expected a run folder (OUTPUT/<section_data_set_id>), got something else")
    return RunFolder(folder)


def status(folder: Path) -> list[dict[str, object]]:
    """Return how far the runs of a folder are: one row a series and stage.

    `folder` is a run, or holds runs in its direct subfolders; DataError where it holds none.
    """
    return [row for run in _runs(folder) for row in _status_of(run)]


def report(folder: Path) -> list[Path]:
    """Write the page of a run, or the pages of all runs of a folder and their index; return the files."""
    runs = _runs(folder)
    pages = [write_report(run, _reference_of(run)) for run in runs]
    return pages if runs[0].path == folder else [*pages, write_index(folder)]


def _runs(folder: Path) -> list[RunFolder]:
    runs = [p for p in (folder, *sorted(folder.glob("*"))) if (p / "receipts").is_dir()]
    if not runs:
        raise DataError(f"{folder}: expected a run, or a folder of runs; found no receipts")
    return [RunFolder(path) for path in runs]


def _reference_of(run: RunFolder) -> ReferenceSpace | None:
    if not run.file("provenance.json").exists():
        return None  # not known which; another brain's outlines would lie
    try:
        return open_reference(run_reference(run.path), OUTLINE_UM)
    except PipelineError:
        return None  # outlines and names are left out; the page says so


def _status_of(run: RunFolder) -> list[dict[str, object]]:
    by_stage: dict[str, list[Receipt]] = {}
    for name, receipt in run.receipts().items():
        by_stage.setdefault(name.rpartition("-")[0] or name, []).append(receipt)
    return [
        {
            "series": run.path.name,
            "stage": stage.name,
            **{state: sum(r.state == state for r in by_stage[stage.name]) for state in STATES},
            "wall_s": round(sum(r.wall_s for r in by_stage[stage.name]), 1),
        }
        for stage in STEPS
        if stage.name in by_stage
    ]


def _redo(options: RunOptions) -> frozenset[str]:
    if options.force:
        return steps_from("measure")
    return steps_from(options.from_stage) if options.from_stage else frozenset()


def _sources(inputs: Sequence[Path]) -> list[Path]:
    if not inputs:
        raise ConfigError("no series: expected --input FOLDER, once or more")
    absent = [path for path in inputs if not path.exists()]
    if absent:
        raise ConfigError(f"--input {absent[0]}: no such folder")
    try:
        return find_series(inputs)
    except DataError as error:
        raise ConfigError(str(error)) from None


def _check_output(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"--output {output}: expected a folder to write in, got: {error.strerror}; choose another"
        ) from None


def _check_reference(job: SeriesJob) -> None:
    """Read the reference once before anything runs: no series could do without it."""
    try:
        load_reference(job, GRID_LABELS_UM)
    except PipelineError as error:
        raise ConfigError(f"reference: {error}") from None


def _check_algorithms(job: SeriesJob) -> None:
    """Build detector and aligner once before anything runs: a wrong word would fail every section."""
    config = job.config
    make_detector(config.detection.name, config.detection.configuration)
    names = ("given", *ALIGNERS)
    if config.alignment.name not in names:
        near = difflib.get_close_matches(config.alignment.name, names, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"alignment.name: expected one of {', '.join(names)}; got {config.alignment.name!r}, did you mean"
            f" {near!r}?"
        )
    check_alignment(job)


def _check_not_twice(job: SeriesJob, jobs: Sequence[SeriesJob]) -> None:
    for other in jobs:
        if other.run.path == job.run.path:
            raise DataError(
                f"{job.source}: series {job.data_set.id} is already in this batch from {other.source};"
                " give each series an id of its own"
            )


def _job(
    source: Path, output: Path, config: Config, reference: Path | None, redo: frozenset[str]
) -> SeriesJob:
    found: SeriesSource = read_series(source, probe_any)
    data_set = stepped(found.data_set, config.series.section_step)
    folder = RunFolder(output.resolve() / str(data_set.id))
    sweep(folder.path)
    return SeriesJob(
        source=source,
        run=folder,
        data_set=data_set,
        config=config,
        given=found.alignment,
        reference_directory=reference,
        warnings=found.warnings,
        redo=redo,
        files={str(s.path): checksum(s.path) for s in data_set.section_images if s.path is not None},
    )


def stepped(data_set: SectionDataSet, step: int) -> SectionDataSet:
    """Keep rows 0, n, 2n … of the sorted manifest; section numbers and thickness stay."""
    ordered = sorted(data_set.section_images, key=lambda s: s.section_number)
    return replace(data_set, section_images=tuple(ordered[::step]))


def _result(job: SeriesJob, receipts: dict[str, Receipt]) -> SeriesResult:
    stages = [r for r in receipts.values() if "-" not in r.task]
    errors = tuple(r.message for r in stages if r.state == "failed")
    sections = tuple(
        m for m in series_messages(receipts) if m.split(":", 1)[0] not in {r.task for r in stages}
    )
    notes = tuple(receipts["align"].facts.get("notes", ())) if receipts["align"].ok else ()
    return SeriesResult(job.source, job.run, receipts, errors, (*job.warnings, *notes, *sections))
