"""The Python API: run series, and open, report on or query finished runs."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigError, DataError, PipelineError
from pipeline.core.reference_space import ReferenceSpace
from pipeline.inputs.alignments import run_reference
from pipeline.inputs.config import ClusterConfig, Config, parse_config, reference_directory
from pipeline.inputs.config_keys import check_names
from pipeline.inputs.references import OUTLINE_UM, RunReference, check_reference
from pipeline.runs.plan import Broken, Plan, find_sources, look_at_images, plan_jobs
from pipeline.runs.schedule import Engine, Event, check_engine, run_jobs, steps_from
from pipeline.runs.status import UNREAD, run_status
from pipeline.stages.align import check_alignment
from pipeline.stages.job import SeriesJob
from pipeline.stages.summarise import series_messages
from pipeline.stages.table import specimen_series_of, to_align
from pipeline.store.results import RunResults
from pipeline.store.run import RECEIPTS, RunFolder, check_free, is_run
from pipeline.store.tasks import Receipt
from pipeline.system.files import real_path
from pipeline.system.lazy import LazyModule
from pipeline.system.locks import hold
from pipeline.system.seals import first_damaged, seal
from pipeline.system.whole_files import sweep

if TYPE_CHECKING:
    from pipeline import report as pages
else:
    pages = LazyModule("pipeline.report")


@dataclass(frozen=True)
class RunOptions:
    """How a batch runs; no option changes a number of the results.

    Attributes
    ----------
    scheduler : str
        Engine, one of `ENGINES`: threads, processes, distributed, slurm.
    workers : int
        Number of worker threads or processes.
    force : bool
        Recompute every stage.
    from_stage : str or None
        Recompute this stage and all stages that build on it.
    shard : (int, int)
        Which part of the series this run takes, counted from 1; (2, 8) is the second of eight.
    wait : bool
        Wait for another run that works on the same series instead of refusing to start.
    memory : str or None
        Memory that the tasks of this machine may use together, such as 6GB; None takes the default share.
    address : str or None
        Address of a running Dask scheduler, with the engine `distributed`.
    cluster : ClusterConfig
        How SLURM is asked for jobs.
    """

    scheduler: str = "threads"
    workers: int = 2
    force: bool = False
    from_stage: str | None = None
    shard: tuple[int, int] = (1, 1)
    wait: bool = False
    memory: str | None = None
    address: str | None = None
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    @property
    def engine(self) -> Engine:
        """The engine that runs the tasks, with its settings."""
        return Engine(self.scheduler, self.workers, self.memory, self.address, self.cluster)


@dataclass(frozen=True)
class SeriesResult:
    """Outcome of one series.

    Attributes
    ----------
    source : Path
        Folder of the series.
    run : RunResults or None
        Run folder with the outputs; None for a series that could not start and has no page.
    receipts : dict of str to Receipt
        Receipt of every task, by task name; empty for a series that could not start.
    errors : tuple of str
        Failures of whole-series stages, or the error that kept the series from starting.
    warnings : tuple of str
        Notes on the manifest, the images, the alignment and failed sections.
    """

    source: Path
    run: RunResults | None
    receipts: dict[str, Receipt]
    errors: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class Listener:
    """Progress callbacks of a run; every method does nothing by default."""

    def on_begin(self, jobs: Sequence[SeriesJob]) -> None:
        """Receive all series before the first task starts.

        Parameters
        ----------
        jobs : sequence of SeriesJob
            Series of the batch, in order.
        """

    def on_task(self, event: Event) -> None:
        """Receive one task that starts or ends.

        Parameters
        ----------
        event : Event
            The task; its receipt is None at the start.
        """

    def say(self, line: str) -> None:
        """Receive one line of text for the user.

        Parameters
        ----------
        line : str
            Warning or note, without a newline.
        """


SILENT = Listener()
MOST_LOOKED_INTO = 50  # runs: with more, `status` does not check images and manifests (some 0.1 s a run)


def run(
    config: Config,
    inputs: Sequence[Path],
    output: Path,
    reference: Path | None = None,
    options: RunOptions = RunOptions(),
    listener: Listener = SILENT,
) -> list[SeriesResult]:
    """Take series through every stage.

    Parameters
    ----------
    config : Config
        Everything that decides the numbers of the run.
    inputs : sequence of Path
        Each a series, a folder of series, a glob, or a table of series.
    output : Path
        Results go to output/<section_data_set_id>.
    reference : Path or None
        Folder of a reference space; by default ISH_REFERENCE, else that of the configuration.
    options : RunOptions
        How the batch runs.
    listener : Listener
        Progress callbacks.

    Returns
    -------
    list of SeriesResult
        Series without a readable manifest first, then the others in the order found. A series that fails does
        not stop the others.

    Raises
    ------
    ConfigError
        Where no series could run: inputs, output folder, detector, aligner, reference or engine are wrong, or
        another run is working on one of the series.
    """
    plan = Plan(config, output, reference_directory(config, reference), stages_to_redo(options))
    check_engine(options.engine)
    found = find_sources(inputs)
    check_apart(output, found.sources, plan.reference)
    check_output(output)
    for note in found.notes:
        listener.say(f"warning: {note}")
    jobs, broken = plan_jobs(found.sources, plan, options.shard)
    if not jobs and not broken:
        listener.say(
            f"shard {options.shard[0]}/{options.shard[1]}: nothing to do ({len(found.sources)} series in all)"
        )
    if jobs:
        check_job(jobs[0])
    for job in jobs:
        _forget_unread(output, job.source)
    unread = [SeriesResult(b.source, _page_of_unread(output, b), {}, (b.error,)) for b in broken]
    return [*unread, *run_all(jobs, options, listener)]


def _page_of_unread(output: Path, broken: Broken) -> RunResults | None:
    """Write a page for a series without a readable manifest, named after its folder.

    Nothing is written, and None returned, where the place is taken or cannot be written.
    """
    run = RunResults(real_path(output) / real_path(broken.source).name)
    try:
        check_free(run.path)
        if run.receipts().keys() - {UNREAD}:
            return None
        run.write_receipt(Receipt(UNREAD, "failed", "", message=broken.error))
        page = pages.write_report(run, None)
        outputs = seal(run.path, [page])
        run.write_receipt(Receipt(UNREAD, "failed", "", message=broken.error, outputs=outputs))
    except PipelineError:
        return None  # the place is taken; the error is on the terminal anyway
    return run


def _forget_unread(output: Path, source: Path) -> None:
    """Remove the page of a series that could not be read before but can be read now.

    Only the files that the receipt of that page lists are removed.
    """
    run = RunFolder(real_path(output) / real_path(source).name)
    receipts = run.receipts()
    if receipts.keys() != {UNREAD} or first_damaged(run.path, receipts[UNREAD].outputs):
        return
    for name in (*receipts[UNREAD].outputs, f"{RECEIPTS}/{UNREAD}.json"):
        (run.path / name).unlink()
    for folder in (run.file(RECEIPTS), run.path):
        with suppress(OSError):  # a folder that is not empty stays
            folder.rmdir()


def run_all(jobs: Sequence[SeriesJob], options: RunOptions, listener: Listener) -> list[SeriesResult]:
    """Run jobs as one batch while holding their folders.

    A job whose output folder is taken or cannot be written fails alone.

    Parameters
    ----------
    jobs : sequence of SeriesJob
        Series of the batch.
    options : RunOptions
        How the batch runs.
    listener : Listener
        Progress callbacks.

    Returns
    -------
    list of SeriesResult
        One result for each job, in the order of the jobs.

    Raises
    ------
    ConfigError
        Where another run holds a folder and `options.wait` is not set.
    """
    refused: dict[Path, SeriesResult] = {}
    for job in jobs:
        try:
            check_free(job.run.path)
            check_writable(job.run.path)
        except DataError as error:
            refused[job.run.path] = SeriesResult(job.source, None, {}, (str(error),), job.warnings)
    free = [_without(job, refused.keys()) for job in jobs if job.run.path not in refused]
    done = iter(_run_held(free, options, listener))
    return [refused.get(job.run.path) or next(done) for job in jobs]


def _without(job: SeriesJob, refused: Collection[Path]) -> SeriesJob:
    """Return a job with its family reduced to the series that do run."""
    specimen_series = tuple(one for one in job.specimen_series if one.run.path not in refused)
    return replace(job, specimen_series=specimen_series if len(specimen_series) > 1 else ())


def _run_held(jobs: Sequence[SeriesJob], options: RunOptions, listener: Listener) -> list[SeriesResult]:
    if not jobs:
        return []
    with hold([job.run.path for job in jobs], options.wait, listener.say):
        for job in jobs:
            sweep(job.run.path)
            job.run.mend_groups()
            job.run.write_plan([section.section_number for section in job.sections])
        jobs = look_at_images(jobs, options.workers)
        listener.on_begin(jobs)
        receipts = run_jobs(jobs, options.engine, listener.on_task)
        for job in jobs:
            sweep(job.run.path)  # unfinished files of workers that died
    return [_result(job, done) for job, done in zip(jobs, receipts, strict=True)]


def open_run(folder: Path | str) -> RunResults:
    """Open a finished run folder.

    Parameters
    ----------
    folder : Path or str
        OUTPUT/<section_data_set_id>.

    Returns
    -------
    RunResults
        The run; its `expression(section_number)` and `grid()` are lazily read arrays.

    Raises
    ------
    DataError
        Where the folder is not a run.
    """
    path = Path(folder)
    if not is_run(path):
        raise DataError(f"{path}: expected a run folder (OUTPUT/<section_data_set_id>), got something else")
    return RunResults(path)


def status(folder: Path) -> list[dict[str, object]]:
    """Return the progress of all runs of a folder.

    With more than `MOST_LOOKED_INTO` runs, only the code is compared with the one each run was made with, not
    configuration and inputs.

    Parameters
    ----------
    folder : Path
        A run, or a folder with runs in its direct subfolders.

    Returns
    -------
    list of dict
        One row for each series and stage; see `run_status`.

    Raises
    ------
    DataError
        Where there is no run.
    """
    runs = _runs(folder)
    return [row for run in runs for row in run_status(run, look=len(runs) <= MOST_LOOKED_INTO)]


def report(folder: Path) -> list[Path]:
    """Write the page of a run, or the pages of all runs of a folder and their index.

    Parameters
    ----------
    folder : Path
        A run, or a folder with runs in its direct subfolders.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    DataError
        Where there is no run.
    """
    runs = _runs(folder)
    written = [_page_anew(run) for run in runs]
    return written if runs[0].path == folder else [*written, pages.write_index(folder)]


def _page_anew(run: RunFolder) -> Path:
    """Rewrite the page of a run and update the receipt that holds its digest."""
    page = pages.write_report(run, _reference_of(run))
    for task in ("report", UNREAD):
        receipt = run.read_receipt(task)
        if receipt is not None:
            run.write_receipt(replace(receipt, outputs=seal(run.path, [page])))
    return page


def _runs(folder: Path) -> list[RunFolder]:
    runs = [path for path in (folder, *sorted(folder.glob("*"))) if is_run(path)]
    if not runs:
        raise DataError(f"{folder}: expected a run, or a folder of runs; found no receipts")
    return [RunFolder(path) for path in runs]


def _reference_of(run: RunFolder) -> ReferenceSpace | None:
    if not run.file("provenance.json").exists():
        return None  # reference unknown: outlines of another brain would be wrong
    try:
        configured = parse_config(run.read_document("provenance.json")["configuration"], str(run.path))
        return RunReference(run_reference(run.path), configured.reference.resolution_um).at(OUTLINE_UM)
    except PipelineError:
        return None  # the page notes that outlines and names are missing


def stages_to_redo(options: RunOptions) -> frozenset[str]:
    """Return the stages that run again although they are done.

    Parameters
    ----------
    options : RunOptions
        Its `force` and `from_stage` decide.

    Returns
    -------
    frozenset of str
        Stage names; empty where nothing is forced.

    Raises
    ------
    ConfigError
        Where `from_stage` is not the name of a stage.
    """
    if options.force:
        return steps_from("measure")
    return steps_from(options.from_stage) if options.from_stage else frozenset()


def check_apart(output: Path, sources: Sequence[Path], reference: Path | None) -> None:
    """Check that the output folder is apart from everything that is read, with links resolved.

    Parameters
    ----------
    output : Path
        Output folder of the run; it need not exist.
    sources : sequence of Path
        Folders of the series.
    reference : Path or None
        Reference folder; None for the phantom.

    Raises
    ------
    ConfigError
        Where the output is, contains or lies inside a series, or lies inside the reference.
    """
    place = real_path(output)
    for source in sources:
        series = real_path(source)
        if place == series or place.is_relative_to(series) or series.is_relative_to(place):
            how = "is" if place == series else "lies in" if place.is_relative_to(series) else "contains"
            raise ConfigError(
                f"--output {output}: {how} the series {source}; choose a folder outside the inputs, such as"
                f" {_apart(series)}"
            )
    if reference is not None and place.is_relative_to(real_path(reference)):
        raise ConfigError(f"--output {output}: lies in the reference {reference}; choose another folder")


def _apart(series: Path) -> Path:
    return series.parent / f"{series.name}-runs"


def check_output(output: Path) -> None:
    """Make the output folder where it does not exist, and check that it can be written.

    Parameters
    ----------
    output : Path
        Output folder of the run.

    Raises
    ------
    ConfigError
        Where the folder cannot be made or written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        check_writable(output)
    except (OSError, DataError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"--output {output}: expected a writable folder, got: {what}; choose another"
        ) from None


