"""An index is built and filled: from grids in memory, and from folders of runs and of served grids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from pipeline.core.model import Float32
from pipeline.core.reference_space import ReferenceSpace
from pipeline.search.build import BuildReport, check_output, fill_index
from pipeline.search.on_disk.document import IndexSubject, read_subject
from pipeline.search.on_disk.experiments import Experiment
from pipeline.search.sources import ExperimentSource, brain_check, find_experiments, labels_reference


def build_index(
    output: Path | str,
    experiments: Iterable[tuple[Experiment, Float32]],
    reference: ReferenceSpace | None = None,
    *,
    served_labels: bool = False,
) -> BuildReport:
    """Put experiments into an index, one at a time; readers see each as soon as it is committed.

    Parameters
    ----------
    output : Path or str
        Folder of an index, which is created where there is none.
    experiments : iterable of (Experiment, (P, I, R) float32)
        Experiments with their energy grids; NaN = no data.
    reference : ReferenceSpace, optional
        Labels of a new index; an existing index keeps its own.
    served_labels : bool
        Take the reference's gridAnnotation instead of its annotation.

    Returns
    -------
    BuildReport
        Numbers of experiments added, replaced and unchanged; `errors` has a line for each one left out.

    Raises
    ------
    DataError
        Where an existing index has other labels, is damaged, or is being written by another process.
    MissingResultError
        Where there is no index and no reference.
    """
    jobs = ((f"experiment {e.section_data_set_id}", lambda e=e, g=g: (e, g)) for e, g in experiments)
    return fill_index(Path(output), _subject(reference, served_labels), jobs, lambda name, what: None)


def index_folders(
    folders: Sequence[Path],
    output: Path,
    reference: Path | None = None,
    *,
    served_labels: bool = False,
    declared: Path | None = None,
    listener: Callable[[str, str], None] = lambda name, what: None,
) -> BuildReport:
    """Put finished runs, and folders or zips of served grids, into an index.

    Parameters
    ----------
    folders : sequence of Path
        Each a run, a folder with energy.mhd, a zip, or a folder that holds such.
    output : Path
        Folder of an index, which is created where there is none.
    reference : Path, optional
        Folder of the reference that labels a new index. Default: the reference of the runs; runs of another
        brain are then left out.
    served_labels : bool
        Take the reference's gridAnnotation instead of its annotation.
    declared : Path, optional
        CSV with section_data_set_id, gene and plane_of_section of served grids.
    listener : callable
        Progress callback: listener(name, outcome) after each experiment; a warning is passed as both.

    Returns
    -------
    BuildReport
        Counts, errors and warnings.

    Raises
    ------
    ConfigError
        Where the output lies in an input folder, or a new index has no reference.
    DataError
        Where a folder holds no experiment, or the index has other labels or is damaged.
    """
    check_output(output, folders)
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        listener(line, line)

    sources = find_experiments(folders, declared, note)
    new = not (output / "zarr.json").exists()
    space = labels_reference(reference, folders) if new or reference else None
    subject = _subject(space, served_labels) or read_subject(output)
    check = brain_check(subject.labels)

    def read(source: ExperimentSource) -> tuple[Experiment, Float32]:
        if reference is None:
            check(source.path)
        return source.read(subject.spacing_um, note)

    report = fill_index(output, subject, ((s.name, partial(read, s)) for s in sources), listener)
    report.notes += notes
    return report


def _subject(space: ReferenceSpace | None, served: bool) -> IndexSubject | None:
    if space is None:
        return None
    form = "served" if served else "derived"
    labels = space.grid_labels(served=served)
    return IndexSubject(labels, space.ontology, space.grid.spacing_um, form, space.midline_um)
