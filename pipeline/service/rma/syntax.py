"""What a query says, as values: stages, paths, filters and options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Variable:
    """A value that an earlier stage gives, written `$name`.

    Attributes
    ----------
    name : str
        Its name, without the dollar sign.
    """

    name: str


Value: TypeAlias = str | Variable | None  # None is the word null without quotes


@dataclass(frozen=True)
class Filter:
    """One pair of square brackets.

    Attributes
    ----------
    name : str
        Attribute, perhaps after a table's or association's name and a dot.
    operator : str
        Two letters; empty for a test that there is a value.
    values : tuple of Value
        What it is compared with.
    """

    name: str
    operator: str = ""
    values: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Path:
    """An association with filters and with paths that go on from it.

    Attributes
    ----------
    name : str
        Name of the association.
    filters : tuple of Filter
        Conditions on its records.
    paths : tuple of Path
        Associations of its records.
    """

    name: str
    filters: tuple[Filter, ...] = ()
    paths: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Step:
    """An axis with a name, such as `model::Gene`.

    Attributes
    ----------
    axis : str
        model, service, pipe, rma or attribute.
    name : str
        What follows the colons.
    filters : tuple of Filter
        The brackets behind it.
    """

    axis: str
    name: str
    filters: tuple[Filter, ...] = ()


Item: TypeAlias = Step | Path | tuple[Filter, ...]


@dataclass(frozen=True)
class Column:
    """An attribute that an option names.

    Attributes
    ----------
    name : str
        The attribute.
    table : str
        Table or association that it is of; empty where none is named.
    title : str
        What a table calls it.
    descending : bool
        Whether to sort by it from the last to the first.
    """

    name: str
    table: str = ""
    title: str = ""
    descending: bool = False

    def __str__(self) -> str:
        return f"{self.table}.{self.name}" if self.table else self.name


@dataclass(frozen=True)
class Options:
    """How an answer is laid out.

    Attributes
    ----------
    only, without : tuple of Column
        Attributes to keep, attributes to leave out.
    tabular : tuple of Column
        Columns of a table that is wanted instead of records.
    order : tuple of Column
        What rows are sorted by.
    start_row : int
        Rows to skip.
    num_rows : int or None
        Rows at most; None for all.
    count : bool
        Whether rows are counted.
    """

    only: tuple[Column, ...] = ()
    without: tuple[Column, ...] = ()
    tabular: tuple[Column, ...] = ()
    order: tuple[Column, ...] = ()
    start_row: int = 0
    num_rows: int | None = 50
    count: bool = True


@dataclass(frozen=True)
class ModelStage:
    """A query of one model.

    Attributes
    ----------
    model : str
        Its name.
    filters : tuple of Filter
        Conditions on its records.
    criteria : tuple of Path
        Associations that a record must have.
    include : tuple of Path
        Associations that a record shows.
    options : Options
        Layout of the answer.
    """

    model: str
    filters: tuple[Filter, ...] = ()
    criteria: tuple[Path, ...] = ()
    include: tuple[Path, ...] = ()
    options: Options = Options()


@dataclass(frozen=True)
class ServiceStage:
    """A call of a connected service.

    Attributes
    ----------
    name : str
        Its name.
    parameters : tuple of (str, tuple of Value)
        Values by parameter.
    """

    name: str
    parameters: tuple[tuple[str, tuple[Value, ...]], ...] = ()


@dataclass(frozen=True)
class PipeStage:
    """A variable that is filled from the answer before.

    Attributes
    ----------
    variable : str
        Its name.
    path : str
        Where its values are, with slashes.
    """

    variable: str
    path: str


Stage: TypeAlias = ModelStage | ServiceStage | PipeStage


@dataclass(frozen=True)
class Query:
    """Stages in the order in which they run; the last one's rows are the answer.

    Attributes
    ----------
    stages : tuple of Stage
        At least one, a pipe neither first nor last.
    """

    stages: tuple[Stage, ...]
