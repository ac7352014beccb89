"""The design of a comparison of groups: which run belongs to which animal, group and covariate."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.did_you_mean import hint
from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import Float64
from pipeline.formats.tables.tables import plain_number, read_cells
from pipeline.system.files import real_path, shown

RUN, ANIMAL = "run", "animal"
TABLE = "structure_unionize.parquet"
KINDS = ("number", "category")
_DRIVE = re.compile(r"([A-Za-z]):[\\/](.*)")
_HOW = "a folder with structure_unionize.parquet, relative to the design's folder or absolute"


@dataclass(frozen=True)
class Row:
    """One series of a design.

    Attributes
    ----------
    table : Path
        Its structure table.
    said : str
        The run as the design names it.
    animal, group : str
        Animal, and its group.
    covariates : tuple of str
        Cells of the covariates, in their order.
    line : int
        Line of the design.
    """

    table: Path
    said: str
    animal: str
    group: str
    covariates: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Design:
    """All series of a design.

    Attributes
    ----------
    path : Path
        The CSV file.
    group : str
        Name of the column of groups.
    covariates : tuple of str
        Names of the covariates.
    kinds : tuple of str
        "number" or "category" of each; empty: by its cells.
    rows : tuple of Row
        Series, in the order of the file.
    """

    path: Path
    group: str
    covariates: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def animals(self) -> tuple[str, ...]:
        """Animals, in order of appearance."""
        return tuple(dict.fromkeys(row.animal for row in self.rows))

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups, in order of appearance."""
        return tuple(dict.fromkeys(row.group for row in self.rows))

    def group_of(self, animal: str) -> str:
        """Return the group of an animal.

        Parameters
        ----------
        animal : str
            Animal.

        Returns
        -------
        str
            Its group.
        """
        return next(row.group for row in self.rows if row.animal == animal)

    def covariate(self, name: str) -> Sequence[str] | Float64:
        """Return a covariate of all animals.

        Numbers are taken as numbers where the user says so, or where a cell is not whole; whole numbers are
        categories otherwise, since batches are often numbered.

        Parameters
        ----------
        name : str
            Name of a covariate.

        Returns
        -------
        sequence of str or (animals,) float64
            Categories or numbers, one for each animal.

        Raises
        ------
        ConfigError
            Where a cell of a covariate of numbers is no number.
        """
        at = self.covariates.index(name)
        first = {row.animal: row for row in reversed(self.rows)}
        rows = [first[animal] for animal in self.animals]
        numbers = [_number(row.covariates[at]) for row in rows]
        kind = self.kinds[at]
        if kind == "number":
            wrong = next((r for r, n in zip(rows, numbers, strict=True) if not math.isfinite(n)), None)
            if wrong is not None:
                raise ConfigError(
                    f"{self.path}: line {wrong.line}: expected a number as {name} of animal {wrong.animal},"
                    f" got {shown(wrong.covariates[at])}"
                )
        finite = all(math.isfinite(n) for n in numbers)
        if kind == "number" or (not kind and finite and any(n != int(n) for n in numbers)):
            return np.array(numbers)
        return [row.covariates[at] for row in rows]


def read_design(path: Path, group: str, covariates: Sequence[str]) -> Design:
    """Read a design.

    Parameters
    ----------
    path : Path
        CSV file with the columns run, animal, the group's and those of the covariates.
    group : str
        Name of the column of groups.
    covariates : sequence of str
        Names of covariates, each alone or as NAME:number or NAME:category.

    Returns
    -------
    Design
        Series whose tables exist.

    Raises
    ------
    DataError
        Where the file is no table, or a run is missing.
    ConfigError
        Where a column is missing, a run is named twice, or an animal has two groups or two values of a
        covariate.
    """
    header, lines = read_cells(path)
    names, kinds = _asked(covariates)
    at = [_column(path, header, name) for name in (RUN, ANIMAL, group, *names)]
    if len(set(at)) < len(at):
        raise ConfigError(
            f"--covariate {', '.join(names)}: expected columns apart from each other and the group's"
        )
    if not lines:
        raise DataError(f"{path}: expected one row for each run, got only the header")
    rows = []
    for line, cells in lines:
        said, animal, label, *values = (cells[i] for i in at)
        for name, cell in zip((ANIMAL, group, *names), (animal, label, *values), strict=True):
            if not cell:
                raise ConfigError(
                    f"{path}: line {line}: expected a value in column {name}, got an empty cell"
                )
        rows.append(Row(_table(path, line, said, animal), said, animal, label, tuple(values), line))
    found = Design(path, group, names, kinds, tuple(rows))
    _check_once(found)
    return found


def _asked(covariates: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and kinds of the covariates that were asked for."""
    names, kinds = [], []
    for text in covariates:
        name, colon, kind = text.rpartition(":")
        if colon and kind in KINDS:
            names.append(name)
            kinds.append(kind)
        else:
            names.append(text)
            kinds.append("")
    return tuple(names), tuple(kinds)


def _column(path: Path, header: Sequence[str], name: str) -> int:
    """Return the position of a column; case, and blanks for underscores, do not matter."""
    if name in header:
        return list(header).index(name)
    plain = ["_".join(column.lower().split()) for column in header]
    if (wanted := "_".join(name.lower().split())) in plain:
        return plain.index(wanted)
    raise ConfigError(f"{path}: no column {shown(name)}; {hint(name, header)}")


def _table(path: Path, line: int, said: str, animal: str) -> Path:
    """Return the structure table of a run."""
    where = f"{path}: line {line}: run {shown(said)} of animal {animal}"
    if not said:
        raise DataError(f"{path}: line {line}: animal {animal} has no run; expected {_HOW}")
    for place in _places(path.parent, said):
        try:
            is_folder, there = place.is_dir(), place.exists()
        except (OSError, ValueError):  # a name that is too long, or holds NUL
            continue
        if is_folder and (place / TABLE).is_file():
            return place / TABLE
        if there and not is_folder and place.suffix == ".parquet":
            return place
        if there:
            raise DataError(f"{where}: no {TABLE} in it; is it a finished run? see `ish status`")
    raise DataError(f"{where}: no such run; expected {_HOW}")


def _places(folder: Path, said: str) -> list[Path]:
    """Return where a path may point to: as written, with the slashes of Windows turned, a drive under WSL."""
    places = [folder / Path(said).expanduser()]
    if drive := _DRIVE.fullmatch(said):
        places.append(Path("/mnt") / drive[1].lower() / drive[2].replace("\\", "/"))
    elif "\\" in said:
        places.append(folder / said.replace("\\", "/"))
    return places


def _check_once(design: Design) -> None:
    """Check that no run counts twice, and no animal has two groups or two values of a covariate."""
    runs: dict[Path, Row] = {}
    animals: dict[str, Row] = {}
    for row in design.rows:
        earlier = runs.setdefault(real_path(row.table), row)
        if earlier is not row:
            raise ConfigError(
                f"{design.path}: line {row.line}: run {shown(row.said)} is on line {earlier.line} already"
                f" (animals {earlier.animal}, {row.animal}); a run counts once"
            )
        known = animals.setdefault(row.animal, row)
        pairs = zip((design.group, *design.covariates), (known.group, *known.covariates),
                    (row.group, *row.covariates), strict=True)  # fmt: skip
        for name, before, now in pairs:
            if before != now:
                raise ConfigError(
                    f"{design.path}: line {row.line}: animal {row.animal} has {name} {shown(now)}, on line"
                    f" {known.line} {shown(before)}; an animal has one"
                )


def _number(cell: str) -> float:
    try:
        return plain_number(cell)
    except ValueError:
        return math.nan
