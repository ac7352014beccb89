"""The package from Python: run series, open what was run."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.core.did_you_mean import unknown_word
from pipeline.core.errors import ConfigError, DataError, PipelineError
from pipeline.core.reference_space import ReferenceSpace
from pipeline.detection import make_detector
from pipeline.inputs.alignments import run_reference
from pipeline.inputs.config import ClusterConfig, Config, parse_config, reference_directory
from pipeline.inputs.references import GRID_LABELS_UM, RunReference
from pipeline.registration import ALIGNERS
from pipeline.report import write_index, write_report
from pipeline.runs.plan import Broken, Plan, find_sources, look_at_images, plan_jobs
from pipeline.runs.schedule import Engine, Event, check_engine, run_jobs, steps_from
from pipeline.runs.status import UNREAD, run_status
from pipeline.stages.align import check_alignment
from pipeline.stages.job import SeriesJob
from pipeline.stages.page import OUTLINE_UM
from pipeline.stages.summarise import series_messages
from pipeline.stages.table import family_of, to_align
from pipeline.store.run import RECEIPTS, RunFolder, check_free, is_run
from pipeline.store.tasks import Receipt
from pipeline.system.files import real_path
from pipeline.system.locks import hold
from pipeline.system.seals import first_damaged, seal
from pipeline.system.whole_files import sweep


@dataclass(frozen=True)
class RunOptions:
    """How a batch runs; nothing here changes a number.

    `force` recomputes everything, `from_stage` that stage and all that build on it; `shard` is the
    part of the series that this run takes, (2, 8) the second of eight; `wait` waits for another run on
    the same series to end instead of refusing.
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
        """Where and how the tasks run."""
        return Engine(self.scheduler, self.workers, self.memory, self.address, self.cluster)


@dataclass(frozen=True)
class SeriesResult:
    """What became of one series: its run folder and receipts, or the error that kept it from starting."""

    source: Path
    run: RunFolder | None
    receipts: dict[str, Receipt]
    errors: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class Listener:
    """Listens to a run; every method may be left as it is."""

    def begin(self, jobs: Sequence[SeriesJob]) -> None:
        """Take notice of all series before the first task starts."""

    def hear(self, event: Event) -> None:
        """Take notice of one task that starts or ends."""

    def say(self, line: str) -> None:
        """Pass on a line to the user."""


SILENT = Listener()
MOST_LOOKED_INTO = 50  # runs whose images and manifests `status` looks at: some 0.1 s each


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
    inputs : paths        each a series, a folder of series, a glob, or a table of series
    output : folder       results go to output/<section_data_set_id>
    reference : folder    of a reference space; default ISH_REFERENCE, else the configuration's

    Returns
    -------
    one result a series, in the order found; a series that fails does not stop the others

    Raises
    ------
    ConfigError
        what no series could run with: inputs, output folder, detector, aligner, reference, engine; and
        a series that another run is working on.
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
            f"shard {options.shard[0]}/{options.shard[1]}: nothing to do, {len(found.sources)} series"
        )
    if jobs:
        check_job(jobs[0])
    for job in jobs:
        _forget_unread(output, job.source)
    unread = [SeriesResult(b.source, _page_of_unread(output, b), {}, (b.error,)) for b in broken]
    return [*unread, *run_all(jobs, options, listener)]


def _page_of_unread(output: Path, broken: Broken) -> RunFolder | None:
    """Write a page for a series without a readable manifest, under its folder's name, where nothing lies."""
    run = RunFolder(real_path(output) / real_path(broken.source).name)
    try:
        check_free(run.path)
        if run.receipts().keys() - {UNREAD}:
            return None
        run.write_receipt(Receipt(UNREAD, "failed", "", message=broken.error))
        page = write_report(run, None)
        outputs = seal(run.path, [page])
        run.write_receipt(Receipt(UNREAD, "failed", "", message=broken.error, outputs=outputs))
    except PipelineError:
        return None  # the place is taken: the terminal says all that the page would
    return run


def _forget_unread(output: Path, source: Path) -> None:
    """Remove the page of a series that could not be read before, and now can: what its receipt lists."""
    run = RunFolder(real_path(output) / real_path(source).name)
    receipts = run.receipts()
    if receipts.keys() != {UNREAD} or first_damaged(run.path, receipts[UNREAD].outputs):
        return
    for name in (*receipts[UNREAD].outputs, f"{RECEIPTS}/{UNREAD}.json"):
        (run.path / name).unlink()
    for folder in (run.file(RECEIPTS), run.path):
        with suppress(OSError):  # a folder that holds anything else stays
            folder.rmdir()


def run_all(jobs: Sequence[SeriesJob], options: RunOptions, listener: Listener) -> list[SeriesResult]:
    """Run jobs as one batch while holding their folders; a job whose place is taken fails by itself."""
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
    """Return a job that is aligned with those of its specimen that run."""
    family = tuple(one for one in job.siblings if one.run.path not in refused)
    return replace(job, siblings=family if len(family) > 1 else ())


