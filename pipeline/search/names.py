"""Identity of a served grid: from the user's table, or from a file name that holds exactly one id."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pipeline.core.errors import DataError
from pipeline.formats.tables.tables import read_cells
from pipeline.search.on_disk.experiments import Experiment, check_experiment
from pipeline.system.files import shown

DECLARED = "experiments.csv"  # default name of the table, in the folder of the grids
COLUMNS = ("section_data_set_id", "gene", "plane_of_section")
_LEAST_DIGITS = 5  # of an id beside other words; a shorter number may be a resolution, section or version


@dataclass(frozen=True)
class Declared:
    """What a table declares of served grids.

    Attributes
    ----------
    by_id : dict of int to Experiment
        Experiments by id.
    by_file : dict of str to Experiment
        Experiments by the folder, zip or .mhd that the column `file` names.
    """

    by_id: dict[int, Experiment] = field(default_factory=dict)
    by_file: dict[str, Experiment] = field(default_factory=dict)

    def of_file(self, path: Path) -> Experiment | None:
        """Return the experiment that the table declares for a folder or file.

        Parameters
        ----------
        path : Path
            Folder or file; its name counts, with or without its suffix.

        Returns
        -------
        Experiment or None
            The experiment; None where the table does not name the file.
        """
        return self.by_file.get(path.name) or self.by_file.get(path.stem)


def named(path: Path, described: str) -> int:
    """Return the id that a name is, or holds as its only number.

    Parameters
    ----------
    path : Path
        Folder or file.
    described : str
        Name of the file that would state the id, for the message.

    Returns
    -------
    int
        Id of the experiment.

    Raises
    ------
    DataError
        Where the name holds no number, several, or one that may be something else.

    Examples
    --------
    >>> [named(Path(name), "data_set.xml") for name in ("277.zip", "Prox1_71717084", "71717084_200um.zip")]
    [277, 71717084, 71717084]
    """
    name = path.name if path.is_dir() else path.stem
    numbers = [part for part in re.split(r"[^0-9A-Za-z]+", name) if part.isdecimal()]
    if len(numbers) == 1 and (name == numbers[0] or _is_id(numbers[0])):
        return int(numbers[0])
    got = "neither" if not numbers else f"a name with {', '.join(numbers[:3])}, which may be another number"
    raise DataError(
        f"{path}: expected {described} with the grid or an id that is the whole name, got {got}; name it"
        f" ID.zip or ID/, or give --experiments CSV with columns {COLUMNS[0]} and file"
    )


def _is_id(number: str) -> bool:
    """Return whether a number beside words is an id rather than a resolution, a version or a date."""
    if len(number) < _LEAST_DIGITS or number.startswith("0"):
        return False
    try:
        return not (len(number) == 8 and 1950 <= datetime.strptime(number, "%Y%m%d").year <= 2100)
    except ValueError:
        return True


def read_declared(path: Path, *, required: bool, note: Callable[[str], None]) -> Declared:
    """Read a table of experiments; unusable rows are counted and left out, with a warning.

    Parameters
    ----------
    path : Path
        CSV with the columns `COLUMNS` and, optionally, file.
    required : bool
        False: a missing or different table counts as empty.
    note : callable
        Receives each warning, one line.

    Returns
    -------
    Declared
        The declared experiments.

    Raises
    ------
    DataError
        Where a required table cannot be read or lacks a column.
    """
    if not required and not path.is_file():
        return Declared()
    uneven: list[str] = []
    try:
        header, rows = read_cells(path, uneven)
        if missing := [name for name in COLUMNS if name not in header]:
            raise DataError(f"{path}: expected columns {','.join(COLUMNS)}, {missing[0]} is missing")
    except DataError as error:
        if required:
            raise
        note(f"{error}; the table is left out")
        return Declared()
    found, bad = Declared(), uneven
    for line, cells in rows:
        try:
            _take(found, dict(zip(header, cells, strict=True)))
        except DataError as error:
            bad.append(f"{path}: line {line}: {error}")
    if bad:
        note(f"{len(bad)} {'rows' if len(bad) > 1 else 'row'} left out; the first: {bad[0]}")
    return found


def _take(found: Declared, row: dict[str, str]) -> None:
    """Add one row of the table; DataError where it is unusable or contradicts an earlier row."""
    number, gene, plane = (row[name] for name in COLUMNS)
    if not (number.isascii() and number.isdecimal()):
        raise DataError(f"expected a whole number as {COLUMNS[0]}, got {shown(number)}")
    if len(number) > 19:
        raise DataError(f"expected a whole number below 2^63 as {COLUMNS[0]}, got {shown(number)}")
    experiment = Experiment(int(number), gene or None, plane.lower() or None)
    check_experiment(experiment)
    known = found.by_id.get(experiment.section_data_set_id)
    if known is not None and known != experiment:
        raise DataError(f"experiment {number} is already listed as {known.gene}, {known.plane_of_section}")
    file = row.get("file", "").rstrip("/")
    if file and found.by_file.get(Path(file).name, experiment) != experiment:
        raise DataError(f"file {shown(file)} was already given to another experiment")
    found.by_id[experiment.section_data_set_id] = experiment
    if file:
        found.by_file[Path(file).name] = experiment
