"""Models, their fields and associations, and the SQLite tables behind them.

Tables have the columns of their model under the field's name, so that they are filled with plain INSERTs:

- `data_sets` holds DataSet, told apart by `type` (SectionDataSet, AtlasDataSet), `sub_images` holds SubImage
  likewise (SectionImage, AtlasImage). `well_known_files.attachable_type` and `alignment3ds.aligned_type` are
  DataSet, Specimen or ReferenceSpace: the base class, as in the original.
- `structure_unionizes` has a row for each hemisphere, `hemisphere_id` 1 left, 2 right, 3 both;
  `projection_structure_unionizes` is a view of it.
- Join tables have two columns; `JOIN_TABLES` names them all. The genes of a data set, for instance, are rows
  of `data_sets_genes(data_set_id, gene_id)`.
- Booleans are 0 and 1. NaN is stored as NULL by SQLite; infinity is refused by the table.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.core.did_you_mean import hint
from pipeline.service.http.answers import RequestError
from pipeline.service.rma.models import MODELS_TEXT

AFFINITY = {"integer": "INTEGER", "boolean": "INTEGER", "float": "REAL"}
HIDDEN = "type"  # column that tells models of one table apart; the original leaves it out of records
FEW_VALUES = {"hemisphere_id"}  # an index over three values only leads the planner astray
BOTH_HEMISPHERES = 3
VIEWS = {
    "projection_structure_unionizes": """
SELECT id, section_data_set_id, structure_id, hemisphere_id, 0 AS is_injection, sum_pixels,
  sum_expressing_pixels AS sum_projection_pixels, sum_pixel_intensity,
  sum_expressing_pixel_intensity AS sum_projection_pixel_intensity, expression_density AS projection_density,
  expression_energy AS projection_energy,
  CASE WHEN sum_expressing_pixels > 0 THEN sum_expressing_pixel_intensity / sum_expressing_pixels END
    AS projection_intensity
FROM structure_unionizes""",
}


@dataclass(frozen=True)
class Field:
    """An attribute of a model.

    Attributes
    ----------
    name : str
        Its name, that of its column too.
    type : str
        integer, float, boolean, string, text or datetime.
    """

    name: str
    type: str


@dataclass(frozen=True)
class Association:
    """A way from the records of one model to those of another.

    Attributes
    ----------
    name : str
        Its name in paths and records.
    kind : str
        belongs_to, has_one, has_many or has_and_belongs_to_many, as published.
    model : str
        The other model.
    own, other : str
        Columns of the two tables that are equal; with a join table, those that it refers to.
    own_value, other_value : (str, str) or None
        Column and text that the own or the other row must have.
    join : (str, str, str) or None
        Join table and its columns for the own and the other row.
    """

    name: str
    kind: str
    model: str
    own: str
    other: str
    own_value: tuple[str, str] | None = None
    other_value: tuple[str, str] | None = None
    join: tuple[str, str, str] | None = None

    @property
    def many(self) -> bool:
        """Whether a record shows a list of the others."""
        return self.kind.startswith("has_") and self.kind != "has_one"


@dataclass(frozen=True, eq=False)
class Model:
    """A kind of record.

    Attributes
    ----------
    name : str
        Its name.
    table : str
        The table or view that holds its rows.
    scope : (str, str) or None
        Column and text that its rows have where models share a table.
    fields : mapping of str to Field
        Attributes by name, in the order of CSV columns.
    associations : mapping of str to Association
        Ways to other models, by name.
    """

    name: str
    table: str
    scope: tuple[str, str] | None
    fields: Mapping[str, Field]
    associations: Mapping[str, Association]

    @property
    def words(self) -> str:
        """The name in small letters with underscores."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()

    @property
    def shown(self) -> tuple[Field, ...]:
        """The fields that a record shows, by name as in the original's records."""
        return tuple(self.fields[name] for name in sorted(self.fields) if name != HIDDEN)


# Fields that stand for one of an associated record, where clients name them so.
ALIASES = {("Structure", "structure_set_id"): ("structure_sets_structures", "structure_set_id")}


def model_named(name: str) -> Model:
    """Return a model.

    Parameters
    ----------
    name : str
        Its name, with capitals.

    Returns
    -------
    Model
        The model.

    Raises
    ------
    RequestError
        Where there is none; the message names the nearest.
    """
    found = MODELS.get(name)
    if found is None:
        raise RequestError(f"model {name!r} does not exist; {hint(name, MODELS)}")
    return found


def table_columns(model: str) -> tuple[str, ...]:
    """Return the columns of a model's table.

    Parameters
    ----------
    model : str
        Name of the model.

    Returns
    -------
    tuple of str
        Column names in order.

    Examples
    --------
    >>> table_columns("Treatment")
    ('id', 'name', 'tags')
    """
    return tuple(model_named(model).fields)


