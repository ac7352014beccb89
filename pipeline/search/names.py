"""Which experiment a served grid is: from the user's table, or from a name that says so and no more."""

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

DECLARED = "experiments.csv"
COLUMNS = ("section_data_set_id", "gene", "plane_of_section")
_LEAST_DIGITS = 5  # of an id beside other words; fewer may be a resolution, a section or a version


@dataclass(frozen=True)
class Declared:
    """What a table says of served grids; its column `file` may name the folder, zip or .mhd of each."""

    by_id: dict[int, Experiment] = field(default_factory=dict)
    by_file: dict[str, Experiment] = field(default_factory=dict)

    def of_file(self, path: Path) -> Experiment | None:
        """Return what is said of a folder or file by its name, with or without its ending."""
        return self.by_file.get(path.name) or self.by_file.get(path.stem)


def named(path: Path, described: str) -> int:
    """Return the id that a name is, or holds as its only number; DataError where that is not clear.

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
    """Tell whether a number beside words is an id rather than a resolution, a version or a date."""
    if len(number) < _LEAST_DIGITS or number.startswith("0"):
        return False
    try:
        return not (len(number) == 8 and 1950 <= datetime.strptime(number, "%Y%m%d").year <= 2100)
    except ValueError:
        return True


def read_declared(path: Path, *, required: bool, tell: Callable[[str], None]) -> Declared:
    """Read a table of experiments; rows that say nothing usable are counted and left out.

    Parameters
    ----------
    required : bool        False: a table that is not there, or is another, says nothing
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
        tell(f"{error}; the table is left out")
        return Declared()
    found, bad = Declared(), uneven
    for line, cells in rows:
        try:
            _take(found, dict(zip(header, cells, strict=True)))
        except DataError as error:
            bad.append(f"{path}: line {line}: {error}")
    if bad:
        tell(f"{len(bad)} {'rows' if len(bad) > 1 else 'row'} left out; the first: {bad[0]}")
    return found


def _take(found: Declared, row: dict[str, str]) -> None:
    number, gene, plane = (row[name] for name in COLUMNS)
    if not (number.isascii() and number.isdecimal()):
        raise DataError(f"expected a whole number as {COLUMNS[0]}, got {shown(number)}")
    if len(number) > 19:
        raise DataError(f"expected a whole number below 2^63 as {COLUMNS[0]}, got {shown(number)}")
    experiment = Experiment(int(number), gene or None, plane.lower() or None)
    check_experiment(experiment)
    known = found.by_id.get(experiment.section_data_set_id)
    if known is not None and known != experiment:
        raise DataError(f"experiment {number} was already said to be {known.gene}, {known.plane_of_section}")
    file = row.get("file", "").rstrip("/")
    if file and found.by_file.get(Path(file).name, experiment) != experiment:
        raise DataError(f"file {shown(file)} was already given to another experiment")
    found.by_id[experiment.section_data_set_id] = experiment
    if file:
        found.by_file[Path(file).name] = experiment