def check_writable(folder: Path) -> None:
    """Check that files can be written into a folder; a folder that does not exist yet passes.

    Parameters
    ----------
    folder : Path
        Folder to test with a temporary file.

    Raises
    ------
    DataError
        Where the file cannot be written.
    """
    if folder.exists():
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise DataError(
                f"{folder}: cannot be written: {error.strerror}; check free space and permissions"
            ) from None


def check_job(job: SeriesJob) -> None:
    """Check detector, aligner and reference before the batch starts, as they are the same for all series.

    Parameters
    ----------
    job : SeriesJob
        Any series of the batch.

    Raises
    ------
    ConfigError
        Where the configuration names something unknown, or the reference cannot be read.
    """
    _check_algorithms(job)
    try:
        check_reference(job.reference)
    except PipelineError as error:
        raise ConfigError(f"reference: {error}") from None


def _check_algorithms(job: SeriesJob) -> None:
    """Build detector and aligner once: a wrong option would otherwise fail in every section."""
    check_names(job.config)
    check_alignment(to_align(job), specimen_series_of(job))


def _result(job: SeriesJob, receipts: dict[str, Receipt]) -> SeriesResult:
    stages = [r for r in receipts.values() if r.id.section_number is None]
    errors = tuple(r.message for r in stages if r.state == "failed")
    sections = tuple(
        m for m in series_messages(receipts) if m.split(":", 1)[0] not in {r.task for r in stages}
    )
    notes = tuple(receipts["align"].facts.get("notes", ())) if receipts["align"].ok else ()
    run = RunResults(job.run.path)
    return SeriesResult(job.source, run, receipts, errors, (*job.warnings, *notes, *sections))