def create_tables(connection: sqlite3.Connection) -> None:
    """Make all tables, join tables, views and indices in an empty database.

    Parameters
    ----------
    connection : sqlite3.Connection
        Connection that may write. Run ANALYZE after filling, so that large tables are joined in a good order.
    """
    mine = not connection.in_transaction
    if mine:
        connection.execute("BEGIN")  # without it SQLite writes the file after each of 250 statements
    _create(connection)
    if mine:
        connection.commit()


def _create(connection: sqlite3.Connection) -> None:
    made: set[str] = set()
    for model in MODELS.values():
        if model.table not in made:
            made.add(model.table)
            connection.execute(_definition(model))
            if model.table not in VIEWS:
                create_indices(connection, model)
    for table, columns in JOIN_TABLES.items():
        if table not in made:
            one, two = columns
            connection.execute(
                f'CREATE TABLE "{table}" ("{one}" INTEGER NOT NULL, "{two}" INTEGER NOT NULL, '
                f'PRIMARY KEY ("{one}", "{two}")) WITHOUT ROWID'
            )
            connection.execute(f'CREATE INDEX "{table}_{two}" ON "{table}" ("{two}", "{one}")')


def _definition(model: Model) -> str:
    if model.table in VIEWS:
        return f'CREATE VIEW "{model.table}" AS {VIEWS[model.table]}'
    return f'CREATE TABLE "{model.table}" ({", ".join(map(_column, model.fields.values()))})'


def _column(field: Field) -> str:
    if field.name == "id":
        return '"id" INTEGER PRIMARY KEY'
    bounds = f' CHECK ("{field.name}" > -9e999 AND "{field.name}" < 9e999)' if field.type == "float" else ""
    return f'"{field.name}" {AFFINITY.get(field.type, "TEXT")}{bounds}'


def create_indices(connection: sqlite3.Connection, model: Model) -> None:
    """Index the columns that associations join by, and the short names that people search for.

    Parameters
    ----------
    connection : sqlite3.Connection
        Connection that may write. Indices that are there stay.
    model : Model
        Its table is indexed.
    """
    for column in _indexed(model):
        name = f'"{model.table}_{column}"'
        connection.execute(f'CREATE INDEX IF NOT EXISTS {name} ON "{model.table}" ("{column}")')


def drop_indices(connection: sqlite3.Connection, model: Model) -> None:
    """Remove the indices of a table, so that many rows are inserted faster.

    Parameters
    ----------
    connection : sqlite3.Connection
        Connection that may write.
    model : Model
        Model of the table.
    """
    for column in _indexed(model):
        connection.execute(f'DROP INDEX IF EXISTS "{model.table}_{column}"')


def _indexed(model: Model) -> Iterator[str]:
    for field in model.fields.values():
        joins = field.name.endswith("_id") and field.type == "integer" and field.name not in FEW_VALUES
        if joins or field.name in {"acronym", "entrez_id"}:
            yield field.name


def _read(text: str) -> Iterator[Model]:
    known: dict[str, Model] = {}
    for paragraph in text.strip().split("\n\n"):
        head, *lines = paragraph.splitlines()
        match = re.fullmatch(r"(\w+) (\w+)(?: \((\w+)=(\w+)\))?(?: : (\w+))?", head)
        assert match, head
        name, table, column, value, base = match.groups()
        fields = dict(known[base].fields) if base else {}
        associations = dict(known[base].associations) if base else {}
        for line in lines:
            kind, *words = line.split()
            if kind in {"belongs_to", "has_one", "has_many", "has_and_belongs_to_many"}:
                associations[words[0]] = _association(kind, *words)
            else:
                fields.update((field.name, field) for field in map(_field, line.split()))
        known[name] = Model(name, table, (column, value) if column else None, fields, associations)
        yield known[name]


def _field(word: str) -> Field:
    name, _, kind = word.partition(":")
    return Field(name, kind or ("integer" if name == "id" or name.endswith("_id") else "string"))


def _association(kind: str, name: str, model: str, *keys: str) -> Association:
    own, other, join = (f"{name}_id", "id", None) if kind == "belongs_to" else ("id", "", None)
    values: dict[str, tuple[str, str]] = {}
    for key in keys:
        if key[0] in "?!":
            column, _, value = key[1:].partition("=")
            values["other_value" if key[0] == "?" else "own_value"] = (column, value)
        elif "/" in key:
            table, mine, theirs = key.split("/")
            return Association(name, kind, model, "id", "id", join=(table, mine, theirs), **values)
        else:
            left, _, right = key.partition("=")
            own, other = (left, right) if right else (own if kind == "belongs_to" else "id", left)
    return Association(name, kind, model, own, other, join=join, **values)


MODELS: Mapping[str, Model] = {model.name: model for model in _read(MODELS_TEXT)}
JOIN_TABLES: Mapping[str, tuple[str, str]] = {
    way.join[0]: (way.join[1], way.join[2])
    for model in reversed(list(MODELS.values()))
    for way in model.associations.values()
    if way.join
}