def _run_held(jobs: Sequence[SeriesJob], options: RunOptions, listener: Listener) -> list[SeriesResult]:
    if not jobs:
        return []
    with hold([job.run.path for job in jobs], options.wait, listener.say):
        for job in jobs:
            sweep(job.run.path)
            job.run.mend_groups()
            job.run.write_plan([section.section_number for section in job.sections])
        jobs = look_at_images(jobs, options.workers)
        listener.begin(jobs)
        receipts = run_jobs(jobs, options.engine, listener.hear)
        for job in jobs:
            sweep(job.run.path)  # what workers that died on the way left behind
    return [_result(job, done) for job, done in zip(jobs, receipts, strict=True)]


def open_run(folder: Path | str) -> RunFolder:
    """Open a finished run folder; DataError where it is none."""
    path = Path(folder)
    if not is_run(path):
        raise DataError(f"{path}: expected a run folder (OUTPUT/<section_data_set_id>), got something else")
    return RunFolder(path)


def status(folder: Path) -> list[dict[str, object]]:
    """Return how far the runs of a folder are: one row a series and stage.

    `folder` is a run, or holds runs in its direct subfolders; DataError where it holds none. Of many runs
    only the code is held against what they were made with, not configuration and inputs.
    """
    runs = _runs(folder)
    return [row for run in runs for row in run_status(run, look=len(runs) <= MOST_LOOKED_INTO)]


def report(folder: Path) -> list[Path]:
    """Write the page of a run, or the pages of all runs of a folder and their index; return the files."""
    runs = _runs(folder)
    pages = [_page_anew(run) for run in runs]
    return pages if runs[0].path == folder else [*pages, write_index(folder)]


def _page_anew(run: RunFolder) -> Path:
    """Write the page of a run, and enter it into the receipt that vouches for it."""
    page = write_report(run, _reference_of(run))
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
        return None  # not known which; another brain's outlines would lie
    try:
        configured = parse_config(run.read_document("provenance.json")["configuration"], str(run.path))
        return RunReference(run_reference(run.path), configured.reference.resolution_um).at(OUTLINE_UM)
    except PipelineError:
        return None  # outlines and names are left out; the page says so


def stages_to_redo(options: RunOptions) -> frozenset[str]:
    """Return the steps that run again though done."""
    if options.force:
        return steps_from("measure")
    return steps_from(options.from_stage) if options.from_stage else frozenset()


def check_apart(output: Path, sources: Sequence[Path], reference: Path | None) -> None:
    """Raise ConfigError for an output folder that is, holds or lies in what is read, links resolved."""
    place = real_path(output)
    for source in sources:
        series = real_path(source)
        if place == series or place.is_relative_to(series) or series.is_relative_to(place):
            how = "is" if place == series else "lies in" if place.is_relative_to(series) else "holds"
            raise ConfigError(
                f"--output {output}: {how} the series {source}; choose a folder apart from what is read, such"
                f" as {_apart(series)}"
            )
    if reference is not None and place.is_relative_to(real_path(reference)):
        raise ConfigError(f"--output {output}: lies in the reference {reference}; choose another folder")


def _apart(series: Path) -> Path:
    return series.parent / f"{series.name}-runs"


def check_output(output: Path) -> None:
    """Make a folder to write in; ConfigError where none can be."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        check_writable(output)
    except (OSError, DataError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"--output {output}: expected a folder to write in, got: {what}; choose another"
        ) from None


def check_writable(folder: Path) -> None:
    """Raise DataError where nothing can be written into a folder; one that is not there is made in time."""
    if folder.exists():
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise DataError(f"{folder}: cannot be written: {error.strerror}; free space? rights?") from None


def check_job(job: SeriesJob) -> None:
    """Raise ConfigError for a detector, aligner or reference that no series of the batch could do with."""
    _check_algorithms(job)
    try:
        job.reference.at(GRID_LABELS_UM)
    except PipelineError as error:
        raise ConfigError(f"reference: {error}") from None


def _check_algorithms(job: SeriesJob) -> None:
    """Build detector and aligner once before anything runs: a wrong word would fail every section."""
    config = job.config
    make_detector(config.detection.name, config.detection.configuration)
    names = ("given", *ALIGNERS)
    if config.alignment.name not in names:
        raise unknown_word("alignment.name", config.alignment.name, names)
    check_alignment(to_align(job), family_of(job))


def _result(job: SeriesJob, receipts: dict[str, Receipt]) -> SeriesResult:
    stages = [r for r in receipts.values() if r.id.section_number is None]
    errors = tuple(r.message for r in stages if r.state == "failed")
    sections = tuple(
        m for m in series_messages(receipts) if m.split(":", 1)[0] not in {r.task for r in stages}
    )
    notes = tuple(receipts["align"].facts.get("notes", ())) if receipts["align"].ok else ()
    return SeriesResult(job.source, job.run, receipts, errors, (*job.warnings, *notes, *sections))
